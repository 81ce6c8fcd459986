"""The background writer: a task that fails is its own loss, a thread that ends is replaced, nobody hangs."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.frame import compress
from cache.index import FILE_NAME
from cache.record import Record
from cache.stores import DiskStore, MemoryStore
from cache.tiers import Resting, Tiers, WriteBehind
from cache.writer import Upkeep, Writer
from tests.unit.cache.test_results import LIMIT, digest, record
from zcc.agent.history.database import Notebook
from zcc.agent.history.database import reading as reading_notebook

Task = Callable[[], None]
FRAMES = {digest_of(b"one"): compress(b"one")}


def run(tasks: list[Task]) -> None:
    for task in tasks:
        task()


def fails() -> None:
    raise OverflowError("Python int too large to convert to SQLite INTEGER")


def stand_still(go: threading.Event) -> None:
    assert go.wait(30)


def ends_the_thread() -> None:
    raise SystemExit


def test_a_task_that_fails_is_logged_counted_and_the_only_one_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []
    writer = Writer[Task]("writer", run, 10)
    for task in (lambda: done.append(1), fails, lambda: done.append(2)):
        assert writer.put(task)
    assert writer.wait_done()
    assert done == [1, 2]
    assert (writer.failed, writer.deaths) == (1, 0)
    assert "OverflowError" in caplog.text
    assert "Traceback" in caplog.text
    assert writer.close()


def test_of_many_tasks_those_that_find_no_room_are_dropped() -> None:
    done: list[int] = []
    writer = Writer[Task]("writer", run, 3)
    tasks = [(lambda at=at: done.append(at), size) for at, size in enumerate((1, 3, 2, 1))]
    assert writer.put_all(tasks) == [True, False, True, False]
    assert writer.wait_done()
    assert done == [0, 2]
    assert writer.dropped == 2
    assert writer.put_all([]) == []
    assert writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_an_error_and_another_takes_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []
    writer = Writer[Task]("writer", run, 10)
    writer.put(ends_the_thread)
    assert writer.wait_done()
    thread = writer._thread
    assert thread is not None
    thread.join(30)
    writer.put(lambda: done.append(1))
    assert writer.wait_done()
    assert (done, writer.deaths, writer.faults) == ([1], 1, 1)
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_waits_when_the_thread_ends_is_written_before_it_is_closed() -> None:
    done: list[int] = []
    go = threading.Event()
    writer = Writer[Task]("writer", run, 10)
    writer.put(lambda: done.append(int(go.wait(30))))
    writer.put(ends_the_thread)
    writer.put(lambda: done.append(2))
    go.set()
    assert writer.wait_done()
    assert writer.close()
    assert done == [1, 2]


def test_a_batch_in_which_one_fails_is_done_one_by_one() -> None:
    done: list[str] = []
    go = threading.Event()

    def write(words: list[str]) -> None:
        assert go.wait(30)
        if "bad" in words:
            raise ValueError(words)
        done.extend(words)

    writer = Writer[str]("writer", write, 10, most_at_once=10)
    for word in ("first", "a", "bad", "b"):
        writer.put(word)
    go.set()
    assert writer.wait_done()
    assert done == ["first", "a", "b"]
    assert writer.failed == 1
    assert writer.close()


def test_closing_leaves_a_writer_behind_whose_disk_stands_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go = threading.Event()
    writer = Writer[Task]("writer", run, 10)
    writer.put(lambda: stand_still(go))
    assert not writer.wait_done(patience_s=0.01)
    assert not writer.close(patience_s=0.01)
    assert "1 pieces of writing are lost" in caplog.text
    assert not writer.put(lambda: None)
    go.set()
    assert writer.close()


def test_upkeep_that_fails_is_counted_and_done_again() -> None:
    rounds: list[int] = []
    is_done = threading.Event()

    def tidy() -> bool:
        rounds.append(1)
        if len(rounds) == 1:
            raise OSError("disk")
        is_done.set()
        return False

    writer = Writer[Task]("writer", run, 10, upkeep=Upkeep(tidy, 0.001))
    while not is_done.wait(0.01):
        writer.put(lambda: None)
    assert writer.failed == 1
    assert writer.close()


# --- the cache's ----------------------------------------------------------------------------


class WrongStore(MemoryStore):
    """A store with a mistake in it."""

    def put_records(self, records: Iterable[Record]) -> None:
        raise OverflowError


def test_a_store_with_a_mistake_costs_what_it_was_given() -> None:
    writer = WriteBehind(Tiers([Resting(WrongStore())]))
    assert writer.put(record("a", b"one"), FRAMES)
    assert writer.put(record("b", b"one"), FRAMES)
    assert writer.wait_written()
    assert writer.faults == 2
    writer.close()


def test_a_result_of_an_absurd_size_costs_no_other(tmp_path: Path) -> None:
    writer = WriteBehind(Tiers([Resting(DiskStore(str(tmp_path), "s", LIMIT))]))
    writer.put(record("a", b"one"), FRAMES)
    writer.put(replace(record("b", b"one"), size_bytes=(1 << 64) - 1), FRAMES)
    writer.put(record("c", b"one"), FRAMES)
    assert writer.wait_written()
    writer.close()
    store = DiskStore(str(tmp_path), "s", LIMIT)
    assert set(store.index.keys()) == {digest("a"), digest("c")}
    store.close()


def test_a_database_that_is_truncated_under_the_writer_costs_what_it_held(tmp_path: Path) -> None:
    store = DiskStore(str(tmp_path), "s", LIMIT)
    writer = WriteBehind(Tiers([Resting(store)]))
    writer.put(record("before", b"one"), FRAMES)
    assert writer.wait_written()
    store.index.flush()
    # Not the -shm: that is mapped, and SQLite (any program) dies of a mapping whose file is cut.
    os.truncate(tmp_path / FILE_NAME, 100)
    os.truncate(tmp_path / (FILE_NAME + "-wal"), 0)
    writer.put(record("lost", b"one"), FRAMES)
    assert writer.wait_written()
    store.index.flush()
    writer.put(record("after", b"one"), FRAMES)
    assert writer.wait_written()
    assert writer.faults == 0
    writer.close()
    # Whatever of it is found now is right, and what is remembered from now on stays.
    with closing(DiskStore(str(tmp_path), "s", LIMIT)) as again:
        for name in ("before", "lost", "after"):
            assert again.index.get(digest(name)) in (None, record(name, b"one"))
        again.put_records((record("new", b"one"),))
        again.maintain()
    with closing(DiskStore(str(tmp_path), "s", LIMIT)) as again:
        assert again.index.get(digest("new")) == record("new", b"one")


# --- the notebook's -------------------------------------------------------------------------


def note(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO builds (project, begun, active) VALUES (x'61', 1.0, 2.0)")


def note_wrongly(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO builds VALUES (?, x'61', 1.0, 2.0)", (1 << 64,))


def builds_in(path: str) -> int:
    with reading_notebook(path) as db:
        assert db is not None
        (count,) = db.execute("SELECT count(*) FROM builds").fetchone()
    return int(count)


def test_a_note_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    notebook = Notebook(str(tmp_path / "history.sqlite"))
    for work in (note, note_wrongly, note):
        notebook.write(work)
    assert notebook.wait_written()
    assert builds_in(notebook.path) == 2
    assert notebook.faults == 1
    notebook.close()


def test_a_notebook_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path) -> None:
    # A directory in the file's place is what a disk refuses on any machine, for root as well.
    path = tmp_path / "history.sqlite"
    path.mkdir()
    notebook = Notebook(str(path))
    notebook.write(note)
    assert notebook.wait_written()
    path.rmdir()
    notebook.write(note)
    assert notebook.wait_written()
    assert builds_in(notebook.path) == 1
    assert notebook.faults == 0
    notebook.close()


# --- what is taken away while it is used ------------------------------------------------------


def test_a_store_that_is_deleted_while_it_is_open_begins_anew(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    with closing(DiskStore(str(directory), "s", LIMIT)) as store:
        writer = WriteBehind(Tiers([Resting(store)]))
        writer.put(record("a", b"one"), FRAMES)
        assert writer.wait_written()
        store.index.flush()
        shutil.rmtree(directory)
        writer.put(record("b", b"one"), FRAMES)
        assert writer.wait_written()
        store.index.flush()
        assert store.blobs.size_bytes > 0
    with closing(DiskStore(str(directory), "s", LIMIT)) as again:
        assert again.index.get(digest("a")) is None
        assert again.index.get(digest("b")) == record("b", b"one")
        assert again.blobs.read(digest_of(b"one")) == b"one"


def test_a_notebook_that_is_deleted_while_it_is_open_begins_anew(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    notebook = Notebook(str(directory / "history.sqlite"))
    notebook.write(note)
    assert notebook.wait_written()
    shutil.rmtree(directory)
    notebook.write(note)
    assert notebook.wait_written()
    assert builds_in(notebook.path) == 1
    notebook.close()
