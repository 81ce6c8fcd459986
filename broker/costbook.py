"""What jobs have cost, on disk: a SQLite file beside the registry, written by a thread of its own.

It may be lost: the broker then learns anew. Damage to it is put aside, and of what it holds only what is sound
is taken. The loop hands rows over in batches and never waits.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence

from broker.core.limits import COSTS_EVERY_S, MAX_COST_ROWS, MAX_REGRESSIONS
from broker.scheduling.costs import ROW_BYTES, CostRow, Costs, Seen
from broker.scheduling.regression import STATE_FLOATS
from cache.database import open_database, put_aside
from cache.writer import Writer

logger = logging.getLogger(__name__)

FILE_NAME = "costs.sqlite"
_VERSION = 3
_BUSY_S = 2.0
# `name` is the digest of toolchain and traits, `user` a public key; natural logarithms of seconds and bytes.
# `by` and `other` are keys of nodes, `other` empty where only one has said anything.
_SCHEMA = """
CREATE TABLE costs (
    name BLOB NOT NULL, user TEXT NOT NULL, ln_cost REAL NOT NULL, ln_peak REAL NOT NULL,
    count INTEGER NOT NULL, ln_least REAL NOT NULL, by TEXT NOT NULL, other TEXT NOT NULL,
    other_peak REAL NOT NULL, other_least REAL NOT NULL, used REAL NOT NULL, PRIMARY KEY (name, user)
) STRICT, WITHOUT ROWID;
CREATE TABLE regressions (toolchain BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
_STATE = struct.Struct(f"<{STATE_FLOATS}d")
# Rows that wait to be written; beyond it they are lost, as on a disk that stands still.
_MOST_WAITING = 400_000
# About 2 and 60 in ln: a thousand years, and more memory than there is.
_MOST_LN = 64.0

_Task = tuple[list[CostRow], dict[bytes, list[float]], float]


class Costbook:
    """Reads what is there into `costs` at once, and writes what changes; `clock` is in monotonic seconds."""

    def __init__(self, state_dir: str, costs: Costs, clock: Callable[[], float]) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._costs = costs
        self._clock = clock
        self._due_at = clock() + COSTS_EVERY_S
        self._db = _opened(self._path)
        self._writer = Writer[_Task]("writer of costs", self._write, _MOST_WAITING)
        if self._db is not None:
            try:
                _restore(self._db, costs)
            except sqlite3.Error as error:
                logger.warning("%s: %s; costs are learnt anew", self._path, error)

    def write_down(self, now: float) -> None:
        """Hand over what has changed, if it is time."""
        if now >= self._due_at:
            self._due_at = now + COSTS_EVERY_S
            self._hand_over()

    def close(self) -> None:
        self._hand_over()
        if self._writer.close() and self._db is not None:
            self._db.close()

    def _hand_over(self) -> None:
        rows = self._costs.take_changed()
        if rows and self._db is not None:
            self._writer.put((rows, self._costs.regressions(), time.time()), len(rows))

    def _write(self, tasks: list[_Task]) -> None:
        assert self._db is not None
        with self._db:
            for rows, regressions, used in tasks:
                self._db.executemany(
                    "DELETE FROM costs WHERE name = ? AND user = ?",
                    [(row.name, row.user) for row in rows if row.seen is None],
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO costs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(row.name, row.user, *_numbers(row.seen), used) for row in rows if row.seen],
                )
                self._db.execute("DELETE FROM regressions")
                self._db.executemany(
                    "INSERT INTO regressions VALUES (?, ?)",
                    [(name, _STATE.pack(*state)) for name, state in regressions.items()],
                )


def _numbers(seen: Seen) -> tuple[float, float, int, float, str, str, float, float]:
    other = seen.other or ("", 0.0, 0.0)
    return seen.ln_cost, seen.ln_peak, seen.count, seen.ln_least, seen.by, *other


def _opened(path: str) -> sqlite3.Connection | None:
    """None: nothing is kept, which costs nothing but what would have been known."""
    for _ in range(2):
        try:
            return open_database(path, _SCHEMA, _VERSION, _BUSY_S)
        except sqlite3.OperationalError as error:
            logger.warning("%s: %s; what jobs cost is not kept", path, error)
            return None
        except sqlite3.DatabaseError as error:
            logger.warning("%s: %s; it is put aside", path, error)
            try:
                put_aside(path)
            except OSError:
                return None
    return None


def _restore(db: sqlite3.Connection, costs: Costs) -> None:
    found = db.execute(
        "SELECT name, user, ln_cost, ln_peak, count, ln_least, by, other, other_peak, other_least FROM"
        " (SELECT * FROM costs ORDER BY used DESC LIMIT ?) ORDER BY used",
        (MAX_COST_ROWS,),
    ).fetchall()
    rows = [
        CostRow(
            name,
            user,
            Seen(cost, peak, count, least, by=by, other=tuple(other) if other[0] else None),
        )
        for name, user, cost, peak, count, least, by, *other in found
        if len(name) == ROW_BYTES and count > 0 and _is_sound((cost, peak, least, *other[1:]))
    ]
    states = db.execute(
        "SELECT toolchain, state FROM regressions LIMIT ?", (MAX_REGRESSIONS + 1,)
    ).fetchall()
    unpacked = {name: _STATE.unpack(state) for name, state in states if len(state) == _STATE.size}
    costs.restore(
        rows, {name: each for name, each in unpacked.items() if all(map(math.isfinite, each))}
    )


def _is_sound(values: Sequence[float]) -> bool:
    return all(abs(value) < _MOST_LN for value in values)
