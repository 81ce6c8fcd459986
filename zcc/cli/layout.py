"""Lines that fit the terminal: no word is cut, and what is piped stays one record a line. Pure.

A word that is longer than a line (a path) stands alone and whole: cut, nobody could copy it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Stands for a blank at which no line ends: between a number and its unit.
GLUE = "\u00a0"
_GAP = "  "
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What stands in columns of its own in front of the text: a name, and a number.
_LABEL = re.compile(r" *(?:\S+ )*?\S+ {2,}(?:\d+ {2,})?| +")


def fold(text: str, columns: int, indent: str | None = None) -> list[str]:
    """The text in lines of so many columns (0: one line); those behind the first begin with `indent`.

    Without one they begin where the text begins behind its label, or behind its own blanks.
    """
    if not columns or _seen(text) <= columns:
        return [text.replace(GLUE, " ")]
    if indent is None:
        label = _LABEL.match(text)
        indent = " " * (_seen(label[0]) if label else len(_GAP))
        indent = indent if len(indent) <= columns // 2 else 2 * _GAP
    lines, line, gap = [], "", ""
    for piece in re.findall(r" +|[^ ]+", text):
        if piece.startswith(" "):
            gap = piece
        elif line.strip() and _seen(line + gap + piece) > columns:
            lines.append(line)
            line = indent + piece
        else:
            line += gap + piece
    return [each.replace(GLUE, " ") for each in (*lines, line)]


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], columns: int, right: Sequence[str] = ()
) -> list[str]:
    """A header and a line a row, in columns as wide as they have to be; `right` are aligned there.

    Where that is wider than the terminal, the last field stands below its row. Where even that is, each row is
    a block: its first field, and the others below it.
    """
    found = [tuple(row) for row in rows]
    lines = _grid(header, found, right)
    if not columns or max(map(len, lines)) <= columns:
        return lines
    lines = _grid(header[:-1], [row[:-1] for row in found], right)
    if max(map(len, lines)) > columns:
        return [line for row in found for line in _block(header, row, columns)]
    below = [
        fold(2 * _GAP + text, columns, 2 * _GAP)
        for text in (header[-1], *(row[-1] for row in found))
    ]
    return [each for line, more in zip(lines, below, strict=True) for each in (line, *more)]


def _grid(header: Sequence[str], rows: list[tuple[str, ...]], right: Sequence[str]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            f"{cell:>{wide}}" if name in right else f"{cell:{wide}}"
            for name, cell, wide in zip(header, row, widths, strict=True)
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _block(header: Sequence[str], row: Sequence[str], columns: int) -> list[str]:
    facts = [f"{name}{GLUE}{cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell]
    return [*fold(row[0], columns), *fold(_GAP + ", ".join(facts), columns, _GAP)]


def _seen(text: str) -> int:
    """How many columns the text takes."""
    return len(_COLOUR.sub("", text))
