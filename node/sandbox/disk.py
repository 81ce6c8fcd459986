"""Which job goes when the disk that jobs write to is short: one at a time, as of memory (`memory.py`).

It is the one that has written most. All others go on: what they have written is not why. The last look at each
was over when the disk became short; so all are looked at once more before one of them is chosen.

Threads of several runs ask here.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from zcc.messages import Fault

# A job that has stopped, or whose files are many, is waited for so long before one is chosen without it.
_LOOKED_AT_WITHIN_S = 1.0
# After one has gone, its files take so long to follow.
_SETTLES_S = 1.0
# Who has written less than this part of what is to stay free is not why it is short: somebody else fills it.
_NOT_WHY_SHARE = 1 / 16


class DiskUser(Protocol):
    """A run: what it had on the disk when it was looked at last, and when that was begun."""

    written_bytes: int
    looked_at: float


def _free_bytes(directory: bytes) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


class JobDisk:
    """One disk, and the runs that write to it."""

    def __init__(self, free_bytes: Callable[[bytes], int] = _free_bytes) -> None:
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._writers: list[DiskUser] = []
        # Since when it counts that the disk is short; None: it is not.
        self._short_at: float | None = None

    @contextlib.contextmanager
    def written_by(self, writer: DiskUser) -> Iterator[None]:
        """This run writes meanwhile."""
        with self._lock:
            self._writers.append(writer)
        try:
            yield
        finally:
            with self._lock:
                self._writers.remove(writer)

    def why_stop(
        self, writer: DiskUser, directory: bytes, kept_bytes: int, now: float
    ) -> tuple[Fault, str] | None:
        """Why this run has to go now, if so: less than `kept_bytes` are free where `directory` lies."""
        is_short = self._free_bytes(directory) < kept_bytes
        with self._lock:
            if not is_short:
                self._short_at = None
                return None
            if self._short_at is None:
                self._short_at = now
            if not self._is_known(now) or writer is not self._largest():
                return None
            self._short_at = now + _SETTLES_S
        if writer.written_bytes < kept_bytes * _NOT_WHY_SHARE:
            return Fault.PAUSED, "this machine was short of disk"
        return (
            Fault.RESOURCES,
            f"the disk is almost full, with {writer.written_bytes >> 20} MiB of the job's",
        )

    def is_asking(self, writer: DiskUser, now: float) -> bool:
        """Whether this run has to be looked at, so that one can be chosen."""
        with self._lock:
            return self._short_at is not None and writer.looked_at < self._short_at <= now

    def _is_known(self, now: float) -> bool:
        """Whether what each has written is known as of when the disk was short."""
        assert self._short_at is not None
        if now < self._short_at + _LOOKED_AT_WITHIN_S:
            return all(each.looked_at >= self._short_at for each in self._writers)
        return True

    def _largest(self) -> DiskUser:
        """Of those that have written as much the youngest: it has done the least."""
        return max(reversed(self._writers), key=lambda each: each.written_bytes)
