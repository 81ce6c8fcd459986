"""The shared cache: what the farm has compiled, for everybody on it.

Owns the records of results and their going down to disk; the blobs are the same store's that inputs and
toolchains travel through. Nothing gets in but by `remember`, which the machine asks for by its own rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from broker.effects import Remember
from broker.events import Recalled
from broker.traffic import Traffic
from cache.digest import Digest
from cache.index import Selection
from cache.record import Record, Source
from cache.stores import DiskStore
from cache.tiers import Resting, Tiers, WriteBehind


class SharedResults:
    """Results in a disk store, whose blobs `traffic` sends; `check` re-reads what somebody could not use."""

    def __init__(
        self, store: DiskStore, traffic: Traffic, check: Callable[[Iterable[Digest]], None]
    ) -> None:
        self._store = store
        self._traffic = traffic
        self._check = check
        self._tiers = Tiers([Resting(store)])
        self._writer = WriteBehind(self._tiers)
        self._evicted = 0

    def recall(self, key: Digest) -> Recalled | None:
        """The result of this key, if it is remembered and all its outputs are here."""
        record = self._tiers.get_record(key)
        if record is None or not self._is_whole(record):
            return None
        self._traffic.use(record.blobs)
        return Recalled(record.source.node, record.blobs, record.body)

    def body_of(self, key: Digest, outputs: tuple[Digest, ...]) -> bytes | None:
        """The body of this key's result, if it is still the one with these outputs."""
        record = self._tiers.get_record(key)
        return record.body if record is not None and record.blobs == outputs else None

    def doubt(self, key: Digest) -> None:
        """Somebody could not use this result: forget it, and look whether its blobs are rotten."""
        record = self._tiers.get_record(key)
        if record is not None:
            self._check(record.blobs)
            self._writer.forget(key)

    def record_of(self, key: Digest) -> Record | None:
        """What is remembered under this key, whole or not."""
        return self._tiers.get_record(key)

    def keys_of(self, node: str) -> list[Digest]:
        """The keys of all results, or of those that this node (a name or key) made; slow: not for the loop."""
        if not node:
            return self._store.index.keys()
        named = self._store.index.keys(Selection(node=node))
        return named or self._store.index.keys(Selection(node_key=node))

    def distrust(self, key: Digest) -> None:
        """Forget a result that another node does not confirm."""
        self._writer.forget(key)

    def remember(self, effect: Remember) -> None:
        source = Source(effect.toolchain, effect.node, effect.node_key, effect.user)
        size_bytes = effect.size_bytes + len(effect.body)
        record = Record(effect.key, effect.body, effect.outputs, size_bytes, source, time.time())
        self._writer.put(record, {})

    def note_evictions(self) -> int:
        """How many blobs and records went since the last call; what traffic has seen is void then."""
        evicted = self._writer.evicted - self._evicted
        if evicted:
            self._evicted += evicted
            self._traffic.look_again()
        return evicted

    def close(self) -> None:
        self._writer.close()

    def _is_whole(self, record: Record) -> bool:
        missing = [digest for digest in record.blobs if not self._traffic.has_now(digest)]
        if missing and len(self._tiers.get_blobs(missing)) < len(missing):
            self._writer.forget(record.key)
            return False
        return True
