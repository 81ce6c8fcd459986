"""Bulk at the broker: uploads that break off, pushes, credit, a full disk."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.core.events import BlobSpoiled, BlobStored, BlobUnstorable, Event, UploadStalled
from broker.core.limits import (
    CROSSING_S,
    DECODER_BYTES,
    PARTIAL_KEPT_S,
    UNPACKED_BURST_BYTES,
    UNPACKED_BYTES_PER_S,
    UPLOAD_RATED_S,
)
from broker.transport.traffic import Traffic
from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from cache.frame import compress, window_bytes
from zcc.errors import ProtocolError
from zcc.messages import (
    CHUNK_BYTES,
    CREDIT_BYTES,
    Chunk,
    Credit,
    Message,
    PeerRole,
    Want,
)

BIG = os.urandom(CHUNK_BYTES * 2)  # random, so that its frame takes three chunks
A, B, NODE = b"agent a", b"agent b", b"node"
# A and B are agents of one key.
USER = "a client"


@dataclass
class Bench:
    traffic: Traffic
    store: BlobStore
    reports: list[Event]
    sent: list[tuple[bytes, Message]]
    now: float = 1000.0
    frames: dict[Digest, bytes] = field(default_factory=dict)

    def ask(self, route: bytes, content: bytes) -> Digest:
        digest = digest_of(content)
        self.frames[digest] = compress(content)
        self.traffic.ask(route, [digest], self.now)
        return digest

    def chunk(self, digest: Digest, number: int) -> Chunk:
        frame = self.frames[digest]
        at = number * CHUNK_BYTES
        return Chunk(digest, at, len(frame), frame[at : at + CHUNK_BYTES])

    def take(self, route: bytes, digest: Digest, *numbers: int) -> None:
        for number in numbers:
            self.traffic.take(route, self.chunk(digest, number), self.now)

    def wants(self, route: bytes) -> list[tuple[Digest, int]]:
        return [
            blob
            for to, message in self.sent
            if to == route and isinstance(message, Want)
            for blob in message.blobs
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = BlobStore(str(tmp_path / "blobs"), 1 << 30)
    reports: list[Event] = []
    sent: list[tuple[bytes, Message]] = []

    def send(route: bytes, message: Message) -> bool:
        sent.append((route, message))
        return True

    bench = Bench(Traffic(store, send, reports.append), store, reports, sent)
    for route, role in ((A, PeerRole.CLIENT), (B, PeerRole.CLIENT), (NODE, PeerRole.NODE)):
        bench.traffic.open(route, role, f"a {role.value}", bench.now)
    yield bench
    bench.traffic.close_files()
    assert os.listdir(store.tmp_dir) == []


def test_an_upload_arrives_and_is_stored(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0, 1, 2)
    assert bench.reports == [BlobStored(digest, USER)]
    assert bench.store.read(digest) == BIG


def test_an_upload_that_is_under_way_says_how_far_it_is(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    assert list(bench.traffic.uploads()) == []
    bench.take(A, digest, 0)
    total = bench.chunk(digest, 0).total
    assert list(bench.traffic.uploads()) == [(USER, digest, CHUNK_BYTES, total)]
    bench.take(A, digest, 1, 2)
    assert list(bench.traffic.uploads()) == []


def test_a_broken_upload_is_continued_by_the_same_agent_on_a_new_route(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.traffic.open(b"a again", PeerRole.CLIENT, USER, bench.now)
    bench.ask(b"a again", BIG)
    assert bench.wants(b"a again") == [(digest, CHUNK_BYTES)]
    bench.take(b"a again", digest, 1, 2)
    assert bench.store.read(digest) == BIG


def test_another_frame_cannot_be_continued_and_is_asked_for_from_the_start(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.ask(B, BIG)
    assert bench.wants(B) == [(digest, CHUNK_BYTES)]
    other = bench.frames[digest] + b"another frame's tail"
    bench.frames[digest] = other
    bench.take(B, digest, 1, 2)
    assert bench.reports == [BlobSpoiled(digest, USER)]
    bench.ask(B, BIG)
    assert bench.wants(B)[-1] == (digest, 0)
    bench.take(B, digest, 0, 1, 2)
    assert bench.reports[-1] == BlobStored(digest, USER)


def test_keys_upload_apart_and_what_the_store_holds_as_well(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.open(b"other", PeerRole.CLIENT, "other", bench.now)
    bench.ask(b"other", BIG)
    assert bench.wants(b"other") == [(digest, 0)]
    bench.take(A, digest, 1, 2)
    bench.take(b"other", digest, 0, 1, 2)
    assert bench.reports == [BlobStored(digest, USER), BlobStored(digest, "other")]
    bench.traffic.open(b"third", PeerRole.CLIENT, "third", bench.now)
    bench.ask(b"third", BIG)
    assert bench.wants(b"third") == [(digest, 0)]


def test_a_blob_that_is_on_its_way_is_not_asked_for_again(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.ask(A, BIG)
    assert bench.wants(A) == [(digest, 0)]
    bench.take(A, digest, 1, 2)
    assert bench.store.read(digest) == BIG


def test_two_agents_bytes_that_do_not_match_are_nobodys_fault(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.ask(B, BIG)
    frame = bytearray(bench.frames[digest])
    frame[CHUNK_BYTES + 5] ^= 1
    bench.frames[digest] = bytes(frame)
    bench.take(B, digest, 1, 2)
    assert bench.reports == [BlobSpoiled(digest, USER)]


def test_one_agents_bytes_that_do_not_match_are_its_fault(bench: Bench) -> None:
    digest = bench.ask(A, b"what it says")
    bench.frames[digest] = compress(b"something else")
    with pytest.raises(ProtocolError, match="digest"):
        bench.take(A, digest, 0)


def test_an_old_partial_upload_is_let_go(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.traffic.tick(bench.now + PARTIAL_KEPT_S + 1)
    bench.ask(B, BIG)
    assert bench.wants(B) == [(digest, 0)]


def test_a_key_with_many_partial_uploads_pushes_out_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.unfinished.MAX_PARTIALS", 4)
    bench.traffic.open(B, PeerRole.CLIENT, "another client", bench.now)
    mine = bench.ask(A, BIG)
    bench.take(A, mine, 0)
    bench.traffic.close(A, bench.now)
    others = [os.urandom(CHUNK_BYTES * 2) for _ in range(8)]
    for content in others:
        bench.take(B, bench.ask(B, content), 0)
    bench.traffic.close(B, bench.now + 1)
    bench.traffic.tick(bench.now + 2)
    bench.traffic.open(A, PeerRole.CLIENT, "a client", bench.now)
    bench.traffic.open(B, PeerRole.CLIENT, "another client", bench.now)
    assert bench.ask(A, BIG) == mine
    for content in others:
        bench.ask(B, content)
    assert bench.wants(A)[-1] == (mine, CHUNK_BYTES)
    assert sum(offset > 0 for _, offset in bench.wants(B)) == 3


def test_unfinished_uploads_of_a_key_take_no_more_than_its_share_of_the_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.unfinished.MAX_UNFINISHED_BYTES_PER_KEY", 2 * CHUNK_BYTES)
    bench.traffic.open(B, PeerRole.CLIENT, "another client", bench.now)
    others = bench.ask(B, BIG)
    bench.take(B, others, 0)
    given_up, first, second, third = (bench.ask(A, os.urandom(CHUNK_BYTES * 2)) for _ in range(4))
    for digest in (given_up, first, second, third):
        bench.take(A, digest, 0)
    bench.traffic.absent(A, given_up)
    bench.traffic.tick(bench.now)
    assert bench.reports == [BlobUnstorable(first, USER)]
    bench.take(A, first, 1)  # passes by
    bench.take(A, second, 1, 2)
    bench.take(B, others, 1, 2)
    assert BlobStored(second, USER) in bench.reports
    assert not bench.store.has(first)
    assert bench.store.has(others)
    bench.traffic.close(A, bench.now)
    bench.traffic.tick(bench.now + PARTIAL_KEPT_S + 1)


def test_a_chunk_that_nobody_asked_for_is_a_violation_unless_it_crossed(bench: Bench) -> None:
    digest = digest_of(BIG)
    bench.frames[digest] = compress(BIG)
    bench.take(A, digest, 1)  # sent before our Welcome reached it
    bench.now += CROSSING_S + 1
    with pytest.raises(ProtocolError, match="not asked for"):
        bench.take(A, digest, 1)


def test_an_agent_that_stands_still_is_reported(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.traffic.tick(bench.now + UPLOAD_RATED_S - 1)
    bench.take(A, digest, 0)
    bench.traffic.tick(bench.now + UPLOAD_RATED_S)
    assert not bench.reports
    bench.traffic.tick(bench.now + 2 * UPLOAD_RATED_S)
    assert bench.reports == [UploadStalled(A, is_moving=True)]
    bench.traffic.tick(bench.now + 3 * UPLOAD_RATED_S)
    assert bench.reports[1:] == [UploadStalled(A)]


def test_an_agent_that_sends_a_byte_now_and_then_stands_still(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    for offset in range(int(2 * UPLOAD_RATED_S)):
        bench.now += 1.0
        bench.ask(A, b"something else %d" % offset)
        frame = bench.frames[digest]
        one = Chunk(digest, offset, len(frame), frame[offset : offset + 1])
        bench.traffic.take(A, one, bench.now)
        bench.traffic.tick(bench.now)
    assert bench.reports == [UploadStalled(A, is_moving=True), UploadStalled(A)]


def test_when_another_has_been_asked_the_firsts_late_chunks_pass_by(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.ask(B, BIG)
    bench.take(A, digest, 1)
    bench.take(B, digest, 1, 2)
    assert bench.store.read(digest) == BIG


def test_what_begins_while_a_key_has_too_many_under_way_is_asked_for_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of it is lost, other keys send meanwhile, and so does what comes in one chunk."""
    contents = [os.urandom(CHUNK_BYTES * 2) for _ in range(5)]
    first, second, *beyond = digests = [bench.ask(A, content) for content in contents]
    window = DECODER_BYTES + window_bytes(bench.frames[first])
    monkeypatch.setattr("broker.transport.unfinished.MAX_DECODERS_BYTES", 2 * window)
    for digest in digests:
        bench.take(A, digest, 0)
    assert len(os.listdir(bench.store.tmp_dir)) == 2
    bench.take(A, bench.ask(A, b"small"), 0)
    bench.traffic.open(b"other", PeerRole.CLIENT, "other", bench.now)
    bench.take(b"other", bench.ask(b"other", BIG), 0, 1, 2)
    bench.reports.clear()
    for digest in digests:
        bench.take(A, digest, 1, 2)
    assert bench.reports == [
        BlobStored(first, USER),
        BlobStored(second, USER),
        *(BlobSpoiled(digest, USER) for digest in beyond),
    ]
    for content in contents[2:]:
        bench.take(A, bench.ask(A, content), 0, 1, 2)
    assert [bench.store.read(digest) for digest in digests] == contents


def test_uploads_that_break_off_count_until_they_are_let_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = bench.ask(A, BIG)
    window = DECODER_BYTES + window_bytes(bench.frames[digest])
    monkeypatch.setattr("broker.transport.unfinished.MAX_DECODERS_BYTES", window)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    later = bench.ask(B, os.urandom(CHUNK_BYTES * 2))
    bench.take(B, later, 0, 1, 2)
    assert bench.reports == [BlobSpoiled(later, USER)]
    bench.traffic.tick(bench.now + PARTIAL_KEPT_S + 1)
    bench.traffic.ask(B, [later], bench.now)
    bench.take(B, later, 0, 1, 2)
    assert bench.reports[-1] == BlobStored(later, USER)


@pytest.mark.long
def test_a_key_whose_frames_hold_far_more_than_their_size_waits_and_others_do_not(
    bench: Bench,
) -> None:
    zeros = [bytes(60 << 20) + bytes([number]) for number in range(5)]
    digests = [bench.ask(A, content) for content in zeros]
    for digest in digests:
        bench.take(A, digest, 0)
    assert bench.reports == [BlobStored(digest, USER) for digest in digests]
    small = bench.ask(A, b"small")
    bench.take(A, small, 0)
    bench.traffic.tick(bench.now)
    assert len(bench.reports) == len(zeros)
    bench.traffic.open(b"other", PeerRole.CLIENT, "other", bench.now)
    bench.take(b"other", bench.ask(b"other", b"small"), 0)
    assert bench.reports[-1] == BlobStored(small, "other")
    bench.now += (5 * (60 << 20) - UNPACKED_BURST_BYTES) / UNPACKED_BYTES_PER_S + 1
    bench.traffic.tick(bench.now)
    assert bench.reports[-1:] == [BlobSpoiled(small, USER)]
    bench.take(A, bench.ask(A, b"small"), 0)
    assert bench.reports[-1] == BlobStored(small, USER)


def announced(bench: Bench, lease: bytes, *contents: bytes, is_wanted: bool = True) -> list[Digest]:
    """A node has said what it will push for a lease."""
    digests = [digest_of(content) for content in contents]
    bench.frames |= {digest_of(content): compress(content) for content in contents}
    bench.traffic.expect_pushes(NODE, lease, digests, is_wanted)
    return digests


def test_a_nodes_outputs_enter_the_store_when_their_done_names_them(bench: Bench) -> None:
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0, 1, 2)
    assert not bench.traffic.has(digest)
    assert bench.traffic.keep_pushes(NODE, b"lease", [digest]) == len(BIG)
    assert bench.traffic.has(digest)
    assert bench.store.read(digest) == BIG


@pytest.mark.parametrize("sender", ["node", "client"])
def test_a_lie_about_the_empty_file_is_nobodys_blob(bench: Bench, sender: str) -> None:
    """Its header says that it holds nothing, so that a careless decoder looks at nothing behind it."""
    (empty,) = announced(bench, b"lease", b"")
    bench.frames[empty] = bytes.fromhex("28b52ffd 2000") + bytes.fromhex("290000") + b"hello"
    route = NODE
    if sender == "client":
        route = A
        bench.traffic.ask(A, [empty], bench.now)
    with pytest.raises(ProtocolError):
        bench.take(route, empty, 0)
    assert not bench.store.has(empty)
    assert os.listdir(bench.store.tmp_dir) == []


def test_what_a_done_does_not_name_is_dropped(bench: Bench) -> None:
    named, junk = announced(bench, b"lease", BIG, b"junk")
    bench.take(NODE, named, 0, 1, 2)
    bench.take(NODE, junk, 0)
    assert bench.traffic.keep_pushes(NODE, b"lease", [named]) == len(BIG)
    assert not bench.store.has(junk)
    assert os.listdir(bench.store.tmp_dir) == []


def test_a_done_may_not_name_what_was_not_pushed_for_it(bench: Bench) -> None:
    there = bench.store.put(b"another user's source")
    announced(bench, b"lease")
    assert bench.traffic.keep_pushes(NODE, b"lease", [there]) is None
    assert bench.traffic.keep_pushes(NODE, b"no lease", [there]) is None
    assert bench.traffic.keep_pushes(NODE, b"no lease", []) == 0


def test_a_done_before_its_outputs_are_whole_keeps_none_of_them(bench: Bench) -> None:
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0, 1)
    assert bench.traffic.keep_pushes(NODE, b"lease", [digest]) is None
    bench.take(NODE, digest, 2)  # passes by
    assert not bench.store.has(digest)


def test_what_a_node_has_not_announced_is_a_violation_unless_it_crossed(bench: Bench) -> None:
    digest = digest_of(BIG)
    bench.frames[digest] = compress(BIG)
    bench.take(NODE, digest, 0)  # sent before our Welcome reached it
    bench.now += CROSSING_S + 1
    with pytest.raises(ProtocolError, match="not asked for"):
        bench.take(NODE, digest, 0)


def test_what_a_lease_left_behind_that_is_over_passes_by(bench: Bench) -> None:
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0)
    bench.traffic.drop_pushes(NODE, b"lease")
    assert os.listdir(bench.store.tmp_dir) == []
    bench.take(NODE, digest, 1, 2)
    (late,) = announced(bench, b"lease", b"late", is_wanted=False)
    bench.take(NODE, late, 0)
    assert os.listdir(bench.store.tmp_dir) == []
    assert not bench.store.has(digest)
    assert not bench.store.has(late)


def test_an_output_of_two_leases_comes_once_while_it_is_under_way(bench: Bench) -> None:
    (digest,) = announced(bench, b"one", BIG)
    bench.take(NODE, digest, 0)
    announced(bench, b"two", BIG)
    bench.take(NODE, digest, 1, 2)
    assert bench.traffic.keep_pushes(NODE, b"one", [digest]) == len(BIG)
    assert bench.traffic.keep_pushes(NODE, b"two", [digest]) == len(BIG)
    assert bench.store.read(digest) == BIG


def test_an_output_that_came_for_one_lease_comes_again_for_another(bench: Bench) -> None:
    (digest,) = announced(bench, b"one", BIG)
    bench.take(NODE, digest, 0, 1, 2)
    announced(bench, b"two", BIG)
    bench.take(NODE, digest, 0)
    assert bench.traffic.keep_pushes(NODE, b"one", [digest]) == len(BIG)
    bench.take(NODE, digest, 1, 2)
    assert bench.traffic.keep_pushes(NODE, b"two", [digest]) == len(BIG)
    assert os.listdir(bench.store.tmp_dir) == []


def test_a_lease_that_is_announced_again_begins_anew(bench: Bench) -> None:
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0, 1)
    announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0, 1, 2)
    assert bench.traffic.keep_pushes(NODE, b"lease", [digest]) == len(BIG)


def test_a_lease_that_is_announced_again_with_other_outputs_awaits_only_those(bench: Bench) -> None:
    (first,) = announced(bench, b"lease", BIG)
    bench.take(NODE, first, 0)
    (second,) = announced(bench, b"lease", b"second")
    bench.take(NODE, first, 1)  # crossed
    bench.take(NODE, second, 0)
    assert bench.traffic.keep_pushes(NODE, b"lease", [second])
    assert not bench.store.has(first)


def test_whatever_a_node_announces_and_sends_is_taken_or_its_fault(bench: Bench) -> None:
    rng = random.Random(7)
    contents = [BIG, b"one", b"two", b"three"]
    digests = announced(bench, b"lease 0", *contents)
    bench.now += CROSSING_S + 1
    for _ in range(1_000):
        lease = b"lease %d" % rng.randrange(3)
        with contextlib.suppress(ProtocolError):
            match rng.randrange(5):
                case 0 | 1:
                    some = rng.sample(contents, rng.randrange(1, 4))
                    announced(bench, lease, *some, is_wanted=rng.random() < 0.8)
                case 2:
                    bench.take(NODE, rng.choice(digests[1:]), 0)
                    bench.take(NODE, digests[0], rng.randrange(3))
                case 3:
                    bench.traffic.absent(NODE, rng.choice(digests))
                case _:
                    bench.traffic.keep_pushes(NODE, lease, rng.sample(digests, 1))
    assert any(isinstance(report, BlobStored) for report in bench.reports)


def test_an_output_that_the_node_gives_up_leaves_nothing_behind(bench: Bench) -> None:
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0)
    bench.traffic.absent(NODE, digest)
    assert os.listdir(bench.store.tmp_dir) == []
    assert bench.traffic.keep_pushes(NODE, b"lease", [digest]) is None


def test_outputs_beyond_a_jobs_limit_are_a_violation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.pushes.MAX_OUTPUT_BYTES", 1000)
    zeros, ones = announced(bench, b"lease", bytes(600), b"1" * 600)
    bench.take(NODE, zeros, 0)
    with pytest.raises(ProtocolError, match="under one lease"):
        bench.take(NODE, ones, 0)


def test_outputs_that_take_too_much_memory_to_decode_are_a_violation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [os.urandom(CHUNK_BYTES * 2) for _ in range(3)]
    whole, begun, beyond = announced(bench, b"lease", *contents)
    window = DECODER_BYTES + window_bytes(bench.frames[whole])
    monkeypatch.setattr("broker.transport.pushes.MAX_DECODERS_BYTES", window)
    bench.take(NODE, whole, 0, 1, 2)
    bench.take(NODE, begun, 0)
    with pytest.raises(ProtocolError, match="to decode"):
        bench.take(NODE, beyond, 0)


def test_what_a_node_announces_and_never_sends_is_not_awaited_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.pushes.MAX_PASSING", 10)
    for number in range(100):
        announced(bench, b"%d" % number, b"content %d" % number)
        bench.traffic.drop_pushes(NODE, b"%d" % number)
    announced(bench, b"last", b"last")
    assert len(bench.traffic._peers[NODE].receiver) <= 11


def test_a_full_disk_under_a_push_is_our_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.store, "arrival", refuse)
    (digest,) = announced(bench, b"lease", BIG)
    bench.take(NODE, digest, 0, 1, 2)
    assert bench.traffic.keep_pushes(NODE, b"lease", [digest]) is None
    assert bench.traffic.last_disk_fault_at == bench.now


def test_credit_is_granted_as_chunks_are_consumed(bench: Bench) -> None:
    content = os.urandom(CREDIT_BYTES * 2)
    digest = bench.ask(A, content)
    count = -(-len(bench.frames[digest]) // CHUNK_BYTES)
    bench.take(A, digest, *range(count))
    granted = [message.amount_bytes for _, message in bench.sent if isinstance(message, Credit)]
    assert sum(granted) >= CREDIT_BYTES
    assert bench.store.read(digest) == content


def test_a_disk_that_refuses_is_reported_and_no_fault_of_the_peer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    digest = bench.ask(A, BIG)
    monkeypatch.setattr(bench.store, "arrival", refuse)
    bench.take(A, digest, 0)
    assert bench.reports == [BlobUnstorable(digest, USER)]
    assert bench.traffic.last_disk_fault_at == bench.now


def test_a_blob_of_one_piece_is_sent_on_from_memory(bench: Bench) -> None:
    digest = bench.ask(A, b"small")
    bench.take(A, digest, 0)
    assert bench.reports == [BlobStored(digest, USER)]
    os.unlink(bench.store.path_of(digest))
    frame = bench.frames[digest]
    assert bench.traffic.read(digest, 0, len(frame)) == (frame, len(frame))
    # A part is the file's, whose frame may be another: it is gone here.
    assert bench.traffic.read(digest, 2, 3) is None
    bench.traffic.forget(digest)
    assert bench.traffic.read(digest, 0, len(frame)) is None


def test_what_a_node_pushes_waits_in_memory_only_within_a_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.pushes.MAX_HELD_PUSHES_BYTES", 1_000)
    contents = [os.urandom(600) for _ in range(2)]
    digests = [digest_of(content) for content in contents]
    bench.frames.update((digest_of(content), compress(content)) for content in contents)
    bench.traffic.expect_pushes(NODE, b"lease", digests, True)
    files = []
    for digest in digests:
        bench.take(NODE, digest, 0)
        files.append(len(os.listdir(bench.store.tmp_dir)))
    assert files == [0, 1]
    assert not any(map(bench.store.has, digests))
    assert bench.traffic.keep_pushes(NODE, b"lease", digests)
    assert [bench.store.read(digest) for digest in digests] == contents


def test_one_keys_unfinished_uploads_leave_descriptors_for_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an open file: where a process may have 1024, a key's 512 and its connections were all of them."""
    monkeypatch.setattr("broker.transport.unfinished.most_files", lambda: 8)
    other = b"another's"
    bench.traffic.open(other, PeerRole.CLIENT, "another client", bench.now)
    for number in range(30):
        bench.take(A, bench.ask(A, b"%d" % number + BIG), 0)
    assert len(os.listdir(bench.store.tmp_dir)) == 8
    digest = bench.ask(other, BIG)
    bench.take(other, digest, 0, 1, 2)
    assert bench.reports == [BlobStored(digest, "another client")]
    passed_by = digest_of(b"29" + BIG)
    bench.take(A, passed_by, 1, 2)
    assert bench.reports[1:] == [BlobSpoiled(passed_by, USER)]


def test_all_keys_decoders_together_have_a_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = DECODER_BYTES + window_bytes(compress(BIG))
    monkeypatch.setattr("broker.transport.unfinished.MAX_DECODERS_BYTES_IN_ALL", 4 * window)
    routes = [b"%d" % number for number in range(3)]
    for route in routes:
        bench.traffic.open(route, PeerRole.CLIENT, f"client {route!r}", bench.now)
        for number in range(6):
            bench.take(route, bench.ask(route, b"%d" % number + BIG), 0)
    # The first has all of it; of each other the half, and the third.
    assert len(os.listdir(bench.store.tmp_dir)) == 4 + 2 + 2
