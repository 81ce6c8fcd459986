"""Who wants to become a member, or none any more, waits in a line: keys take turns.

Each of them is written through to the disk in the broker's loop, and a pool of machines joins at once. So after
each the loop has as long for others as that took, be it a millisecond or a slow disk's hundred.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

from broker.core.events import Origin
from broker.core.limits import JOINS_BURST, JOINS_REST
from broker.core.shares import Lines
from zcc.messages import Enrol, Leave, Rejoin

Request = Enrol | Rejoin | Leave


class Joins:
    """Calls `carry_out` with each request, soon; mistakes are the peer's, or ours for its session."""

    def __init__(
        self,
        carry_out: Callable[[Origin, Request], None],
        on_behalf_of: Callable[[Origin], AbstractContextManager[None]],
    ) -> None:
        self._carry_out = carry_out
        self._on_behalf_of = on_behalf_of
        self._loop = asyncio.get_running_loop()
        self._waiting = Lines[tuple[Origin, Request]](int(JOINS_BURST))
        self._next: asyncio.TimerHandle | None = None

    def add(self, origin: Origin, request: Request) -> None:
        self._waiting.put(origin.user, (origin, request))
        if self._next is None:
            self._take()

    def close(self) -> None:
        """Carry out nothing more: who gets no answer asks again."""
        if self._next is not None:
            self._next.cancel()

    def _take(self) -> None:
        self._next = None
        if not self._waiting:
            return
        origin, request = self._waiting.take()
        began_s = self._loop.time()
        with self._on_behalf_of(origin):
            self._carry_out(origin, request)
        rest_s = JOINS_REST * (self._loop.time() - began_s)
        self._next = self._loop.call_later(rest_s, self._take)
