"""Which connection is served next, and for how long before the broker's other work has its turn.

Each has one step at a time: an answer, or a piece of a value. So neither many connections nor one with many
requests behind each other keep anybody else waiting for longer than SHARE_S and a step.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

# Of one turn of the loop: some ten to fifty answers.
SHARE_S = 0.005


class Served(Protocol):
    def serve(self) -> bool:
        """Do one step; whether another one can be done at once."""


class Rounds:
    """Bounded by how many connections there are: each waits once."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Served, None] = OrderedDict()
        self._is_due = False

    def wait(self, served: Served) -> None:
        """It has something to do: it has a step when those before it have had theirs."""
        self._waiting[served] = None
        self._come_back()

    def leave(self, served: Served) -> None:
        self._waiting.pop(served, None)

    def _serve(self) -> None:
        self._is_due = False
        until = time.perf_counter() + SHARE_S
        while self._waiting:
            served, _ = self._waiting.popitem(last=False)
            if served.serve():
                self._waiting[served] = None
            if time.perf_counter() >= until:
                break
        if self._waiting:
            self._come_back()

    def _come_back(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._serve)
