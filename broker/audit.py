"""The append-only audit log: JSON lines, no secrets, no source text; rotated by size.

Nobody can push the past out of it by trying the same again and again: that is summed up.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable

from zcc.summing import Summing

logger = logging.getLogger(__name__)

FILE_NAME = "audit.log"
MAX_BYTES = 64 << 20
# Old files kept: audit.log.1 is the newest of them.
KEPT = 4
# Lines that whoever can connect may have written as often as he likes.
SUMMED = frozenset(("enrol", "rejoin", "leave", "refuse", "violation"))

Fields = tuple[tuple[str, str | int | float], ...]


class AuditLog:
    """Lines are written through at once; a disk that refuses costs lines (and a warning)."""

    def __init__(
        self,
        state_dir: str,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._summing = Summing[tuple[str, str]]()
        self._path = os.path.join(state_dir, FILE_NAME)
        self._max_bytes = max_bytes
        self._handle = self._open()
        self._size_bytes = os.fstat(self._handle).st_size

    def write(self, what: str, fields: Fields) -> bool:
        """Write a line. What a stranger or a misbehaving member can bring about is written a few times a minute
        and then summed up; returns whether it was written."""
        if what in SUMMED:
            named = dict(fields)
            who = named.get("joiner", named.get("user", ""))
            if who and not self._summing.admits((what, str(who)), self._clock()):
                return False
        self._write(what, fields)
        return True

    def sum_up(self, *, is_last: bool = False) -> None:
        """Write how many more there were of what was too often the same."""
        for kind, more in self._summing.due(self._clock(), is_last=is_last):
            what, who = kind or ("other", "")
            self._write(what, (("user", who), ("more", more)))

    def _write(self, what: str, fields: Fields) -> None:
        record = {"at": round(time.time(), 3), "event": what, **dict(fields)}
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        try:
            if self._size_bytes + len(line) > self._max_bytes:
                self._rotate()
            self._size_bytes += os.write(self._handle, line)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)

    def close(self) -> None:
        self.sum_up(is_last=True)
        os.close(self._handle)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
        fresh = self._open()
        os.close(self._handle)
        self._handle, self._size_bytes = fresh, 0
