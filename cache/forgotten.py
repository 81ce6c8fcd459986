"""Keys whose results are void: they are not served, whatever a disk still says.

Owns the list, in memory and, for what could not be removed before its process ended, in a file. To lose a
result costs a miss; to lose a removal would cost a wrong object: hence a list of those that are not done yet.

    forgotten.SPACE     keys of 32 bytes, one behind the other; SPACE: the first digits of the space's digest

The file is there only while something is left to remove.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable

from cache.digest import DIGEST_SIZE, Digest, digest_of

logger = logging.getLogger(__name__)

# Beyond so many (2 MiB of keys) all that is stored is void: a disk that refuses so many removals is no store.
MAX_FORGOTTEN = 1 << 16
_SPACE_DIGITS = 16


class Forgotten:
    """The keys to be removed from one space's stores, each with the number under which it was forgotten last.

    Without a directory they end with the process. Safe to use from several threads.
    """

    def __init__(self, directory: str = "", space: str = "", limit: int = MAX_FORGOTTEN) -> None:
        name = f"forgotten.{digest_of(os.fsencode(space)).hex()[:_SPACE_DIGITS]}"
        self._path = os.path.join(directory, name) if directory else ""
        self._limit = limit
        self._lock = threading.Lock()
        self._numbers: dict[Digest, int] = {}
        self._everything = 0  # the number under which all was forgotten
        self.last = 0
        self._written: frozenset[Digest] | None = frozenset()  # None: nobody can tell
        for key in self._left_behind():
            self.add(key)

    def __contains__(self, key: Digest) -> bool:
        return bool(self._everything) or key in self._numbers

    @property
    def is_empty(self) -> bool:
        return not self._everything and not self._numbers

    def add(self, key: Digest) -> int:
        """Serve this no more; its number, which is larger than all before."""
        with self._lock:
            self.last += 1
            if len(self._numbers) < self._limit or key in self._numbers:
                self._numbers[key] = self.last
            else:
                self._everything = self.last
            return self.last

    def add_all(self) -> int:
        """Serve nothing of what is stored now."""
        with self._lock:
            self.last += 1
            self._everything = self.last
            return self.last

    def number_of(self, key: Digest) -> int:
        """The number under which this key was forgotten last; 0: it is not."""
        return max(self._everything, self._numbers.get(key, 0))

    def due(self, number: int) -> dict[Digest, int] | None:
        """What is to be removed of what was forgotten up to this number; None: all there is."""
        with self._lock:
            if 0 < self._everything <= number:
                return None
            return {key: own for key, own in self._numbers.items() if own <= number}

    def removed(self, keys: Iterable[Digest] | None, number: int) -> None:
        """These (None: all) are gone from all stores, as was due at this number; what was forgotten once more
        meanwhile stays."""
        with self._lock:
            if keys is None:
                self._everything = 0 if self._everything <= number else self._everything
                keys = tuple(self._numbers)
            for key in keys:
                if self._numbers.get(key, self.last + 1) <= number:
                    del self._numbers[key]

    def write_down(self) -> bool:
        """Keep what is left for who opens the stores next; whether that could be done."""
        with self._lock:
            left, is_listed = frozenset(self._numbers), not self._everything
        if not self._path or left == self._written:
            return is_listed and bool(self._path or not left)
        try:
            if left:
                self._write(b"".join(left))
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
        except OSError as error:
            logger.warning("cannot write down which results are forgotten: %s", error)
            return False
        self._written = left
        return is_listed

    def _write(self, keys: bytes) -> None:
        new = self._path + ".new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(keys)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, self._path)

    def _left_behind(self) -> list[Digest]:
        if not self._path:
            return []
        try:
            with open(self._path, "rb") as file:
                keys = file.read((self._limit + 1) * DIGEST_SIZE)
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.error("cannot read which results are forgotten, so that all are: %s", error)
            self.add_all()
            self._written = None
            return []
        found = [Digest(keys[at : at + DIGEST_SIZE]) for at in range(0, len(keys), DIGEST_SIZE)]
        self._written = frozenset(found)
        return found
