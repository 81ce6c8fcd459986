"""Connections whose launchers have become compilers: each is a slot, and only its end is to come.

A compiler that ends need not wake the agent: it leaves the processor's caches cold, so each waking costs what
the whole question did. Who rests here is looked at when that is cheap or when it matters: on the way to
something else, or at once as long as anybody waits for a slot.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class RestingRoom:
    """Descriptors that are watched together, by an epoll(7) instance of their own.

    `end` of a descriptor is called out of `look` when the other side has closed it; it has to close it too. Who
    closes it otherwise says so (`leave`).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._ends: dict[int, Callable[[], None]] = {}
        self._is_watched = False

    def __len__(self) -> int:
        return len(self._ends)

    def close(self) -> None:
        """Whoever comes after this is heard no more: the agent leaves."""
        self.watch(False)
        self._poll.close()

    def enter(self, descriptor: int, end: Callable[[], None]) -> None:
        if self._poll.closed:
            return
        self._poll.register(descriptor, select.EPOLLIN)
        self._ends[descriptor] = end

    def leave(self, descriptor: int) -> None:
        """Forget one that is closed before the other side has closed it."""
        self._ends.pop(descriptor, None)

    def look(self) -> None:
        """See to those that have ended since."""
        while self._ends and not self._poll.closed and (ready := self._poll.poll(0)):
            for descriptor, _ in ready:
                self._ends.pop(descriptor)()

    def watch(self, is_watched: bool) -> None:
        """From now on, hear at once of each that ends; or no more."""
        if is_watched == self._is_watched or self._poll.closed:
            return
        self._is_watched = is_watched
        if is_watched:
            self._loop.add_reader(self._poll.fileno(), self.look)
        else:
            self._loop.remove_reader(self._poll.fileno())
