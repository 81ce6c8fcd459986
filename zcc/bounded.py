"""A map that holds so many bytes at most and forgets what was used least recently. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Entries by key, in the order of their last use. `bytes_of` says, or guesses, what an entry takes.

    The entry that was put in last stays, however large.
    """

    def __init__(self, limit_bytes: int, bytes_of: Callable[[K, V], int]) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._bytes_of = bytes_of
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held(self) -> tuple[int, int]:
        """How many entries, and about how many bytes."""
        return len(self._entries), self.size_bytes

    def get(self, key: K) -> V | None:
        """The value, which is the most recently used from now on; None: there is none."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """The value, which is not used by that."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V) -> None:
        """Keep the value under this key, instead of another one."""
        self.pop(key)
        size = self._bytes_of(key, value)
        self._entries[key] = value, size
        self.size_bytes += size
        while self.size_bytes > self.limit_bytes and len(self._entries) > 1:
            self.pop(next(iter(self._entries)))

    def pop(self, key: K) -> V | None:
        """Forget the key; its value, None: there was none."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        self.size_bytes -= found[1]
        return found[0]
