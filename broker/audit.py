"""The append-only audit log: JSON lines, no secrets, no source text; rotated by size.

Nobody can push the past out of it by trying the same again and again: that is summed up.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable

from broker.errors import StartError
from broker.membership.lines import add_lines, open_lines
from zcc.summing import Summing

logger = logging.getLogger(__name__)

FILE_NAME = "audit.log"
MAX_BYTES = 64 << 20
# Old files kept: audit.log.1 is the newest of them.
KEPT = 4
# Lines that whoever can connect may have written as often as he likes: ten a minute for each key.
SUMMED = frozenset(("enrol", "rejoin", "leave", "refuse", "violation", "unknown"))
# Lines of a member's sessions, which begin and end again as often as it likes. An agent or a node has a few an
# hour, and a key has at most 256 sessions.
OF_SESSIONS = frozenset(("open", "close", "pause", "rest"))
MOST_OF_SESSIONS = 300
SESSIONS_PERIOD_S = 60.0
# Lines that name a job: 200 a second for each key and kind, in bursts. A user of 200 slots compiles less.
MOST_OF_JOBS = 2_000
JOBS_PERIOD_S = 10.0
# Members and kinds of their lines that are told apart: 5,000 busy members, some 200 bytes each kind.
MAX_MEMBERS_KINDS = 50_000
# Characters of a field; what is longer is a name or a reason that somebody made up.
MAX_FIELD = 200

Fields = tuple[tuple[str, str | int | float], ...]


class AuditLog:
    """Lines are written through at once; a disk that refuses costs lines (and a warning).

    Raises:
        StartError: there can be no file.
    """

    def __init__(
        self,
        state_dir: str,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._of_strangers = Summing[tuple[str, str]]()
        self._of_sessions = Summing[tuple[str, str]](
            MOST_OF_SESSIONS, SESSIONS_PERIOD_S, MAX_MEMBERS_KINDS
        )
        self._of_jobs = Summing[tuple[str, str]](MOST_OF_JOBS, JOBS_PERIOD_S, MAX_MEMBERS_KINDS)
        self._path = os.path.join(state_dir, FILE_NAME)
        self._max_bytes = max_bytes
        try:
            self._handle = open_lines(self._path)
        except OSError as error:
            raise StartError(
                f"cannot write {self._path}: {error.strerror}; make way for it, or say --state DIR"
            ) from error
        self._size_bytes = os.fstat(self._handle).st_size

    def write(self, what: str, fields: Fields) -> bool:
        """Write a line; returns whether it was written. What one key brings about too often is summed up: soon
        where a stranger or a misbehaving member can do it, late where honest members do."""
        named = dict(fields)
        who = str(named.get("joiner", named.get("user", "")))
        summing = self._summing_for(what, is_of_job="job" in named)
        if who and summing is not None and not summing.admits((what, who), self._clock()):
            return False
        self._write(what, fields)
        return True

    def _summing_for(self, what: str, *, is_of_job: bool) -> Summing[tuple[str, str]] | None:
        if is_of_job:
            return self._of_jobs
        if what in OF_SESSIONS:
            return self._of_sessions
        return self._of_strangers if what in SUMMED else None

    def sum_up(self, *, is_last: bool = False) -> None:
        """Write how many more there were of what was too often the same."""
        for summing in (self._of_strangers, self._of_sessions, self._of_jobs):
            for kind, more in summing.due(self._clock(), is_last=is_last):
                what, who = kind or ("other", "")
                self._write(what, (("user", who), ("more", more)))

    def _write(self, what: str, fields: Fields) -> None:
        told = {name: _cut(value) for name, value in fields}
        record = {"at": round(time.time(), 3), "event": what, **told}
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        try:
            if self._size_bytes + len(line) > self._max_bytes:
                self._rotate()
            self._size_bytes += add_lines(self._handle, line)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)

    def close(self) -> None:
        self.sum_up(is_last=True)
        os.close(self._handle)

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
        fresh = open_lines(self._path)
        os.close(self._handle)
        self._handle, self._size_bytes = fresh, 0


def _cut(value: str | int | float) -> str | int | float:
    return value[:MAX_FIELD] if isinstance(value, str) else value
