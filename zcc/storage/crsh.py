"""ccache's protocol with its storage helpers, version 1: requests read, answers spelt.

The format is that of `doc/remote_storage_helper_spec.md` in ccache. Lengths of values are in host byte order.
A client sends its next request when it has the answer to the last.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

_VERSION = 1
# get, put and remove; info; exists.
_CAPABILITIES = bytes((0, 1, 2))
_LENGTH = struct.Struct("=Q")
_MAX_TEXT_BYTES = 255
_OVERWRITE = 1
_SKIP_BYTES = 1 << 20

GREETING = bytes((_VERSION, len(_CAPABILITIES))) + _CAPABILITIES
OK = b"\0"
# Not there; not stored; not removed.
NOOP = b"\1"


class MalformedRequestError(Exception):
    """Not a request of this version: the connection cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Get:
    key: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """`value` is None when it was larger than the limit, and has been skipped."""

    key: bytes
    is_overwriting: bool
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Remove:
    key: bytes


@dataclass(frozen=True, slots=True)
class Exists:
    key: bytes


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Info:
    pass


Request = Get | Put | Remove | Exists | Stop | Info


async def read_request(reader: asyncio.StreamReader, limit_bytes: int) -> Request:
    """The next request.

    Raises:
        MalformedRequestError: it is none.
        asyncio.IncompleteReadError: the client has left.
    """
    kind = (await reader.readexactly(1))[0]
    match kind:
        case 0:
            return Get(await _read_text(reader))
        case 1:
            key = await _read_text(reader)
            flags = (await reader.readexactly(1))[0]
            value = await _read_value(reader, limit_bytes)
            return Put(key, bool(flags & _OVERWRITE), value)
        case 2:
            return Remove(await _read_text(reader))
        case 3:
            return Stop()
        case 4:
            return Info()
        case 5:
            return Exists(await _read_text(reader))
    raise MalformedRequestError(f"a request of kind {kind}")


def value(data: bytes) -> bytes:
    """The answer to a get that has found something."""
    return OK + _LENGTH.pack(len(data)) + data


def error(text: str) -> bytes:
    return b"\2" + _text(text)


def info(identity: str, diagnostics: list[str]) -> bytes:
    return _text(identity) + bytes((len(diagnostics),)) + b"".join(map(_text, diagnostics))


def _text(text: str) -> bytes:
    """At most 255 bytes of it, and whole characters."""
    data = text.encode()[:_MAX_TEXT_BYTES].decode(errors="ignore").encode()
    return bytes((len(data),)) + data


async def _read_text(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly((await reader.readexactly(1))[0])


async def _read_value(reader: asyncio.StreamReader, limit_bytes: int) -> bytes | None:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length <= limit_bytes:
        return await reader.readexactly(length)
    while length:
        length -= len(await reader.readexactly(min(length, _SKIP_BYTES)))
    return None
