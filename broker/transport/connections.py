"""The broker's live connections: whose each is, and how many bytes are under way on it. Pure.

libzmq tells of a connection by its descriptor, and of a message by the descriptor, the route and the user
that it came with. The number of a descriptor may be used again, and so may a route, which peers can choose:
an entry holds for one connection, and ends with it for good. Must not know of sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.core.limits import HEARTBEAT_BYTES_PER_S, MAX_RECORDS
from zcc.messages import RECEIVING_BYTES

# What CURVE adds to a frame (RFC 26: 8 bytes of name, 8 of nonce, 16 of code, 1 of flags), and ZMTP (RFC 37: a
# flag and a length, of 1 byte or of 8).
_CURVE_BYTES = 33
_SHORT_FRAME = 255
_SHORT_HEADER_BYTES = 2
_LONG_HEADER_BYTES = 9

Address = TypeVar("Address")


def bytes_on_the_wire(frames: Iterable[bytes]) -> int:
    """What a message takes of a connection."""
    total = 0
    for frame in frames:
        size = len(frame) + _CURVE_BYTES
        total += size + (_SHORT_HEADER_BYTES if size <= _SHORT_FRAME else _LONG_HEADER_BYTES)
    return total


@dataclass(slots=True, eq=False)
class Connection(Generic[Address]):
    """`user` and `route` are known from its first message on.

    `handed_bytes` went to libzmq for it, of which the peer had confirmed `acked_bytes` when the kernel was
    asked last; `delivered_bytes` came from libzmq, `received_bytes` had come here then, and `ahead_bytes` of
    them were not delivered. `is_shut`: its end was asked for; nothing is sent to it until that is told.
    """

    descriptor: int
    address: Address | None
    since: float
    user: str = ""
    route: bytes = b""
    is_live: bool = True
    handed_bytes: int = 0
    acked_bytes: int = 0
    delivered_bytes: int = 0
    received_bytes: int = 0
    ahead_bytes: int = 0
    is_shut: bool = False

    @property
    def unsent_bytes(self) -> int:
        return self.handed_bytes - self.acked_bytes

    def note_received(self, received_bytes: int, now: float) -> bool:
        """So much has come ever, heartbeats of libzmq's among it; whether part of a message is on its way: who
        sends it over a slow line can say nothing else."""
        fresh_bytes = received_bytes - self.received_bytes
        beats = int(HEARTBEAT_BYTES_PER_S * (now - self.since))
        self.received_bytes = received_bytes
        self.ahead_bytes = received_bytes - self.delivered_bytes - beats
        return fresh_bytes >= RECEIVING_BYTES and self.ahead_bytes > 0

    def note_acked(self, acked_bytes: int) -> None:
        """So much has been confirmed ever, the handshake and libzmq's heartbeats among it."""
        self.acked_bytes = acked_bytes
        self.handed_bytes = max(self.handed_bytes, acked_bytes)


class Connections(Generic[Address]):
    def __init__(self) -> None:
        self.accepted_ever = 0
        self._by_descriptor: dict[int, Connection[Address]] = {}
        self._by_route: dict[bytes, Connection[Address]] = {}
        self._by_user: dict[str, dict[Connection[Address], None]] = {}
        # Whose connections ended last: messages of theirs may still be on their way through libzmq.
        self._ended: dict[tuple[bytes, str], None] = {}

    def __len__(self) -> int:
        return len(self._by_descriptor)

    def __iter__(self) -> Iterator[Connection[Address]]:
        return iter(self._by_descriptor.values())

    def accepted(self, descriptor: int, address: Address | None, now: float) -> Connection[Address]:
        """A connection has begun. Whichever had this descriptor is over."""
        self.accepted_ever += 1
        self.disconnected(descriptor)
        connection = self._by_descriptor[descriptor] = Connection(descriptor, address, now)
        return connection

    def was_over(self, descriptor: int) -> None:
        """A connection has begun and ended before this was told of either."""
        self.accepted_ever += 1
        self.disconnected(descriptor)

    def disconnected(self, descriptor: int) -> None:
        """It is over: nothing is sent on its route any more, whoever has it next."""
        connection = self._by_descriptor.pop(descriptor, None)
        if connection is not None:
            connection.is_live = False
            self._end_name(connection)

    def of_user(self, user: str) -> list[Connection[Address]]:
        """Those that have spoken."""
        return list(self._by_user.get(user, ()))

    def count_of(self, user: str) -> int:
        return len(self._by_user.get(user, ()))

    def on_route(self, route: bytes) -> Connection[Address] | None:
        """The live connection that answers on this route go to."""
        return self._by_route.get(route)

    def heard(self, descriptor: int, route: bytes, user: str) -> Connection[Address] | None:
        """The live connection that a message came by; None: that has ended meanwhile."""
        connection = self._by_descriptor.get(descriptor)
        name = (route, user)
        if connection is None or name in self._ended:
            return None
        if (connection.route, connection.user) != name:
            # The first message; or the one before was an ended connection's, which had the same descriptor.
            self._end_name(connection)
            connection.route, connection.user = name
            self._by_user.setdefault(user, {})[connection] = None
            self._by_route[route] = connection
        return connection

    def _end_name(self, connection: Connection[Address]) -> None:
        if not connection.user:
            return
        self._ended[connection.route, connection.user] = None
        if len(self._ended) > MAX_RECORDS:
            del self._ended[next(iter(self._ended))]
        if self._by_route.get(connection.route) is connection:
            del self._by_route[connection.route]
        others = self._by_user[connection.user]
        del others[connection]
        if not others:
            del self._by_user[connection.user]
