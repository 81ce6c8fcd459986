"""Looks at all connections now and then: who says nothing, who sends more than is read, how many there are.

Owns the measures against them; `shut` carries them out. Where the kernel counts no bytes (no TCP), there is
none for bytes.
"""

from __future__ import annotations

import resource
from collections import Counter
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
        self._most = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * CONNECTIONS_SHARE)
        self._silent: Counter[str | int] = Counter()  # of an address, as of the last look

    def arrived(self, connection: Peer) -> None:
        """One more. Beyond the bound the newest goes: those that are there are at work."""
        if connection.address is None:
            return
        count = len(self._connections)
        host = _host(connection)
        self._silent[host] += 1
        if count > self._most:
            self._end(connection, TOO_MANY)
        elif count > self._most / 2 and self._silent[host] > MAX_SILENT_OF_ADDRESS:
            self._end(connection, TOO_MANY_SILENT)

    def look(self, now: float) -> None:
        """At those that say nothing, and of the others at as many as a moment allows."""
        silent = [each for each in self._connections if not each.user and each.address is not None]
        self._silent = Counter(map(_host, silent))
        for connection in silent:
            if now - connection.since > SILENT_S:
                self._end(connection, SILENT)
        if not self._round:
            self._round = [each for each in self._connections if each.address is not None]
        batch, self._round = self._round[:LOOKED_AT_ONCE], self._round[LOOKED_AT_ONCE:]
        users = {each.user for each in batch if each.is_live and self._count(each, now)}
        for user in users:
            self._bound(user)

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


def _host(connection: Peer) -> str | int:
    return connection.address[0] if connection.address else ""
