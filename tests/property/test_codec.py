"""Whatever bytes come, the codec gives a message of the right types or a ProtocolError.

The invariant: `decode(encode(m)) == m`, and for any frames `decode` raises nothing but ProtocolError.
"""

from __future__ import annotations

from itertools import count

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.digest import Digest, digest_of
from tests.golden import sample, with_more
from zcc import codec, messages
from zcc.errors import JobError, ProtocolError
from zcc.job import FileInput, Job, Manifest, decode_job, decode_result, encode_job, job_key

KINDS = sorted(kind.KIND for kind in messages.ALL)
SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats() | st.binary()
VALUES = st.recursive(
    SCALARS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.sampled_from(KINDS), st.lists(VALUES), st.none() | st.binary())
def test_any_header_is_a_message_or_refused(
    kind: bytes, header: list[object], body: bytes | None
) -> None:
    try:
        packed = msgpack.packb(header, use_bin_type=True)
    except (OverflowError, ValueError):
        return
    frames = [messages.PROTOCOL, kind, packed, *([] if body is None else [body])]
    try:
        message = codec.decode(frames)
    except ProtocolError:
        return
    assert codec.decode(codec.encode(message)) == message


@given(st.sampled_from(messages.ALL), st.lists(VALUES, min_size=1, max_size=4))
def test_whatever_stands_behind_its_fields_a_message_says_the_same_or_is_refused(
    kind: type[messages.Message], more: list[object]
) -> None:
    message = sample(kind, count(1))
    frames = codec.encode(message)
    try:
        frames[2] = with_more(frames[2], *more)
    except (OverflowError, ValueError):
        return
    try:
        assert codec.decode(frames) == message
    except ProtocolError:
        return


@given(st.lists(st.binary(), max_size=6))
def test_any_frames_are_a_message_or_refused(frames: list[bytes]) -> None:
    try:
        codec.decode(frames)
    except ProtocolError:
        return


NAMES = st.binary(min_size=1, max_size=8).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    paths = sorted(draw(st.sets(PATHS, max_size=8)), key=lambda path: path.rpartition(b"/"))
    files = tuple(FileInput(path, digest_of(path), draw(st.integers(0, 2))) for path in paths)
    return Job(
        toolchain=Digest(b"t" * 32),
        executable=b"/usr/bin/cc",
        argv=tuple(draw(st.lists(st.binary().filter(lambda word: b"\0" not in word), min_size=1))),
        cwd=draw(PATHS),
        environment=((b"LANG", b"C"),),
        manifest=Manifest(files=files),
        outputs=tuple(draw(st.lists(PATHS, max_size=3, unique=True))),
    )


@given(jobs())
def test_a_job_survives_its_bytes_and_has_one_key(job: Job) -> None:
    encoded = encode_job(job)
    again = decode_job(encoded)
    assert again == job
    assert job_key(encode_job(again)) == job_key(encoded)


@given(jobs(), st.data())
def test_damaged_job_bytes_are_refused_or_canonical(job: Job, data: st.DataObject) -> None:
    encoded = bytearray(encode_job(job))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_job(bytes(encoded))
    except JobError:
        return
    assert encode_job(decoded) == bytes(encoded)


@pytest.mark.parametrize(
    "argv", [(), (b"cc",) * 9000, (b"cc", b"x" * (1 << 17)), (b"cc", *[b"x" * 100_000] * 11)]
)
def test_a_command_that_no_system_would_run_is_no_job(argv: tuple[bytes, ...]) -> None:
    job = Job(
        toolchain=digest_of(b""), executable=b"/usr/bin/cc", argv=argv, cwd=b"/", environment=(),
        manifest=Manifest(), outputs=(b"/x.o",),
    )  # fmt: skip
    with pytest.raises(JobError):
        decode_job(encode_job(job))


@given(st.binary())
def test_any_bytes_are_a_result_or_refused(encoded: bytes) -> None:
    try:
        decode_result(encoded)
    except JobError:
        return
