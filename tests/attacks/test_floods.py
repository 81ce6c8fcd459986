"""A client that sends more than its share: it waits, and others do not.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cache.blobs import compress
from cache.digest import digest_of
from tests.unit.test_broker_wire import Broker, Peer, run, sample_job
from zcc.job import FileInput, Job, Manifest, encode_job, job_key
from zcc.messages import (
    Bye,
    Cancel,
    Done,
    Refused,
    Role,
    Run,
    Submit,
)

# As many as one job may have without being a mistake; on the wire some 20 KB, a tenth of a second to decode.
INPUTS = 30_000
FLOOD = 25


def submit(ticket: int, job: Job) -> Submit:
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, b"", compress(encoded))


def large(number: int) -> Job:
    """A job of very many inputs, all of them one blob: small on the wire, large when it is unpacked."""
    digest = digest_of(b"%d" % number)
    files = tuple(FileInput(b"/src/%06d" % at, digest) for at in range(INPUTS))
    return replace(sample_job(b"toolchain", b""), manifest=Manifest(files))


def answers(peer: Peer) -> int:
    return sum(isinstance(each, Refused) for each in peer.inbox)


def test_others_are_answered_while_one_keys_jobs_wait_to_be_read(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        flooder, other = (broker.dial(broker.member(Role.CLIENT, name)) for name in "fo")
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
        agent, node = broker.dial(broker.member(Role.CLIENT)), broker.dial(broker.member(Role.NODE))
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
    monkeypatch.setattr("broker.intake.MAX_UNREAD_BYTES_PER_KEY", 100_000)

    async def story(broker: Broker) -> None:
        flooder = broker.dial(broker.member(Role.CLIENT))
        await flooder.hello("client")
        broker.shell.machine.farm.started_at -= 10
        await flooder.say(*(submit(ticket, large(ticket)) for ticket in range(1, FLOOD + 1)))
        reasons = [(await flooder.wait(Refused)).reason for _ in range(FLOOD)]
        assert "too-many-queued" in reasons
        assert "no-nodes" in reasons

    run(story, tmp_path)


def test_a_nodes_large_results_are_read_in_their_order_and_before_its_bye(tmp_path: Path) -> None:
    """They are no results here: that is found in the same order."""

    async def story(broker: Broker) -> None:
        node = broker.dial(broker.member(Role.NODE))
        await node.hello("node", slots=4)
        await node.say(Done(b"l" * 16, compress(bytes(8 << 20))), Bye(""))
        assert (await node.wait(Bye)).reason.startswith("protocol: ")

    run(story, tmp_path)


def test_a_job_of_more_files_than_are_looked_for_at_once_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.search.MAX_SOUGHT", 10)

    async def story(broker: Broker) -> None:
        agent, node = broker.dial(broker.member(Role.CLIENT)), broker.dial(broker.member(Role.NODE))
        await agent.hello("client")
        await node.hello("node", slots=1)
        blobs = [b"%d" % number for number in range(25)]
        files = tuple(FileInput(b"/s/%06d" % at, digest_of(blob)) for at, blob in enumerate(blobs))
        job = replace(sample_job(b"toolchain", b""), manifest=Manifest(files))
        agent.blobs = {digest_of(blob): compress(blob) for blob in (*blobs, b"toolchain")}
        await agent.say(submit(1, job))
        assert (await node.wait(Run)).key == submit(1, job).key

    run(story, tmp_path)
