"""The agent's Unix socket: launchers, and the CLI's control requests.

Both speak first. A launcher's request begins with `ZCC\\1` (see wire.py), a control request with `ZCC\\2`:
then a 32-bit little-endian length and a JSON object `{"op": ...}`; the answer is a JSON object and the end of
the connection. Only processes of our own user are heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

from zcc.agent import wire
from zcc.errors import ConfigError

CONTROL_MAGIC = b"ZCC\2"
_CONTROL = struct.Struct("<4sI")
_MAX_CONTROL_BYTES = 1 << 16
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_BACKLOG = 512


class Host(Protocol):
    """Who answers at the door. Calls are numbered; a number is never used again."""

    def call_arrived(self, visitor: Visitor, request: wire.Request) -> None: ...
    def call_closed(self, visitor: Visitor) -> None: ...
    async def control(self, request: dict[str, Any]) -> dict[str, Any]: ...


class Visitor(asyncio.Protocol):
    """One connection at the door."""

    def __init__(self, host: Host, number: int) -> None:
        self.number = number
        self._host = host
        self._reader = wire.RequestReader()
        self._control: bytearray | None = None
        self._transport: asyncio.Transport | None = None
        self._is_call = False
        self._answer: asyncio.Task[None] | None = None

    def send(self, *pieces: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def close(self) -> None:
        """Close when everything is written."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(raw)[1] != os.geteuid():
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._is_call:
            return
        if self._control is None and data.startswith(CONTROL_MAGIC):
            self._control = bytearray()
        if self._control is not None:
            self._take_control(data)
            return
        try:
            request = self._reader.feed(data)
        except wire.WireError:
            self.close()
            return
        if request is not None:
            self._is_call = True
            self._host.call_arrived(self, request)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._is_call:
            self._host.call_closed(self)

    def _take_control(self, data: bytes) -> None:
        assert self._control is not None
        self._control += data
        if len(self._control) < _CONTROL.size:
            return
        length = _CONTROL.unpack_from(self._control)[1]
        if length > _MAX_CONTROL_BYTES:
            self.close()
        elif len(self._control) >= _CONTROL.size + length and self._answer is None:
            self._answer = asyncio.get_running_loop().create_task(self._answer_control())

    async def _answer_control(self) -> None:
        assert self._control is not None
        try:
            request = json.loads(bytes(self._control[_CONTROL.size :]))
        except ValueError:
            request = None
        if isinstance(request, dict):
            self.send(json.dumps(await self._host.control(request)).encode())
        self.close()


async def open_door(path: str, host: Host) -> asyncio.Server:
    """Listen at `path` in a directory that only we can enter.

    Raises:
        ConfigError: the directory is not ours alone, or another agent listens there.
    """
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{directory} belongs to another user: set ZCC_SOCKET")
    if status.st_mode & 0o077:
        os.chmod(directory, 0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        # Through a descriptor, for a path may be longer than a socket's address.
        place = f"/proc/self/fd/{handle}/{os.path.basename(path)}"
        if _is_served(place):
            raise ConfigError(f"another agent listens at {path}")
        if os.path.lexists(place):
            os.unlink(place)
        listener.bind(place)
    except (OSError, ConfigError):
        listener.close()
        raise
    finally:
        os.close(handle)
    loop = asyncio.get_running_loop()
    numbers = iter(range(1, 1 << 62))
    make: Callable[[], Visitor] = lambda: Visitor(host, next(numbers))  # noqa: E731
    return await loop.create_unix_server(make, sock=listener, backlog=_BACKLOG)


def _is_served(place: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(place)
        except OSError:
            return False
        return True


def ask(path: str, request: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any] | None:
    """Ask the agent at `path`; None when there is none. For the CLI."""
    payload = json.dumps(request).encode()
    handle = -1
    try:
        handle = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(f"/proc/self/fd/{handle}/{os.path.basename(path)}")
            connection.sendall(_CONTROL.pack(CONTROL_MAGIC, len(payload)) + payload)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        document = json.loads(answer)
    except (OSError, ValueError):
        return None
    finally:
        if handle >= 0:
            os.close(handle)
    return document if isinstance(document, dict) else None
