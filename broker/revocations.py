"""What was revoked or used up, in a file of its own: one a line, only ever added to.

A registry that is put back from a backup would make keys and tokens valid again that were revoked since, and
give uses of join tokens back. So who puts it back leaves this file alone, and the registries take over what
stands here whenever they are opened.

    NAME SECONDS          revoked: a public key in Z85 (no blanks in it), or a storage token's SHA-256 in
                          hexadecimal; and when, in Unix seconds
    NAME SECONDS LEFT     a join token, by its public key, was used, and may be used so many times more
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
        """When each key and token was revoked; a line that is none is passed over.

        Raises:
            OSError: the file is there and cannot be read.
        """
        return self._read()[0]

    def uses_left(self) -> dict[str, int]:
        """How many times each join token that was used may be used more.

        Raises:
            OSError: the file is there and cannot be read.
        """
        return self._read()[1]

    def add(self, revoked: dict[str, float]) -> None:
        """Write these down, through to the disk; a disk that refuses is said, and they are revoked all the
        same."""
        self._write([f"{name} {at:.3f}" for name, at in revoked.items()])

    def add_uses(self, left: dict[str, int], now: float) -> None:
        """The same of join tokens that were used."""
        self._write([f"{name} {now:.3f} {uses}" for name, uses in left.items()])

    def _read(self) -> tuple[dict[str, float], dict[str, int]]:
        revoked: dict[str, float] = {}
        left: dict[str, int] = {}
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return revoked, left
        for line in lines:
            try:
                match line.split():
                    case [name, at]:
                        revoked.setdefault(name, float(at))
                    case [name, _, uses]:
                        left[name] = min(int(uses), left.get(name, int(uses)))
                    case _:
                        raise ValueError
            except ValueError:
                logger.warning("%s: %r is no revocation", self._path, line)
        return revoked, left

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            handle = os.open(self._path, flags, 0o600)
            try:
                os.write(handle, "".join(f"{line}\n" for line in lines).encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning(
                "cannot write %s: %s; do not put a backup of the registry back that is older than this",
                self._path,
                error.strerror,
            )
