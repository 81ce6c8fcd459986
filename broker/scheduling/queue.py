"""The order in which waiting jobs are considered. Pure.

Users take turns by predicted seconds, and so do the builds (and machine classes) of a user: a one-file
compile waits for a job of each other user, not for a build of thousands, and who compiles large files
gets no more than who compiles small ones. Inside a build the caller chooses by cost: the longest job that
suits a slot, what was given back or has waited long first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from broker.core.limits import FAR_OFF, LEAST_PASSED, MAX_LANES, PASSED_SHARE
from broker.scheduling.turns import Charge, Turns
from cache.digest import Digest


class Lane(NamedTuple):
    """Jobs that are served together. All lanes of one `user` and `build` are one build.

    A tuple, because it is hashed 24 times for each job.
    """

    user: str
    build: str
    machine_class: bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that a job had, as it was charged, to its lane and its user: it is settled with these, whoever
    waits for the job meanwhile, and by the weight that it had."""

    cost_s: float
    weight: float
    of_lane: Charge[Lane]
    of_user: Charge[str]

    def settle(self, cost_s: float) -> None:
        """It has cost so much. Small errors even out; turns that change with each of them cost the end of a
        build (bench/scale.py)."""
        if max(cost_s, self.cost_s) <= FAR_OFF * min(cost_s, self.cost_s):
            cost_s = self.cost_s
        self.of_lane.settle(cost_s / self.weight)
        self.of_user.settle(cost_s / min(self.weight, 1.0))


class Line:
    """The jobs of one lane: by cost, by arrival, and those that were given back."""

    __slots__ = (
        "_by_cost",
        "_costs_s",
        "_gone",
        "_gone_before",
        "_returned",
        "lane",
        "passed_since",
        "waiting_s",
    )

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting_s = 0.0
        # Since when a slot was idle that none of the jobs was given to.
        self.passed_since: float | None = None
        self._by_cost: list[tuple[float, Digest]] = []
        self._costs_s: OrderedDict[Digest, float] = OrderedDict()
        self._returned: OrderedDict[Digest, None] = OrderedDict()
        # Jobs that have left it, in all, and how many had when each came.
        self._gone = 0
        self._gone_before: dict[Digest, int] = {}

    def __len__(self) -> int:
        return len(self._costs_s)

    def __contains__(self, key: object) -> bool:
        return key in self._costs_s

    @property
    def shortest_s(self) -> float:
        return self._by_cost[0][0]

    def cost_s(self, key: Digest) -> float:
        return self._costs_s[key]

    def push(self, key: Digest, cost_s: float, *, at_front: bool) -> None:
        self._costs_s[key] = cost_s
        insort(self._by_cost, (cost_s, key))
        self.waiting_s += cost_s
        self._gone_before[key] = self._gone
        if at_front:
            self._costs_s.move_to_end(key, last=False)
            self._returned[key] = None

    def remove(self, key: Digest) -> None:
        cost_s = self._costs_s.pop(key)
        del self._by_cost[bisect_left(self._by_cost, (cost_s, key))]
        self._returned.pop(key, None)
        self.waiting_s -= cost_s
        self._gone += 1
        del self._gone_before[key]

    def returned(self) -> Digest | None:
        """One that had its turn already and was given back."""
        return next(iter(self._returned), None)

    def oldest(self) -> Digest:
        return next(iter(self._costs_s))

    def is_passed_over(self, key: Digest) -> bool:
        """Whether so many others went since it came that it is next."""
        gone = self._gone - self._gone_before[key]
        return gone >= max(LEAST_PASSED, PASSED_SHARE * len(self))

    def shortest(self) -> Digest:
        return self._by_cost[0][1]

    def longest(self) -> Digest:
        return self._by_cost[-1][1]

    def longest_within(self, most_s: float) -> Digest | None:
        """The longest job of at most this cost."""
        at = bisect_right(self._by_cost, most_s, key=lambda entry: entry[0])
        return self._by_cost[at - 1][1] if at else None

    def in_order(self) -> Iterator[Digest]:
        return iter(self._costs_s)


class Queue:
    """Keys of jobs, in lanes; no operation grows with the number of users or lanes by more than its log."""

    def __init__(self) -> None:
        self._lanes_of: dict[Digest, list[Lane]] = {}
        self._users: Turns[str] = Turns()
        self._lanes: dict[str, Turns[Lane]] = {}
        self._lines: dict[Lane, Line] = {}
        # Users of whom a lane was passed over.
        self._passed: set[str] = set()

    def __len__(self) -> int:
        return len(self._lanes_of)

    def __contains__(self, key: object) -> bool:
        return key in self._lanes_of

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._lanes_of)

    def push(self, key: Digest, lane: Lane, cost_s: float, *, at_front: bool = False) -> None:
        """Add a job; `at_front` for one that was given back, so that it has waited already."""
        assert key not in self._lanes_of
        self._lanes_of[key] = []
        self.push_too(key, lane, cost_s, at_front=at_front)

    def push_too(self, key: Digest, lane: Lane, cost_s: float, *, at_front: bool = False) -> None:
        """It waits in this lane besides."""
        line = self._lines.get(lane) or self._open(lane)
        if line.lane not in self._lanes_of[key]:
            self._lanes_of[key].append(line.lane)
            line.push(key, cost_s, at_front=at_front)

    def remove(self, key: Digest) -> None:
        """Take a job out of all its lanes, at its turn or not."""
        for lane in self._lanes_of.pop(key):
            self._take_out(key, lane)

    def remove_from(self, key: Digest, user: str) -> None:
        """Take it out of this user's lane."""
        lanes = self._lanes_of[key]
        for lane in [each for each in lanes if each.user == user]:
            lanes.remove(lane)
            self._take_out(key, lane)

    def _take_out(self, key: Digest, lane: Lane) -> None:
        line = self._lines[lane]
        line.remove(key)
        if line:
            return
        del self._lines[lane]
        lanes = self._lanes[lane.user]
        lanes.remove(lane)
        if not len(lanes):
            del self._lanes[lane.user]
            self._users.remove(lane.user)

    def charge(self, line: Line, cost_s: float, weight: float = 1.0) -> Turn:
        """A job of this line had its turn: its lane and its user are served for so many seconds. Who weighs
        less than 1 yields to other users too; who weighs more goes before his own builds alone."""
        lane = line.lane
        of_lane = self._lanes[lane.user].charge(lane, cost_s / weight)
        of_user = self._users.charge(lane.user, cost_s / min(weight, 1.0))
        return Turn(cost_s, weight, of_lane, of_user)

    def first(self) -> Line | None:
        """The line whose turn it is, of those that were not passed over."""
        while (user := self._users.first()) is not None:
            lane = self._lanes[user].first()
            if lane is not None:
                return self._lines[lane]
            self._users.pass_over(user)
        return None

    def by_turns(self) -> Iterator[Line]:
        """All lines, in the order in which they are served if nothing else comes: to be looked at."""
        for user in self._users.in_order():
            for lane in self._lanes[user].in_order():
                yield self._lines[lane]

    def pass_over(self, line: Line) -> None:
        """The first line can have nothing now; it keeps its turn until `restore`."""
        self._lanes[line.lane.user].pass_over(line.lane)
        self._passed.add(line.lane.user)

    def restore(self) -> None:
        if not self._passed:
            return
        self._users.restore()
        for user in self._passed & self._lanes.keys():
            self._lanes[user].restore()
        self._passed.clear()

    def _open(self, lane: Lane) -> Line:
        """A lane's line; a user with too many builds has the last of them served as one."""
        lanes = self._lanes.get(lane.user)
        if lanes is None:
            lanes = self._lanes[lane.user] = Turns()
            self._users.add(lane.user)
        elif len(lanes) >= MAX_LANES:
            lane = Lane(lane.user, "", lane.machine_class)
        line = self._lines.get(lane)
        if line is None:
            line = self._lines[lane] = Line(lane)
            lanes.add(lane)
        return line
