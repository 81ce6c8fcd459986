"""The append-only audit log: JSON lines, no secrets, no source text; rotated by size."""

from __future__ import annotations

import json
import logging
import os
import time

logger = logging.getLogger(__name__)

FILE_NAME = "audit.log"
MAX_BYTES = 64 << 20
# Old files kept: audit.log.1 is the newest of them.
KEPT = 4


class AuditLog:
    """Lines are written through at once; a disk that refuses costs lines (and a warning)."""

    def __init__(self, state_dir: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)
        self._max_bytes = max_bytes
        self._handle = self._open()
        self._size_bytes = os.fstat(self._handle).st_size

    def write(self, what: str, fields: tuple[tuple[str, str | int | float], ...]) -> None:
        record = {"at": round(time.time(), 3), "event": what, **dict(fields)}
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        try:
            if self._size_bytes + len(line) > self._max_bytes:
                self._rotate()
            self._size_bytes += os.write(self._handle, line)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)

    def close(self) -> None:
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
