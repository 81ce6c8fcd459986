"""What the Trace Event Format asks of a document, as its description has it: whatever breaks it fails a test.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: JSON Object Format, and of the
events Complete (X), Async (b, e), Flow (s, f), Counter (C), Instant (i) and Metadata (M). Perfetto's reader of
it asks besides that the slices of a track nest.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

Row = dict[str, Any]
_NUMBER = (int, float)
_NAMES = {"process_name": "name", "thread_name": "name", "process_sort_index": "sort_index"}


def check_trace(document: Row) -> None:
    """Raises AssertionError for what is no such trace."""
    assert isinstance(document["traceEvents"], list)
    assert document.get("displayTimeUnit") in (None, "ms", "ns")
    rows: list[Row] = document["traceEvents"]
    for row in rows:
        _check_row(row)
    _check_nesting([row for row in rows if row["ph"] == "X"])
    _check_pairs(rows, "b", "e")
    _check_flows(rows)
    named = {row["pid"] for row in rows if row["ph"] == "M" and row["name"] == "process_name"}
    assert {row["pid"] for row in rows} <= named, "a process without a name"


def _check_row(row: Row) -> None:
    assert row["ph"] in ("X", "b", "e", "s", "f", "C", "i", "M"), row
    assert isinstance(row["name"], str)
    assert isinstance(row["pid"], int)
    assert isinstance(row["tid"], int)
    assert isinstance(row["ts"], _NUMBER)
    assert row["ts"] >= 0
    assert isinstance(row.get("args", {}), dict)
    match row["ph"]:
        case "X":
            assert isinstance(row["dur"], _NUMBER)
            assert row["dur"] >= 0
        case "b" | "e" | "s" | "f":
            assert isinstance(row["id"], (int, str))
            assert isinstance(row["cat"], str)
        case "C":
            assert row["args"]
            assert all(isinstance(value, _NUMBER) for value in row["args"].values())
        case "i":
            assert row["s"] in ("g", "p", "t")
        case "M":
            assert _NAMES[row["name"]] in row["args"]
    if row["ph"] == "f":
        assert row.get("bp") in (None, "e")


def _check_nesting(slices: list[Row]) -> None:
    tracks: defaultdict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in slices:
        tracks[row["pid"], row["tid"]].append(row)
    for track in tracks.values():
        open_ends: list[float] = []
        for row in sorted(track, key=lambda each: (each["ts"], -each["dur"])):
            while open_ends and open_ends[-1] <= row["ts"]:
                open_ends.pop()
            end = row["ts"] + row["dur"]
            assert not open_ends or end <= open_ends[-1], f"slices overlap on a track: {row}"
            open_ends.append(end)


def _check_pairs(rows: list[Row], begin: str, end: str) -> None:
    """Each asynchronous slice ends, and not before it begins."""
    begun: dict[tuple[str, Any], Row] = {}
    for row in rows:
        place = row.get("cat", ""), row.get("id")
        if row["ph"] == begin:
            assert place not in begun, "two at a time under one name"
            begun[place] = row
        elif row["ph"] == end:
            assert begun.pop(place)["ts"] <= row["ts"]
    assert not begun, "begun and never ended"


def _check_flows(rows: list[Row]) -> None:
    """An arrow begins and ends within slices."""
    slices = [row for row in rows if row["ph"] == "X"]
    starts = {row["id"]: row for row in rows if row["ph"] == "s"}
    for row in rows:
        if row["ph"] == "f":
            assert starts[row["id"]]["ts"] <= row["ts"]
        if row["ph"] in ("s", "f"):
            assert any(
                (each["pid"], each["tid"]) == (row["pid"], row["tid"])
                and each["ts"] <= row["ts"] <= each["ts"] + each["dur"]
                for each in slices
            ), f"an arrow that hangs on no slice: {row}"
