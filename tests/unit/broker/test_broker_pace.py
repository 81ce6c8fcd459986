"""How far a build is, told from what it keeps here."""

from __future__ import annotations

import pytest

from broker.core.jobs import Execution, Lease
from broker.core.limits import GOES_ON_HORIZON, OVERLONG, TAIL_HORIZON
from broker.scheduling.model import cost_class
from broker.scheduling.pace import Pace
from broker.scheduling.queue import Lane
from cache.digest import digest_of

NOW = 100.0


def execution(name: str, cost_s: float = 1.0) -> Execution:
    key, gcc = digest_of(name.encode()), digest_of(b"gcc")
    return Execution(
        key=key, job=key, toolchain=gcc, inputs=(), lane=Lane("u", "b", b""), body=b"",
        cost_class=cost_class(gcc, cost_s, 0), cost_s=cost_s, cost_scale=1.0,
    )  # fmt: skip


def lease(of: Execution, end: float, power: float = 1.0) -> Lease:
    return Lease(of.key[:16], of.key, b"node", "n", "u", NOW, end, frozenset(), power)


def test_a_build_that_is_filled_up_goes_on_and_one_that_is_not_is_in_its_tail() -> None:
    pace = Pace()
    jobs = [execution(f"{number}") for number in range(20)]
    for each in jobs:
        pace.added(each)
    assert pace.horizon("u", "b", 10.0, 10.0, NOW).goes_on
    pace.removed(jobs[0])
    pace.added(execution("fill"))
    assert pace.horizon("u", "b", 10.0, 10.0, NOW).goes_on
    for each in jobs[1:4]:
        pace.removed(each)
    assert not pace.horizon("u", "b", 10.0, 10.0, NOW).goes_on


def test_a_build_that_goes_on_with_fewer_jobs_at_a_time_is_noticed() -> None:
    pace = Pace()
    burst = [execution(f"burst {number}") for number in range(100)]
    for each in burst:
        pace.added(each)
    for each in burst[:90]:
        pace.removed(each)
    kept = burst[90:]
    for number in range(600):
        pace.added(fresh := execution(f"trickle {number}"))
        kept.append(fresh)
        pace.removed(kept.pop(0))
    assert pace.horizon("u", "b", 10.0, 10.0, NOW).goes_on


def test_the_horizon_is_a_share_of_the_time_that_all_that_is_here_takes() -> None:
    pace = Pace()
    waiting, running = execution("waiting", 6.0), execution("running", 8.0)
    pace.added(waiting)
    pace.added(running)
    pace.leased(running, lease(running, NOW + 4.0, power=2.0))
    horizon = pace.horizon("u", "b", 7.0, 2.0, NOW)
    assert horizon.goes_on
    # 6 s wait, and 4 s at power 2 are left of what runs.
    assert horizon.seconds == pytest.approx(GOES_ON_HORIZON * 14.0 / 7.0)
    assert horizon.at_most_s == pytest.approx(OVERLONG * 7.0 * 2.0 / 7.0)
    later = pace.horizon("u", "b", 7.0, 2.0, NOW + 3.0)
    assert later.seconds == pytest.approx(GOES_ON_HORIZON * 8.0 / 7.0)


def test_in_the_tail_an_idle_slot_may_run_until_the_last_run_ends() -> None:
    pace = Pace()
    jobs = [execution(f"{number}") for number in range(10)]
    for each in jobs:
        pace.added(each)
    pace.leased(jobs[0], lease(jobs[0], NOW + 30.0))
    for each in jobs[5:]:
        pace.removed(each)
    horizon = pace.horizon("u", "b", 10.0, 10.0, NOW)
    assert horizon.seconds == pytest.approx(TAIL_HORIZON * (4.0 + 30.0) / 10.0)
    assert horizon.idle_s == pytest.approx(30.0)


def test_nothing_is_left_of_a_build_that_is_over() -> None:
    pace = Pace()
    done = execution("done")
    pace.added(done)
    held = lease(done, NOW + 1.0)
    pace.leased(done, held)
    pace.released(done, held)
    pace.removed(done)
    assert not pace._builds
