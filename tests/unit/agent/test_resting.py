"""Launchers that have become compilers: when the agent hears that one has ended."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

from zcc.agent.launchers.parked import RestingRoom

PATIENCE_S = 20


class Guests:
    """Connections in a room. `ended` names those whose end was heard, in that order."""

    def __init__(self, room: RestingRoom, count: int) -> None:
        self.ended: list[int] = []
        self.room = room
        self._pairs = [socket.socketpair() for _ in range(count)]
        for number, (ours, _) in enumerate(self._pairs):
            room.enter(ours.fileno(), lambda number=number: self._end(number))  # type: ignore[misc]

    def leave(self, number: int) -> None:
        self._pairs[number][1].close()

    def close(self) -> None:
        for pair in self._pairs:
            for each in pair:
                each.close()

    def _end(self, number: int) -> None:
        self._pairs[number][0].close()
        self.ended.append(number)


def with_guests(count: int, work: Callable[[Guests], Awaitable[None]]) -> None:
    async def main() -> None:
        room = RestingRoom()
        guests = Guests(room, count)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work(guests)
        finally:
            guests.close()
            room.close()

    asyncio.run(main())


async def turns(count: int = 20) -> None:
    """Let the loop see to all that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_end_waits_for_the_next_look() -> None:
    async def work(guests: Guests) -> None:
        guests.leave(1)
        await turns()
        assert guests.ended == []
        guests.room.look()
        assert guests.ended == [1]
        assert len(guests.room) == 2

    with_guests(3, work)


def test_a_room_that_is_watched_hears_each_end_at_once() -> None:
    async def work(guests: Guests) -> None:
        guests.leave(0)
        guests.room.watch(True)
        while guests.ended != [0]:
            await asyncio.sleep(0)
        guests.leave(2)
        while guests.ended != [0, 2]:
            await asyncio.sleep(0)
        guests.room.watch(False)
        guests.leave(1)
        await turns()
        assert guests.ended == [0, 2]

    with_guests(3, work)


def test_a_look_sees_to_more_than_one_answer_of_the_kernel_holds() -> None:
    count = 300

    async def work(guests: Guests) -> None:
        for number in range(count):
            guests.leave(number)
        guests.room.look()
        assert sorted(guests.ended) == list(range(count))
        assert len(guests.room) == 0

    with_guests(count, work)


def test_a_descriptor_is_used_again_by_who_comes_next() -> None:
    async def work(guests: Guests) -> None:
        guests.leave(0)
        guests.room.look()
        ours, theirs = socket.socketpair()
        heard = []

        def end() -> None:
            heard.append(ours.detach())
            os.close(heard[-1])

        guests.room.enter(ours.fileno(), end)
        guests.room.look()
        assert heard == []
        theirs.close()
        guests.room.look()
        assert len(heard) == 1

    with_guests(1, work)


def test_a_room_that_is_closed_hears_nobody_any_more() -> None:
    """As when an agent leaves while launchers still wait."""

    async def work(guests: Guests) -> None:
        guests.leave(0)
        guests.room.watch(True)
        guests.room.close()
        guests.room.watch(True)
        guests.room.look()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            guests.room.enter(ours.fileno(), ours.close)
        await turns()
        assert guests.ended == []
        assert len(guests.room) == 2

    with_guests(2, work)
