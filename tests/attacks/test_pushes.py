"""A node's key that pushes what nobody asked of it: nothing of it is kept, and the farm goes on.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from cache.digest import digest_of
from cache.frame import compress
from cache.stores import DiskStore
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc.job import Lookups, OutputFile, Result, Usage, encode_job, encode_result, job_key
from zcc.messages import (
    CHUNK_BYTES,
    CREDIT_BYTES,
    Announce,
    Bye,
    Chunk,
    Done,
    Finished,
    PeerRole,
    Refused,
    Run,
    Submit,
)


def stored_bytes(broker: Broker) -> int:
    """What lies in the broker's state below its blobs, under whatever name."""
    return sum(
        file.stat().st_size for file in (Path(broker.state) / "blobs").rglob("*") if file.is_file()
    )


async def push_junk(node: Peer, count: int) -> None:
    for _ in range(count):
        frame = compress(os.urandom(CHUNK_BYTES // 2))
        await node.say(Chunk(digest_of(frame), 0, len(frame), frame))


async def leased(broker: Broker, node: Peer, agent: Peer) -> Run:
    """One job of the agent's, in the node's hands."""
    encoded = encode_job(sample_job(b"toolchain", b"source"))
    agent.blobs = {digest_of(blob): compress(blob) for blob in (b"toolchain", b"source")}
    await agent.say(Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded)))
    return await node.wait(Run)


def test_junk_of_a_node_without_a_lease_is_not_kept_and_announcing_it_ends_the_session(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        node = broker.dial(broker.member(PeerRole.NODE))
        await node.hello("node", slots=1)
        await push_junk(node, 2 * CREDIT_BYTES // CHUNK_BYTES)
        await node.say(Announce(os.urandom(16), (digest_of(b"junk"),)))
        assert "does not hold" in (await node.wait(Bye)).reason
        assert stored_bytes(broker) == 0

    run(story, tmp_path)


def test_a_node_with_a_lease_can_push_no_more_than_the_job_may_write(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        node, agent = (
            broker.dial(broker.member(PeerRole.NODE)),
            broker.dial(broker.member(PeerRole.CLIENT)),
        )
        await node.hello("node", slots=1)
        await agent.hello("client")
        lease = (await leased(broker, node, agent)).lease
        before = stored_bytes(broker)
        await node.say(Announce(lease, tuple(digest_of(b"%d" % n) for n in range(1000))))
        assert "writes at most 1" in (await node.wait(Bye)).reason
        assert stored_bytes(broker) == before

    run(story, tmp_path)


def test_a_node_cannot_send_a_client_what_it_does_not_hold_itself(tmp_path: Path) -> None:
    """A node and a client of one attacker: the node names another's source as its output."""

    async def story(broker: Broker) -> None:
        node, agent = (
            broker.dial(broker.member(PeerRole.NODE)),
            broker.dial(broker.member(PeerRole.CLIENT)),
        )
        await node.hello("node", slots=1)
        await agent.hello("client")
        lease = (await leased(broker, node, agent)).lease
        secret = b"another user's source"
        store = DiskStore(broker.state, "testfarm", 1 << 30)
        digest = store.blobs.put(secret)
        store.close()
        output = OutputFile(b"/src/x.o", digest, len(secret), 0o644)
        result = Result(0, b"", b"", (output,), Usage(0.1, 0.1, 1), Lookups(), "node")
        await node.say(Announce(lease, (digest,)), Done(lease, compress(encode_result(result))))
        assert (await agent.wait(Refused)).ticket == 1
        assert not any(isinstance(message, Finished) for message in agent.inbox)
        assert digest not in agent.taken

    run(story, tmp_path)
