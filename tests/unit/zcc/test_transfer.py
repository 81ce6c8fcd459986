"""Blobs in chunks under credit: two ends driven against each other, and each against a liar."""

from __future__ import annotations

import tracemalloc
from functools import partial

import pytest

from cache.digest import Digest, digest_of
from zcc.errors import ProtocolError
from zcc.messages import CHUNK_BYTES, Absent, Chunk, Finished, Settled
from zcc.transfer import MAX_UNDER_WAY, Receiver, Sender

BIG = b"big" * CHUNK_BYTES
SMALL = b"small"
BLOBS = {digest_of(data): data for data in (BIG, SMALL)}
SETTLED = Settled(b"l" * 16)


def stretch(data: bytes, _: Digest, offset: int, length: int) -> tuple[bytes, int]:
    return data[offset : offset + length], len(data)


def read(digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
    data = BLOBS.get(digest)
    return None if data is None else (data[offset : offset + length], len(data))


def test_everything_arrives_whatever_the_window() -> None:
    for window in (1, 1000, CHUNK_BYTES, 4 * CHUNK_BYTES):
        data = b"x" * 5000 if window == 1 else BIG
        digest = digest_of(data)
        sender, receiver = Sender(window), Receiver(window)
        sender.offer(digest)
        receiver.expect(digest)
        got = bytearray()
        while len(got) < len(data):
            sent = sender.pump(partial(stretch, data))
            assert sent
            for chunk in sent:
                assert isinstance(chunk, Chunk)
                piece = receiver.take(chunk)
                got += piece.data
                grant = receiver.consumed(len(piece.data))
                if grant is not None:
                    sender.add_credit(grant.amount_bytes)
        assert bytes(got) == data
        assert not len(receiver)


def test_a_small_blob_does_not_wait_for_a_big_one() -> None:
    sender = Sender(2 * CHUNK_BYTES)
    sender.offer(digest_of(BIG))
    sender.offer(digest_of(SMALL))
    kinds = [chunk.digest for chunk in sender.pump(read) if isinstance(chunk, Chunk)]
    assert kinds[:2] == [digest_of(BIG), digest_of(SMALL)]


def test_a_message_follows_the_blobs_that_were_offered_before_it() -> None:
    sender = Sender(CHUNK_BYTES)
    sender.offer(digest_of(BIG))
    sender.after(SETTLED)
    assert SETTLED not in sender.pump(read)
    sender.add_credit(len(BIG))
    assert sender.pump(read)[-1] == SETTLED


def test_a_blob_that_is_gone_is_said_to_be_absent() -> None:
    sender = Sender()
    sender.offer(digest_of(b"gone"))
    sender.after(SETTLED)
    assert sender.pump(read) == [Absent(digest_of(b"gone")), SETTLED]


def test_a_transfer_goes_on_where_it_broke_off() -> None:
    digest = digest_of(BIG)
    sender, receiver = Sender(), Receiver()
    sender.offer(digest, CHUNK_BYTES)
    receiver.expect(digest, CHUNK_BYTES)
    first = sender.pump(read)[0]
    assert isinstance(first, Chunk)
    assert receiver.take(first).offset == CHUNK_BYTES


def chunk_of(data: bytes, offset: int = 0, total: int = 100) -> Chunk:
    return Chunk(digest_of(SMALL), offset, total, data)


@pytest.mark.parametrize(
    "chunk",
    [
        chunk_of(b"", 0),
        chunk_of(b"x", 1),
        chunk_of(b"x" * 101),
        chunk_of(b"x" * (CHUNK_BYTES + 1), 0, 1 << 30),
        Chunk(digest_of(b"other"), 0, 1, b"x"),
    ],
    ids=["empty", "out of order", "beyond its end", "too large", "not asked for"],
)
def test_a_liar_is_caught(chunk: Chunk) -> None:
    receiver = Receiver()
    receiver.expect(digest_of(SMALL))
    with pytest.raises(ProtocolError):
        receiver.take(chunk)


def test_a_sender_beyond_its_credit_is_caught() -> None:
    receiver = Receiver(credit_bytes=10)
    receiver.expect(digest_of(SMALL))
    receiver.take(chunk_of(b"x" * 10))
    with pytest.raises(ProtocolError, match="granted"):
        receiver.take(chunk_of(b"x", 10))


def test_pushed_blobs_are_taken_only_where_pushes_are() -> None:
    chunk = chunk_of(b"x" * 100)
    assert Receiver(takes_pushes=True).take(chunk).is_last
    with pytest.raises(ProtocolError):
        Receiver().take(chunk)


def test_a_blob_that_is_given_up_is_passed_over_until_it_begins_anew() -> None:
    """Its chunks are on their way, and take up credit as any; meanwhile it may be asked for again."""
    digest, other = digest_of(SMALL), digest_of(b"other")
    receiver = Receiver(credit_bytes=100)
    receiver.expect(digest)
    receiver.take(chunk_of(b"x" * 10))
    receiver.give_up(digest)
    assert receiver.passes_over(chunk_of(b"x" * 10, 10))
    receiver.expect(digest)
    assert receiver.passes_over(chunk_of(b"x" * 80, 20))
    assert receiver.is_expected(digest)
    assert receiver.consumed(100) is not None
    assert not receiver.passes_over(chunk_of(b"x" * 10))
    assert receiver.take(chunk_of(b"x" * 10)).offset == 0
    assert not receiver.passes_over(Chunk(other, 0, 1, b"x"))


def test_what_was_not_under_way_is_not_given_up() -> None:
    receiver = Receiver()
    receiver.give_up(digest_of(SMALL))
    assert not receiver.passes_over(chunk_of(b"x" * 100))


def test_only_so_many_blobs_are_under_way_at_once_and_all_arrive() -> None:
    large = {digest_of(b"%d" % number): number for number in range(3 * MAX_UNDER_WAY)}
    total = 3 * CHUNK_BYTES

    def read_large(digest: Digest, offset: int, length: int) -> tuple[bytes, int]:
        return b"x" * min(length, total - offset), total

    sender, receiver = Sender(), Receiver(takes_pushes=True)
    for digest in large:
        sender.offer(digest)
    sender.after(SETTLED)
    whole = set()
    while SETTLED not in (sent := sender.pump(read_large)):
        for chunk in sent:
            assert isinstance(chunk, Chunk)
            piece = receiver.take(chunk)
            whole |= {piece.digest} if piece.is_last else set()
            assert len(receiver) <= MAX_UNDER_WAY
            grant = receiver.consumed(len(piece.data))
            if grant is not None:
                sender.add_credit(grant.amount_bytes)
    whole |= {chunk.digest for chunk in sent if isinstance(chunk, Chunk)}
    assert whole == large.keys()
    assert len(sender) == 0


def test_messages_wait_for_just_the_blobs_before_them_in_whatever_order_those_end() -> None:
    sender = Sender(CHUNK_BYTES)
    first, second = (
        Finished(1, "n", 0.0, False, False, b""),
        Finished(2, "n", 0.0, False, False, b""),
    )
    sender.after(SETTLED)
    sender.offer(digest_of(BIG))
    sender.after(first)
    sender.offer(digest_of(SMALL))
    sender.after(second)
    sender.offer(digest_of(b"gone"))
    assert [each for each in sender.pump(read) if not isinstance(each, Chunk)] == [SETTLED]
    assert sender.held == 2
    sender.add_credit(len(SMALL) + 1)  # the small one ends before the big one
    assert not {first, second} & set(sender.pump(read))
    sender.add_credit(2 * len(BIG))
    sent = sender.pump(read)
    assert [each for each in sent if isinstance(each, Finished)] == [first, second]
    assert sender.held == 0


def test_a_held_message_takes_the_same_memory_however_many_blobs_are_before_it() -> None:
    sender = Sender(0)
    for number in range(1000):
        sender.offer(digest_of(b"%d" % number))
    tracemalloc.start()
    for _ in range(1000):
        sender.after(SETTLED)
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sender.held == 1000
    assert taken_bytes < 1000 * 500


def test_a_blob_that_was_withdrawn_may_be_offered_again() -> None:
    sender = Sender(CHUNK_BYTES)
    sender.offer(digest_of(BIG))
    sender.pump(read)
    sender.withdraw(digest_of(BIG))
    assert sender.pump(read) == []
    sender.offer(digest_of(BIG))
    sender.add_credit(len(BIG))
    sent = sender.pump(read)
    assert [chunk.offset for chunk in sent if isinstance(chunk, Chunk)][:2] == [0, CHUNK_BYTES]
    assert len(sender) == 0
