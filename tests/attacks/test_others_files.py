"""A client that names what it does not hold: it gets nothing, and learns nothing.

Raw members that only speak the protocol to a broker on loopback: no job is run, so no namespace is needed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cache.digest import Digest, digest_of
from cache.frame import compress
from tests.unit.broker.test_broker_wire import Broker, Peer, run, sample_job
from zcc.holding import SHOWN_BYTES, pack_shown, shown_by
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
    Announce,
    Busy,
    Done,
    Finished,
    Message,
    PeerRole,
    Refused,
    Run,
    Submit,
    Want,
    Welcome,
)

TOOLCHAIN = b"a toolchain"
SECRET = b'static const char password[] = "hunter2";\n'
NOTHING: list[Message] = [Refused(1, "input-absent")]
OUTPUT = b"an object that holds the password"


def submit(
    ticket: int, job: Job, shown: dict[Digest, bytes] | None = None, *, is_fresh: bool = False
) -> Submit:
    encoded = encode_job(job)
    packed = pack_shown(shown or {})
    return Submit(ticket, job_key(encoded), 0.0, "b", is_fresh, packed, None, 0, compress(encoded))


async def owned(broker: Broker) -> tuple[Peer, Job]:
    """A node, and a job of the owner's that was compiled and is remembered."""
    node, owner = (
        broker.dial(broker.member(PeerRole.NODE)),
        broker.dial(broker.member(PeerRole.CLIENT)),
    )
    await node.hello("node", slots=2)
    await owner.hello("client")
    owner.blobs = {digest_of(blob): compress(blob) for blob in (TOOLCHAIN, SECRET)}
    job = sample_job(TOOLCHAIN, SECRET)
    await owner.say(submit(1, job))
    lease = (await node.wait(Run)).lease
    digest = digest_of(OUTPUT)
    output = OutputFile(b"/src/x.o", digest, len(OUTPUT), 0o644)
    usage = Usage(0.1, 0.1, 1)
    result = Result(0, b"", b"", (output,), usage, Lookups(), "node")
    node.blobs[digest] = compress(OUTPUT)
    await node.say(Announce(lease, (digest,)))
    node.sender.offer(digest)
    node.sender.after(Done(lease, compress(encode_result(result))))
    node.pump()
    await owner.wait(Finished)
    return node, job


async def thief(broker: Broker) -> tuple[Peer, Welcome]:
    peer = broker.dial(broker.member(PeerRole.CLIENT, os.urandom(4).hex()))
    return peer, await peer.hello("client")


def note_wants(peer: Peer, wants: list[Want]) -> None:
    """Keep the wants that a peer is told; it answers them as a peer does: Absent, for what it has not."""
    offer = peer.sender.offer

    def noted(digest: Digest, offset: int = 0) -> None:
        wants.append(Want(((digest, offset),)))
        offer(digest, offset)

    peer.sender.offer = noted  # type: ignore[method-assign]


async def told(peer: Peer, *said: Message) -> list[Message]:
    """What the broker says to these, up to the end of the request."""
    peer.inbox.clear()
    await peer.say(*said)
    refused = await peer.wait(Refused)
    return [refused] + [each for each in peer.inbox if not isinstance(each, Busy)]


def incbin(digest: Digest, toolchain: bytes = TOOLCHAIN) -> Job:
    """A job of the thief's own that reads out what has this digest."""
    source = b'asm(".incbin \\"stolen\\"");\n'
    files = (FileInput(b"/src/stolen", digest), FileInput(b"/src/x.c", digest_of(source)))
    return replace(sample_job(toolchain, source), manifest=Manifest(files))


@pytest.mark.parametrize("what", [SECRET, OUTPUT], ids=["a-source", "an-output"])
@pytest.mark.parametrize("has_guessed", [False, True], ids=["silent", "with-a-wrong-proof"])
def test_anothers_blob_is_as_good_as_one_that_nobody_has(
    tmp_path: Path, what: bytes, has_guessed: bool
) -> None:
    async def story(broker: Broker) -> None:
        node, _ = await owned(broker)
        seen = []
        for digest in (digest_of(what), digest_of(b"nobody has this")):
            peer, _ = await thief(broker)
            wants: list[Want] = []
            note_wants(peer, wants)
            source = next(f.digest for f in incbin(digest).manifest.files if f.path.endswith(b".c"))
            peer.blobs = {source: compress(b'asm(".incbin \\"stolen\\"");\n')}
            shown = {digest: os.urandom(SHOWN_BYTES)} if has_guessed else None
            said = await told(peer, submit(1, incbin(digest), shown))
            assert sorted(blob for want in wants for blob in want.blobs) == sorted(
                ((digest, 0), (source, 0))
            )
            seen.append(said)
        assert seen[0] == seen[1] == NOTHING
        assert not [each for each in node.inbox if isinstance(each, Run)]

    run(story, tmp_path)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_whole_job_of_anothers_is_not_answered(tmp_path: Path, is_fresh: bool) -> None:
    async def story(broker: Broker) -> None:
        node, job = await owned(broker)
        unknown = sample_job(TOOLCHAIN, b"nobody has compiled this")
        seen = []
        for each in (job, unknown):
            peer, _ = await thief(broker)
            seen.append(await told(peer, submit(1, each, is_fresh=is_fresh)))
            assert not peer.taken
        assert seen[0] == seen[1] == NOTHING
        assert not [each for each in node.inbox if isinstance(each, Run)]
        holder, welcome = await thief(broker)
        shown = {digest_of(SECRET): shown_by([SECRET], welcome.holding_key)}
        await holder.say(submit(1, job, shown))
        assert (await holder.wait(Finished)).is_recalled  # nobody could make the broker forget it

    run(story, tmp_path)


def test_anothers_file_is_no_toolchain(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        node, _ = await owned(broker)
        for blob in (SECRET, b"nobody has this"):
            peer, _ = await thief(broker)
            wants: list[Want] = []
            note_wants(peer, wants)
            assert await told(peer, submit(1, sample_job(blob, b"int x;\n"))) == NOTHING
            assert wants == [Want(((digest_of(blob), 0),))]
        assert not [each for each in node.inbox if isinstance(each, Run)]

    run(story, tmp_path)


def test_who_holds_the_file_proves_it_and_sends_nothing(tmp_path: Path) -> None:
    async def story(broker: Broker) -> None:
        _, job = await owned(broker)
        for _ in range(2):  # the second time the broker need not read the blob
            peer, welcome = await thief(broker)
            wants: list[Want] = []
            note_wants(peer, wants)
            shown = {digest_of(SECRET): shown_by([SECRET], welcome.holding_key)}
            await peer.say(submit(1, job, shown))
            assert (await peer.wait(Finished)).is_recalled
            await peer.say(submit(2, job))
            assert (await peer.wait(Finished)).is_recalled
            assert not wants

    run(story, tmp_path)


def test_after_a_restart_one_proof_is_enough_and_an_old_one_is_none(tmp_path: Path) -> None:
    """The results, the blobs and which of them are toolchains are kept; who holds what is shown anew."""
    old_keys: list[bytes] = []

    async def before(broker: Broker) -> None:
        await owned(broker)
        _, welcome = await thief(broker)
        old_keys.append(welcome.holding_key)

    async def after(broker: Broker) -> None:
        node = broker.dial(broker.member(PeerRole.NODE, "again"))
        await node.hello("node", slots=2)
        job = sample_job(TOOLCHAIN, SECRET)
        peer, welcome = await thief(broker)
        assert welcome.holding_key not in old_keys
        stale = {digest_of(SECRET): shown_by([SECRET], old_keys[0])}
        assert await told(peer, submit(1, job, stale)) == NOTHING
        holder, _ = await thief(broker)
        wants: list[Want] = []
        note_wants(holder, wants)
        shown = {digest_of(SECRET): shown_by([SECRET], welcome.holding_key)}
        other = replace(job, argv=(*job.argv, b"-O2"))
        await holder.say(submit(1, job, shown), submit(2, other))
        assert (await holder.wait(Finished)).is_recalled
        assert (await node.wait(Run)).key == submit(2, other).key
        assert not wants

    run(before, tmp_path)
    run(after, tmp_path)
