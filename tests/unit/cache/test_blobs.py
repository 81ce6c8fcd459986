"""Blobs on disk: whole or not at all, checked on the way in and on the way out."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cache.blobs import PLAIN_MTIME_S, BlobStore, Form
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError, BlobMissingError
from cache.eviction import BLOCK_BYTES, StoreEntry, choose_victims, size_on_disk
from cache.frame import COMPRESSION_LEVEL, MAX_WINDOW_BYTES, compress, decompress, window_bytes
from zcc.compiler.toolchain import pack

LIMIT = 1 << 20
DATA = b"int main(void) { return 0; }\n" * 100


@pytest.fixture(params=list(Form))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"), LIMIT, request.param)


def left_behind(store: BlobStore) -> list[str]:
    return os.listdir(store.tmp_dir)


def test_what_is_put_is_read_back(store: BlobStore) -> None:
    digest = store.put(DATA)
    assert digest == digest_of(DATA)
    assert store.has(digest)
    assert store.read(digest) == DATA
    assert left_behind(store) == []


def test_a_frame_arrives_in_pieces(store: BlobStore) -> None:
    frame = compress(DATA)
    arrival = store.arrival(digest_of(DATA), LIMIT)
    for at in range(0, len(frame), 7):
        arrival.feed(frame[at : at + 7])
    arrival.finish()
    assert store.read(digest_of(DATA)) == DATA


@pytest.mark.parametrize("spoil", ["other", "cut", "garbage"])
def test_a_frame_that_is_not_what_its_digest_names_leaves_nothing(
    store: BlobStore, spoil: str
) -> None:
    frame = {"other": compress(b"other"), "cut": compress(DATA)[:-4], "garbage": b"nonsense"}[spoil]
    with pytest.raises(BlobCorruptError):
        store.put_frame(digest_of(DATA), frame, LIMIT)
    assert not store.has(digest_of(DATA))
    assert left_behind(store) == []


def test_a_bomb_is_stopped_at_its_limit(store: BlobStore) -> None:
    bomb = b"\0" * (1 << 22)
    with pytest.raises(BlobCorruptError, match="more than"):
        store.put_frame(digest_of(bomb), compress(bomb), LIMIT)
    with pytest.raises(BlobCorruptError):
        decompress(compress(bomb), LIMIT)


def test_a_bomb_is_stopped_before_it_is_in_memory(store: BlobStore) -> None:
    """Each block of four bytes stands for 128 KiB of zeros; the frame says that it is 8 GiB."""
    block = (0b10 | ((128 << 10) << 3)).to_bytes(3, "little") + b"\0"
    bomb = bytes.fromhex("28b52ffd c038") + (8 << 30).to_bytes(8, "little") + block * 65_536
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arrival = store.arrival(digest_of(b""), 1 << 40)
    with pytest.raises(BlobCorruptError, match="more than"):
        arrival.feed(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 200 << 10
    assert left_behind(store) == []


def test_zeros_that_pack_to_nothing_are_taken_up_to_a_bound(store: BlobStore) -> None:
    image = bytes(32 << 20)
    store.put_frame(digest_of(image), compress(image), 1 << 30)
    assert store.has(digest_of(image))


def test_a_rotten_blob_is_a_miss_and_is_removed(store: BlobStore) -> None:
    digest = store.put(DATA)
    path = store.path_of(digest)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(20)
        file.write(b"\xff\xff\xff")
    with pytest.raises(BlobMissingError):
        store.read(digest)
    assert not store.has(digest)


def test_a_blob_that_vanished_is_a_miss(store: BlobStore) -> None:
    digest = store.put(DATA)
    os.unlink(store.path_of(digest))
    with pytest.raises(BlobMissingError):
        store.read(digest)


def test_a_plain_blob_cannot_be_told_by_its_time_or_be_written(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path), LIMIT, Form.PLAIN)
    status = os.stat(store.path_of(store.put(DATA)))
    assert status.st_mtime == PLAIN_MTIME_S
    assert status.st_mode & 0o777 == 0o444


def test_what_a_killed_process_left_half_done_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = BlobStore(str(tmp_path), LIMIT)
    half = Path(first.tmp_dir, "half")
    half.write_bytes(compress(DATA)[:10])
    os.utime(half, (0, 0))  # a plain blob on its way has an old time
    assert left_behind(BlobStore(str(tmp_path), LIMIT)) == ["half"]
    later_s = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: later_s)
    assert left_behind(BlobStore(str(tmp_path), LIMIT)) == []
    half.write_bytes(b"")
    later_s += 100_000
    first.sweep()
    assert left_behind(first) == []


def test_whoever_opens_a_store_leaves_what_others_write_there_alone(tmp_path: Path) -> None:
    """As `zcc-broker cache show` does beside the broker, and one agent beside another."""
    store = BlobStore(str(tmp_path), LIMIT)
    frame = compress(DATA)
    with store.arrival(digest_of(DATA), LIMIT) as arrival:
        arrival.feed(frame[:10])
        BlobStore(str(tmp_path), LIMIT).sweep()
        arrival.feed(frame[10:])
        arrival.finish()
    assert store.read(digest_of(DATA)) == DATA


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_in_a_blob_s_place_is_a_miss(store: BlobStore, kind: str) -> None:
    """A pipe would keep its reader until somebody writes, a device may have no end."""
    digest = store.put(DATA)
    path = store.path_of(digest)
    os.unlink(path)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        os.symlink("/dev/null", path)
    with pytest.raises(OSError, match="no regular file"):
        store.read_stored(digest)
    with pytest.raises(BlobMissingError):
        store.read(digest)


def test_a_store_beyond_its_limit_forgets_the_least_recently_used(tmp_path: Path) -> None:
    limit_bytes = 5 * BLOCK_BYTES
    store = BlobStore(str(tmp_path), limit_bytes)
    digests = [store.put(os.urandom(1000)) for _ in range(8)]
    for age, digest in enumerate(digests):
        os.utime(store.path_of(digest), (1000 + age, 1000 + age))
    assert store.sweep() > 0
    kept = [store.has(digest) for digest in digests]
    assert kept == sorted(kept)
    assert kept[-1]
    assert store.size_bytes <= limit_bytes


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1e6))), st.integers(0, 10_000))
def test_victims_bring_the_sum_within_the_limit_and_no_further_than_needed(
    sizes: list[tuple[int, float]], limit: int
) -> None:
    entries = [StoreEntry(at, size, used) for at, (size, used) in enumerate(sizes)]
    victims = set(choose_victims(entries, limit, now_s=1e6))
    total = sum(entry.size_bytes for entry in entries)
    kept = [entry for entry in entries if entry.key not in victims]
    if total <= limit:
        assert not victims
        return
    assert sum(entry.size_bytes for entry in kept) <= limit
    gone = [entry for entry in entries if entry.key in victims]
    assert max(entry.last_use_s for entry in gone) <= min(
        (entry.last_use_s for entry in kept), default=1e9
    )


def test_what_a_clock_ahead_has_written_goes_before_what_is_new(tmp_path: Path) -> None:
    """A machine that booted with a wrong clock: for ten years nothing new would stay."""
    now_s, ahead_s = time.time(), time.time() + 10 * 365 * 86400
    store = BlobStore(str(tmp_path), 20 * BLOCK_BYTES)
    old = [store.put(os.urandom(1000)) for _ in range(12)]
    for digest in old:
        os.utime(store.path_of(digest), (ahead_s, ahead_s))
    store.touch(old[0])
    assert os.stat(store.path_of(old[0])).st_mtime < now_s + 60
    new = [store.put(os.urandom(1000)) for _ in range(12)]
    assert store.sweep() > 0
    assert [store.has(digest) for digest in (old[0], *new)] == [True] * 13
    entries = [
        StoreEntry("slightly ahead", 10, now_s + 60),
        StoreEntry("long ago", 10, now_s - 1e6),
    ]
    assert choose_victims(entries, 15, now_s) == ["long ago"]


def test_an_unknown_digest_is_not_there(store: BlobStore) -> None:
    assert not store.has(Digest(b"\0" * 32))


def begun_with_window(log: int) -> bytes:
    """A frame that asks for a window of 2**log bytes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=log)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=1)
    window = bytes((log - 10 << 3,))
    begun = frame.compress(b"x") + frame.flush()
    # A descriptor with a size of four bytes, and the window: of one byte zstd makes a single segment.
    return begun[:4] + bytes((0x80,)) + window + begun[5:6] + bytes(3) + begun[6:]


def test_a_frame_that_asks_a_decoder_for_much_memory_is_refused(store: BlobStore) -> None:
    arrival = store.arrival(digest_of(b"x"), LIMIT)
    arrival.feed(begun_with_window(22))
    arrival.finish()
    with pytest.raises(BlobCorruptError):
        store.arrival(digest_of(b"x"), LIMIT).feed(begun_with_window(23))


@pytest.mark.parametrize("level", [COMPRESSION_LEVEL, pack.COMPRESSION_LEVEL])
def test_what_we_compress_ourselves_asks_for_less(level: int) -> None:
    compressor = zstandard.ZstdCompressor(level=level).compressobj(size=1 << 30)
    assert window_bytes(compressor.compress(os.urandom(4 << 20))) <= MAX_WINDOW_BYTES // 2


def test_a_frame_whose_beginning_does_not_say_its_window_counts_as_the_largest() -> None:
    assert window_bytes(begun_with_window(20)) == 1 << 20
    assert window_bytes(begun_with_window(27)) == MAX_WINDOW_BYTES
    assert window_bytes(b"\x28") == MAX_WINDOW_BYTES


def test_a_checked_blob_that_waits_keeps_no_decoder(store: BlobStore) -> None:
    arrival = store.arrival(digest_of(DATA), LIMIT)
    arrival.feed(compress(DATA))
    arrival.check()
    assert not hasattr(arrival, "_decoder")
    arrival.keep()
    assert store.read(digest_of(DATA)) == DATA


def test_a_frame_that_is_there_stays_whoever_sends_another(tmp_path: Path) -> None:
    """It may be on its way to somebody; and the store's size is what its limit is held against."""
    store = BlobStore(str(tmp_path), LIMIT)
    zeros = bytes(1 << 16)
    digest, frame, raw = digest_of(zeros), compress(zeros), _stored_frame(zeros)
    assert len(raw) > len(zeros) > len(frame)
    store.put_frame(digest, frame, LIMIT)
    counted = store.size_bytes
    store.put_frame(digest, raw, LIMIT)
    store.write(digest, raw)
    assert store.read_stored(digest) == frame
    assert left_behind(store) == []
    assert store.size_bytes == counted == size_on_disk(len(frame))
    store.remove(digest)
    assert store.size_bytes == 0


def test_an_empty_file_in_a_blobs_place_is_none(tmp_path: Path) -> None:
    """What a loss of power leaves of a file that was renamed."""
    store = BlobStore(str(tmp_path), LIMIT)
    digest = store.put(DATA)
    os.truncate(store.path_of(digest), 0)
    store.write(digest, compress(DATA))
    assert store.read(digest) == DATA


def test_a_plain_blob_that_comes_again_counts_once(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path), LIMIT, Form.PLAIN)
    for _ in range(2):
        store.put_frame(digest_of(DATA), compress(DATA), LIMIT)
    assert store.size_bytes == size_on_disk(len(DATA))


@pytest.mark.parametrize("form", list(Form))
def test_a_blob_counts_as_what_the_disk_gives_up_for_it(tmp_path: Path, form: Form) -> None:
    """Files of some bytes would fill a disk, and use up its inodes, long before their lengths do."""
    store = BlobStore(str(tmp_path), LIMIT, form)
    digests = [store.put(b"%d" % at) for at in range(40)]
    digests.append(store.put(os.urandom(BLOCK_BYTES + 1)))
    counted = BlobStore(str(tmp_path), LIMIT, form).size_bytes
    assert store.size_bytes == counted == 42 * BLOCK_BYTES
    os.truncate(store.path_of(digests[0]), 0)
    store.put_frame(digests[0], compress(b"0"), LIMIT)
    assert store.size_bytes == counted
    for digest in digests:
        store.remove(digest)
    assert store.size_bytes == 0


def _stored_frame(data: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one raw block: as many bytes as it holds, and some."""
    header = bytes.fromhex("28b52ffd a0") + len(data).to_bytes(4, "little")
    return header + (1 | len(data) << 3).to_bytes(3, "little") + data
