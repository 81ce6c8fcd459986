"""Question: how well does the broker know what a job will cost, before it runs?

    python bench/knowing.py [--package NAME] [--limit N] [--compilers gcc,clang]

Compiles the C sources of a package (zstandard's has those of zstd) and small C++ programs over the standard
library's headers, with the options that builds use, and holds what was measured against what
broker/scheduling/costs.py expected just before. In the first round each source is new to it, so that the
regression speaks; in the second, in another order, it has seen each once.

`sigma` is the deviation of ln(actual / expected), `bias` its mean, of CPU time and of peak memory. `prior` is
what a broker says that has seen no job at all, `constant` one that takes every job for the mean of them all.
"""

from __future__ import annotations

import argparse
import glob
import math
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from broker.scheduling.costs import Costs
from broker.scheduling.regression import prior_of
from cache.digest import digest_of
from zcc.traits import Traits, traits_of

OPTIONS = ("-O0", "-O2", "-O2 -g", "-O3 -g", "-O1 -g -fsanitize=address,undefined")
HEADERS = (
    "vector", "map string", "regex", "iostream", "algorithm functional", "filesystem", "thread future",
    "unordered_map memory", "random complex", "sstream iomanip locale",
)  # fmt: skip
PROGRAM = """
template <int N> struct Deep {{ static int sum(int x) {{ return x + Deep<N - 1>::sum(x * N); }} }};
template <> struct Deep<0> {{ static int sum(int x) {{ return x; }} }};
int use{number}(int x) {{ return Deep<{depth}>::sum(x); }}
"""


@dataclass(frozen=True)
class Command:
    compiler: str
    argv: tuple[str, ...]
    traits: Traits


Point = tuple[float, float]  # ln of CPU seconds, and of bytes


def c_sources(package: str, place: str) -> list[str]:
    """The sources of a package, fetched as it is published."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
    subprocess.run([*pip, "--dest", place, package], check=True)
    (archive,) = glob.glob(f"{place}/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    return sorted(glob.glob(f"{place}/**/*.c", recursive=True))


def cxx_sources(place: str) -> list[str]:
    made = []
    for number, names in enumerate(HEADERS * 2):
        made.append(os.path.join(place, f"use{number}.cpp"))
        with open(made[-1], "w") as file:
            file.writelines(f"#include <{name}>\n" for name in names.split())
            file.write(PROGRAM.format(number=number, depth=40 * number + 1))
    return made


def commands(
    sources: list[str], compilers: list[str], root: str, rng: random.Random
) -> Iterator[Command]:
    """Each source with each compiler, under two classes of options."""
    for source in sources:
        for compiler in compilers:
            is_cxx = source.endswith(".cpp")
            name = {"gcc": "g++", "clang": "clang++"}[compiler] if is_cxx else compiler
            listed = subprocess.run(
                (name, "-M", source), capture_output=True, text=True, check=False
            )
            if listed.returncode:
                continue  # it needs options of its own
            files = listed.stdout.partition(":")[2].replace("\\\n", " ").split()
            size = sum(map(os.path.getsize, files))
            for options in rng.sample(OPTIONS, 2):
                argv = (name, *options.split(), "-c", source, "-o", os.path.join(root, "out.o"))
                words = [os.fsencode(word) for word in argv]
                traits = traits_of(words, os.fsencode(source), os.fsencode(root), size)
                yield Command(compiler, argv, traits)


def measure(command: Command) -> Point | None:
    with open(os.devnull, "wb") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), at) for at in (1, 2)]
        child = os.posix_spawnp(command.argv[0], command.argv, os.environ, file_actions=actions)
    _, status, usage = os.wait4(child, 0)  # of the driver and all that it has waited for
    if status:
        return None
    return math.log(max(usage.ru_utime + usage.ru_stime, 1e-3)), math.log(usage.ru_maxrss << 10)


def run(costs: Costs, todo: list[Command]) -> dict[str, list[Point]]:
    """What the costs say of each, and the prior, against what is; they learn of it."""
    said: dict[str, list[Point]] = {"said": [], "prior": [], "actual": []}
    for command in todo:
        toolchain = digest_of(command.compiler.encode())
        found = costs.expect("u", toolchain, command.traits)
        actual = measure(command)
        if actual is None:
            continue
        costs.observe("u", toolchain, command.traits, actual[0], int(math.exp(actual[1])))
        said["said"].append((math.log(found.cost_s), math.log(found.peak_bytes)))
        said["prior"].append(prior_of(command.traits))
        said["actual"].append(actual)
    return said


def report(name: str, actual: list[Point], expected: list[Point]) -> None:
    for what, at in (("CPU", 0), ("peak", 1)):
        errors = [one[at] - other[at] for one, other in zip(actual, expected, strict=True)]
        sigma, bias = statistics.pstdev(errors), statistics.fmean(errors)
        print(
            f"{name:>9} {what:>4}: sigma {sigma:.2f}, bias {bias:+.2f}, of {len(errors)} compiles",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", default="zstandard")
    parser.add_argument("--limit", type=int, default=60, help="C sources")
    parser.add_argument("--compilers", default="gcc,clang")
    options = parser.parse_args()
    rng = random.Random(1)
    costs = Costs()
    with tempfile.TemporaryDirectory(prefix="zcc-knowing-") as place:
        found = c_sources(options.package, place)
        chosen = rng.sample(found, min(options.limit, len(found))) + cxx_sources(place)
        todo = list(commands(chosen, options.compilers.split(","), place, rng))
        rng.shuffle(todo)
        unseen = run(costs, todo)
        rng.shuffle(todo)
        seen = run(costs, todo)
    actual = unseen["actual"]
    middle = (
        statistics.fmean(cpu for cpu, _ in actual),
        statistics.fmean(peak for _, peak in actual),
    )
    report("constant", actual, [middle] * len(actual))
    report("prior", actual, unseen["prior"])
    report("unseen", actual, unseen["said"])
    half = len(actual) // 2
    report("its 2nd half", actual[half:], unseen["said"][half:])
    report("seen", seen["actual"], seen["said"])


if __name__ == "__main__":
    main()
