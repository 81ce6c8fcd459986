"""A node that lies about sizes: it costs nobody a result.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.frame import compress
from tests.attacks.test_others_files import OUTPUT, SECRET, TOOLCHAIN, submit
from tests.unit.test_broker_wire import Broker, Peer, run, sample_job
from zcc.job import MAX_BLOB_BYTES, Lookups, OutputFile, Result, Usage, encode_result
from zcc.messages import Announce, Done, Finished, Role, Run


async def member(broker: Broker, *contents: bytes) -> Peer:
    peer = broker.dial(broker.member(Role.CLIENT))
    await peer.hello("client")
    peer.blobs = {digest_of(each): compress(each) for each in (TOOLCHAIN, *contents)}
    return peer


@pytest.mark.parametrize("said_bytes", [MAX_BLOB_BYTES, 0])
def test_a_nodes_word_of_a_size_is_not_what_a_quota_goes_by(
    tmp_path: Path, said_bytes: int
) -> None:
    async def story(broker: Broker) -> None:
        node = broker.dial(broker.member(Role.NODE))
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
