"""Looks at all connections now and then: who says nothing, who sends more than is read, how many there are.

Owns the measures against them, and the end of a connection. Where the kernel counts no bytes (no TCP), there is
none for bytes.
"""

from __future__ import annotations

import resource
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from broker.core.limits import (
    CONNECTIONS_SHARE,
    LOOKED_AT_ONCE,
    MAX_AHEAD_BYTES,
    MAX_AHEAD_BYTES_IN_ALL,
    MAX_AHEAD_BYTES_PER_KEY,
    MAX_SILENT_OF_ADDRESS,
    SILENT_S,
)
from broker.transport.connections import Connection, Connections
from zcc import tcp

SILENT = "it has said nothing"
TOO_MANY = "there are as many connections as this process may have"
TOO_MANY_SILENT = "many connections of that address say nothing"
AHEAD = "it sends more than is read"

Peer = Connection[tcp.Address]


class ConnectionWatch:
    """`on_end` is told which connection has been shut, and why."""

    def __init__(
        self, connections: Connections[tcp.Address], on_end: Callable[[Peer, str], None]
    ) -> None:
        self._connections = connections
        self._on_end = on_end
        self._round: list[Peer] = []
        self._receiving: set[tuple[bytes, str]] = set()
        self._most = most_connections()
        # The oldest first; some may have spoken or ended since they were noted here.
        self._silent = deque[Peer]()
        self._silent_of: dict[str | int, deque[Peer]] = {}

    def shut(self, connection: Peer) -> None:
        """End it. While it is still there, each look does so again: nothing else bounds what comes by it."""
        connection.is_shut = True
        tcp.shut(connection.descriptor, connection.address)

    def arrived(self, connection: Peer) -> None:
        """One more. Beyond the bound one goes that has said nothing for longest: an honest peer speaks at once,
        and who waits was refused or is a stranger. Those that have spoken are at work, and stay."""
        if connection.address is None:
            return
        of_address = self._note_silent(connection)
        count = len(self._connections)
        if count > self._most:
            self._end(_longest_silent(self._silent), TOO_MANY)
        elif count > self._most / 2 and len(of_address) > MAX_SILENT_OF_ADDRESS:
            self._end(_longest_silent(of_address), TOO_MANY_SILENT)

    def look(self, now: float) -> None:
        """At those that say nothing, and of the others at as many as a moment allows."""
        self._silent, self._silent_of = deque(), {}
        for connection in self._connections:
            if connection.is_shut:
                self.shut(connection)
            elif not connection.user and connection.address is not None:
                self._note_silent(connection)
        self._most = most_connections()  # an operator may change the limit (prlimit)
        for connection in self._silent:
            if now - connection.since > SILENT_S:
                self._end(connection, SILENT)
        if not self._round:
            self._round = [each for each in self._connections if each.address is not None]
        batch, self._round = self._round[:LOOKED_AT_ONCE], self._round[LOOKED_AT_ONCE:]
        users = {each.user for each in batch if each.is_live and self._count(each, now)}
        for user in users:
            self._bound(self._connections.of_user(user), MAX_AHEAD_BYTES_PER_KEY)
        if not self._round:
            self._bound_all()

    def take_receiving(self) -> frozenset[tuple[bytes, str]]:
        """By which routes, and of whom, part of a message has come since this was asked last."""
        receiving, self._receiving = frozenset(self._receiving), set()
        return receiving

    def _note_silent(self, connection: Peer) -> deque[Peer]:
        """The silent ones of its address."""
        of_address = self._silent_of.setdefault(_host(connection), deque())
        of_address.append(connection)
        self._silent.append(connection)
        return of_address

    def _count(self, connection: Peer, now: float) -> bool:
        """Note how much is on its way from this one; whether it is a known key's."""
        counts = tcp.counts_of(connection.descriptor, connection.address)
        if counts is None:
            self._connections.disconnected(connection.descriptor)
            return False
        if connection.note_received(counts.received_bytes, now) and connection.user:
            self._receiving.add((connection.route, connection.user))
        if connection.ahead_bytes > MAX_AHEAD_BYTES:
            self._end(connection, AHEAD)
        return bool(connection.user)

    def _bound(self, connections: Iterable[Peer], most_bytes: int) -> int:
        """Shut of these, one key's, those furthest ahead until they are so much together; how much that is."""
        left = sorted((each for each in connections if not each.is_shut), key=_ahead_bytes)
        ahead_bytes = sum(map(_ahead_bytes, left))
        while ahead_bytes > most_bytes:
            furthest = left.pop()
            ahead_bytes -= furthest.ahead_bytes
            self._end(furthest, AHEAD)
        return ahead_bytes

    def _bound_all(self) -> None:
        """What all have on their way together. Those that have said nothing could be one key's, and count so.
        Whoever has the most gives way: an honest key has some MiB."""
        of_user: defaultdict[str, list[Peer]] = defaultdict(list)
        for connection in self._connections:
            of_user[connection.user].append(connection)
        ahead_bytes = {
            user: self._bound(theirs, MAX_AHEAD_BYTES_PER_KEY) for user, theirs in of_user.items()
        }
        while sum(ahead_bytes.values()) > MAX_AHEAD_BYTES_IN_ALL:
            most = max(ahead_bytes, key=ahead_bytes.__getitem__)
            ahead_bytes[most] = self._bound(of_user[most], ahead_bytes[most] - 1)

    def _end(self, connection: Peer, reason: str) -> None:
        if not connection.is_shut:
            self.shut(connection)
            self._on_end(connection, reason)


def most_connections() -> int:
    """Of this process, of all keys and strangers together."""
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * CONNECTIONS_SHARE)


def _longest_silent(silent: deque[Peer]) -> Peer:
    """The newest, where no other is silent."""
    while len(silent) > 1:
        connection = silent.popleft()
        if connection.is_live and not connection.user and not connection.is_shut:
            return connection
    return silent.pop()


def _ahead_bytes(connection: Peer) -> int:
    return connection.ahead_bytes


def _host(connection: Peer) -> str | int:
    return connection.address[0] if connection.address else ""
