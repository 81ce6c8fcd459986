"""Bulk at the broker: uploads that break off, pushes, credit, a full disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.events import BlobSpoiled, BlobStored, BlobUnstorable, Event, UploadStalled
from broker.limits import CROSSING_S, PARTIAL_KEPT_S, UPLOAD_STALL_S
from broker.traffic import Traffic
from cache.blobs import BlobStore, compress
from cache.digest import Digest, digest_of
from zcc.errors import ProtocolError
from zcc.messages import (
    CHUNK_BYTES,
    CREDIT_BYTES,
    Absent,
    Chunk,
    Credit,
    Finished,
    Message,
    Role,
    Want,
)

BIG = os.urandom(CHUNK_BYTES * 2)  # random, so that its frame takes three chunks
A, B, NODE = b"agent a", b"agent b", b"node"


@dataclass
class Bench:
    traffic: Traffic
    store: BlobStore
    reports: list[Event]
    sent: list[tuple[bytes, Message]]
    is_full: bool = False
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
        if not bench.is_full:
            sent.append((route, message))
        return not bench.is_full

    bench = Bench(Traffic(store, send, reports.append), store, reports, sent)
    for route, role in ((A, Role.CLIENT), (B, Role.CLIENT), (NODE, Role.NODE)):
        bench.traffic.open(route, role, bench.now)
    yield bench
    bench.traffic.close_files()
    assert os.listdir(store.tmp_dir) == []


def test_an_upload_arrives_and_is_stored(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0, 1, 2)
    assert bench.reports == [BlobStored(digest)]
    assert bench.store.read(digest) == BIG


def test_a_broken_upload_is_continued_by_the_same_agent_on_a_new_route(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.traffic.open(b"a again", Role.CLIENT, bench.now)
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
    assert bench.reports == [BlobSpoiled(digest)]
    bench.ask(B, BIG)
    assert bench.wants(B)[-1] == (digest, 0)
    bench.take(B, digest, 0, 1, 2)
    assert bench.reports[-1] == BlobStored(digest)


def test_two_agents_bytes_that_do_not_match_are_nobodys_fault(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.traffic.close(A, bench.now)
    bench.ask(B, BIG)
    frame = bytearray(bench.frames[digest])
    frame[CHUNK_BYTES + 5] ^= 1
    bench.frames[digest] = bytes(frame)
    bench.take(B, digest, 1, 2)
    assert bench.reports == [BlobSpoiled(digest)]


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


def test_a_chunk_that_nobody_asked_for_is_a_violation_unless_it_crossed(bench: Bench) -> None:
    digest = digest_of(BIG)
    bench.frames[digest] = compress(BIG)
    bench.take(A, digest, 1)  # sent before our Welcome reached it
    bench.now += CROSSING_S + 1
    with pytest.raises(ProtocolError, match="not asked for"):
        bench.take(A, digest, 1)


def test_an_agent_that_stands_still_is_reported(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.traffic.tick(bench.now + UPLOAD_STALL_S - 1)
    bench.take(A, digest, 0)
    assert not bench.reports
    bench.traffic.tick(bench.now + UPLOAD_STALL_S + 1)
    assert bench.reports == [UploadStalled(A)]


def test_when_another_has_been_asked_the_firsts_late_chunks_pass_by(bench: Bench) -> None:
    digest = bench.ask(A, BIG)
    bench.take(A, digest, 0)
    bench.ask(B, BIG)
    bench.take(A, digest, 1)
    bench.take(B, digest, 1, 2)
    assert bench.store.read(digest) == BIG


def test_a_node_pushes_outputs_and_what_is_here_passes_by(bench: Bench) -> None:
    digest = digest_of(BIG)
    bench.frames[digest] = compress(BIG)
    bench.take(NODE, digest, 0, 1, 2)
    assert bench.traffic.has(digest)
    bench.take(NODE, digest, 0, 1, 2)
    assert bench.store.read(digest) == BIG


def test_an_output_of_two_leases_may_start_anew(bench: Bench) -> None:
    digest = digest_of(BIG)
    bench.frames[digest] = compress(BIG)
    bench.take(NODE, digest, 0, 1, 0, 1, 2)
    assert bench.traffic.has(digest)


def test_outputs_go_before_the_message_that_names_them_and_within_the_credit(
    bench: Bench,
) -> None:
    contents = [os.urandom(CREDIT_BYTES // 2) for _ in range(3)]
    digests = [bench.store.put(content) for content in contents]
    finished = Finished(1, "n", 0.0, False, False, b"result")
    assert bench.traffic.deliver(A, digests, finished)
    chunks = [message for _, message in bench.sent if isinstance(message, Chunk)]
    assert sum(len(chunk.body) for chunk in chunks) == CREDIT_BYTES
    assert (A, finished) not in bench.sent
    bench.traffic.credit(A, CREDIT_BYTES)
    assert bench.sent[-1] == (A, finished)


def test_a_credit_that_would_fill_our_memory_is_a_violation(bench: Bench) -> None:
    with pytest.raises(ProtocolError, match="window"):
        bench.traffic.credit(A, 1)


def test_a_full_socket_is_tried_again(bench: Bench) -> None:
    digest = bench.store.put(b"content")
    bench.is_full = True
    bench.traffic.offer(NODE, [(digest, 0)])
    assert not bench.sent
    bench.is_full = False
    bench.traffic.retry()
    assert [type(message) for _, message in bench.sent] == [Chunk]


def test_an_agent_that_takes_nothing_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.traffic.MAX_HELD_BYTES", 100)
    digest = bench.store.put(os.urandom(2 * CREDIT_BYTES))
    assert bench.traffic.deliver(A, [digest], Finished(1, "n", 0.0, False, False, b"x" * 60))
    assert not bench.traffic.deliver(A, [digest], Finished(2, "n", 0.0, False, False, b"x" * 60))


def test_an_output_that_is_gone_is_said_to_be_absent(bench: Bench) -> None:
    digest = digest_of(b"never stored")
    bench.traffic.deliver(A, [digest], Finished(1, "n", 0.0, False, False, b""))
    assert [type(message) for _, message in bench.sent] == [Absent, Finished]


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
    assert bench.reports == [BlobUnstorable(digest)]
    assert bench.traffic.last_disk_fault_at == bench.now
