"""Results on their way to one tier, behind the caller's back.

Owns the queue, its thread and the breaker of writes, which is another than that of look-ups: what is full may
still be read. What a tier does not take is not tried again: it is compiled once more by whoever needs it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from cache.blobs import BlobStore
from cache.digest import Digest
from cache.remote.behind import BoundedBacklog
from cache.remote.breaker import Breaker
from cache.remote.engine import EngineError
from cache.remote.seal import Sealed
from cache.remote.store import RemoteStore

logger = logging.getLogger(__name__)

# Records that wait: their outputs are read from the disk when their turn comes. Some 20,000 results.
MAX_BACKLOG_BYTES = 16 << 20
# What one takes in memory beside its body.
_RECORD_BYTES = 600
# In one go to the engine.
_AT_ONCE = 16
# Who leaves waits so long for what waits.
_LAST_WRITES_S = 5.0
_LOOK_EVERY_S = 0.5


class TierWriter:
    """`written` results of `written_bytes`, `dropped` for want of room, `lost` to failures (`errors`)."""

    def __init__(self, name: str, store: RemoteStore, near: BlobStore) -> None:
        self.written = self.written_bytes = self.errors = self.lost = 0
        self.breaker = Breaker()
        self._name = name
        self._store = store
        self._near = near
        self._changed = threading.Condition()
        self._backlog = BoundedBacklog[Sealed](MAX_BACKLOG_BYTES)
        self._is_busy = self._is_closing = False
        self._thread = threading.Thread(target=self._work, name=f"to {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._backlog.dropped

    @property
    def waiting(self) -> int:
        return len(self._backlog)

    def put(self, sealed: Sealed) -> None:
        """Have this written soon."""
        with self._changed:
            self._backlog.put(sealed, len(sealed.record.body) + _RECORD_BYTES)
            self._changed.notify()

    def wait_written(self, patience_s: float) -> bool:
        """Wait until nothing waits; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._is_busy and not len(self._backlog), patience_s
            )

    def close(self) -> None:
        """Write what waits, unless the tier fails or takes too long for it."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(_LAST_WRITES_S)

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception:
                self.lost += len(batch)
                logger.exception("the tier %s: what was to be written is dropped", self._name)
            finally:
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()

    def _next(self) -> list[Sealed]:
        """What is to be written now; nothing when nothing will be any more."""
        with self._changed:
            while not (len(self._backlog) and self.breaker.allows(time.monotonic())):
                if self._is_closing:
                    return []
                self._changed.wait(_LOOK_EVERY_S if len(self._backlog) else None)
            self._is_busy = True
            return self._backlog.take(_AT_ONCE)

    def _write(self, batch: list[Sealed]) -> None:
        frames: dict[Digest, bytes] = {}
        for blob in {blob for sealed in batch for blob in sealed.record.blobs}:
            with contextlib.suppress(OSError):  # evicted meanwhile
                frames[blob] = self._near.read_stored(blob)
        try:
            self.written_bytes += self._store.put_sealed(batch, frames)
        except EngineError as error:
            self.errors += 1
            self.lost += len(batch)
            was = self.breaker.opened
            self.breaker.failed(time.monotonic())
            if self.breaker.opened > was:
                logger.warning(
                    "nothing is written to the tier %s for a while: %s", self._name, error
                )
            return
        self.breaker.succeeded()
        self.written += len(batch)
