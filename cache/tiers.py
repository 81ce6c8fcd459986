"""Several stores as one: near ones first, writes behind the caller's back, a dead one for a miss.

Owns the order of tiers, what is written behind (in a thread of `cache/writer.py`'s) and the patience with a
tier that fails. Nothing in here raises for what a store does. What is forgotten is not served from that moment
on, whether or not it could be removed (`cache/forgotten.py`); that is tried until it was.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from cache.digest import Digest
from cache.errors import StoreError
from cache.forgotten import Forgotten
from cache.record import Record
from cache.stores import Store
from cache.writer import Upkeep, Writer

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

# A tier that has failed is left alone for so long.
REST_S = 10.0
# Bytes of blobs that wait to be written. Beyond it new results are not remembered.
MAX_BEHIND_BYTES = 64 << 20
# What a killed process may have remembered in vain, and how far a store may grow beyond its limit.
MAINTAIN_EVERY_S = 2.0
# Who leaves a disk behind that stands still tries for so long to note there what is forgotten.
LAST_NOTE_S = 1.0


class Resting:
    """One store that may fail: its failures are counted, answered as misses, and followed by a rest.

    The questions are a `Store`'s; what writes says whether it did.
    """

    def __init__(
        self, store: Store, rest_s: float = REST_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.faults = 0
        self._store = store
        self._rest_s = rest_s
        self._now = now
        self._wakes_s = 0.0

    def get_record(self, key: Digest) -> Record | None:
        return self._ask(lambda: self._store.get_records((key,)).get(key), None)

    def put_record(self, record: Record) -> bool:
        return self._do(lambda: self._store.put_records((record,)))

    def remove_records(self, keys: Iterable[Digest] | None) -> bool:
        """Remove these, None: all. It is tried in a rest as well, and its failure begins none."""
        try:
            if keys is None:
                self._store.remove_all_records()
            else:
                self._store.remove_records(keys)
        except (StoreError, OSError) as error:
            self.faults += 1
            logger.warning("results are forgotten, and not removed yet: %s", error)
            return False
        return True

    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]:
        none: set[Digest] = set()
        return self._ask(lambda: self._store.has_blobs(digests), none)

    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        none: dict[Digest, bytes] = {}
        return self._ask(lambda: self._store.get_blobs(digests), none)

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> bool:
        return self._do(lambda: self._store.put_blobs(frames))

    def remove_blobs(self, digests: Iterable[Digest]) -> bool:
        return self._do(lambda: self._store.remove_blobs(digests))

    def maintain(self) -> int:
        return self._ask(self._store.maintain, 0)

    def close(self) -> None:
        self._do(self._store.close)

    def _do(self, work: Callable[[], None]) -> bool:
        def done() -> bool:
            work()
            return True

        return self._ask(done, False)

    def _ask(self, question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
        if self._now() < self._wakes_s:
            return otherwise
        try:
            return question()
        except (StoreError, OSError) as error:
            self.faults += 1
            self._wakes_s = self._now() + self._rest_s
            logger.warning("a cache rests for %.0f s: %s", self._rest_s, error)
            return otherwise


class Tiers:
    """Stores in the order in which they are asked. What a farther one has is written to the nearer."""

    def __init__(self, stores: Sequence[Resting], forgotten: Forgotten | None = None) -> None:
        self._stores = stores
        self.forgotten = Forgotten() if forgotten is None else forgotten
        # Up to which number what was forgotten has been seen by who writes. What is put behind it is fresh.
        self._reached = self.forgotten.last

    @property
    def faults(self) -> int:
        return sum(store.faults for store in self._stores)

    def get_record(self, key: Digest) -> Record | None:
        if key in self.forgotten:
            return None
        for at, store in enumerate(self._stores):
            found = store.get_record(key)
            if found is not None:
                for nearer in self._stores[:at]:
                    nearer.put_record(found)
                return found
        return None

    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """The frames of those that any tier has; contents are the caller's to check."""
        wanted, frames = set(digests), dict[Digest, bytes]()
        for at, store in enumerate(self._stores):
            if not wanted:
                break
            found = store.get_blobs(wanted)
            for nearer in self._stores[:at]:
                nearer.put_blobs(found)
            frames |= found
            wanted -= found.keys()
        return frames

    def put(self, record: Record, frames: Mapping[Digest, bytes]) -> None:
        """Write a record and its blobs to each store; what `frames` lacks lies in a nearer one already.

        Not one that was forgotten since it was given, nor one whose forgotten forerunner cannot be removed.
        """
        number = self.forgotten.number_of(record.key)
        if number > self._reached or (number and not self.settle(number)):
            return
        for at, store in enumerate(self._stores):
            wanted = set(record.blobs) - store.has_blobs(record.blobs)
            given = {digest: frames[digest] for digest in wanted & frames.keys()}
            given |= Tiers(self._stores[:at]).get_blobs(wanted - given.keys())
            # The blobs first: a record must not name what is not there.
            if given.keys() == wanted and store.put_blobs(given):
                store.put_record(record)

    def settle(self, number: int) -> bool:
        """Remove what was forgotten up to this number; whether it is gone from every store."""
        self._reached = max(self._reached, number)
        due = self.forgotten.due(self._reached)
        if due is None or due:
            if not self._remove(due):
                return False
            self.forgotten.removed(due, self._reached)
        return True

    def remove_blobs(self, digests: Iterable[Digest]) -> None:
        for store in self._stores:
            store.remove_blobs(digests)

    def maintain(self) -> int:
        """Evict, and try again what could not be removed; how many blobs and records went."""
        gone = sum(store.maintain() for store in self._stores)
        self.settle(self._reached)
        self.forgotten.write_down()
        return gone

    def close(self) -> None:
        """What could be neither removed nor written down costs all results: that needs no room on a disk."""
        self.settle(self.forgotten.last)
        if not self.forgotten.write_down():
            if self._remove(None):
                logger.error("forgot all results, as a full disk takes no note of single ones")
            else:
                logger.error(
                    "results that are forgotten could not be removed: purge the cache by hand"
                )
        for store in self._stores:
            store.close()

    def _remove(self, keys: Iterable[Digest] | None) -> bool:
        """Where no store could be opened, nothing is gone from it."""
        done = [store.remove_records(keys) for store in self._stores]
        return bool(done) and all(done)


class WriteBehind:
    """Writes to tiers, in a thread: who remembers a result never waits for a disk.

    Its queue is bounded in bytes; a result that finds it full is not remembered (`dropped` counts them).
    """

    def __init__(
        self,
        tiers: Tiers,
        limit_bytes: int = MAX_BEHIND_BYTES,
        maintain_every_s: float = MAINTAIN_EVERY_S,
    ) -> None:
        self.evicted = 0
        self._tiers = tiers
        upkeep = Upkeep(self._maintain, maintain_every_s)
        self._writer = Writer("cache writer", _do_all, limit_bytes, upkeep=upkeep)
        if not tiers.forgotten.is_empty:  # what the process before could not remove
            self._settle(tiers.forgotten.last)

    @property
    def dropped(self) -> int:
        """Results that were not remembered, because too much waited."""
        return self._writer.dropped

    @property
    def faults(self) -> int:
        """What the writing failed by, beyond what the tiers count: mistakes of ours."""
        return self._writer.faults

    def put(self, record: Record, frames: Mapping[Digest, bytes]) -> bool:
        """Remember this soon; False when too much waits already."""
        size = sum(map(len, frames.values())) + len(record.body)
        return self._writer.put(lambda: self._tiers.put(record, frames), size)

    def put_all(self, records: Sequence[Record], then: Callable[[], object]) -> list[Record]:
        """Remember these soon, and then call `then`, in the thread; their blobs lie in the nearest tier.

        Returns what found the queue full, and is dropped.
        """
        tasks: list[tuple[Callable[[], object], int]] = [
            (partial(self._tiers.put, record, {}), len(record.body)) for record in records
        ]
        taken = self._writer.put_all([*tasks, (then, 0)])
        return [record for record, is_taken in zip(records, taken, strict=False) if not is_taken]

    def forget(self, key: Digest, blobs: Iterable[Digest] = ()) -> None:
        """Serve this no more, and remove it soon: from a full queue and a resting disk as well."""
        number, rotten = self._tiers.forgotten.add(key), tuple(blobs)
        self._settle(number)
        if rotten:
            self._writer.put(lambda: self._tiers.remove_blobs(rotten), 0)

    def forget_all(self) -> None:
        """The same with all that was put before."""
        self._settle(self._tiers.forgotten.add_all())

    def do(self, work: Callable[[], object]) -> None:
        """Have this done in the thread, behind what was asked before; not any more once it is closed."""
        self._writer.put(work, 0)

    def _settle(self, number: int) -> None:
        self._writer.put(lambda: self._tiers.settle(number), 0)

    def wait_written(self) -> bool:
        """Wait until all that was put before is written; False when the disk takes too long."""
        return self._writer.wait_done()

    def close(self) -> None:
        """Write what waits and close the tiers, unless a disk stands still: then they are left as they are."""
        if self._writer.close():
            self._tiers.close()
        elif not self._tiers.forgotten.is_empty:
            noting = threading.Thread(target=self._tiers.forgotten.write_down, daemon=True)
            noting.start()
            noting.join(LAST_NOTE_S)

    def _maintain(self) -> bool:
        self.evicted += self._tiers.maintain()
        return not self._tiers.forgotten.is_empty


def _do_all(works: list[Callable[[], object]]) -> None:
    for work in works:
        work()
