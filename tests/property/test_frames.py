"""Frames that anybody may have made: what one reader takes, every reader takes, and as the same bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from cache.blobs import BlobStore, Form, pieces_of
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError
from cache.frame import compress, decompress
from cache.whole import MAX_AT_ONCE_BYTES, whole

LIMIT = MAX_AT_ONCE_BYTES
CONTENTS = (b"", b"x", b"hello" * 3, os.urandom(300), b"a" * 5000, bytes(200_000))
# What zstd passes over, as much as it says (RFC 8878, 3.1.2).
SKIPPED = b"\x50\x2a\x4d\x18\x0a\0\0\0" + bytes(10)
# A header that says 0, and what a decoder has to look at to see that it is a lie.
SAYS_NOTHING = b"\x28\xb5\x2f\xfd\x20\x00"
RAW_BLOCK = (5 << 3 | 1).to_bytes(3, "little") + b"hello"
REPEATED_BLOCK = (1 << 17 << 3 | 2).to_bytes(3, "little") + b"a"
EMPTY = compress(b"")


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[BlobStore, BlobStore]]:
    with tempfile.TemporaryDirectory() as packed, tempfile.TemporaryDirectory() as plain:
        yield BlobStore(packed, 1 << 30), BlobStore(plain, 1 << 30, Form.PLAIN)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    packer = zstandard.ZstdCompressor(
        level=draw(st.sampled_from((1, 3, 9))),
        write_checksum=draw(st.booleans()),
        write_content_size=draw(st.integers(0, 4)) > 0,
    )
    frame = packer.compress(draw(st.sampled_from(CONTENTS)))
    for _ in range(draw(st.integers(0, 3))):
        frame = draw(st.sampled_from(CHANGES))(draw, frame)
    return frame


def _change_a_byte(draw: st.DrawFn, frame: bytes) -> bytes:
    at = draw(st.integers(0, max(0, min(len(frame), 24) - 1)))
    return frame[:at] + bytes((draw(st.integers(0, 255)),)) + frame[at + 1 :]


def _cut(draw: st.DrawFn, frame: bytes) -> bytes:
    return frame[: draw(st.integers(0, len(frame)))]


def _put_something_behind(draw: st.DrawFn, frame: bytes) -> bytes:
    return frame + draw(st.one_of(st.binary(max_size=9), st.sampled_from((SKIPPED, EMPTY))))


def _put_something_before(draw: st.DrawFn, frame: bytes) -> bytes:
    return draw(st.sampled_from((SKIPPED, EMPTY, SAYS_NOTHING))) + frame


CHANGES = (_change_a_byte, _cut, _put_something_behind, _put_something_before)


@given(frames(), st.lists(st.integers(0, 300), max_size=3))
@example(SAYS_NOTHING + RAW_BLOCK, [])
@example(SAYS_NOTHING + REPEATED_BLOCK * 300, [])
@example(SAYS_NOTHING, [])
@example(EMPTY + b"tail", [3])
@example(SKIPPED, [])
@example(SKIPPED + EMPTY, [])
@example(EMPTY, [1, 5, 8])
def test_what_one_reader_takes_every_reader_takes(
    stores: tuple[BlobStore, BlobStore], frame: bytes, cuts: list[int]
) -> None:
    packed, plain = stores
    content = taken_at_once(frame)
    for digest in {digest_of(each) for each in (*CONTENTS, content or b"")}:
        is_it = content is not None and digest_of(content) == digest
        # At once,
        try:
            blob = whole(packed, digest, frame)
            assert blob is not None
            assert is_it
        except BlobCorruptError:
            assert not is_it
        # on its way in, in any pieces,
        for store in stores:
            assert taken_in_pieces(store, digest, frame, cuts) == is_it
            assert store.has(digest) == is_it
            assert os.listdir(store.tmp_dir) == []
            store.remove(digest)
        # and where it lies, however it got there.
        packed.write(digest, frame)
        try:
            assert b"".join(pieces_of(packed.directory, digest)) == content
        except BlobCorruptError:
            assert content is None
        try:
            packed.check(digest)
            assert is_it
        except BlobCorruptError:
            assert not is_it
        packed.remove(digest)
    assert not plain.size_bytes


def taken_at_once(frame: bytes) -> bytes | None:
    try:
        return decompress(frame, LIMIT)
    except BlobCorruptError:
        return None


def taken_in_pieces(store: BlobStore, digest: Digest, frame: bytes, cuts: list[int]) -> bool:
    places = sorted({0, len(frame), *(min(cut, len(frame)) for cut in cuts)})
    try:
        with store.arrival(digest, LIMIT) as arrival:
            for begin, end in pairwise(places):
                arrival.feed(frame[begin:end])
            arrival.finish()
    except BlobCorruptError:
        return False
    return True


@given(frames())
def test_what_is_taken_is_what_zstd_says_it_is(frame: bytes) -> None:
    """Another decoder of the same frame: none of ours is taken for other bytes."""
    content = taken_at_once(frame)
    if content:
        assert zstandard.decompress(frame) == content
