"""The whole broker with real sockets and keys: who gets in, and one job from end to end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq

from broker.membership.registry import Registry
from broker.shell import Shell
from broker.state import broker_keys
from broker.storage.service import Storage
from broker.storage.tokens import StorageAccess
from broker.transport.reception import Reception
from cache.digest import Digest, digest_of
from cache.frame import compress
from cache.stores import DiskStore
from zcc import codec
from zcc.farm import join
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
from zcc.keys import KeyPair, Token, new_key_pair
from zcc.link import DealerLink
from zcc.messages import (
    CHUNK_BYTES,
    CREDIT_BYTES,
    Absent,
    Announce,
    AskNodes,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Done,
    Enrol,
    Enrolled,
    Failed,
    Fault,
    Finished,
    Hello,
    Message,
    Nodes,
    PeerRole,
    Refused,
    Run,
    Settled,
    Started,
    StorageEnd,
    StorageGet,
    Submit,
    Want,
    Welcome,
    Who,
)
from zcc.reasons import Reason
from zcc.transfer import Receiver, Sender

PATIENCE_S = 5.0
M = TypeVar("M", bound=Message)


@dataclass
class Peer:
    """A bare peer: what arrives, in order; blobs that it sends and takes."""

    link: DealerLink
    inbox: list[Message] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    sender: Sender = field(default_factory=Sender)
    receiver: Receiver = field(default_factory=lambda: Receiver(takes_pushes=True))
    taken: dict[Digest, bytes] = field(default_factory=dict)

    async def say(self, *messages: Message) -> None:
        for message in messages:
            deadline = time.monotonic() + PATIENCE_S
            while not self.link.send(codec.encode(message)):
                assert time.monotonic() < deadline, "no connection"
                await asyncio.sleep(0.01)

    async def hello(self, role: str, slots: int = 0) -> Welcome:
        await self.say(Hello(os.urandom(16), role, "", role, "0", slots, (), ()))
        return await self.wait(Welcome)

    async def wait(self, kind: type[M]) -> M:
        """The first message of this kind, taken out; bulk is served meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for message in self.inbox:
                if isinstance(message, kind):
                    self.inbox.remove(message)
                    return message
            await asyncio.sleep(0.005)
        raise AssertionError(f"no {kind.__name__}; got {self.inbox}")

    def take(self, frames: list[bytes]) -> None:
        message = codec.decode(frames)
        match message:
            case Want(blobs):
                for digest, offset in blobs:
                    self.sender.offer(digest, offset)
                self.pump()
            case Credit(amount):
                self.sender.add_credit(amount)
                self.pump()
            case Chunk():
                piece = self.receiver.take(message)
                self.taken[piece.digest] = self.taken.get(piece.digest, b"") + piece.data
                grant = self.receiver.consumed(len(piece.data))
                if grant is not None:
                    self.link.send(codec.encode(grant))
            case _:
                self.inbox.append(message)

    def pump(self) -> None:
        for message in self.sender.pump(self._read):
            assert self.link.send(codec.encode(message))

    def _read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        frame = self.blobs.get(digest)
        return None if frame is None else (frame[offset : offset + length], len(frame))


@dataclass
class Broker:
    """A broker in this process's loop, and its members' links."""

    shell: Shell
    state: str
    keys: KeyPair
    registry: Registry
    context: zmq.Context[zmq.Socket[bytes]]
    links: list[DealerLink] = field(default_factory=list)

    def member(self, role: PeerRole, label: str = "") -> KeyPair:
        pair = new_key_pair()
        self.registry.add(pair.public, role, label or role.value, time.time())
        return pair

    def dial(self, pair: KeyPair, endpoint: str = "") -> Peer:
        def take(frames: list[bytes]) -> None:
            peer.take(frames)

        link = DealerLink(
            self.context,
            endpoint or self.shell.endpoint,
            self.keys.public,
            pair,
            take,
        )
        self.links.append(link)
        peer = Peer(link)
        return peer


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Broker]:
    state = str(tmp_path / "broker")
    keys = broker_keys(state)
    store = DiskStore(state, "testfarm", 1 << 30)
    storage = Storage(state, 1 << 20, StorageAccess.WRITE)
    shell = Shell("testfarm", "tcp://127.0.0.1:0", keys, state, store, storage)
    broker = Broker(shell, state, keys, Registry(state), zmq.Context())
    try:
        yield broker
    finally:
        for link in broker.links:
            link.close()
        broker.context.term()
        shell.close()
        broker.registry.close()


def run(story: Callable[[Broker], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    async def told() -> None:
        async with serving(tmp_path) as broker:
            await story(broker)

    asyncio.run(told())


async def is_deaf(peer: Peer) -> bool:
    """Whether a connection never stands or is never answered."""
    hello = codec.encode(Hello(os.urandom(16), "client", "", "x", "0", 0, (), ()))
    for _ in range(50):
        peer.link.send(hello)
        await asyncio.sleep(0.01)
    return not peer.inbox


def test_a_strangers_key_is_refused(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        assert await is_deaf(broker.dial(new_key_pair()))

    run(story, tmp_path)


def test_a_pool_of_machines_that_joins_at_once_holds_up_nobody(tmp_path: Path) -> None:
    """Each is written through to the disk, which a slow one takes 20 ms for."""

    async def story(broker: Broker) -> None:
        token, own = new_key_pair(), new_key_pair()
        broker.registry.add(own.public, PeerRole.CLIENT, "other", time.time())
        broker.registry.add_joiner(token.public, PeerRole.CLIENT, time.time(), time.time() + 99, 50)
        enrol = broker.shell._registry.enrol

        def slow(joiner: str, public_key: str, label: str, now: float) -> PeerRole:
            time.sleep(0.02)
            return enrol(joiner, public_key, label, now)

        broker.shell._registry.enrol = slow  # type: ignore[method-assign]
        other, joiner = broker.dial(own), broker.dial(token)
        await other.hello("client")
        await joiner.say(*(Enrol(new_key_pair().public, "x") for _ in range(50)))
        waits_s = []
        while sum(isinstance(said, Enrolled) for said in joiner.inbox) < 50:
            began_s = time.monotonic()
            await other.say(StorageGet(1, b"k" * 20, 0))
            await other.wait(StorageEnd)
            waits_s.append(time.monotonic() - began_s)
        assert len(waits_s) > 30
        assert statistics.median(waits_s) < 0.1

    run(story, tmp_path)


def test_a_key_that_was_turned_away_is_in_again_once_it_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that is put back, say: nobody has to start the agents anew for it."""
    monkeypatch.setattr("zcc.link.DIAL_AGAIN_S", 0.2)

    async def story(broker: Broker) -> None:
        pair = new_key_pair()
        peer = broker.dial(pair)
        assert await is_deaf(peer)
        broker.registry.add(pair.public, PeerRole.CLIENT, "late", time.time())
        await peer.hello("client")

    run(story, tmp_path)


def test_a_client_that_speaks_as_a_node_is_dropped(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        await peer.say(Done(b"lease", b"body"))
        assert "may not send b'done'" in (await peer.wait(Bye)).reason
        assert broker.shell.counts["violations"] == 1
        assert not len(broker.shell.machine.farm.sessions)
        assert await is_deaf(peer)  # for as long as it is banned

    run(story, tmp_path)


@pytest.mark.parametrize(
    "frames",
    [
        [b"zcc/2", b"beat", b"\x91\xa1x"],
        [b"zcc/2", b"beat", b"\xc1"],
        [b"zcc/2", b"beat"],
        [b"zcc/2", b"hello", b"\x90"],
        [b"garbage"],
    ],
)
def test_what_is_no_message_gets_the_peer_dropped(tmp_path: Path, frames: list[bytes]) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.hello("client")
        assert peer.link.send(frames)
        assert (await peer.wait(Bye)).reason.startswith("protocol: ")

    run(story, tmp_path)


def broken(*_: object) -> None:
    raise KeyError("a mistake of ours")


@pytest.mark.parametrize(
    "place",
    [
        "broker.transport.traffic.Traffic.absent",  # while the message is read
        "broker.core.uploads.Uploads.absent",  # while its event is handled
    ],
)
def test_a_mistake_of_ours_over_a_message_ends_its_session_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    monkeypatch.setattr(place, broken)

    async def story(broker: Broker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: pytest.fail("it got out"))
        peer, other = (broker.dial(broker.member(PeerRole.CLIENT, name)) for name in ("a", "b"))
        await peer.hello("client")
        await other.hello("client")
        await peer.say(Absent(digest_of(b"x")))
        assert "broker-failed" in (await peer.wait(Bye)).reason
        await other.say(AskNodes())
        await other.wait(Nodes)
        assert broker.shell.failures.count == 1
        assert "KeyError: 'a mistake of ours'" in caplog.text

    run(story, tmp_path)


@pytest.mark.parametrize("place", ["_take_job", "_give_up"])
def test_a_mistake_of_ours_over_what_was_read_later_leaves_the_reader_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("broker.transport.reader.AT_ONCE_BYTES", 0)
    monkeypatch.setattr(Reception, place, broken)
    job = encode_job(sample_job(b"t", b"s"))
    body = compress(job) if place == "_take_job" else b"no frame"

    async def story(broker: Broker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: pytest.fail("it got out"))
        for count, name in enumerate(("a", "b"), 1):
            peer = broker.dial(broker.member(PeerRole.CLIENT, name))
            await peer.hello("client")
            await peer.say(Submit(1, job_key(job), 0.0, "b", False, b"", None, 0, body))
            assert "broker-failed" in (await peer.wait(Bye)).reason
            assert broker.shell.failures.count == count

    run(story, tmp_path)


def test_a_mistake_of_ours_in_an_effect_ends_the_session_that_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.traffic.Traffic.ask", broken)

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=1)
        job = encode_job(sample_job(b"t", b"s"))
        await agent.say(Submit(1, job_key(job), 0.0, "b", False, b"", None, 0, compress(job)))
        deadline = time.monotonic() + PATIENCE_S
        while len(broker.shell.machine.farm.sessions) > 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert broker.shell.failures.count == 1
        await agent.say(Cancel(1))
        await agent.wait(Who)

    run(story, tmp_path)


def test_a_mistake_of_ours_in_a_look_for_inputs_keeps_no_job_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.traffic.Traffic.has", broken)

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=1)
        agent.blobs = {digest_of(blob): compress(blob) for blob in (b"t", b"s")}
        job = encode_job(sample_job(b"t", b"s"))
        await agent.say(Submit(1, job_key(job), 0.0, "b", False, b"", None, 0, compress(job)))
        assert (await node.wait(Run)).key == job_key(job)

    run(story, tmp_path)


def test_a_mistake_of_ours_in_a_timer_leaves_the_others_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.traffic.Traffic.tick", broken)

    async def story(broker: Broker) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: pytest.fail("it got out"))
        peer = broker.dial(broker.member(PeerRole.CLIENT, "laptop"))
        await peer.hello("client")
        broker.registry.revoke("laptop", time.time())
        assert (await peer.wait(Bye)).reason == "revoked"
        assert broker.shell.failures.count > 0

    run(story, tmp_path)


def test_a_client_cannot_say_hello_as_a_node(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.say(Hello(os.urandom(16), "node", "", "x", "0", 8, (), ()))
        assert (await peer.wait(Refused)).reason.startswith("role:")

    run(story, tmp_path)


def test_a_revoked_key_is_dropped_within_about_a_second(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT, "laptop"))
        await peer.hello("client")
        began = time.monotonic()
        broker.registry.revoke("laptop", time.time())
        assert (await peer.wait(Bye)).reason == "revoked"
        assert time.monotonic() - began < 1.5
        assert await is_deaf(peer)

    run(story, tmp_path)


def test_a_message_before_hello_is_answered_with_who(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        peer = broker.dial(broker.member(PeerRole.CLIENT))
        await peer.say(Cancel(1))
        await peer.wait(Who)

    run(story, tmp_path)


def test_a_join_token_enrols_and_can_do_nothing_else(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        joiner, now = new_key_pair(), time.time()
        broker.registry.add_joiner(joiner.public, PeerRole.CLIENT, now, now + 60, 1)
        token = Token(
            broker.shell.endpoint, broker.keys.public, joiner.secret, "testfarm", "client", now + 60
        )
        # `join` runs a loop of its own, so it needs a thread of its own.
        own = await asyncio.to_thread(
            join, token.encode(), str(tmp_path / "member"), "laptop", ("client",)
        )
        assert (own.farm, own.role) == ("testfarm", "client")
        await broker.dial(own.keys).hello("client")
        again = broker.dial(joiner)
        await again.say(Hello(os.urandom(16), "client", "", "x", "0", 0, (), ()))
        assert "may not send" in (await again.wait(Bye)).reason
        assert Enrolled not in map(type, again.inbox)

    run(story, tmp_path)


def sample_job(toolchain: bytes, source: bytes) -> Job:
    files = (FileInput(b"/src/x.c", digest_of(source)),)
    return Job(
        toolchain=digest_of(toolchain),
        executable=b"/usr/bin/gcc",
        argv=(b"gcc", b"-c", b"x.c"),
        cwd=b"/src",
        environment=(),
        manifest=Manifest(files),
        outputs=(b"/src/x.o",),
    )


def test_one_job_from_end_to_end(tmp_path: Path) -> None:
    toolchain, source = os.urandom(3 * CREDIT_BYTES), b"int x;\n"
    output = os.urandom(2 * CHUNK_BYTES)

    async def story(broker: Broker) -> None:
        node, agent = (
            broker.dial(broker.member(PeerRole.NODE)),
            broker.dial(broker.member(PeerRole.CLIENT)),
        )
        await node.hello("node", slots=1)
        await agent.hello("client")
        agent.blobs = {digest_of(blob): compress(blob) for blob in (toolchain, source)}
        encoded = encode_job(sample_job(toolchain, source))
        await agent.say(
            Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))
        )

        lease = await node.wait(Run)
        assert lease.key == job_key(encoded)
        await node.say(Want(((digest_of(toolchain), 0), (digest_of(source), 0))))
        deadline = time.monotonic() + PATIENCE_S
        while sum(map(len, node.taken.values())) < sum(map(len, agent.blobs.values())):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert node.taken == agent.blobs
        await node.say(Started(lease.lease))

        digest = digest_of(output)
        node.blobs[digest] = compress(output)
        result = encode_result(
            Result(
                0, b"", b"", (OutputFile(b"/src/x.o", digest, len(output), 0o644),),
                Usage(0.1, 0.1, 1), Lookups(), "node",
            )
        )  # fmt: skip
        await node.say(Announce(lease.lease, (digest,)))
        node.sender.offer(digest)
        node.sender.after(Done(lease.lease, compress(result)))
        node.pump()
        finished = await agent.wait(Finished)
        assert (finished.ticket, finished.node, finished.shared) == (1, "node", False)
        assert agent.taken == {digest: node.blobs[digest]}
        assert (await node.wait(Settled)).lease == lease.lease
        (known,) = broker.shell.machine.farm.nodes
        frame_bytes = len(agent.blobs[digest_of(toolchain)])
        measured_bytes = known.record.line._bytes
        assert measured_bytes == pytest.approx(frame_bytes, abs=CREDIT_BYTES // 4), "of its line"
        log = (Path(broker.state) / "audit.log").read_text()
        assert all(f'"event": "{what}"' in log for what in ("submit", "dispatch", "result"))
        assert "int x" not in log

    run(story, tmp_path)


def test_a_job_that_cannot_be_read_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    job = encode_job(sample_job(b"t", b"s"))
    bodies = [
        (digest_of(b"another"), compress(job)),
        (digest_of(job), b"no frame"),
        (digest_of(b"no job"), compress(b"no job")),
    ]

    async def story(broker: Broker) -> None:
        agent, node = (
            broker.dial(broker.member(PeerRole.CLIENT)),
            broker.dial(broker.member(PeerRole.NODE)),
        )
        await agent.hello("client")
        await node.hello("node", slots=1)
        agent.blobs = {digest_of(blob): compress(blob) for blob in (b"t", b"s")}
        for ticket, (key, body) in enumerate(bodies, 1):
            await agent.say(Submit(ticket, key, 0.0, "b", False, b"", None, 0, body))
            refused = await agent.wait(Refused)
            assert refused.ticket == ticket
            assert refused.reason.startswith(f"{Reason.UNREADABLE}: ")
        assert broker.shell.counts == {"unreadable_jobs": len(bodies)}
        await agent.say(Submit(9, job_key(job), 0.0, "b", False, b"", None, 0, compress(job)))
        assert (await node.wait(Run)).key == job_key(job)

    run(story, tmp_path)


def test_an_input_that_a_node_could_not_use_is_read_again_and_asked_for_if_it_is_rotten(
    tmp_path: Path,
) -> None:
    async def story(broker: Broker) -> None:
        nodes = [broker.dial(broker.member(PeerRole.NODE, name)) for name in ("one", "two")]
        agent = broker.dial(broker.member(PeerRole.CLIENT))
        await agent.hello("client")
        await nodes[0].hello("node", slots=1)
        agent.blobs = {digest_of(blob): compress(blob) for blob in (b"t", b"s")}
        encoded = encode_job(sample_job(b"t", b"s"))
        await agent.say(
            Submit(1, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))
        )
        run_ = await nodes[0].wait(Run)
        store = DiskStore(broker.state, "testfarm", 1 << 30)
        source = Path(store.blobs.path_of(digest_of(b"s")))
        source.write_bytes(compress(b"rotten"))
        await nodes[1].hello("node", slots=1)
        await nodes[0].say(Failed(run_.lease, Fault.INPUT.value, "bytes do not match"))
        await nodes[1].wait(Run)
        assert source.read_bytes() == compress(b"s")
        store.close()

    run(story, tmp_path)


def test_serve_says_where_it_listens_and_stops_in_order(tmp_path: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [
            "sh", "-c", 'ulimit -Sn 200 && exec "$@"', "sh",
            sys.executable, "-m", "broker.main", "serve", "--listen", "tcp://127.0.0.1:0",
            "--state", str(tmp_path / "s"), "--ready-fd", str(write),
        ],
        pass_fds=(write,),
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as ready:
        assert ready.readline().startswith("tcp://127.0.0.1:")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    second = subprocess.run(
        [sys.executable, "-m", "broker.main", "serve", "--state", str(tmp_path / "s")],
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert second.returncode == 1
    assert b"another broker serves" in second.stderr
    assert b"Traceback" not in second.stderr
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
