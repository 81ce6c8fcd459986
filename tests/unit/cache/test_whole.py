"""Blobs that come in one piece."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard

from broker.transport.recent import Recent
from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError
from cache.eviction import size_on_disk
from cache.frame import MAX_WINDOW_BYTES, compress
from cache.whole import MAX_AT_ONCE_BYTES, whole

DATA = b"int main() { return 0; }\n" * 100


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path), 1 << 30)


def test_it_is_in_the_store_when_it_is_kept_and_not_before(store: BlobStore) -> None:
    blob = whole(store, digest_of(DATA), compress(DATA))
    assert blob is not None
    assert blob.plain_bytes == len(DATA)
    assert not store.has(blob.digest)
    assert os.listdir(store.tmp_dir) == []
    blob.keep()
    assert store.read(blob.digest) == DATA
    assert store.size_bytes == size_on_disk(len(blob.frame))
    blob.keep()
    assert store.size_bytes == size_on_disk(len(blob.frame))


@pytest.mark.parametrize("data", [b"", b"x", bytes(MAX_AT_ONCE_BYTES)])
def test_every_small_size_is_taken(store: BlobStore, data: bytes) -> None:
    blob = whole(store, digest_of(data), compress(data))
    assert blob is not None
    blob.keep()
    assert store.read(blob.digest) == data


def test_one_that_is_not_what_its_digest_names_is_corrupt(store: BlobStore) -> None:
    frame = compress(DATA)
    for wrong in (compress(DATA + b"x"), frame[:-1], frame[:5], b"no frame", b""):
        with pytest.raises(BlobCorruptError):
            whole(store, digest_of(DATA), wrong)


def test_one_that_is_large_is_fed_to_an_arrival(store: BlobStore) -> None:
    large = bytes(MAX_AT_ONCE_BYTES + 1)
    assert whole(store, digest_of(large), compress(large)) is None


def test_one_that_does_not_say_its_size_is_corrupt(store: BlobStore) -> None:
    """Who takes an output asks a frame for its size: one reader must not store what another cannot read."""
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(DATA)
    with pytest.raises(BlobCorruptError):
        whole(store, digest_of(DATA), silent)
    with pytest.raises(BlobCorruptError):
        arrived(store, digest_of(DATA), silent)


def test_a_frame_that_holds_more_than_it_says_gets_no_room_for_it(store: BlobStore) -> None:
    frame = bytearray(compress(bytes(200)))
    assert frame[4:6] == bytes((0x20, 200))
    frame[5] = 100
    with pytest.raises(BlobCorruptError):
        whole(store, digest_of(bytes(200)), bytes(frame))


def test_a_window_that_no_decoder_of_ours_takes_is_refused(store: BlobStore) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=len(DATA))
    frame = compressor.compress(DATA) + compressor.flush()
    said = zstandard.get_frame_parameters(frame)
    if said.window_size <= MAX_WINDOW_BYTES:
        # magic, a descriptor with a size of two bytes, a window of 2^27 bytes
        frame = (
            frame[:4] + bytes((0x40, 17 << 3)) + (len(DATA) - 256).to_bytes(2, "little") + frame[7:]
        )
        said = zstandard.get_frame_parameters(frame)
    assert said.window_size > MAX_WINDOW_BYTES
    with pytest.raises(BlobCorruptError, match="window"):
        whole(store, digest_of(DATA), frame)


def test_only_the_last_frames_are_kept_in_memory() -> None:
    recent = Recent(100)
    names = [Digest(bytes([at]) * 32) for at in range(4)]
    for name in names:
        recent.put(name, bytes(40))
    assert [recent.get(name) is not None for name in names] == [False, False, True, True]
    recent.put(names[3], bytes(30))
    recent.forget(names[2])
    recent.forget(names[2])
    recent.put(names[0], bytes(70))
    assert [recent.get(name) is not None for name in names] == [True, False, False, True]
    recent.put(names[1], bytes(101))
    assert not any(recent.get(name) for name in names)


# What zstd passes over, as much as it says (RFC 8878, 3.1.2), and a frame of nothing.
BEHIND = {
    "skippable": b"\x50\x2a\x4d\x18\x08\0\0\0" + bytes(8),
    "empty": compress(b""),
    "a byte": b"x",
}


def arrived(store: BlobStore, digest: Digest, *pieces: bytes) -> None:
    with store.arrival(digest, 1 << 30) as arrival:
        for piece in pieces:
            arrival.feed(piece)
        arrival.finish()


@pytest.mark.parametrize("kind", BEHIND)
def test_a_blob_is_one_frame_and_nothing_else(store: BlobStore, kind: str) -> None:
    """What one reader passes over, another refuses: nobody could use the blob, and nobody be asked for it."""
    digest, frame = digest_of(DATA), compress(DATA) + BEHIND[kind]
    with pytest.raises(BlobCorruptError):
        whole(store, digest, frame)
    for cut in (len(frame), len(frame) - len(BEHIND[kind]), len(frame) - 1):
        with pytest.raises(BlobCorruptError):
            arrived(store, digest, frame[:cut], frame[cut:])
    assert not store.has(digest)
    assert os.listdir(store.tmp_dir) == []
