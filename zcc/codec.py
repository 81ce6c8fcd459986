"""Frames <-> messages, with every field checked. Pure.

Whatever a peer sends, `decode` answers with a message or a ProtocolError, and never with an object
whose fields have other types, or break other bounds, than the message's class says. What a later release
has added is passed over: fields behind those that are known, and whole kinds (`UnknownKindError`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgpack

from zcc.bounds import (
    MAX_UNKNOWN_BYTES,
    MAX_UNKNOWN_FIELDS,
    Rule,
    fields_reader,
    hints_of,
    required_of,
    rule_of,
)
from zcc.errors import OtherProtocolError, ProtocolError, UnknownKindError, UnsendableError
from zcc.messages import ALL, MAX_KIND_BYTES, MAX_SENT_BYTES, PROTOCOL, Message

_ANY_PROTOCOL = re.compile(rb"zcc/[0-9]{1,9}")


def encode(message: Message) -> list[bytes]:
    """The frames of a message; texts for people and measured numbers are cut to their bounds.

    Raises:
        UnsendableError: one is longer than a peer takes: it would end the connection.
    """
    rules, body_at = _RULES[message.KIND]
    header = [rule.write(getattr(message, name)) for name, rule in rules]
    frames: list[bytes] = [PROTOCOL, message.KIND, msgpack.packb(header, use_bin_type=True)]
    if body_at is not None:
        frames.append(message.body)  # type: ignore[attr-defined]
    if len(frames[-1]) > MAX_SENT_BYTES or len(frames[2]) > MAX_SENT_BYTES:
        raise UnsendableError(
            f"{type(message).__name__} with a frame of {max(map(len, frames))} bytes: peers take"
            f" {MAX_SENT_BYTES}"
        )
    return frames


def kind_of(frames: Sequence[bytes]) -> bytes:
    """Which of our kinds these frames say they are.

    Raises:
        UnknownKindError: it is none, and may be one of a later release.
        OtherProtocolError: it is of another major version.
        ProtocolError: no message of any release.
    """
    if len(frames) not in (3, 4) or frames[0] != PROTOCOL:
        raise _of_another_protocol(bytes(frames[0][:16]) if frames else b"")
    if frames[1] not in _DECODERS:
        if len(frames[1]) > MAX_KIND_BYTES:
            raise ProtocolError(f"a message kind of {len(frames[1])} bytes")
        raise UnknownKindError(bytes(frames[1]))
    return frames[1]


def decode(frames: Sequence[bytes]) -> Message:
    """The message in these frames.

    Raises:
        UnknownKindError, OtherProtocolError: as `kind_of`.
        ProtocolError: no message of any release, or a field that breaks its bounds.
    """
    return _DECODERS[kind_of(frames)](frames)


def _of_another_protocol(found: bytes) -> ProtocolError:
    ours = PROTOCOL.decode()
    if found != PROTOCOL and _ANY_PROTOCOL.fullmatch(found):
        return OtherProtocolError(
            f"{found.decode()} is spoken there and {ours} here: upgrade the older of the two"
        )
    return ProtocolError(f"expected {ours} in 3 or 4 frames, found {found!r}")


def _decoder_of(kind: type[Message]) -> Callable[[Sequence[bytes]], Message]:
    rules, body_at = _RULES[kind.KIND]
    required = len([name for name in required_of(kind) if name != "body"])
    read = fields_reader([rule for _, rule in rules], required)
    body_check = None if body_at is None else rule_of(hints_of(kind)["body"]).read
    expected = 3 if body_at is None else 4
    # Longer than all its fields at their longest: nothing is made of it.
    most_bytes = sum(rule.most_bytes for _, rule in rules) + MAX_UNKNOWN_BYTES
    most_items = max([len(rules) + MAX_UNKNOWN_FIELDS, *(rule.most_items for _, rule in rules)])

    def decode_one(frames: Sequence[bytes]) -> Message:
        if len(frames) != expected:
            raise ProtocolError(f"{kind.__name__} in {len(frames)} frames, expected {expected}")
        if len(frames[2]) > most_bytes:
            raise ProtocolError(f"{kind.__name__} with a header of {len(frames[2])} bytes")
        try:
            values = read(
                msgpack.unpackb(
                    frames[2],
                    raw=False,
                    strict_map_key=True,
                    max_array_len=most_items,
                    max_map_len=0,
                )
            )
            if body_at is not None and body_check is not None:
                values.insert(body_at, body_check(frames[3]))
        except (ValueError, msgpack.UnpackException, RecursionError) as error:
            raise ProtocolError(f"{kind.__name__}: {error}") from error
        return kind(*values)

    return decode_one


def _rules_of(kind: type[Message]) -> tuple[list[tuple[str, Rule]], int | None]:
    """The rules of the header's fields, and before which of them the body stands in the class."""
    hints = hints_of(kind)
    rules = [(name, rule_of(hint)) for name, hint in hints.items() if name != "body"]
    return rules, list(hints).index("body") if "body" in hints else None


_RULES = {kind.KIND: _rules_of(kind) for kind in ALL}
_DECODERS = {kind.KIND: _decoder_of(kind) for kind in ALL}
