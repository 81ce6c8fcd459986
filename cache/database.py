"""SQLite files that hold what may be lost: opened for several processes, put aside when damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

# Between two attempts at a lock for which SQLite itself does not wait.
_PAUSE_S = 0.01
_REFUSALS = (
    sqlite3.OperationalError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)

Identity = tuple[int, int]  # device, inode


def identity_of(path: str) -> Identity | None:
    """Which file bears this name now: the one that is open bears it as long as this stays. None: none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_database(path: str, schema: str, version: int, busy_s: float) -> sqlite3.Connection:
    """The file in WAL mode, made with `schema` where it is new; usable from any one thread at a time.

    `busy_s`: how long to wait for another process's transaction. After a power cut the last seconds may lack.

    Raises:
        sqlite3.OperationalError: it cannot be opened or made: permissions, a full disk, busy.
        sqlite3.DatabaseError: it is no database, or another version's.
    """
    # Where two processes make a file at once, one meets a lock that no busy timeout covers: the change to
    # WAL, and the step from reading the version to writing it.
    ends_s = time.monotonic() + busy_s
    while True:
        try:
            return _open(path, schema, version, busy_s)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends_s:
                raise
            time.sleep(_PAUSE_S)


def _close_to_others(path: str) -> None:
    """Nobody else may read it, whoever has made the directory: compilers' messages quote sources.

    SQLite gives the files beside it the mode of the file itself, when it makes them. One that is there is not
    opened: to close it again would end this process's locks on it (POSIX), those of its connections too, and
    another process that leaves would then take the log of what was written away from under them.
    """
    with contextlib.suppress(OSError):  # where it cannot be made, SQLite says so
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        for each in (path, f"{path}-wal", f"{path}-shm"):  # those of an older zcc
            if os.stat(each).st_mode & 0o077:
                os.chmod(each, 0o600)


def _open(path: str, schema: str, version: int, busy_s: float) -> sqlite3.Connection:
    _close_to_others(path)
    db = sqlite3.connect(path, timeout=busy_s, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found not in (0, version):
            raise sqlite3.DatabaseError(f"written by another version ({found})")
        if not found:
            db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={version}; COMMIT;")
    except sqlite3.Error:
        db.close()
        raise
    return db


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault: not where it is full, read-only, busy, gone, or will not take a row."""
    return not isinstance(error, _REFUSALS)


def put_aside(path: str) -> None:
    """Rename a damaged file, so that the next `open_database` begins a new one. Close it first.

    Raises:
        OSError: it cannot be renamed.
    """
    os.replace(path, path + ".damaged")
    _remove_sides(path)


def remove_database(path: str) -> None:
    """Remove the file: what works on a disk that is full. Close it first; who has it open still reads it, if he
    does not look whose name that is (`identity_of`).

    Raises:
        OSError: it is there still.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    _remove_sides(path)


def _remove_sides(path: str) -> None:
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + ending)
