"""How a log's lines look: each record is one printable line, whoever chose the words in it.

A log tells of names, paths and reasons that members and strangers made up. A line break in one of them would
make a line of its own in another's name, and an escape sequence would be obeyed by the terminal that shows it.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping

from zcc.printable import printable

# Before each line of a traceback: none of them is taken for a record.
INDENT = "  | "
# What a user may name.
LEVELS = ("debug", "info", "warning", "error")


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


class JournalLine(OneLine):
    """The same for systemd's journal: each line begins with its priority (sd-daemon(3)), and has no time of its
    own, as the journal has one."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_priority(record.levelno)}>"
        return "\n".join(mark + line for line in super().format(record).split("\n"))


def _priority(level: int) -> int:
    """syslog(3)'s number: 3 is an error, 4 a warning, 6 information, 7 debugging."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def is_journal(environment: Mapping[str, str]) -> bool:
    """Whether our stderr is the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5)), which a
    child inherits though its stderr may lead elsewhere."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or none
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def for_journal(text: str) -> str:
    """The last words of a program that fails: errors, where our stderr is the journal."""
    if not is_journal(os.environ):
        return text
    return "\n".join(f"<{_priority(logging.ERROR)}>{line}" for line in text.split("\n"))


def log_to_stderr(level: int | str, layout: str) -> None:
    """Have all that this process logs from `level` on go to stderr, and set it as the journal wants it where
    that is the journal. `layout` begins with the time and the level, which the journal keeps itself."""
    handler = logging.StreamHandler()
    log_to(handler, level, layout)
    if is_journal(os.environ):
        handler.setFormatter(JournalLine(layout.removeprefix("%(asctime)s %(levelname)s ")))


def log_level(word: str) -> int | None:
    """The number of a level that a user has named; None: there is none of this name."""
    level = logging.getLevelNamesMapping().get(word.upper())
    return level if level and word.lower() in LEVELS else None


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
