"""A key that makes connections as no peer does: for others' messages, for the broker's end, or very many.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from broker.audit import FILE_NAME
from cache.frame import compress
from tests.unit.broker.test_broker_wire import PATIENCE_S, Broker, run, sample_job
from zcc import codec
from zcc.job import encode_job, job_key
from zcc.keys import KeyPair
from zcc.messages import AskNodes, Beat, Bye, Hello, Message, Nodes, PeerRole, Submit, Who


@contextmanager
def bare(broker: Broker, pair: KeyPair, route: bytes = b"") -> Iterator[zmq.Socket[bytes]]:
    """A peer that may choose its route."""
    with broker.context.socket(zmq.DEALER) as made:
        made.linger = 0
        if route:
            made.setsockopt(zmq.ROUTING_ID, route)
        made.curve_serverkey = broker.keys.public.encode()
        made.curve_publickey, made.curve_secretkey = pair.public.encode(), pair.secret.encode()
        made.connect(broker.shell.endpoint)
        yield made


def said_to(peer: zmq.Socket[bytes]) -> list[Message]:
    heard = []
    while peer.poll(0):
        heard.append(codec.decode(peer.recv_multipart()))
    return heard


async def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def violations(broker: Broker) -> list[str]:
    log = (Path(broker.state) / FILE_NAME).read_text()
    return [line for line in log.splitlines() if '"violation"' in line]


def test_who_takes_the_route_of_a_broken_connection_gets_nothing_of_its_session(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        victim, thief = broker.dial(broker.member(PeerRole.CLIENT)), broker.member(PeerRole.CLIENT)
        await victim.hello("client")
        encoded = encode_job(sample_job(b"toolchain", b"source"))
        # Within the grace that a new broker gives its nodes: the answer comes when that is over.
        await victim.say(
            Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))
        )
        sessions = broker.shell.machine.farm.sessions
        await until(lambda: broker.shell.machine.farm.executions)
        (session,) = sessions
        victim.link.close()
        broker.links.remove(victim.link)
        await asyncio.sleep(0.2)
        with bare(broker, thief, session.route) as peer:
            got: list[Message] = []
            end = time.monotonic() + 4.0
            while time.monotonic() < end:
                peer.send_multipart(codec.encode(Beat(0.0)), zmq.DONTWAIT)
                got += said_to(peer)
                await asyncio.sleep(0.05)
        assert got
        assert {type(each) for each in got} == {Who}
        assert not len(sessions)

    run(story, tmp_path)


def test_who_chooses_the_route_that_another_is_given_next_ends_nothing_but_his_own(
    tmp_path: Path,
) -> None:
    """libzmq does not look before it gives an id, and ends the process when somebody has it."""

    async def story(broker: Broker) -> None:
        innocent, chooser = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.member(PeerRole.CLIENT),
        )
        await innocent.hello("client")
        (session,) = broker.shell.machine.farm.sessions
        number = int.from_bytes(session.route[1:], "big")
        with bare(broker, chooser, b"\0" + ((number + 8) % (1 << 32)).to_bytes(4, "big")) as peer:
            peer.send_multipart(codec.encode(Hello(bytes(16), "client", "", "x", "0", 0, (), ())))
            await until(lambda: violations(broker))
            for _ in range(16):
                other = broker.dial(broker.member(PeerRole.CLIENT))
                await other.hello("client")
            await innocent.say(AskNodes())
            await innocent.wait(Nodes)
            assert not said_to(peer)
        assert len(violations(broker)) == 1

    run(story, tmp_path)


def test_beats_without_end_over_many_connections_shut_their_key_out_and_nobody_else(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        innocent, flooder = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.member(PeerRole.CLIENT),
        )
        await innocent.hello("client")
        peers = [broker.dial(flooder) for _ in range(20)]
        for peer in peers:
            await peer.hello("client")
        beat, end = codec.encode(Beat(0.0)), time.monotonic() + 20.0
        while not violations(broker) and time.monotonic() < end:
            for peer in peers:
                for _ in range(20):
                    peer.link.send(beat)
            await asyncio.sleep(0)
        assert "more beats" in violations(broker)[0]
        await until(lambda: len(broker.shell.machine.farm.sessions) == 1)
        await innocent.say(AskNodes())
        await innocent.wait(Nodes)
        assert len(violations(broker)) == 1

    run(story, tmp_path)


def test_a_key_that_is_revoked_keeps_no_connection(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        with bare(broker, broker.member(PeerRole.CLIENT, "laptop")) as peer:
            ends = peer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            peer.send_multipart(codec.encode(Hello(bytes(16), "client", "", "x", "0", 0, (), ())))
            await until(lambda: len(broker.shell.machine.farm.sessions))
            broker.registry.revoke("laptop", time.time())
            await until(lambda: ends.poll(0))
            assert Bye("revoked") in said_to(peer)
            ends.close()

    run(story, tmp_path)
