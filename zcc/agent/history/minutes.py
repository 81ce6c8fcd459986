"""What happened when: the tallies of each build, minute by minute, in the notebook.

    builds (number, project, begun, active)      a build's first call and its last sign of life, Unix s
    slices (build, minute, agent, tally)         what was counted; tally is `Tally.as_sparse` in JSON

`agent` tells apart what two agents counted of one build in one minute. At most MAX_SLICES minutes are kept,
the oldest go first, and builds without any go with them.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from zcc.agent.history.builds import BUILD_GAP_S, Build
from zcc.agent.history.database import Notebook, reading
from zcc.agent.history.tally import Tally, tally_from

# A minute of a busy build takes half a kilobyte: some 10 MB, a fortnight of compiling without pause.
MAX_SLICES = 20_000
MINUTE_S = 60
# Old slices are looked for once for so many that are written.
_TRIM_EVERY = 256


@dataclass(frozen=True, slots=True)
class PastBuild:
    """One build as it stands in the history; times are Unix seconds."""

    number: int
    project: bytes
    begun_s: float
    active_s: float
    tally: Tally


class History:
    """The agent's side: adds to the minutes that are running, and has them written."""

    def __init__(self, notebook: Notebook, agent: int) -> None:
        self._notebook = notebook
        self._agent = agent
        self._slices: dict[tuple[int, int], Tally] = {}
        self._changed: dict[tuple[int, int], Build] = {}
        self._written = 0

    def tally_of(self, build: Build, now_s: float) -> Tally:
        """What is counted of this build now; it is going to be changed."""
        key = (build.number, int(now_s) // MINUTE_S)
        self._changed[key] = build
        tally = self._slices.get(key)
        if tally is None:
            tally = self._slices[key] = Tally()
        return tally

    def flush(self, now_s: float) -> None:
        """Give what has changed to the notebook; the disk's work is the notebook's thread's."""
        if not self._changed:
            return
        builds = {build.number: build for build in self._changed.values()}
        rows = [(b.number, b.project, b.begun_s, b.active_s) for b in builds.values()]
        slices = [
            (number, minute, self._agent, json.dumps(self._slices[number, minute].as_sparse()))
            for number, minute in self._changed
        ]
        is_trimmed = self._written // _TRIM_EVERY != (self._written + len(slices)) // _TRIM_EVERY

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO builds VALUES (?, ?, ?, ?)", rows)
            db.executemany("INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?)", slices)
            if is_trimmed:
                _trim(db, MAX_SLICES)

        self._notebook.write(write)
        self._written += len(slices)
        self._changed.clear()
        minute = int(now_s) // MINUTE_S
        self._slices = {key: each for key, each in self._slices.items() if key[1] >= minute}

    def clear(self) -> None:
        """Forget all of it (`zcc stats --zero`)."""
        self._slices.clear()
        self._changed.clear()
        self._notebook.write(_clear)


def forget_builds(path: str) -> None:
    """The same while no agent runs."""
    notebook = Notebook(path)
    notebook.write(_clear)
    notebook.close()


def _clear(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM slices")
    db.execute("DELETE FROM builds")


def _trim(db: sqlite3.Connection, limit: int) -> None:
    cut = db.execute(
        "SELECT minute FROM slices ORDER BY minute DESC LIMIT 1 OFFSET ?", (limit,)
    ).fetchone()
    if cut is not None:
        db.execute("DELETE FROM slices WHERE minute <= ?", cut)
        db.execute("DELETE FROM builds WHERE number NOT IN (SELECT build FROM slices)")


# ---- readers ----------------------------------------------------------------------------------


def resumable(path: str, now_s: float) -> list[Build]:
    """The builds that an agent before this one may have left under way."""
    query = "SELECT number, project, begun, active FROM builds WHERE active >= ?"
    return [Build(*row) for row in _rows(path, query, now_s - BUILD_GAP_S)]


def past_builds(path: str, most: int) -> list[PastBuild]:
    """The last builds of which a call's outcome is settled, the latest first."""
    query = "SELECT number, project, begun, active FROM builds ORDER BY active DESC LIMIT ?"
    slices = "SELECT tally FROM slices WHERE build = ?"
    found = [
        PastBuild(number, project, begun_s, active_s, _sum(path, slices, number))
        for number, project, begun_s, active_s in _rows(path, query, most)
    ]
    return [build for build in found if build.tally.numbers["calls"]]


def since(path: str, begin_s: float) -> Tally:
    """What was counted from the minute of `begin_s` on."""
    return _sum(path, "SELECT tally FROM slices WHERE minute >= ?", int(begin_s) // MINUTE_S)


def _sum(path: str, query: str, value: float) -> Tally:
    total = Tally()
    for (text,) in _rows(path, query, value):
        total.merge(tally_from(json.loads(text)))
    return total


def _rows(path: str, query: str, value: float) -> list[Any]:
    with reading(path) as db:
        if db is None:
            return []
        try:
            return db.execute(query, (value,)).fetchall()
        except sqlite3.Error:
            return []
