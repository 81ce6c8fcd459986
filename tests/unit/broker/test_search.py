"""What nodes want is looked for in turns, and only where a lease allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.core.events import BlobsWanted, Event, Origin, PeerMisbehaved
from broker.failures import Failures
from broker.transport.search import Blobs, Search
from broker.transport.traffic import Traffic
from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from zcc.errors import ProtocolError
from zcc.messages import Message, PeerRole

ONE, TWO = (Origin(name, name.decode(), PeerRole.NODE) for name in (b"one", b"two"))


@dataclass
class Desk:
    """A search in a store; `looked` are the digests that the store was asked for."""

    store: BlobStore
    leased: set[Digest] = field(default_factory=set)
    happened: list[Event] = field(default_factory=list)
    looked: list[Digest] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        desk = self

        class Looking(Traffic):
            def has(self, digest: Digest) -> bool:
                desk.looked.append(digest)
                return super().has(digest)

        def send(route: bytes, message: Message) -> bool:
            return True

        def fetchable(origin: Origin, digests: Iterable[Digest]) -> Container[Digest]:
            return desk.leased

        self.failures = Failures(lambda: 0.0)
        traffic = Looking(self.store, send, self.happened.append)
        self.search = Search(
            traffic, fetchable, self.happened.append, self.failures, lambda: self.now
        )

    def blobs(self, count: int) -> Blobs:
        digests = [digest_of(b"%d" % number) for number in range(count)]
        self.leased.update(digests)
        return tuple((digest, 0) for digest in digests)

    @property
    def served(self) -> list[tuple[str, int]]:
        return [
            (each.origin.user, len(each.present) + len(each.missing))
            for each in self.happened
            if isinstance(each, BlobsWanted)
        ]


def run(story: Callable[[Desk], Coroutine[Any, Any, None]], directory: Path) -> None:
    async def told() -> None:
        await story(Desk(BlobStore(str(directory), 1 << 20)))

    asyncio.run(told())


def test_the_disk_is_asked_only_for_what_a_lease_may_fetch(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        here, other = desk.store.put(b"here"), desk.store.put(b"another's")
        gone = digest_of(b"gone")
        desk.leased = {here, gone}
        desk.search.want(ONE, ((here, 0), (other, 0), (gone, 7)))
        assert desk.happened == [BlobsWanted(ONE, ((here, 0),), ((other, 0), (gone, 7)))]
        assert desk.looked == [here, gone]

    run(story, tmp_path)


def test_nodes_take_turns_and_a_turn_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.search.MAX_SOUGHT", 10)

    async def story(desk: Desk) -> None:
        for _ in range(2):
            desk.search.want(ONE, desk.blobs(15))
        desk.search.want(TWO, desk.blobs(15))
        assert not desk.served
        for turn in range(1, 6):
            await asyncio.sleep(0)
            assert sum(count for _, count in desk.served) <= 10 * turn
        assert [user for user, _ in desk.served[:3]] == ["one", "two", "one"]
        assert sum(count for user, count in desk.served if user == "one") == 30
        assert sum(count for user, count in desk.served if user == "two") == 15

    run(story, tmp_path)


def test_what_is_small_is_answered_at_once_as_often_as_a_turn_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.search.MAX_SOUGHT", 10)

    async def story(desk: Desk) -> None:
        for _ in range(3):
            desk.search.want(ONE, desk.blobs(4))
        assert desk.served == [("one", 4), ("one", 4)]
        await asyncio.sleep(0)
        assert desk.served == [("one", 4)] * 3

    run(story, tmp_path)


def test_more_than_leases_can_need_is_a_violation_and_a_new_session_wants_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.search.MAX_SOUGHT", 10)
    monkeypatch.setattr("broker.transport.search.MAX_UNSOUGHT", 40)

    async def story(desk: Desk) -> None:
        desk.search.want(ONE, desk.blobs(30))
        with pytest.raises(ProtocolError, match="wanted at a time"):
            desk.search.want(ONE, desk.blobs(11))
        desk.search.forget(ONE.route)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not desk.served

    run(story, tmp_path)


def test_a_mistake_of_ours_over_what_waits_ends_that_nodes_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.search.MAX_SOUGHT", 10)

    async def story(desk: Desk) -> None:
        def broken(*_: object) -> Container[Digest]:
            raise KeyError("a mistake of ours")

        desk.search.want(ONE, desk.blobs(11))
        monkeypatch.setattr(desk.search, "_fetchable", broken)
        await asyncio.sleep(0)
        assert desk.happened == [PeerMisbehaved(ONE, "broker-failed")]
        assert desk.failures.count == 1

    run(story, tmp_path)


def test_a_key_whose_wants_take_the_loop_waits_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that asks for strangers' blobs has each held against all of its leases, again and again."""
    monkeypatch.setattr("broker.transport.search.SOUGHT_BURST_S", 1e-9)
    monkeypatch.setattr("broker.transport.search.SOUGHT_SHARE", 1.0)
    monkeypatch.setattr("broker.transport.search.ASK_AGAIN_S", 0.01)

    async def story(desk: Desk) -> None:
        for _ in range(3):
            desk.search.want(ONE, desk.blobs(4))
        assert desk.served == [("one", 4)]
        desk.search.want(TWO, desk.blobs(5))
        await asyncio.sleep(0.05)
        assert desk.served == [("one", 4), ("two", 5)]
        for expected in (3, 4):
            desk.now += 1.0
            while len(desk.served) < expected:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert desk.served[2:] == [("one", 4)] * (expected - 2)
        desk.search.close()

    run(story, tmp_path)
