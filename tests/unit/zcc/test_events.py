"""The records of zcc/events.py: their page, their bytes, and what a later release may add."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any, get_args, get_origin

import msgpack
import pytest

from tests.golden import sample
from zcc import events
from zcc.bounds import hints_of, required_of
from zcc.errors import ProtocolError
from zcc.events import ALL_EVENTS, FarmEvent, QueueRow

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "events.md"


def tables() -> dict[str, list[tuple[str, str]]]:
    """The events of the page: their fields and types, in order."""
    found = {}
    for name, text in re.findall(
        r"^### `([\w-]+)`$(.*?)(?=^##|\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL
    ):
        found[name] = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", text, flags=re.MULTILINE)
    return found


def spoken(field: str, hint: Any) -> str:
    """What the page calls a type."""
    if hint is bool:
        return "flag"
    base, _ = get_args(hint)
    if get_origin(base) is tuple:
        return "list"
    if base is str:
        return "text"
    if field.endswith("_ms"):
        return "ms"
    if field.endswith("_bytes"):
        return "bytes"
    if base is float:
        return "seconds" if field.endswith("_s") else "ratio"
    numbers = {"member", "build", "toolchain", "node", "job", "lease"}
    return "number" if field in numbers else "count"


def test_the_page_has_every_event_and_each_field_in_its_order() -> None:
    told = tables()
    rows_of = {events.QueueShown: QueueRow, events.LinksShown: events.LinkRow}
    assert list(told) == [kind.NAME for kind in ALL_EVENTS]
    for kind in ALL_EVENTS:
        rows = told[kind.NAME]
        names = [field.name for field in fields(kind)][1:]
        if kind in rows_of:
            names += [field.name for field in fields(rows_of[kind])]
        assert [name for name, _ in rows] == names, kind.NAME
        hints = hints_of(kind) | (hints_of(rows_of[kind]) if kind in rows_of else {})
        for name, said in rows:
            is_word = said == "word" and spoken(name, hints[name]) == "text"
            assert is_word or said.split(" of ")[0] == spoken(name, hints[name]), (kind.NAME, name)


@pytest.mark.parametrize("kind", ALL_EVENTS, ids=lambda kind: kind.NAME)
def test_an_event_travels_and_a_later_release_may_add_to_it(kind: type[FarmEvent]) -> None:
    event = sample(kind, count(1))
    row = msgpack.unpackb(msgpack.packb(events.row_of(event)))
    assert events.event_of(row) == event
    assert events.event_of([*row, 7, "more", [1, [2]]]) == event
    with pytest.raises(ProtocolError):
        events.event_of(row[: len(required_of(kind))])


def test_a_batch_passes_over_events_that_are_not_known() -> None:
    known = sample(events.RunStarted, count(1))
    rows = [("of-a-later-release", 1, {"a": 1}), events.row_of(known)]
    with pytest.raises(ProtocolError):
        events.unpack_events(events.pack_rows(rows))  # no map is a value of any release
    rows[0] = ("of-a-later-release", 1, ["x"])
    assert events.unpack_events(events.pack_rows(rows)) == [known]


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x01", b"\x91\x01", msgpack.packb([[1]])])
def test_what_is_no_batch_is_refused(packed: bytes) -> None:
    with pytest.raises(ProtocolError):
        events.unpack_events(packed)


def test_an_event_that_would_take_far_more_than_its_bytes_is_refused() -> None:
    """A recording is a file that somebody may have sent: lists of lists in 2 KiB of it took 2.3 GB."""
    known = events.row_of(sample(events.RunStarted, count(1)))
    long: events.Row = ("of-a-later-release", 1, [[[]] * 1000] * 300)
    for rows in ([long], [known, long], [known, (long,)]):
        with pytest.raises(ProtocolError, match="bytes"):
            events.unpack_events(events.pack_rows(rows))
    assert events.unpack_events(events.pack_rows([known, ("of-a-later-release", [[[]] * 1000])]))


def test_an_event_as_json_has_its_name_and_its_fields() -> None:
    row = QueueRow(1, 2, 3, 0, 0, 0, 9, "all-busy")
    told = events.as_document(events.QueueShown(5, (row,), 0))
    assert told["event"] == "queue"
    assert told["at_ms"] == 5
    assert told["rows"] == [
        {
            "member": 1, "build": 2, "queued": 3, "sending": 0, "parked": 0, "ready": 0, "oldest_ms": 9,
            "why": "all-busy",
        }
    ]  # fmt: skip
