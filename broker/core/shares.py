"""Tables that all keys fill, and in which none pushes out what others have put there. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
# Of what the greatest key has, the share that it loses at a time: who it is, is not looked up for each item.
_LOST = 64


class Shares(Generic[Item]):
    """Items that keys have named, in each key's order of use; an item is there while any key has it.

    Beyond `most_of_one` a key loses what it has not used for the longest time. Beyond `most` the key that has
    the most loses that: so whoever fills the table up pushes out his own.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._of: dict[str, OrderedDict[Item, None]] = {}
        self._owners: Counter[Item] = Counter()
        self._total = 0

    def __contains__(self, item: object) -> bool:
        return item in self._owners

    def __len__(self) -> int:
        """Items, each once for each key that has it."""
        return self._total

    def items(self) -> list[tuple[Item, str]]:
        """With their keys, those used last come last of each key's."""
        return [(item, user) for user, items in self._of.items() for item in items]

    def has_all(self, user: str) -> bool:
        """Whether this key has as many as it may: one more is for one less."""
        return len(self._of.get(user, ())) >= self._most_of_one

    def use(self, user: str, item: Item) -> list[Item]:
        """The key names this item, perhaps again; what nobody has any more for it."""
        items = self._of.setdefault(user, OrderedDict())
        if item in items:
            items.move_to_end(item)
            return []
        items[item] = None
        self._owners[item] += 1
        self._total += 1
        lost = []
        if len(items) > self._most_of_one:
            lost.append(self._drop_oldest(user))
        if self._total > self._most:
            greatest = max(self._of, key=lambda each: len(self._of[each]))
            for _ in range(1 + len(self._of[greatest]) // _LOST):
                lost.append(self._drop_oldest(greatest))
        return [each for each in lost if each not in self._owners]

    def _drop_oldest(self, user: str) -> Item:
        items = self._of[user]
        item, _ = items.popitem(last=False)
        if not items:
            del self._of[user]
        self._owners[item] -= 1
        self._total -= 1
        if not self._owners[item]:
            del self._owners[item]
        return item


class Lines(Generic[Item]):
    """Items that wait, in a line of each key's. Keys take turns; a line that is too long loses its first."""

    def __init__(self, most_of_one: int) -> None:
        self._most_of_one = most_of_one
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, user: str, item: Item) -> None:
        self._lines.setdefault(user, deque(maxlen=self._most_of_one)).append(item)

    def take(self) -> Item:
        """The next one; there must be one."""
        user, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[user] = line
        return item
