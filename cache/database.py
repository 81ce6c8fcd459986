"""SQLite files that hold what may be lost: opened for several processes, put aside when damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3


def open_database(path: str, schema: str, version: int, busy_s: float) -> sqlite3.Connection:
    """The file in WAL mode, made with `schema` where it is new; usable from any one thread at a time.

    `busy_s`: how long to wait for another process's transaction. After a power cut the last seconds may lack.

    Raises:
        sqlite3.OperationalError: it cannot be opened or made: permissions, a full disk, busy.
        sqlite3.DatabaseError: it is no database, or another version's.
    """
    db = sqlite3.connect(path, timeout=busy_s, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found not in (0, version):
            raise sqlite3.DatabaseError(f"written by another version ({found})")
        if not found:
            db.executescript(f"BEGIN; {schema} PRAGMA user_version={version}; COMMIT;")
    except sqlite3.Error:
        db.close()
        raise
    return db


def put_aside(path: str) -> None:
    """Rename a damaged file, so that the next `open_database` begins a new one. Close it first.

    Raises:
        OSError: it cannot be renamed.
    """
    os.replace(path, path + ".damaged")
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + ending)
