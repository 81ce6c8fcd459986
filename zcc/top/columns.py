"""Columns and tables of `zcc top`: how they are sorted and filtered, and which of them fit a width. Pure.

A cell is spans of text, each with a style in rich's words. The text says all by itself: a colour only says it
again. What is too wide for its column is cut there, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zcc.top.overview import Overview

Spans = list[tuple[str, str]]
_GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    """`least` is its width in cells; where there is more room, the rest goes to those that grow, by `grows`.
    Of columns that do not fit, those with the largest `rank` go first."""

    title: str
    least: int
    cell: Callable[[Any, int, Overview], Spans]
    key: Callable[[Any], Any]
    is_right: bool = False
    grows: int = 0
    rank: int = 0


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table of lines: `rows` finds them in an overview, in the order in which they stand unsorted; `name_of`
    is the same for a line as long as it lasts; `words` are what a filter looks in."""

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[Overview], Sequence[Any]]
    name_of: Callable[[Any], str]
    words: Callable[[Any], Sequence[str]]
    empty: str

    def lines(
        self, overview: Overview, sort: Column | None, is_reversed: bool, wanted: str
    ) -> list[Any]:
        """The lines that have all words of `wanted` in them; numbers the largest first, names from a on."""
        words = wanted.lower().split()
        found = [line for line in self.rows(overview) if self._has(line, words)]
        if sort is not None:
            found.sort(key=sort.key, reverse=sort.is_right != is_reversed)
        elif is_reversed:
            found.reverse()
        return found

    def _has(self, line: Any, words: list[str]) -> bool:
        text = " ".join(self.words(line)).lower()
        return all(word in text for word in words)


def fit(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that are shown in so many cells, and how wide each is."""
    chosen: list[Column] = []
    left = width + _GAP
    for column in sorted(columns, key=lambda each: each.rank):
        if column.least + _GAP <= left or not chosen:
            chosen.append(column)
            left -= column.least + _GAP
    shares = sum(column.grows for column in chosen) or 1
    left = max(0, left)
    return [
        (column, column.least + left * column.grows // shares)
        for column in columns
        if column in chosen
    ]


def words(
    title: str, least: int, of: Callable[[Any], str], style: str = "", grows: int = 0, rank: int = 0
) -> Column:
    """A text, `-` where it is empty."""
    return Column(title, least, lambda line, *_: [(of(line) or "-", style)], of, False, grows, rank)


def number(
    title: str,
    least: int,
    of: Callable[[Any], Any],
    shown: Callable[[Any], str] | None = None,
    rank: int = 0,
) -> Column:
    """A number as `shown` writes it; else a count, and `-` where there is none."""
    write = shown or (lambda value: str(value) if value else "-")
    return Column(title, least, lambda line, *_: [(write(of(line)), "")], of, True, 0, rank)


def rows_of(wanted: Sequence[int], total: int) -> list[int]:
    """How many of `total` rows each table has: none more than it wants while another lacks some, and the last
    one what is left.
    """
    rows = [0] * len(wanted)
    left = max(0, total)
    while left:
        lacking = [at for at, want in enumerate(wanted) if rows[at] < want]
        if not lacking:
            break
        # A row for each in turn, from the first one on.
        for at in lacking[:left]:
            rows[at] += 1
            left -= 1
    rows[-1] += left
    return rows
