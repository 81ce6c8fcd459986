"""How much of the past a watcher keeps, over all builds: none of a member takes it from others. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TypeVar

Thing = TypeVar("Thing")
Key = TypeVar("Key")

# Of more than there is room for, this share goes in one go: who has the most is not looked for each time.
_SHARE = 1 / 100


class Kept:
    """`most` things in all lists together. Beyond them the member that has the most loses its oldest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        # Of each member the list of each thing, the oldest first.
        self._places: dict[str, deque[deque[object]]] = {}

    def add(self, member: str, things: deque[Thing], thing: Thing) -> None:
        """Put one more at the end of this list, which is this member's. A full one loses its first."""
        is_full = len(things) == things.maxlen
        things.append(thing)
        if is_full:
            return
        self._places.setdefault(member, deque()).append(things)  # type: ignore[arg-type]
        self._count += 1
        if self._count > self._most:
            self._drop(max(1, int(self._most * _SHARE)))

    def _drop(self, count: int) -> None:
        member = max(self._places, key=lambda each: len(self._places[each]))
        places = self._places[member]
        for _ in range(min(count, len(places))):
            places.popleft().popleft()
            self._count -= 1
        if not places:
            del self._places[member]


def first_of_most(owners: Iterable[tuple[Key, str]]) -> Key:
    """The first thing of the owner that has the most of these things."""
    rows = list(owners)
    counts = Counter(owner for _, owner in rows)
    most = max(counts.values())
    return next(key for key, owner in rows if counts[owner] == most)
