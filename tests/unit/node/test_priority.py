"""Jobs give way: what the kernel says of processes that were lowered, and of a job in a real sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.sandbox.priority import LOWEST, lower, lower_running, lower_session
from node.sandbox.remains import RunOutcome
from node.sandbox.watch import has_begun, pids_in, place_of
from tests.support.sandbox_toolchain import GENTLE, Farm, shared_toolchain

SLEEPER = ["sleep", "60"]
GROUPS = Path("/proc/self/autogroup")


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(SLEEPER, start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


def nice_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_a_process_gives_way_in_batches(sleeper: int) -> None:
    lower(sleeper, 10)
    assert nice_of(sleeper) == 10
    assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH
    lower(sleeper, 5)
    assert nice_of(sleeper) == 10  # no way back


def test_nothing_is_done_to_a_process_that_need_not_give_way(sleeper: int) -> None:
    before = nice_of(sleeper)
    lower(sleeper, 0)
    assert nice_of(sleeper) == before
    assert os.sched_getscheduler(sleeper) == os.SCHED_OTHER


def test_a_process_that_is_gone_is_nobodys_business() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    lower(process.pid, LOWEST)
    lower_running(process.pid)
    assert lower_session(process.pid, LOWEST)


def test_a_whole_group_gives_way_while_it_runs() -> None:
    leader = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        time.sleep(0.3)
        lower_running(leader.pid)
        members = subprocess.run(
            ["ps", "-o", "nice=", "-g", str(leader.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert set(members) == {str(LOWEST)}
        assert len(members) == 2
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()


@pytest.mark.skipif(
    not GROUPS.exists() or not GROUPS.read_text().strip(), reason="no grouping by sessions here"
)
def test_a_session_gives_way_as_a_whole_where_the_kernel_groups_by_sessions(sleeper: int) -> None:
    deadline = time.monotonic() + 10
    while not lower_session(sleeper, LOWEST):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert Path(f"/proc/{sleeper}/autogroup").read_text().split()[-1] == str(LOWEST)
    assert GROUPS.read_text().split()[-1] != str(LOWEST)


@pytest.mark.skipif(
    not GROUPS.exists() or not GROUPS.read_text().strip(), reason="no grouping by sessions here"
)
def test_a_process_of_our_own_session_does_not_take_us_along() -> None:
    process = subprocess.Popen(SLEEPER)
    try:
        assert not lower_session(process.pid, LOWEST)
        assert GROUPS.read_text().split()[-1] != str(LOWEST)
    finally:
        process.kill()
        process.wait()


# ---- in a sandbox ---------------------------------------------------------------------------------

SHOWN = (
    "import os; open('a.o', 'w').write("
    "'%d %d' % (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)))"
)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(str(tmp_path), shared_toolchain())
    yield farm
    farm.close()


@pytest.mark.parametrize(("nice", "expected"), [(19, (19, 3)), (0, (0, 0))])
def test_a_jobs_processes_give_way_from_their_first_moment(
    farm: Farm, tmp_path: Path, nice: int, expected: tuple[int, int]
) -> None:
    own = nice_of(0)
    cwd = os.fsencode(tmp_path / "p")
    os.mkdir(cwd)
    outcome = farm.run(farm.python(SHOWN, cwd, [b"a.o"]), replace(GENTLE, nice=nice))
    assert isinstance(outcome, RunOutcome), outcome
    shown = tuple(map(int, outcome.outputs[0].data.split()))
    assert shown == (max(expected[0], own), expected[1])


LEAVES = """
import os, time
for leave in (os.setsid, lambda: os.setpgid(0, 0), os.getpid):
    if not os.fork():
        try:
            leave()
        except PermissionError:
            pass
        time.sleep(60)
time.sleep(60)
"""


def test_a_job_steps_back_as_a_whole(farm: Farm, tmp_path: Path) -> None:
    cwd = os.fsencode(tmp_path / "p")
    os.mkdir(cwd)
    job = farm.python(LEAVES, cwd)
    farm.tree.fit(job.manifest)
    run = farm.runner.prepare(
        job, farm.toolchain, farm.tree.root, scratch=os.fsencode(tmp_path) + b"/run", limits=GENTLE
    )
    done = farm.workers.submit(run.carry_out)
    inside: list[int] = []
    deadline = time.monotonic() + 10
    while len(inside) < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
        inside = pids_in(run.first_process) if has_begun(run.first_process) else []
    time.sleep(0.3)  # each has tried to leave
    run.step_back()
    shown = []
    for pid in inside:
        stat = Path(place_of(run.first_process, pid), "stat").read_text()
        shown.append(int(stat.rpartition(")")[2].split()[16]))
    run.stop()
    done.result()
    assert shown == [LOWEST] * 5
