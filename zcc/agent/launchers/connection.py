"""One connection at the agent's door: a launcher's call, or a control request of the command line.

Owns the socket's bytes both ways. Works on the loop's readiness callbacks, not on its transports: a command
that only passes through is a request, 40 bytes back and an end-of-file, and with a transport the loop goes
round eight times for it, each a system call.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from itertools import islice
from typing import Any, Protocol

from zcc.agent.launchers import control, wire
from zcc.agent.launchers.parked import RestingRoom
from zcc.agent.launchers.peer import Caller

_PIECE_BYTES = 1 << 17
# Buffers that one sendmsg(2) takes (IOV_MAX of Linux is 1024).
_MAX_BUFFERS = 256


class Answerer(Protocol):
    """Who answers at the door. Calls are numbered; a number is never used again."""

    def call_arrived(self, visitor: Visitor, request: wire.Request) -> None: ...
    def call_closed(self, visitor: Visitor) -> None: ...
    def call_misunderstood(self) -> None: ...
    async def control(self, request: dict[str, Any]) -> dict[str, Any]: ...


class Visitor:
    """One connection, accepted and not yet read from."""

    __slots__ = (
        "_answer",
        "_connection",
        "_control",
        "_host",
        "_is_call",
        "_is_closing",
        "_is_watched",
        "_loop",
        "_reader",
        "_room",
        "_unsent",
        "caller",
        "number",
    )

    def __init__(
        self, host: Answerer, number: int, connection: socket.socket, caller: Caller
    ) -> None:
        self.number = number
        self.caller = caller
        self._host = host
        self._connection: socket.socket | None = connection
        self._loop = asyncio.get_running_loop()
        self._reader = wire.RequestReader()
        self._control: bytearray | None = None
        self._unsent: deque[memoryview] = deque()
        self._is_call = False
        self._is_closing = False
        self._room: RestingRoom | None = None  # where it rests
        self._is_watched = False  # by the loop, for something to read
        self._answer: asyncio.Task[None] | None = None

    def welcome(self) -> None:
        """Begin to read: what a launcher asks for is often here by now, and sometimes answered at once."""
        self._readable()
        if self._connection is not None and self._room is None:
            self._loop.add_reader(self._connection.fileno(), self._readable)
            self._is_watched = True

    def rest(self, room: RestingRoom) -> None:
        """Nothing but the end is to come, and it may be heard of late."""
        if self._connection is None or self._unsent:
            return
        self._room = room
        if self._is_watched:
            self._loop.remove_reader(self._connection.fileno())
            self._is_watched = False
        room.enter(self._connection.fileno(), self._end)

    def dismiss(self) -> None:
        """Its process has ended. Something that it started has the connection still, and may for days."""
        if self._connection is not None and self._room is not None:
            self._room.leave(self._connection.fileno())
        self._end()

    def send(self, *pieces: bytes) -> None:
        """Send these behind each other, now or as the other side takes them; nothing when it has gone."""
        if self._connection is None or self._is_closing:
            return
        was_idle = not self._unsent
        self._unsent.extend(memoryview(piece) for piece in pieces if piece)
        if was_idle:
            self._write()
            if self._connection is not None and self._unsent:
                self._loop.add_writer(self._connection.fileno(), self._writable)

    def close(self) -> None:
        """Close when everything is written."""
        self._is_closing = True
        if not self._unsent:
            self._end()

    # ---- reading -------------------------------------------------------------------------------

    def _readable(self) -> None:
        while self._connection is not None:
            try:
                data = self._connection.recv(_PIECE_BYTES, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            self._take(data)
            if len(data) < _PIECE_BYTES:
                return

    def _take(self, data: bytes) -> None:
        if self._is_call:
            return  # nothing follows a request
        if self._control is None and data.startswith(control.MAGIC):
            self._control = bytearray()
        if self._control is not None:
            self._take_control(data)
            return
        try:
            request = self._reader.feed(data)
        except wire.OtherVersion:
            self._host.call_misunderstood()
            self.close()
            return
        except wire.WireError:
            self.close()
            return
        if request is not None:
            self._is_call = True
            self._host.call_arrived(self, request)

    def _take_control(self, data: bytes) -> None:
        assert self._control is not None
        self._control += data
        if len(self._control) < control.HEAD.size:
            return
        length = control.HEAD.unpack_from(self._control)[1]
        if length > control.MAX_BYTES:
            self.close()
        elif len(self._control) >= control.HEAD.size + length and self._answer is None:
            self._answer = self._loop.create_task(self._answer_control())

    async def _answer_control(self) -> None:
        assert self._control is not None
        try:
            request = json.loads(bytes(self._control[control.HEAD.size :]))
        except (ValueError, RecursionError):
            request = None
        if isinstance(request, dict):
            self.send(json.dumps(await self._host.control(request)).encode())
        self.close()

    # ---- writing -------------------------------------------------------------------------------

    def _writable(self) -> None:
        self._write()
        if self._connection is not None and not self._unsent:
            self._loop.remove_writer(self._connection.fileno())
            if self._is_closing:
                self._end()

    def _write(self) -> None:
        assert self._connection is not None
        while self._unsent:
            buffers = list(islice(self._unsent, _MAX_BUFFERS))
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            try:
                sent = self._connection.sendmsg(buffers, (), flags)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # it has gone; a reader hears of it at once
                self._unsent.clear()
                return
            self._drop(sent)

    def _drop(self, sent_bytes: int) -> None:
        """Forget what has been sent."""
        while self._unsent and len(self._unsent[0]) <= sent_bytes:
            sent_bytes -= len(self._unsent.popleft())
        if sent_bytes:
            self._unsent[0] = self._unsent[0][sent_bytes:]

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_watched:
            self._loop.remove_reader(connection.fileno())
        if self._unsent:
            self._loop.remove_writer(connection.fileno())
            self._unsent.clear()
        connection.close()
        if self._is_call:
            self._host.call_closed(self)
