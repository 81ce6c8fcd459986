"""Blobs in chunks under a byte credit, both ends. Pure.

The sender may have at most as many body bytes under way as the receiver has granted, so a slow peer
fills nobody's memory. Blobs on offer to one peer take turns chunk by chunk: a toolchain of 80 MB does
not hold up the source file of the job beside it. The idea of credit in bytes is FileMQ's.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from cache.digest import Digest
from zcc.errors import ProtocolError
from zcc.messages import CHUNK_BYTES, CREDIT_BYTES, Absent, Chunk, Credit, Message

# (digest, offset, length) -> the frame's bytes there and the frame's whole length; None: not to be had.
Read = Callable[[Digest, int, int], tuple[bytes, int] | None]

# A credit message is sent when this share of the window has been consumed.
_GRANT_SHARE = 4
# Blobs of one sender that take turns; the others wait. What is under way costs the receiver an open file each.
MAX_UNDER_WAY = 64


@dataclass(slots=True)
class _Offered:
    """A blob that is not wholly sent: its number, counted from one, and from where it goes on."""

    number: int
    offset: int


class Sender:
    """What one peer is to get: blobs under its credit, and messages that must follow them."""

    def __init__(self, credit_bytes: int = CREDIT_BYTES) -> None:
        self._credit_bytes = credit_bytes
        self._offered: OrderedDict[Digest, _Offered] = (
            OrderedDict()
        )  # in the order of their numbers
        self._last_number = 0
        self._turns: deque[Digest] = deque()  # those begun, but for the one whose turn it is
        self._begun: set[Digest] = set()
        self._waiting: deque[Digest] = deque()  # may hold some that were withdrawn
        # Messages, each with the number of the last blob before it.
        self._held: deque[tuple[int, Message]] = deque()

    def __len__(self) -> int:
        """Blobs that are not wholly sent."""
        return len(self._offered)

    @property
    def held(self) -> int:
        """Messages that wait behind blobs."""
        return len(self._held)

    def offer(self, digest: Digest, offset: int = 0) -> None:
        """Queue a blob's frame from `offset` on.

        A blob that is on its way already is not begun anew: whoever waits for it gets that one.
        """
        offered = self._offered.get(digest)
        if offered is None:
            self._last_number += 1
            self._offered[digest] = _Offered(self._last_number, offset)
            self._waiting.append(digest)
        elif offset:
            offered.offset = offset

    def after(self, message: Message) -> None:
        """Queue a message behind all blobs that are on offer now."""
        self._held.append((self._last_number, message))

    def add_credit(self, amount_bytes: int) -> None:
        self._credit_bytes += amount_bytes

    def withdraw(self, digest: Digest) -> None:
        """Send no more of this blob."""
        self._offered.pop(digest, None)
        self._begun.discard(digest)
        if digest in self._turns:
            self._turns.remove(digest)

    def pump(self, read: Read) -> list[Message]:
        """The messages that may go now, in order."""
        return list(iter(lambda: self.next(read), None))

    def next(self, read: Read) -> Message | None:
        """The next message, which is to go now; None: there is none, or no credit for one."""
        first = next(iter(self._offered.values())).number if self._offered else math.inf
        if self._held and self._held[0][0] < first:
            return self._held.popleft()[1]
        if self._credit_bytes <= 0 or (digest := self._next()) is None:
            return None
        offered = self._offered[digest]
        offset = offered.offset
        piece = read(digest, offset, min(CHUNK_BYTES, self._credit_bytes))
        if piece is None or not piece[0]:
            self.withdraw(digest)
            return Absent(digest)
        body, total = piece
        self._credit_bytes -= len(body)
        if offset + len(body) >= total:
            self.withdraw(digest)
        else:
            offered.offset = offset + len(body)
            self._turns.append(digest)
        return Chunk(digest, offset, total, body)

    def _next(self) -> Digest | None:
        """Whose turn it is; it loses its turn."""
        while self._waiting and len(self._begun) < MAX_UNDER_WAY:
            digest = self._waiting.popleft()
            if digest in self._offered and digest not in self._begun:
                self._begun.add(digest)
                self._turns.append(digest)
        return self._turns.popleft() if self._turns else None


@dataclass(frozen=True, slots=True)
class Piece:
    """A checked stretch of one blob's frame, in order."""

    digest: Digest
    offset: int
    total: int
    data: bytes
    is_last: bool


class Receiver:
    """What one peer sends us. Refuses what was not asked for, unless the peer may push."""

    def __init__(self, credit_bytes: int = CREDIT_BYTES, takes_pushes: bool = False) -> None:
        self._window_bytes = credit_bytes
        self._outstanding_bytes = credit_bytes
        self._consumed_bytes = 0
        self._takes_pushes = takes_pushes
        self._next: dict[Digest, int] = {}
        self._given_up: set[Digest] = set()

    def __len__(self) -> int:
        """Blobs that are expected or half here."""
        return len(self._next)

    def is_expected(self, digest: Digest) -> bool:
        return digest in self._next

    def expect(self, digest: Digest, offset: int = 0) -> None:
        """The peer was asked for this blob from `offset` on."""
        self._next[digest] = offset

    def forget(self, digest: Digest) -> None:
        """The peer will not send (more of) this blob."""
        self._next.pop(digest, None)

    def give_up(self, digest: Digest) -> None:
        """We cannot take (more of) this blob, but chunks of it are on their way."""
        if self._next.pop(digest, None) is not None:
            self._given_up.add(digest)

    def passes_over(self, chunk: Chunk) -> bool:
        """Whether this is a chunk of a blob that was given up, from before it was asked for again if it was.

        Its bytes still have to be granted anew: `consumed`.
        """
        if chunk.digest not in self._given_up:
            return False
        if self._next.get(chunk.digest) == chunk.offset:
            self._given_up.discard(chunk.digest)
            return False
        self._outstanding_bytes -= len(chunk.body)
        return True

    def take(self, chunk: Chunk) -> Piece:
        """Check one chunk.

        Raises:
            ProtocolError: not asked for, out of order, empty or too large, beyond the credit.
        """
        size = len(chunk.body)
        wanted = self._next.get(chunk.digest, 0 if self._takes_pushes else None)
        if wanted is None:
            raise ProtocolError("a chunk of a blob that was not asked for")
        if chunk.offset != wanted:
            raise ProtocolError(f"a chunk at {chunk.offset} where {wanted} comes next")
        if not 0 < size <= CHUNK_BYTES or chunk.offset + size > chunk.total:
            raise ProtocolError(f"a chunk of {size} bytes at {chunk.offset} of {chunk.total}")
        if size > self._outstanding_bytes:
            raise ProtocolError(f"a chunk of {size} bytes, {self._outstanding_bytes} were granted")
        self._outstanding_bytes -= size
        is_last = chunk.offset + size == chunk.total
        if is_last:
            self._next.pop(chunk.digest, None)
        else:
            self._next[chunk.digest] = chunk.offset + size
        return Piece(chunk.digest, chunk.offset, chunk.total, chunk.body, is_last)

    def consumed(self, size_bytes: int) -> Credit | None:
        """Note that bytes have left our memory; the grant to send for them, now and then."""
        self._consumed_bytes += size_bytes
        if self._consumed_bytes * _GRANT_SHARE < self._window_bytes:
            return None
        grant, self._consumed_bytes = self._consumed_bytes, 0
        self._outstanding_bytes += grant
        return Credit(grant)

    def reset(self) -> tuple[Digest, ...]:
        """The connection is gone: the blobs that were under way."""
        lost = tuple(self._next)
        self._next.clear()
        self._given_up.clear()
        self._outstanding_bytes = self._window_bytes
        self._consumed_bytes = 0
        return lost
