"""`zcc top --once` for people: the tables as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zcc.cli.layout import fold, table
from zcc.top.columns import Column, Spans, TableOf, fit
from zcc.top.overview import Overview
from zcc.top.tables import TABLES, clock, people, summary

_BAR_CELLS = 24
_MOST_EVENTS = 20


def plain(overview: Overview, columns: int) -> list[str]:
    """Lines of at most so many characters; 0: all columns, and nothing is cut."""
    head = f"{overview.farm or 'the farm'} at {clock(overview.at_ms)}: {summary(overview)}"
    lines = fold(head, columns, "  ")
    for each in overview.troubles:
        lines += fold(f"! {each}", columns)
    if overview.users:
        users = _text(people(overview)).rstrip()
        lines += fold(f"users, with jobs running+waiting: {users}", columns, "  ")
    for spec in TABLES:
        lines += ["", *_table(spec, overview, columns)]
    return lines


def _table(spec: TableOf, overview: Overview, width: int) -> Iterator[str]:
    """Columns that say nothing of any line do not stand there."""
    found = spec.rows(overview)
    found = found[:_MOST_EVENTS] if spec.name == "events" else found
    if not found:
        yield from fold(f"{spec.name}: {spec.empty}", width)
        return

    def cells(column: Column, wide: int) -> Sequence[str]:
        return [_text(column.cell(row, wide, overview)) for row in found]

    used = [each for each in spec.columns if set(cells(each, _BAR_CELLS)) - {"", "-"}]
    if not width:
        rows = zip(*(cells(each, _BAR_CELLS) for each in used), strict=True)
        right = [each.title for each in used if each.is_right]
        yield from table([each.title for each in used], rows, 0, right)
        return
    shown = fit(used, width)
    lines = zip(*([each.title, *cells(each, wide)] for each, wide in shown), strict=True)
    for line in lines:
        parts = [
            f"{text[:wide]:{'>' if each.is_right else '<'}{wide}}"
            for text, (each, wide) in zip(line, shown, strict=True)
        ]
        yield " ".join(parts).rstrip()


def _text(spans: Spans) -> str:
    return "".join(text for text, _ in spans)
