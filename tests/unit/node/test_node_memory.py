"""How much memory a node gives to jobs, and which goes when it is short."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.digest import digest_of
from node.core.effects import Effect, StartJob
from node.core.events import JobFaulted, MemoryChanged, RunAsked
from node.core.machine import NodeMachine
from node.sandbox.command_line import LEAST_LIMIT_BYTES
from node.sandbox.memory import (
    LEAST_KEPT_BYTES,
    MOST_STALLED,
    SETTLES_S,
    Gauge,
    Holder,
    youngest_beyond,
)
from zcc.lent import LentMemory
from zcc.messages import Fault

MIB, GIB = 1 << 20, 1 << 30
TOOLCHAIN = digest_of(b"gcc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of 16 GiB, of which 12 are available."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/pressure").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("")
    available(tmp_path, 12 * GIB)
    pressure(tmp_path)
    return tmp_path


def available(root: Path, bytes_: int) -> None:
    text = f"MemTotal: {16 << 20} kB\nMemAvailable: {bytes_ >> 10} kB\n"
    (root / "proc/meminfo").write_text(text)


def pressure(root: Path, some: float = 0.0, full: float = 0.0) -> None:
    text = "{} avg10={:.2f} avg60=0.00 avg300=0.00 total=1\n"
    where = root / "proc/pressure/memory"
    where.write_text(text.format("some", some) + text.format("full", full))


def holder(name: str, begun_s: float, used: int, reserved: int) -> Holder:
    return Holder(name.encode(), begun_s, used, reserved)


def test_a_sixteenth_is_kept_and_what_jobs_have_is_theirs(root: Path) -> None:
    gauge = Gauge(root=str(root))
    assert gauge.limit_bytes == 15 * GIB
    assert gauge.look(0) == LentMemory(15 * GIB, 11 * GIB, 0.0)
    assert gauge.look(2 * GIB) == LentMemory(15 * GIB, 13 * GIB, 0.0)
    pressure(root, some=12.5)
    assert gauge.look(9 * GIB) == LentMemory(15 * GIB, 15 * GIB, 12.5)


def test_an_operator_s_limit_holds_where_it_is_lower(root: Path) -> None:
    assert Gauge(300 * MIB, str(root)).look(0) == LentMemory(300 * MIB, 300 * MIB, 0.0)
    assert Gauge(90 * GIB, str(root)).limit_bytes == 15 * GIB


def test_a_machine_that_says_nothing_is_not_reported(tmp_path: Path) -> None:
    gauge = Gauge(root=str(tmp_path))
    assert gauge.look(0) is None
    assert gauge.victim([holder("a", 1.0, GIB, 0), holder("b", 2.0, GIB, 0)], 100.0) is None
    assert gauge.limit_of(0) == LEAST_LIMIT_BYTES


def test_a_container_s_limit_is_what_there_is(root: Path) -> None:
    group = root / "sys/fs/cgroup/box"
    group.mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/box\n")
    (root / "proc/self/mountinfo").write_text(
        "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    )
    (group / "memory.max").write_text(f"{2 * GIB}\n")
    (group / "memory.current").write_text(f"{GIB}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {256 * MIB}\n")
    (group / "memory.pressure").write_text("some avg10=3.00 avg60=0 avg300=0 total=1\n")
    gauge = Gauge(root=str(root))
    assert gauge.limit_bytes == 2 * GIB - LEAST_KEPT_BYTES
    assert gauge.look(512 * MIB) == LentMemory(
        2 * GIB - LEAST_KEPT_BYTES, (1024 + 256 + 512) * MIB - LEAST_KEPT_BYTES, 3.0
    )


def test_a_run_s_limit_is_its_reservation_twice_over_with_a_floor_and_a_ceiling(root: Path) -> None:
    gauge = Gauge(6 * GIB, str(root))
    assert gauge.limit_of(0) == LEAST_LIMIT_BYTES
    assert gauge.limit_of(2 * GIB) == 4 * GIB
    assert gauge.limit_of(100 * GIB) == 6 * GIB
    assert Gauge(GIB, str(root)).limit_of(0) == GIB


def test_the_youngest_that_has_more_than_its_own_goes() -> None:
    old = holder("old", 1.0, 3 * GIB, GIB)
    within = holder("within", 3.0, GIB, 2 * GIB)
    young = holder("young", 2.0, 2 * GIB, GIB)
    assert youngest_beyond([old, within, young]) is young
    assert youngest_beyond([within, holder("older", 0.0, 1, 2)]) is within


def test_nobody_goes_while_there_is_enough_or_from_a_job_alone(root: Path) -> None:
    gauge = Gauge(4 * GIB, str(root))
    one, other = holder("a", 1.0, 2 * GIB, GIB), holder("b", 2.0, GIB, 2 * GIB)
    assert gauge.victim([one, other], 100.0) is None
    assert gauge.victim([holder("a", 1.0, 5 * GIB, GIB)], 100.0) is None
    more = holder("c", 3.0, 2 * GIB, GIB)
    assert gauge.victim([one, other, more], 100.0) is more
    available(root, GIB // 2)  # others on the machine have taken the rest
    assert gauge.victim([one, other], 100.0) is one


def test_a_machine_that_stands_still_loses_one_job_at_a_time(root: Path) -> None:
    gauge = Gauge(root=str(root))
    runs = [holder("a", 1.0, GIB, GIB), holder("b", 2.0, GIB, GIB)]
    pressure(root, some=90.0, full=MOST_STALLED + 1)
    assert gauge.victim(runs, 100.0) is runs[1]
    assert gauge.victim(runs, 100.2) is None, "the averages of the kernel take their time"
    assert gauge.victim(runs, 100.0 + SETTLES_S) is runs[1]


def ask(name: str, bytes_: int) -> RunAsked:
    return RunAsked(name.encode(), TOOLCHAIN, frozenset(), True, bytes_)


def started(effects: list[Effect]) -> list[bytes]:
    return [each.lease for each in effects if isinstance(each, StartJob)]


def test_a_node_starts_what_there_is_memory_for_and_one_too_large_alone() -> None:
    machine = NodeMachine(4)
    machine.handle(MemoryChanged(LentMemory(4 * GIB, 4 * GIB)))
    assert started(machine.handle(ask("a", 3 * GIB))) == [b"a"]
    assert started(machine.handle(ask("b", 6 * GIB))) == []
    assert started(machine.handle(ask("c", GIB // 2))) == [b"c"]
    machine.handle(JobFaulted(b"c", Fault.MEMORY, "", GIB))
    assert started(machine.handle(JobFaulted(b"a", Fault.INTERNAL, ""))) == [b"b"]
    machine.validate()


def test_more_memory_starts_what_waits() -> None:
    machine = NodeMachine(4)
    machine.handle(MemoryChanged(LentMemory(8 * GIB, GIB)))
    machine.handle(ask("a", GIB))
    assert started(machine.handle(ask("b", GIB))) == []
    assert started(machine.handle(MemoryChanged(LentMemory(8 * GIB, 4 * GIB)))) == [b"b"]
