"""Records, the index, and the stores: whatever happens to a file, it is a miss and never another result."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.database import open_database, remove_database
from cache.digest import Digest, digest_of
from cache.errors import RecordCorruptError, StoreError
from cache.frame import compress, decompress
from cache.index import ROW_BYTES, ResultIndex
from cache.record import Record, Source, decode_record, encode_record
from cache.selection import Selection
from cache.stores import RECORDS_SHARE, DiskStore, MemoryStore, Store

LIMIT = 1 << 20


_Opened = TypeVar("_Opened", ResultIndex, DiskStore)
_kept: list[ResultIndex | DiskStore] = []


def kept(opened: _Opened) -> _Opened:
    """The same, to be closed when the test ends: what is dropped while it is open is a warning from 3.13 on."""
    _kept.append(opened)
    return opened


@pytest.fixture(autouse=True)
def all_are_closed() -> Iterator[None]:
    yield
    while _kept:
        _kept.pop().close()


def digest(name: str) -> Digest:
    return digest_of(name.encode())


def record(
    name: str, *contents: bytes, user: str = "u", node: str = "n", size: int = 100
) -> Record:
    source = Source(digest("gcc"), node, f"key of {node}", user)
    blobs = tuple(map(digest_of, contents))
    return Record(digest(name), b"body of " + name.encode(), blobs, size, source, 1000.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


# --- records ---------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was() -> None:
    made = record("a", b"one", b"two")
    assert decode_record(encode_record(made), made.key) == made


@given(st.data())
def test_a_record_with_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    encoded = bytearray(encode_record(record("a", b"one")))
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordCorruptError):
        decode_record(bytes(encoded), digest("a"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    with pytest.raises(RecordCorruptError):
        decode_record(digest_of(data) + data, digest("a"))


def test_a_record_under_another_key_is_refused() -> None:
    with pytest.raises(RecordCorruptError):
        decode_record(encode_record(record("a")), digest("b"))


# --- the index -------------------------------------------------------------------------------


def test_the_index_finds_what_waits_and_what_was_written(tmp_path: Path) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("a"))
    assert index.get(digest("a")) == record("a")
    index.flush()
    assert index.get(digest("a")) == record("a")
    assert index.get(digest("b")) is None
    index.close()
    assert kept(ResultIndex(str(tmp_path), "farm")).get(digest("a")) == record("a")


def test_spaces_do_not_meet(tmp_path: Path) -> None:
    one, other = kept(ResultIndex(str(tmp_path), "one")), kept(ResultIndex(str(tmp_path), "other"))
    one.put(record("a"))
    one.flush()
    assert other.get(digest("a")) is None
    assert other.remove(other.keys()) == 0
    assert one.get(digest("a")) == record("a")


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.unit.cache.test_results import *\n"
        "index = ResultIndex(sys.argv[1], 'farm')\n"
        "for at in range(200):\n    index.put(record(f'{sys.argv[2]}{at}')); index.flush()\n"
        "assert index.faults == 0"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "ab"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert kept(ResultIndex(str(tmp_path), "farm")).count() == 400


def test_who_looks_up_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("a"))
    index.flush()
    index.put(record("b"))
    other = sqlite3.connect(index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # what this process writes has to wait for it
    flush = Thread(target=index.flush)
    flush.start()
    for _ in range(1000):
        assert index.get(digest("a")) == record("a")
        assert index.get(digest("b")) == record("b")
        assert index.get(digest("c")) is None
    assert flush.is_alive(), "it waits, and nobody waited for it"
    other.execute("ROLLBACK")
    flush.join()
    assert index.faults == 0
    assert kept(ResultIndex(str(tmp_path), "farm")).get(digest("b")) == record("b")
    index.close()
    other.close()


def open_together(directory: str, barrier: Barrier) -> None:
    schema = "CREATE TABLE IF NOT EXISTS words (word TEXT);"
    for number in range(100):
        barrier.wait(60)
        open_database(f"{directory}/{number}", schema, 1, busy_s=20).close()


def test_a_new_file_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    context = get_context("spawn")
    arguments = (str(tmp_path), context.Barrier(3))
    openers = [context.Process(target=open_together, args=arguments) for _ in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0, 0, 0]


def test_a_purge_takes_what_matches_and_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    index = kept(ResultIndex(str(tmp_path), "farm", clock))
    index.put(record("a", node="n1", user="u1"))
    index.put(record("b", node="n2", user="u1"))
    index.flush()
    clock.now += 3600
    index.put(replace(record("c", node="n1", user="u2"), made_s=2000.0))
    selections: tuple[tuple[Selection, set[str]], ...] = (
        (Selection(used_before_s=clock.now - 60), {"a", "b"}),
        (Selection(made_before_s=1500), {"a", "b"}),
        (Selection(node="n1"), {"a", "c"}),
        (Selection(node_key="key of n2"), {"b"}),
        (Selection(user="u1", node="n1"), {"a"}),
        (Selection(toolchain_prefix=digest("gcc")[:3]), {"a", "b", "c"}),
        (Selection(toolchain_prefix=b"\0\0\0\0"), set()),
        (Selection(key_prefix=digest("b")[:5]), {"b"}),
    )
    for selection, names in selections:
        assert set(index.keys(selection)) == set(map(digest, names)), selection
    assert index.remove(index.keys(Selection(node="n1"))) == 2
    assert index.keys() == [digest("b")]


def test_the_least_recently_used_are_trimmed(tmp_path: Path) -> None:
    clock = Clock()
    index = kept(ResultIndex(str(tmp_path), "farm", clock))
    for name in "abc":
        index.put(record(name, size=100))
        index.flush()
        clock.now += 3600
    assert index.get(digest("a")) is not None  # used just now
    assert index.trim(int(2.5 * (len(encode_record(record("a"))) + ROW_BYTES))) == 1
    assert set(index.keys()) == {digest("a"), digest("c")}


def bulky(name: str, body_bytes: int = 100_000) -> Record:
    return replace(record(name), body=os.urandom(body_bytes))


def test_rows_count_as_what_they_take_and_are_given_back(tmp_path: Path) -> None:
    """A compiler's messages lie in the record: megabytes of them are no row like any other."""
    index = kept(ResultIndex(str(tmp_path), "farm"))
    for at in range(60):
        index.put(bulky(f"r{at}"))
        index.flush()
    assert index.size_bytes > 6_000_000
    assert index.trim(1_000_000) > 50
    assert index.count() >= 8
    assert index.get(digest("r59")) is not None
    assert index.size_bytes < 1_500_000


def test_a_trim_at_the_limit_walks_through_the_rows_once_in_a_tenth_of_them(tmp_path: Path) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    limit = 40 * (len(encode_record(bulky("x", 1000))) + ROW_BYTES)
    said: list[str] = []
    walks = []
    for at in range(100):
        index.put(bulky(f"r{at}", 1000))
        index.flush()
        said.clear()
        index._connect().set_trace_callback(said.append)
        index.trim(limit)
        index._connect().set_trace_callback(None)
        walks.append(any("length(record)" in query for query in said))
    assert index.count() <= 40
    assert sum(walks[50:]) <= 2 * 50 / 4


def test_what_another_process_forgets_is_room(tmp_path: Path) -> None:
    index, other = (kept(ResultIndex(str(tmp_path), "farm")) for _ in range(2))
    limit = 20 * (len(encode_record(bulky("x", 1000))) + ROW_BYTES)
    for at in range(20):
        index.put(bulky(f"r{at}", 1000))
        assert index.trim(limit) == 0
    other.remove(other.keys())
    for at in range(20):
        index.put(bulky(f"s{at}", 1000))
        assert index.trim(limit) == 0


def test_a_quota_trims_one_user_only(tmp_path: Path) -> None:
    store = kept(DiskStore(str(tmp_path), "farm", LIMIT, quota_bytes=250))
    for at in range(4):
        store.put_records((record(f"greedy {at}", user="greedy"),))
    store.put_records((record("modest", user="modest"),))
    assert store.maintain() == 2
    assert [row[:2] for row in store.index.by_label("user")] == [("greedy", 2), ("modest", 1)]


def test_a_result_that_is_larger_than_a_quota_goes_and_no_other_goes_for_it(tmp_path: Path) -> None:
    store = kept(DiskStore(str(tmp_path), "farm", LIMIT, quota_bytes=1000))
    for at in range(8):
        store.put_records((record(f"r{at}"),))
        store.index.flush()
    store.put_records((record("all of it", size=1 << 30),))
    assert store.maintain() == 1
    assert set(store.index.keys()) == {digest(f"r{at}") for at in range(8)}


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _scribble(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [_empty, _scribble, _cut, os.unlink])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    for at in range(100):
        index.put(record(f"r{at}"))
    index.close()
    damage(tmp_path / "results.sqlite")
    index = kept(ResultIndex(str(tmp_path), "farm"))
    assert index.get(digest("r1")) in (None, record("r1"))
    index.put(record("new"))
    index.flush()
    index.put(record("newer"))
    index.flush()
    assert index.get(digest("newer")) == record("newer")


def test_a_rotten_record_is_dropped_and_counted(tmp_path: Path) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("a"))
    index.close()
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as db, db:
        (encoded,) = db.execute("SELECT record FROM results").fetchone()
        db.execute("UPDATE results SET record = ?", (encoded[:-1] + b"\xff",))
    index = kept(ResultIndex(str(tmp_path), "farm"))
    assert index.get(digest("a")) is None
    assert (index.faults, index.count()) == (1, 0)


@pytest.mark.parametrize("is_asked", [True, False], ids=["looked up", "written"])
def test_what_lies_in_another_file_of_the_same_name_is_not_served(
    tmp_path: Path, is_asked: bool
) -> None:
    """Another process made it, or it was put back from a copy: what was removed from the one that was here
    may be in that."""
    before, here = tmp_path / "before", tmp_path / "here"
    with closing(ResultIndex(str(before), "farm")) as old:
        old.put(record("a"))
    index = kept(ResultIndex(str(here), "farm"))
    index.put(record("a"))
    index.flush()
    assert index.get(digest("a")) == record("a")
    index.remove([digest("a")])
    for ending in ("-wal", "-shm"):
        (here / f"results.sqlite{ending}").unlink()
    os.replace(before / "results.sqlite", here / "results.sqlite")
    if not is_asked:
        index.put(record("b"))
        index.flush()
    assert index.get(digest("a")) is None
    index.put(record("b"))
    index.flush()
    with closing(ResultIndex(str(here), "farm")) as new:
        assert new.keys() == [digest("b")]


def test_a_file_that_another_process_has_removed_is_not_looked_into(tmp_path: Path) -> None:
    """So are results forgotten where a disk takes no single removal."""
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("a"))
    index.flush()
    remove_database(index.path)
    assert index.get(digest("a")) is None


def test_keys_that_have_to_be_known_are_no_empty_list_where_the_file_refuses(
    tmp_path: Path,
) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("a"))
    assert index.keys_surely(Selection(node="n")) == [digest("a")]
    index.close()
    remove_database(index.path)
    Path(index.path).mkdir()
    assert index.keys(Selection(node="n")) == []
    with pytest.raises(StoreError):
        index.keys_surely(Selection(node="n"))


def test_a_full_disk_costs_what_was_to_be_remembered(tmp_path: Path) -> None:
    index = kept(ResultIndex(str(tmp_path), "farm"))
    index.put(record("old"))
    index.flush()
    assert index._db is not None
    index._db.execute("PRAGMA max_page_count=1")  # SQLITE_FULL at the next page
    for at in range(300):
        index.put(record(f"r{at}"))
    index.flush()
    assert index.faults > 0
    assert index.get(digest("old")) == record("old")
    assert index.get(digest("r1")) is None


def test_a_killed_writer_leaves_a_sound_file(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.unit.cache.test_results import *\n"
        "store = DiskStore(sys.argv[1], 'farm', 1 << 30); at = 0\n"
        "while True:\n"
        "    content = b'%d' % at * 1000\n"
        "    store.put_blobs({digest_of(content): compress(content)})\n"
        "    store.put_records((record(f'r{at}', content),)); store.maintain(); at += 1\n"
        "    print(at, flush=True)"
    )
    for _ in range(10):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(5):
                writer.stdout.readline()
            writer.kill()
        store = kept(DiskStore(str(tmp_path), "farm", 1 << 30))
        found = list(store.index.records())
        assert len(found) >= 5
        assert store.index.faults == 0
        for each in found:
            frames = store.get_blobs(each.blobs)
            assert [digest_of(decompress(frames[blob], LIMIT)) for blob in each.blobs] == [
                *each.blobs
            ]
        store.close()


# --- the stores ------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return kept(DiskStore(str(tmp_path), "farm", LIMIT))


def test_a_store_gives_back_what_it_took_and_leaves_out_the_rest(store: Store) -> None:
    one, two = digest_of(b"one"), digest_of(b"two")
    store.put_blobs({one: compress(b"one")})
    store.put_records((record("a", b"one"), record("b")))
    assert store.get_records((digest("a"), digest("c"))) == {digest("a"): record("a", b"one")}
    assert store.has_blobs((one, two)) == {one}
    assert {key: decompress(frame, 9) for key, frame in store.get_blobs((one, two)).items()} == {
        one: b"one"
    }
    store.remove_records((digest("a"), digest("c")))
    store.remove_blobs((one, two))
    assert store.get_records((digest("a"), digest("b"))) == {digest("b"): record("b")}
    assert store.has_blobs((one,)) == set()
    store.close()


def test_a_disk_store_stays_within_its_limit(tmp_path: Path) -> None:
    limit = 200_000
    store = kept(DiskStore(str(tmp_path), "farm", limit))
    for at in range(40):
        content = os.urandom(10_000)
        store.put_blobs({digest_of(content): compress(content)})
        store.put_records((record(f"r{at}", content),))
    assert store.maintain() > 0
    assert store.blobs.size_bytes <= limit
    assert store.index.count() <= RECORDS_SHARE * limit / ROW_BYTES
    last = digest_of(content)
    assert store.has_blobs((last,)) == {last}


def test_records_and_blobs_are_within_a_stores_limit_together(tmp_path: Path) -> None:
    limit = 20 << 20
    store = kept(DiskStore(str(tmp_path), "farm", limit))
    for at in range(60):
        content = os.urandom(500_000)
        store.put_blobs({digest_of(content): compress(content)})
        store.put_records((bulky(f"r{at}"),))
        if at % 10 == 9:
            store.maintain()
            assert store.index.size_bytes + store.blobs.size_bytes <= limit
    assert store.index.get(digest("r59")) is not None


def test_opening_a_file_once_more_leaves_this_processs_locks_on_it(tmp_path: Path) -> None:
    """To close any descriptor of a file ends a process's locks on it: another process, when it leaves, would
    then take away the log that holds what was written."""
    index = kept(ResultIndex(str(tmp_path), "s"))
    index.put(record("a"))
    index.flush()
    leaving = "db = sqlite3.connect(sys.argv[1]); db.execute('SELECT key FROM results').fetchall(); db.close()"
    subprocess.run(
        [sys.executable, "-c", f"import sqlite3, sys; {leaving}", index.path], check=True
    )
    assert os.path.exists(index.path + "-wal")
    index.put(record("b"))
    index.flush()
    assert sorted(kept(ResultIndex(str(tmp_path), "s")).keys()) == sorted(
        (digest("a"), digest("b"))
    )
