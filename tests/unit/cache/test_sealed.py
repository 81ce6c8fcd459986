"""What lies in a tier under the farm's seal: nobody else can make it, move it, or keep it from being void."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest

from cache.digest import Digest, digest_of
from cache.errors import RecordCorruptError, StoreError
from cache.frame import compress
from cache.record import Record, Source, encode_record
from cache.remote.engine import EngineError, MemoryEngine
from cache.remote.seal import ForgedError, Sealed, Stamp, name_of_farm, seal, unseal
from cache.remote.store import RemoteStore, Sealing

SECRET, OTHER = b"s" * 32, b"o" * 32
KEY, BLOB = digest_of(b"job"), digest_of(b"object")
FRAME = compress(b"object")
STAMP = Stamp(b"m" * 16, 3)
RECORD = Record(KEY, b"body", (BLOB,), 10, Source(digest_of(b"gcc"), "n", "nk", "u"), 1.5)
SEALED = Sealed(RECORD, STAMP)


def test_what_was_sealed_comes_back() -> None:
    assert unseal(seal(SEALED, SECRET, "farm"), KEY, SECRET, "farm") == SEALED


def test_every_byte_counts() -> None:
    value = seal(SEALED, SECRET, "farm")
    for at in range(len(value)):
        changed = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
        with pytest.raises((ForgedError, RecordCorruptError)):
            unseal(changed, KEY, SECRET, "farm")
        with pytest.raises(RecordCorruptError):
            unseal(value[:at], KEY, SECRET, "farm")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (seal(SEALED, OTHER, "farm"), KEY),
        (seal(SEALED, SECRET, "another farm"), KEY),
        (seal(SEALED, SECRET, "farm"), digest_of(b"another job")),
        (seal(Sealed(replace(RECORD, key=BLOB), STAMP), SECRET, "farm"), KEY),
    ],
)
def test_anothers_value_is_forged(value: bytes, key: Digest) -> None:
    with pytest.raises(ForgedError):
        unseal(value, key, SECRET, "farm")


def test_a_later_format_is_no_value_of_ours() -> None:
    with pytest.raises(RecordCorruptError):
        unseal(b"zcS2" + seal(SEALED, SECRET, "farm")[4:], KEY, SECRET, "farm")


def test_the_name_of_a_farm_tells_secrets_apart_and_none() -> None:
    assert name_of_farm(SECRET) != name_of_farm(OTHER)
    assert SECRET.hex() not in name_of_farm(SECRET)


class World:
    """A store on an engine, and what counts as void."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.void: set[Digest] = set()
        self.stamp: Stamp | None = STAMP
        sealing = Sealing(
            SECRET, "farm", lambda: self.stamp, lambda sealed: sealed.record.key in self.void
        )
        self.store = RemoteStore(self.engine, sealing, 1000)

    def put(self, record: Record = RECORD, frame: bytes = FRAME) -> int:
        return self.store.put_sealed([Sealed(record, STAMP)], {BLOB: frame})


def test_a_store_gives_what_it_was_given() -> None:
    world = World()
    assert world.put() > len(FRAME)
    assert world.store.get_records([KEY, BLOB]) == {KEY: RECORD}
    assert world.store.get_blobs([BLOB, KEY]) == {BLOB: FRAME}
    assert world.store.has_blobs([BLOB, KEY]) == {BLOB}
    world.store.remove_records([KEY])
    world.store.remove_blobs([BLOB])
    assert not world.engine.values


def test_it_is_a_store_as_any() -> None:
    world = World()
    world.store.put_blobs({BLOB: FRAME})
    world.store.put_records([RECORD])
    assert world.store.get_records([KEY]) == {KEY: RECORD}
    assert world.store.maintain() == 0
    world.stamp = None
    with pytest.raises(StoreError):
        world.store.put_records([RECORD])
    with pytest.raises(StoreError):
        world.store.remove_all_records()


def _swap(world: World) -> None:
    other = digest_of(b"other job")
    world.store.put_sealed([Sealed(replace(RECORD, key=other), STAMP)], {BLOB: FRAME})
    names = world.store.record_name(KEY), world.store.record_name(other)
    values = world.engine.values
    values[names[0]] = values[names[1]]


def _edit(world: World) -> None:
    """Another result, by one who knows the format and not the secret."""
    forged = (
        "farm",
        KEY,
        STAMP.mark,
        STAMP.number,
        encode_record(replace(RECORD, body=b"bad")),
    )
    packed = msgpack.packb(forged, use_bin_type=True)
    head = b"zcS1" + len(packed).to_bytes(4, "little")
    name = world.store.record_name(KEY)
    world.engine.values[name] = head + world.engine.values[name][8:40] + packed


def _cut(world: World) -> None:
    name = world.store.record_name(KEY)
    world.engine.values[name] = world.engine.values[name][:-1]


def _void(world: World) -> None:
    world.void.add(KEY)


@pytest.mark.parametrize(
    ("change", "count"),
    [(_swap, "forged"), (_edit, "forged"), (_cut, "damaged"), (_void, "stale")],
)
def test_a_lie_is_a_miss_and_counted(change: Callable[[World], None], count: str) -> None:
    world = World()
    world.put()
    change(world)
    assert world.store.get_records([KEY]) == {}
    assert world.store.counts == {count: 1}


def test_what_is_too_large_for_a_tier_is_left_out_and_counted() -> None:
    world = World()
    assert world.put(frame=b"x" * 1001) == 0
    assert world.store.counts == {"too_large": 1}
    assert not world.engine.values


def test_a_result_of_which_a_blob_lacks_is_left_out() -> None:
    world = World()
    assert world.store.put_sealed([SEALED], {}) == 0
    assert not world.engine.values


def test_the_engine_s_failure_is_a_store_s() -> None:
    world = World()
    world.engine.failure = EngineError("gone")
    with pytest.raises(StoreError):
        world.store.get_records([KEY])
