"""Where HTTP clients come in: the listening socket, how many may be inside, and who has overstayed."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from typing import Protocol

from broker.errors import StartError
from broker.http.connection import Doorkeeper, HttpConnection
from zcc.descriptors import raise_descriptors

logger = logging.getLogger(__name__)

# Each is a descriptor, and up to a piece of a value in memory.
MAX_VISITS = 1024
# So many of them may have shown tokens. There is always room to come in and show one, whatever the others do.
KNOWN_SHARE = 0.75
# Of the descriptors that this process may have; the rest is the members' and the disk's. Without any left
# asyncio would report an error for each connection.
DESCRIPTORS_SHARE = 0.25
BACKLOG = 1024
# So often it is asked whether the tokens of those inside are still good: 20 us each.
ASK_AGAIN_S = 1.0
# asyncio lets in so many in one turn of the loop, before it makes an HttpConnection of the first.
_ADMITTED_AT_ONCE = 8


class BehindDoor(Protocol):
    """What is behind a door."""

    counts: Counter[str]

    def admit(self, doorkeeper: Doorkeeper) -> HttpConnection:
        """A connection for who comes in."""

    def is_good(self, token: str) -> bool:
        """Whether a token that was shown is still good for anything."""

    def sum_up(self) -> None:
        """Now and then: log what was not worth a line each."""


class HttpDoor:
    """Bound from construction until `close`, and open from `start` on. `option` is what names the address.

    Raises:
        StartError: the address cannot be listened on.
    """

    def __init__(
        self, address: str, premises: BehindDoor, option: str, most: int = MAX_VISITS
    ) -> None:
        self._premises = premises
        self._visits: dict[HttpConnection, None] = {}
        # Without a token "". Of each who has been here, or has shown it, for longest stands first.
        self._of_token: dict[str, dict[HttpConnection, None]] = {}
        self._max_visits = min(most, int(raise_descriptors() * DESCRIPTORS_SHARE))
        self._listener = _listen(address, option)
        self._server: asyncio.Server | None = None
        self._ask_again_at = 0.0
        self._is_closed = False

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def tick(self, now: float) -> None:
        """Cut off everybody whose time is over, or whose token is."""
        if now >= self._ask_again_at:
            self._ask_again_at = now + ASK_AGAIN_S
            self._turn_out()
            self._premises.sum_up()
        for visit in [each for each in self._visits if each.deadline < now]:
            if not visit.is_idle:
                self._premises.counts["late"] += 1
            visit.abort()

    def _turn_out(self) -> None:
        """What a token is good for ends with it, whatever it was used for is under way."""
        for token in self._of_token.keys() - {""}:
            if not self._premises.is_good(token):
                for visit in self._of_token[token]:
                    visit.abort()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._premises.admit(self), sock=self._listener, backlog=_ADMITTED_AT_ONCE
        )
        self._listener.listen(BACKLOG)  # asyncio has told the kernel its own, smaller number

    def close(self) -> None:
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for visit in list(self._visits):
            visit.abort()

    # ---- what visits tell ----------------------------------------------------------------------

    def came(self, visit: HttpConnection) -> None:
        """One more, which can be cut off from now on. Of those without a token the one goes that has been here
        longest when there is no room."""
        if self._is_closed:
            visit.abort()
            return
        if len(self._visits) >= self._max_visits:
            self._crowd_out(next(iter(self._of_token.get("") or self._visits)))
        self._visits[visit] = None
        self._of_token.setdefault("", {})[visit] = None

    def showed(self, visit: HttpConnection, before: str) -> None:
        """Beyond what those with tokens may be, the token that has the most gives way: of its others the one
        goes that has been idle longest, if one is, else the one that has shown it for longest."""
        self._forget(visit, before)
        self._of_token.setdefault(visit.token, {})[visit] = None
        known = len(self._visits) - len(self._of_token.get("", ()))
        if not visit.token or known <= self._max_visits * KNOWN_SHARE:
            return
        most = max((token for token in self._of_token if token), key=self._count_of)
        others = [each for each in self._of_token[most] if each is not visit]
        if others:
            idle = (each for each in others if each.is_idle)
            self._crowd_out(min(idle, key=lambda each: each.deadline, default=others[0]))

    def left(self, visit: HttpConnection) -> None:
        if visit in self._visits:
            del self._visits[visit]
            self._forget(visit, visit.token)

    def _crowd_out(self, visit: HttpConnection) -> None:
        self._premises.counts["crowded_out"] += 1
        visit.abort()
        self.left(visit)  # its end is told in the loop's next turn

    def _count_of(self, token: str) -> int:
        return len(self._of_token[token])

    def _forget(self, visit: HttpConnection, token: str) -> None:
        theirs = self._of_token[token]
        del theirs[visit]
        if not theirs:
            del self._of_token[token]


def _listen(address: str, option: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise StartError(f"{address!r} is not an address: write {option} HOST:PORT")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {address}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(place)
        # At once: a client's 100 ms to connect are the kernel's business, however busy our loop is.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {address}: {error.strerror}") from error
    return listener
