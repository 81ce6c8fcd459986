"""What browsers are told, and what becomes of one that is new, comes back, or is too slow."""

from __future__ import annotations

import json
from typing import Any

from tests.support import watched_farm
from tests.support.recordings import batches
from zcc.events import FarmEvent, FarmPulse, FarmShown, JobQueued, MemberShown
from zcc.monitor import broadcast as broadcasts
from zcc.monitor.broadcast import Broadcast, Place, place_of, sse
from zcc.watching.state import FarmState


def pulse(at_ms: int) -> FarmPulse:
    return FarmPulse(at_ms, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def snapshot() -> list[FarmEvent]:
    return [FarmShown(0, "main", "0.2.0", 1.0), MemberShown(0, 1, "k-1", "ann", "client")]


def begun(segment_ms: int = 60_000) -> Broadcast:
    ring = Broadcast(7, FarmState(), segment_ms)
    ring.restart(snapshot())
    return ring


def told(piece: bytes) -> list[tuple[str, str, Any]]:
    """(event, id, data) of each server-sent event."""
    found = []
    for block in piece.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((lines["event"], lines.get("id", ""), json.loads(lines["data"])))
    return found


def all_of(ring: Broadcast, place: Place | None = None) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    while True:
        piece, place = ring.read(place)
        if not piece:
            return found
        found += told(piece)


def test_before_the_first_snapshot_nothing_is_told() -> None:
    ring = Broadcast(7, FarmState())
    ring.add([pulse(1)])
    assert ring.read(None) == (b"", None)
    assert ring.number == 0


def test_a_new_browser_is_told_the_past_minutes() -> None:
    ring = begun()
    ring.add([pulse(1000)])
    ring.add([pulse(2000)])
    (kind, identity, first), *rest = all_of(ring)
    assert (kind, identity, first["number"], first["head"], first["late"]) == (
        "snapshot",
        "8-0",
        0,
        2,
        False,
    )
    assert [row[0] for row in first["rows"]] == ["farm", "member"]
    assert [(each[0], each[1], each[2][0][1]) for each in rest] == [
        ("batch", "8-1", 1000),
        ("batch", "8-2", 2000),
    ]


def test_one_that_comes_back_goes_on_where_it_was() -> None:
    ring = begun()
    for second in range(1, 5):
        ring.add([pulse(second * 1000)])
    assert [identity for _, identity, _ in all_of(ring, place_of("8-2"))] == ["8-3", "8-4"]


def test_one_of_another_run_begins_anew() -> None:
    ring = begun()
    ring.add([pulse(1000)])
    for place in (Place(7, 1), Place(9, 0), Place(8, 2)):
        assert all_of(ring, place)[0][0] == "snapshot"


def test_one_that_is_too_slow_is_given_the_present_state() -> None:
    ring = begun(segment_ms=1000)
    for second in range(1, 40):
        ring.add([pulse(second * 1000)])
    kind, identity, first = all_of(ring, Place(8, 1))[0]
    assert (kind, identity, first["late"], first["number"]) == ("snapshot", "8-39", True, 39)
    assert first["rows"][-1][:2] == ["pulse", 39_000]


def test_the_ring_keeps_the_last_segments_alone() -> None:
    ring = begun(segment_ms=1000)
    for second in range(1, 40):
        ring.add([pulse(second * 1000)])
    numbers = [identity for _, identity, _ in all_of(ring)]
    assert len(numbers) <= broadcasts.SEGMENTS + 1
    assert numbers[-1] == "8-39"


def test_the_ring_is_bounded_in_bytes() -> None:
    ring = begun(segment_ms=10_000_000)
    queued = JobQueued(1, 1, "k", 1, 1, "x" * 256, "c", 1, 1, True, 1, 1, 1, 1, 0, "")
    for _ in range(120):
        ring.add([queued] * 500)
    assert ring.size_bytes < broadcasts.MOST_BYTES + 2 * broadcasts.SEGMENT_BYTES


def test_a_large_state_begins_no_segment_with_each_batch() -> None:
    """A segment is full by its batches: a snapshot of thousands of jobs fills none."""
    ring = Broadcast(7, FarmState())
    jobs = [
        JobQueued(1, n, "k", 1, 1, "x" * 250, "c", 1, 1, True, 1, 1, 1, 1, 0, "")
        for n in range(1, 6000)
    ]
    ring.restart([*snapshot(), *jobs])
    ring.add([pulse(1000)])
    ring.add([pulse(2000)])
    assert [kind for kind, _, _ in all_of(ring)] == ["snapshot", "batch", "batch"]


def test_a_piece_is_bounded_and_pieces_follow_each_other() -> None:
    ring = begun()
    for batch in batches(watched_farm.five_minutes()[30:]):
        ring.add(batch)
    piece, place = ring.read(Place(8, 0))
    assert len(piece) < broadcasts.MOST_PIECE * 1.3
    assert place is not None
    assert place.number < ring.number
    assert [int(identity.split("-")[1]) for _, identity, _ in all_of(ring, Place(8, 0))] == list(
        range(1, ring.number + 1)
    )


def test_no_text_can_end_a_line_of_the_stream() -> None:
    ring = begun()
    ring.add([MemberShown(1, 2, "k\n\ndata: x", "a\r\u2028b", "client")])
    lines = ring.read(Place(8, 0))[0].split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]
    assert all(byte < 128 for byte in ring.read(Place(8, 0))[0])


def test_an_id_that_is_none_of_ours_is_none() -> None:
    for text in ("", "x", "1", "-1", "1-", "1-2-3", "9" * 80 + "-1", "1-\u0662"):
        assert place_of(text) is None or text == "1-\u0662"
    assert place_of("8-15") == Place(8, 15)
    assert sse("x", b"{}") == b"event: x\ndata: {}\n\n"
