"""Lets the first few of the same through, and counts the rest. Pure: times are seconds, of any clock.

For lines that a stranger can have written as often as he likes: what is said once is said, what is said
2,600 times a second is said ten times and then summed up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MOST_OF_THE_SAME = 10
PERIOD_S = 60.0
# Different ones that are told apart in a period; what is beyond them is counted only.
MAX_KINDS = 1_000


@dataclass(slots=True)
class _Count:
    began_at: float
    said: int = 0
    more: int = 0


class Summing(Generic[K]):
    """`most` of each kind in `period_s`; `due` tells how many more there were."""

    def __init__(
        self,
        most: int = MOST_OF_THE_SAME,
        period_s: float = PERIOD_S,
        max_kinds: int = MAX_KINDS,
    ) -> None:
        self._most = most
        self._period_s = period_s
        self._max_kinds = max_kinds
        self._counts: OrderedDict[K | None, _Count] = OrderedDict()  # oldest first

    def admits(self, kind: K, now: float) -> bool:
        """Whether this one is to be said; else it is counted."""
        place: K | None = kind
        if kind not in self._counts and len(self._counts) >= self._max_kinds:
            place = None
        count = self._counts.get(place)
        if count is None:
            count = self._counts[place] = _Count(now)
        if place is not None and count.said < self._most:
            count.said += 1
            return True
        count.more += 1
        return False

    def due(self, now: float, *, is_last: bool = False) -> list[tuple[K | None, int]]:
        """The kinds whose period is over, and how many of each were not said; None: all that were too
        many to be told apart."""
        over: list[tuple[K | None, int]] = []
        while self._counts:
            kind, count = next(iter(self._counts.items()))
            if now - count.began_at < self._period_s and not is_last:
                break
            del self._counts[kind]
            if count.more:
                over.append((kind, count.more))
        return over
