"""What does finding a file's inputs cost, first and again, against preprocessing it?

    python bench/scanner.py [--files N] [--rounds N] [--compiler g++]

Makes C++ files that include between a few and forty standard headers, and times in one run, interleaved:
reading text for directives (MB/s), a scan that knows nothing, a scan of a new file whose headers are known,
the same scan again with every file looked at, the same with the look shared by waiting requests, the bound
of that (nothing but the `lstat` calls), the judging of a result's look-ups, and `-E` of the same files.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zcc.compiler.disk.disk import Disk
from zcc.compiler.proof.misses import check
from zcc.compiler.scan.closure import Closure, ScanRequest
from zcc.compiler.scan.scanner import Scanner
from zcc.compiler.scan.search_list import SearchList, parse_search_list, query_arguments
from zcc.compiler.text.directives import read_facts
from zcc.job import Lookups

HEADERS = [
    "algorithm",
    "any",
    "array",
    "atomic",
    "bitset",
    "chrono",
    "cmath",
    "complex",
    "condition_variable",
    "cstdio",
    "cstdlib",
    "cstring",
    "deque",
    "exception",
    "filesystem",
    "fstream",
    "functional",
    "future",
    "iomanip",
    "iostream",
    "iterator",
    "limits",
    "list",
    "locale",
    "map",
    "memory",
    "mutex",
    "numeric",
    "optional",
    "ostream",
    "queue",
    "random",
    "ratio",
    "regex",
    "set",
    "shared_mutex",
    "sstream",
    "stack",
    "stdexcept",
    "string",
    "string_view",
    "thread",
    "tuple",
    "type_traits",
    "unordered_map",
    "utility",
    "variant",
    "vector",
]
FLAGS = (b"-std=c++17",)
MISSES_PER_DIRECTORY = 25


@dataclass
class Times:
    """Seconds, by what was timed."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def take(self, what: str, work: Callable[..., object], *arguments: object) -> None:
        begun = time.perf_counter()
        work(*arguments)
        self.of.setdefault(what, []).append(time.perf_counter() - begun)

    def show(self, peer: str) -> None:
        bound = statistics.median(self.of[peer])
        print(f"{'':34} {'median':>9} {'quartiles':>19} {'of ' + peer:>12}")
        for what, seconds in self.of.items():
            low, middle, high = (1e3 * q for q in statistics.quantiles(seconds, n=4))
            share = middle / 1e3 / bound
            print(f"{what:34} {middle:6.3f} ms {low:7.3f} .. {high:7.3f} {share:11.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compiler", default="g++")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        top = os.fsencode(os.path.realpath(made))
        _run(top, options.compiler, options.files, options.rounds)


def _run(top: bytes, compiler: str, files: int, rounds: int) -> None:
    search = _ask(compiler, top)
    requests = [_request(top, source, search) for source in _write(top, files)]
    times = Times()
    known, closures = _scan_new(requests, times)
    now = 1e6
    for _ in range(rounds):
        for request, closure in zip(requests, closures, strict=True):
            now += 1.0
            disk, scanner = known
            times.take("again, every file looked at", scanner.scan, request, now)
            times.take("again, look shared", scanner.scan, request, now + 0.5, now)
            paths = [each.path for each in closure.manifest.files]
            times.take("bound: lstat of its files", _look_at, paths)
            lookups = _lookups(closure)
            times.take("judging a result's look-ups", check, lookups, disk)
    for request in requests:
        command = [compiler.encode(), b"-E", *FLAGS, request.source, b"-o", os.devnull.encode()]
        times.take("-E", _run_compiler, command, top)
    counts = sorted(closure.file_count for closure in closures)
    print(f"{compiler}: {files} files with {counts[0]} to {counts[-1]} inputs each")
    _show_reading(closures)
    times.show("-E")


def _scan_new(
    requests: list[ScanRequest], times: Times
) -> tuple[tuple[Disk, Scanner], list[Closure]]:
    disk = Disk()
    scanner = Scanner(disk, b"/nobody")
    closures = []
    for request in requests:
        cold = Scanner(Disk(), b"/nobody")
        times.take("nothing known", cold.scan, request, 1.0)
        scanner.scan(request, 1.0)
        fresh = Scanner(disk, b"/nobody")
        times.take("new file, headers known", fresh.scan, request, 2.0)
        answer = scanner.scan(request, 2.0)
        assert isinstance(answer, Closure), answer
        closures.append(answer)
    return (disk, scanner), closures


def _look_at(paths: list[bytes]) -> None:
    list(map(os.lstat, paths))


def _run_compiler(command: list[bytes], cwd: bytes) -> None:
    subprocess.run(command, cwd=cwd, check=True)


def _show_reading(closures: list[Closure]) -> None:
    contents = []
    for path in {each.path for closure in closures for each in closure.manifest.files}:
        with open(path, "rb") as file:
            contents.append(file.read())
    begun = time.perf_counter()
    for content in contents:
        read_facts(content)
    took = time.perf_counter() - begun
    size = sum(map(len, contents))
    print(f"directives: {size / took / 1e6:.0f} MB/s, {took / len(contents) * 1e6:.0f} us a file")


def _lookups(closure: Closure) -> Lookups:
    """As many look-ups as a compile makes: in each directory of the closure some names that are absent."""
    directories = {each.path.rpartition(b"/")[0] for each in closure.manifest.files}
    names = tuple(b"absent-%d.h" % at for at in range(MISSES_PER_DIRECTORY))
    own = tuple(closure.misses.items())
    return Lookups(misses=(*own, *((at, names) for at in sorted(directories))))


def _ask(compiler: str, top: bytes) -> SearchList:
    command = [compiler.encode(), *query_arguments(FLAGS, "c++")]
    environment = {**os.environ, "LC_ALL": "C"}
    ran = subprocess.run(command, cwd=top, env=environment, capture_output=True, check=True)
    return parse_search_list(ran.stderr, FLAGS)


def _write(top: bytes, files: int) -> list[bytes]:
    rng = random.Random(1)
    sources = []
    for at in range(files):
        chosen = rng.sample(HEADERS, rng.randint(3, 40))
        sources.append(b"f%d.cc" % at)
        with open(os.path.join(top, sources[-1]), "w", encoding="ascii") as file:
            file.writelines(f"#include <{name}>\n" for name in chosen)
    return sources


def _request(top: bytes, source: bytes, search: SearchList) -> ScanRequest:
    return ScanRequest(cwd=top, source=source, language="c++", search=search, roots=(top,))


if __name__ == "__main__":
    main()
