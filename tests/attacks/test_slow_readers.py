"""Answers that nobody reads: they are not in the broker's memory, and whoever reads late gets all of them.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from broker.core.limits import MAX_UNSENT_BYTES
from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.test_floods import result, runs, submit
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc import codec
from zcc.job import Job
from zcc.keys import KeyPair
from zcc.messages import (
    CHUNK_BYTES,
    MAX_FRAME_BYTES,
    Announce,
    AskNodes,
    Beat,
    Done,
    Finished,
    Hello,
    Message,
    Nodes,
    PeerRole,
    Run,
    Settled,
    StorageEnd,
    StorageGet,
    StoragePut,
    StorageValue,
    Welcome,
)

PATIENCE_S = 60.0
# What lies between libzmq and the peer: a message of its, and the kernel's buffers on loopback.
BETWEEN_BYTES = MAX_FRAME_BYTES + (8 << 20)


class SlowPeer:
    """A bare connection that reads when it is told to, and has little room before."""

    def __init__(self, broker: Broker, pair: KeyPair) -> None:
        self.socket = broker.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvhwm = 1
        self.socket.sndhwm = 100_000
        self.socket.setsockopt(zmq.RCVBUF, 4096)
        self.socket.curve_serverkey = broker.keys.public.encode()
        self.socket.curve_publickey = pair.public.encode()
        self.socket.curve_secretkey = pair.secret.encode()
        self.socket.connect(broker.shell.endpoint)

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.socket.send_multipart(codec.encode(message), zmq.DONTWAIT)

    async def hear(self) -> Message:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return codec.decode(self.socket.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                await asyncio.sleep(0.002)
        raise AssertionError("nothing comes any more")

    async def read(self, count: int, wanted: Callable[[Message], bool]) -> list[Message]:
        """So many messages of a kind; beats are answered meanwhile."""
        found: list[Message] = []
        while len(found) < count:
            message = await self.hear()
            if wanted(message):
                found.append(message)
            elif isinstance(message, Beat):
                self.say(Beat(0.0))
        return found

    async def hello(self) -> None:
        self.say(Hello(os.urandom(16), "client", "", "slow", "0", 0, (), ()))
        assert isinstance(await self.hear(), Welcome)


@contextmanager
def slow_peer(broker: Broker, pair: KeyPair) -> Iterator[SlowPeer]:
    peer = SlowPeer(broker, pair)
    try:
        yield peer
    finally:
        peer.socket.close()


def naming(number: int) -> Job:
    """One of the jobs that `runs` makes, or one like them."""
    return replace(sample_job(b"toolchain", b"s"), cwd=b"/%d" % number)


def most_unsent_bytes(broker: Broker) -> int:
    link = broker.shell._link
    sessions = broker.shell.machine.farm.sessions
    return max(link.unsent_bytes(session.route) for session in sessions)


async def stands_still(broker: Broker, other: Peer, slow: SlowPeer) -> None:
    """Nobody reads for a while: little is handed over, and others are answered."""
    for _ in range(10):
        slow.say(Beat(0.0))
        await other.say(AskNodes())
        await other.wait(Nodes)
        await asyncio.sleep(0.1)
    assert most_unsent_bytes(broker) < MAX_UNSENT_BYTES + BETWEEN_BYTES


def test_values_that_a_member_asks_for_and_does_not_read_are_not_kept_in_memory(
    tmp_path: Path,
) -> None:
    asks = 200  # 50 MiB
    value, key = os.urandom(CHUNK_BYTES), b"k" * 20

    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.CLIENT)
        other = broker.dial(broker.member(PeerRole.CLIENT, "other"))
        await other.hello("client")
        await other.say(StoragePut(1, key, True, digest_of(value), 0, len(value), value))
        await other.wait(StorageEnd)
        with slow_peer(broker, pair) as slow:
            await slow.hello()
            slow.say(*(StorageGet(ticket, key, 0) for ticket in range(asks)))
            await stands_still(broker, other, slow)
            values = await slow.read(asks, lambda each: isinstance(each, StorageValue))
        assert [each.ticket for each in values if isinstance(each, StorageValue)] == [*range(asks)]

    run(story, tmp_path)


def test_results_that_an_agent_does_not_read_wait_for_it_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remembered ones and others, 50 MiB in all."""
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD_IN_MEMORY_BYTES", 4 << 20)
    asks, others = 15, 10

    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.CLIENT)
        agent, node = broker.dial(pair), broker.dial(broker.member(PeerRole.NODE))
        await agent.hello("client")
        await node.hello("node", slots=others)
        (given,) = await runs(broker, agent, node, 1)
        remembered = result(2 << 20, exit_status=0)
        output = digest_of(b"s")
        node.blobs[output] = compress(b"s")
        await node.say(Announce(given.lease, (output,)))
        node.sender.offer(output)
        node.sender.after(Done(given.lease, remembered))
        node.pump()
        await agent.wait(Finished)
        await asyncio.sleep(1.0)  # until it is written down
        with slow_peer(broker, pair) as slow:
            await slow.hello()
            slow.say(*(submit(ticket, naming(ticket)) for ticket in range(100, 100 + others)))
            given_last = [await node.wait(Run) for _ in range(others)]
            bodies = [result(2 << 20) for _ in given_last]
            slow.say(*(submit(ticket, naming(1)) for ticket in range(1_000, 1_000 + asks)))
            await node.say(
                *(Done(each.lease, body) for each, body in zip(given_last, bodies, strict=True))
            )
            for _ in given_last:
                await node.wait(Settled)
            await stands_still(broker, agent, slow)
            assert broker.shell._outgoing.spool.size_bytes > 8 << 20
            answers = await slow.read(asks + others, lambda each: isinstance(each, Finished))
        got = [each.body for each in answers if isinstance(each, Finished)]
        assert sorted(got) == sorted([remembered] * asks + bodies)
        assert broker.shell._outgoing.spool.size_bytes == 0

    run(story, tmp_path)
