"""Several stores as one: near before far, a dead one is a miss, writes do not wait."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from cache.digest import Digest, digest_of
from cache.errors import StoreError
from cache.frame import compress
from cache.record import Record
from cache.stores import MemoryStore
from cache.tiers import Resting, Tiers, WriteBehind
from tests.unit.cache.test_results import digest, record

FRAMES = {digest_of(b"one"): compress(b"one")}


class DeadStore(MemoryStore):
    """A server that does not answer, until it is repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.is_dead = True
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.is_dead:
            raise StoreError("connection refused")

    def get_records(self, keys: Iterable[Digest]) -> dict[Digest, Record]:
        self._ask()
        return super().get_records(keys)

    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]:
        self._ask()
        return super().has_blobs(digests)

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None:
        self._ask()
        super().put_blobs(frames)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_far_tier_has_is_written_to_the_nearer() -> None:
    near, far = MemoryStore(), MemoryStore()
    far.put_records((record("a", b"one"),))
    far.put_blobs(FRAMES)
    tiers = Tiers([Resting(near), Resting(far)])
    assert tiers.get_record(digest("a")) == record("a", b"one")
    assert tiers.get_blobs(FRAMES) == FRAMES
    assert near.records == far.records
    assert near.blobs == far.blobs


def test_a_put_fills_every_tier_though_the_blobs_lie_in_the_first() -> None:
    near, far = MemoryStore(), MemoryStore()
    near.put_blobs(FRAMES)
    Tiers([Resting(near), Resting(far)]).put(record("a", b"one"), {})
    assert far.blobs == FRAMES
    assert far.records == near.records == {digest("a"): record("a", b"one")}


def test_a_record_is_not_kept_where_its_blobs_are_not() -> None:
    near = MemoryStore()
    Tiers([Resting(near)]).put(record("a", b"one"), {})
    assert near.records == {}


def test_a_dead_tier_costs_misses_and_is_left_alone_for_a_while() -> None:
    clock, near, far = Clock(), MemoryStore(), DeadStore()
    resting = Resting(far, rest_s=10.0, now=clock)
    tiers = Tiers([Resting(near), resting])
    assert tiers.get_record(digest("a")) is None
    tiers.put(record("b", b"one"), FRAMES)
    assert tiers.get_record(digest("b")) == record("b", b"one")
    assert (far.asked, tiers.faults) == (1, 1)
    far.is_dead = False
    clock.now = 10.0
    tiers.put(record("c", b"one"), FRAMES)
    assert far.records.keys() == {digest("c")}


class SlowStore(MemoryStore):
    """A disk that stands still until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None:
        assert self.go.wait(30)
        super().put_blobs(frames)


def test_what_does_not_fit_into_the_queue_is_not_remembered() -> None:
    slow = SlowStore()
    writer = WriteBehind(Tiers([Resting(slow)]), limit_bytes=100)
    frames = {digest_of(b"one"): b"x" * 60}
    assert writer.put(record("a", b"one"), frames)
    assert not writer.put(record("b", b"one"), frames)
    slow.go.set()
    writer.wait_written()
    assert writer.put(record("c", b"one"), frames)
    writer.close()
    assert slow.records.keys() == {digest("a"), digest("c")}
    assert writer.dropped == 1
