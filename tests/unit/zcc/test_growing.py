"""What a later release may say beyond what this one knows, and what it may not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import msgpack
import pytest

from node.faults import fault_of
from tests.golden import with_more
from tests.unit.zcc.test_bounds import JOB, RESULT, D
from zcc import codec, messages
from zcc.bounds import MAX_UNKNOWN_BYTES, MAX_UNKNOWN_FIELDS, MAX_UNKNOWN_ITEMS, Count, Length
from zcc.errors import JobError, JobFormatError, ProtocolError, UnknownKindError
from zcc.job import WIDER_JOB_FORMAT, decode_job, decode_result, encode_job, encode_result, job_key
from zcc.lent import LentMemory
from zcc.messages import PROTOCOL, Beat, Cancel, Fault, Frame, Message, Offer, Want
from zcc.outline import outline

MEMORY = LentMemory(1 << 30, 1 << 29, 0.5)


def frames_with(kind: type[Message], *header: Any) -> list[bytes]:
    return [PROTOCOL, kind.KIND, msgpack.packb(header, use_bin_type=True)]


# ---- fields ------------------------------------------------------------------------------------


def test_a_field_that_an_older_peer_does_not_send_has_its_default() -> None:
    assert codec.decode(frames_with(Beat, 1.0)) == Beat(1.0)
    assert codec.decode(frames_with(Beat, 1.0, "full", [8])) == Beat(1.0, "full", Offer(8))
    with pytest.raises(ProtocolError, match="1 fields or more"):
        codec.decode(frames_with(Beat))
    with pytest.raises(ProtocolError, match="1 fields or more"):
        codec.decode(frames_with(Beat, 1.0, "full", []))


def test_fields_of_a_later_release_are_passed_over_in_records_within_a_message_too() -> None:
    beat = Beat(1.0, "", Offer(8, "always"), MEMORY)
    offer, memory = [8, "always", "", False, "later", [1]], [1 << 30, 1 << 29, 0.5, None]
    assert codec.decode(frames_with(Beat, 1.0, "", offer, memory, False, b"later")) == beat


def test_what_is_known_is_judged_as_ever_whatever_stands_behind_it() -> None:
    for load in (-1.0, float("nan"), "1", None):
        with pytest.raises(ProtocolError, match="expected a number"):
            codec.decode(frames_with(Beat, load, "", None, None, False, 7))
    with pytest.raises(ProtocolError, match="expected a number"):
        codec.decode(frames_with(Beat, 1.0, "", [-1, "", "", False, 7], None, False, 7))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


TOO_MUCH = [
    (1,) * (MAX_UNKNOWN_FIELDS + 1),
    ([[1] * 16] * 16,),
    (nested(MAX_UNKNOWN_ITEMS),),
    (bytes(MAX_UNKNOWN_BYTES + 1),),
    (bytes(MAX_UNKNOWN_BYTES // 2), "x" * (MAX_UNKNOWN_BYTES // 2), b"x"),
    ({},),
    (msgpack.ExtType(5, b"x"),),
    (msgpack.Timestamp(1),),
]


@pytest.mark.parametrize("more", TOO_MUCH)
def test_more_than_a_later_release_has_to_say_is_a_violation(more: tuple[Any, ...]) -> None:
    offer, traits = [8, "always", "", False], [bytes(16), 5, True, 2, 2, 0]
    submit = [1, D, 0.0, "b", False, b"", traits, 0]
    for header in (
        frames_with(Cancel, 1, *more),
        frames_with(Beat, 1.0, "", [*offer, *more]),
        [*frames_with(messages.Submit, *submit, *more), b""],
        # Its header may be long: its inputs are shown there.
        [*frames_with(messages.Submit, *submit[:6], [*traits, *more], 0), b""],
    ):
        with pytest.raises(ProtocolError):
            codec.decode(header)
    with pytest.raises(JobError):
        decode_job(with_more(encode_job(JOB), *more))
    with pytest.raises(JobError):
        decode_result(with_more(encode_result(RESULT), *more))


@pytest.mark.parametrize(
    "more",
    [
        (1,) * MAX_UNKNOWN_FIELDS,
        ([[1] * 14] * 16,),
        (nested(100),),
        (bytes(MAX_UNKNOWN_BYTES - 100),),
    ],
)
def test_as_much_as_that_is_passed_over(more: tuple[Any, ...]) -> None:
    assert codec.decode(frames_with(Cancel, 1, *more)) == Cancel(1)
    assert decode_job(with_more(encode_job(JOB), *more)) == JOB
    assert decode_result(with_more(encode_result(RESULT), *more)) == RESULT


def test_a_tuple_never_grows() -> None:
    assert codec.decode(frames_with(Want, [[D, 0]])) == Want(((D, 0),))
    for row in ([D], [D, 0, 7]):
        with pytest.raises(ProtocolError, match="expected 2 fields"):
            codec.decode(frames_with(Want, [row]))


def test_a_field_behind_the_body_is_the_last_of_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, slots=True)
    class Grown(Message):
        KIND: ClassVar[bytes] = b"grown"
        lease: Annotated[bytes, Length(64)]
        body: Frame
        later: Count = 5

    rules, body_at = codec._rules_of(Grown)
    assert ([name for name, _ in rules], body_at) == (["lease", "later"], 1)
    monkeypatch.setitem(codec._RULES, b"grown", (rules, body_at))
    monkeypatch.setitem(codec._DECODERS, b"grown", codec._decoder_of(Grown))
    message = Grown(b"l", b"body", 7)
    assert codec.decode(codec.encode(message)) == message
    assert codec.decode([*frames_with(Grown, b"l"), b"body"]) == Grown(b"l", b"body", 5)
    for frames in ([*frames_with(Grown), b"body"], frames_with(Grown, b"l", 7)):
        with pytest.raises(ProtocolError):
            codec.decode(frames)


# ---- jobs and results --------------------------------------------------------------------------


def test_a_jobs_further_field_is_part_of_its_key_and_of_its_one_form() -> None:
    later = encode_job(JOB, ("hint",))
    assert decode_job(later) == JOB
    assert job_key(later) != job_key(encode_job(JOB))
    assert later == with_more(encode_job(JOB), "hint")
    document = msgpack.unpackb(later)
    padded = msgpack.packb(document)[: -len(msgpack.packb("hint"))] + b"\xd9\x04hint"
    assert msgpack.unpackb(padded) == document
    with pytest.raises(JobError, match="canonical"):
        decode_job(padded)
    assert outline(later) is None


def test_an_ordinary_job_with_a_further_field_is_of_the_wider_format() -> None:
    ordinary = replace(JOB, dumps=(), listed=())
    assert msgpack.unpackb(encode_job(ordinary, (7,)))[0] == WIDER_JOB_FORMAT
    assert decode_job(encode_job(ordinary, (7,))) == ordinary
    with pytest.raises(JobError):
        decode_job(with_more(encode_job(ordinary), 7))


@pytest.mark.parametrize("number", [0, WIDER_JOB_FORMAT + 1, None, b"\2"])
def test_what_must_be_understood_has_a_format_of_its_own_and_is_run_nowhere_else(
    number: Any,
) -> None:
    job = msgpack.packb([number, *msgpack.unpackb(encode_job(JOB))[1:]])
    result = msgpack.packb([number, *msgpack.unpackb(encode_result(RESULT))[1:]])
    with pytest.raises(JobFormatError) as raised:
        decode_job(job)
    # Neither this node's fault nor the job's: another node may know it.
    assert fault_of(raised.value) is Fault.UNFIT
    with pytest.raises(JobFormatError):
        decode_result(result)


# ---- kinds and protocols -----------------------------------------------------------------------


def test_a_kind_that_is_not_known_is_told_apart_from_what_is_no_message() -> None:
    for frames in ([PROTOCOL, b"later", b"\x90"], [PROTOCOL, b"later", b"no msgpack", b"body"]):
        with pytest.raises(UnknownKindError) as raised:
            codec.decode(frames)
        assert raised.value.kind == b"later"
    for frames in (
        [PROTOCOL, b"later"],
        [PROTOCOL, b"later", b"", b"", b""],
        [PROTOCOL, b"k" * (messages.MAX_KIND_BYTES + 1), b"\x90"],
        [b"zcc/9", b"later", b"\x90"],
    ):
        with pytest.raises(ProtocolError) as other:
            codec.decode(frames)
        assert not isinstance(other.value, UnknownKindError)


def test_a_peer_of_another_protocol_is_told_so_in_one_sentence() -> None:
    with pytest.raises(ProtocolError) as raised:
        codec.decode([b"zcc/9", b"hello", b"\x90"])
    assert str(raised.value) == "zcc/9 is spoken there and zcc/2 here: upgrade the older of the two"


def test_an_answer_to_what_is_not_known_fits_every_kind() -> None:
    kind = b"k" * messages.MAX_KIND_BYTES
    answer = messages.Unknown(kind)
    assert codec.decode(codec.encode(answer)) == answer
