"""How far each build is, and how long a job of it may take on a slot. Pure.

A scheduler that only sees what was submitted is short-sighted: `make -jN` will submit thousands more, so
that no slot may idle, while at the end a long job on a slow node holds up everybody. What tells the two
apart is that a build tool keeps its jobs at N until nothing is left.

    left     = costs of the jobs that wait + what is left of those that run, by prediction
    time     = left / (power of the nodes / users at work)
    horizon  = GOES_ON_HORIZON * time                          while the build goes on
             = max(TAIL_HORIZON * time, end of the last run)   in its tail

A job suits a slot when it takes no longer there than the horizon. While the build goes on, a slot for
which no job is short enough takes the shortest; in the tail it stays idle, as the job ends sooner on
another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from broker.core.jobs import Execution, Lease
from broker.core.limits import GOES_ON_HORIZON, GOES_ON_SHARE, OVERLONG, TAIL_HORIZON

BuildName = tuple[str, str]


@dataclass(slots=True)
class _Build:
    """`jobs` are here, `most_jobs` were at a time, `came` in all; of what runs, the sum of power * end and of
    power."""

    jobs: int = 0
    most_jobs: float = 0.0
    came: int = 0
    came_s: float = 0.0
    waiting_s: float = 0.0
    ends: float = 0.0
    power: float = 0.0
    last_end: float = 0.0


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long a job may take, in seconds, and whether more jobs are to come.

    `idle_s` is for a slot that is idle, in the tail: what ends before the last run ends holds up nobody.
    `at_most_s`: a job that would take longer does not go to an idle slot for want of a better one either.
    `jobs`: how many of the build are here.
    """

    seconds: float
    goes_on: bool
    idle_s: float = 0.0
    at_most_s: float = math.inf
    jobs: int = 0


class Pace:
    def __init__(self) -> None:
        self._builds: dict[BuildName, _Build] = {}
        # Of all that runs, as in `_Build`.
        self._ends = 0.0
        self._power = 0.0

    def running_s(self, now: float) -> float:
        """Seconds of cost that what runs has left, all builds together."""
        return max(0.0, self._ends - now * self._power)

    def added(self, execution: Execution) -> None:
        """A job has come, and waits."""
        build = self._builds.setdefault(_name_of(execution), _Build())
        build.jobs += 1
        build.most_jobs = max(build.most_jobs, build.jobs)
        build.waiting_s += execution.cost_s
        build.came += 1
        build.came_s += execution.cost_s

    def removed(self, execution: Execution) -> None:
        """A job is over or was given up, while it waited."""
        name = _name_of(execution)
        build = self._builds[name]
        build.jobs -= 1
        build.waiting_s -= execution.cost_s
        # A build that goes on with fewer jobs at a time than it once had is noticed after some rounds of
        # them.
        build.most_jobs -= (build.most_jobs - build.jobs) / (2.0 * build.most_jobs)
        if not build.jobs:
            del self._builds[name]

    def leased(self, execution: Execution, lease: Lease) -> None:
        """A node has it, and will end it at the lease's expected end."""
        build = self._builds[_name_of(execution)]
        build.waiting_s -= execution.cost_s
        lease.counted_end = lease.expected_end
        build.ends += lease.power * lease.counted_end
        build.power += lease.power
        self._ends += lease.power * lease.counted_end
        self._power += lease.power
        build.last_end = max(build.last_end, lease.counted_end)

    def released(self, execution: Execution, lease: Lease) -> None:
        """No node has it any more: it waits again, until it is added or removed."""
        build = self._builds[_name_of(execution)]
        build.waiting_s += execution.cost_s
        build.ends -= lease.power * lease.counted_end
        build.power -= lease.power
        self._ends -= lease.power * lease.counted_end
        self._power -= lease.power

    def horizon(
        self, user: str, build_name: str, power: float, slots: float, now: float
    ) -> Horizon:
        """For a job of this build, when its share of the farm has so many slots, which do `power` seconds of
        cost in a second all together."""
        build = self._builds.get((user, build_name))
        if build is None:  # one of too many builds, which are served as one
            return Horizon(math.inf, goes_on=True)
        left_s = build.waiting_s + max(0.0, build.ends - now * build.power)
        time_s = left_s / power if power > 0 else 0.0
        if build.jobs >= GOES_ON_SHARE * build.most_jobs:
            at_most_s = (
                OVERLONG * build.came_s / build.came * slots / power if power > 0 else math.inf
            )
            return Horizon(
                GOES_ON_HORIZON * time_s, goes_on=True, at_most_s=at_most_s, jobs=build.jobs
            )
        time_s *= TAIL_HORIZON
        return Horizon(time_s, goes_on=False, idle_s=max(time_s, build.last_end - now))


def _name_of(execution: Execution) -> BuildName:
    return execution.lane.user, execution.lane.build
