"""The last minutes of a farm as browsers are told them: each batch is encoded once for all. Pure.

Batches lie in segments, each of which begins with the farm's state at that moment. A browser that comes is
given the oldest segment and all that follows, so it knows the last minutes as well. One that reads too slowly
has its place fall out of the ring, and is given the present state.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from zcc.events import ALL_EVENTS, FarmEvent, row_of
from zcc.watching.present import present_events
from zcc.watching.state import FarmState

MOST_BYTES = 12 << 20
SEGMENT_BYTES = 1 << 20
SEGMENT_MS = 60_000
SEGMENTS = 10
# What one browser is sent at a time.
MOST_PIECE = 256 << 10

# How an event's fields are called, in their order.
FIELDS = {kind.NAME: [each.name for each in fields(kind)] for kind in ALL_EVENTS}


@dataclass(frozen=True, slots=True)
class Place:
    """Up to which batch a browser has been told, of which run of numbers."""

    run: int
    number: int


@dataclass(slots=True)
class Segment:
    """`snapshot` is the state after batch `number`; `batches` are those that follow, encoded."""

    number: int
    at_ms: int
    snapshot: bytes
    batches: list[bytes] = field(default_factory=list)
    batches_bytes: int = 0

    @property
    def size(self) -> int:
        return len(self.snapshot) + self.batches_bytes

    @property
    def last(self) -> int:
        return self.number + len(self.batches)


class Broadcast:
    """`restart` with a snapshot, `add` batches; `read` for each browser what comes next for it.

    `run` names a stretch of batches without a gap, and is another after each `restart`; `state` is the farm's,
    after the last batch.
    """

    def __init__(self, run: int, state: FarmState, segment_ms: int = SEGMENT_MS) -> None:
        self.run = run
        self.state = state
        self.at_ms = 0
        self._segment_ms = segment_ms
        self._segments: deque[Segment] = deque()

    @property
    def number(self) -> int:
        """Of the last batch."""
        return self._segments[-1].last if self._segments else 0

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def restart(self, snapshot: Sequence[FarmEvent]) -> None:
        """The farm begins anew with this; what went before has other numbers."""
        self.run += 1
        self._segments.clear()
        self._take(snapshot)
        self.at_ms = max((event.at_ms for event in snapshot), default=0)
        self._begin_segment(0)

    def add(self, events: Sequence[FarmEvent]) -> None:
        """A batch, in order. Without a snapshot before, it is passed over."""
        if not events or not self._segments:
            return
        last = self._segments[-1]
        if last.batches_bytes > SEGMENT_BYTES or self.at_ms - last.at_ms >= self._segment_ms:
            self._begin_segment(last.last)
            last = self._segments[-1]
        self._take(events)
        self.at_ms = max(self.at_ms, events[-1].at_ms)
        text = encoded(row_of(event) for event in events)
        last.batches.append(text)
        last.batches_bytes += len(text)

    def read(self, place: Place | None) -> tuple[bytes, Place | None]:
        """The next piece of a browser's stream, as server-sent events; empty: nothing is new.

        None: it is new. A place of another run: it is new again.
        """
        if not self._segments:
            return b"", None
        oldest = self._segments[0]
        if place is None or place.run != self.run or place.number > self.number:
            return self._told(oldest.snapshot, oldest.number, is_late=False)
        if place.number < oldest.number:
            return self._told(self._snapshot(), self.number, is_late=True)
        return self._following(place)

    def _following(self, place: Place) -> tuple[bytes, Place]:
        piece: list[bytes] = []
        size, number = 0, place.number
        for segment in self._segments:
            for batch in segment.batches[max(0, number - segment.number) :]:
                if piece and size + len(batch) > MOST_PIECE:
                    return b"".join(piece), Place(self.run, number)
                number += 1
                piece.append(sse("batch", batch, f"{self.run}-{number}"))
                size += len(batch)
        return b"".join(piece), Place(self.run, number)

    def _told(self, snapshot: bytes, number: int, *, is_late: bool) -> tuple[bytes, Place]:
        late = "true" if is_late else "false"
        head = f'{{"late":{late},"head":{self.number},"number":{number},"rows":'
        text = head.encode() + snapshot + b"}"
        return sse("snapshot", text, f"{self.run}-{number}"), Place(self.run, number)

    def _take(self, events: Iterable[FarmEvent]) -> None:
        for event in events:
            self.state.apply(event)

    def _snapshot(self) -> bytes:
        return encoded(row_of(event) for event in present_events(self.state))

    def _begin_segment(self, number: int) -> None:
        text = self._snapshot()
        self._segments.append(Segment(number, self.at_ms, text))
        while len(self._segments) > 1 and (
            len(self._segments) > SEGMENTS or self.size_bytes > MOST_BYTES
        ):
            self._segments.popleft()


def encoded(rows: Iterable[Sequence[Any]]) -> bytes:
    """JSON on one line, ASCII alone: no character of a name can end a line of the stream."""
    return json.dumps(list(rows), separators=(",", ":")).encode("ascii")


def sse(event: str, data: bytes, identity: str = "") -> bytes:
    """One server-sent event (HTML standard, 9.2.6)."""
    numbered = f"id: {identity}\n".encode() if identity else b""
    return numbered + b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def place_of(text: str) -> Place | None:
    """What a browser says in Last-Event-ID; None: nothing of ours."""
    run, _, number = text.partition("-")
    if not (run.isdecimal() and number.isdecimal() and len(text) < 64):
        return None
    return Place(int(run), int(number))
