"""Tiers beside a broker's loop: asked in threads, put into the near store, never waited for, never believed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from broker.core.effects import Remember
from broker.core.events import Recalled
from broker.results.shared_cache import SharedResults
from broker.results.tombstones import Tombstones, note_tombstone
from broker.tiers.service import TierService
from broker.tiers.settings import TierSettings
from broker.transport.traffic import Traffic
from cache.digest import Digest, digest_of
from cache.frame import compress
from cache.remote.engine import EngineError, MemoryEngine
from cache.selection import Selection
from cache.stores import DiskStore
from cache.whole import MAX_AT_ONCE_BYTES

KEY, GCC = digest_of(b"job"), digest_of(b"gcc")
SECRET = b"s" * 32
OBJECT = b"object" * 100
LONG_S = 60.0  # of a compile: the tiers have all the time that they ever have

pytestmark = pytest.mark.outside


class SlowEngine(MemoryEngine):
    """One that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.is_asked = threading.Event()

    def get(self, names: Iterable[str]) -> dict[str, bytes]:
        self.is_asked.set()
        self.goes_on.wait()
        return super().get(names)


@dataclass
class Broker:
    """The part of a broker that has results, with a disk of its own and engines that it shares."""

    state: Path
    engines: list[MemoryEngine]
    read_only: bool = False

    def __post_init__(self) -> None:
        self.store = DiskStore(str(self.state), "farm", 1 << 30)
        self.tombstones = Tombstones(str(self.state))
        self.tombstones.begin_use()
        tiers = [
            (TierSettings("redis://h", f"tier{at}", read_only=self.read_only), engine)
            for at, engine in enumerate(self.engines)
        ]
        self.tiers = TierService(tiers, self.store.blobs, SECRET, "farm", self.tombstones)
        traffic = Traffic(self.store.blobs, lambda *_: True, lambda _: None)
        self.results = SharedResults(
            self.store, traffic, lambda _: None, self.tombstones.add, self.tiers
        )

    def remember(self, key: Digest = KEY, output: bytes = OBJECT) -> None:
        blob = self.store.blobs.put(output)
        remembered = Remember(key, b"body", (blob,), len(output), GCC, "oak", "nk", "u", b"job")
        self.results.remember(remembered)

    async def seek(self, key: Digest = KEY, expected_s: float = LONG_S) -> Recalled | None:
        """What a job gets that is not in the near store."""
        assert self.results.recall(key) is None
        told = asyncio.get_running_loop().create_future()
        if not self.results.seek(key, expected_s, told.set_result):
            return None
        return self.results.recall(key) if await told else None

    def evict(self) -> None:
        """All that is near is gone, by an eviction."""
        self.results.write_down()
        assert self.results._writer.wait_written()
        self.store.index.remove_all()
        for entry in list(self.store.blobs.entries()):
            self.store.blobs.remove(entry.key)

    def written(self) -> bool:
        return self.tiers.wait_written(30)

    def keep_in_tiers_alone(self, key: Digest = KEY, output: bytes = OBJECT) -> None:
        """A result that tiers have, and the near store has no more."""
        self.remember(key, output)
        assert self.written()
        self.evict()

    def close(self) -> None:
        for engine in self.engines:
            if isinstance(engine, SlowEngine):
                engine.goes_on.set()
        self.results.close()


class Begin(Protocol):
    def __call__(
        self, *engines: MemoryEngine, disk: str = "", read_only: bool = False
    ) -> Broker: ...


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Makes brokers that are closed at the end, on one disk unless another is named."""
    with ExitStack() as made:

        def begun(*engines: MemoryEngine, disk: str = "", read_only: bool = False) -> Broker:
            broker = Broker(tmp_path / disk, list(engines), read_only)
            made.callback(broker.close)
            return broker

        yield begun


async def until(is_so: object) -> None:
    """Wait for this, which is a predicate."""
    assert callable(is_so)
    for _ in range(3000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be")


def run(coroutine: object) -> None:
    asyncio.run(coroutine)  # type: ignore[arg-type]


def test_what_has_left_the_near_store_comes_back(begin: Begin) -> None:
    async def story() -> None:
        broker = begin(MemoryEngine())
        broker.keep_in_tiers_alone()
        recalled = await broker.seek()
        assert recalled is not None
        assert recalled.body == b"body"
        assert broker.store.blobs.read(recalled.outputs[0]) == OBJECT
        (numbers,) = broker.tiers.numbers()
        assert (numbers.hits, numbers.misses, numbers.written) == (1, 0, 1)
        # It is near again: nobody asks any more.
        assert broker.results.recall(KEY) is not None
        broker.results.write_down()
        assert broker.results._writer.wait_written()
        assert broker.store.index.get(KEY) is not None

    run(story())


def test_what_no_tier_has_is_a_miss(begin: Begin) -> None:
    async def story() -> None:
        broker = begin(MemoryEngine(), MemoryEngine())
        assert await broker.seek() is None
        assert [each.misses for each in broker.tiers.numbers()] == [1, 1]

    run(story())


def test_a_hit_of_a_farther_tier_is_put_into_the_nearer(begin: Begin) -> None:
    async def story() -> None:
        near, far = MemoryEngine(), MemoryEngine()
        broker = begin(near, far)
        broker.remember()
        assert broker.written()
        near.values.clear()
        broker.evict()
        assert await broker.seek() is not None
        assert broker.written()
        assert near.values.keys() == far.values.keys()

    run(story())


def test_a_large_output_comes_back_too(begin: Begin) -> None:
    async def story() -> None:
        broker = begin(MemoryEngine())
        broker.keep_in_tiers_alone(output=bytes(MAX_AT_ONCE_BYTES + 1))
        assert await broker.seek() is not None

    run(story())


def test_nothing_is_written_to_a_tier_that_is_read_only(begin: Begin) -> None:
    async def story() -> None:
        engine = MemoryEngine()
        writer = begin(engine)
        writer.keep_in_tiers_alone()
        there = dict(engine.values)
        reader = begin(engine, read_only=True)
        assert await reader.seek() is not None
        reader.remember(digest_of(b"another"))
        assert reader.written()
        assert engine.values == there
        assert reader.tiers.numbers()[0].writes == "read-only"

    run(story())


def test_one_of_which_the_blob_is_another_is_a_miss_and_counted(begin: Begin) -> None:
    async def story() -> None:
        engine = MemoryEngine()
        broker = begin(engine)
        broker.keep_in_tiers_alone()
        (name,) = [name for name in engine.values if "/b/" in name]
        for frame in (compress(b"another object"), b"no frame", engine.values[name][:-1], b""):
            engine.values[name] = frame
            assert await broker.seek() is None
        assert broker.tiers.numbers()[0].bad == {"damaged": 4}
        del engine.values[name]
        assert await broker.seek() is None
        assert broker.results.record_of(KEY) is None

    run(story())


def test_what_was_found_wrong_does_not_come_back(begin: Begin) -> None:
    async def story() -> None:
        engine = MemoryEngine()
        broker = begin(engine)
        broker.remember()
        broker.remember(digest_of(b"other"))
        assert broker.written()
        broker.results.distrust(KEY)
        broker.evict()
        assert await broker.seek() is None
        assert await broker.seek(digest_of(b"other")) is not None
        assert broker.tiers.numbers()[0].bad == {"stale": 1}
        broker.remember()  # made again
        assert broker.written()
        broker.evict()
        assert await broker.seek() is not None

    run(story())


def test_what_is_found_wrong_while_a_tier_is_asked_is_not_taken(begin: Begin) -> None:
    async def story() -> None:
        engine = SlowEngine()
        broker = begin(engine)
        broker.keep_in_tiers_alone()
        engine.goes_on.clear()
        asked = asyncio.create_task(broker.seek())
        await until(engine.is_asked.is_set)
        # By another process, at the last moment.
        note_tombstone(str(broker.state), Selection(key_prefix=KEY[:4]))
        engine.goes_on.set()
        assert await asked is None
        await until(lambda: broker.tiers.numbers()[0].misses == 1)
        assert broker.results.record_of(KEY) is None

    run(story())


def test_a_late_answer_is_a_miss_and_fills_the_near_store(begin: Begin) -> None:
    async def story() -> None:
        engine = SlowEngine()
        broker = begin(engine)
        broker.keep_in_tiers_alone()
        engine.goes_on.clear()
        assert await broker.seek(expected_s=0.1) is None
        engine.goes_on.set()
        await until(lambda: broker.tiers.numbers()[0].late == 1)
        assert broker.results.recall(KEY) is not None

    run(story())


def test_a_tier_that_hangs_is_left_alone_and_nobody_waits_for_it(begin: Begin) -> None:
    async def story() -> None:
        engine = SlowEngine()
        broker = begin(engine)
        engine.goes_on.clear()
        keys = (digest_of(b"%d" % at) for at in range(1000))
        loop = asyncio.get_running_loop()
        while broker.tiers.numbers()[0].state == "closed":
            before = loop.time()
            assert await broker.seek(next(keys)) is None
            assert loop.time() - before < 5  # whatever else runs here
        assert not broker.results.seek(next(keys), LONG_S, lambda _: None)

    run(story())


def test_one_that_fails_costs_misses_and_is_asked_again_later(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.remote.breaker.FIRST_REST_S", 0.05)

    async def story() -> None:
        engine = MemoryEngine()
        broker = begin(engine)
        broker.keep_in_tiers_alone()
        engine.failure = EngineError("gone")
        while broker.tiers.numbers()[0].state == "closed":
            assert await broker.seek() is None
        engine.failure = None
        await until(lambda: broker.tiers.numbers()[0].state == "half-open")
        assert await broker.seek() is not None
        assert broker.tiers.numbers()[0].state == "closed"

    run(story())


def test_what_cannot_be_written_is_lost_and_reading_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        engine = MemoryEngine()
        broker = begin(engine)
        broker.remember()
        assert broker.written()

        def full(_: object) -> None:
            raise EngineError("full")

        monkeypatch.setattr(engine, "put", full)
        while broker.tiers.numbers()[0].writes == "closed":
            lost = broker.tiers.numbers()[0].lost
            broker.remember(digest_of(b"%d" % lost))
            await until(lambda lost=lost: broker.tiers.numbers()[0].lost > lost)
        broker.evict()
        assert await broker.seek() is not None
        assert broker.tiers.numbers()[0].state == "closed"

    run(story())


def test_two_who_ask_for_the_same_ask_once(begin: Begin) -> None:
    async def story() -> None:
        broker = begin(MemoryEngine())
        broker.keep_in_tiers_alone()
        found = await asyncio.gather(broker.seek(), broker.seek())
        assert all(found)
        assert broker.tiers.numbers()[0].hits == 1

    run(story())


def test_another_farms_engine_says_nothing(begin: Begin) -> None:
    async def story() -> None:
        engine = MemoryEngine()
        broker = begin(engine, disk="a")
        broker.remember()
        assert broker.written()
        other = begin(engine, disk="b")  # the same secret, another list
        assert await other.seek() is None
        assert other.tiers.numbers()[0].bad == {"stale": 1}

    run(story())
