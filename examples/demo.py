"""`make demo`: a broker and two nodes on loopback build real C and C++, every object checked.

The sources come from source distributions on the package index: Lua (inside lupa, C) and Abseil (inside
grpcio, C++). Without a network a small project of our own under examples/words is built instead.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zcc.capacity import processors
from zcc.cli.up import LocalFarm
from zcc.errors import ZccError

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".demo"
NODES = 2
JOBS = 8
FETCH_TIMEOUT_S = 300
# Python before 3.11.4 has no filters.
EXTRACTION_FILTER = getattr(tarfile, "data_filter", lambda member, path: member)
# How often a phase that lasts says so: on a terminal in one line, else in lines that stay.
PROGRESS_S = 1.0
LOGGED_PROGRESS_S = 5.0


@dataclass(frozen=True)
class Project:
    """Some sources below a directory, and how they are compiled."""

    name: str
    directory: Path
    sources: list[Path]
    flags: str


def main() -> int:
    fetched = [lua(), abseil()]
    projects = [project for project in fetched if project is not None]
    if len(projects) < len(fetched):
        print("The sources cannot be fetched (no network?): building examples/words instead.")
        projects = [words()]
    with tempfile.TemporaryDirectory(prefix="zcc-demo-") as directory:
        farm = LocalFarm(directory)
        try:
            print(f"Starting a broker and {NODES} nodes on loopback ...", flush=True)
            farm.start(NODES, slots=max(1, processors() // NODES))
            rows = [build_and_check(project, directory, farm) for project in projects]
        finally:
            farm.stop()
    print_table(rows)
    return int(any(row["different"] for row in rows))


def fetch(package: str, version: str) -> Path | None:
    """The unpacked source distribution, kept in .demo; None when it cannot be had."""
    place = STORE / f"{package}-{version}"
    if place.exists():
        return place
    STORE.mkdir(exist_ok=True)
    print(f"Fetching the sources in {package} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=STORE) as scratch:
        # Not ":all:": pip would build what the package is built with from source too.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", package]
        command += ["--no-deps", "--dest", scratch, f"{package}=={version}"]
        try:
            run_showing(command, STORE, dict(os.environ), lambda: "fetching", FETCH_TIMEOUT_S)
            print(f"Unpacking {package} ...", flush=True)
            with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
                archive.extraction_filter = EXTRACTION_FILTER
                archive.extractall(scratch)
        except (subprocess.SubprocessError, StopIteration, tarfile.TarError, OSError):
            return None
        next(path for path in Path(scratch).iterdir() if path.is_dir()).rename(place)
    return place


def lua() -> Project | None:
    root = fetch("lupa", "2.0")
    if root is None:
        return None
    directory = root / "third-party" / "lua54"
    left_out = {"onelua.c", "ltests.c"}
    sources = sorted(path for path in directory.glob("*.c") if path.name not in left_out)
    return Project("Lua 5.4 (C)", directory, sources, "-O2 -g -std=gnu99 -DLUA_USE_LINUX -I.")


def abseil() -> Project | None:
    root = fetch("grpcio", "1.76.0")
    if root is None:
        return None
    directory = root / "third_party" / "abseil-cpp"
    parts = ("base", "numeric", "strings", "time")
    found = (path for part in parts for path in (directory / "absl" / part).rglob("*.cc"))
    left_out = ("test", "benchmark", "mock", "_win")
    sources = sorted(path for path in found if not any(word in path.name for word in left_out))
    return Project("Abseil (C++)", directory, sources, "-O2 -g -std=c++17 -I.")


def words() -> Project:
    directory = ROOT / "examples" / "words"
    sources = [*sorted(directory.glob("*.c")), *sorted(directory.glob("*.cc"))]
    return Project("words (C, C++)", directory, sources, "-O2 -g")


def build_and_check(project: Project, scratch: str, farm: LocalFarm) -> dict[str, object]:
    """Compile in one place twice, plain and through zcc: the paths in the objects are the same."""
    work = Path(scratch) / "work"
    shutil.copytree(project.directory, work)
    makefile = work / "Makefile.zcc-demo"
    relative = [path.relative_to(project.directory) for path in project.sources]
    makefile.write_text(makefile_for(relative, project.flags))
    print(f"{project.name}: {len(relative)} files, plain ...", flush=True)
    plain_s = make(work, dict(os.environ), "gcc", "g++")
    kept = Path(scratch) / "plain"
    (work / "out").rename(kept)
    print(f"{project.name}: through zcc, make -j{JOBS} ...", flush=True)
    before = stats(farm)
    farm_s = make(work, farm.environment, "zcc gcc", "zcc g++")
    after = stats(farm)
    print(f"{project.name}: comparing ...", flush=True)
    objects = sorted(kept.rglob("*.[od]"))
    different = [
        str(path.relative_to(kept))
        for path in objects
        if not filecmp.cmp(path, work / "out" / path.relative_to(kept), shallow=False)
    ]
    shutil.rmtree(work)
    shutil.rmtree(kept)
    return {
        "name": project.name,
        "files": len(relative),
        "remote": after["outcomes"]["remote"] - before["outcomes"]["remote"],
        "local": after["outcomes"]["local"] - before["outcomes"]["local"],
        "equal": len(objects) - len(different),
        "different": different,
        "plain_s": plain_s,
        "farm_s": farm_s,
        "sent_mib": (after["bytes_sent"] - before["bytes_sent"]) / (1 << 20),
        "nodes": after["nodes"],
    }


def makefile_for(sources: list[Path], flags: str) -> str:
    lines = ["all:"]
    for source in sources:
        target = Path("out") / source.with_suffix(source.suffix + ".o")
        compiler = "$(CC)" if source.suffix == ".c" else "$(CXX)"
        lines[0] += f" {target}"
        lines.append(f"{target}: {source}\n\t@mkdir -p $(@D)")
        lines.append(f"\t@{compiler} {flags} -MD -c -o $@ $<")
    return "\n".join(lines) + "\n"


def make(directory: Path, environment: dict[str, str], cc: str, cxx: str) -> float:
    command = ["make", "-s", f"-j{JOBS}", "-f", "Makefile.zcc-demo", f"CC={cc}", f"CXX={cxx}"]
    own = str(Path(sys.executable).parent)
    environment = environment | {"PATH": f"{own}:{environment['PATH']}"}
    begun = time.monotonic()
    total = (directory / "Makefile.zcc-demo").read_text().count("-MD -c")

    def made() -> str:
        return f"{sum(1 for _ in (directory / 'out').rglob('*.o'))} of {total} objects"

    run_showing(command, directory, environment, made)
    return time.monotonic() - begun


def run_showing(
    command: list[str],
    directory: Path,
    environment: dict[str, str],
    progress: Callable[[], str],
    timeout_s: float | None = None,
) -> None:
    """Run a command to its end, saying now and then how far it is.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than `timeout_s`. Only of a command without a
            time limit the messages are shown.
    """
    is_terminal, begun = sys.stdout.isatty(), time.monotonic()
    is_quiet = timeout_s is not None
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.DEVNULL if is_quiet else None,
        stderr=subprocess.DEVNULL if is_quiet else None,
    ) as process:
        has_line = False
        while True:
            try:
                process.wait(PROGRESS_S if is_terminal else LOGGED_PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                took_s = time.monotonic() - begun
            if timeout_s is not None and took_s > timeout_s:
                process.kill()
                raise subprocess.TimeoutExpired(command, timeout_s)
            line = f"  {progress()}, {took_s:.0f} s"
            print(
                f"\r{line:40}" if is_terminal else line, end="" if is_terminal else "\n", flush=True
            )
            has_line = True
    if has_line and is_terminal:
        print()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def stats(farm: LocalFarm) -> dict[str, Any]:
    command = [str(Path(sys.executable).parent / "zcc"), "stats", "--json"]
    done = subprocess.run(command, env=farm.environment, check=True, capture_output=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def print_table(rows: list[dict[str, object]]) -> None:
    print(f"\n{'project':16} {'files':>5} {'remote':>6} {'local':>5} {'equal':>9} ", end="")
    print(f"{'plain':>8} {'zcc':>8} {'sent':>10}")
    for row in rows:
        total = f"{row['equal']}/{int(str(row['equal'])) + len(row['different'])}"  # type: ignore[arg-type]
        print(
            f"{row['name']:16} {row['files']:>5} {row['remote']:>6} {row['local']:>5} {total:>9}"
            f" {row['plain_s']:>6.1f} s {row['farm_s']:>6.1f} s {row['sent_mib']:>6.1f} MiB"
        )
        for name in row["different"]:  # type: ignore[attr-defined]
            print(f"  DIFFERENT: {name}")
    print(f"compiled by: {rows[-1]['nodes']}")
    print("Both nodes share this machine's processors with make, so zcc cannot be faster here;")
    print("equal counts objects and dependency files that are the same to the byte.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ZccError as error:
        sys.exit(f"demo: {error}")
