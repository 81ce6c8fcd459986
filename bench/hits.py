"""Question: what does a cache hit cost the user's machine, and how many come a second, beside the peers?

Two real projects (Lua in C, Abseil in C++17, both with -g) are built once through each tool, then again and
again in turn with nothing but hits. Counted: CPU of launchers or wrappers with all that they start, and of
the tool's own daemon; not make, whose cost a build with `true` for the compiler gives. Then the hits a second
of `make -j16` on this machine's processors, by the wall clock.

Beside zcc: ccache (direct mode), sccache, zccache, whichever is on PATH. Sources are fetched as in `make demo`.
A round that was not all hits ends the bench.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: the demo's projects

from examples import demo  # noqa: E402
from zcc.agent.launchers import control  # noqa: E402
from zcc.cli.up import LocalFarm  # noqa: E402

ROUNDS = 3
JOBS = 4
MANY_JOBS = 16
_TICKS = os.sysconf("SC_CLK_TCK")
BIN = Path(sys.executable).parent

Environment = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    as_json = parser.parse_args().json
    fetched = [demo.lua(), demo.abseil()]
    projects = [project for project in fetched if project is not None] or [demo.words()]
    document = {}
    with tempfile.TemporaryDirectory(prefix="zcc-hits-") as directory:
        tools = find_tools(Path(directory))
        try:
            for project in projects:
                document[project.name] = measure(project, Path(directory) / "work", tools)
        finally:
            for tool in tools:
                tool.stop()
    if as_json:
        print(json.dumps(document))


@dataclass
class Tool:
    """A cache in front of the compiler. `daemon` is the process that it keeps; `hits` a count so far."""

    name: str
    prefix: str
    environment: Environment
    hits: Callable[[], int]
    daemon: Callable[[], int | None] = lambda: None
    stop: Callable[[], object] = lambda: None


def find_tools(directory: Path) -> list[Tool]:
    found = [zcc(directory)]
    makers = {"ccache": ccache, "sccache": sccache, "zccache": zccache}
    for name, make_tool in makers.items():
        if shutil.which(name):
            found.append(make_tool(directory / name))
        else:
            print(f"{name} is not on PATH: measured without it")
    return found


def zcc(directory: Path) -> Tool:
    farm = LocalFarm(str(directory))
    farm.start(nodes=1, slots=2)
    path = f"{os.environ['PATH']}:{BIN}"
    environment = {**farm.environment, "PATH": path, "ZCC_FALLBACK": "never"}

    def ask(op: str) -> dict[str, object]:
        answer = control.ask(environment["ZCC_SOCKET"], {"op": op})
        assert answer is not None
        return answer

    def hits() -> int:
        outcomes = ask("stats")["outcomes"]
        assert isinstance(outcomes, dict)
        return int(outcomes["local_hit"])

    return Tool("zcc", "zcc ", environment, hits, lambda: int(str(ask("status")["pid"])), farm.stop)


def ccache(directory: Path) -> Tool:
    environment = {**os.environ, "CCACHE_DIR": str(directory)}

    def hits() -> int:
        done = run(environment, "ccache", "--print-stats")
        rows = dict(line.split("\t") for line in done.splitlines())
        return int(rows["direct_cache_hit"])

    return Tool("ccache", "ccache ", environment, hits)


def sccache(directory: Path) -> Tool:
    environment = {
        **os.environ,
        "SCCACHE_DIR": str(directory),
        "SCCACHE_SERVER_UDS": str(directory.with_suffix(".sock")),
        "SCCACHE_IDLE_TIMEOUT": "0",
        "SCCACHE_DIRECT": "true",
    }
    run(environment, "sccache", "--start-server")

    def hits() -> int:
        stats = json.loads(run(environment, "sccache", "--show-stats", "--stats-format", "json"))
        return sum(stats["stats"]["cache_hits"]["counts"].values())

    def stop() -> None:
        run(environment, "sccache", "--stop-server")

    return Tool("sccache", "sccache ", environment, hits, lambda: pid_with(environment), stop)


def zccache(directory: Path) -> Tool:
    environment = {**os.environ, "ZCCACHE_CACHE_DIR": str(directory)}
    run(environment, "zccache", "start")

    def hits() -> int:
        stats = json.loads(run(environment, "zccache", "status", "--json"))
        return int(stats["daemon"]["cache_hits"])

    def stop() -> None:
        run(environment, "zccache", "stop")

    return Tool("zccache", "zccache ", environment, hits, lambda: pid_with(environment), stop)


def run(environment: Environment, *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def pid_with(environment: Environment) -> int | None:
    """The process that was started with this tool's directory in its environment."""
    mark = next(
        f"{name}={value}"
        for name, value in environment.items()
        if name.endswith("CACHE_DIR") or name == "SCCACHE_DIR"
    )
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    return int(entry.name)
            except OSError:
                continue
    return None


@dataclass
class Work:
    """A copy of a project that is built again and again."""

    project: demo.Project
    directory: Path
    count: int = field(init=False)

    def __post_init__(self) -> None:
        shutil.copytree(self.project.directory, self.directory)
        relative = [path.relative_to(self.project.directory) for path in self.project.sources]
        self.count = len(relative)
        text = demo.makefile_for(relative, self.project.flags)
        (self.directory / "Makefile.bench").write_text(text)

    def build(self, prefix: str, env: Environment, jobs: int = JOBS) -> tuple[float, float]:
        """(CPU, wall) seconds of make and of all that it started and waited for."""
        shutil.rmtree(self.directory / "out", ignore_errors=True)
        cc, cxx = (f"{prefix}gcc", f"{prefix}g++") if prefix != "true" else ("true", "true")
        command = ["make", "-s", f"-j{jobs}", "-f", "Makefile.bench", f"CC={cc}", f"CXX={cxx}"]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, cwd=self.directory, env=env, check=True)
        wall_s = time.monotonic() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def measure(project: demo.Project, directory: Path, tools: list[Tool]) -> dict[str, object]:
    work = Work(project, directory)
    cpu: dict[str, list[float]] = {tool.name: [] for tool in tools}
    rates: dict[str, list[float]] = {tool.name: [] for tool in tools}
    try:
        # Twice: some begin to remember with the second look at a file.
        for tool in (*tools, *tools):
            work.build(tool.prefix, tool.environment)
        time.sleep(
            2.5
        )  # a file that has just been written is not believed by anybody's time stamps
        for tool in tools:
            work.build(tool.prefix, tool.environment)
        for _ in range(ROUNDS):
            empty_s, _ = work.build("true", dict(os.environ))
            for tool in tools:
                cpu[tool.name].append(one_round(work, tool, JOBS)[0] - empty_s)
        for _ in range(ROUNDS):
            for tool in tools:
                rates[tool.name].append(work.count / one_round(work, tool, MANY_JOBS)[1])
    finally:
        shutil.rmtree(directory)
    return show(work, cpu, rates)


def one_round(work: Work, tool: Tool, jobs: int) -> tuple[float, float]:
    """(CPU seconds of launchers and daemon, wall seconds) of a build that has to be all hits."""
    hits, pid = tool.hits(), tool.daemon()
    before = cpu_s(pid)
    launchers_s, wall_s = work.build(tool.prefix, tool.environment, jobs)
    spent_s = launchers_s + cpu_s(pid) - before
    found = tool.hits() - hits
    if found != work.count:
        sys.exit(f"{tool.name}: {found} hits of {work.count}")
    return spent_s, wall_s


def show(
    work: Work, cpu: dict[str, list[float]], rates: dict[str, list[float]]
) -> dict[str, object]:
    print(f"\n{work.project.name}, {work.count} files, {ROUNDS} rounds: median (min-max)")
    best = (
        min(statistics.median(values) for name, values in cpu.items() if name != "zcc")
        if len(cpu) > 1
        else None
    )
    for name, values in cpu.items():
        scaled = sorted(1000 * value / work.count for value in values)
        spread = f"({scaled[0]:.1f}-{scaled[-1]:.1f})"
        rate = statistics.median(rates[name])
        cost = f"{statistics.median(scaled):6.1f} ms a hit {spread:>14}"
        print(f"  {name:10} {cost} {rate:8.0f} hits/s at -j{MANY_JOBS}")
    ours = statistics.median(cpu["zcc"])
    for name, values in cpu.items():
        if name != "zcc":
            print(f"  zcc / {name:8} {ours / statistics.median(values):6.2f}")
    if best is not None:
        print(f"  zcc / best peer {ours / best:4.2f}")
    return {"cpu_s": cpu, "hits_per_s": rates, "files": work.count}


def cpu_s(pid: int | None) -> float:
    """CPU seconds of a process and of the children that it has waited for (proc(5))."""
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


if __name__ == "__main__":
    main()
