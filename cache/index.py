"""Which job has which result: records by key, in one SQLite file.

Owns the file and its faults: one that is damaged is put aside and begun anew, and another that takes its place
while it is open is emptied. Must not know what a record's body means, nor whether its blobs are there.

    results (space, key, record, toolchain, node, node_key, user, made, used, size)

`space` keeps apart what must not meet (farms). `record` is as `cache/record.py` defines it and alone is
believed; the other columns are what it is looked for and evicted by. Times are Unix seconds.

SQLite, because several processes read and write at once (an agent that leaves and one that starts, `zcc cache`,
`zcc-broker cache`), and because WAL with `synchronous=NORMAL` survives a kill at any instant. Writes and
last uses are gathered and go down in one transaction at `flush`: what a crash loses is some results.

Who looks a record up never waits for a disk that writes: that goes through a connection of its own, and what is
being written down is found in memory until it is. Where the file refuses, what costs a miss is a warning; a
removal is not: it raises, and who has asked for it tries again.

Locks: `_lock` for the connection that writes and for all that takes long, then `_reading` for the other one,
then `_memory` for what waits; each inside those before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cache.database import (
    Identity,
    identity_of,
    is_damage,
    open_database,
    put_aside,
    remove_database,
)
from cache.digest import Digest
from cache.errors import RecordCorruptError, StoreError
from cache.eviction import LOW_WATER
from cache.record import Record, decode_record, encode_record
from cache.selection import ALL, Selection, conditions

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

FILE_NAME = "results.sqlite"
SCHEMA_VERSION = 1
# A writer waits so long for another process's transaction, which takes milliseconds.
_BUSY_S = 5.0
# Records that wait to be written down: beyond it they are flushed at once.
MAX_PENDING = 512
# What one result's outputs may sum up to; SQLite's integers end at 2^63, and sums of them must fit too.
MAX_SIZE_BYTES = 1 << 48
# What a row takes on disk beside its record: the other columns and the indexes (measured: 310 to 380).
ROW_BYTES = 512
# Of the file, what forgotten records may leave empty: it is filled by the next ones, or given back.
_HOLLOW_SHARE = 0.5
# What waits to be merged into the file is given back beyond this; SQLite merges it at some 4 MiB.
_MAX_WAL_BYTES = 16 << 20
# A last use is written down at most this often: eviction needs no better.
_TOUCH_AFTER_S = 600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    space TEXT NOT NULL,
    key BLOB NOT NULL,
    record BLOB NOT NULL,
    toolchain BLOB NOT NULL,
    node TEXT NOT NULL,
    node_key TEXT NOT NULL,
    user TEXT NOT NULL,
    made REAL NOT NULL,
    used REAL NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) STRICT;
CREATE INDEX IF NOT EXISTS by_use ON results (space, used);
CREATE INDEX IF NOT EXISTS by_user ON results (space, user, used, size);
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """`size_bytes` counts what the results' outputs are uncompressed, each result by itself."""

    results: int
    size_bytes: int


class ResultIndex:
    """The records of one space. Safe to use from several threads and beside other processes.

    With `is_strict` a file that refuses raises StoreError, whatever it is asked: nothing there, and cannot be
    read, are two answers.
    """

    def __init__(
        self,
        directory: str,
        space: str,
        wall_s: Callable[[], float] = time.time,
        *,
        is_strict: bool = False,
    ) -> None:
        self.path = os.path.join(directory, FILE_NAME)
        self.faults = 0  # how often the file refused, or held what it should not
        self.may_keep: Callable[[], bool] = lambda: (
            True
        )  # asked for what waits, when it is written down
        self._space = space
        self._is_strict = is_strict
        self._wall_s = wall_s
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._memory = threading.Lock()
        self._pending: dict[Digest, Record] = {}
        self._flushing: dict[Digest, Record] = {}
        self._touched: dict[Digest, float] = {}
        self._rows_bytes: int | None = None  # of all rows, or more; None: nobody has asked yet
        self._file: Identity | None = None  # which one is open, or was last
        self._db: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        with self._lenient():
            self._connect()

    def close(self) -> None:
        """Write down what waits, and let go of the file."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._let_go()

    # --- one record ---------------------------------------------------------------------------

    def get(self, key: Digest) -> Record | None:
        """The record of this key; None also when the file is out of order."""
        with self._memory:
            found = self._pending.get(key) or self._flushing.get(key)
        if found is not None:
            return found
        row = self._look_up(key)
        if row is None:
            return None
        try:
            record = decode_record(row[0], key)
        except RecordCorruptError as error:
            logger.warning("%s", error)
            self.faults += 1
            self._evict((key,))
            return None
        now = self._wall_s()
        if now - row[1] > _TOUCH_AFTER_S or now < row[1]:
            with self._memory:
                self._touched[key] = now
        return record

    def put(self, record: Record) -> None:
        """Remember this one, in the place of any older one; written down at the next `flush`.

        One whose numbers no row can hold is left out: it would take all others of its flush with it.
        """
        if not 0 <= record.size_bytes <= MAX_SIZE_BYTES:
            logger.error("a record of %d bytes, of %s", record.size_bytes, record.source.node)
            self.faults += 1
            return
        with self._memory:
            self._pending[record.key] = record
            is_full = len(self._pending) >= MAX_PENDING
        if is_full:
            self.flush()

    def remove(self, keys: Iterable[Digest]) -> int:
        """Forget these; how many were written down.

        Raises:
            StoreError: what is written down stays there.
        """
        with self._lock:  # so that nothing is being written down
            rows = [(self._space, key) for key in keys]
            with self._memory:
                for _, key in rows:
                    self._pending.pop(key, None)
            return self._change(lambda db: db.executemany(_REMOVE, rows).rowcount)

    def remove_all(self) -> None:
        """Forget everything: where no row can be removed, with the file, which needs no room on the disk.

        Raises:
            StoreError: it can neither be written nor removed.
        """
        with self._lock:
            with self._memory:
                self._pending.clear()
            try:
                self._change(lambda db: db.execute(_REMOVE_ALL, (self._space,)))
            except StoreError as error:
                self._let_go()
                try:
                    remove_database(self.path)
                except OSError:
                    raise error from None

    def flush(self) -> None:
        """Write down the records and last uses that wait. A file that refuses costs them, `may_keep` the
        records."""
        with self._lock:
            with self._memory:
                if not self._pending and not self._touched:
                    return
                self._flushing, self._pending = self._pending, {}
                touched, self._touched = self._touched, {}
            now = self._wall_s()
            rows = [self._row(record, now) for record in self._flushing.values()]
            added_bytes = sum(len(encoded) + ROW_BYTES for _, _, encoded, *_ in rows)
            uses = [(used_s, self._space, key) for key, used_s in touched.items()]

            def write(db: sqlite3.Connection) -> None:
                db.executemany(_PUT, rows)
                # Asked while nobody else can write: what others remove from now on goes with these rows.
                if rows and not self.may_keep():
                    db.rollback()
                db.executemany(_TOUCH, uses)

            with self._lenient():
                self._change(write)
            if self._rows_bytes is not None:
                self._rows_bytes += added_bytes
            with self._memory:
                self._flushing = {}

    # --- many ---------------------------------------------------------------------------------

    def count(self) -> int:
        """How many records there are (a walk over the smallest index, not over the records)."""
        self.flush()
        query = "SELECT count(*) FROM results WHERE space = ?"
        row: tuple[int] = self._try(lambda db: db.execute(query, (self._space,)).fetchone(), (0,))
        return row[0]

    def totals(self) -> Totals:
        self.flush()
        row = self._try(lambda db: db.execute(_TOTALS, (self._space,)).fetchone(), (0, 0))
        return Totals(*row)

    def records(self, selection: Selection = ALL) -> Iterator[Record]:
        """The records that match, the least recently used first; rotten ones are dropped on the way."""
        for key in self.keys(selection):
            record = self.get(key)
            if record is not None:
                yield record

    def keys(self, selection: Selection = ALL) -> list[Digest]:
        """The keys that match, the least recently used first."""
        none: list[Digest] = []
        with self._lenient():
            return self.keys_surely(selection)
        return none

    def keys_surely(self, selection: Selection) -> list[Digest]:
        """The same for who must not take a file that refuses for an empty one.

        Raises:
            StoreError: it refuses.
        """
        self.flush()
        where, values = conditions(selection)
        query = f"SELECT key FROM results WHERE space = ?{where} ORDER BY used"
        rows = self._ask(lambda db: db.execute(query, (self._space, *values)).fetchall())
        return [Digest(row[0]) for row in rows]

    def latest(self, user: str, count: int) -> list[Digest]:
        """So many keys of this one's results, the most recently used first."""
        self.flush()
        with self._lock:
            rows = self._all(_LATEST, (self._space, user, count))
        return [Digest(row[0]) for row in rows]

    def compact(self) -> None:
        """Give the disk back what forgotten records took; beside another process's work it may not."""
        with contextlib.suppress(StoreError), self._lock:
            self.flush()
            try:
                self._connect().execute("VACUUM")
                self._connect().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.OperationalError as error:
                logger.info("%s is not compacted: %s", self.path, error)

    @property
    def size_bytes(self) -> int:
        """What the file takes on disk, with what is empty in it and what waits to be merged into it."""
        return _length(self.path) + _length(self.path + "-wal")

    def trim(self, limit_bytes: int) -> int:
        """Forget the least recently used until the rows take LOW_WATER of so many bytes on disk, if they take
        more than all; how many went. Rows are only walked through when the limit may have been passed."""
        self.flush()
        with self._lock:
            if self._rows_bytes is None or self._rows_bytes > limit_bytes:
                row = self._try(lambda db: db.execute(_ROWS, (self._space,)).fetchone(), (0, 0))
                self._rows_bytes = row[0] * ROW_BYTES + row[1]
            victims = []
            if self._rows_bytes > limit_bytes:
                victims = self._oldest(self._rows_bytes - int(limit_bytes * LOW_WATER))
                self._evict(victims)
                self._rows_bytes = None
            self._give_back()
        return len(victims)

    def trim_outputs(self, limit_bytes: int, user: str) -> int:
        """A quota: forget results of one user's jobs until the sizes of the others sum to LOW_WATER of it, if
        they sum to more than it; how many went.

        The most recently used stay. One that is too large for what is left of the quota goes, and none for it.
        """
        self.flush()
        with self._lock:
            rows = self._all(_OUTPUTS, (self._space, user))
            if sum(size for _, size in rows) <= limit_bytes:
                return 0
            room_bytes = int(limit_bytes * LOW_WATER)
            victims = []
            for key, size in rows:
                if size > room_bytes:
                    victims.append(Digest(key))
                else:
                    room_bytes -= size
            self._evict(victims)
        return len(victims)

    def by_label(self, column: str) -> list[tuple[str, int, int]]:
        """(label, results, bytes) for `node`, `node_key` or `user`, the largest first."""
        assert column in ("node", "node_key", "user")
        self.flush()
        query = (
            f"SELECT {column}, count(*), sum(size) FROM results WHERE space = ?"
            f" GROUP BY {column} ORDER BY sum(size) DESC"
        )
        with self._lock:
            return self._all(query, (self._space,))

    def _oldest(self, rows_bytes: int) -> list[Digest]:
        """The least recently used whose rows take at least so much."""

        def choose(db: sqlite3.Connection) -> list[Digest]:
            chosen, left = [], rows_bytes
            with contextlib.closing(db.execute(_OLDEST, (self._space,))) as rows:
                for key, length in rows:
                    if left <= 0:
                        break
                    left -= length + ROW_BYTES
                    chosen.append(Digest(key))
            return chosen

        none: list[Digest] = []
        return self._try(choose, none)

    def _give_back(self) -> None:
        """Give the disk back what is mostly empty; another process may be in the way, for now."""

        def is_hollow(db: sqlite3.Connection) -> bool:
            ((pages,),) = db.execute("PRAGMA page_count")
            ((free,),) = db.execute("PRAGMA freelist_count")
            return bool(free > pages * _HOLLOW_SHARE)

        if self._try(is_hollow, False):
            self.compact()
        elif _length(self.path + "-wal") > _MAX_WAL_BYTES:
            self._try(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone(), None)

    # --- the file -----------------------------------------------------------------------------

    def _row(self, record: Record, now: float) -> tuple[Any, ...]:
        source = record.source
        return (
            self._space,
            record.key,
            encode_record(record),
            source.toolchain,
            source.node,
            source.node_key,
            source.user,
            record.made_s,
            now,
            record.size_bytes,
        )

    def _connect(self) -> sqlite3.Connection:
        """The open file.

        Raises:
            StoreError: it cannot be opened; the next call tries again.
        """
        found = identity_of(self.path)
        if self._db is not None and found == self._file:
            return self._db
        # Whoever cleans up may have taken the file away: what is written there is written to nowhere.
        self._let_go()
        is_another = None not in (found, self._file) and found != self._file
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside(error)
                self._db, found = self._open(), None
            if is_another:  # what was removed from the one that was here may be in it
                with self._db:
                    self._db.execute(_REMOVE_ALL, (self._space,))
            self._file = found or identity_of(self.path)
            with self._reading:
                self._reader = self._open()
        except (OSError, sqlite3.Error) as error:
            self.faults += 1
            self._let_go()
            raise StoreError(f"cannot open {self.path}: {error}") from error
        return self._db

    def _open(self) -> sqlite3.Connection:
        return open_database(self.path, _SCHEMA, SCHEMA_VERSION, _BUSY_S)

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _put_aside(self, error: sqlite3.Error) -> None:
        """The file is no database any more: begin a new one beside it."""
        logger.warning("%s is damaged (%s): beginning a new one", self.path, error)
        self.faults += 1
        self._let_go()
        put_aside(self.path)

    def _look_up(self, key: Digest) -> tuple[bytes, float] | None:
        """A record's bytes and last use, without waiting for who writes."""
        with self._reading:
            if self._reader is not None and identity_of(self.path) == self._file:
                with contextlib.suppress(sqlite3.Error):
                    return self._found(self._reader, key)
        # Not open, not the same, or not in order: who writes sees to that, and counts it.
        return self._try(lambda db: self._found(db, key), None)

    def _found(self, db: sqlite3.Connection, key: Digest) -> tuple[bytes, float] | None:
        row: tuple[bytes, float] | None = db.execute(_GET, (self._space, key)).fetchone()
        return row

    def _all(self, query: str, values: Sequence[object]) -> list[Any]:
        none: list[Any] = []
        return self._try(lambda db: db.execute(query, values).fetchall(), none)

    def _evict(self, keys: Iterable[Digest]) -> None:
        """Remove what only takes room: it may stay as well."""
        with self._lenient():
            self.remove(keys)

    @contextlib.contextmanager
    def _lenient(self) -> Iterator[None]:
        """What the file refuses in here is passed over, unless the index is strict."""
        try:
            yield
        except StoreError:
            if self._is_strict:
                raise

    def _try(self, work: Callable[[sqlite3.Connection], _Answer], otherwise: _Answer) -> _Answer:
        with self._lenient():
            return self._ask(work)
        return otherwise

    def _change(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """As `_ask`, in a transaction."""

        def transaction(db: sqlite3.Connection) -> _Answer:
            with db:
                return work(db)

        return self._ask(transaction)

    def _ask(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """What the file says.

        Raises:
            StoreError: it refuses, or was damaged and is put aside.
        """
        with self._lock:
            db = self._connect()
            try:
                return work(db)
            except sqlite3.Error as error:
                if not self._is_strict:
                    logger.warning("%s: %s", self.path, error)
                self.faults += 1
                if is_damage(error):
                    with contextlib.suppress(OSError):
                        self._put_aside(error)
                raise StoreError(f"{self.path}: {error}") from error


_GET = "SELECT record, used FROM results WHERE space = ? AND key = ?"
_PUT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LATEST = "SELECT key FROM results WHERE space = ? AND user = ? ORDER BY used DESC LIMIT ?"
_TOUCH = "UPDATE results SET used = ? WHERE space = ? AND key = ?"
_REMOVE = "DELETE FROM results WHERE space = ? AND key = ?"
_REMOVE_ALL = "DELETE FROM results WHERE space = ?"
_ROWS = "SELECT count(*), coalesce(sum(length(record)), 0) FROM results WHERE space = ?"
_OLDEST = "SELECT key, length(record) FROM results WHERE space = ? ORDER BY used"
_OUTPUTS = "SELECT key, size FROM results WHERE space = ? AND user = ? ORDER BY used DESC"
_TOTALS = "SELECT count(*), coalesce(sum(size), 0) FROM results WHERE space = ?"


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
