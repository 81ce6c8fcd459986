"""zcc, icecc and distcc, each as a farm of network namespaces that bench/farm.py drives alike."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sleepers.compiler import descendants, set_speed
from tests.support import machines
from tests.support.network_farm import NetworkFarm, wait_until
from zcc.agent.launchers import control

_SCHEDULER_PORT = "18765"
_DISTCC_PORT = 3632
_PROXY_PORT = 19000
_STOP_S = 10.0
PROXY = Path(__file__).with_name("proxy.py")


@dataclass(frozen=True)
class Shape:
    """What a farm is to be. `speeds` has one for each node; `latency_ms` (one way) and `mbit` are of the line
    between the users and the farm, 0: as it is."""

    speeds: tuple[float, ...]
    slots: int
    users: int = 1
    latency_ms: float = 0.0
    mbit: float = 0.0

    @property
    def is_far(self) -> bool:
        return bool(self.latency_ms or self.mbit)


class PeerFarm:
    """A farm that is up. Processes are found by `client_pids` and so on, so that their CPU can be read."""

    name = ""
    has_far = True
    meter: Meter

    def __init__(self, shape: Shape, place: Path, driver: Path, stack: ExitStack) -> None:
        self.shape, self.place, self.driver = shape, place, driver
        place.mkdir()
        self._others: list[subprocess.Popen[bytes]] = []
        stack.callback(self._end_others)

    def cc(self) -> str:
        """What stands for CC."""
        raise NotImplementedError

    def environment(self, user: int) -> dict[str, str]:
        raise NotImplementedError

    def inside(self, user: int) -> tuple[str, ...]:
        """What a command on this user's machine begins with."""
        raise NotImplementedError

    def pids(self) -> dict[str, list[int]]:
        """Processes of `client` (without those that make starts), `broker` and `node`."""
        raise NotImplementedError

    def node_pid(self, number: int) -> int:
        return self.pids()["node"][number]

    def slow_down(self, number: int, speed: float) -> None:
        set_speed(self.node_pid(number), speed)

    def kill_node(self, number: int) -> None:
        pid = self.node_pid(number)
        for each in (pid, *descendants(pid)):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _set_speeds(self) -> None:
        for number, speed in enumerate(self.shape.speeds):
            if speed != 1.0:
                self.slow_down(number, speed)

    def _spawn(self, machine: machines.Machine, name: str, *command: str, **more: str) -> int:
        with open(self.place / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [*machine.inside, *command],
                env=os.environ | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._others.append(process)
        return process.pid

    def _proxy(self, machine: machines.Machine, target: str, number: int = 0) -> str:
        """Start a line from this machine; where it is reached."""
        shape, at = self.shape, f"127.0.0.1:{_PROXY_PORT + number}"
        name = f"proxy{len(self._others)}"
        line = (str(shape.latency_ms), str(shape.mbit))
        self._spawn(machine, name, sys.executable, str(PROXY), at, target, *line)
        log = self.place / f"{name}.log"
        wait_until(lambda: "ready" in log.read_text(), name)
        return at

    def _end_others(self) -> None:
        for process in self._others:
            process.terminate()
        for process in self._others:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Zcc(PeerFarm):
    name = "zcc"

    def __init__(self, shape: Shape, place: Path, driver: Path, stack: ExitStack) -> None:
        super().__init__(shape, place, driver, stack)
        state = place / "farm"
        state.mkdir()
        self._farm = NetworkFarm(stack.enter_context(machines.network()), state)
        stack.callback(self._farm.stop)
        for _ in shape.speeds:
            self._farm.add_node(shape.slots)
        for _ in range(shape.users):
            self._farm.add_client(self._far_end if shape.is_far else None)
        for each in self._farm.clients:
            self._farm.wait_for_nodes(each, len(shape.speeds))
        self._set_speeds()

    def cc(self) -> str:
        return f"zcc {self.driver}"

    def environment(self, user: int) -> dict[str, str]:
        client = self._farm.clients[user]
        return self._farm.environment(client) | {"ZCC_FALLBACK": "never", "ZCC_CACHE": "off"}

    def inside(self, user: int) -> tuple[str, ...]:
        return self._farm.clients[user].machine.inside

    def pids(self) -> dict[str, list[int]]:
        agents = []
        for client in self._farm.clients:
            status = control.ask(str(client.state / "agent.sock"), {"op": "status"})
            agents += [int(status["pid"])] if status else []
        assert self._farm.broker.process is not None
        nodes = [node.process.pid for node in self._farm.nodes if node.process is not None]
        return {"client": agents, "broker": [self._farm.broker.process.pid], "node": nodes}

    def _far_end(self, machine: machines.Machine) -> str:
        return f"tcp://{self._proxy(machine, self._farm.endpoint.removeprefix('tcp://'))}"


class Icecc(PeerFarm):
    name = "icecc"
    has_far = False  # its clients dial every node: there is no one line to be made long

    def __init__(self, shape: Shape, place: Path, driver: Path, stack: ExitStack) -> None:
        super().__init__(shape, place, driver, stack)
        network = stack.enter_context(machines.network())
        self._scheduler = network.plug_in()
        self._members: list[str] = []
        scheduler = (shutil.which("icecc-scheduler") or "icecc-scheduler", "-p", _SCHEDULER_PORT)
        self._pids = {"broker": [self._start(self._scheduler, "scheduler", *scheduler)]}
        self._pids["node"] = [
            self._daemon(network.plug_in(), f"node{number}", "-m", str(shape.slots))
            for number in range(len(shape.speeds))
        ]
        self._clients = [network.plug_in() for _ in range(shape.users)]
        # No slot of its own: what the client compiled itself would not be the farm's.
        self._pids["client"] = [
            self._daemon(client, f"client{number}", "--no-remote", "-m", "0")
            for number, client in enumerate(self._clients)
        ]
        made = subprocess.run(
            ["/usr/lib/icecc/icecc-create-env", str(driver)],
            cwd=place, capture_output=True, check=True, text=True,
        )  # fmt: skip
        name = next(line.split()[1] for line in made.stdout.splitlines() if "creating" in line)
        self._version = str(place / name)
        for member in self._members:
            log = place / f"{member}.log"
            wait_until(lambda log=log: "I am known as" in log.read_text(), member)  # type: ignore[misc]
        self._set_speeds()

    def cc(self) -> str:
        return f"icecc {self.driver}"

    def environment(self, user: int) -> dict[str, str]:
        socket = str(self.place / f"client{user}" / "socket")
        return os.environ | {"ICECC_TEST_SOCKET": socket, "ICECC_VERSION": self._version}

    def inside(self, user: int) -> tuple[str, ...]:
        return self._clients[user].inside

    def pids(self) -> dict[str, list[int]]:
        return self._pids

    def _daemon(self, machine: machines.Machine, name: str, *arguments: str) -> int:
        state = self.place / name
        state.mkdir()
        shutil.chown(state, "icecc", "icecc")
        at = f"{self._scheduler.address}:{_SCHEDULER_PORT}"
        common = ("-s", at, "-b", str(state), "-N", name, "-vv")
        self._members.append(name)
        return self._start(machine, name, "iceccd", *common, *arguments)

    def _start(self, machine: machines.Machine, name: str, *command: str) -> int:
        socket = str(self.place / name / "socket")
        return self._spawn(machine, name, *command, "-n", "zcc-bench", ICECC_TEST_SOCKET=socket)


class Distcc(PeerFarm):
    name = "distcc"

    def __init__(self, shape: Shape, place: Path, driver: Path, stack: ExitStack) -> None:
        super().__init__(shape, place, driver, stack)
        network = stack.enter_context(machines.network())
        nodes = [network.plug_in() for _ in shape.speeds]
        self._clients = [network.plug_in() for _ in range(shape.users)]
        self._pids: dict[str, list[int]] = {"client": [], "broker": [], "node": []}
        for number, node in enumerate(nodes):
            options = ("--no-detach", "--daemon", "--allow", "0.0.0.0/0", "--enable-tcp-insecure")
            jobs = ("--user", "nobody", "--jobs", str(shape.slots), "--log-stderr")
            self._pids["node"].append(
                self._spawn(node, f"node{number}", "distccd", *options, *jobs)
            )
        self._hosts = []
        for client in self._clients:
            ends = [f"{node.address}:{_DISTCC_PORT}" for node in nodes]
            if shape.is_far:
                ends = [self._proxy(client, end, number) for number, end in enumerate(ends)]
            self._hosts.append(" ".join(f"{end}/{shape.slots},lzo" for end in ends))
        self._set_speeds()

    def cc(self) -> str:
        return f"distcc {self.driver}"

    def environment(self, user: int) -> dict[str, str]:
        state = self.place / f"client{user}"
        state.mkdir(exist_ok=True)
        more = {"DISTCC_HOSTS": self._hosts[user], "DISTCC_DIR": str(state)}
        return os.environ | more | {"DISTCC_FALLBACK": "0", "DISTCC_BACKOFF_PERIOD": "0"}

    def inside(self, user: int) -> tuple[str, ...]:
        return self._clients[user].inside

    def pids(self) -> dict[str, list[int]]:
        return self._pids


FARMS: tuple[type[PeerFarm], ...] = (Zcc, Icecc, Distcc)


def why_not(farm: type[PeerFarm]) -> str:
    """Empty where this peer is installed."""
    programs = {"icecc": ("icecc", "iceccd", "icecc-scheduler"), "distcc": ("distcc", "distccd")}
    missing = [each for each in programs.get(farm.name, ()) if shutil.which(each) is None]
    return f"{', '.join(missing)} missing (Debian: apt-get install {farm.name})" if missing else ""


@contextmanager
def started(kind: type[PeerFarm], shape: Shape, place: Path, driver: Path) -> Iterator[PeerFarm]:
    with ExitStack() as stack:
        meter = Meter(f"{place.parent.name}-{place.name}", stack)
        farm = kind(shape, place, driver, stack)
        farm.meter = meter
        yield farm


class Meter:
    """CPU seconds of the parts of a farm, each in a control group of its own: what its processes start is
    counted wherever it ends up. (proc(5) alone misses what a daemon never waits for, as icecc's does.)"""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._is_old = os.path.isdir("/sys/fs/cgroup/cpuacct")
        root = Path("/sys/fs/cgroup") / ("cpuacct" if self._is_old else "")
        self._place = root / f"zcc-bench-{os.getpid()}-{name}"
        self._place.mkdir()
        self._groups: dict[str, Path] = {}
        stack.callback(self._remove)  # before the farm's own, so that it comes after it

    def take(self, pids: dict[str, list[int]]) -> None:
        """Count these from now on, and all below them."""
        for part, members in pids.items():
            group = self._groups.get(part)
            if group is None:
                group = self._groups[part] = self._place / part
                group.mkdir()
            for each in (each for pid in members for each in (pid, *descendants(pid))):
                try:
                    (group / "cgroup.procs").write_text(str(each))
                except (ProcessLookupError, OSError):
                    continue  # it has ended

    def spent_s(self) -> dict[str, float]:
        return {part: self._read(group) for part, group in self._groups.items()}

    def _read(self, group: Path) -> float:
        if self._is_old:
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return int((group / "cpu.stat").read_text().split()[1]) / 1e6

    def _remove(self) -> None:
        for group in self._groups.values():
            wait_until(lambda group=group: not _members(group), f"{group} to be empty")  # type: ignore[misc]
            group.rmdir()
        self._place.rmdir()


def _members(group: Path) -> str:
    return (group / "cgroup.procs").read_text()
