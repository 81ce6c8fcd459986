"""The keys that were revoked, in a file of their own: one a line, only ever added to.

A registry that is put back from a backup would make keys valid again that were revoked since. So who puts it
back leaves this file alone, and the registry takes over what stands here whenever it is opened.

    KEY SECONDS     the public key in Z85 (no blanks in it), and when, in Unix seconds
"""

from __future__ import annotations

import logging
import os

logger = logging.getLogger(__name__)

FILE_NAME = "revoked"


class Revocations:
    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, FILE_NAME)

    def read(self) -> dict[str, float]:
        """When each key was revoked; a line that is none is passed over.

        Raises:
            OSError: the file is there and cannot be read.
        """
        found: dict[str, float] = {}
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return found
        for line in lines:
            key, _, at = line.strip().partition(" ")
            try:
                found.setdefault(key, float(at))
            except ValueError:
                logger.warning("%s: %r is no revocation", self._path, line)
        return found

    def add(self, revoked: dict[str, float]) -> None:
        """Write these down, through to the disk; a disk that refuses is said, and the keys are revoked all the
        same."""
        if not revoked:
            return
        lines = "".join(f"{key} {at:.3f}\n" for key, at in revoked.items())
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            handle = os.open(self._path, flags, 0o600)
            try:
                os.write(handle, lines.encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning(
                "cannot write %s: %s; do not put a backup of the registry back that is older than this",
                self._path,
                error.strerror,
            )
