"""How a log's lines look: each record is one printable line, whoever chose the words in it.

A log tells of names, paths and reasons that members and strangers made up. A line break in one of them would
make a line of its own in another's name, and an escape sequence would be obeyed by the terminal that shows it.
"""

from __future__ import annotations

import logging
import traceback

from zcc.printable import printable

# Before each line of a traceback: none of them is taken for a record.
INDENT = "  | "


class OneLine(logging.Formatter):
    """A record as one printable line; the lines of its traceback, if it has one, stand indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        below = record.stack_info or ""
        if record.exc_info:
            below += "".join(traceback.format_exception(*record.exc_info))
        lines = [INDENT + printable(line) for line in below.splitlines()]
        return "\n".join([printable(self.formatMessage(record)), *lines])


def log_to(handler: logging.Handler, level: int | str, layout: str) -> None:
    """Have all that this process logs from `level` on go there, and nowhere else."""
    handler.setFormatter(OneLine(layout))
    logging.basicConfig(level=level, handlers=[handler])


def log_nothing() -> None:
    """Let no record of ours be written to stderr: the terminal shows a screen."""
    logging.getLogger("zcc").addHandler(logging.NullHandler())


def warn_in_lines() -> None:
    """Make the same of the warnings that Python writes to stderr where `log_to` was not called."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine())
