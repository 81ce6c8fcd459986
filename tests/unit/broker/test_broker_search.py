"""What somebody could not use is re-read, and not again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.core.effects import FindMissing
from broker.core.events import Event, InputsChecked
from broker.core.limits import SOUND_FOR_S
from broker.failures import Failures
from broker.transport.search import Search
from broker.transport.traffic import Traffic
from cache.blobs import BlobStore
from cache.digest import Digest, digest_of

KEY = digest_of(b"a job")


class CountedTraffic(Traffic):
    """Notes what is read."""

    reads: list[Digest]

    def reread(self, digests: Sequence[Digest]) -> int:
        count = super().reread(digests)
        self.reads += digests[:count]
        return count


class World:
    def __init__(self, directory: Path) -> None:
        self.store = BlobStore(str(directory / "blobs"), 1 << 30)
        self.traffic = CountedTraffic(self.store, lambda *_: True, lambda _: None)
        self.traffic.reads = []
        self.found: asyncio.Queue[Event] = asyncio.Queue()
        self.now = 1000.0
        failures = Failures(self.clock)
        self.search = Search(
            self.traffic,
            lambda origin, digests: set(digests),
            self.found.put_nowait,
            failures,
            self.clock,
        )

    def clock(self) -> float:
        return self.now

    async def complain(self, *digests: Digest) -> frozenset[Digest]:
        """A node could not use these; which of them the store lacks when they have been looked at."""
        self.search.check(digests)
        self.search.find(FindMissing(KEY, digests), lambda _: None)
        event = await asyncio.wait_for(self.found.get(), 30.0)
        assert isinstance(event, InputsChecked)
        return event.missing


def spoil(store: BlobStore, digest: Digest) -> None:
    path = Path(store.path_of(digest))
    path.chmod(0o600)
    path.write_bytes(b"rotten")


def test_what_was_found_whole_is_not_read_again_for_every_complaint(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        world = World(tmp_path)
        digest = world.store.put(b"a toolchain")
        for _ in range(20):
            assert await world.complain(digest) == frozenset()
        assert world.traffic.reads == [digest]
        world.now += SOUND_FOR_S
        await world.complain(digest)
        assert world.traffic.reads == [digest] * 2

    asyncio.run(scene())


def test_what_is_rotten_is_missing_for_the_next_try(tmp_path: Path) -> None:
    async def scene() -> None:
        world = World(tmp_path)
        whole, rotten = world.store.put(b"whole"), world.store.put(b"an input")
        spoil(world.store, rotten)
        assert await world.complain(whole, rotten) == {rotten}
        world.store.put(b"an input")
        assert await world.complain(whole, rotten) == frozenset()
        assert world.traffic.reads == [whole, rotten, rotten]

    asyncio.run(scene())


def test_a_job_waits_for_its_own_blobs_and_not_for_all_that_are_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.traffic.REREAD_S", 0.0)  # one at a time

    async def scene() -> None:
        world = World(tmp_path)
        others = [world.store.put(b"%d" % number) for number in range(100)]
        mine = world.store.put(b"a header")
        world.search.check(others)
        assert await world.complain(mine) == frozenset()
        assert len(world.traffic.reads) <= 3

    asyncio.run(scene())
