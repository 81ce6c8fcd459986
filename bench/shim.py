"""What does the look-up log cost a compile?

Each round compiles without the shim, with this one, and with those whose sources lie in directories that are
named (`bench/shim.py ../before/node/shim`). CPU is that of all the compiler's processes, from wait4; ratios
are to the compile without in the same round. Outside of a sandbox, whose filter is the same for all.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from node import shim
from node.sandbox.proof import LOG_BYTES, empty_log
from node.shim import build, sources_in

ROUNDS = 21
C = '#include <stdio.h>\n#include <stdlib.h>\nint f(int x) { printf("%d", x); return abs(x); }\n'
CXX = "#include <iostream>\n#include <map>\n#include <regex>\nint f() { return std::map<int, int>().size(); }\n"
COMMANDS = (
    ("gcc", "-O2", "-g", "-c", "a.c"), ("clang", "-O2", "-g", "-c", "a.c"),
    ("g++", "-O1", "-g", "-c", "b.cc"), ("clang++", "-O1", "-g", "-c", "b.cc"),
)  # fmt: skip


def compile_once(command: tuple[str, ...], directory: str, library: str) -> float:
    """CPU seconds of one compile, under a fresh log."""
    with open(os.path.join(directory, "log"), "wb") as log:
        log.write(empty_log())
        log.truncate(LOG_BYTES)
    environment = {"PATH": os.environ["PATH"], **({"LD_PRELOAD": library} if library else {})}
    child = subprocess.Popen([*command, "-o", "x.o"], cwd=directory, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    assert status == 0
    return usage.ru_utime + usage.ru_stime


def build_shim(place: str, directory: str, number: int) -> str:
    library = os.path.join(directory, f"{number}.so")
    build(sources_in(place), library, f'-DLOG_PATH="{directory}/log"')
    return library


def main() -> None:
    print(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        places = [os.path.dirname(shim.__file__), *sys.argv[1:]]
        libraries = ["", *(build_shim(place, directory, at) for at, place in enumerate(places))]
        for name, text in (("a.c", C), ("b.cc", CXX)):
            with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                file.write(text)
        for command in COMMANDS:
            if shutil.which(command[0]):
                report(command[0], ["without", *places], measure(command, directory, libraries))


def measure(command: tuple[str, ...], directory: str, libraries: list[str]) -> list[list[float]]:
    """CPU seconds by library and round."""
    rounds = [[compile_once(command, directory, each) for each in libraries] for _ in range(ROUNDS)]
    return [list(column) for column in zip(*rounds, strict=True)]


def report(name: str, places: list[str], columns: list[list[float]]) -> None:
    plain = columns[0]
    for place, column in zip(places, columns, strict=True):
        ratios = [spent / base for spent, base in zip(column, plain, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cost = f"{statistics.median(column) * 1e3:8.1f} ms{middle:8.3f} ({low:.3f}-{high:.3f})"
        print(f"{name:<9}{place[-40:]:<42}{cost}")


if __name__ == "__main__":
    main()
