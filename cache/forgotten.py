"""Keys whose results are void: they are not served, whatever a disk still says.

Owns the list, in memory and, for what could not be removed before its process ended, in a file. To lose a
result costs a miss; to lose a removal would cost a wrong object: hence a list of those that are not done yet.

    forgotten.SPACE.NAME    keys of 32 bytes, one behind the other; whatever else is in it: everything
                            SPACE: the first digits of the space's digest; NAME: random

Several processes may have one store. A file never changes: who has more to say writes another, then removes
his former one. So a start reads them all, and whoever has removed from the store what one of them says may
remove that file, whoever wrote it. There is none while nothing is left to remove. `forgotten.SPACE` is an
earlier version's, who may replace it: it is given a name of its own, and then read.
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
_NAME_BYTES = 8
_ALL = b"*"
_UNFINISHED = ".new"
# A file that is gone when it is to be read was replaced at that moment: so often not.
_ATTEMPTS = 10


class Forgotten:
    """The keys to be removed from one space's stores, each with the number under which it was forgotten last.

    Without a directory they end with the process. Safe to use from several threads.
    """

    def __init__(self, directory: str = "", space: str = "", limit: int = MAX_FORGOTTEN) -> None:
        self._directory = directory
        self._name = f"forgotten.{digest_of(os.fsencode(space)).hex()[:_SPACE_DIGITS]}"
        self._limit = limit
        self._lock = threading.Lock()
        self._numbers: dict[Digest, int] = {}
        self._everything = 0  # the number under which all was forgotten
        self.last = 0
        # With the numbers: what is forgotten once more is written once more, as another process may have worked
        # off the first. None: nobody can tell.
        self._written: tuple[dict[Digest, int], int] | None = ({}, 0)
        self._files: list[str] = []  # what says so, if anything is left
        self._outdated: list[str] = []
        if directory:
            self._read_all()

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
            left, everything = dict(self._numbers), self._everything
        if not self._directory:
            return not left and not everything
        try:
            if (left, everything) != self._written:
                fresh = (
                    [self._write(_ALL if everything else b"".join(left))]
                    if left or everything
                    else []
                )
                self._outdated += self._files
                self._files, self._written = fresh, (left, everything)
        except OSError as error:
            logger.warning("cannot write down which results are forgotten: %s", error)
            return False
        try:
            while self._outdated:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._outdated[-1])
                self._outdated.pop()
        except OSError as error:  # who reads it forgets once more
            logger.warning("a list of forgotten results stays: %s", error)
        return True

    def _write(self, keys: bytes) -> str:
        """A new file that says this; its path."""
        path = self._new_path()
        new = path + _UNFINISHED
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(keys)
                file.flush()
                os.fsync(descriptor)
            os.rename(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        return path

    def _new_path(self) -> str:
        return os.path.join(self._directory, f"{self._name}.{os.urandom(_NAME_BYTES).hex()}")

    def _read_all(self) -> None:
        """What other processes have left behind, or could not remove yet."""
        for _ in range(_ATTEMPTS):
            try:
                self._files = self._found()
                for path in self._files:
                    self._read(path)
                break
            except FileNotFoundError:  # its process has written another
                continue
            except (OSError, ValueError) as error:
                logger.error("cannot read which results are forgotten, so that all are: %s", error)
                self.add_all()
                break
        else:
            self.add_all()
        if self._files:
            self._written = None

    def _found(self) -> list[str]:
        """The files' paths.

        Raises:
            OSError: the disk refuses.
        """
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            path = os.path.join(self._directory, name)
            if name == self._name:
                path = self._new_path()
                os.rename(os.path.join(self._directory, name), path)
            elif not name.startswith(f"{self._name}."):
                continue
            elif name.endswith(_UNFINISHED):  # who is still at it tries again
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                continue
            found.append(path)
        return found

    def _read(self, path: str) -> None:
        """
        Raises:
            OSError: the disk refuses.
            ValueError: it holds no list of keys.
        """
        with open(path, "rb") as file:
            keys = file.read((self._limit + 1) * DIGEST_SIZE)
        if keys == _ALL:
            self.add_all()
        elif not keys or len(keys) % DIGEST_SIZE:
            raise ValueError(f"{path} has {len(keys)} bytes")
        else:
            for at in range(0, len(keys), DIGEST_SIZE):
                self.add(Digest(keys[at : at + DIGEST_SIZE]))
