"""A whole node before a real broker: a lease ends, whatever breaks on its way through the shell."""

from __future__ import annotations

import asyncio
import errno
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.membership.registry import Registry
from cache.blobs import Arrival
from cache.digest import Digest, digest_of
from cache.frame import compress
from node.probe import probe
from node.sandbox.command_line import Limits
from node.shell import NodeShell
from tests.unit.broker.test_broker_wire import Broker, run, sample_job
from zcc import codec
from zcc.errors import JobFormatError
from zcc.farm import Access
from zcc.job import Job, encode_job, job_key
from zcc.keys import KeyPair
from zcc.messages import PROTOCOL, Beat, Bye, Message, PeerRole, Refused, Submit, Want

TOOLCHAIN, SOURCE = b"no toolchain at all", b"int x;\n"
# The machine may do other things beside.
PATIENCE_S = 20.0


def _breaks(*_: object, **__: object) -> None:
    raise KeyError("a bug that nobody foresaw")


async def _node(broker: Broker, tmp_path: Path) -> NodeShell:
    node = _node_of(broker, broker.member(PeerRole.NODE), tmp_path)
    await _until(lambda: node._member.is_open)
    return node


def _node_of(broker: Broker, pair: KeyPair, tmp_path: Path) -> NodeShell:
    access = Access(broker.shell.endpoint, broker.keys.public, "", "node", pair)
    state = str(tmp_path / "node")
    limits = Limits(free_disk_bytes=0)
    return NodeShell(access, "node", 1, state, probe(state), 1 << 30, limits)


async def _until(holds: object) -> None:
    assert callable(holds)
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def _refused(broker: Broker) -> str:
    """Why a job comes back."""
    agent = broker.dial(broker.member(PeerRole.CLIENT))
    await agent.hello("client")
    agent.blobs = {digest_of(blob): compress(blob) for blob in (TOOLCHAIN, SOURCE)}
    encoded = encode_job(sample_job(TOOLCHAIN, SOURCE))
    await agent.say(Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded)))
    await _until(lambda: any(isinstance(each, Refused) for each in agent.inbox))
    return (await agent.wait(Refused)).reason


@pytest.mark.parametrize(
    "place",
    [
        "node.shell.decode_job",
        "node.bulk.Bulk.fetch",
        "node.bulk.Bulk._open",
        "node.toolchains.store.ToolchainStore.install",
        "node.toolchains.store.unpack",
    ],
)
def test_what_breaks_on_the_way_of_a_job_ends_its_lease(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        node = await _node(broker, tmp_path)
        try:
            broker.shell.machine.farm.started_at -= 10
            with monkeypatch.context() as broken:
                broken.setattr(place, _breaks)
                assert await _refused(broker) == "no-nodes"  # there is no other to try
            await _until(lambda: not node._machine.leases)
            assert node._machine.running == 0
            assert node._jobs == {}
        finally:
            node.close()

    run(story, tmp_path)


def test_what_is_no_toolchain_is_the_jobs_own_fault(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        node = await _node(broker, tmp_path)
        try:
            assert (await _refused(broker)).startswith("job-refused: ")
            await _until(lambda: not node._machine.leases)
        finally:
            node.close()

    run(story, tmp_path)


def test_a_disk_that_takes_nothing_pauses_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def story(broker: Broker) -> None:
        node = await _node(broker, tmp_path)
        try:
            broker.shell.machine.farm.started_at -= 10
            with monkeypatch.context() as broken:
                broken.setattr("node.bulk.Bulk._open", full)
                assert await _refused(broker) == "no-nodes"
            assert "No space left" in node._machine.paused
            (row,) = broker.shell.machine.farm.nodes
            await _until(lambda: row.paused)
            assert row.record.faults == 0
        finally:
            node.close()

    run(story, tmp_path)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_node_whose_key_is_revoked_ends_and_says_what_to_do(
    tmp_path: Path, is_connected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(broker: Broker) -> None:
        pair = broker.member(PeerRole.NODE)
        if not is_connected:
            broker.registry.revoke(pair.public, 0.0)
        node = _node_of(broker, pair, tmp_path)
        try:
            if is_connected:
                await _until(lambda: node._member.is_open)
                broker.registry.revoke(pair.public, 0.0)
            await asyncio.wait_for(node.left, PATIENCE_S)
        finally:
            node.close()

    run(story, tmp_path)
    assert "does not admit this node's key" in caplog.text
    assert "zcc-node leave --local" in caplog.text


def test_a_registry_that_fails_for_a_moment_ends_no_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        asked: list[str] = []

        def fail(self: Registry, public_key: str, now: float) -> PeerRole:
            asked.append(public_key)
            raise OSError("no disk today")

        with monkeypatch.context() as patched:
            patched.setattr(Registry, "role_of", fail)
            node = _node_of(broker, broker.member(PeerRole.NODE), tmp_path)
            await _until(lambda: len(asked) >= 2)
        try:
            await _until(lambda: node._member.is_open)
            assert not node.left.done()
        finally:
            node.close()

    run(story, tmp_path)


@dataclass
class _SlowDisk:
    """Where nothing arrives before `gate` is open; `asked` when something would."""

    gate: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def before(self, node: NodeShell, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = node._bulk._open

        def slow(digest: Digest, is_toolchain: bool, start: bytes) -> Arrival:
            self.asked.set()
            assert self.gate.wait(PATIENCE_S), "the node's loop waits for its disk"
            return whole(digest, is_toolchain, start)

        monkeypatch.setattr(node._bulk, "_open", slow)


def _spoken_by(node: NodeShell, monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """What the node says from now on."""
    said: list[Message] = []
    send = node._send

    def noted(message: Message) -> None:
        said.append(message)
        send(message)

    monkeypatch.setattr(node, "_send", noted)
    monkeypatch.setattr(node._bulk, "_send", noted)
    return said


def test_beats_go_on_and_no_credit_is_granted_while_arrivals_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        disk, node = _SlowDisk(), await _node(broker, tmp_path)
        try:
            disk.before(node, monkeypatch)
            said = _spoken_by(node, monkeypatch)
            refused = asyncio.create_task(_refused(broker))
            await _until(disk.asked.is_set)
            said.clear()
            await _until(lambda: sum(isinstance(each, Beat) for each in said) >= 2)
            assert node._bulk._receiver._consumed_bytes == 0
            disk.gate.set()
            assert (await refused).startswith("job-refused: ")
            await _until(lambda: node._bulk._receiver._consumed_bytes > 0)
        finally:
            disk.gate.set()
            node.close()

    run(story, tmp_path)


def test_what_came_in_a_session_that_is_lost_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(broker: Broker) -> None:
        disk, node = _SlowDisk(), await _node(broker, tmp_path)
        digests = [digest_of(blob) for blob in (TOOLCHAIN, SOURCE)]
        try:
            disk.before(node, monkeypatch)
            refused = asyncio.create_task(_refused(broker))
            await _until(
                lambda: all(node._bulk._arrivals.offset_of(each) is None for each in digests)
            )
            said = _spoken_by(node, monkeypatch)
            node._received(codec.encode(Bye("a test")))
            await _until(lambda: node._member.is_open)
            disk.gate.set()
            assert (await refused).startswith("job-refused: ")
            assert not any(isinstance(each, Want) for each in said)
            assert node._bulk._receiver._consumed_bytes == 0  # its credit is the new session's
        finally:
            disk.gate.set()
            node.close()

    run(story, tmp_path)


def test_a_job_of_a_later_release_is_given_back_and_counts_on_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: bytes) -> Job:
        raise JobFormatError("job format 9")

    async def story(broker: Broker) -> None:
        node = await _node(broker, tmp_path)
        try:
            broker.shell.machine.farm.started_at -= 10
            monkeypatch.setattr("node.shell.decode_job", unknown)
            assert await _refused(broker) == "no-nodes"  # there is no other to try
            (row,) = broker.shell.machine.farm.nodes
            assert row.record.faults == 0
            assert "job format 9" in str(row.unfit)
        finally:
            node.close()

    run(story, tmp_path)


def test_a_node_passes_over_what_a_later_broker_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(broker: Broker) -> None:
        node = await _node(broker, tmp_path)
        try:
            for _ in range(2):
                node._received([PROTOCOL, b"later", b"\x90"])
            assert node._member.is_open
            assert caplog.text.count("says later, which zcc") == 1
        finally:
            node.close()

    run(story, tmp_path)
