"""Results that wait for agents which read slowly, on disk: their bodies are not the memory's.

Owns the files in STATE/spool, one for each body. They are of no use to the next broker, which removes them. The
directory may be a symlink: an operator's larger disk.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections import Counter
from dataclasses import dataclass

from broker.core.limits import MAX_SPOOLED_BYTES, MAX_SPOOLED_BYTES_PER_KEY, SPOOL_LEAVES_BYTES

logger = logging.getLogger(__name__)

DIRECTORY = "spool"


@dataclass(frozen=True, slots=True, eq=False)
class Spooled:
    """A body that was put away for this key."""

    path: str
    user: str
    size_bytes: int


class Spool:
    """Whatever the disk does, nothing is raised: what it does not keep is lost."""

    def __init__(self, state_dir: str) -> None:
        self.directory = os.path.join(state_dir, DIRECTORY)
        self._numbers = itertools.count()
        self._size_bytes = 0
        self._of_user: Counter[str] = Counter()
        with contextlib.suppress(OSError):
            os.mkdir(self.directory, 0o700)
        self._clear()

    @property
    def size_bytes(self) -> int:
        """Of all bodies that are kept."""
        return self._size_bytes

    def put(self, user: str, body: bytes) -> Spooled | None:
        """Keep a body for this key; None: there is no room for it."""
        size = len(body)
        if (
            self._size_bytes + size > MAX_SPOOLED_BYTES
            or self._of_user[user] + size > MAX_SPOOLED_BYTES_PER_KEY
            or self._free_bytes() < size + SPOOL_LEAVES_BYTES
        ):
            return None
        spooled = Spooled(os.path.join(self.directory, str(next(self._numbers))), user, size)
        self._note(spooled, size)
        try:
            with open(spooled.path, "xb", buffering=0) as file:
                if file.write(body) == size:
                    return spooled
        except OSError as error:
            logger.warning("a result that waits for its agent is lost: %s", error.strerror)
        self.drop(spooled)
        return None

    def take(self, spooled: Spooled) -> bytes | None:
        """The body, which is not kept any longer; None: it is lost."""
        try:
            with open(spooled.path, "rb") as file:
                body = file.read()
        except OSError:
            body = b""
        self.drop(spooled)
        return body if len(body) == spooled.size_bytes else None

    def drop(self, spooled: Spooled) -> None:
        """Nobody waits for it any more."""
        with contextlib.suppress(OSError):
            os.unlink(spooled.path)
        self._note(spooled, -spooled.size_bytes)

    def close(self) -> None:
        self._clear()

    def _clear(self) -> None:
        with contextlib.suppress(OSError):
            for name in os.listdir(self.directory):
                os.unlink(os.path.join(self.directory, name))

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self.directory)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _note(self, spooled: Spooled, change_bytes: int) -> None:
        self._size_bytes += change_bytes
        self._of_user[spooled.user] += change_bytes
        if not self._of_user[spooled.user]:
            del self._of_user[spooled.user]
