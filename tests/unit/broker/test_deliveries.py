"""What goes out: within the peer's credit and what it takes, and in order; what waits is little in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from broker.core.limits import HELD_BYTES
from broker.transport.deliveries import Deliveries
from broker.transport.outbox import Answer, Outbox
from broker.transport.spool import Spool
from cache.digest import Digest, digest_of
from zcc.errors import ProtocolError
from zcc.messages import (
    CREDIT_BYTES,
    Absent,
    Beat,
    Chunk,
    Finished,
    Message,
    Nodes,
    Refused,
    Revoke,
    Run,
    Settled,
    Want,
)
from zcc.reasons import Reason

A, B, OTHER = b"agent a", b"agent b", b"another key's"
KEY = digest_of(b"job")


def finished(ticket: int, body: bytes = b"") -> Finished:
    return Finished(ticket, "n", 0.0, False, False, body)


@dataclass
class Bench:
    """An outbox and its deliveries over a link whose peers take what they are told to."""

    directory: str
    sent: list[tuple[bytes, Message]] = field(default_factory=list)
    unsent: dict[bytes, int] = field(default_factory=dict)
    full: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    frames: dict[Digest, bytes] = field(default_factory=dict)
    remembered: dict[Digest, bytes] = field(default_factory=dict)
    asked: int = 0
    woken: int = 0

    def __post_init__(self) -> None:
        self.spool = Spool(self.directory)
        self.outbox = Outbox(
            self._send,
            lambda route: route not in self.gone,
            lambda route: self.unsent.get(route, 0),
            lambda route: self.deliveries.draw(route),  # noqa: PLW0108 - made below
            self._wake,
        )
        self.deliveries = Deliveries(self._read, self._body_of, self.spool, self.outbox.pump)
        for route, user in ((A, "key"), (B, "key"), (OTHER, "other")):
            self.open(route, user)

    def open(self, route: bytes, user: str) -> None:
        self.deliveries.open(route, user)
        self.outbox.open(route, user)

    def got(self, route: bytes) -> list[Message]:
        return [message for to, message in self.sent if to == route]

    def blob(self, content: bytes) -> Digest:
        self.frames[digest_of(content)] = content
        return digest_of(content)

    def deliver(
        self,
        route: bytes,
        message: Finished,
        *outputs: Digest,
        key: Digest | None = None,
    ) -> bool:
        return self.deliveries.deliver(route, outputs, message, key)

    def stand_still(self, *routes: bytes) -> None:
        """These peers read nothing, and have as much on the way as they may."""
        self.unsent |= dict.fromkeys(routes, 1 << 30)

    def move_on(self) -> None:
        self.unsent.clear()
        self.outbox.tick()
        self.outbox.retry()

    @property
    def spooled(self) -> list[str]:
        return os.listdir(os.path.join(self.directory, "spool"))

    def _send(self, route: bytes, message: Message) -> bool:
        if route in self.full or route in self.gone:
            return False
        self.sent.append((route, message))
        return True

    def _wake(self) -> None:
        self.woken += 1

    def _read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        frame = self.frames.get(digest)
        return None if frame is None else (frame[offset : offset + length], len(frame))

    def _body_of(self, key: Digest, outputs: tuple[Digest, ...]) -> bytes | None:
        self.asked += 1
        return self.remembered.get(key)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(str(tmp_path))
    yield bench
    for route in (A, B, OTHER):
        bench.deliveries.close(route)
        bench.outbox.close(route)
    assert bench.spooled == []
    assert not bench.outbox._kept_bytes
    assert not bench.outbox._unsent_bytes
    assert not bench.deliveries._held_bytes


# --- under credit -----------------------------------------------------------------------------


def test_outputs_go_before_the_message_that_names_them_and_within_the_credit(bench: Bench) -> None:
    digests = [bench.blob(os.urandom(CREDIT_BYTES // 2)) for _ in range(3)]
    assert bench.deliver(A, finished(1, b"result"), *digests)
    chunks = [message for message in bench.got(A) if isinstance(message, Chunk)]
    assert sum(len(chunk.body) for chunk in chunks) == CREDIT_BYTES
    assert finished(1, b"result") not in bench.got(A)
    bench.deliveries.credit(A, CREDIT_BYTES)
    assert bench.got(A)[-1] == finished(1, b"result")


def test_a_credit_that_would_fill_our_memory_is_a_violation(bench: Bench) -> None:
    with pytest.raises(ProtocolError, match="window"):
        bench.deliveries.credit(A, 1)


def test_a_credit_tells_what_is_left_of_the_blobs_that_take_long(bench: Bench) -> None:
    large, small = bench.blob(os.urandom(2 * CREDIT_BYTES)), bench.blob(b"small")
    bench.deliveries.offer(A, [(large, 0), (small, 0)])
    quarter = CREDIT_BYTES // 4
    left = dict(bench.deliveries.credit(A, quarter))
    assert left.keys() == {large}
    # What the peer has not said to have taken may be the small one's, too.
    assert left[large] == pytest.approx(2 * CREDIT_BYTES - quarter, abs=len(b"small"))
    for _ in range(6):
        left = dict(bench.deliveries.credit(A, quarter))
    assert left[large] == pytest.approx(quarter, abs=len(b"small"))
    bench.deliveries.credit(A, quarter)
    # It has come.
    assert not bench.deliveries.credit(A, len(b"small"))


def test_an_output_that_is_gone_is_said_to_be_absent(bench: Bench) -> None:
    bench.deliver(A, finished(1), digest_of(b"never stored"))
    assert [type(message) for message in bench.got(A)] == [Absent, Finished]


def test_an_agent_that_takes_no_results_however_small_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD", 2)
    bench.stand_still(A)
    assert bench.deliver(A, finished(1))
    assert bench.deliver(A, finished(2))
    assert not bench.deliver(A, finished(3))
    assert bench.deliver(B, finished(1))


def test_agents_of_one_key_that_take_nothing_are_given_up_before_they_fill_the_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD_BYTES_PER_KEY", 2 * HELD_BYTES)
    bench.stand_still(A, B, OTHER)
    assert bench.deliver(A, finished(1))
    assert bench.deliver(B, finished(1))
    assert not bench.deliver(B, finished(2))
    assert bench.deliver(OTHER, finished(1))
    bench.open(B, "key")
    assert bench.deliver(A, finished(2))


# --- what waits -------------------------------------------------------------------------------


def test_a_peer_that_takes_nothing_is_handed_no_more_and_gets_all_of_it_when_it_reads(
    bench: Bench,
) -> None:
    bench.stand_still(A)
    for ticket in range(300):
        assert bench.deliver(A, finished(ticket, b"%d" % ticket))
    assert bench.got(A) == []
    assert bench.woken == 1
    assert bench.deliver(OTHER, finished(1, b"other"))
    assert bench.got(OTHER) == [finished(1, b"other")]
    bench.move_on()
    assert bench.got(A) == [finished(ticket, b"%d" % ticket) for ticket in range(300)]


def test_a_remembered_result_that_waits_is_looked_up_in_its_turn(bench: Bench) -> None:
    body = os.urandom(100_000)
    bench.remembered[KEY] = body
    bench.stand_still(A)
    for ticket in range(300):
        bench.deliver(A, finished(ticket, body), key=KEY)
    assert bench.deliveries._held_bytes["key"] == 300 * HELD_BYTES
    assert bench.spooled == []
    assert bench.asked == 0
    bench.move_on()
    assert bench.got(A) == [finished(ticket, body) for ticket in range(300)]


def test_a_remembered_result_that_was_evicted_meanwhile_is_refused(bench: Bench) -> None:
    bench.stand_still(A)
    bench.deliver(A, finished(7, bytes(100_000)), key=KEY)
    bench.move_on()
    assert bench.got(A) == [Refused(7, Reason.RESULT_GONE)]


def test_results_that_wait_and_are_not_remembered_go_to_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD_IN_MEMORY_BYTES", 250_000)
    results = [finished(ticket, os.urandom(100_000)) for ticket in range(10)]
    bench.stand_still(A)
    for result in results:
        assert bench.deliver(A, result)
    assert bench.deliveries._held_bytes["key"] < 250_000
    assert len(bench.spooled) == 8
    bench.move_on()
    assert bench.got(A) == results
    assert bench.spooled == []


def test_results_beyond_what_the_disk_keeps_are_refused_and_no_session_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("broker.transport.spool.MAX_SPOOLED_BYTES_PER_KEY", 250_000)
    results = [finished(ticket, os.urandom(100_000)) for ticket in range(4)]
    bench.stand_still(A)
    assert all(bench.deliver(A, result) for result in results)
    bench.move_on()
    assert bench.got(A) == [
        *results[:2],
        Refused(2, Reason.RESULT_GONE),
        Refused(3, Reason.RESULT_GONE),
    ]


def test_what_waits_on_disk_for_a_gone_peer_is_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.deliveries.MAX_HELD_IN_MEMORY_BYTES", 0)
    bench.stand_still(A)
    bench.deliver(A, finished(1, bytes(100_000)))
    assert len(bench.spooled) == 1
    bench.open(A, "key")
    assert bench.spooled == []


@pytest.mark.parametrize("is_link", [False, True])
def test_the_next_broker_removes_what_the_last_one_left(tmp_path: Path, is_link: bool) -> None:
    if is_link:
        (tmp_path / "disk").mkdir()
        (tmp_path / "spool").symlink_to("disk")
    left = Spool(str(tmp_path)).put("key", b"body")
    assert left is not None
    again = Spool(str(tmp_path))
    assert os.listdir(tmp_path / "spool") == []
    kept = again.put("key", b"another")
    assert kept is not None
    assert again.take(kept) == b"another"


def test_nothing_is_put_on_a_disk_that_is_almost_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(str(tmp_path))
    monkeypatch.setattr("broker.transport.spool.SPOOL_LEAVES_BYTES", 1 << 62)
    assert spool.put("key", b"body") is None
    assert os.listdir(tmp_path / "spool") == []


# --- the outbox -------------------------------------------------------------------------------


def test_what_is_answered_later_is_made_when_there_is_room(bench: Bench) -> None:
    made: list[int] = []

    def make(number: int) -> Answer:
        def settled() -> Settled:
            made.append(number)
            return Settled(b"%d" % number)

        return Answer(settled, 100)

    bench.stand_still(A)
    for number in range(3):
        assert bench.outbox.put(A, make(number))
    assert not made
    bench.move_on()
    assert made == [0, 1, 2]
    assert bench.got(A) == [Settled(b"0"), Settled(b"1"), Settled(b"2")]


def test_answers_and_deliveries_take_turns(bench: Bench) -> None:
    bench.stand_still(A)
    for number in range(3):
        bench.deliver(A, finished(number))
        bench.outbox.put(A, Answer(lambda: Settled(b""), 100))
    bench.move_on()
    kinds = [type(message) for message in bench.got(A)]
    assert kinds == [Settled, Finished] * 3


def test_what_waits_for_a_key_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.transport.outbox.MAX_ANSWERS_BYTES", 300)
    monkeypatch.setattr("broker.transport.outbox.MAX_ANSWERS_BYTES_PER_KEY", 500)
    bench.stand_still(A, B, OTHER)
    answer = Answer(lambda: None, 100)
    assert [bench.outbox.put(A, answer) for _ in range(4)] == [True, True, True, False]
    assert [bench.outbox.put(B, answer) for _ in range(3)] == [True, True, False]
    assert bench.outbox.put(OTHER, answer)


def test_peers_of_one_key_have_so_much_handed_over_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.outbox.MAX_UNSENT_BYTES", 100)
    monkeypatch.setattr("broker.transport.outbox.MAX_UNSENT_BYTES_PER_KEY", 150)
    bench.unsent |= {A: 100, OTHER: 100}
    assert bench.deliver(A, finished(1))  # as much as it may, and a message
    bench.unsent[A] = 160
    assert bench.deliver(A, finished(2))
    assert bench.deliver(B, finished(1))
    assert bench.deliver(OTHER, finished(1))
    assert [route for route, _ in bench.sent] == [A, OTHER]
    bench.unsent[A] = 120
    bench.outbox.tick()
    bench.outbox.retry()
    assert [route for route, _ in bench.sent] == [A, OTHER, B]


def test_small_messages_wait_for_no_room_and_in_their_order_for_the_socket(bench: Bench) -> None:
    bench.stand_still(A)
    bench.deliver(A, finished(1))
    assert bench.outbox.say(A, Beat(1.0))
    bench.full.add(A)
    assert bench.outbox.say(A, Beat(2.0))
    bench.full.clear()
    assert bench.outbox.say(A, Beat(3.0))
    assert bench.got(A) == [Beat(1.0), Beat(2.0), Beat(3.0)]
    bench.move_on()
    assert bench.got(A)[-1] == finished(1)


def test_a_peer_that_is_gone_is_said_to_be_at_once(bench: Bench) -> None:
    bench.gone.add(A)
    assert not bench.outbox.say(A, Beat(0.0))


def test_a_peer_that_takes_not_even_small_messages_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.outbox.MAX_ANSWERS_BYTES", 10_000)
    bench.full.add(A)
    said = [bench.outbox.say(A, Beat(0.0)) for _ in range(30)]
    assert said == [True] * 20 + [False] * 10
    bench.full.clear()


def test_what_is_drawn_and_not_taken_counts_as_handed_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.outbox.MAX_UNSENT_BYTES_PER_KEY", 1000)
    bench.full.add(A)
    bench.deliver(A, finished(1, bytes(2000)))
    bench.deliver(B, finished(1))
    assert bench.sent == []
    bench.full.clear()
    bench.move_on()
    assert bench.got(A) == [finished(1, bytes(2000))]
    bench.move_on()
    assert bench.got(B) == [finished(1)]


def test_a_job_that_is_revoked_while_its_run_waits_is_not_sent(bench: Bench) -> None:
    run = Run(b"lease", KEY, "client", 0, bytes(100_000))
    bench.stand_still(A)
    assert bench.outbox.say(A, run)
    assert bench.outbox.say(A, replace(run, lease=b"other"))
    assert bench.outbox.say(A, Revoke(b"lease"))
    bench.move_on()
    assert bench.got(A) == [Revoke(b"lease"), replace(run, lease=b"other")]


def test_of_lists_of_nodes_that_wait_the_last_one_is_sent(bench: Bench) -> None:
    bench.stand_still(A)
    for _ in range(100):
        assert bench.outbox.say(A, Nodes(()))
    assert bench.outbox.say(A, Want(((KEY, 0),)))
    bench.move_on()
    assert bench.got(A) == [Nodes(()), Want(((KEY, 0),))]


def test_what_waits_is_void_when_the_session_begins_anew(bench: Bench) -> None:
    bench.stand_still(A)
    bench.deliver(A, finished(1))
    bench.outbox.put(A, Answer(lambda: Beat(0.0), 100))
    bench.open(A, "key")
    bench.move_on()
    assert bench.got(A) == []


def test_many_peers_that_stand_still_are_looked_at_in_turns(bench: Bench) -> None:
    routes = [b"%d" % number for number in range(200)]
    bench.stand_still(*routes)
    for route in routes:
        bench.open(route, "many")
        bench.deliver(route, finished(1))
    bench.unsent.clear()
    bench.outbox.tick()
    for _ in range(4):
        bench.outbox.retry()
    assert sorted(route for route, _ in bench.sent) == sorted(routes)
    for route in routes:
        bench.deliveries.close(route)
        bench.outbox.close(route)
