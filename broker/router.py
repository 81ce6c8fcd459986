"""The broker's one socket, and what becomes of the connections to it.

libzmq lets a peer choose its route (its routing id), and gives the others ids by a counter. So nothing is sent
on a route but to the connection whose message it was last, and the counter starts where nobody knows.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import struct
from collections.abc import Callable

import zmq

from broker import tcp
from broker.connections import Connection, Connections, bytes_on_the_wire
from broker.zap import ZAP_DOMAIN, ZapHandler
from zcc.keys import KeyPair
from zcc.link import Frames, Pumped, bounded_socket

logger = logging.getLogger(__name__)

# What may be on its way to a peer before the kernel is asked how much of it has arrived: a call takes 2 us.
_LOOK_BYTES = 1 << 20
# What has happened to connections is asked for at most so often.
_WATCH_S = 0.001
# An event of a socket's monitor: what, and here the descriptor (zmq_socket_monitor(3)).
_EVENT = struct.Struct("=HI")
_EVENTS_OF_THE_END = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_names = itertools.count()

Live = Connection[tcp.Address]


class RouterLink(Pumped):
    """Has its own ZAP handler: only keys that `zap` knows get in.

    `zap` maps a public key (Z85), and the address that it comes from, to a user id, or None to refuse. It must
    not raise; if it does, the key is refused and the error logged: an exception must never stop admissions.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        server: KeyPair,
        zap: Callable[[str, str], str | None],
        on_message: Callable[[bytes, str, Frames], None],
    ) -> None:
        self._connections = Connections[tcp.Address]()
        self._zap = ZapHandler(context, zap)
        guess = _seed_ids()
        socket = bounded_socket(context, zmq.ROUTER, endpoint)
        self._monitor: _Monitor | None = None
        try:
            self._first_id = _first_id(context, socket)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
            socket.curve_server = True
            socket.curve_publickey = server.public.encode()
            socket.curve_secretkey = server.secret.encode()
            socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            self._monitor = _Monitor(context, socket, self._happened)
            socket.bind(endpoint)
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
        self.endpoint = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._on_message = on_message
        super().__init__(socket)

    def send(self, routing_id: bytes, frames: Frames) -> bool:
        """Hand frames over; False when the peer is gone or its queue is full."""
        if self._closed:
            return False
        self._watch()
        connection = self._connections.on_route(routing_id)
        if connection is None:
            return False
        try:
            self._socket.send_multipart([routing_id, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:  # EHOSTUNREACH: gone; EAGAIN: full
            return False
        connection.handed_bytes += bytes_on_the_wire(frames)
        self._look_again()
        return True

    def unsent_bytes(self, routing_id: bytes) -> int:
        """What was handed over for this peer and has not come there: in libzmq's queue and in the kernel's.

        Up to 1 MiB too high, as the kernel is asked only beyond that. 0 where no peer is, or no TCP.
        """
        connection = self._connections.on_route(routing_id)
        if connection is None:
            return 0
        if connection.unsent_bytes > _LOOK_BYTES:
            counts = tcp.counts_of(connection.descriptor, connection.address)
            if counts is None:
                connection.handed_bytes = connection.acked_bytes
            else:
                connection.note_acked(counts.acked_bytes)
        return connection.unsent_bytes

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
        self._watch()
        connection = self._connections.on_route(route)
        if connection is None or connection.user != user:
            connection = self._connections.heard(int(frames[-1].get(zmq.SRCFD)), route, user)
        if connection is not None:
            connection.delivered_bytes += bytes_on_the_wire(parts)
        self._on_message(route, user, parts)

    def _watch(self) -> None:
        """Hear first of connections that have ended: libzmq says so before it lets others have their routes."""
        if self._monitor is not None:
            self._monitor.watch()

    def _happened(self, event: int, descriptor: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            now = self._loop.time()
            self._connections.accepted(descriptor, tcp.address_of(descriptor), now)
        else:
            self._connections.disconnected(descriptor)


class _Monitor(Pumped):
    """The socket's own word of its connections. libzmq waits with it, and all else, while this is not read: so
    it has no bound, as the events are few beside the messages."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        watched: zmq.Socket[bytes],
        happened: Callable[[int, int], None],
    ) -> None:
        self._watched = watched
        self._happened = happened
        self._watched_at = 0.0
        socket = context.socket(zmq.PAIR)
        socket.linger = 0
        socket.rcvhwm = 0
        endpoint = f"inproc://monitor-{next(_names)}"
        watched.monitor(endpoint, zmq.EVENT_ACCEPTED | _EVENTS_OF_THE_END)
        socket.connect(endpoint)
        super().__init__(socket)

    def watch(self) -> None:
        """Take in what has happened, unless that was done a moment ago: to ask takes 5 us."""
        now = self._loop.time()
        if now - self._watched_at < _WATCH_S:
            return
        self._watched_at = now
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._deliver(self._socket.recv_multipart(zmq.DONTWAIT, copy=False))

    def close(self) -> None:
        if not self._closed:
            self._watched.disable_monitor()
        super().close()

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        (event, value) = _EVENT.unpack_from(frames[0].bytes)
        self._happened(event, value)


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
