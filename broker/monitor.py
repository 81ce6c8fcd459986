"""libzmq's own word of a socket's connections: which begin, and which end."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import zmq

from zcc.link import Pumped

# What has happened to connections is asked for at most so often.
_WATCH_S = 0.001
# An event of a socket's monitor: what, and here the descriptor (zmq_socket_monitor(3)).
_EVENT = struct.Struct("=HI")
_EVENTS_OF_THE_END = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_names = itertools.count()


class Monitor(Pumped):
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

    def catch_up(self, *, is_urgent: bool = False) -> None:
        """Take in what has happened; if not urgent, unless that was done a moment ago: to ask takes 5 us."""
        now = self._loop.time()
        if not is_urgent and now - self._watched_at < _WATCH_S:
            return
        self._watched_at = now
        while self._is_readable():
            self._deliver(self._receive())

    def close(self) -> None:
        if not self._closed:
            self._watched.disable_monitor()
        super().close()

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        (event, value) = _EVENT.unpack_from(frames[0].bytes)
        self._happened(event, value)
