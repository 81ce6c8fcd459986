"""A member that fills, or holds up, what the broker keeps for all keys: nobody else loses anything by it.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from broker.core.limits import ASK_OTHERS_S, MAX_NAMED_PER_KEY, REVOKES_A_TICK
from cache.digest import digest_of
from cache.frame import compress
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc.job import FileInput, Job, Manifest, encode_job, job_key
from zcc.keys import KeyPair
from zcc.messages import (
    MAX_LEASES,
    AskNodes,
    Beat,
    Bye,
    Cancel,
    Chunk,
    Hello,
    Nodes,
    PeerRole,
    Revoke,
    Run,
    Submit,
)

SOURCE = b"int x;\n"


def submit(ticket: int, job: Job) -> Submit:
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))


async def client(broker: Broker, pair: KeyPair, *blobs: bytes) -> Peer:
    peer = broker.dial(pair)
    peer.blobs = {digest_of(blob): compress(blob) for blob in blobs}
    await peer.hello("client")
    return peer


async def node(broker: Broker, slots: int) -> Peer:
    peer = broker.dial(broker.member(PeerRole.NODE))
    await peer.hello("node", slots)
    return peer


def test_a_toolchain_that_one_key_sends_a_byte_of_now_and_then_comes_from_another(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        runner = await node(broker, 4)
        toolchain = os.urandom(3_000)
        digest, frame = digest_of(toolchain), compress(toolchain)
        attacker = await client(broker, broker.member(PeerRole.CLIENT), SOURCE)
        trickled = [Chunk(digest, at, len(frame), frame[at : at + 1]) for at in range(20)]
        attacker.sender.offer = lambda *_: None  # type: ignore[method-assign]
        await attacker.say(submit(1, sample_job(toolchain, SOURCE)))
        honest = await client(broker, broker.member(PeerRole.CLIENT), toolchain, SOURCE)
        await asyncio.sleep(0.2)
        await honest.say(submit(1, sample_job(toolchain, SOURCE)))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        waiting = asyncio.ensure_future(runner.wait(Run))
        while not waiting.done():
            await attacker.say(trickled.pop(0), Beat(0.0))
            await honest.say(Beat(0.0))
            await runner.say(Beat(0.0))
            await asyncio.wait([waiting], timeout=0.5)
        assert waiting.result().key == submit(1, sample_job(toolchain, SOURCE)).key
        assert loop.time() - began_s < ASK_OTHERS_S + 2.0

    run(story, tmp_path)


def test_names_of_toolchains_that_nothing_has_run_in_push_out_nobody_elses(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        await node(broker, 1)
        toolchain = b"the farm's toolchain"
        honest = await client(broker, broker.member(PeerRole.CLIENT), toolchain, SOURCE)
        known = broker.shell.machine.farm.holdings
        await honest.say(submit(1, sample_job(toolchain, SOURCE)))
        while not known.is_toolchain(digest_of(toolchain)):
            await asyncio.sleep(0.01)
        tools = [b"tool %d" % number for number in range(5 * MAX_NAMED_PER_KEY)]
        pair = broker.member(PeerRole.CLIENT)
        attacker = await client(broker, pair, SOURCE, *tools)
        files = tuple(FileInput(b"/src/%d" % n, digest_of(tool)) for n, tool in enumerate(tools))
        shown = replace(sample_job(toolchain, SOURCE), manifest=Manifest(files))
        await attacker.say(submit(0, shown))
        while known.unshown(pair.public, map(digest_of, tools)):
            await asyncio.sleep(0.01)
        for ticket, tool in enumerate(tools, 1):
            await attacker.say(submit(ticket, sample_job(tool, SOURCE)), Cancel(ticket))
        while not known.is_toolchain(digest_of(tools[-1])):
            await asyncio.sleep(0.01)
        assert known.is_toolchain(digest_of(toolchain))
        assert len(known.toolchains) == 1 + MAX_NAMED_PER_KEY

    run(story, tmp_path)


def test_leases_that_a_node_makes_up_keep_nobody_else_waiting(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        watcher = broker.dial(broker.member(PeerRole.MONITOR))
        await watcher.hello("monitor")
        liar = broker.dial(broker.member(PeerRole.NODE))
        for number in range(20):
            leases = tuple(os.urandom(16) for _ in range(MAX_LEASES))
            session = os.urandom(16)
            await liar.say(Hello(session, "node", "", f"liar{number}", "0", 4096, leases, ()))
        await watcher.say(AskNodes())
        rows = (await watcher.wait(Nodes)).rows
        assert [row.name for row in rows] in ([], ["liar0"], ["liar1"])
        told = sum(isinstance(message, Revoke) for message in liar.inbox)
        assert told <= 2 * REVOKES_A_TICK

    run(story, tmp_path)


def test_a_node_that_holds_more_than_its_slots_allow_is_not_listened_to(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        liar = broker.dial(broker.member(PeerRole.NODE))
        leases = tuple(os.urandom(16) for _ in range(MAX_LEASES))
        await liar.say(Hello(os.urandom(16), "node", "", "liar", "0", 1, leases, ()))
        assert "8192 leases for 1 slots" in (await liar.wait(Bye)).reason

    run(story, tmp_path)
