"""ccache's values on disk: whole or not at all, within a limit, whatever happens to the files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.errors import BlobCorruptError, StoreError
from cache.eviction import BLOCK_BYTES
from cache.values import MAX_VALUE_BYTES, ValueStore, purge_written, writers_in

KEY = bytes(range(20))


def open_store(path: Path, limit_bytes: int = 1 << 20) -> ValueStore:
    return ValueStore(str(path / "values"), limit_bytes)


def put(store: ValueStore, key: bytes, data: bytes) -> None:
    arrival = store.arrival(key, len(data))
    arrival.feed(data[:3])
    arrival.feed(data[3:])
    arrival.finish(digest_of(data))


def get(store: ValueStore, key: bytes) -> bytes | None:
    value = store.open(key)
    if value is None:
        return None
    try:
        data = value.read(0, value.size_bytes + 1)
        assert len(data) == value.size_bytes
        assert digest_of(data) == value.digest
        return data
    finally:
        value.close()


def files(path: Path) -> list[Path]:
    return [each for each in (path / "values").rglob("*") if each.is_file()]


def test_a_value_comes_back_and_outlives_its_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert get(store, KEY) is None
    put(store, KEY, b"a value")
    assert get(store, KEY) == b"a value"
    assert get(open_store(tmp_path), KEY) == b"a value"


def test_a_second_value_takes_the_first_ones_place(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, KEY, b"first")
    reading = store.open(KEY)
    assert reading is not None
    put(store, KEY, b"second")
    assert reading.read(0, 99) == b"first"
    reading.close()
    assert get(store, KEY) == b"second"
    assert len(files(tmp_path)) == 1


def test_a_removed_value_is_gone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, KEY, b"a value")
    assert store.remove(KEY)
    assert not store.remove(KEY)
    assert not store.has(KEY)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    arrival = store.arrival(KEY, 10)
    arrival.feed(b"half")
    with pytest.raises(BlobCorruptError):
        arrival.finish()
    arrival = store.arrival(KEY, 10)
    with pytest.raises(StoreError):
        arrival.feed(b"more than ten bytes")
    arrival = store.arrival(KEY, 4)
    arrival.feed(b"data")
    with pytest.raises(BlobCorruptError):
        arrival.finish(digest_of(b"other"))
    store.arrival(KEY, 4).drop()
    assert store.arriving_bytes == 0
    assert files(tmp_path) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    arrival = open_store(tmp_path).arrival(KEY, 4)
    arrival.feed(b"lost")
    assert len(files(tmp_path)) == 1
    assert get(open_store(tmp_path), KEY) is None
    assert files(tmp_path) == []
    arrival.drop()


@pytest.mark.parametrize("size_bytes", [0, MAX_VALUE_BYTES + 1, 501])
def test_a_size_that_cannot_be_stored_is_refused_at_once(tmp_path: Path, size_bytes: int) -> None:
    with pytest.raises(StoreError):
        open_store(tmp_path, limit_bytes=1000).arrival(KEY, size_bytes)


def test_whatever_writers_have_under_way_another_one_finds_room(tmp_path: Path) -> None:
    """What counts is what has come, and of one writer's no more than is left for others."""
    store = open_store(tmp_path, limit_bytes=1000)
    begun = [
        store.arrival(bytes([number]) * 20, 500, f"writer{number % 4}") for number in range(40)
    ]
    assert store.arriving_bytes == 0
    for arrival, size_bytes in zip(begun, (500, 250, 120, 60), strict=False):
        arrival.feed(bytes(size_bytes))
    for arrival in begun[4:8]:
        with pytest.raises(StoreError):
            arrival.feed(bytes(50))
    last = store.arrival(KEY, 10, "another")
    last.feed(bytes(10))
    last.finish()
    assert store.has(KEY)
    for arrival in begun:
        arrival.drop()
    assert store.arriving_bytes == 0
    assert not store._arriving


def test_what_one_writer_has_stored_can_be_removed_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    writers = ("a" * 40, "a" * 39 + "b", "cafe12345678", "")
    for number, writer in enumerate(writers):
        arrival = store.arrival(bytes([number]) * 20, 4, writer)
        arrival.feed(b"data")
        arrival.finish()
    assert purge_written(store.directory, "") == 0
    assert purge_written(store.directory, "b") == 0
    assert purge_written(store.directory, "a" * 40) == 1
    assert purge_written(store.directory, "cafe1234") == 0
    assert writers_in(store.directory) == {"a" * 39 + "b": 1, "cafe12345678": 1}
    assert purge_written(store.directory, "cafe12345678") == 1
    left = [get(store, bytes([number]) * 20) for number in range(4)]
    assert left == [None, b"data", None, b"data"]


@pytest.mark.parametrize("damage", [b"", b"zccval2\n", b"zccval2\n" + bytes(72), b"x" * 100])
def test_a_damaged_file_is_a_miss_and_goes(tmp_path: Path, damage: bytes) -> None:
    store = open_store(tmp_path)
    put(store, KEY, b"a value")
    files(tmp_path)[0].write_bytes(damage)
    assert store.open(KEY) is None
    assert files(tmp_path) == []


def test_the_least_recently_used_go_beyond_the_limit(tmp_path: Path) -> None:
    store = open_store(tmp_path, limit_bytes=10 * BLOCK_BYTES)
    keys = [bytes([number]) * 20 for number in range(12)]
    for age, key in enumerate(keys):
        put(store, key, os.urandom(920))
        path = tmp_path / "values" / key.hex()[:2] / key.hex()[2:]
        os.utime(path, (1_000_000 + age, 1_000_000 + age))
    assert get(store, keys[0]) is not None  # used: it is the youngest now
    assert store.needs_maintenance
    assert store.maintain() == 3
    assert [store.has(key) for key in keys[:5]] == [True, False, False, False, True]
    assert not store.needs_maintenance
    put(store, KEY, os.urandom(920))
    put(store, KEY[::-1], os.urandom(920))
    assert store.needs_maintenance


def test_the_limit_counts_what_the_disk_gives_up(tmp_path: Path) -> None:
    store = open_store(tmp_path, limit_bytes=100 * BLOCK_BYTES)
    store.maintain()
    for number in range(150):
        put(store, number.to_bytes(20, "big"), b"x" * (1 + number * 40))
    for number in range(20):
        store.remove(number.to_bytes(20, "big"))
        put(store, (149 - number).to_bytes(20, "big"), b"small now")
    du = [
        "du",
        "--summarize",
        "--block-size=1",
        "--",
        *map(str, (tmp_path / "values").glob("??/*")),
    ]
    rows = subprocess.run(du, capture_output=True, check=True).stdout.splitlines()
    assert store._size_bytes == sum(int(row.split()[0]) for row in rows)
    assert store.maintain() > 0
    assert len(files(tmp_path)) <= 100


def test_a_directory_among_the_arrivals_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "values" / "tmp" / "somebodys").mkdir(parents=True)
    (tmp_path / "values" / "tmp" / "left").write_bytes(b"half")
    store = open_store(tmp_path)
    put(store, KEY, b"a value")
    assert get(store, KEY) == b"a value"
    assert [each.name for each in files(tmp_path)] == [KEY.hex()[2:]]


def test_a_file_in_the_directorys_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "values").write_text("")
    with pytest.raises(StoreError):
        open_store(tmp_path)
