"""What peers get under their credit: blobs of the store, and results behind the outputs that they name.

Owns each peer's sender, and the results that wait. A result's body may be 8 MiB, and its agent slow. A
remembered one is looked up again in its turn. Another one goes to disk when its key has too much in memory.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from broker.core.limits import (
    GRANT_BYTES,
    HELD_BYTES,
    MAX_HELD,
    MAX_HELD_BYTES_PER_KEY,
    MAX_HELD_IN_MEMORY_BYTES,
)
from broker.transport.spool import Spool, Spooled
from cache.digest import Digest
from zcc.errors import ProtocolError
from zcc.messages import CREDIT_BYTES, Absent, Chunk, Finished, Message, Refused
from zcc.reasons import Reason
from zcc.transfer import Read, Sender

# Why an agent does not get a result that waited for it: it was evicted, or more waited than there is room for.
RESULT_GONE = Reason.RESULT_GONE

# (key, outputs) -> the body of this key's result, if it is remembered with just these outputs.
BodyOf = Callable[[Digest, tuple[Digest, ...]], bytes | None]


@dataclass(slots=True)
class _Held:
    """A result that waits: its body is here, or on disk, or remembered under `key`, or lost."""

    outputs: tuple[Digest, ...]
    key: Digest | None
    body: bytes | None
    spooled: Spooled | None = None
    is_sent: bool = False

    @property
    def size_bytes(self) -> int:
        return HELD_BYTES + len(self.body or b"")


@dataclass(slots=True)
class _Line:
    """`window_bytes` is the credit that the peer has open with us; it may not exceed CREDIT_BYTES.

    `held` are the results, in the order in which the sender has them. `undrawn` has what is left to be sent of
    the blobs of more than one chunk that have begun, in bytes, until their last Credit.
    """

    user: str
    sender: Sender = field(default_factory=Sender)
    window_bytes: int = CREDIT_BYTES
    on_offer: set[Digest] = field(default_factory=set)
    undrawn: dict[Digest, int] = field(default_factory=dict)
    held: deque[_Held] = field(default_factory=deque)


class Deliveries:
    """`pump` has somebody draw what may go now; `read` reads a blob's frame."""

    def __init__(
        self, read: Read, body_of: BodyOf, spool: Spool, pump: Callable[[bytes], None]
    ) -> None:
        self._read = read
        self._body_of = body_of
        self._spool = spool
        self._pump = pump
        self._lines: dict[bytes, _Line] = {}
        self._held_bytes: Counter[str] = Counter()  # of a key's agents, in memory

    def open(self, route: bytes, user: str) -> None:
        self.close(route)
        self._lines[route] = _Line(user)

    def close(self, route: bytes) -> None:
        line = self._lines.pop(route, None)
        if line is None:
            return
        for held in line.held:
            self._note_held(line, -held.size_bytes)
            if held.spooled is not None:
                self._spool.drop(held.spooled)

    def offer(self, route: bytes, blobs: Iterable[tuple[Digest, int]]) -> None:
        """Send blobs that the peer asked for."""
        line = self._lines.get(route)
        if line is not None:
            for digest, offset in blobs:
                line.sender.offer(digest, offset)
                line.on_offer.add(digest)
            self._pump(route)

    def deliver(
        self, route: bytes, outputs: tuple[Digest, ...], message: Finished, key: Digest | None
    ) -> bool:
        """Push outputs and behind them the message; False: the peer takes nothing, give it up.

        `key` names a remembered result, whose body need not be kept.
        """
        line = self._lines.get(route)
        if line is None:
            return True
        for digest in outputs:
            if digest not in line.on_offer:  # a blob on offer would start anew
                line.sender.offer(digest, 0)
                line.on_offer.add(digest)
        held = _Held(outputs, key, message.body)
        line.held.append(held)
        self._note_held(line, held.size_bytes)
        line.sender.after(replace(message, body=b""))
        self._pump(route)
        if not held.is_sent:
            self._put_away(line, held)
        has_too_much = self._held_bytes[line.user] > MAX_HELD_BYTES_PER_KEY and bool(line.held)
        return len(line.held) <= MAX_HELD and not has_too_much

    def credit(self, route: bytes, amount_bytes: int) -> tuple[tuple[Digest, int], ...]:
        """The peer takes more. Returns the blobs of more than one chunk that are on their way to it, and how
        many bytes of each it may not have: with all that it has not said to have taken, of others too.

        Raises:
            ProtocolError: more than it has room for: it would fill our memory.
        """
        line = self._lines[route]
        line.window_bytes += amount_bytes
        if line.window_bytes > CREDIT_BYTES:
            raise ProtocolError(f"a credit beyond the window of {CREDIT_BYTES} bytes")
        untaken_bytes = CREDIT_BYTES - line.window_bytes
        left = tuple((digest, size + untaken_bytes) for digest, size in line.undrawn.items())
        if untaken_bytes < GRANT_BYTES:  # no Credit needs to follow for what has been sent
            line.undrawn = {digest: size for digest, size in line.undrawn.items() if size}
        line.sender.add_credit(amount_bytes)
        self._pump(route)
        return left

    def draw(self, route: bytes) -> Message | None:
        """The next message that may go to this peer, to be sent now."""
        line = self._lines.get(route)
        message = None if line is None else line.sender.next(self._read)
        if line is None or message is None:
            return None
        match message:
            case Chunk():
                line.window_bytes -= len(message.body)
                end = message.offset + len(message.body)
                if end < message.total or message.digest in line.undrawn:
                    line.undrawn[message.digest] = message.total - end
                if end == message.total:
                    line.on_offer.discard(message.digest)
            case Absent():
                line.on_offer.discard(message.digest)
                line.undrawn.pop(message.digest, None)
            case Finished():
                return self._finished(line, message)
            case _:
                pass
        return message

    def _finished(self, line: _Line, message: Finished) -> Message:
        held = line.held.popleft()
        held.is_sent = True
        self._note_held(line, -held.size_bytes)
        body = held.body
        if held.spooled is not None:
            body = self._spool.take(held.spooled)
        elif body is None and held.key is not None:
            body = self._body_of(held.key, held.outputs)
        if body is None:
            return Refused(message.ticket, RESULT_GONE)
        return replace(message, body=body)

    def _put_away(self, line: _Line, held: _Held) -> None:
        """It waits: its body shall not be in memory, if it is large and can be had again, or much waits."""
        body = held.body or b""
        if len(body) <= HELD_BYTES:
            return
        if held.key is None:
            if self._held_bytes[line.user] <= MAX_HELD_IN_MEMORY_BYTES:
                return
            held.spooled = self._spool.put(line.user, body)
        self._note_held(line, -len(body))
        held.body = None

    def _note_held(self, line: _Line, change_bytes: int) -> None:
        self._held_bytes[line.user] += change_bytes
        if not self._held_bytes[line.user]:
            del self._held_bytes[line.user]
