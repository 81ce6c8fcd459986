"""What an agent writes down of its calls: one SQLite file, written by one thread of its own.

Owns the file and its faults (the thread is one of `cache/writer.py`'s): no caller waits for a disk, and a file
that refuses or is damaged costs what it held, nothing else. What stands in it is said by `minutes.py` (builds
and minutes) and `last_compiles.py` (the last compile of each output); both are tables here, because they are
written and read alike.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from urllib.request import pathname2url

from cache.database import open_database, put_aside
from cache.writer import Writer

logger = logging.getLogger(__name__)

FILE_NAME = "history.sqlite"
SCHEMA_VERSION = 1
# Pieces of writing that wait. Beyond it what comes is not written down: a compile never waits for it.
MAX_WAITING = 4096
_BUSY_S = 2.0

Write = Callable[[sqlite3.Connection], None]

# Came later than the version: made where it lacks, so that an upgrade forgets nothing.
SIDES = """
CREATE TABLE IF NOT EXISTS sides (
    output BLOB PRIMARY KEY,
    source BLOB NOT NULL,
    main BLOB NOT NULL
) STRICT
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS builds (
    number INTEGER PRIMARY KEY,
    project BLOB NOT NULL,
    begun REAL NOT NULL,
    active REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS slices (
    build INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    tally TEXT NOT NULL,
    PRIMARY KEY (build, minute, agent)
) STRICT;
CREATE INDEX IF NOT EXISTS by_minute ON slices (minute);
CREATE TABLE IF NOT EXISTS lasts (
    source BLOB NOT NULL,
    output BLOB NOT NULL,
    key BLOB NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    cause TEXT NOT NULL,
    made REAL NOT NULL,
    hits INTEGER NOT NULL,
    used REAL NOT NULL,
    job BLOB NOT NULL,
    PRIMARY KEY (source, output)
) STRICT;
CREATE INDEX IF NOT EXISTS by_output ON lasts (output);
CREATE INDEX IF NOT EXISTS by_last_use ON lasts (used);
"""


class Notebook:
    """The file at `path`, opened with the first piece of writing."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._is_refused = False
        self._writer = Writer("notebook", self._do, MAX_WAITING, most_at_once=MAX_WAITING)

    @property
    def faults(self) -> int:
        """Pieces of writing that were given up by a mistake of ours."""
        return self._writer.faults

    def write(self, work: Write) -> bool:
        """Have this done soon, in a transaction; False when too much waits already."""
        return self._writer.put(work)

    def wait_written(self) -> bool:
        """Wait until all that was given before is on disk, or was refused by it; False: it takes too long."""
        return self._writer.wait_done()

    def close(self) -> None:
        """Write what waits and let go of the file, unless its disk stands still."""
        if self._writer.close() and self._db is not None:
            self._db.close()
            self._db = None

    def _do(self, works: list[Write]) -> None:
        try:
            if self._db is not None and not os.path.exists(self.path):
                self._db.close()  # taken away by whoever cleans up: begin a new one
                self._db = None
            if self._db is None:
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                self._db = open_database(self.path, _SCHEMA, SCHEMA_VERSION, _BUSY_S)
            with self._db:
                for work in works:
                    work(self._db)
            self._is_refused = False
        except sqlite3.OperationalError as error:
            # Full, read-only, busy: said once, for it would be said each second.
            if not self._is_refused:
                logger.warning("%s: %s", self.path, error)
            self._is_refused = True
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError):
            raise  # what was to be written is wrong, not the file
        except (sqlite3.DatabaseError, OSError) as error:
            self._put_aside(error)

    def _put_aside(self, error: Exception) -> None:
        """The file is no database, or another version's: begin a new one beside it."""
        logger.warning("%s: %s: beginning a new one", self.path, error)
        if self._db is not None:
            self._db.close()
            self._db = None
        with contextlib.suppress(OSError):
            put_aside(self.path)


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection | None]:
    """The file, for reading; None where there is none that can be read."""
    db = None
    try:
        if os.path.exists(path):
            db = sqlite3.connect(f"file:{pathname2url(path)}?mode=ro", uri=True, timeout=_BUSY_S)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                db.close()
                db = None
    except sqlite3.Error:
        if db is not None:
            db.close()
        db = None
    try:
        yield db
    finally:
        if db is not None:
            db.close()
