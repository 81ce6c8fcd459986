"""How wide the terminal is, and lines printed so that they fit it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from zcc.cli.layout import fold

# Narrower than that nothing can be laid out.
LEAST_WIDTH = 20
_INDENT = "  "


def width(stream: TextIO | None = None) -> int:
    """Columns that there are: COLUMNS, else the terminal's; 0 where lines may be as long as they like."""
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said):
        return max(LEAST_WIDTH, int(said))
    try:
        size = os.get_terminal_size((stream or sys.stdout).fileno())
        return max(LEAST_WIDTH, size.columns)
    except (OSError, ValueError):
        return 0


def say(text: str) -> None:
    """Print each line of the text, in as many lines as the terminal needs for it."""
    columns = width()
    print("\n".join(each for line in text.split("\n") for each in fold(line, columns)))


def complaint(text: str) -> str:
    """What a program says on stderr when it ends."""
    columns = width(sys.stderr)
    return "\n".join(each for line in text.split("\n") for each in fold(line, columns, _INDENT))
