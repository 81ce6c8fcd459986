"""Threads that ask one engine, so that nobody else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Lanes:
    """So many pieces of work at a time, the others behind them. Daemons: one that hangs keeps no process from
    ending."""

    def __init__(self, name: str, count: int) -> None:
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {at}", daemon=True)
            for at in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, work: Callable[[], None]) -> None:
        """Have this done; it must raise nothing."""
        self._waiting.put(work)

    def close(self) -> None:
        """End them when what waits is done; nobody waits for that."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()
