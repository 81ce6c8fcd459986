"""Lines that fit the terminal: no word is cut, and what is piped stays one record a line.

A word that is longer than a line (a path) stands alone and whole: cut, nobody could copy it.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence

# Narrower than that nothing can be laid out.
LEAST_WIDTH = 20
_GAP = "  "


def width() -> int:
    """Columns that there are: COLUMNS, else the terminal's; 0 where lines may be as long as they like."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said):
        return max(LEAST_WIDTH, int(said))
    try:
        return max(LEAST_WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return 0


def fold(text: str, columns: int, indent: str = "") -> list[str]:
    """The text in lines of so many columns (0: one line); those behind the first begin with `indent`."""
    if not columns or len(text) <= columns:
        return [text]
    return textwrap.wrap(
        text,
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def labelled(label: str, text: str, columns: int, label_columns: int) -> list[str]:
    """`label` in a column of its own, the text beside it."""
    head = f"{label:{label_columns}}"
    return fold(head + text, columns, " " * label_columns)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], columns: int, right: Sequence[str] = ()
) -> list[str]:
    """A header and a line a row, in columns as wide as they have to be; `right` are aligned there.

    Where that is wider than the terminal, each row is a block: its first field, and the others under it.
    """
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if columns and sum(widths) + len(_GAP) * (len(widths) - 1) > columns:
        return [line for row in rows for line in _block(header, row, columns)]
    lines = []
    for row in (header, *rows):
        cells = [
            f"{cell:>{wide}}" if name in right else f"{cell:{wide}}"
            for name, cell, wide in zip(header, row, widths, strict=True)
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _block(header: Sequence[str], row: Sequence[str], columns: int) -> list[str]:
    facts = ", ".join(
        f"{name} {cell}" for name, cell in zip(header[1:], row[1:], strict=True) if cell
    )
    return [*fold(row[0], columns), *fold(_GAP + facts, columns, _GAP)]
