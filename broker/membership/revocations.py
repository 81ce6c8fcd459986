"""What was revoked or used up, in a file of its own: one a line, only ever added to.

Who stands here is revoked, whatever the registry's row says. So a registry that is put back from a backup makes
no key or token valid again that was revoked since, and gives no use of a join token back: who puts it back
leaves this file alone. And a disk that is full keeps nobody from being revoked: room for RESERVE_BYTES of lines
is the file's own beforehand, where the file system can do so.

    NAME SECONDS          revoked: a public key in Z85 (no blanks in it), or a storage token's SHA-256 in
                          hexadecimal; and when, in Unix seconds
    NAME SECONDS LEFT     a join token, by its public key, was used, and may be used so many times more
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os

from broker.membership.lines import add_lines, locked, open_lines

logger = logging.getLogger(__name__)

FILE_NAME = "revoked"
# A thousand lines.
RESERVE_BYTES = 64 << 10
_SHOWN = 100  # characters of a line that is none
_BLOCK_BYTES = 512  # of st_blocks
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE (linux/falloc.h)


class Revocations:
    """What stands in the file, read again as far as it has grown; what was once read stays."""

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, FILE_NAME)
        self._revoked: dict[str, float] = {}
        self._left: dict[str, int] = {}
        self._inode = self._size_bytes = self._begins_at = 0
        # How often another's lines were read.
        self.changes = 0

    def read(self) -> dict[str, float]:
        """When each key and token was revoked; a line that is none is passed over.

        Raises:
            OSError: the file is there and cannot be read.
        """
        self._refresh()
        return self._revoked

    def uses_left(self) -> dict[str, int]:
        """How many times each join token that was used may be used more.

        Raises:
            OSError: the file is there and cannot be read.
        """
        self._refresh()
        return self._left

    def add(self, revoked: dict[str, float]) -> bool:
        """Write these down, through to the disk; whether they are. A disk that refuses is said."""
        return self._write([f"{name} {at:.3f}" for name, at in revoked.items()])

    def add_uses(self, left: dict[str, int], now: float) -> bool:
        """The same of join tokens that were used."""
        return self._write([f"{name} {now:.3f} {uses}" for name, uses in left.items()])

    def reserve(self) -> None:
        """Have room for lines to come, for as long as there is some."""
        try:
            handle = open_lines(self.path)
        except OSError as error:
            self._complain(error)
            return
        try:
            _reserve(handle)
        finally:
            os.close(handle)

    def _refresh(self) -> None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return
        if (status.st_ino, status.st_size) == (self._inode, self._size_bytes):
            return
        if status.st_ino != self._inode or status.st_size < self._size_bytes:
            self._begins_at = 0
        with open(self.path, "rb") as file:
            with locked(file.fileno(), fcntl.LOCK_SH):
                file.seek(self._begins_at)
                data = file.read()
            self._inode = os.fstat(file.fileno()).st_ino
        self._take(data)
        self.changes += 1

    def _take(self, data: bytes) -> None:
        """What stands from `_begins_at` on. An end that is torn counts, and is read again."""
        wrong = [
            line
            for line in data.decode("ascii", "replace").split("\n")
            if not self._take_line(line)
        ]
        if wrong:
            shown = (self.path, len(wrong), wrong[0][:_SHOWN])
            logger.warning("%s: %d lines are no revocations, as %a", *shown)
        self._size_bytes = self._begins_at + len(data)
        self._begins_at += data.rfind(b"\n") + 1

    def _take_line(self, line: str) -> bool:
        """Whether it is one, or empty."""
        try:
            match line.split():
                case []:
                    pass
                case [name, at]:
                    self._revoked.setdefault(name, float(at))
                case [name, _, uses]:
                    self._left[name] = min(int(uses), self._left.get(name, int(uses)))
                case _:
                    raise ValueError
        except ValueError:
            return False
        return True

    def _write(self, lines: list[str]) -> bool:
        if not lines:
            return True
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            self._refresh()
            handle = open_lines(self.path)
            try:
                grown_bytes = add_lines(handle, data)
                self._note_own(handle, data, grown_bytes)
                os.fsync(handle)
                _reserve(handle)
            finally:
                os.close(handle)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _note_own(self, handle: int, data: bytes, grown_bytes: int) -> None:
        """Our own lines are no news, unless another's are among them."""
        status = os.fstat(handle)
        if status.st_size == self._size_bytes + grown_bytes:
            self._inode, self._begins_at = status.st_ino, status.st_size - len(data)
            self._take(data)

    def _complain(self, error: OSError) -> None:
        logger.warning(
            "cannot write %s: %s; do not put a backup of the registry back that is older than this",
            self.path,
            error.strerror,
        )


def _reserve(handle: int) -> None:
    """Have blocks beyond the file's end, where fewer than half are left; a file system may not know how."""
    status = os.fstat(handle)
    if status.st_blocks * _BLOCK_BYTES - status.st_size < RESERVE_BYTES // 2:
        at, length = ctypes.c_int64(status.st_size), ctypes.c_int64(RESERVE_BYTES)
        ctypes.CDLL(None).fallocate(handle, _KEEP_SIZE, at, length)
