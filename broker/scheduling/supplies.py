"""What a node has still to be sent before it can run a job: its toolchain, and when that will be there. Pure.

    arrival = bytes that are not there yet / what its line gives (`broker/scheduling/distance.py`)

Of what is on its way only the rest counts, with as much of what shares the line with it. Where a slot waits
for a toolchain of which nothing is heard for a while, it is as far away again as it has been silent (as runs
are, in `broker/scheduling/stragglers.py`). What was asked for comes, also when the job that it was asked for
has been taken back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from broker.core.limits import GRANT_BYTES, LEAST_MEASURED_BYTES, NEAR_S, UNPACKING_S
from broker.scheduling.distance import MeasuredLine
from cache.digest import Digest


@dataclass(slots=True)
class _Coming:
    """A toolchain that the node was given a job for. `left_bytes` had not come `at` this time, when it was
    heard of last. `is_asked`: the node has asked for it. So many leases are `waiting` for it, one has a slot
    `since`.
    """

    size_bytes: int
    left_bytes: int
    at: float
    is_asked: bool = False
    waiting: int = 0
    since: float = math.inf

    def silent_s(self, now: float) -> float:
        """How long nothing has been heard of what the node has asked for, while a slot waits for it."""
        is_due = self.is_asked and self.waiting
        return max(0.0, now - max(self.at, self.since)) if is_due else 0.0


class Supplies:
    """One node's session."""

    __slots__ = ("_coming", "_line")

    def __init__(self, line: MeasuredLine) -> None:
        self._line = line
        self._coming: dict[Digest, _Coming] = {}

    def __contains__(self, toolchain: Digest) -> bool:
        """Whether it is on its way, or about to be."""
        return toolchain in self._coming

    def coming(self) -> list[tuple[Digest, int, int]]:
        """What is on its way: so many bytes are left, of so many."""
        return [
            (toolchain, each.left_bytes, each.size_bytes)
            for toolchain, each in self._coming.items()
            if each.is_asked
        ]

    def is_asked(self, toolchain: Digest) -> bool:
        """Whether it comes, whatever becomes of the jobs that it was asked for."""
        coming = self._coming.get(toolchain)
        return coming is not None and coming.is_asked

    def arrival_s(self, toolchain: Digest, size_bytes: int, now: float) -> float:
        """When a toolchain that the node lacks will be there, if it is asked for now at the latest."""
        rest_s = self.rest_s(toolchain, size_bytes, now)
        coming = self._coming.get(toolchain)
        if coming is None or not self._is_silent(coming, now):
            return rest_s
        return max(rest_s, coming.silent_s(now))

    def rest_s(self, toolchain: Digest, size_bytes: int, now: float) -> float:
        """The same by its bytes alone, whatever else keeps it from being used."""
        rate = self._line.bytes_per_s(now)
        coming = self._coming.get(toolchain)
        left_bytes = size_bytes if coming is None else coming.left_bytes
        ahead_bytes = left_bytes
        if len(self._coming) > (coming is not None):
            ahead_bytes += sum(
                min(left_bytes, each.left_bytes)
                for each in self._coming.values()
                if each is not coming and each.is_asked
            )
        if coming is None:
            return ahead_bytes / rate
        return max(0.0, ahead_bytes / rate - (now - coming.at))

    def afar(self, now: float) -> tuple[Digest, ...]:
        """What is on its way and not near."""
        if not self._coming:
            return ()
        return tuple(
            toolchain
            for toolchain, coming in self._coming.items()
            if self.arrival_s(toolchain, coming.size_bytes, now) > NEAR_S
        )

    # --- what happens -------------------------------------------------------------------------

    def ordered(
        self, toolchain: Digest, size_bytes: int, slot_at: float | None, now: float
    ) -> None:
        """A lease goes to the node that needs it, and has had a slot since then; None: not yet."""
        coming = self._coming.get(toolchain)
        if coming is None:
            coming = self._coming[toolchain] = _Coming(size_bytes, size_bytes, now)
        coming.waiting += 1
        if slot_at is not None:
            coming.since = min(coming.since, slot_at)

    def asked(self, toolchain: Digest, offset: int, now: float) -> None:
        """The node asks for it, from this byte on."""
        coming = self._coming.get(toolchain)
        if coming is not None:
            coming.is_asked = True
            coming.left_bytes, coming.at = max(0, coming.size_bytes - offset), now

    def taken(self, amount_bytes: int, left: Iterable[tuple[Digest, int]], now: float) -> None:
        """The node has taken so much, and so much is left of these blobs."""
        under_way = [each for each in self._coming.values() if _is_measured(each)]
        if under_way:
            self._line.note(amount_bytes, now - max(each.at for each in under_way))
        for digest, left_bytes in left:
            coming = self._coming.get(digest)
            if coming is not None:
                coming.is_asked = True
                coming.left_bytes, coming.at = min(left_bytes, coming.size_bytes), now

    def begun(self, toolchain: Digest, slot_at: float | None, now: float) -> bool:
        """A job runs on it; its slot was idle for it since then. Whether that measures the line."""
        coming = self._coming.pop(toolchain, None)
        if coming is None or not _is_measured(coming):
            return False
        since = min(coming.since, now if slot_at is None else slot_at)
        self._line.note(coming.left_bytes, now - max(coming.at, since))
        self._line.proved(now)
        return True

    def given_up(self, toolchain: Digest, now: float) -> None:
        """A lease that waited for it is over."""
        coming = self._coming.get(toolchain)
        if coming is None:
            return
        if coming.waiting == 1 and (not coming.is_asked or self._is_silent(coming, now)):
            self.gone(toolchain, now)
            return
        if coming.waiting == 1 and _is_measured(coming):
            silent_s = coming.silent_s(now)
            self._line.note(0, silent_s)
            coming.at += silent_s
            coming.since = math.inf
        coming.waiting -= 1

    def gone(self, toolchain: Digest, now: float) -> None:
        """It does not come, as far as anybody knows."""
        coming = self._coming.pop(toolchain, None)
        if coming is not None and _is_measured(coming):
            is_silent = self._is_silent(coming, now)
            self._line.note(0, coming.silent_s(now))
            self._line.unproved(now, is_silent=is_silent)

    def _is_silent(self, coming: _Coming, now: float) -> bool:
        """Whether more should have been heard of it by now."""
        if not (coming.is_asked and coming.waiting):
            return False
        next_s = min(coming.left_bytes, GRANT_BYTES) / self._line.bytes_per_s(now)
        return coming.silent_s(now) > next_s + UNPACKING_S

    def reset(self, now: float) -> None:
        """A new connection: nothing is on its way until the node asks again."""
        for coming in self._coming.values():
            coming.is_asked, coming.at = False, now

    def end(self, now: float) -> None:
        """The node has left."""
        for toolchain in list(self._coming):
            self.gone(toolchain, now)


def _is_measured(coming: _Coming) -> bool:
    """Whether it is on its way, and large enough to say something of the line."""
    return coming.is_asked and coming.size_bytes >= LEAST_MEASURED_BYTES
