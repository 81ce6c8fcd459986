"""The only place that makes sockets of the farm: CURVE, bounds and time limits, all explicit.

libzmq's file descriptor is edge-triggered: after every read *and* every send the socket's own events
must be asked again, so all links drain until nothing is left and look again after each send.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable

import zmq
from zmq.backend import Socket as PlainSocket

from zcc import tcp
from zcc.keys import KeyPair
from zcc.messages import MAX_FRAME_BYTES, RECEIVING_BYTES

# Messages that libzmq may hold for one peer. With control and chunks under credit a peer never has more
# than CREDIT_BYTES of bulk under way; the rest is headers.
HIGH_WATER_MESSAGES = 4096
# A connection whose other end does not answer is dead after so long (a cut cable): nothing was said for
# KEEPALIVE_IDLE_S and then no probe confirmed, or what was sent was not confirmed for UNCONFIRMED_MS. These are
# the kernel's means. Not libzmq's heartbeats: one whose turn comes when the other end is gone, and what
# it had sent is not all read yet, ends the process by an assertion (`!_io_error`, libzmq 4.3.5). The processes'
# own beats, once a second, decide about sessions.
KEEPALIVE_IDLE_S = 5
KEEPALIVE_PROBES_EACH_S = 5
KEEPALIVE_PROBES = 2
UNCONFIRMED_MS = 15_000
# A stranger gets two seconds to prove who he is, not libzmq's thirty.
HANDSHAKE_MS = 2_000
RECONNECT_MS = 100
RECONNECT_MAX_MS = 2_000
LINGER_MS = 500
# Flags as numbers, for the calls that pyzmq's wrappers are around: those make an enum of each flag, for each
# frame, which costs four times as much as the call.
_DONT_WAIT = int(zmq.DONTWAIT)
_AND_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_READABLE = int(zmq.POLLIN)
# One drain handles at most so many messages, or as many as it can in so long, before the loop's other work has
# its turn.
_BATCH = 64
_BATCH_S = 0.01
# Of one message, a request of ZAP the longest. The parts of a longer one are passed over, some at a time:
# libzmq takes any number, and hands them over when all are here.
MAX_PARTS = 16
_SKIPPED_AT_ONCE = 2_000
# zmq_socket_monitor(3): the event, and its value.
_MONITORED = struct.Struct("=HI")
# So many of these are read at once: some milliseconds. Strangers can make 10,000 a second and more.
EVENTS_AT_ONCE = 1_000
_OF_A_DEALER = zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_CATCH_UP_S = 0.001
_monitors = itertools.count()
# ZAP's status code. After it libzmq gives the endpoint up; a key may be admitted again (a registry that is put
# back), so it is dialled again so much later.
_TURNED_AWAY = 400
DIAL_AGAIN_S = 30.0

Frames = list[bytes]


def bounded_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    endpoint: str,
    unread_messages: int = HIGH_WATER_MESSAGES,
) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.linger = LINGER_MS
    socket.sndhwm = HIGH_WATER_MESSAGES
    socket.rcvhwm = unread_messages
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_PROBES_EACH_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
    socket.setsockopt(zmq.TCP_MAXRT, UNCONFIRMED_MS)
    # Only where it is asked for: with it, an IPv4 endpoint would be reported in mapped form.
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    return socket


class Pumped:
    """A socket whose messages are delivered by the running asyncio loop."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._is_skipping = False  # the rest of a message that has too many parts
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
        until = self._loop.time() + _BATCH_S
        for _ in range(_BATCH):
            if self._closed:
                return
            if not self._may_deliver():
                break
            if not self._is_readable():
                return
            try:
                if self._is_skipping and not self._skip():
                    break
                frames = self._receive()
            except zmq.Again:
                return
            self._deliver(frames)
            if self._loop.time() > until:
                break
        self._look_again()

    def _may_deliver(self) -> bool:
        """Whether the next message is to be taken now; else it is asked again in the loop's next turn."""
        return True

    def _is_readable(self) -> bool:
        return bool(int(PlainSocket.get(self._socket, _EVENTS)) & _READABLE)

    def _receive(self) -> list[zmq.Frame]:
        frame = PlainSocket.recv(self._socket, _DONT_WAIT, copy=False)
        frames = [frame]
        while frame.more:
            frame = PlainSocket.recv(self._socket, _DONT_WAIT, copy=False)
            frames.append(frame)
            if len(frames) > MAX_PARTS and frame.more:
                self._is_skipping = True
                break
        return frames

    def _skip(self) -> bool:
        """Pass over more of a message; whether that was all of it. A million parts take a second."""
        for _ in range(_SKIPPED_AT_ONCE):
            if not PlainSocket.recv(self._socket, _DONT_WAIT, copy=False).more:
                self._is_skipping = False
                return True
        return False

    def _hand_over(self, frames: Frames) -> None:
        """Send one message.

        Raises:
            zmq.ZMQError: the first frame is not taken, and so none is.
        """
        for frame in frames[:-1]:
            PlainSocket.send(self._socket, frame, _AND_MORE)
        PlainSocket.send(self._socket, frames[-1], _DONT_WAIT)

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        raise NotImplementedError


# Each an event and its value, see zmq_socket_monitor(3).
Events = list[tuple[int, int]]


class Monitor(Pumped):
    """libzmq's own word of a socket's connections: `happened` is told what came, in order.

    libzmq waits with it, and all else, while this is not read. So its queue has no bound. What is taken of it
    in one turn of the loop has one: whoever connects, and needs no key for it, makes events.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        watched: zmq.Socket[bytes],
        events: int,
        happened: Callable[[Events], None],
    ) -> None:
        self._watched = watched
        self._happened = happened
        self._caught_up_at = 0.0
        self._is_behind = False
        socket = context.socket(zmq.PAIR)
        socket.linger = 0
        socket.rcvhwm = 0
        endpoint = f"inproc://monitor-{next(_monitors)}"
        watched.monitor(endpoint, events)
        socket.connect(endpoint)
        super().__init__(socket)

    def catch_up(self, *, is_urgent: bool = False) -> bool:
        """Take in what has happened; if not urgent, unless that was done a moment ago.

        Returns whether that was all of it. If not, nothing more is taken in before the loop's next turn.
        """
        if self._is_behind:
            return False
        now = self._loop.time()
        if not is_urgent and now - self._caught_up_at < _CATCH_UP_S:
            return True
        self._caught_up_at = now
        return self._take_in()

    def close(self) -> None:
        if not self._closed:
            self._watched.disable_monitor()
        super().close()

    def _drain(self) -> None:
        self._scheduled = False
        if not self._closed:
            self._take_in()

    def _take_in(self) -> bool:
        """Read until there is nothing: to ask each time whether there is takes five times as long."""
        events = Events()
        try:
            while len(events) < EVENTS_AT_ONCE:
                event = PlainSocket.recv(self._socket, _DONT_WAIT)
                PlainSocket.recv(self._socket, _DONT_WAIT)  # where it happened
                events.append(_MONITORED.unpack_from(event))
            self._is_behind = True
            self._look_again()
        except zmq.Again:
            self._is_behind = False
        self._happened(events)
        return not self._is_behind


class DealerLink(Pumped):
    """An agent's or a node's one connection to the broker. Without an endpoint it waits for `dial`.

    `on_handshake` is told whether the broker has taken our key, each time that it says so: False means that the
    key was revoked, or was never this broker's.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        broker_public: str,
        own: KeyPair,
        on_message: Callable[[Frames], None],
        on_handshake: Callable[[bool], None] = lambda _: None,
    ) -> None:
        socket = bounded_socket(context, zmq.DEALER, endpoint)
        # Before the first handshake can be over.
        self._monitor = Monitor(context, socket, _OF_A_DEALER, self._happened)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.curve_serverkey = broker_public.encode()
        socket.curve_publickey = own.public.encode()
        socket.curve_secretkey = own.secret.encode()
        # Nothing is queued for a broker that is not there: a stale job would arrive after its caller
        # had long compiled locally.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        if endpoint:
            socket.connect(endpoint)
        self._endpoint = endpoint
        self._on_message = on_message
        self._on_handshake = on_handshake
        self._dialling: asyncio.TimerHandle | None = None
        self._connected = -1
        self._address: tcp.Address | None = None
        self._received_bytes = 0
        super().__init__(socket)

    def close(self) -> None:
        self._stop_dialling()
        self._monitor.close()
        super().close()

    def dial(self, endpoint: str) -> None:
        """Leave the endpoint that was dialled until now, connected or not, and dial this one."""
        self._stop_dialling()
        if self._endpoint:
            self._socket.disconnect(self._endpoint)
        self._endpoint = endpoint
        self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))  # what connects from now on has it
        self._socket.connect(endpoint)

    def send(self, frames: Frames) -> bool:
        """Hand frames over; False when there is no connection or its queue is full."""
        if self._closed:
            return False
        try:
            self._hand_over(frames)
        except zmq.Again:
            return False
        self._look_again()
        return True

    def is_receiving(self) -> bool:
        """Whether more has come since this was asked last than heartbeats: part of a message that takes
        long on a slow line."""
        if self._address is None:
            return False  # not connected yet, or not by TCP
        counts = tcp.counts_of(self._connected, self._address)
        if counts is None:
            return False
        fresh_bytes = counts.received_bytes - self._received_bytes
        self._received_bytes = counts.received_bytes
        return fresh_bytes >= RECEIVING_BYTES

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        self._on_message([frame.bytes for frame in frames])

    def _happened(self, events: Events) -> None:
        for event, value in events:
            self._take_event(event, value)

    def _take_event(self, event: int, value: int) -> None:
        """What the broker's ZAP says of a key (RFC 27: 400 is no, 300 not now), only a monitor is told."""
        if event == zmq.EVENT_CONNECTED:
            self._connected, self._address = value, tcp.address_of(value)
            self._received_bytes = 0
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._on_handshake(True)
        elif value == _TURNED_AWAY and not self._closed:
            self._stop_dialling()
            self._dialling = self._loop.call_later(DIAL_AGAIN_S, self._dial_again)
            self._on_handshake(False)

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()

    def _dial_again(self) -> None:
        self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)
