"""Frames <-> messages, with every field checked. Pure.

Whatever a peer sends, `decode` answers with a message or a ProtocolError, and never with an object
whose fields have other types than the message's class says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from cache.digest import DIGEST_SIZE, Digest
from zcc.errors import ProtocolError
from zcc.messages import ALL, MAX_FRAME_BYTES, PROTOCOL, Message

# Bounds of header fields: names, labels and reasons are for people; lists are of digests and leases.
MAX_TEXT = 4096
MAX_BYTES = 4096
MAX_ITEMS = 100_000
_MAX_INTEGER = 1 << 62

Check = Callable[[Any], Any]


def encode(message: Message) -> list[bytes]:
    """The frames of a message."""
    names, has_body = _SHAPES[message.KIND]
    header = [_plain(getattr(message, name)) for name in names]
    frames: list[bytes] = [PROTOCOL, message.KIND, msgpack.packb(header, use_bin_type=True)]
    if has_body:
        frames.append(message.body)  # type: ignore[attr-defined]
    return frames


def decode(frames: Sequence[bytes]) -> Message:
    """The message in these frames.

    Raises:
        ProtocolError: another protocol, an unknown kind, or a field that breaks its bounds.
    """
    if len(frames) not in (3, 4) or frames[0] != PROTOCOL:
        found = bytes(frames[0][:16]) if frames else b""
        raise ProtocolError(f"expected {PROTOCOL.decode()} in 3 or 4 frames, found {found!r}")
    decoder = _DECODERS.get(frames[1])
    if decoder is None:
        raise ProtocolError(f"unknown message kind {bytes(frames[1][:24])!r}")
    return decoder(frames)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Message):
        return [_plain(getattr(value, field.name)) for field in fields(value)]
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise ValueError(f"expected a count, found {value!r:.40}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e18:
        raise ValueError(f"expected a number, found {value!r:.40}")
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"expected true or false, found {value!r:.40}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise ValueError(f"expected at most {MAX_TEXT} characters, found {value!r:.40}")
    return value


def _raw(value: Any) -> bytes:
    if type(value) is not bytes or len(value) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes, found {value!r:.40}")
    return value


def _digest(value: Any) -> Digest:
    if type(value) is not bytes or len(value) != DIGEST_SIZE:
        raise ValueError(f"expected a digest, found {value!r:.40}")
    return Digest(value)


_SCALARS: dict[Any, Check] = {
    int: _integer, float: _number, bool: _flag, str: _text, bytes: _raw, Digest: _digest,
}  # fmt: skip


def _check_for(hint: Any) -> Check:
    """The check that a type hint of a message's field stands for."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if inner[-1] is Ellipsis:
            return _list_of(_check_for(inner[0]))
        return _tuple_of([_check_for(item) for item in inner])
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        row = _tuple_of([_check_for(hints[field.name]) for field in fields(hint)])
        return lambda value: hint(*row(value))
    raise TypeError(f"a message field may not be {hint!r}")


def _list_of(check: Check) -> Check:
    def checked(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > MAX_ITEMS:
            raise ValueError("expected a list within bounds")
        return tuple([check(item) for item in value])

    return checked


def _tuple_of(checks: list[Check]) -> Check:
    def checked(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(checks):
            raise ValueError(f"expected {len(checks)} fields")
        return tuple([check(item) for check, item in zip(checks, value, strict=True)])

    return checked


def _decoder_of(kind: type[Message]) -> Callable[[Sequence[bytes]], Message]:
    hints = get_type_hints(kind)
    names, has_body = _SHAPES[kind.KIND]
    row = _tuple_of([_check_for(hints[name]) for name in names])
    expected = 4 if has_body else 3

    def decode_one(frames: Sequence[bytes]) -> Message:
        if len(frames) != expected:
            raise ProtocolError(f"{kind.__name__} in {len(frames)} frames, expected {expected}")
        try:
            header = msgpack.unpackb(frames[2], raw=False, strict_map_key=True)
            values = row(header)
        except (ValueError, msgpack.UnpackException, RecursionError) as error:
            raise ProtocolError(f"{kind.__name__}: {error}") from error
        if not has_body:
            return kind(*values)
        body = frames[3]
        if len(body) > MAX_FRAME_BYTES:
            raise ProtocolError(f"{kind.__name__} with a body of {len(body)} bytes")
        return kind(*values, body)  # type: ignore[call-arg]

    return decode_one


def _shape_of(kind: type[Message]) -> tuple[list[str], bool]:
    names = [field.name for field in fields(kind)]
    has_body = bool(names) and names[-1] == "body"
    return (names[:-1] if has_body else names), has_body


_SHAPES = {kind.KIND: _shape_of(kind) for kind in ALL}
_DECODERS = {kind.KIND: _decoder_of(kind) for kind in ALL}
