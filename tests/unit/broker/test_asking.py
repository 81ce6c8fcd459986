"""What agents are asked for: in Wants that every peer takes, in turns of the loop, within their key's share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from broker.core.limits import ASK_AGAIN_S, ASKED_BURST, ASKED_PER_S, MAX_ASKED
from broker.transport.asking import Asking
from cache.digest import Digest, digest_of


@dataclass
class Bench:
    """Agents that are asked, and the clock of what they may be."""

    now: float = 0.0
    asked: list[tuple[bytes, int]] = field(default_factory=list)
    failed: list[bytes] = field(default_factory=list)
    broken: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.asking = Asking(self.ask, lambda route, _: self.failed.append(route), lambda: self.now)

    def ask(self, route: bytes, digests: list[Digest]) -> None:
        if route in self.broken:
            raise KeyError(route)
        self.asked.append((route, len(digests)))

    def total(self, route: bytes) -> int:
        return sum(count for to, count in self.asked if to == route)


def run(story: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        bench = Bench()
        await story(bench)
        bench.asking.close()

    asyncio.run(told())


def blobs(count: int) -> list[Digest]:
    return [digest_of(b"%d" % number) for number in range(count)]


def test_a_short_list_is_asked_for_at_once() -> None:
    async def story(bench: Bench) -> None:
        bench.asking.add(b"a", "key", blobs(3))
        assert bench.asked == [(b"a", 3)]

    run(story)


def test_a_long_list_is_asked_for_in_parts_and_others_come_between() -> None:
    async def story(bench: Bench) -> None:
        bench.asking.add(b"a", "key", blobs(5 * MAX_ASKED))
        bench.asking.add(b"b", "other", blobs(2 * MAX_ASKED))
        assert bench.asked == [(b"a", MAX_ASKED)]
        while bench.total(b"a") < 5 * MAX_ASKED:
            before = len(bench.asked)
            await asyncio.sleep(0)
            assert sum(count for _, count in bench.asked[before:]) <= MAX_ASKED
        assert [to for to, _ in bench.asked] == [b"a", b"a", b"b", b"a", b"b", b"a", b"a"]

    run(story)


def test_what_is_added_twice_is_asked_for_once() -> None:
    async def story(bench: Bench) -> None:
        bench.asking.add(b"a", "key", blobs(MAX_ASKED))
        for _ in range(2):
            bench.asking.add(b"a", "key", blobs(10))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bench.total(b"a") == MAX_ASKED + 10

    run(story)


def test_a_key_is_asked_within_its_share_and_others_do_not_wait_for_it() -> None:
    async def story(bench: Bench) -> None:
        many = blobs(3 * ASKED_BURST)
        bench.asking.add(b"a", "key", many)
        bench.asking.add(b"b", "key", many)
        await asyncio.sleep(2 * ASK_AGAIN_S)
        asked = bench.total(b"a") + bench.total(b"b")
        assert ASKED_BURST <= asked < ASKED_BURST + MAX_ASKED
        bench.asking.add(b"c", "other", blobs(5))
        assert bench.total(b"c") == 5
        bench.now += 1.0
        await asyncio.sleep(2 * ASK_AGAIN_S)
        more = bench.total(b"a") + bench.total(b"b") - asked
        assert ASKED_PER_S - MAX_ASKED <= more < ASKED_PER_S + MAX_ASKED

    run(story)


def test_what_a_gone_session_was_to_be_asked_for_is_forgotten() -> None:
    async def story(bench: Bench) -> None:
        bench.asking.add(b"a", "key", blobs(3 * MAX_ASKED))
        bench.asking.forget(b"a")
        await asyncio.sleep(ASK_AGAIN_S)
        assert bench.total(b"a") == MAX_ASKED

    run(story)


def test_a_mistake_of_ours_over_one_agent_does_not_reach_the_others() -> None:
    async def story(bench: Bench) -> None:
        bench.broken.add(b"a")
        bench.asking.add(b"a", "key", blobs(2 * MAX_ASKED))
        bench.asking.add(b"b", "other", blobs(5))
        await asyncio.sleep(ASK_AGAIN_S)
        assert set(bench.failed) == {b"a"}
        assert bench.total(b"b") == 5

    run(story)
