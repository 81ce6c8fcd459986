"""Several stores as one: near ones first, writes behind the caller's back, a dead one for a miss.

Owns the order of tiers, what is written behind (in a thread of `cache/writer.py`'s) and the patience with a
tier that fails. Nothing in here raises for what a store does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from cache.digest import Digest
from cache.errors import StoreError
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

    def remove_record(self, key: Digest) -> bool:
        return self._do(lambda: self._store.remove_records((key,)))

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

    def __init__(self, stores: Sequence[Resting]) -> None:
        self._stores = stores

    @property
    def faults(self) -> int:
        return sum(store.faults for store in self._stores)

    def get_record(self, key: Digest) -> Record | None:
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
        """Write a record and its blobs to each store; what `frames` lacks lies in a nearer one already."""
        for at, store in enumerate(self._stores):
            wanted = set(record.blobs) - store.has_blobs(record.blobs)
            given = {digest: frames[digest] for digest in wanted & frames.keys()}
            given |= Tiers(self._stores[:at]).get_blobs(wanted - given.keys())
            # The blobs first: a record must not name what is not there.
            if given.keys() == wanted and store.put_blobs(given):
                store.put_record(record)

    def forget(self, key: Digest, blobs: Iterable[Digest] = ()) -> None:
        """Drop a record that turned out not to hold, and blobs that were rotten."""
        rotten = tuple(blobs)
        for store in self._stores:
            store.remove_record(key)
            store.remove_blobs(rotten)

    def maintain(self) -> int:
        return sum(store.maintain() for store in self._stores)

    def close(self) -> None:
        for store in self._stores:
            store.close()


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
        """Forget this soon. It takes no room: a full queue must not keep what is rotten."""
        rotten = tuple(blobs)
        self._writer.put(lambda: self._tiers.forget(key, rotten), 0)

    def wait_written(self) -> bool:
        """Wait until all that was put before is written; False when the disk takes too long."""
        return self._writer.wait_done()

    def close(self) -> None:
        """Write what waits and close the tiers, unless a disk stands still: then they are left as they are."""
        if self._writer.close():
            self._tiers.close()

    def _maintain(self) -> None:
        self.evicted += self._tiers.maintain()


def _do_all(works: list[Callable[[], object]]) -> None:
    for work in works:
        work()
