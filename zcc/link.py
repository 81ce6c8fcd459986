"""The only place that makes sockets of the farm: CURVE, bounds and heartbeats, all explicit.

libzmq's file descriptor is edge-triggered: after every read *and* every send the socket's own events
must be asked again, so both links drain until nothing is left and look again after each send.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import zmq
import zmq.utils.z85

from zcc.keys import KeyPair
from zcc.messages import MAX_FRAME_BYTES
from zcc.summing import Summing

logger = logging.getLogger(__name__)

# Messages that libzmq may hold for one peer. With control and chunks under credit a peer never has more
# than CREDIT_BYTES of bulk under way; the rest is headers.
HIGH_WATER_MESSAGES = 4096
# A connection that says nothing for this long is dead for TCP's sake (a cut cable); the processes'
# own beats, once a second, decide about sessions.
HEARTBEAT_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 15_000
# A stranger gets two seconds to prove who he is, not libzmq's thirty.
HANDSHAKE_MS = 2_000
RECONNECT_MS = 100
RECONNECT_MAX_MS = 2_000
LINGER_MS = 500
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"zcc"
# One drain handles at most so many messages before the loop's other work has its turn.
_BATCH = 64

Frames = list[bytes]


def _bounded_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str
) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.linger = LINGER_MS
    socket.sndhwm = HIGH_WATER_MESSAGES
    socket.rcvhwm = HIGH_WATER_MESSAGES
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    # Only where it is asked for: with it, an IPv4 endpoint would be reported in mapped form.
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    return socket


class _Pumped:
    """A socket whose messages are delivered by the running asyncio loop."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._drain)
        self._look_again()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._socket.close()

    def _look_again(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        for _ in range(_BATCH):
            if self._closed or not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._deliver(frames)
        self._look_again()

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        raise NotImplementedError


class DealerLink(_Pumped):
    """An agent's or a node's one connection to the broker."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        broker_public: str,
        own: KeyPair,
        on_message: Callable[[Frames], None],
    ) -> None:
        socket = _bounded_socket(context, zmq.DEALER, endpoint)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.curve_serverkey = broker_public.encode()
        socket.curve_publickey = own.public.encode()
        socket.curve_secretkey = own.secret.encode()
        # Nothing is queued for a broker that is not there: a stale job would arrive after its caller
        # had long compiled locally.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(endpoint)
        self._on_message = on_message
        super().__init__(socket)

    def send(self, frames: Frames) -> bool:
        """Hand frames over; False when there is no connection or its queue is full."""
        if self._closed:
            return False
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        self._look_again()
        return True

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        self._on_message([frame.bytes for frame in frames])


class RouterLink(_Pumped):
    """The broker's one socket, with its own ZAP handler: only keys that `zap` knows get in.

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
        self._zap = _ZapHandler(context, zap)
        socket = _bounded_socket(context, zmq.ROUTER, endpoint)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        socket.curve_server = True
        socket.curve_publickey = server.public.encode()
        socket.curve_secretkey = server.secret.encode()
        socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError:
            socket.close()
            self._zap.close()
            raise
        self.endpoint = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._on_message = on_message
        super().__init__(socket)

    def send(self, routing_id: bytes, frames: Frames) -> bool:
        """Hand frames over; False when the peer is gone or its queue is full."""
        if self._closed:
            return False
        try:
            self._socket.send_multipart([routing_id, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:  # EHOSTUNREACH: gone; EAGAIN: full
            return False
        self._look_again()
        return True

    def close(self) -> None:
        super().close()
        self._zap.close()

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        try:
            user = str(frames[-1].get("User-Id"))
        except zmq.ZMQError:
            return  # cannot happen while the domain is enforced; such a frame has no author
        self._on_message(frames[0].bytes, user, [frame.bytes for frame in frames[1:]])


class _ZapHandler(_Pumped):
    """ZeroMQ authentication protocol (RFC 27), CURVE only, answered from the same loop."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], zap: Callable[[str, str], str | None]
    ) -> None:
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ZAP_ENDPOINT)
        self._admit = zap
        self._strangers = Summing[str]()
        super().__init__(socket)

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        parts = [frame.bytes for frame in frames]
        try:
            split = parts.index(b"")
            version, request = parts[split + 1], parts[split + 2]
        except (ValueError, IndexError):
            return
        user = self._judge(parts[split + 3 :])
        verdict = [b"200", b"OK", user.encode()] if user else [b"400", b"unknown key", b""]
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart(
                [*parts[: split + 1], version, request, *verdict, b""], zmq.DONTWAIT
            )
        self._look_again()

    def _judge(self, request: Frames) -> str | None:
        """`request`: domain, address, identity, mechanism, credentials."""
        if len(request) != 5 or request[0] != ZAP_DOMAIN or request[3] != b"CURVE":
            return None
        key = zmq.utils.z85.encode(request[4]).decode()
        address = request[1].decode(errors="replace")
        try:
            user = self._admit(key, address)
        except Exception:  # whatever it is, admissions must go on
            logger.exception("the key registry failed; refusing %s", key)
            return None
        if user is None:
            self._warn(key, address)
        return user

    def _warn(self, key: str, address: str) -> None:
        """A stranger may try as often as he likes, with as many keys: what is said goes by his address."""
        now = self._loop.time()
        for other, more in self._strangers.due(now):
            logger.warning("refused %d more unregistered keys from %s", more, other or "elsewhere")
        if self._strangers.admits(address, now):
            logger.warning("refused: the key %s from %s is not registered here", key, address)
