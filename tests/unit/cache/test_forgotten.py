"""To forget is no wish: what is forgotten is not served, and is removed when the disk lets it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cache import forgotten
from cache.digest import Digest
from cache.errors import StoreError
from cache.forgotten import Forgotten
from cache.index import FILE_NAME
from cache.stores import DiskStore, MemoryStore
from cache.tiers import Resting, Tiers, WriteBehind
from tests.unit.cache.test_results import digest, record
from tests.unit.cache.test_tiers import FRAMES

LIMIT = 1 << 30
KEY = digest("a")
WRONG, RIGHT = record("a", b"one"), record("a")


class Stubborn(MemoryStore):
    """A store that removes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stubborn = True

    def remove_records(self, keys: Iterable[Digest]) -> None:
        if self.is_stubborn:
            raise StoreError("busy")
        super().remove_records(keys)

    def remove_all_records(self) -> None:
        if self.is_stubborn:
            raise StoreError("busy")
        super().remove_all_records()


@contextmanager
def kept(directory: Path) -> Iterator[tuple[Tiers, WriteBehind, DiskStore]]:
    """A store on disk as agent and broker have one."""
    store = DiskStore(str(directory), "s", LIMIT)
    tiers = Tiers([Resting(store)], Forgotten(str(directory), "s"))
    writer = WriteBehind(tiers, maintain_every_s=0.05)
    try:
        yield tiers, writer, store
    finally:
        writer.close()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with kept(tmp_path) as (_, writer, _):
        writer.put(WRONG, FRAMES)
    return tmp_path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.index._BUSY_S", 0.05)


def locked(directory: Path) -> closing[sqlite3.Connection]:
    other = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return closing(other)


def still_there(directory: Path) -> bool:
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        return bool(db.execute("SELECT count(*) FROM results").fetchone()[0])


def test_what_is_forgotten_is_not_served_before_the_writer_comes_to_it() -> None:
    store, go = MemoryStore(), threading.Event()
    store.put_records((WRONG,))
    tiers = Tiers([Resting(store)])
    writer = WriteBehind(tiers)
    writer._writer.put(lambda: go.wait(30), 0)  # a sweep, or a disk that stands still
    writer.forget(KEY)
    assert tiers.get_record(KEY) is None
    go.set()
    writer.close()
    assert store.records == {}


def test_a_locked_file_keeps_nothing_that_is_forgotten(stored: Path) -> None:
    with kept(stored) as (tiers, writer, _):
        assert tiers.get_record(KEY) == WRONG
        with locked(stored):
            writer.forget(KEY)
            writer.wait_written()
            assert tiers.get_record(KEY) is None
        while still_there(stored):  # it is tried again with nothing else to write
            pass
    assert not [name for name in os.listdir(stored) if name.startswith("forgotten")]


def test_what_cannot_be_removed_by_the_end_is_by_the_next_process(stored: Path) -> None:
    with locked(stored), kept(stored) as (_, writer, _):
        writer.forget(KEY)
    assert still_there(stored)
    with kept(stored) as (tiers, writer, _):
        assert tiers.get_record(KEY) is None
        writer.wait_written()
    assert not still_there(stored)
    with kept(stored) as (tiers, _, _):
        assert tiers.get_record(KEY) is None


def test_what_can_be_neither_removed_nor_written_down_costs_the_file(
    stored: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Forgotten, "_write", full)
    with locked(stored), kept(stored) as (_, writer, _):
        writer.forget(KEY)
    assert "forgot all results" in caplog.text
    with kept(stored) as (tiers, _, _):
        assert tiers.get_record(KEY) is None


def test_a_resting_tier_removes() -> None:
    store = Stubborn()
    store.put_records((WRONG,))
    resting = Resting(store)
    resting._wakes_s = float("inf")
    tiers = Tiers([resting])
    writer = WriteBehind(tiers)
    store.is_stubborn = False
    writer.forget(KEY)
    writer.wait_written()
    assert store.records == {}
    writer.close()


def test_a_fresh_result_takes_its_place_once_the_old_one_is_gone() -> None:
    store = Stubborn()
    store.put_records((WRONG,))
    tiers = Tiers([Resting(store)])
    writer = WriteBehind(tiers)
    writer.forget(KEY)
    writer.put(RIGHT, {})
    writer.wait_written()
    assert tiers.get_record(KEY) is None
    store.is_stubborn = False
    writer.put(RIGHT, {})
    writer.wait_written()
    assert tiers.get_record(KEY) == RIGHT
    writer.close()


def test_what_was_given_before_it_was_forgotten_is_not_put() -> None:
    store, go = MemoryStore(), threading.Event()
    tiers = Tiers([Resting(store)])
    writer = WriteBehind(tiers)
    writer._writer.put(lambda: go.wait(30), 0)
    writer.put(WRONG, FRAMES)
    writer.forget(KEY)
    go.set()
    writer.wait_written()
    assert (store.records, tiers.get_record(KEY)) == ({}, None)
    writer.close()


def test_too_many_to_list_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Stubborn()
    store.put_records((WRONG, record("b"), record("c")))
    tiers = Tiers([Resting(store)], Forgotten(limit=1))
    writer = WriteBehind(tiers)
    writer.forget(KEY)
    assert tiers.get_record(digest("c")) is not None
    writer.forget(digest("b"))
    assert tiers.get_record(digest("c")) is None
    store.is_stubborn = False
    writer.close()
    assert store.records == {}
    assert tiers.forgotten.is_empty
    assert forgotten.MAX_FORGOTTEN > 1


ANOTHER = digest("another")


def noted(directory: Path, *keys: Digest) -> Forgotten:
    """A process that could not remove these, and has written that down."""
    of = Forgotten(str(directory), "s")
    for key in keys:
        of.add(key)
    assert of.write_down()
    return of


def test_what_two_processes_have_forgotten_is_known_to_the_next(tmp_path: Path) -> None:
    one, two = Forgotten(str(tmp_path), "s"), Forgotten(str(tmp_path), "s")
    one.add(KEY)
    two.add(ANOTHER)
    assert one.write_down()
    assert two.write_down()
    found = Forgotten(str(tmp_path), "s")
    assert KEY in found
    assert ANOTHER in found
    assert Forgotten(str(tmp_path), "of another space").is_empty
    two.removed((ANOTHER,), two.last)
    assert two.write_down()
    found = Forgotten(str(tmp_path), "s")
    assert KEY in found
    assert ANOTHER not in found


def test_what_another_process_forgets_while_its_list_is_worked_off_stays_forgotten(
    tmp_path: Path,
) -> None:
    first = noted(tmp_path, KEY)
    second = Forgotten(str(tmp_path), "s")
    first.add(ANOTHER)
    assert first.write_down()
    second.removed((KEY,), second.last)
    assert second.write_down()
    assert ANOTHER in Forgotten(str(tmp_path), "s")


def test_what_is_forgotten_once_more_is_written_down_once_more(tmp_path: Path) -> None:
    """Another process may have worked off the first note, and a wrong result have come again since."""
    first = noted(tmp_path, KEY)
    second = Forgotten(str(tmp_path), "s")
    second.removed((KEY,), second.last)
    assert second.write_down()
    assert Forgotten(str(tmp_path), "s").is_empty
    first.removed((KEY,), first.last)
    first.add(KEY)
    assert first.write_down()
    assert KEY in Forgotten(str(tmp_path), "s")


def test_what_an_earlier_version_has_left_is_worked_off(tmp_path: Path) -> None:
    noted(tmp_path, KEY)
    (path,) = tmp_path.glob("forgotten.*")
    earlier = tmp_path / path.name.rpartition(".")[0]
    path.rename(earlier)
    found = Forgotten(str(tmp_path), "s")
    assert KEY in found
    # It may be there still, and write once more what it has to forget.
    earlier.write_bytes(ANOTHER)
    found.removed((KEY,), found.last)
    assert found.write_down()
    assert ANOTHER in Forgotten(str(tmp_path), "s")


def test_what_was_being_written_when_its_process_ended_is_no_list(tmp_path: Path) -> None:
    noted(tmp_path, KEY)
    (path,) = tmp_path.glob("forgotten.*")
    path.rename(f"{path}.new")
    assert Forgotten(str(tmp_path), "s").is_empty
    assert not list(tmp_path.glob("forgotten.*"))


@pytest.mark.parametrize("content", [b"", KEY[:-1], KEY + b"x"])
def test_a_list_that_is_cut_short_is_of_everything(tmp_path: Path, content: bytes) -> None:
    noted(tmp_path, KEY)
    (path,) = tmp_path.glob("forgotten.*")
    path.write_bytes(content)
    assert ANOTHER in Forgotten(str(tmp_path), "s")


def test_where_no_list_can_be_looked_for_nothing_that_is_stored_is_served(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.write_bytes(b"no directory")
    assert KEY in Forgotten(str(directory), "s")
    directory.unlink()
    assert KEY not in Forgotten(str(directory), "s")


def test_where_the_list_cannot_be_read_nothing_that_is_stored_is_served(tmp_path: Path) -> None:
    left = Forgotten(str(tmp_path), "s")
    left.add(KEY)
    assert left.write_down()
    (path,) = tmp_path.glob("forgotten.*")
    path.unlink()
    path.mkdir()  # as unreadable for root as for anybody
    found = Forgotten(str(tmp_path), "s")
    assert KEY in found
    assert ANOTHER in found
    assert found.due(found.last) is None
    path.rmdir()
    path.write_bytes(KEY)
    found.removed(None, found.last)
    assert found.write_down()
    assert not path.exists()
