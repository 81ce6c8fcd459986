"""Parts that die, freeze, come and go in the middle of a build: it ends well, with the same objects."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.disturbed import build_while
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent


@pytest.fixture
def farm() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-faults-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=2, slots=1)
            # These tests are about compiling: what is remembered must not answer for it.
            local.environment["ZCC_CACHE"] = "off"
            yield local
        finally:
            for process in (*local.nodes, local.broker):
                if process is not None and process.poll() is None:
                    process.send_signal(signal.SIGCONT)
            local.stop()


def build(farm: LocalFarm, project: Path, disturb: Callable[[], object]) -> None:
    build_while(project, {**farm.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}, disturb)


def agent_of(farm: LocalFarm) -> int:
    status = control.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    return int(status["pid"])


def running(farm: LocalFarm) -> int:
    listed = control.ask(farm.environment["ZCC_SOCKET"], {"op": "nodes"})
    return sum(row["running"] for row in listed["nodes"]) if listed else 0


def test_a_node_that_is_killed(farm: LocalFarm, project: Path) -> None:
    build(farm, project, farm.nodes[0].kill)


@pytest.mark.parametrize("victim", ["cc1plus", "bwrap"])
def test_a_job_that_the_kernel_kills_for_memory(
    farm: LocalFarm, project: Path, victim: str
) -> None:
    """What the kernel's choice falls on is the compiler, or else what holds its sandbox."""
    nodes = [node.pid for node in farm.nodes]

    def kill() -> None:
        wait_until(lambda: kill_below(nodes, victim), f"a {victim} to run on a node")

    build(farm, project, kill)


def kill_below(ancestors: list[int], name: str) -> bool:
    """End one process of this name below one of these; whether there was one."""
    parents, named = {}, []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry)
            command, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            parents[pid] = int(rest.split()[1])
            # A copy in memory is known to the kernel by its descriptor's number.
            called = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            if command.endswith(f"({name}") or os.path.basename(called) == name.encode():
                named.append(pid)
    for pid in named:
        above = pid
        while above in parents and above not in ancestors:
            above = parents[above]
        if above in ancestors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def test_all_nodes_killed(farm: LocalFarm, project: Path) -> None:
    def kill_all() -> None:
        for node in farm.nodes:
            node.kill()

    build(farm, project, kill_all)


def test_a_node_that_freezes(farm: LocalFarm, project: Path) -> None:
    build(farm, project, lambda: farm.nodes[0].send_signal(signal.SIGSTOP))


def test_a_node_that_is_added(farm: LocalFarm, project: Path) -> None:
    build(farm, project, lambda: farm.add_node("late", 1))


def test_a_broker_that_is_killed_and_restarted(farm: LocalFarm, project: Path) -> None:
    build(farm, project, farm.restart_broker)


def test_a_broker_that_is_killed_for_good(farm: LocalFarm, project: Path) -> None:
    assert farm.broker is not None
    build(farm, project, farm.broker.kill)


def test_an_agent_that_is_killed(farm: LocalFarm, project: Path) -> None:
    agent = agent_of(farm)
    build(farm, project, lambda: os.kill(agent, signal.SIGKILL))


def test_an_agent_that_freezes(farm: LocalFarm, project: Path) -> None:
    """Launchers that hear nothing for their deadline compile by themselves."""
    agent = agent_of(farm)
    farm.environment["ZCC_DEADLINE_MS"] = "2000"
    try:
        build(farm, project, lambda: os.kill(agent, signal.SIGSTOP))
    finally:
        os.kill(agent, signal.SIGCONT)


def test_a_broker_that_freezes(farm: LocalFarm, project: Path) -> None:
    broker = farm.broker
    assert broker is not None
    build(farm, project, lambda: broker.send_signal(signal.SIGSTOP))


def test_a_node_that_is_told_to_leave_gives_its_jobs_back(farm: LocalFarm, project: Path) -> None:
    build(farm, project, farm.nodes[0].terminate)
    assert farm.nodes[0].wait(60) == 0


def test_a_launcher_that_is_killed_takes_its_job_with_it(farm: LocalFarm, tmp_path: Path) -> None:
    line = 'bool r{0}(const char *t) {{ return std::regex_match(t, std::regex("{0}")); }}\n'
    text = "#include <regex>\n" + "".join(map(line.format, range(9)))
    (tmp_path / "slow.cc").write_text(text)
    command = [str(BIN / "zcc"), "g++", "-O3", "-c", "slow.cc"]
    launcher = subprocess.Popen(command, cwd=tmp_path, env=farm.environment)
    wait_until(lambda: running(farm) > 0, "the job to run on a node")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: running(farm) == 0, "the node to have dropped the job", timeout_s=10)
    assert [each.name for each in tmp_path.iterdir()] == ["slow.cc"]


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="making small disks needs root")


@contextlib.contextmanager
def small_disk(place: str, size: str) -> Iterator[None]:
    """A file system of this size, mounted at a directory."""
    os.makedirs(place, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "zcc-small", place]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@needs_mounts
@pytest.mark.parametrize("size", ["1m", "48m"])
def test_a_node_whose_disk_is_full(project: Path, size: str) -> None:
    """It has no room for the toolchain, or for what it is made of; another one has."""
    with tempfile.TemporaryDirectory(prefix="zcc-faults-") as directory:
        local = LocalFarm(directory)
        with small_disk(os.path.join(directory, "full"), size):
            try:
                local.start(nodes=1, slots=1)
                full = local.add_node("full", 1)
                build(local, project, lambda: None)
                if full.poll() is None:
                    full.kill()
            finally:
                local.stop()


@needs_mounts
def test_a_client_whose_disk_is_full_compiles_by_itself(project: Path) -> None:
    """Its toolchain cannot be packed; the objects go elsewhere."""
    with tempfile.TemporaryDirectory(prefix="zcc-faults-") as directory:
        local = LocalFarm(directory)
        with small_disk(os.path.join(directory, "client"), "1m"):
            try:
                local.start(nodes=1, slots=1)
                build(local, project, lambda: None)
                stats = control.ask(local.environment["ZCC_SOCKET"], {"op": "stats"})
                assert stats is not None
                assert stats["outcomes"]["remote"] == 0
                assert sum(stats["local_reasons"].values()) == stats["outcomes"]["local"] > 0
            finally:
                local.stop()


def test_a_damaged_pack_of_the_toolchain_is_made_anew_or_not_used(
    farm: LocalFarm, project: Path
) -> None:
    """Bits that rot on the client's disk, before any node has the toolchain."""
    environment = {**farm.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
    known = subprocess.run(
        [str(BIN / "zcc"), "toolchain", "g++"], env=environment, check=True, capture_output=True
    )
    assert b"digest" in known.stdout
    packs = list(Path(farm.environment["ZCC_STATE_DIR"]).rglob("*.tar.zst"))
    assert packs
    for pack in packs:
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 0xFF
        pack.write_bytes(data)
    build(farm, project, lambda: None)
