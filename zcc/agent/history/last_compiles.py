"""The last compile of each output, so that `zcc why` can say what has changed since the one before.

    lasts (source, output, key, outcome, reason, cause, made, hits, used, job)

    sides (output, source, main)

One row for each source (physical) and output; both are paths. `key`, `outcome`, `reason` (of a local run)
and `made` are those of the last compile that was not answered as the one before was; `cause` is why it was
no hit, a `Cause` in JSON, empty where it was one; `job` is its fingerprint, compressed. `hits` counts what
has been answered by the same key since, the last time at `used`. A compile that could not become a job has no
output, key nor fingerprint here, and its `hits` count how often it has run here since.

`sides` leads from what else a compile may write (`.d`, `.dwo`, `.gcno`...) to its row, whose output is
`main`. A file that two compiles write is the later one's.

What a call costs is one look-up here: of a hit of an unchanged command nothing is written but, when someone
asks or the agent leaves, its number. Fingerprints are made, compared and written in the notebook's thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from cache.errors import CacheError
from cache.frame import compress, decompress
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.history.causes import Cause
from zcc.agent.history.database import SIDES, Notebook, reading
from zcc.agent.history.fingerprint import Difference, differences, fingerprint_of
from zcc.agent.launchers.wire import Request
from zcc.agent.results.local_cache import CacheMode, Missed
from zcc.job import MAX_JOB_BYTES
from zcc.reasons import Reason

# Compiles that this agent knows the last key of; another one is looked up in the notebook.
MAX_KNOWN = 20_000
# What the fingerprints may take on disk; the least recently used go first, a tenth at a time.
MAX_BYTES = 64 << 20
_TRIM_EVERY = 512
# Differences that are kept with a compile: whoever edits config.h changes one, a switched branch hundreds.
MAX_DIFFERENCES = 20

_SOURCES = frozenset(
    (b".c", b".cc", b".cp", b".cxx", b".cpp", b".CPP", b".c++", b".C")
    + (b".i", b".ii", b".s", b".S", b".sx", b".m", b".mm", b".mi", b".mii")
)
_MAX_SOURCES = 16

HITS = ("local_hit", "shared_hit")


@dataclass(frozen=True, slots=True)
class Last:
    """One row; see above. Times are Unix seconds."""

    source: bytes
    output: bytes
    key: bytes
    outcome: str
    reason: str
    cause: Cause | None
    made_s: float
    hits: int
    used_s: float
    fingerprint: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class _Note:
    """A compile as it happened; `missed` is a Cause that the shell knows, else None."""

    prepared: Prepared
    outcome: str
    reason: str
    missed: Cause | None
    at_s: float


@dataclass(slots=True)
class _Known:
    key: bytes
    hits: int = 0
    used_s: float = 0.0


class Lasts:
    """The agent's side."""

    def __init__(self, notebook: Notebook, wall_s: Callable[[], float] = time.time) -> None:
        self._notebook = notebook
        self._wall_s = wall_s
        self._known: OrderedDict[tuple[bytes, bytes], _Known] = OrderedDict()
        self._hit: set[tuple[bytes, bytes]] = set()
        self._written = 0

    def compiled(
        self, prepared: Prepared, outcome: str, reason: str = "", missed: Cause | None = None
    ) -> None:
        """This job was answered so; `missed` says why the cache did not, where that is known."""
        place = (prepared.source, prepared.job_in_place.outputs[0])
        known = self._known.get(place)
        if known is not None and known.key == prepared.key and outcome in HITS:
            self._again(place, known)
            return
        self._know(place, prepared.key)
        note = _Note(prepared, outcome, reason, missed, self._wall_s())
        self._written += 1
        self._notebook.write(partial(_write_note, note, self._written % _TRIM_EVERY == 0))

    def ran_here(self, source: bytes, reason: str, detail: str) -> None:
        """A compile that could not become a job; said once while nothing changes."""
        place = (source, b"")
        key = os.fsencode(f"{reason} {detail}")  # details name paths, which may be no text
        known = self._known.get(place)
        if known is not None and known.key == key:
            self._again(place, known)
            return
        self._know(place, key)
        cause = Cause(Reason.NOT_A_JOB, f"{reason} ({detail})" if detail else reason)
        at_s = self._wall_s()
        self._notebook.write(partial(_write_local, source, reason, cause, at_s))

    def flush(self) -> None:
        """Have the numbers of hits written."""
        rows = []
        for place in self._hit:
            known = self._known.get(place)
            if known is not None and known.hits:
                rows.append((known.hits, known.used_s, *place))
                known.hits = 0
        self._hit.clear()
        if rows:
            self._notebook.write(partial(_add_hits, rows))

    def _again(self, place: tuple[bytes, bytes], known: _Known) -> None:
        known.hits += 1
        known.used_s = self._wall_s()
        self._hit.add(place)

    def _know(self, place: tuple[bytes, bytes], key: bytes) -> None:
        self._known[place] = _Known(key)
        self._known.move_to_end(place)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def cause_of_miss(mode: CacheMode, missed: Missed | None) -> Cause | None:
    """Why this machine's cache had no answer, as far as the cache itself knows."""
    if not mode.looks_up:
        return Cause(Reason.REFRESH if mode is CacheMode.REFRESH else Reason.CACHE_OFF)
    if missed is None or missed.kind == Reason.UNKNOWN:
        return None
    return Cause(missed.kind, missed.detail)


def sources_in(request: Request) -> list[bytes]:
    """The words of a command that by their suffix are sources; for what was not understood further."""
    words = [word for word in request.argv[1:] if not word.startswith(b"-")]
    found = [word for word in words if os.path.splitext(word)[1] in _SOURCES]
    return [os.path.join(request.cwd, word) for word in found[:_MAX_SOURCES]]


# ---- in the notebook's thread -----------------------------------------------------------------


def _write_note(note: _Note, is_trimmed: bool, db: sqlite3.Connection) -> None:
    prepared = note.prepared
    job = prepared.job_in_place
    source, output = os.path.realpath(prepared.source), job.outputs[0]
    last = _find(db, source, output)
    is_hit = note.outcome in HITS
    if last is not None and last.key == prepared.key and is_hit:
        query = "UPDATE lasts SET hits = hits + 1, used = ? WHERE source = ? AND output = ?"
        db.execute(query, (note.at_s, source, output))
        return
    fingerprint = fingerprint_of(prepared.job_compared, source)
    cause = None if is_hit else note.missed or cause_of(last, prepared.key, fingerprint)
    row = Last(
        source, output, prepared.key, note.outcome, note.reason, cause, note.at_s, 0, note.at_s
    )
    _put(db, row, compress(fingerprint))
    _put_sides(db, source, output, job.outputs[1:])
    if is_trimmed:
        _trim(db, MAX_BYTES)


def _add_hits(rows: list[tuple[int, float, bytes, bytes]], db: sqlite3.Connection) -> None:
    query = "UPDATE lasts SET hits = hits + ?, used = ? WHERE source = ? AND output = ?"
    db.executemany(query, [(n, at, os.path.realpath(source), out) for n, at, source, out in rows])


def _write_local(
    source: bytes, reason: str, cause: Cause, at_s: float, db: sqlite3.Connection
) -> None:
    _put(db, Last(os.path.realpath(source), b"", b"", "local", reason, cause, at_s, 0, at_s), b"")


def cause_of(last: Last | None, key: bytes, fingerprint: bytes) -> Cause:
    """Why a job with this key is not answered by the result of the last one."""
    if last is None:
        return Cause(Reason.FIRST)
    if last.key == key:
        if last.outcome in ("local", "failed"):
            return Cause(Reason.NOT_KEPT, last.reason)
        if last.cause is not None and last.cause.kind == Reason.CACHE_OFF:
            return Cause(Reason.NOT_KEPT, Reason.CACHE_OFF)
        return Cause(Reason.EVICTED)
    found = differences(last.fingerprint, fingerprint)
    if last.fingerprint == fingerprint:  # what was moved then is not moved now, or the reverse
        found = [Difference("base", "base directory")]
    return Cause(Reason.CHANGED, "", found[:MAX_DIFFERENCES], len(found))


def _put(db: sqlite3.Connection, row: Last, job: bytes) -> None:
    cause = "" if row.cause is None else json.dumps(asdict(row.cause))
    values = (row.source, row.output, row.key, row.outcome, row.reason)
    db.execute(
        "INSERT OR REPLACE INTO lasts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, cause, row.made_s, row.hits, row.used_s, job),
    )


def _put_sides(
    db: sqlite3.Connection, source: bytes, main: bytes, outputs: Iterable[bytes]
) -> None:
    rows = [(output, source, main) for output in outputs]
    if rows:
        db.execute(SIDES)  # a notebook that an older agent began has none
        db.executemany("INSERT OR REPLACE INTO sides VALUES (?, ?, ?)", rows)


def _trim(db: sqlite3.Connection, limit_bytes: int) -> None:
    size, count = db.execute("SELECT coalesce(sum(length(job)), 0), count(*) FROM lasts").fetchone()
    if size > limit_bytes:
        query = "DELETE FROM lasts WHERE rowid IN (SELECT rowid FROM lasts ORDER BY used LIMIT ?)"
        db.execute(query, (count // 10 + 1,))
        db.execute(SIDES)
        db.execute(
            "DELETE FROM sides WHERE NOT EXISTS (SELECT 1 FROM lasts"
            " WHERE lasts.source = sides.source AND lasts.output = sides.main)"
        )


def _find(db: sqlite3.Connection, source: bytes, output: bytes) -> Last | None:
    query = "SELECT * FROM lasts WHERE source = ? AND output = ?"
    row = db.execute(query, (source, output)).fetchone()
    return None if row is None else _last_from(row)


def _last_from(row: tuple[Any, ...]) -> Last:
    source, output, key, outcome, reason, cause, made_s, hits, used_s, job = row
    try:
        fingerprint = decompress(job, MAX_JOB_BYTES) if job else b""
    except CacheError:
        fingerprint = b""
    found = _cause_from(cause)
    return Last(source, output, key, outcome, reason, found, made_s, hits, used_s, fingerprint)


def _cause_from(text: str) -> Cause | None:
    if not text:
        return None
    document = json.loads(text)
    found = [Difference(**each) for each in document.pop("differences")]
    return Cause(**document, differences=found)


# ---- readers ----------------------------------------------------------------------------------


def lasts_of(path: str, file: bytes) -> list[Last]:
    """What is known of the compiles of this source, or that write this file; the latest first."""
    query = "SELECT * FROM lasts WHERE source = ?1 OR output = ?1 ORDER BY used DESC"
    with reading(path) as db:
        if db is None:
            return []
        rows = db.execute(query, (file,)).fetchall() or _writers(db, file)
        return [_last_from(row) for row in rows]


def _writers(db: sqlite3.Connection, file: bytes) -> list[Any]:
    """The row of the compile of which this is a second output."""
    query = (
        "SELECT lasts.* FROM sides JOIN lasts ON lasts.source = sides.source"
        " AND lasts.output = sides.main WHERE sides.output = ?"
    )
    try:
        return db.execute(query, (file,)).fetchall()
    except sqlite3.OperationalError:
        return []  # begun by an older agent, and nothing with a second output was compiled since
