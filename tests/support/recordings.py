"""Events as a watcher would have recorded them, in a file that `zcc monitor --replay` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cache.frame import compress
from zcc.events import FarmEvent, FarmShown, pack_rows, row_of
from zcc.messages import Happened, Snapshot
from zcc.watching.recording import RecordingWriter
from zcc.watching.state import FarmState

STEP_MS = 100
FEED = b"feed0001"
MOST_BYTES = 1 << 30


def batches(events: Iterable[FarmEvent]) -> Iterator[list[FarmEvent]]:
    """As a feed tells them: a snapshot, which begins with `farm`, then some 100 ms at a time."""
    batch: list[FarmEvent] = []
    until = 0
    for event in events:
        if isinstance(event, FarmShown) or event.at_ms >= until:
            if batch:
                yield batch
            batch = []
            until = event.at_ms + (1 if isinstance(event, FarmShown) else STEP_MS)
        batch.append(event)
    if batch:
        yield batch


def write_recording(directory: str, events: Iterable[FarmEvent]) -> None:
    state = FarmState()
    writer = RecordingWriter(directory, state, MOST_BYTES)
    for number, batch in enumerate(batches(events)):
        for event in batch:
            state.apply(event)
        body = compress(pack_rows([row_of(event) for event in batch]))
        is_snapshot = isinstance(batch[0], FarmShown)
        writer.add(Snapshot(FEED, 1, body) if is_snapshot else Happened(FEED, number, body))
    writer.close()
