"""The agent's own memory of results: what this user has compiled, or taken from the farm, before.

Owns what a record's body is here: the result as `zcc/job.py` encodes it, with the *residue* for its look-ups,
the names that the compiler missed and that no scan repeats. A hit is only a hit when each of them is absent
still. Whatever is wrong with what was kept (rotten, gone, unreadable) is a miss, counted in `faults`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from cache.digest import Digest
from cache.errors import CacheError, StoreError
from cache.forgotten import Forgotten
from cache.record import Record, Source
from cache.selection import Selection
from cache.stores import DiskStore
from cache.tiers import Resting, Tiers, WriteBehind
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.results.restore import Files, contents, restored
from zcc.bounded import Bounded
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import DiskDoubtError
from zcc.compiler.neutral.relocation import neutral_misses
from zcc.compiler.neutral.renaming import Renaming
from zcc.compiler.proof.misses import MissWatch, residue
from zcc.errors import JobError
from zcc.job import Lookups, Result, decode_result, encode_result
from zcc.reasons import Reason

logger = logging.getLogger(__name__)

# Everything that one user's agent remembers is one space; farms share nothing through it, as a job's key
# says all that its result depends on.
SPACE = "own"
# A result that was understood takes its bytes, about as much again twice, and this.
_RESULT_BYTES = 2000
_RESULT_FACTOR = 3


class CacheMode(Enum):
    """What ZCC_CACHE asks for: `refresh` looks nothing up and remembers what it gets, `read` the reverse."""

    ON = "on"
    OFF = "off"
    REFRESH = "refresh"
    READ = "read"

    @property
    def looks_up(self) -> bool:
        return self in (CacheMode.ON, CacheMode.READ)

    @property
    def keeps(self) -> bool:
        return self in (CacheMode.ON, CacheMode.REFRESH)


# ccache (seen: 4.7 and 4.14) sets it for the compilers that it calls, and for nobody else.
_CCACHE_MARK = b"UNCACHED_ERR_FD"
# ccache keeps what it gets from us: twice on one disk is once too often.
_BEHIND_CCACHE = {CacheMode.ON: CacheMode.READ, CacheMode.REFRESH: CacheMode.OFF}


def mode_of(environment: Mapping[bytes, bytes], default: CacheMode) -> CacheMode:
    """The mode that a launcher's environment sets; an unknown word changes nothing."""
    try:
        return CacheMode(environment.get(b"ZCC_CACHE", b"").decode("ascii", "replace"))
    except ValueError:
        return _BEHIND_CCACHE.get(default, default) if _CCACHE_MARK in environment else default


@dataclass(frozen=True, slots=True)
class LocalResult:
    result: Result
    files: Files


@dataclass(frozen=True, slots=True)
class Missed:
    """Why there is no result: `kind` is UNKNOWN, REFUSED (`detail`: the name that is there now) or DAMAGED."""

    kind: Reason
    detail: str = ""


UNKNOWN = Missed(Reason.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Understood:
    """A record's body as read: the result as it was kept, and as it is where the user has it."""

    body: bytes
    kept: Result
    result: Result
    watch: MissWatch


# Key, the base that the job was moved from, its renaming.
_Place = tuple[Digest, bytes, Renaming | None]


def _bytes_of(place: _Place, known: _Understood) -> int:
    return _RESULT_BYTES + _RESULT_FACTOR * len(known.body)


class Recall:
    """Results below one directory, in at most about `limit_bytes`; `memory_bytes` for those last asked for."""

    def __init__(self, directory: str, limit_bytes: int, memory_bytes: int) -> None:
        self.refused = 0  # hits that were none, because a name that was missed is there now
        self.may_keep: Callable[[], bool] = lambda: True
        self._rotten = 0
        self._written = 0
        self._limit_bytes = limit_bytes
        self.known: Bounded[_Place, _Understood] = Bounded(memory_bytes, _bytes_of)
        self._void_nodes: Counter[str] = Counter()
        self._store: DiskStore | None = None
        try:
            self._store = DiskStore(directory, SPACE, limit_bytes)
            self._store.index.may_keep = self._may_still_keep
        except StoreError as error:
            logger.warning("no local cache: %s", error)
        stores = [] if self._store is None else [Resting(self._store)]
        self._tiers = Tiers(stores, Forgotten(directory, SPACE))
        self._writer = WriteBehind(self._tiers)

    @property
    def faults(self) -> int:
        """How often the store failed, or held what it should not."""
        return self._rotten + self._tiers.faults + self._writer.faults

    def counts(self) -> dict[str, float]:
        """What has happened to it since it was opened, by the names of `zcc/agent/history/tally.py`."""
        return {
            "cache_written": self._written,
            "cache_dropped": self._writer.dropped,
            "cache_evicted": self._writer.evicted,
            "cache_refused": self.refused,
            "cache_faults": self.faults,
        }

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, the limit, and the number of results. The first time it costs a stat a blob."""
        if self._store is None:
            return {"size_bytes": 0, "limit_bytes": self._limit_bytes, "results": 0}
        results, size = self._store.index.count(), self._store.blobs.size_bytes
        return {"size_bytes": size, "limit_bytes": self._limit_bytes, "results": results}

    def recount(self) -> None:
        """Somebody else has removed blobs."""
        if self._store is not None:
            self._store.blobs.recount()

    def find(self, prepared: Prepared, disk: Disk) -> LocalResult | Missed:
        """The result of this job if it is known and holds on this disk.

        `disk.begin` has to have been called for the request.
        """
        record = self._tiers.get_record(prepared.key)
        if record is None or self._void_nodes[record.source.node] > 0:
            return UNKNOWN
        if withheld := prepared.closure.withheld:
            # The name may be among the misses that were not kept, as every scan repeats them.
            self.refused += 1
            return Missed(Reason.REFUSED, os.fsdecode(withheld[0]))
        try:
            known = self._understood(record, prepared)
            verdict = known.watch.check(disk)
            if not verdict.is_accepted:
                self.refused += 1
                return Missed(Reason.REFUSED, os.fsdecode(verdict.path))
            return LocalResult(known.result, self._read(known.kept, prepared))
        except (JobError, CacheError) as error:
            self._drop(record, error)
            return Missed(Reason.DAMAGED, str(error))

    def remember(
        self, prepared: Prepared, result: Result, frames: Mapping[Digest, bytes], disk: Disk
    ) -> None:
        """Keep a result as it came, which has been proven; `frames` are its outputs, checked."""
        if not self.may_keep():
            return
        base = prepared.base
        here = restored(result, prepared)
        closure = prepared.closure
        try:
            left = residue(here.lookups, closure.misses, closure.unread, disk)
        except DiskDoubtError:
            return  # the disk changes under the question
        left = neutral_misses(left, base) if base else left
        body = encode_result(replace(result, lookups=Lookups(misses=left)))
        size = len(body) + sum(output.size_bytes for output in result.outputs)
        source = Source(prepared.job.toolchain, result.node)
        record = Record(prepared.key, body, tuple(frames), size, source, time.time())
        self._written += self._writer.put(record, frames)

    def forget(self, key: Digest) -> None:
        """Drop a result that is not to be trusted."""
        self._writer.forget(key)

    def forget_all(self) -> None:
        self._writer.forget_all()

    def forget_void(self, keys: Iterable[Digest], nodes: Iterable[str]) -> None:
        """Drop the results of these jobs, and all that nodes of these names have made."""
        for key in keys:
            self._writer.forget(key)
        for node in nodes:
            # Which these are says the disk. Until then none of them is placed.
            self._void_nodes[node] += 1
            self._writer.do(partial(self._forget_node, node))

    def when_forgotten(self, then: Callable[[], object]) -> None:
        """Call `then`, in another thread, behind all that was to be forgotten before: when that is removed, or
        written down for the next process. Otherwise, and without a store, it is not called."""

        def settled() -> None:
            if self._store is not None and self._tiers.forgotten.write_down():
                then()

        self._writer.do(settled)

    def _may_still_keep(self) -> bool:
        return self.may_keep()

    def _forget_node(self, node: str) -> None:
        """To be called in the writer's thread."""
        if self._store is None:
            return
        forgotten = self._tiers.forgotten
        try:
            for key in self._store.index.keys_surely(Selection(node=node)):
                forgotten.add(key)
        except StoreError as error:
            logger.warning(
                "forgetting all results, as it is not known which %s made: %s", node, error
            )
            forgotten.add_all()
        self._void_nodes[node] -= 1
        self._tiers.settle(forgotten.last)

    def wait_written(self) -> bool:
        """Wait until all that was remembered before is on disk, for other processes too; False when that
        takes too long."""
        if not self._writer.wait_written():
            return False
        if self._store is not None:
            self._store.index.flush()
        return True

    def close(self) -> None:
        self._writer.close()

    def _understood(self, record: Record, prepared: Prepared) -> _Understood:
        """What the record says, which is read once: a hit is asked for again and again."""
        place = (record.key, prepared.base, prepared.renaming)
        known = self.known.get(place)
        if known is not None and known.body == record.body:
            return known
        kept = decode_result(record.body)
        result = restored(kept, prepared)
        known = _Understood(record.body, kept, result, MissWatch(result.lookups.misses))
        self.known.put(place, known)
        return known

    def _read(self, kept: Result, prepared: Prepared) -> Files:
        if not all(prepared.job.declares(output.path) for output in kept.outputs):
            raise JobError("outputs that the job does not declare")
        frames = self._tiers.get_blobs(each.digest for each in kept.outputs)
        return contents(kept, frames, prepared)

    def _drop(self, record: Record, error: Exception) -> None:
        """What was kept cannot be used: forget it, and the blobs, which may be what is rotten."""
        self._rotten += 1
        logger.warning("forgetting the result %s: %s", record.key.hex(), error)
        self._writer.forget(record.key, record.blobs)
