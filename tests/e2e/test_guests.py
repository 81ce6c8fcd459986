"""A node is a guest on its machine: what its operator says while it serves, and how it leaves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.launchers import control
from zcc.capacity import processors

ZCC, NODE = str(BIN / "zcc"), str(BIN / "zcc-node")
PATIENCE_S = 60.0
# Compiling for some seconds, by rounds of a loop that the compiler itself runs: 0.2 s each.
ROUNDS = """
constexpr unsigned long run(unsigned long rounds) {
    unsigned long sum = 0;
    for (unsigned long at = 0; at < rounds; at++) sum += at % 7;
    return sum;
}
"""


@pytest.fixture
def farm() -> Iterator[Farm]:
    """A farm of one node, whose operator says this and that."""
    needs("g++")
    with tempfile.TemporaryDirectory(prefix="zcc-guests-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=1, slots=2)
            local.environment["ZCC_CACHE"] = "off"
            yield Farm(local)
        finally:
            local.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "short.cc").write_text("int f() { return 1; }\n")
    write_long(tmp_path, 12)
    return tmp_path


def write_long(project: Path, loops: int) -> None:
    # 200,000 rounds are below gcc's own limit.
    asserts = (f"static_assert(run({200_000 + at}) != 1);\n" for at in range(loops))
    (project / "long.cc").write_text(ROUNDS + "".join(asserts))


def state_of(farm: Farm, name: str = "node1") -> str:
    return os.path.join(farm.local.directory, name)


def tell(farm: Farm, *words: str, name: str = "node1") -> subprocess.CompletedProcess[str]:
    command = [NODE, *words, "--state", state_of(farm, name)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def rows(farm: Farm) -> list[dict[str, Any]]:
    """As `zcc nodes --json` has them, asked of the agent itself."""
    answer = control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "nodes"}) or {}
    found: list[dict[str, Any]] = answer.get("nodes", [])
    return found


def row_when(
    farm: Farm, holds: Callable[[dict[str, Any]], bool], name: str = "node1"
) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = [row for row in rows(farm) if row["name"] == name]
        if found and holds(found[0]):
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def below(pid: int) -> Iterator[int]:
    """The process, and all that it and they have started."""
    yield pid
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                yield from below(int(stat.parent.name))


def compilers_of(node: subprocess.Popen[bytes]) -> list[int]:
    found = []
    for pid in below(node.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "cc1plus\n":
                found.append(pid)
    return found


def compile_long(farm: Farm, project: Path, node: str = "node1") -> subprocess.Popen[bytes]:
    """A compile that runs on this node when this returns."""
    environment = {
        **farm.local.environment,
        "PATH": f"{os.environ['PATH']}:{BIN}",
        "ZCC_FALLBACK": "never",
    }
    # The toolchain is there then, and its self-test no compile to be taken for ours.
    assert farm.run(ZCC, "g++", "-c", "short.cc", cwd=project).returncode == 0
    command = [ZCC, "g++", "-c", "long.cc", "-o", "long.o"]
    process = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_S
    while not any(map(compilers_of, farm.local.nodes)):
        assert process.poll() is None, "the compile is too short for this test"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert row_when(farm, lambda row: row["running"] > 0, node)
    return process


def test_a_mode_is_followed_while_the_node_serves(farm: Farm, project: Path) -> None:
    short = (ZCC, "g++", "-c", "short.cc")
    row = row_when(farm, lambda row: row["mode"] == "dedicated")
    assert (row["slots"], row["all_slots"], row["reason"]) == (2, 2, "")
    assert farm.run(*short, cwd=project).returncode == 0
    assert tell(farm, "mode", "off").stdout == "the mode is off\n"
    row = row_when(farm, lambda row: row["slots"] == 0)
    assert (row["state"], row["mode"], row["all_slots"]) == ("paused", "off", 2)
    assert row["reason"] == "its mode is off: zcc-node mode dedicated"
    refused = farm.run(*short, cwd=project)
    assert refused.returncode
    assert b"no-nodes" in refused.stderr
    shown = farm.run(ZCC, "nodes", cwd=Path("/"), COLUMNS="80").stdout.decode()
    assert "0/0 of 2" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert tell(farm, "mode", "dedicated").returncode == 0
    row_when(farm, lambda row: row["slots"] == 2)
    assert farm.run(*short, cwd=project).returncode == 0
    assert tell(farm, "mode").stdout == "dedicated\n"


@pytest.mark.parametrize("mode", ["proportional", "idle"])
def test_a_node_that_looks_at_its_machine_says_what_it_lends_and_why(farm: Farm, mode: str) -> None:
    """How busy the machine is that tests run on, nobody knows."""
    tell(farm, "mode", mode)
    row = row_when(farm, lambda row: row["mode"] == mode and "looks first" not in row["reason"])
    assert 0 <= row["slots"] <= 2
    assert bool(row["reason"]) == (row["slots"] < 2)
    assert row["state"] == ("ready" if row["slots"] else "paused")


@pytest.mark.parametrize(
    ("mode", "why"), [("proportional", "others leave 0 of"), ("idle", "others use this machine")]
)
def test_a_node_lends_nothing_while_its_owner_needs_all(farm: Farm, mode: str, why: str) -> None:
    burn = [sys.executable, "-c", "while True: pass"]
    owners = [subprocess.Popen(burn) for _ in range(2 * processors())]
    try:
        tell(farm, "mode", mode)
        row = row_when(farm, lambda row: row["mode"] == mode and row["reason"].startswith(why))
        assert (row["state"], row["slots"], row["all_slots"]) == ("paused", 0, 2)
    finally:
        for each in owners:
            each.kill()
            each.wait()


def test_a_job_that_runs_ends_when_its_node_lends_nothing_any_more(
    farm: Farm, project: Path
) -> None:
    running = compile_long(farm, project)
    tell(farm, "mode", "off")
    row_when(farm, lambda row: row["slots"] == 0)
    _, said = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, said) == (0, b"")
    assert (project / "long.o").exists()
    assert row_when(farm, lambda row: row["running"] == 0)["faults"] == 0


def test_a_drained_node_hands_over_what_it_runs_and_takes_nothing_more(
    farm: Farm, project: Path
) -> None:
    write_long(project, 24)  # until it is asked twice, on a busy machine too
    running = compile_long(farm, project)
    node = farm.local.nodes[0]
    waiting = subprocess.Popen(
        [NODE, "drain", "--wait", "--state", state_of(farm)], stdout=subprocess.PIPE
    )
    row_when(farm, lambda row: row["state"] == "draining")
    assert node.poll() is None
    assert waiting.poll() is None
    assert b"no-nodes" in farm.run(ZCC, "g++", "-c", "short.cc", cwd=project).stderr
    _, said = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, said) == (0, b"")  # remote: never done here
    shown, _ = waiting.communicate(timeout=PATIENCE_S)
    assert shown == b"the node has left\n"
    assert node.wait(PATIENCE_S) == 0
    assert rows(farm) == []
    assert "no node serves" in tell(farm, "drain").stderr


def test_sigterm_waits_for_its_grace_and_then_others_get_the_job(farm: Farm, project: Path) -> None:
    state = state_of(farm, "hasty")
    write_long(project, 24)  # until long after the grace
    hasty = start(farm, "hasty", "--grace", "1s", "--slots", "1", "--nice", "0")
    tell(farm, "mode", "off")
    row_when(farm, lambda row: row["slots"] == 0)
    running = compile_long(farm, project, "hasty")
    tell(farm, "mode", "dedicated")
    row_when(farm, lambda row: row["slots"] == 2)
    asked_at = time.monotonic()
    hasty.send_signal(signal.SIGTERM)
    assert hasty.wait(PATIENCE_S) == 0
    assert time.monotonic() - asked_at > 0.9
    _, said = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, said) == (0, b""), Path(state + ".log").read_text()
    assert "jobs still run after 1 s" in Path(state + ".log").read_text()
    (row,) = rows(farm)
    assert (row["name"], row["finished"]) == ("node1", 1)


def test_jobs_give_way_where_nobody_says_otherwise(farm: Farm, project: Path) -> None:
    polite = start(farm, "polite", "--slots", "1")
    tell(farm, "mode", "off")
    row_when(farm, lambda row: row["slots"] == 0)
    running = compile_long(farm, project, "polite")
    try:
        deadline = time.monotonic() + PATIENCE_S
        compilers = compilers_of(polite)
        assert os.getpriority(os.PRIO_PROCESS, compilers[0]) == 19
        assert os.sched_getscheduler(compilers[0]) == os.SCHED_BATCH
        session = Path(f"/proc/{compilers[0]}/autogroup")
        while session.exists() and session.read_text().strip() and running.poll() is None:
            if session.read_text().split()[-1] == "19":
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert os.getpriority(os.PRIO_PROCESS, polite.pid) < 19
    finally:
        running.kill()
        running.communicate()


def start(farm: Farm, name: str, *options: str) -> subprocess.Popen[bytes]:
    """One more node, with options of its own."""
    local = farm.local
    process = local.add_node(name, 1)
    row_when(farm, lambda row: row["state"] == "ready", name)
    process.terminate()
    process.wait(PATIENCE_S)
    local.nodes.remove(process)
    command = [NODE, "serve", "--state", state_of(farm, name), "--user", "any"]
    process = local._spawn(name, [*command, *options])
    local.nodes.append(process)
    row_when(farm, lambda row: row["state"] == "ready", name)
    return process


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("serve", "--mode", "sometimes"), "expected dedicated, proportional, idle or off"),
        (("serve", "--grace", "soon"), "not a duration"),
        (("serve", "--idle-after", "5"), "not a duration"),
        (("serve", "--user", "any"), "another node serves with --state"),
        (("mode", "never"), "expected dedicated, proportional, idle or off"),
    ],
)
def test_bad_words_are_told_what_would_do(
    remembering: Farm, words: tuple[str, ...], complaint: str
) -> None:
    done = tell(remembering, *words)
    assert done.returncode
    assert complaint in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr
