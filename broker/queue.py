"""The order in which waiting jobs are considered. Pure.

Round-robin over users, in a user over builds (and machine classes), in a build first come first
served. So a one-file compile waits for one job of each other user, not for a build of thousands.
Only the order is decided here: what a job needs, and whether it can go, is the caller's knowledge.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cache.digest import Digest


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs that are served in order among themselves."""

    user: str
    build: str
    machine_class: bytes


Line = OrderedDict[Digest, None]


class Queue:
    """Keys of jobs, in lanes; every operation but `in_order` is O(1)."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[Lane, Line]] = OrderedDict()
        self._lane_of: dict[Digest, Lane] = {}

    def __len__(self) -> int:
        return len(self._lane_of)

    def __contains__(self, key: object) -> bool:
        return key in self._lane_of

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._lane_of)

    def push(self, key: Digest, lane: Lane, *, at_front: bool = False) -> None:
        """Add a job at the end of its lane, or (given back, so it has waited already) its front."""
        assert key not in self._lane_of
        line = self._users.setdefault(lane.user, OrderedDict()).setdefault(lane, OrderedDict())
        line[key] = None
        if at_front:
            line.move_to_end(key, last=False)
        self._lane_of[key] = lane

    def remove(self, key: Digest) -> None:
        """Take a job out for a reason other than its turn."""
        lane = self._lane_of.pop(key)
        lanes = self._users[lane.user]
        del lanes[lane][key]
        if not lanes[lane]:
            del lanes[lane]
        if not lanes:
            del self._users[lane.user]

    def turn(self, key: Digest) -> None:
        """It is this job's turn: its lane and its user go behind the others."""
        lane = self._lane_of[key]
        self._users.move_to_end(lane.user)
        self._users[lane.user].move_to_end(lane)

    def in_order(self) -> Iterator[Digest]:
        """All keys in the order of their turns; the queue must not change meanwhile."""
        return _rotated(_rotated(lanes.values()) for lanes in self._users.values())

    def heads(self) -> list[Digest]:
        """The first job of each lane, in the order of their turns."""
        heads = ([next(iter(line)) for line in lanes.values()] for lanes in self._users.values())
        return list(_rotated(heads))


def _rotated(lines: Iterable[Iterable[Digest]]) -> Iterator[Digest]:
    """One of each line in turn, until all are empty."""
    waiting = [iter(line) for line in lines]
    while waiting:
        left = []
        for line in waiting:
            key = next(line, None)
            if key is not None:
                left.append(line)
                yield key
        waiting = left
