"""A client that doubts what others use, and a node that lies about sizes: both cost nobody else a result.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.test_others_files import OUTPUT, SECRET, TOOLCHAIN, owned, submit
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc.job import MAX_BLOB_BYTES, Lookups, OutputFile, Result, Usage, encode_result
from zcc.messages import Announce, Cancel, Done, Finished, PeerRole, Refused, Run


async def member(broker: Broker, *contents: bytes) -> Peer:
    peer = broker.dial(broker.member(PeerRole.CLIENT))
    await peer.hello("client")
    peer.blobs = {digest_of(each): compress(each) for each in (TOOLCHAIN, *contents)}
    return peer


def test_a_result_that_one_key_doubts_is_still_others(tmp_path: Path) -> None:
    """It cost a Submit and a Cancel to have the farm forget what a team had compiled."""

    async def story(broker: Broker) -> None:
        node, job = await owned(broker)
        attacker, victim = [await member(broker, SECRET) for _ in range(2)]
        await attacker.say(submit(1, job))  # shows that it has the source
        await attacker.wait(Finished)
        for ticket in range(2, 20):
            await attacker.say(submit(ticket, job, is_fresh=True), Cancel(ticket))
        await attacker.say(submit(20, job))
        assert (await attacker.wait(Finished)).is_recalled
        node.inbox.clear()
        await victim.say(submit(1, job))
        assert (await victim.wait(Finished)).is_recalled
        assert not [each for each in node.inbox if isinstance(each, Run)]

    run(story, tmp_path)


def test_what_one_key_doubts_and_is_rotten_is_compiled_anew(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        node, job = await owned(broker)
        path = broker.shell._traffic._store.path_of(digest_of(OUTPUT))
        with open(path, "r+b") as file:
            file.write(b"rot")
        other, another = [await member(broker, SECRET) for _ in range(2)]
        await other.say(submit(1, job))
        await other.wait(Finished)
        node.inbox.clear()
        await other.say(submit(2, job, is_fresh=True))
        await node.wait(Run)
        await another.say(submit(1, job))
        await asyncio.sleep(0.3)
        assert not [each for each in another.inbox if isinstance(each, (Finished, Refused))]

    run(story, tmp_path)


@pytest.mark.parametrize("said_bytes", [MAX_BLOB_BYTES, 0])
def test_a_nodes_word_of_a_size_is_not_what_a_quota_goes_by(
    tmp_path: Path, said_bytes: int
) -> None:
    async def story(broker: Broker) -> None:
        node = broker.dial(broker.member(PeerRole.NODE))
        await node.hello("node", slots=1)
        client = await member(broker, SECRET)
        await client.say(submit(1, sample_job(TOOLCHAIN, SECRET)))
        lease = (await node.wait(Run)).lease
        digest = digest_of(OUTPUT)
        output = OutputFile(b"/src/x.o", digest, said_bytes, 0o644)
        result = Result(0, b"", b"", (output,), Usage(0.1, 0.1, 1), Lookups(), "node")
        body = compress(encode_result(result))
        node.blobs[digest] = compress(OUTPUT)
        await node.say(Announce(lease, (digest,)))
        node.sender.offer(digest)
        node.sender.after(Done(lease, body))
        node.pump()
        await client.wait(Finished)
        broker.shell._results.write_down()
        assert broker.shell._results._writer.wait_written()
        ((_, _, size_bytes),) = broker.shell._results._store.index.by_label("user")
        assert size_bytes == len(OUTPUT) + len(body)

    run(story, tmp_path)
