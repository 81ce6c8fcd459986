"""What waits to be written to an engine: bounded in bytes, and the oldest goes when there is too much. Pure.

The newest stays, as it is what the next builds ask for; and an engine that was away for an hour is given what
is worth most when it is back.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class BoundedBacklog(Generic[_Item]):
    """First in, first out; `size_bytes` is what waits, never more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.size_bytes = 0
        self.dropped = 0
        self._limit_bytes = limit_bytes
        self._items: deque[tuple[_Item, int]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: _Item, size_bytes: int) -> None:
        """Have this wait; what has waited longest goes for it. One that is too large by itself goes at once."""
        if size_bytes > self._limit_bytes:
            self.dropped += 1
            return
        self._items.append((item, size_bytes))
        self.size_bytes += size_bytes
        while self.size_bytes > self._limit_bytes:
            self.size_bytes -= self._items.popleft()[1]
            self.dropped += 1

    def take(self, most: int) -> list[_Item]:
        """So many of those that have waited longest, in order."""
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self.size_bytes -= sum(size for _, size in taken)
        return [item for item, _ in taken]
