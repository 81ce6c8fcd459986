"""The broker's socket: who is answered, and what is under way to a peer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zmq

from broker.transport.router import CHOSEN_ROUTE, MANY_PARTS, RouterLink
from broker.transport.watch import AHEAD
from zcc.keys import KeyPair, new_key_pair
from zcc.link import Frames

PATIENCE_S = 5.0
MIB = 1 << 20
# Connections of one key.
MOST = 5


@dataclass
class Router:
    """A link that admits every key, under its own name; what came, in order; peers that are read by hand."""

    link: RouterLink
    context: zmq.Context[zmq.Socket[bytes]]
    keys: KeyPair
    inbox: list[tuple[bytes, str, Frames]] = field(default_factory=list)
    sockets: list[zmq.Socket[bytes]] = field(default_factory=list)
    offences: list[tuple[str, str]] = field(default_factory=list)

    def dial(self, pair: KeyPair, route: bytes = b"", receive_bytes: int = 0) -> zmq.Socket[bytes]:
        peer = self.context.socket(zmq.DEALER)
        peer.linger = 0
        peer.rcvhwm = 1
        peer.curve_serverkey = self.keys.public.encode()
        peer.curve_publickey, peer.curve_secretkey = pair.public.encode(), pair.secret.encode()
        if route:
            peer.setsockopt(zmq.ROUTING_ID, route)
        if receive_bytes:
            peer.setsockopt(zmq.RCVBUF, receive_bytes)
        peer.connect(self.link.endpoint)
        self.sockets.append(peer)
        return peer

    def ends_of(self, peer: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        """Can be read when a connection of this peer's has ended."""
        monitor = peer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.sockets.append(monitor)
        return monitor

    async def heard(self) -> tuple[bytes, str]:
        """The route and the user of the next message."""
        await until(lambda: bool(self.inbox))
        route, user, _ = self.inbox.pop(0)
        return route, user

    async def said(self, peer: zmq.Socket[bytes]) -> tuple[bytes, str]:
        peer.send(b"x")
        return await self.heard()


async def until(is_so: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(endpoint: str) -> AsyncIterator[Router]:
    keys, context = new_key_pair(), zmq.Context[zmq.Socket[bytes]]()
    inbox: list[tuple[bytes, str, Frames]] = []

    def take(route: bytes, user: str, frames: Frames) -> None:
        inbox.append((route, user, frames))

    def note(user: str, reason: str) -> None:
        offences.append((user, reason))

    offences: list[tuple[str, str]] = []
    link = RouterLink(context, endpoint, keys, lambda key, _: key, take, note, MOST)
    router = Router(link, context, keys, inbox, offences=offences)

    async def look() -> None:
        while True:
            link.look(asyncio.get_running_loop().time())
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield router
    finally:
        looking.cancel()
        link.close()
        for socket in router.sockets:
            socket.close()
        context.term()


def run(
    story: Callable[[Router], Coroutine[Any, Any, None]], endpoint: str = "tcp://127.0.0.1:0"
) -> None:
    async def told() -> None:
        async with listening(endpoint) as router:
            await story(router)

    asyncio.run(told())


def test_nothing_is_sent_on_the_route_of_a_connection_that_has_ended() -> None:
    async def story(router: Router) -> None:
        victim = router.dial(new_key_pair())
        route, _ = await router.said(victim)
        assert router.link.send(route, [b"for them"])
        victim.close()
        await asyncio.sleep(0.3)
        thief = router.dial(new_key_pair(), route)  # it says nothing, so as not to be known
        await asyncio.sleep(0.3)
        assert not router.link.send(route, [b"a secret"])
        assert not thief.poll(100)

    run(story)


def test_who_speaks_on_a_route_later_is_heard_under_his_own_name() -> None:
    async def story(router: Router) -> None:
        victim, thief = new_key_pair(), new_key_pair()
        first = router.dial(victim)
        route, user = await router.said(first)
        assert user == victim.public
        first.close()
        await asyncio.sleep(0.3)
        assert await router.said(router.dial(thief, route)) == (route, thief.public)

    run(story)


def test_while_ends_are_still_to_be_heard_of_nothing_goes_out_and_messages_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody makes more of them than a turn of the loop takes: whose a route is, is not known."""

    async def story(router: Router) -> None:
        peer, other = router.dial(new_key_pair()), router.dial(new_key_pair())
        route, _ = await router.said(peer)
        await router.said(other)
        monitor, asked = router.link._monitor, list[bool]()
        assert monitor is not None

        def behind(*, is_urgent: bool = False) -> bool:
            asked.append(is_urgent)
            return False

        with monkeypatch.context() as patched:
            patched.setattr(monitor, "catch_up", behind)
            said = [str(number).encode() for number in range(5)]
            for word in said:
                peer.send(word)
                other.send(word)
            await until(lambda: len(asked) > 20)  # many turns of the loop
            assert not router.link.send(route, [b"for them"])
            assert router.link.is_here(route)  # so that it waits in the outbox
            assert router.inbox == []
        await until(lambda: len(router.inbox) == 10)
        assert [frames for each, _, frames in router.inbox if each == route] == [[w] for w in said]
        assert router.link.send(route, [b"for them"])
        assert await asyncio.to_thread(peer.poll, 5000)
        assert peer.recv() == b"for them"

    run(story)


def test_a_connection_that_is_over_when_it_is_told_of_counts_and_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(router: Router) -> None:
        await router.said(router.dial(new_key_pair()))
        before, looked = router.link._connections.accepted_ever, list[int]()
        monkeypatch.setattr("zcc.tcp.address_of", looked.append)
        begun, ended = zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED
        router.link._happened([(begun, 5001), (begun, 5002), (ended, 5001), (ended, 5002)])
        router.link._happened([(begun, 5001), (ended, 5001), (begun, 5001)])
        assert router.link._connections.accepted_ever == before + 4
        assert len(router.link._connections) == 2  # 5001 has come again, and stays
        assert looked == [5001]

    run(story)


@pytest.mark.parametrize("ahead", [None, -2, 10, 1000, 1 << 31])
def test_a_key_that_chooses_its_route_is_shut_out(ahead: int | None) -> None:
    """One that is no number of libzmq's, and one that libzmq has not given yet, or never will."""

    async def story(router: Router) -> None:
        honest, chooser = new_key_pair(), new_key_pair()
        route, _ = await router.said(router.dial(honest))
        # The chooser's other connection takes the next one.
        other = router.dial(chooser)
        await router.said(other)
        number = int.from_bytes(route[1:], "big") + (ahead or 0)
        chosen = b"mine" if ahead is None else b"\0" + (number % (1 << 32)).to_bytes(4, "big")
        router.dial(chooser, chosen).send(b"x")
        await until(lambda: router.offences)
        assert router.offences == [(chooser.public, CHOSEN_ROUTE)]
        for peer in (other, router.dial(chooser)):
            peer.send(b"y", zmq.DONTWAIT)
        assert await router.said(router.dial(honest))  # his next ones are admitted, and no others
        assert not router.inbox
        assert len(router.offences) == 1

    run(story)


def test_a_key_has_so_many_connections_and_another_once_one_ends() -> None:
    async def story(router: Router) -> None:
        pair = new_key_pair()
        peers = [router.dial(pair) for _ in range(MOST)]
        for peer in peers:
            await router.said(peer)
        late = router.dial(pair)
        late.send(b"x")
        await router.said(router.dial(new_key_pair()))
        await asyncio.sleep(0.5)
        assert not router.inbox
        peers[0].close()
        assert await router.heard()

    run(story)


def test_a_connection_that_says_nothing_is_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.transport.watch.SILENT_S", 0.5)

    async def story(router: Router) -> None:
        silent, speaks = router.dial(new_key_pair()), router.dial(new_key_pair())
        ends, others = router.ends_of(silent), router.ends_of(speaks)
        await router.said(speaks)
        await until(lambda: ends.poll(0))
        assert await router.said(speaks)
        assert not others.poll(0)
        assert not router.offences

    run(story)


def test_beyond_a_share_of_the_descriptors_the_newest_connection_is_shut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.transport.watch.most_connections", lambda: 3)

    async def story(router: Router) -> None:
        peers = [router.dial(new_key_pair()) for _ in range(3)]
        for peer in peers:
            await router.said(peer)
        late = router.dial(new_key_pair())
        ends = router.ends_of(late)
        await until(lambda: ends.poll(0))
        for peer in peers:
            await router.said(peer)
        peers[0].close()
        late.send(b"x")
        await router.heard()

    run(story)


def test_a_message_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.transport.watch.MAX_AHEAD_BYTES", 8 * MIB)
    monkeypatch.setattr("broker.transport.router.LOOK_EVERY_S", 0.01)

    async def story(router: Router) -> None:
        endless, honest = new_key_pair(), new_key_pair()
        peer, other = router.dial(endless), router.dial(honest)
        await router.said(peer)
        part = bytes(MIB)
        for _ in range(256):
            peer.send(part, zmq.SNDMORE, copy=False)
        peer.send(b"")  # libzmq sends nothing before it has all
        while not router.offences:
            other.send(bytes(MIB))
            assert (await router.heard())[1] == honest.public
            await asyncio.sleep(0.01)
        assert router.offences == [(endless.public, AHEAD)]
        assert await router.said(other)

    run(story)


@pytest.mark.parametrize("have_spoken", [True, False])
def test_of_all_that_is_on_its_way_whoever_has_most_of_it_gives_way(
    monkeypatch: pytest.MonkeyPatch, have_spoken: bool
) -> None:
    """Keys that stay below what each may have; and connections that have said nothing, which are nobody's."""
    monkeypatch.setattr("broker.transport.watch.MAX_AHEAD_BYTES", 1024 * MIB)
    monkeypatch.setattr(
        "broker.transport.watch.MAX_AHEAD_BYTES_PER_KEY", (1024 if have_spoken else 16) * MIB
    )
    monkeypatch.setattr(
        "broker.transport.watch.MAX_AHEAD_BYTES_IN_ALL", (16 if have_spoken else 1024) * MIB
    )
    monkeypatch.setattr("broker.transport.router.LOOK_EVERY_S", 0.01)

    async def story(router: Router) -> None:
        honest = router.dial(new_key_pair())
        await router.said(honest)
        honest_ends = router.ends_of(honest)
        greedy = [router.dial(new_key_pair()) for _ in range(3)]
        for peer in greedy:
            if have_spoken:
                await router.said(peer)
        ends = [router.ends_of(peer) for peer in greedy]
        part = bytes(MIB)
        for peer in greedy:
            for _ in range(48):
                peer.send(part, zmq.SNDMORE)
            peer.send(b"")  # libzmq sends nothing before it has all
        while not any(each.poll(0) for each in ends):
            honest.send(part)
            await router.heard()
        assert {reason for _, reason in router.offences} <= {AHEAD}
        assert bool(router.offences) == have_spoken
        assert not honest_ends.poll(0)

    run(story)


def test_a_message_of_many_parts_is_passed_over_in_turns_and_ends_its_key() -> None:
    async def story(router: Router) -> None:
        bad, honest = new_key_pair(), new_key_pair()
        peer, other = router.dial(bad), router.dial(honest)
        await router.said(peer)
        await router.said(other)
        for _ in range(100_000):
            peer.send(b"", zmq.SNDMORE, copy=False)
        peer.send(b"")
        turns = 0
        while not router.offences or router.link._is_skipping:
            await asyncio.sleep(0)
            turns += router.link._is_skipping
        assert router.offences == [(bad.public, MANY_PARTS)]
        assert turns > 10
        assert await router.said(other)

    run(story)


def test_bytes_on_a_route_are_what_came_by_it_and_what_was_handed_over() -> None:
    async def story(router: Router) -> None:
        peer = router.dial(new_key_pair())
        route, _ = await router.said(peer)
        assert router.link.bytes_on(b"nobody") is None
        before = router.link.bytes_on(route)
        assert before is not None
        assert before[0] > 0
        assert router.link.send(route, [bytes(MIB)])
        after = router.link.bytes_on(route)
        assert after is not None
        assert after[0] == before[0]
        assert MIB <= after[1] - before[1] <= MIB + 1000
        assert await asyncio.to_thread(peer.poll, 5000)

    run(story)


def test_unsent_bytes_are_what_a_peer_that_reads_nothing_has_not_taken() -> None:
    async def story(router: Router) -> None:
        slow = router.dial(new_key_pair(), receive_bytes=4096)
        route, _ = await router.said(slow)
        assert router.link.unsent_bytes(b"nobody") == 0
        for _ in range(32):
            assert router.link.send(route, [bytes(MIB)])
        await asyncio.sleep(0.3)
        assert 16 * MIB < router.link.unsent_bytes(route) < 33 * MIB
        for _ in range(32):
            assert await asyncio.to_thread(slow.poll, 5000)
            slow.recv()
        await until(lambda: router.link.unsent_bytes(route) <= MIB)

    run(story)


def test_a_peer_that_reads_has_nothing_unsent_however_much_it_was_sent() -> None:
    async def story(router: Router) -> None:
        quick = router.dial(new_key_pair())
        route, _ = await router.said(quick)
        for _ in range(20):
            router.link.send(route, [bytes(MIB)] * 2)
            assert await asyncio.to_thread(quick.poll, 5000)
            quick.recv_multipart()
        await until(lambda: router.link.unsent_bytes(route) <= MIB)

    run(story)


def test_an_endpoint_without_tcp_serves_and_has_nothing_unsent(tmp_path: Path) -> None:
    async def story(router: Router) -> None:
        peer = router.dial(new_key_pair())
        route, _ = await router.said(peer)
        assert router.link.send(route, [bytes(4 * MIB)])
        assert await asyncio.to_thread(peer.poll, 5000)
        assert router.link.unsent_bytes(route) == 0

    run(story, f"ipc://{tmp_path}/socket")


FIRST_ROUTE = """
import asyncio
from tests.unit.broker.test_router import listening, new_key_pair
async def main():
    async with listening("tcp://127.0.0.1:0") as router:
        route, _ = await router.said(router.dial(new_key_pair()))
        print(route.hex(), router.link.has_unknown_ids)
asyncio.run(main())
"""


def test_no_two_brokers_begin_with_the_same_route() -> None:
    """libzmq takes the first from libc's rand(), which gave each process the same."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", FIRST_ROUTE]
    said = [
        subprocess.run(
            command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said[0][0] != said[1][0]
    assert [each[1] for each in said] == ["True", "True"]
