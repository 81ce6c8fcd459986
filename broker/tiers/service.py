"""The tiers as the broker's loop has them: asked in threads, written behind its back, never waited for.

Owns the threads and each tier's numbers. Which tier is asked, and for how long anybody waits, is
`lookups.py`'s; what is believed of what a tier says is `cache/remote/store.py`'s. A hit is put into the near
store, whose answer then is the farm's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from broker.results.tombstones import Tombstones
from broker.tiers.behind import TierWriter
from broker.tiers.lanes import Lanes
from broker.tiers.lookups import Batch, TierAnswer, TierLookups, patience_s
from broker.tiers.numbers import TierNumbers
from broker.tiers.settings import TierSettings
from cache.blobs import BlobStore
from cache.digest import Digest
from cache.errors import BlobCorruptError
from cache.record import Record
from cache.remote.engine import Engine, EngineError
from cache.remote.seal import Sealed
from cache.remote.store import RemoteStore, Sealing
from cache.whole import whole

logger = logging.getLogger(__name__)

# How exactly a job's patience is kept.
_TURN_S = 0.01
# Whether somebody's result is in the near store now.
Then = Callable[[bool], None]


class _Tier:
    """One of them, with its threads."""

    def __init__(self, settings: TierSettings, store: RemoteStore, near: BlobStore) -> None:
        self.settings = settings
        self.store = store
        self.lanes = Lanes(f"from {settings.name}", store.engine.lanes)
        self.writer = None if settings.read_only else TierWriter(settings.name, store, near)
        self.hits = self.late = self.misses = self.errors = 0
        self.seconds = 0.0

    def close(self) -> None:
        self.lanes.close()
        if self.writer is not None:
            self.writer.close()
        self.store.close()


class TierService:
    """Starts on construction, inside a running loop; `serve` comes before anything is asked for.

    Nothing in here raises for what a tier does.
    """

    def __init__(
        self,
        tiers: Sequence[tuple[TierSettings, Engine]],
        near: BlobStore,
        secret: bytes,
        space: str,
        tombstones: Tombstones,
    ) -> None:
        self._near = near
        self._tombstones = tombstones
        self._loop = asyncio.get_running_loop()
        sealing = Sealing(secret, space, tombstones.stamp, tombstones.is_void)
        self._tiers = [
            _Tier(settings, RemoteStore(engine, sealing, settings.max_value_bytes), near)
            for settings, engine in tiers
        ]
        self._lookups = TierLookups([(engine.at_once, engine.lanes) for _, engine in tiers])
        self._waiting: dict[Digest, list[Then]] = {}
        self._next: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True
        for handle in (self._next, self._timer):
            if handle is not None:
                handle.cancel()
        for tier in self._tiers:
            tier.close()

    def serve(self, adopt: Callable[[Record], None]) -> None:
        """`adopt` takes what tiers have, whose outputs are in the near store."""
        self._adopt = adopt

    def seek(self, key: Digest, expected_s: float, then: Then) -> bool:
        """Look for this result in the tiers, for a job that is expected to take so long: `then` is called once,
        later, with whether it is in the near store now. False: no tier can be asked, and `then` never is."""
        now = self._loop.time()
        if self._is_closed or not self._lookups.ask(key, now + patience_s(expected_s), now):
            return False
        self._waiting.setdefault(key, []).append(then)
        self._plan()
        return True

    def remember(self, record: Record) -> None:
        """A result of the farm's: it goes to all tiers that are written, soon."""
        self._put(record, self._tiers)

    def numbers(self) -> list[TierNumbers]:
        """Of each tier, in order."""
        return [self._numbers_of(at) for at in range(len(self._tiers))]

    def wait_written(self, patience_s: float) -> bool:
        """Wait until nothing waits to be written; False when that takes longer. Not for the loop."""
        writers = [tier.writer for tier in self._tiers if tier.writer is not None]
        return all(writer.wait_written(patience_s) for writer in writers)

    # --- on the loop --------------------------------------------------------------------------

    def _plan(self) -> None:
        """What is asked for in one turn of the loop goes together."""
        if self._next is None:
            self._next = self._loop.call_soon(self._send)
        if self._timer is None:
            self._timer = self._loop.call_later(_TURN_S, self._look)

    def _send(self) -> None:
        self._next = None
        batches, answers = self._lookups.next_batches(self._loop.time())
        self._tell(answers)
        for batch in batches:
            self._tiers[batch.tier].lanes.put(partial(self._ask, batch))

    def _look(self) -> None:
        self._timer = None
        self._tell(self._lookups.expired(self._loop.time()))
        if len(self._lookups):
            self._plan()

    def _done(self, batch: Batch, found: dict[Digest, Sealed], error: EngineError | None) -> None:
        """A batch has come back."""
        if self._is_closed:
            return
        tier, now = self._tiers[batch.tier], self._loop.time()
        tier.seconds += now - batch.began_at
        breaker = self._lookups.breaker(batch.tier)
        opened = breaker.opened
        if error is not None:
            tier.errors += 1
            self._tell(self._lookups.failed(batch, now))
        else:
            good = self._not_void(found)
            tier.misses += len(batch.keys) - len(good)
            answers = self._lookups.answered(batch, good, now)
            for answer in answers:
                if answer.tier is not None:
                    self._take(tier, answer, good[answer.key])
            self._tell(answers)
        if breaker.opened > opened:
            why = error or "it takes too long"
            logger.warning("the tier %s is not asked for a while: %s", tier.settings.name, why)
        self._plan()

    def _not_void(self, found: dict[Digest, Sealed]) -> dict[Digest, Sealed]:
        """Asked once more, by what others have written down until now: it is the last moment."""
        if not found:
            return found
        try:
            self._tombstones.look()
        except OSError as error:
            logger.warning("what a tier has is not taken, as nobody knows what is void: %s", error)
            return {}
        return {key: it for key, it in found.items() if not self._tombstones.is_void(it)}

    def _take(self, tier: _Tier, answer: TierAnswer, sealed: Sealed) -> None:
        tier.hits += not answer.is_late
        tier.late += answer.is_late
        self._adopt(sealed.record)
        self._put(sealed.record, self._tiers[: answer.tier])

    def _put(self, record: Record, tiers: Iterable[_Tier]) -> None:
        stamp = self._tombstones.stamp()
        if stamp is None:
            return
        for tier in tiers:
            if tier.writer is not None:
                tier.writer.put(Sealed(record, stamp))

    def _tell(self, answers: Iterable[TierAnswer]) -> None:
        for answer in answers:
            if answer.is_late:
                continue
            for then in self._waiting.pop(answer.key, ()):
                then(answer.tier is not None)

    def _numbers_of(self, at: int) -> TierNumbers:
        tier, writer = self._tiers[at], self._tiers[at].writer
        read = TierNumbers(
            name=tier.settings.name,
            state=self._lookups.breaker(at).state(self._loop.time()).value,
            writes="read-only",
            hits=tier.hits,
            late=tier.late,
            misses=tier.misses,
            errors=tier.errors,
            seconds=tier.seconds,
            bad=dict(tier.store.counts),
        )
        if writer is None:
            return read
        return replace(
            read,
            writes=writer.breaker.state(time.monotonic()).value,
            errors=tier.errors + writer.errors,
            written=writer.written,
            written_bytes=writer.written_bytes,
            waiting=writer.waiting,
            dropped=writer.dropped,
            lost=writer.lost,
        )

    # --- in a tier's threads ------------------------------------------------------------------

    def _ask(self, batch: Batch) -> None:
        found: dict[Digest, Sealed] = {}
        failure: EngineError | None = None
        try:
            found = fetch(self._tiers[batch.tier].store, self._near, batch.keys)
        except EngineError as error:
            failure = error
        except Exception as error:  # a mistake of ours: a miss, and a tier that fails
            logger.exception("a tier's look-up")
            failure = EngineError(str(error))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._done, batch, found, failure)


def fetch(store: RemoteStore, near: BlobStore, keys: Iterable[Digest]) -> dict[Digest, Sealed]:
    """Those of these results that the tier has whole; their outputs lie in the near store then.

    Raises:
        EngineError: the tier does not work now.
    """
    sealed = store.get_sealed(keys)
    wanted: dict[Digest, int] = {}
    for each in sealed.values():
        for blob in each.record.blobs:
            if not near.has(blob):
                wanted[blob] = max(wanted.get(blob, 0), each.record.size_bytes)
    lacking = set(wanted)
    for blob, frame in store.get_blobs(wanted).items() if wanted else ():
        try:
            _keep(near, blob, frame, wanted[blob])
            lacking.discard(blob)
        except BlobCorruptError:
            store.note_damaged_blob(blob)
        except OSError as error:
            logger.warning("what a tier has finds no room here: %s", error)
    return {key: each for key, each in sealed.items() if lacking.isdisjoint(each.record.blobs)}


def _keep(near: BlobStore, digest: Digest, frame: bytes, limit_bytes: int) -> None:
    """Check it, and have it appear in the near store."""
    blob = whole(near, digest, frame)
    if blob is not None:
        blob.keep()
    else:
        near.put_frame(digest, frame, limit_bytes)
