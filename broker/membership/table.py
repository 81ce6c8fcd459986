"""SQLite files of what must not be lost: who is a member, who may use the storage.

All that SQLite may say of such a file comes from here as a StateError: a command tells it, the broker answers
with it and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from broker.errors import StateError

logger = logging.getLogger(__name__)

_BUSY_S = 5.0
_DAMAGED = "it is damaged: stop the broker and put back a backup of it (docs/guide/members.md)"
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the disk does not read or write it, or is full",
    sqlite3.SQLITE_BUSY: "another process holds it: try again",
    sqlite3.SQLITE_LOCKED: "another process holds it: try again",
    sqlite3.SQLITE_READONLY: "it cannot be written: whose is it, and is the disk read-only?",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: whose is it, and has the disk room?",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    # A schema or a text that cannot be: our statements are right.
    sqlite3.SQLITE_ERROR: _DAMAGED,
}


class Table:
    """A file in WAL mode, which only its owner may read; made with `schema` where there is none.

    Raises:
        StateError: by the constructor and each method: the file cannot be read or written, and nothing has
            changed.
    """

    def __init__(self, path: str, schema: str) -> None:
        self._path = path
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            # One that is there is not opened: to close it again would end this process's locks on it (POSIX).
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StateError(path, f"it cannot be opened: {error.strerror}") from error
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
        except sqlite3.Error as error:
            self._fail(error)
        try:
            self.execute("PRAGMA journal_mode=WAL")
            self.execute(schema)
        except StateError:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows that it gives. Outside a transaction a change is on disk when this returns."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._fail(error)

    def execute_for(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """The same for each of these rows of values."""
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            self._fail(error)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done in it counts, or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")

    def take_over(self, find: str, change: str, written: Mapping[str, Any]) -> None:
        """Copy what another file says of rows to them: `find` names rows that may lack it, `change` has the
        value and the name. That file counts in any case, so a disk that is full keeps nobody from reading."""
        lacking = [name for (name,) in self.execute(find) if name in written]
        if not lacking:
            return
        try:
            with self.transaction():
                self.execute_for(change, ((written[name], name) for name in lacking))
        except StateError as error:
            logger.info("%s", error)

    def damaged(self, found: object) -> StateError:
        """The error of a row that no zcc has written."""
        return StateError(self._path, f"{_DAMAGED}; found {found!r}")

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        raise _state_error(self._path, error) from error


def copy_of(path: str) -> bytes:
    """The file as it is at one moment, whoever is at work on it.

    Raises:
        StateError: it cannot be read.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(":memory:")) as copy,
        ):
            source.backup(copy)
            return copy.serialize()
    except sqlite3.Error as error:
        raise _state_error(path, error) from error


def _state_error(path: str, error: sqlite3.Error) -> StateError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return StateError(path, f"{_REASONS.get(code, 'it cannot be used')} ({error})")
