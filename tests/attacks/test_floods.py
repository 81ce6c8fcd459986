"""A client that sends more than its share: it waits, and others do not.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.limits import MAX_ASKED, MAX_ASKED_OF_KEY
from broker.transport.reader import Worker
from cache.digest import digest_of
from cache.frame import compress
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc import codec
from zcc.job import (
    FileInput,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    encode_job,
    encode_result,
    job_key,
)
from zcc.messages import (
    MAX_WANTED,
    AskNodes,
    Bye,
    Cancel,
    Done,
    Failed,
    Finished,
    Hello,
    Nodes,
    PeerRole,
    Refused,
    Run,
    Settled,
    Submit,
    Want,
)

# As many as one job may have without being a mistake; on the wire some 20 KB, a tenth of a second to decode.
INPUTS = 30_000
FLOOD = 25


def submit(ticket: int, job: Job) -> Submit:
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))


def large(number: int) -> Job:
    """A job of very many inputs, all of them one blob: small on the wire, large when it is unpacked."""
    digest = digest_of(b"%d" % number)
    files = tuple(FileInput(b"/src/%06d" % at, digest) for at in range(INPUTS))
    return replace(sample_job(b"toolchain", b""), manifest=Manifest(files))


def answers(peer: Peer) -> int:
    return sum(isinstance(each, Refused) for each in peer.inbox)


def test_others_are_answered_while_one_keys_jobs_wait_to_be_read(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        flooder, other = (broker.dial(broker.member(PeerRole.CLIENT, name)) for name in "fo")
        await flooder.hello("client")
        await other.hello("client")
        broker.shell.machine.farm.started_at -= 10  # past the grace: without a node all are refused
        await flooder.say(*(submit(ticket, large(ticket)) for ticket in range(1, FLOOD + 1)))
        for ticket in range(1, 11):
            await other.say(submit(ticket, sample_job(b"toolchain", b"%d" % ticket)))
            assert (await other.wait(Refused)).ticket == ticket
        assert answers(flooder) < FLOOD
        for _ in range(FLOOD):
            assert (await flooder.wait(Refused)).reason == "no-nodes"

    run(story, tmp_path)


def test_a_job_that_is_cancelled_before_it_is_read_never_runs(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=4)
        agent.blobs = {
            digest_of(blob): compress(blob) for blob in (b"toolchain", b"1", b"2", b"3", b"last")
        }
        await agent.say(*(submit(ticket, large(ticket)) for ticket in (1, 2, 3)))
        await agent.say(Cancel(3), Cancel(2), submit(4, sample_job(b"toolchain", b"last")))
        keys = {(await node.wait(Run)).key for _ in range(2)}
        assert keys == {submit(1, large(1)).key, submit(4, sample_job(b"toolchain", b"last")).key}
        assert not [each for each in node.inbox if isinstance(each, Run)]

    run(story, tmp_path)


def test_what_is_beyond_a_keys_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES_PER_KEY", 100_000)

    async def story(broker: Broker) -> None:
        flooder = broker.dial(broker.member(PeerRole.CLIENT))
        await flooder.hello("client")
        broker.shell.machine.farm.started_at -= 10
        await flooder.say(*(submit(ticket, large(ticket)) for ticket in range(1, FLOOD + 1)))
        reasons = [(await flooder.wait(Refused)).reason for _ in range(FLOOD)]
        assert "too-many-queued" in reasons
        assert "no-nodes" in reasons

    run(story, tmp_path)


def result(size_bytes: int, exit_status: int = 1) -> bytes:
    """A result of a job of `runs`, whose messages are so long, as a frame; too large to be read at once.

    One that says 0 has the job's output, of contents that the farm has.
    """
    stderr = os.urandom(size_bytes)
    written = (OutputFile(b"/src/x.o", digest_of(b"s"), 1, 0o644),)
    outputs = () if exit_status else written
    made = Result(exit_status, b"", stderr, outputs, Usage(0.1, 0.1, 1), Lookups(), "node")
    return compress(encode_result(made))


async def runs(broker: Broker, agent: Peer, node: Peer, *tickets: int) -> list[Run]:
    """Jobs of this agent's, in the node's hands."""
    agent.blobs |= {digest_of(blob): compress(blob) for blob in (b"toolchain", b"s")}
    given = []
    for ticket in tickets:
        job = replace(sample_job(b"toolchain", b"s"), cwd=b"/%d" % ticket)
        await agent.say(submit(ticket, job))
        given.append(await node.wait(Run))
    return given


def test_a_nodes_large_results_are_read_before_its_bye(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=4)
        given = await runs(broker, agent, node, 1, 2)
        await node.say(*(Done(each.lease, result(2 << 20)) for each in given), Bye(""))
        assert {(await agent.wait(Finished)).ticket for _ in given} == {1, 2}

    run(story, tmp_path)


def test_what_is_no_result_is_its_nodes_fault_whenever_it_is_read(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=4)
        (given,) = await runs(broker, agent, node, 1)
        await node.say(Done(given.lease, compress(bytes(8 << 20))))
        assert (await node.wait(Bye)).reason.startswith("protocol: ")

    run(story, tmp_path)


def test_results_that_pile_up_are_no_fault_of_their_node_and_keep_nobody_elses_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES_PER_KEY", 1_000_000)

    async def story(broker: Broker) -> None:
        flooder, other = (broker.dial(broker.member(PeerRole.CLIENT, name)) for name in "fo")
        node = broker.dial(broker.member(PeerRole.NODE))
        await flooder.hello("client")
        await other.hello("client")
        await node.hello("node", slots=8)
        flood = await runs(broker, flooder, node, 1, 2, 3, 4)
        (one,) = await runs(broker, other, node, 5)
        await node.say(*(Done(each.lease, result(600_000)) for each in (*flood, one)))
        assert (await other.wait(Finished)).ticket == 5
        for _ in flood:
            await node.wait(Settled)
        assert (await flooder.wait(Finished)).ticket == 1
        # It is given to another node, of which there is none.
        assert {(await flooder.wait(Refused)).reason for _ in range(2)} == {"no-nodes"}
        await other.say(AskNodes())
        (row,) = (await other.wait(Nodes)).rows
        assert (row.state, row.faults) == ("ready", 0)
        assert not any(isinstance(each, Bye) for each in node.inbox)
        assert broker.shell.counts["violations"] == 0

    run(story, tmp_path)


def test_the_end_of_a_session_leaves_nothing_of_its_to_be_read(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=4)
        given = await runs(broker, agent, node, 1, 2, 3)
        await node.say(*(Done(each.lease, result(2 << 20)) for each in given))
        await node.say(Failed(b"l" * 65, "internal", ""))  # a lease id is 64 bytes at most
        assert (await node.wait(Bye)).reason.startswith("protocol: ")
        assert {(await agent.wait(Refused)).reason for _ in given} == {"no-nodes"}
        await agent.say(submit(9, large(9)))
        assert (await agent.wait(Refused)).reason == "no-nodes"
        assert broker.shell.failures.count == 0

    run(story, tmp_path)


def test_a_result_of_no_job_and_one_that_is_said_twice_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    ask = Worker.ask

    async def noting_ask(worker: Worker, request: list[object]) -> Any:
        read.append(request[0])
        return await ask(worker, request)

    monkeypatch.setattr(Worker, "ask", noting_ask)

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=4)
        (given,) = await runs(broker, agent, node, 1)
        said = Done(given.lease, result(2 << 20))
        await node.say(Done(b"l" * 16, result(2 << 20)), said, said)
        assert {(await node.wait(Settled)).lease for _ in range(2)} == {b"l" * 16, given.lease}
        await agent.wait(Finished)
        assert read == ["result"]

    run(story, tmp_path)


def test_a_job_of_more_files_than_are_looked_for_at_once_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.search.MAX_SOUGHT", 10)

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=1)
        blobs = [b"%d" % number for number in range(25)]
        files = tuple(FileInput(b"/s/%06d" % at, digest_of(blob)) for at, blob in enumerate(blobs))
        job = replace(sample_job(b"toolchain", b""), manifest=Manifest(files))
        agent.blobs = {digest_of(blob): compress(blob) for blob in (*blobs, b"toolchain")}
        await agent.say(submit(1, job))
        assert (await node.wait(Run)).key == submit(1, job).key

    run(story, tmp_path)


def test_an_agent_that_comes_back_in_a_large_build_is_asked_in_wants_that_it_takes(
    tmp_path: Path,
) -> None:
    """No codec takes a Want of more than MAX_WANTED blobs. Whoever was sent one lost its session over it."""
    a_job, jobs = 1_000, 40

    def naming_new_files(number: int) -> Job:
        digests = (digest_of(b"%d %d" % (number, at)) for at in range(a_job))
        files = tuple(FileInput(b"/src/%06d" % at, each) for at, each in enumerate(digests))
        return replace(sample_job(b"toolchain", b"s"), manifest=Manifest(files))

    async def wanted(agent: Peer) -> int:
        """How many are asked for until the broker, which still answers, has asked for no more in a second."""
        seen, count, deadline = -1, 0, time.monotonic() + 60.0
        while count == 0 or count != seen:
            assert time.monotonic() < deadline, f"it still asks, or never did: {count}"
            seen = count
            await asyncio.sleep(1.0)
            await agent.say(AskNodes())
            await agent.wait(Nodes)
            count = sum(len(each.blobs) for each in agent.inbox if isinstance(each, Want))
        wants = [each.blobs for each in agent.inbox if isinstance(each, Want)]
        assert all(len(blobs) <= MAX_ASKED for blobs in wants)
        agent.inbox.clear()
        return sum(map(len, wants))

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        session = (await agent.hello("client")).session
        await node.hello("node", slots=32)
        await runs(broker, agent, node, 1)

        def take(frames: list[bytes]) -> None:
            agent.inbox.append(codec.decode(frames))

        agent.take = take  # type: ignore[method-assign]
        await agent.say(
            *(submit(ticket, naming_new_files(ticket)) for ticket in range(2, 2 + jobs))
        )
        # So many of one key at a time, and one of each job beyond.
        assert MAX_WANTED <= MAX_ASKED_OF_KEY <= await wanted(agent) <= MAX_ASKED_OF_KEY + jobs
        await agent.say(*[Hello(session, "client", "", "x", "0", 0, (), ())] * 20)
        # Again all of it, and not twenty times.
        assert 0 < await wanted(agent) <= MAX_ASKED_OF_KEY + jobs

    run(story, tmp_path)
