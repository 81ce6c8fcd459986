"""Connections of the page's readers: who is not being answered gives way when there are many.

Who has no token reaches the port as well. He may hold connections, without a word on them or with a request
that is refused now and then; they are none of the readers'.
"""

from __future__ import annotations

import asyncio
import itertools

from uvicorn.protocols.http.h11_impl import H11Protocol

# Browsers' streams, of which there are at most half as many, and what else they ask.
MOST_CONNECTIONS = 400
_numbers = itertools.count()


class PageConnection(H11Protocol):
    """One connection. Beyond the bound the one goes that was the first to come of those that wait for no
    answer; the newest itself if all do."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.number = next(_numbers)
        super().connection_made(transport)
        others = [
            each for each in self.connections if isinstance(each, PageConnection) and each.is_here
        ]
        if len(others) > MOST_CONNECTIONS:
            idle = (each for each in others if each.is_idle and each is not self)
            min(idle, key=lambda each: each.number, default=self).transport.abort()

    @property
    def is_here(self) -> bool:
        return not self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Nothing was asked that is not answered."""
        return self.cycle is None or self.cycle.response_complete
