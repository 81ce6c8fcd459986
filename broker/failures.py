"""Mistakes of the broker's own: each is logged with its traceback and counted, and the broker goes on.

Owns how often one is said. Must not know what was at work: whoever catches one ends what it was for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zcc.reasons import Reason
from zcc.summing import Summing

logger = logging.getLogger(__name__)

# Why a job or a session ends over a mistake of ours.
BROKER_FAILED = Reason.BROKER_FAILED


class Failures:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.count = 0
        self._clock = clock
        self._lines = Summing[str]()

    def note(self, error: Exception, what: str) -> None:
        """An exception that nobody foresaw has ended this."""
        self.count += 1
        if self._lines.admits(what, self._clock()):
            logger.error("a mistake of the broker's ended %s", what, exc_info=error)

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Whatever goes wrong inside is noted, and goes no further."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one peer's message or one timer must not end all others
            self.note(error, what)

    def sum_up(self) -> None:
        for what, more in self._lines.due(self._clock()):
            logger.error("mistakes of the broker's ended %s %d times more", what or "others", more)
