"""A node's key that takes jobs, says that they run, and never answers: they are done elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from cache.digest import digest_of
from cache.frame import compress, decompress
from tests.attacks.farm import CWD, PATIENCE_S, SOURCE, AttackedFarm, Client, play
from tests.attacks.test_pushes import leased
from tests.unit.broker.test_broker_wire import Broker, Peer, run
from zcc import farm as members
from zcc.job import MAX_RESULT_BYTES, Lookups, Result, Usage, decode_result, encode_result
from zcc.keys import new_key_pair
from zcc.link import DealerLink
from zcc.messages import (
    BEAT_S,
    Beat,
    Bye,
    Done,
    Finished,
    Message,
    PeerRole,
    Revoke,
    Run,
    Settled,
    Started,
)

M = TypeVar("M", bound=Message)


@contextlib.asynccontextmanager
async def beating(*peers: Peer) -> AsyncIterator[None]:
    """They are alive, whatever they keep to themselves."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            for peer in peers:
                await peer.say(Beat(0.0))

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


async def heard(peer: Peer, kind: type[M]) -> M:
    """The next message of this kind, with all the patience that a busy machine needs."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for message in peer.inbox:
            if isinstance(message, kind):
                peer.inbox.remove(message)
                return message
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {kind.__name__}; got {peer.inbox}")


def result(message: bytes) -> bytes:
    """A Done's body: the compile has failed, and said this."""
    made = Result(1, message, b"", (), Usage(0.1, 0.1, 1), Lookups(), "node")
    return compress(encode_result(made))


def audit_lines(broker: Broker, what: str) -> list[dict[str, Any]]:
    lines = (Path(broker.state) / "audit.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == what]


def test_a_job_of_a_silent_node_is_done_by_another_and_a_late_answer_is_compared(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        silent, good = (broker.dial(broker.member(PeerRole.NODE)) for _ in range(2))
        agent = broker.dial(broker.member(PeerRole.CLIENT))
        await silent.hello("node", slots=1)
        await agent.hello("client")
        first = await leased(broker, silent, agent)
        await good.hello("node", slots=1)
        async with beating(silent, good, agent):
            await silent.say(Started(first.lease))
            second = await heard(good, Run)
            assert second.key == first.key
            await good.say(Started(second.lease), Done(second.lease, result(b"one")))
            answer = await heard(agent, Finished)
            assert decode_result(decompress(answer.body, MAX_RESULT_BYTES)).stdout == b"one"
            assert (await heard(silent, Revoke)).lease == first.lease
            # It had its answer on the way, and that is another one.
            await silent.say(Done(first.lease, result(b"two")))
            assert (await heard(silent, Settled)).lease == first.lease
            assert not any(isinstance(message, Finished) for message in agent.inbox)
            (line,) = audit_lines(broker, "hedge")
            assert line["verdict"] == "differs"

    run(story, tmp_path)


class SilentNode(Peer):
    """Says Started to whatever it is given, and no more."""

    def __init__(self, farm: AttackedFarm) -> None:
        pair = new_key_pair()
        farm.registry.add(pair.public, PeerRole.NODE, "silent", time.time())
        access = members.load_access(os.path.join(farm.local.directory, "client"))
        assert access is not None

        def take(frames: list[bytes]) -> None:
            self.take(frames)

        super().__init__(
            DealerLink(farm.context, access.endpoint, access.broker_public, pair, take)
        )

    async def serve(self, given: list[Run]) -> None:
        while True:
            for message in [each for each in self.inbox if isinstance(each, Run)]:
                self.inbox.remove(message)
                given.append(message)
                await self.say(Started(message.lease))
            await self.say(Beat(0.0))
            await asyncio.sleep(0.05)


async def silent_among_real_nodes(farm: AttackedFarm, innocent: Client) -> dict[str, Any]:
    """A node that seems to have most of the slots; then an innocent's compiles, all at once."""
    node, given = SilentNode(farm), list[Run]()
    await node.hello("node", slots=8)
    serving = asyncio.create_task(node.serve(given))
    tickets = []
    for number in range(8):
        name = b"innocent%d" % (100 + number)
        tickets.append((name, await innocent.submit(farm.job(name=name))))
    answers, objects = [], []
    for _, ticket in tickets:
        answer = await innocent.outcome(ticket, 2 * PATIENCE_S)
        answers.append(answer.node if isinstance(answer, Finished) else str(answer))
        if isinstance(answer, Finished):
            made = decode_result(decompress(answer.body, MAX_RESULT_BYTES))
            objects += [(each.path, each.digest) for each in made.outputs]
    serving.cancel()
    await node.say(Bye("over"))
    node.link.close()
    right = [(CWD + b"/" + name + b".o", digest_of(SOURCE)) for name, _ in tickets]
    return {"answers": answers, "given": len(given), "are_right": objects == right}


def test_a_build_beside_a_silent_node_ends_on_the_farm_with_right_objects() -> None:
    outcome = play(__name__, "silent_among_real_nodes")
    assert outcome["given"] > 0, "the silent node was never asked"
    assert set(outcome["answers"]) <= {"node1", "node2"}, outcome
    assert outcome["are_right"], outcome
    assert outcome["after"]["innocent"] == "Finished", outcome
    assert outcome["tracebacks"] == "", outcome
