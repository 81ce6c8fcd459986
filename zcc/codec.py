"""Frames <-> messages, with every field checked. Pure.

Whatever a peer sends, `decode` answers with a message or a ProtocolError, and never with an object
whose fields have other types, or break other bounds, than the message's class says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgpack

from zcc.bounds import Rule, hints_of, rule_of
from zcc.errors import ProtocolError
from zcc.messages import ALL, PROTOCOL, Message


def encode(message: Message) -> list[bytes]:
    """The frames of a message; texts for people and measured numbers are cut to their bounds."""
    rules, has_body = _RULES[message.KIND]
    header = [rule.write(getattr(message, name)) for name, rule in rules]
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


def _decoder_of(kind: type[Message]) -> Callable[[Sequence[bytes]], Message]:
    rules, has_body = _RULES[kind.KIND]
    checks = [rule.read for _, rule in rules]
    body_check = rule_of(hints_of(kind)["body"]).read if has_body else None
    expected = 4 if has_body else 3
    # Longer than all its fields at their longest: nothing is made of it.
    most_bytes = sum(rule.most_bytes for _, rule in rules) + 9
    most_items = max([len(checks), *(rule.most_items for _, rule in rules)])

    def decode_one(frames: Sequence[bytes]) -> Message:
        if len(frames) != expected:
            raise ProtocolError(f"{kind.__name__} in {len(frames)} frames, expected {expected}")
        if len(frames[2]) > most_bytes:
            raise ProtocolError(f"{kind.__name__} with a header of {len(frames[2])} bytes")
        try:
            header = msgpack.unpackb(
                frames[2], raw=False, strict_map_key=True, max_array_len=most_items, max_map_len=0
            )
            if type(header) is not list or len(header) != len(checks):
                raise ValueError(f"expected {len(checks)} fields")
            values = [check(value) for check, value in zip(checks, header, strict=True)]
            if body_check is not None:
                values.append(body_check(frames[3]))
        except (ValueError, msgpack.UnpackException, RecursionError) as error:
            raise ProtocolError(f"{kind.__name__}: {error}") from error
        return kind(*values)

    return decode_one


def _rules_of(kind: type[Message]) -> tuple[list[tuple[str, Rule]], bool]:
    rules = [(name, rule_of(hint)) for name, hint in hints_of(kind).items()]
    has_body = bool(rules) and rules[-1][0] == "body"
    return (rules[:-1] if has_body else rules), has_body


_RULES = {kind.KIND: _rules_of(kind) for kind in ALL}
_DECODERS = {kind.KIND: _decoder_of(kind) for kind in ALL}
