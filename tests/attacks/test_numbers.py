"""A node whose results hold numbers that are none, or that no database takes: it is dropped, others go on.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cache.digest import digest_of
from cache.frame import compress
from cache.index import FILE_NAME
from tests.attacks.test_pushes import leased
from tests.support.network_farm import wait_until
from tests.unit.broker.test_broker_wire import Broker, Peer, run
from zcc.job import Lookups, OutputFile, Result, Usage, encode_result
from zcc.messages import Announce, AskNodes, Bye, Done, Finished, Nodes, PeerRole, Refused, Settled

OBJECT = b"object"
GOOD = Result(
    exit_status=0,
    stdout=b"",
    stderr=b"",
    outputs=(OutputFile(b"/src/x.o", digest_of(OBJECT), len(OBJECT), 0o644),),
    usage=Usage(0.1, 0.1, 1),
    lookups=Lookups(),
    node="node",
)


def sized(size_bytes: int) -> Result:
    return replace(GOOD, outputs=(replace(GOOD.outputs[0], size_bytes=size_bytes),))


EVIL = {
    "nan": replace(GOOD, usage=Usage(math.nan, 0.1, 1)),
    "infinite": replace(GOOD, usage=Usage(0.1, math.inf, 1)),
    "negative": replace(GOOD, usage=Usage(-1e300, 0.1, 1)),
    "memory": replace(GOOD, usage=Usage(0.1, 0.1, (1 << 64) - 1)),
    "size": sized((1 << 64) - 1),
    "status": replace(GOOD, exit_status=(1 << 63)),
}


async def answer(node: Peer, lease: bytes, result: Result) -> None:
    node.blobs[digest_of(OBJECT)] = compress(OBJECT)
    await node.say(Announce(lease, (digest_of(OBJECT),)))
    node.sender.offer(digest_of(OBJECT))
    node.sender.after(Done(lease, compress(encode_result(result))))
    node.pump()


@pytest.mark.parametrize("evil", EVIL)
def test_a_number_that_is_none_ends_its_nodes_session_and_nothing_else(
    tmp_path: Path, evil: str
) -> None:
    async def story(broker: Broker) -> None:
        bad, agent = (
            broker.dial(broker.member(PeerRole.NODE)),
            broker.dial(broker.member(PeerRole.CLIENT)),
        )
        await bad.hello("node", slots=1)
        await agent.hello("client")
        await answer(bad, (await leased(broker, bad, agent)).lease, EVIL[evil])
        assert "protocol" in (await bad.wait(Bye)).reason
        assert (await agent.wait(Refused)).ticket == 1
        # Another node serves the same job, and its figures are numbers.
        good = broker.dial(broker.member(PeerRole.NODE))
        await good.hello("node", slots=1)
        lease = (await leased(broker, good, agent)).lease
        await answer(good, lease, GOOD)
        assert (await good.wait(Settled)).lease == lease
        assert (await agent.wait(Finished)).ticket == 1
        await agent.say(AskNodes())
        (row,) = (await agent.wait(Nodes)).rows
        assert all(math.isfinite(number) for number in (row.speed, row.load))
        state = Path(broker.state)
        # The broker runs in this loop, and hands results to its writer once a tick.
        await asyncio.to_thread(
            wait_until, lambda: records(state) == 1, "the good result to be written down"
        )

    run(story, tmp_path)


def records(state: Path) -> int:
    with closing(sqlite3.connect(state / FILE_NAME)) as db:
        (count,) = db.execute("SELECT count(*) FROM results").fetchone()
    return int(count)
