"""Question: what CPU does a compile cost the developer's own machine, through zcc and through icecream?

Two real projects (Lua in C, Abseil in C++17, both with -g) are built with make, plain, through icecc and
through zcc, in turn in one run. Developer, worker and broker (or scheduler) are network namespaces, so that
each tool takes the others for other machines. Counted for the developer: launchers or wrappers with all that
they start (icecc preprocesses locally), and the tool's local daemon; not make, whose cost a build with `true`
for the compiler gives. The sources differ from round to round, and zcc's cache is off: each compile is real.

Needs root, iproute2, and Debian's icecc for the comparison; sources are fetched as in `make demo`.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: the demo's projects, the tests' machines

from examples import demo  # noqa: E402
from tests.support import machines  # noqa: E402
from tests.support.network_farm import Member, NetworkFarm, wait_until  # noqa: E402
from zcc.agent.launchers import control  # noqa: E402

ROUNDS = 3
SLOTS = 4
JOBS = 4
_TICKS = os.sysconf("SC_CLK_TCK")
_SCHEDULER_PORT = "18765"


def _is_known(log: Path) -> bool:
    return "I am known as" in log.read_text()


def main() -> None:
    why_not = machines.why_not()
    if why_not:
        sys.exit(f"bench/peers.py: {why_not}")
    fetched = [demo.lua(), demo.abseil()]
    projects = [project for project in fetched if project is not None] or [demo.words()]
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="zcc-peers-"))
        os.chmod(directory, 0o755)
        tools: list[Tool] = [Zcc(Path(directory), stack)]
        if shutil.which("icecc"):
            tools.append(Icecc(Path(directory), stack))
        else:
            print("icecc is not installed (Debian: apt-get install icecc): zcc alone")
        print(f"CPU in ms a compile on the developer's machine, {ROUNDS} rounds: median (min-max)")
        for project in projects:
            measure(Work(project, Path(directory) / "work"), tools)


@dataclass
class Work:
    """A copy of a project that is built again and again."""

    project: demo.Project
    directory: Path
    rounds: int = 0
    sources: list[Path] = field(default_factory=list)

    def __enter__(self) -> Work:
        shutil.copytree(self.project.directory, self.directory)
        relative = [path.relative_to(self.project.directory) for path in self.project.sources]
        self.sources = [self.directory / path for path in relative]
        text = demo.makefile_for(relative, self.project.flags)
        (self.directory / "Makefile.bench").write_text(text)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.directory)

    def edit(self) -> None:
        """Sources that no earlier round has compiled."""
        self.rounds += 1
        for source in self.sources:
            with open(source, "a") as file:
                file.write(f"\n/* round {self.rounds} */\n")

    def build(
        self, cc: str, cxx: str, inside: tuple[str, ...] = (), env: dict[str, str] | None = None
    ) -> float:
        """CPU seconds of make and of all that it started and waited for."""
        shutil.rmtree(self.directory / "out", ignore_errors=True)
        command = ["make", "-s", f"-j{JOBS}", "-f", "Makefile.bench", f"CC={cc}", f"CXX={cxx}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*inside, *command], cwd=self.directory, env=env, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Tool:
    """A way to build, and the process that it keeps on the developer's machine."""

    name = ""

    def build(self, work: Work) -> float:
        raise NotImplementedError

    def daemon(self) -> int:
        raise NotImplementedError

    def worker_s(self) -> float:
        """CPU seconds of the worker so far: what is not compiled there was compiled here."""
        raise NotImplementedError

    def round(self, work: Work) -> tuple[float, float]:
        """CPU seconds of (developer, worker)."""
        work.edit()
        before, worker = cpu_s(self.daemon()), self.worker_s()
        launchers = self.build(work)
        return launchers + cpu_s(self.daemon()) - before, self.worker_s() - worker


class Zcc(Tool):
    name = "zcc"

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        place = directory / "zcc"
        place.mkdir()
        self._farm = NetworkFarm(stack.enter_context(machines.network()), place)
        stack.callback(self._farm.stop)
        self._node = self._farm.add_node(SLOTS)
        self._client = self._farm.add_client()
        self._farm.wait_for_nodes(self._client, 1)

    def build(self, work: Work) -> float:
        environment = self._farm.environment(self._client)
        environment |= {"ZCC_FALLBACK": "never", "ZCC_CACHE": "off"}
        return work.build("zcc gcc", "zcc g++", self._client.machine.inside, environment)

    def daemon(self) -> int:
        status = control.ask(str(self._client.state / "agent.sock"), {"op": "status"})
        assert status is not None
        return int(status["pid"])

    def worker_s(self) -> float:
        assert self._node.process is not None
        return cpu_s(self._node.process.pid)


class Icecc(Tool):
    name = "icecc"

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._place = directory / "icecc"
        self._place.mkdir()
        network = stack.enter_context(machines.network())
        members = [Member(network.plug_in(), self._place / name) for name in ("s", "w", "c")]
        for member in members:
            member.state.mkdir()
            shutil.chown(member.state, "icecc", "icecc")
        scheduler, self._worker, self._client = members
        self._start(scheduler, "icecc-scheduler", "-p", _SCHEDULER_PORT)
        at = f"{scheduler.machine.address}:{_SCHEDULER_PORT}"
        self._start_daemon(self._worker, at, "-m", str(SLOTS))
        # No slot of its own: what it compiled itself would not be the price of sending.
        self._start_daemon(self._client, at, "--no-remote", "-m", "0")
        stack.callback(self._stop, members)
        for member in (self._worker, self._client):
            log = self._place / f"{member.state.name}.log"
            wait_until(partial(_is_known, log), f"{log.name}")

    def build(self, work: Work) -> float:
        environment = os.environ | {"ICECC_TEST_SOCKET": str(self._client.state / "socket")}
        return work.build("icecc gcc", "icecc g++", self._client.machine.inside, environment)

    def daemon(self) -> int:
        assert self._client.process is not None
        return self._client.process.pid

    def worker_s(self) -> float:
        assert self._worker.process is not None
        return cpu_s(self._worker.process.pid)

    def _start_daemon(self, member: Member, scheduler: str, *arguments: str) -> None:
        common = ("-s", scheduler, "-b", str(member.state), "-N", member.state.name, "-vv")
        self._start(member, "iceccd", *common, *arguments)

    def _start(self, member: Member, *command: str) -> None:
        environment = os.environ | {"ICECC_TEST_SOCKET": str(member.state / "socket")}
        with open(self._place / f"{member.state.name}.log", "wb") as log:
            member.process = subprocess.Popen(
                [*member.machine.inside, *command, "-n", "zcc-bench"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def _stop(self, members: list[Member]) -> None:
        for member in reversed(members):
            assert member.process is not None
            member.process.terminate()
            member.process.wait()


def measure(work: Work, tools: list[Tool]) -> None:
    with work:
        for tool in tools:
            tool.build(work)  # toolchains travel, headers become known
        rows: dict[str, list[float]] = {"plain": []}
        for _ in range(ROUNDS):
            empty_s = work.build("true", "true")
            work.edit()
            plain_s = work.build("gcc", "g++") - empty_s
            rows["plain"].append(plain_s)
            for tool in tools:
                developer_s, worker_s = tool.round(work)
                rows.setdefault(tool.name, []).append(developer_s - empty_s)
                rows.setdefault(f"({tool.name}'s worker)", []).append(worker_s)
    print(f"\n{work.project.name}, {len(work.sources)} files")
    plain = statistics.median(rows["plain"])
    for name, values in rows.items():
        scaled = sorted(1000 * value / len(work.sources) for value in values)
        spread = f"({scaled[0]:.1f}-{scaled[-1]:.1f})"
        share = 100 * statistics.median(values) / plain
        print(f"  {name:16} {statistics.median(scaled):8.1f} {spread:>18} {share:6.1f}% of plain")
    if "icecc" in rows:
        ratio = statistics.median(rows["zcc"]) / statistics.median(rows["icecc"])
        print(f"  zcc / icecc      {ratio:8.2f}")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of the children that it has waited for (proc(5))."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


if __name__ == "__main__":
    main()
