"""Who is served next: whoever was served least. Pure.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over predicted seconds: each is charged what its jobs
will cost, and whoever comes new begins where those who are there stand, so that nobody can save up turns
by staying away. What was charged is remembered for a while after one has left, so that nobody loses debts
by leaving either.

A charge is a prediction until it is settled, and a prediction sets nobody else's place: those who are there
stand, for others, where the least served of them stands without what is not settled yet. Nobody is set before
that, by coming or by what is given back: nobody can save up turns by a price that was too high either.

Where nobody waits, the place goes on from what the last one of them had that is settled, and never falls behind
it: what one had while nobody else waited was taken from nobody, and is held against nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from broker.core.limits import MAX_RECORDS

# Entries of the past that are kept without being looked at.
_SLACK = 64

Item = TypeVar("Item", bound=Hashable)


@dataclass(slots=True, eq=False)
class Charge(Generic[Item]):
    """What an item was charged for a turn, as was expected of it; to be settled once."""

    turns: Turns[Item]
    item: Item
    seconds: float

    def settle(self, seconds: float) -> None:
        """It was so much in truth."""
        self.turns.settle(self, seconds)


class Turns(Generic[Item]):
    """Every operation is O(log n) over the items that wait."""

    def __init__(self) -> None:
        self._served_s: dict[Item, float] = {}
        self._left: OrderedDict[Item, float] = OrderedDict()
        # Of each, charges that are not settled: how many, and their sum.
        self._open: dict[Item, tuple[int, float]] = {}
        # An entry counts while the item is there and stands at just this figure; numbers keep ties in order.
        self._heap: list[tuple[float, int, Item]] = []
        self._entries: dict[Item, int] = {}
        self._passed: list[tuple[float, int, Item]] = []
        self._number = 0
        # Where those who were there stood when nobody waited any more.
        self._last_s = 0.0

    def __len__(self) -> int:
        return len(self._served_s)

    def __contains__(self, item: object) -> bool:
        return item in self._served_s

    def add(self, item: Item) -> None:
        """It waits from now on, at the place of the least served."""
        served_s = max(self._left.pop(item, 0.0), self._least_s())
        self._served_s[item] = served_s
        self._push(item, served_s)

    def remove(self, item: Item) -> None:
        served_s = self._served_s.pop(item)
        del self._entries[item]
        self._left[item] = served_s
        if len(self._left) > MAX_RECORDS:
            self._left.popitem(last=False)
        self._go_on_from(item)

    def charge(self, item: Item, seconds: float) -> Charge[Item]:
        """It had a turn, which is expected to be so long."""
        count, open_s = self._open.get(item, (0, 0.0))
        self._open[item] = count + 1, open_s + seconds
        self._served_s[item] += seconds
        self._push(item, self._served_s[item])
        return Charge(self, item, seconds)

    def settle(self, charge: Charge[Item], seconds: float) -> None:
        item, more_s, least_s = charge.item, seconds - charge.seconds, self._least_s()
        count, open_s = self._open.pop(item)
        if count > 1:
            self._open[item] = count - 1, max(0.0, open_s - charge.seconds)
        if item in self._left:
            self._left[item] += more_s
            self._go_on_from(item)
        elif more_s and item in self._served_s:
            served_s = self._served_s[item]
            self._served_s[item] = max(served_s + more_s, min(served_s, least_s))
            self._push(item, self._served_s[item])

    def _least_s(self) -> float:
        """Where those who are there stand, or stood when the last of them left."""
        first = self._peek()
        if first is None:
            return self._last_s
        _, open_s = self._open.get(first[2], (0, 0.0))
        return max(self._last_s, first[0] - open_s)

    def _go_on_from(self, item: Item) -> None:
        """Who comes next begins no earlier than this one, who has left, where nobody waits."""
        if not self._served_s:
            _, open_s = self._open.get(item, (0, 0.0))
            self._last_s = max(self._last_s, self._left[item] - open_s)

    def in_order(self) -> list[Item]:
        """All who wait, the least served first; those that were passed over, too."""
        return sorted(self._served_s, key=self._served_s.__getitem__)

    def first(self) -> Item | None:
        """The least served of those that were not passed over."""
        entry = self._peek()
        return None if entry is None else entry[2]

    def pass_over(self, item: Item) -> None:
        """Nothing can be done for the first one now: it keeps its place until `restore`."""
        entry = self._peek()
        assert entry is not None
        assert entry[2] == item
        self._passed.append(heappop(self._heap))

    def restore(self) -> None:
        for entry in self._passed:
            heappush(self._heap, entry)
        self._passed.clear()

    def _push(self, item: Item, served_s: float) -> None:
        self._number += 1
        self._entries[item] = self._number
        heappush(self._heap, (served_s, self._number, item))
        if len(self._heap) > 2 * len(self._entries) + _SLACK:
            # Entries of who was served much and has left lie deep; they would come up only in that much time.
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapify(self._heap)

    def _is_current(self, entry: tuple[float, int, Item]) -> bool:
        return self._entries.get(entry[2]) == entry[1]

    def _peek(self) -> tuple[float, int, Item] | None:
        heap = self._heap
        while heap and not self._is_current(heap[0]):
            heappop(heap)
        return heap[0] if heap else None
