"""Jobs of which this machine's own compiler has made something else than the farm, or which the farm has taken
back while they were on their way: they are believed no more.

    disputed (key, at)      a job's key, when that was found in Unix seconds

It is in the notebook, of which an agent reads it when it starts. At most MAX_DISPUTED, the oldest go first.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from functools import partial

from cache.digest import Digest
from zcc.agent.history.database import Notebook, reading

# Each is a compile that is done here besides. A farm with more of them has a node that lies, and is left.
MAX_DISPUTED = 10_000

_TABLE = "CREATE TABLE IF NOT EXISTS disputed (key BLOB PRIMARY KEY, at REAL NOT NULL) STRICT"
_TRIM = "DELETE FROM disputed WHERE key NOT IN (SELECT key FROM disputed ORDER BY at DESC LIMIT ?)"


class Disputed:
    """The keys, in memory and in the notebook."""

    def __init__(self, notebook: Notebook, limit: int = MAX_DISPUTED) -> None:
        self._notebook = notebook
        self._limit = limit
        # The oldest first.
        self._keys: dict[Digest, None] = dict.fromkeys(_read(notebook.path, limit))

    def __contains__(self, key: Digest) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[Digest]) -> None:
        new = tuple(keys)
        if not new:
            return
        for key in new:
            self._keys.pop(key, None)
            self._keys[key] = None
        while len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]
        self._notebook.write(partial(_write, new, time.time(), self._limit))


def _write(keys: tuple[Digest, ...], at_s: float, limit: int, db: sqlite3.Connection) -> None:
    db.execute(_TABLE)
    db.executemany("INSERT OR REPLACE INTO disputed VALUES (?, ?)", [(key, at_s) for key in keys])
    db.execute(_TRIM, (limit,))


def _read(path: str, limit: int) -> list[Digest]:
    query = "SELECT key FROM (SELECT * FROM disputed ORDER BY at DESC LIMIT ?) ORDER BY at"
    with reading(path) as db:
        try:
            rows = [] if db is None else db.execute(query, (limit,)).fetchall()
        except sqlite3.Error:  # no such table: nothing was disputed yet
            rows = []
    return [Digest(row[0]) for row in rows]
