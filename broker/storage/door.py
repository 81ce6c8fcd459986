"""Where ccaches come in by HTTP: the listening socket, how many may be inside, and who has overstayed."""

from __future__ import annotations

import asyncio
import logging
import socket

from broker.errors import StartError
from broker.storage.http import Premises, Visit
from zcc.descriptors import raise_descriptors

logger = logging.getLogger(__name__)

# Each is a descriptor, and up to a piece of a value in memory. Beyond it a stranger or an idle one goes.
MAX_VISITS = 1024
# Of the descriptors that this process may have; the rest is the members' and the disk's. Without any left
# asyncio would report an error for each connection.
DESCRIPTORS_SHARE = 0.25
BACKLOG = 1024
# So often it is asked whether the tokens of those inside are still good: 20 us each.
ASK_AGAIN_S = 1.0
# asyncio lets in so many in one turn of the loop, before it makes a Visit of the first.
_ADMITTED_AT_ONCE = 8


class HttpDoor:
    """Bound from construction until `close`, and open from `start` on.

    Raises:
        StartError: the address cannot be listened on.
    """

    def __init__(self, address: str, premises: Premises) -> None:
        self._premises = premises
        self._visits: dict[Visit, None] = {}
        self._max_visits = min(MAX_VISITS, int(raise_descriptors() * DESCRIPTORS_SHARE))
        self._listener = _listen(address)
        self._server: asyncio.Server | None = None
        self._ask_again_at = 0.0

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
        tokens = {each.token for each in self._visits} - {""}
        over = {token for token in tokens if self._premises.access_of(token) is None}
        for visit in [each for each in self._visits if each.token in over]:
            visit.abort()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._visit, sock=self._listener, backlog=_ADMITTED_AT_ONCE
        )
        self._listener.listen(BACKLOG)  # asyncio has told the kernel its own, smaller number

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for visit in list(self._visits):
            visit.abort()

    def _visit(self) -> Visit:
        if len(self._visits) >= self._max_visits:
            self._make_room()
        visit = Visit(self._premises, self._left)
        self._visits[visit] = None
        return visit

    def _make_room(self) -> None:
        """The one that has been here longest goes, of those who have shown no valid token if there are any;
        else the one that has been idle longest, if one is."""
        self._premises.counts["crowded_out"] += 1
        longest = next((each for each in self._visits if not each.token), None)
        if longest is None:
            idle = (each for each in self._visits if each.is_idle)
            longest = min(idle, key=lambda each: each.deadline, default=next(iter(self._visits)))
        longest.abort()
        self._left(longest)

    def _left(self, visit: Visit) -> None:
        self._visits.pop(visit, None)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise StartError(f"{address!r} is not an address: write --ccache-listen HOST:PORT")
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
