"""What agents are asked for, some blobs at a time: nobody waits for a long list to be said.

Owns what has not been said yet. An agent that comes back in a large build is asked for all of it anew. So what
one key's agents are asked for in a second is bounded, and the rest waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from broker.core.allowance import Allowance
from broker.core.limits import ASK_AGAIN_S, ASKED_BURST, ASKED_PER_S, MAX_ASKED
from cache.digest import Digest


@dataclass(slots=True)
class _Line:
    """The blobs that one agent has not been asked for yet, as a set that keeps the order."""

    user: str
    digests: dict[Digest, None] = field(default_factory=dict)


class Asking:
    """`ask(route, digests)` says one Want; `failed` hears of a mistake of ours over one."""

    def __init__(
        self,
        ask: Callable[[bytes, list[Digest]], None],
        failed: Callable[[bytes, Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._failed = failed
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[bytes, _Line] = OrderedDict()
        self._allowance = Allowance(ASKED_BURST, ASKED_PER_S)
        self._left = MAX_ASKED  # of this turn of the loop
        self._next: asyncio.Handle | None = None

    def close(self) -> None:
        self._waiting.clear()
        self._plan()

    def add(self, route: bytes, user: str, digests: Iterable[Digest]) -> None:
        """Ask this agent, of this key, for these: now if the turn of the loop allows it, else in its turn."""
        line = self._waiting.setdefault(route, _Line(user))
        line.digests.update(dict.fromkeys(digests))
        self._serve(route)
        self._plan()

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew."""
        self._waiting.pop(route, None)

    def _turn(self) -> None:
        self._next, self._left = None, MAX_ASKED
        for route in list(self._waiting):
            if self._left <= 0:
                break
            self._serve(route)
        self._plan()

    def _plan(self) -> None:
        """Go on in the next turn of the loop; where all that wait have used up what they may, in a while."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._left < MAX_ASKED:
            self._next = self._loop.call_soon(self._turn)
        elif self._waiting:
            self._next = self._loop.call_later(ASK_AGAIN_S, self._turn)

    def _serve(self, route: bytes) -> None:
        line = self._waiting.pop(route)
        if self._allowance.left(line.user, self._clock()) > 0:
            self._say(route, line)
        if line.digests:
            self._waiting[route] = line

    def _say(self, route: bytes, line: _Line) -> None:
        some = list(islice(line.digests, self._left))
        for digest in some:
            del line.digests[digest]
        self._left -= len(some)
        self._allowance.use(line.user, len(some), self._clock())
        if some:
            try:
                self._ask(route, some)
            except Exception as error:  # noqa: BLE001 - a mistake of ours: others are asked
                self._failed(route, error)
