"""The broker's one socket, and what becomes of the connections to it.

libzmq lets a peer choose its route (its routing id), and gives the others ids by a counter. So nothing is sent
on a route but to the connection whose message it was last, and the counter starts where nobody knows.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
from collections.abc import Callable

import zmq

from broker.core.limits import KEY_CONNECTIONS, LOOK_EVERY_S, MAX_UNSENT_MESSAGES, UNREAD_MESSAGES
from broker.transport.connections import Connection, Connections, bytes_on_the_wire
from broker.transport.gate import Gate
from broker.transport.watch import ConnectionWatch
from broker.transport.zap import ZAP_DOMAIN, ZapHandler
from zcc import tcp
from zcc.keys import KeyPair
from zcc.link import MAX_PARTS, Events, Frames, Monitor, Pumped, bounded_socket
from zcc.summing import Summing

logger = logging.getLogger(__name__)

# What may be on its way to a peer before the kernel is asked how much of it has arrived: a call takes 2 us.
_LOOK_BYTES = 1 << 20
# What libzmq begins its own ids with; a number of 32 bits follows.
_OWN_ID = b"\0"
_OWN_ID_BYTES = 5
# Agents that dial at once, as after a pause of the broker's; the kernel allows 4096 by itself.
BACKLOG = 4096
_BEGINNINGS_AND_ENDS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
CHOSEN_ROUTE = "a routing id of its own choice"
MANY_PARTS = "a message of many parts"
_names = itertools.count()


class RouterLink(Pumped):
    """Has its own ZAP handler: only keys that `zap` knows get in. Without an endpoint it waits for `bind`.

    `zap` maps a public key (Z85), and the address that it comes from, to a user id, or None to refuse. It must
    not raise; if it does, the key is refused and the error logged: an exception must never stop admissions.
    `on_offence` is told the user and what he did, of whom a connection, or all of them, have been shut for it.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        server: KeyPair,
        zap: Callable[[str, str], str | None],
        on_message: Callable[[bytes, str, Frames], None],
        on_offence: Callable[[str, str], None],
        most_connections: int = KEY_CONNECTIONS,
    ) -> None:
        self._find_user = zap
        self._connections = Connections[tcp.Address]()
        # All that came from members and was handed over for them, and connections that the gate refused.
        self.received_bytes = self.sent_bytes = self.refused = 0
        self._gate = Gate(most_connections)
        self._refusals = Summing[str]()
        self._zap = ZapHandler(context, self._admit)
        guess = _seed_ids()
        socket = bounded_socket(context, zmq.ROUTER, endpoint, UNREAD_MESSAGES)
        self._monitor: Monitor | None = None
        try:
            self._first_id = _first_id(context, socket)
            socket.setsockopt(zmq.BACKLOG, BACKLOG)
            socket.sndhwm = MAX_UNSENT_MESSAGES  # what is beyond waits in our own outbox
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
            socket.curve_server = True
            socket.curve_publickey = server.public.encode()
            socket.curve_secretkey = server.secret.encode()
            socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            self._monitor = Monitor(context, socket, _BEGINNINGS_AND_ENDS, self._happened)
            self.endpoint = _bound(socket, endpoint) if endpoint else ""
        except zmq.ZMQError:
            if self._monitor is not None:
                self._monitor.close()
            socket.close()
            self._zap.close()
            raise
        self.has_unknown_ids = self._first_id == guess
        if not self.has_unknown_ids:
            logger.warning(
                "this libzmq does not take its first id from libc's rand(): it may be known"
            )
        self._on_message = on_message
        self._on_offence = on_offence
        self._watch = ConnectionWatch(self._connections, self._tell_end)
        self._looked_at = 0.0
        self._put_off: list[zmq.Frame] | None = None  # until more of the monitor has been heard
        super().__init__(socket)

    def bind(self, endpoint: str) -> str:
        """Listen there as well; returns the endpoint that `unbind` takes.

        Raises:
            zmq.ZMQError: it cannot be bound.
        """
        return _bound(self._socket, endpoint)

    def unbind(self, endpoint: str) -> None:
        """Listen there no more; connections that were made stay."""
        self._socket.unbind(endpoint)

    def send(self, routing_id: bytes, frames: Frames) -> bool:
        """Hand frames over; False when the peer is gone or its queue is full, or that is not known yet."""
        if self._closed:
            return False
        if not self._hear_of_ends():
            return False
        connection = self._connections.on_route(routing_id)
        if connection is None or connection.is_shut:
            return False
        try:
            self._hand_over([routing_id, *frames])
        except zmq.ZMQError:  # EHOSTUNREACH: gone; EAGAIN: full
            return False
        size_bytes = bytes_on_the_wire(frames)
        connection.handed_bytes += size_bytes
        self.sent_bytes += size_bytes
        self._look_again()
        return True

    @property
    def connections(self) -> tuple[int, int]:
        """How many there are, and have been."""
        return len(self._connections), self._connections.accepted_ever

    def is_here(self, routing_id: bytes) -> bool:
        """Whether a connection has this route: one that takes nothing has its queue full."""
        return self._connections.on_route(routing_id) is not None

    def bytes_on(self, routing_id: bytes) -> tuple[int, int] | None:
        """What has come by this route, and what was handed over for it, since its connection began; None: there
        is none."""
        connection = self._connections.on_route(routing_id)
        if connection is None:
            return None
        return connection.delivered_bytes, connection.handed_bytes

    def unsent_bytes(self, routing_id: bytes) -> int:
        """What was handed over for this peer and has not come there: in libzmq's queue and in the kernel's.

        Up to 1 MiB too high, as the kernel is asked only beyond that. 0 where no peer is, or no TCP.
        """
        connection = self._connections.on_route(routing_id)
        if connection is None:
            return 0
        if connection.unsent_bytes > _LOOK_BYTES:
            counts = tcp.counts_of(connection.descriptor, connection.address)
            if counts is None or not counts.acked_bytes:
                connection.handed_bytes = connection.acked_bytes
            else:
                connection.note_acked(counts.acked_bytes)
        return connection.unsent_bytes

    def ban(self, user: str, reason: str) -> None:
        """No correct peer does that: the key's connections are shut, and it gets none for a while."""
        self._gate.ban(user, self._loop.time())
        self.shut(user)
        self._on_offence(user, reason)

    def shut(self, user: str) -> None:
        """End all connections of this key."""
        for connection in self._connections.of_user(user):
            self._watch.shut(connection)

    def look(self, now: float) -> None:
        """Shut connections that say nothing, or send more than is read; to be called often."""
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._hear_of_ends()
            self._watch.look(now)
            for user, more in self._refusals.due(now):
                logger.warning("gave %s no connection %d times more", user or "others", more)

    def take_receiving(self) -> frozenset[tuple[bytes, str]]:
        """By which routes, and of whom, part of a message has come since this was asked last."""
        return self._watch.take_receiving()

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        super().close()
        self._zap.close()

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        try:
            user = str(frames[-1].get("User-Id"))
        except zmq.ZMQError:
            return  # cannot happen while the domain is enforced; such a frame has no author
        route = frames[0].bytes
        parts = [frame.bytes for frame in frames[1:]]
        if self._gate.is_banned(user, self._loop.time()):
            return  # what it sent before
        if len(frames) > MAX_PARTS:
            self.ban(user, MANY_PARTS)
            return
        if not self._hear_of_ends():
            self._put_off = frames
            return
        connection = self._connections.on_route(route)
        if connection is None or connection.user != user:
            if not self._hear_of_ends(is_urgent=True):
                self._put_off = frames
                return
            connection = self._connections.heard(int(frames[-1].get(zmq.SRCFD)), route, user)
            if connection is not None:
                self._gate.spoke(user)
            if self._is_chosen(route, frames[-1]):
                self.ban(user, CHOSEN_ROUTE)
                return
        if connection is not None:
            size_bytes = bytes_on_the_wire(parts)
            connection.delivered_bytes += size_bytes
            self.received_bytes += size_bytes
        self._on_message(route, user, parts)

    def _may_deliver(self) -> bool:
        """The message that was put off comes first."""
        if self._put_off is not None and self._hear_of_ends():
            frames, self._put_off = self._put_off, None
            self._deliver(frames)
        return self._put_off is None

    def _hear_of_ends(self, *, is_urgent: bool = False) -> bool:
        """Hear first of connections that have ended: libzmq says so before it gives others their routes.

        False: there is more to hear, and whose a route is now nobody knows.
        """
        return self._monitor is None or self._monitor.catch_up(is_urgent=is_urgent)

    def _is_chosen(self, route: bytes, frame: zmq.Frame) -> bool:
        """Whether the peer chose this id, and libzmq did not give it.

        One that libzmq has still to give can end this process: it asserts that nobody has it (router.cpp).
        """
        try:
            if frame.get("Identity"):
                return True
        except zmq.ZMQError:
            pass
        if len(route) != _OWN_ID_BYTES or not route.startswith(_OWN_ID):
            return True
        number = int.from_bytes(route[1:], "big") - self._first_id
        return not 0 < number % (1 << 32) <= self._connections.accepted_ever

    def _admit(self, key: str, address: str) -> str | None:
        user = self._find_user(key, address)
        if not user:
            return user
        now = self._loop.time()
        self._hear_of_ends()
        refusal = self._gate.refusal(user, self._connections.count_of(user), now)
        self.refused += bool(refusal)
        if refusal and self._refusals.admits(user, now):
            logger.warning("gave %s at %s no connection: %s", user, address, refusal)
        return "" if refusal else user

    def _tell_end(self, connection: Connection[tcp.Address], reason: str) -> None:
        if connection.user:
            self._on_offence(connection.user, reason)
        elif self._refusals.admits(reason, self._loop.time()):
            host = connection.address[0] if connection.address else "somewhere"
            logger.warning("shut a connection of %s: %s", host, reason)

    def _happened(self, events: Events) -> None:
        ends = {
            value: at for at, (event, value) in enumerate(events) if event != zmq.EVENT_ACCEPTED
        }
        now = self._loop.time()
        for at, (event, descriptor) in enumerate(events):
            if event != zmq.EVENT_ACCEPTED:
                self._connections.disconnected(descriptor)
            elif at < ends.get(descriptor, at):
                self._connections.was_over(descriptor)
            else:
                address = tcp.address_of(descriptor)
                self._watch.arrived(self._connections.accepted(descriptor, address, now))


def _bound(socket: zmq.Socket[bytes], endpoint: str) -> str:
    """Bind it; the endpoint in libzmq's own words, with the port where one was free."""
    # Only where it is asked for: see `bounded_socket`. What is bound before keeps what it had.
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    socket.bind(endpoint)
    return socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


def _seed_ids() -> int:
    """Have the next ROUTER of this process begin its ids at an unknown number: that one.

    libzmq takes it from libc's rand() (src/random.cpp), which nobody seeds: each process began at the same.
    """
    libc, seed = ctypes.CDLL(None), int.from_bytes(os.urandom(4), "little")
    libc.srand(seed)
    low, high = int(libc.rand()), int(libc.rand())
    libc.srand(seed)
    return (high << 31 | low) & 0xFFFFFFFF


def _first_id(context: zmq.Context[zmq.Socket[bytes]], router: zmq.Socket[bytes]) -> int:
    """The number in the first id that this ROUTER gives, to a connection of our own before all others."""
    endpoint = f"inproc://first-{next(_names)}"
    router.bind(endpoint)
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(endpoint)
        dealer.send(b"")
        route = router.recv_multipart()[0]
    router.unbind(endpoint)
    return int.from_bytes(route[1:], "big")
