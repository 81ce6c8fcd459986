"""How many compiles need the compiler's own list of inputs, in a library that computes its includes?

    python bench/listed.py [--every 10] [--compile 20] [--json]

Boost's headers (Debian's package, kept in .demo/) iterate over files by Boost.Preprocessor and choose them by
macros. One source is made for each header (every Nth), and the scanner decides what it can bound; some are then
compiled through a farm of two nodes and compared with the plain compiler's objects. `g++ -M` on the same source
is the bound: what the listed way costs. The exit status is 1 when 2% or more are listed, or anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.outcome import Here, Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.launchers import wire
from zcc.cli.compilers import compilers_of
from zcc.cli.up import LocalFarm
from zcc.compiler.scan.closure import Closure as Bounded
from zcc.compiler.scan.closure import NotBounded, NotScannable, ScanRequest
from zcc.reasons import Reason

STORE = Path(__file__).resolve().parents[1] / ".demo" / "boost"
ZCC = str(Path(sys.executable).parent / "zcc")
MAX_LISTED = 0.02
COMPILER = "/usr/bin/g++"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=10, help="of the headers, one in so many")
    parser.add_argument("--compile", type=int, default=20, help="so many are compiled as well")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    include = fetch()
    with tempfile.TemporaryDirectory(prefix="zcc-listed-") as scratch:
        sources = write_sources(include, Path(scratch), options.every)
        report = asyncio.run(judge(include, sources))
        chosen = sources[:: max(1, len(sources) // max(1, options.compile))]
        report |= compare(include, chosen, Path(scratch))
    if options.json:
        print(json.dumps(report))
    else:
        print(describe(report))
    return int(float(str(report["listed_share"])) >= MAX_LISTED or bool(report["different"]))


def fetch() -> Path:
    """The directory with `boost/` in it."""
    include = STORE / "usr" / "include"
    if include.exists():
        return include
    STORE.mkdir(parents=True, exist_ok=True)
    depends = run("apt-cache", "depends", "libboost-dev", cwd=STORE)
    package = next(word for word in depends.split() if word.startswith("libboost1"))
    run("apt-get", "-qq", "download", package, cwd=STORE)
    (archive,) = STORE.glob("libboost1*.deb")
    run("dpkg-deb", "-x", str(archive), ".", cwd=STORE)
    archive.unlink()
    return include


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench/listed: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def headers(include: Path) -> Iterator[Path]:
    """Those that users include: of the top and of each library's first level."""
    top = include / "boost"
    for depth in ("*.hpp", "*/*.hpp"):
        for path in sorted(top.glob(depth)):
            yield path.relative_to(include)


def write_sources(include: Path, directory: Path, every: int) -> list[Path]:
    sources = []
    for header in list(headers(include))[::every]:
        source = directory / f"{'_'.join(header.with_suffix('').parts)}.cpp"
        source.write_text(f"#include <{header}>\nint here;\n")
        sources.append(source)
    return sources


def request_for(include: Path, source: Path) -> wire.Request:
    words = ("g++", f"-I{include}", "-c", str(source), "-o", str(source.with_suffix(".o")))
    return wire.Request(
        argv=tuple(os.fsencode(word) for word in words),
        executable=os.fsencode(COMPILER),
        cwd=os.fsencode(source.parent),
        environment=wire.Environment(os.environb),
        umask=0o022,
        terminal=None,
        stdin_is_terminal=False,
        is_cxx=True,
        use_default=False,
    )


class Judge(Analyser):
    """An analyser that notes why it would ask the compiler, instead of asking."""

    cause: NotBounded | None = None

    async def _list(self, *arguments: object) -> Bounded | NotScannable | NotBounded:
        scan = next(each for each in arguments if isinstance(each, ScanRequest))
        answer = await self._scans.closure(scan, time.monotonic(), time.monotonic)
        assert isinstance(answer, NotBounded)
        self.cause = answer
        return NotScannable(Reason.LISTING)


async def judge(include: Path, sources: list[Path]) -> dict[str, object]:
    """What the scanner makes of each, one after the other as in one build."""
    compilers = compilers_of(os.environ)
    analyser = Judge(Surroundings(run_query, compilers.toolchain), os.fsencode(os.environ["HOME"]))
    ways: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    scanned_s, files = [], []
    for source in sources:
        analyser.cause = None
        begun = time.process_time()
        answer = await analyser.analyse(
            request_for(include, source), time.monotonic(), time.monotonic
        )
        if isinstance(answer, Prepared):
            ways["scanned"] += 1
            scanned_s.append(time.process_time() - begun)
            files.append(answer.closure.file_count)
        elif analyser.cause is not None:
            ways["listed"] += 1
            causes[f"{analyser.cause.reason.value} {os.fsdecode(analyser.cause.detail)}"] += 1
        else:
            assert isinstance(answer, Here)
            ways["local"] += 1
            causes[f"local: {answer.reason}"] += 1
    return {
        "headers": len(sources),
        "ways": dict(ways),
        "causes": dict(causes.most_common(20)),
        "listed_share": ways["listed"] / len(sources),
        "scan_ms": [round(1e3 * each, 1) for each in statistics.quantiles(scanned_s, n=20)[9::9]],
        "files": statistics.median(files),
    }


def compare(include: Path, sources: list[Path], directory: Path) -> dict[str, object]:
    """Compile these plain and through a farm; what the plain compiler refuses does not count."""
    different, compiled, list_s = [], 0, []
    farm = LocalFarm(str(directory / "farm"))
    Path(farm.directory).mkdir()
    try:
        farm.start(nodes=2, slots=1)
        environment = {**farm.environment, "ZCC_FALLBACK": "never"}
        for source in sources:
            words = [COMPILER, "-g", f"-I{include}", "-c", source.name, "-o", "x.o"]
            if quietly(words, source.parent).returncode != 0:
                continue
            output = source.parent / "x.o"
            plain = output.read_bytes()
            output.unlink()
            begun = os.times()
            quietly([*words[:-2], "-M", "-o", os.devnull], source.parent)
            ended = os.times()
            list_s.append(sum(ended[2:4]) - sum(begun[2:4]))
            done = quietly([ZCC, *words], source.parent, environment)
            compiled += 1
            if done.returncode != 0 or output.read_bytes() != plain:
                different.append(f"{source.stem}: {done.stderr.decode(errors='replace')[:200]}")
    finally:
        farm.stop()
    return {
        "compiled": compiled,
        "different": different,
        "list_ms": round(1e3 * statistics.median(list_s), 1) if list_s else None,
    }


def quietly(
    words: list[str], directory: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, cwd=directory, env=environment, capture_output=True, check=False)


def describe(report: dict[str, object]) -> str:
    causes = report["causes"]
    assert isinstance(causes, dict)
    return "\n".join(
        [
            f"{report['headers']} headers of Boost: {report['ways']}"
            f" ({100 * float(str(report['listed_share'])):.1f}% listed)",
            *(f"  {count:5} {cause}" for cause, count in causes.items()),
            f"  a scan that nothing is remembered of, CPU ms: median, 95th percentile {report['scan_ms']},"
            f" of {report['files']} files; g++ -M {report['list_ms']}",
            f"  compiled through a farm: {report['compiled']}, different: {report['different'] or 'none'}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
