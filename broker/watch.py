"""Looks at all connections now and then: who says nothing, who sends more than is read, how many there are.

Owns the measures against them; `shut` carries them out. Where the kernel counts no bytes (no TCP), there is
none for bytes.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable

from broker import tcp
from broker.connections import Connection, Connections
from broker.limits import (
    CONNECTIONS_SHARE,
    LOOKED_AT_ONCE,
    MAX_AHEAD_BYTES,
    MAX_AHEAD_BYTES_PER_KEY,
    MAX_SILENT_OF_ADDRESS,
    SILENT_S,
)

SILENT = "it has said nothing"
TOO_MANY = "there are as many connections as this process may have"
TOO_MANY_SILENT = "many connections of that address say nothing"
AHEAD = "it sends more than is read"

Peer = Connection[tcp.Address]


class Watch:
    def __init__(
        self, connections: Connections[tcp.Address], shut: Callable[[Peer, str], None]
    ) -> None:
        self._connections = connections
        self._shut = shut
        self._round: list[Peer] = []
        self._most = most_connections()
        self._silent: dict[str | int, deque[Peer]] = {}  # of an address, the oldest first

    def arrived(self, connection: Peer) -> None:
        """One more. Beyond the bound one goes that has said nothing for longest: an honest peer speaks at once,
        and who waits was refused or is a stranger. Those that have spoken are at work, and stay."""
        if connection.address is None:
            return
        silent = self._silent.setdefault(_host(connection), deque())
        silent.append(connection)
        count = len(self._connections)
        if count > self._most:
            self._end(self._longest_silent(silent), TOO_MANY)
        elif count > self._most / 2 and len(silent) > MAX_SILENT_OF_ADDRESS:
            self._end(self._longest_silent(silent), TOO_MANY_SILENT)

    def look(self, now: float) -> None:
        """At those that say nothing, and of the others at as many as a moment allows."""
        silent = [each for each in self._connections if not each.user and each.address is not None]
        self._silent = {}
        for connection in silent:
            self._silent.setdefault(_host(connection), deque()).append(connection)
        self._most = most_connections()  # an operator may change the limit (prlimit)
        for connection in silent:
            if now - connection.since > SILENT_S:
                self._end(connection, SILENT)
        if not self._round:
            self._round = [each for each in self._connections if each.address is not None]
        batch, self._round = self._round[:LOOKED_AT_ONCE], self._round[LOOKED_AT_ONCE:]
        users = {each.user for each in batch if each.is_live and self._count(each, now)}
        for user in users:
            self._bound(user)

    def _longest_silent(self, silent: deque[Peer]) -> Peer:
        while len(silent) > 1:
            connection = silent.popleft()
            if connection.is_live and not connection.user and not connection.is_shut:
                return connection
        return silent.pop()

    def _count(self, connection: Peer, now: float) -> bool:
        """Note how much is on its way from this one; whether it is there at all."""
        counts = tcp.counts_of(connection.descriptor, connection.address)
        if counts is None:
            self._connections.disconnected(connection.descriptor)
            return False
        connection.ahead_bytes = connection.ahead_of(counts.received_bytes, now)
        if connection.ahead_bytes > MAX_AHEAD_BYTES:
            self._end(connection, AHEAD)
        return bool(connection.user)

    def _bound(self, user: str) -> None:
        """What all of a key's connections have on its way together."""
        others = [each for each in self._connections.of_user(user) if not each.is_shut]
        if sum(each.ahead_bytes for each in others) > MAX_AHEAD_BYTES_PER_KEY:
            self._end(max(others, key=lambda each: each.ahead_bytes), AHEAD)

    def _end(self, connection: Peer, reason: str) -> None:
        if not connection.is_shut:
            connection.is_shut = True
            self._shut(connection, reason)


def most_connections() -> int:
    """Of this process, of all keys and strangers together."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * CONNECTIONS_SHARE)


def _host(connection: Peer) -> str | int:
    return connection.address[0] if connection.address else ""
