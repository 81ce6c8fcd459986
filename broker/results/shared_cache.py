"""The shared cache: what the farm has compiled, for everybody on it.

Owns the records of results and their going down to disk; the blobs are the same store's that inputs and
toolchains travel through. Nothing gets in but by `remember`, which the machine asks for by its own rules.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from broker.core.effects import Remember
from broker.core.events import Recalled
from broker.tiers.numbers import TierNumbers
from broker.tiers.service import Then, TierService
from broker.transport.traffic import Traffic
from cache.digest import Digest
from cache.forgotten import Forgotten
from cache.record import Record, Source
from cache.selection import Selection
from cache.stores import DiskStore
from cache.tiers import Resting, Tiers, WriteBehind

# Results that wait to be handed to the writer; a tick comes before that on any farm.
MAX_FRESH = 1_000


class SharedResults:
    """Results in a disk store, whose blobs `traffic` sends.

    `check` re-reads what somebody could not use, `void` tells others what was found wrong. `tiers` are asked
    for what is not here, and given all that is remembered.
    """

    def __init__(
        self,
        store: DiskStore,
        traffic: Traffic,
        check: Callable[[Iterable[Digest]], None],
        void: Callable[[Digest], None],
        tiers: TierService | None = None,
    ) -> None:
        self._void = void
        self._further = tiers
        self._store = store
        self._traffic = traffic
        self._check = check
        self._tiers = Tiers([Resting(store)], Forgotten(store.directory, store.space))
        self._writer = WriteBehind(self._tiers)
        self._evicted = 0
        # What is not in the store yet: not handed to the writer, and handed to it, oldest first.
        self._fresh: dict[Digest, Record] = {}
        self._handed: deque[dict[Digest, Record]] = deque()
        if tiers is not None:
            tiers.serve(self.adopt)

    def recall(self, key: Digest) -> Recalled | None:
        """The result of this key, if it is remembered and all its outputs are here."""
        record = self.record_of(key)
        if record is None or not self._is_whole(record):
            return None
        self._traffic.use(record.blobs)
        source = record.source
        return Recalled(source.node, record.blobs, record.body, source.node_key, record.size_bytes)

    def body_of(self, key: Digest, outputs: tuple[Digest, ...]) -> bytes | None:
        """The body of this key's result, if it is still the one with these outputs."""
        record = self._tiers.get_record(key)
        return record.body if record is not None and record.blobs == outputs else None

    def doubt(self, key: Digest) -> None:
        """Somebody could not use this result: look whether its blobs are rotten.

        It stays until then, or until a fresh one takes its place: one's word takes it from nobody else.
        """
        record = self.record_of(key)
        if record is not None:
            self._check(record.blobs)

    def record_of(self, key: Digest) -> Record | None:
        """What is remembered under this key, whole or not."""
        for unwritten in (self._fresh, *reversed(tuple(self._handed))):
            if key in unwritten:
                return unwritten[key]
        return self._tiers.get_record(key)

    def keys_of(self, node: str) -> list[Digest]:
        """The keys of all results, or of those that this node (a name or key) made; slow: not for the loop."""
        index = self._store.index
        if not node:
            return index.keys()
        # Both: a node chooses its name, which may be a key.
        named, keyed = index.keys(Selection(node=node)), index.keys(Selection(node_key=node))
        return list(dict.fromkeys((*named, *keyed)))

    def users(self) -> list[str]:
        """Whose jobs have given what is written down; slow, as the next: not for the loop."""
        return [user for user, _, _ in self._store.index.by_label("user") if user]

    def latest_of(self, user: str, count: int) -> list[Record]:
        """So many of the results that this key's jobs have given, those that were used last."""
        found = (self._tiers.get_record(key) for key in self._store.index.latest(user, count))
        return [record for record in found if record is not None]

    def distrust(self, key: Digest) -> None:
        """Forget a result that another node does not confirm, here and wherever it was taken from here."""
        self._forget(key)
        self._void(key)

    def remember(self, effect: Remember) -> None:
        source = Source(effect.toolchain, effect.node, effect.node_key, effect.user)
        size_bytes = effect.size_bytes + len(effect.body)
        record = Record(effect.key, effect.body, effect.outputs, size_bytes, source, time.time())
        self._take(record)
        if self._further is not None:
            self._further.remember(record)

    def adopt(self, record: Record) -> None:
        """A tier has this, which the farm has put there; its outputs are here. What came meanwhile stays."""
        if self.record_of(record.key) is None:
            self._take(record)

    def seek(self, key: Digest, expected_s: float, then: Then) -> bool:
        """Look for a result that is not here in the tiers, for a job that is expected to take so long: `then`
        is called once, later, and raises nothing. False: nobody can be asked, and it never is."""
        return self._further is not None and self._further.seek(key, expected_s, then)

    def _take(self, record: Record) -> None:
        self._fresh[record.key] = record
        if len(self._fresh) >= MAX_FRESH:
            self.write_down()

    def write_down(self) -> None:
        """Have what was remembered since the last call written, behind the loop's back.

        To be called ten times a second: to wake the writer for each result costs as much as the writing.
        """
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._handed.append(fresh)
            for refused in self._writer.put_all(tuple(fresh.values()), self._handed.popleft):
                del fresh[refused.key]

    def note_evictions(self) -> int:
        """How many blobs and records went since the last call; what traffic has seen is void then."""
        evicted = self._writer.evicted - self._evicted
        if evicted:
            self._evicted += evicted
            self._traffic.look_again()
        return evicted

    def figures(self) -> tuple[int, int, int]:
        """Bytes on disk, the most that they may be, and how many blobs and records went since the start."""
        store = self._store
        size_bytes = store.blobs.known_bytes + store.index.size_bytes
        return size_bytes, store.limit_bytes, self._evicted

    @property
    def has_tiers(self) -> bool:
        return self._further is not None

    def tiers(self) -> list[TierNumbers]:
        """What is counted of each tier, in the order in which they are asked."""
        return [] if self._further is None else self._further.numbers()

    def close(self) -> None:
        self.write_down()
        if self._further is not None:
            self._further.close()
        self._writer.close()

    def _forget(self, key: Digest) -> None:
        for unwritten in (self._fresh, *tuple(self._handed)):
            unwritten.pop(key, None)
        self._writer.forget(key)

    def _is_whole(self, record: Record) -> bool:
        missing = [digest for digest in record.blobs if not self._traffic.has_now(digest)]
        if missing and len(self._tiers.get_blobs(missing)) < len(missing):
            self._forget(record.key)
            return False
        return True
