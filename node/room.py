"""Whether this machine has room for jobs: what its disk says, and what it said when it was written to."""

from __future__ import annotations

import os
import tempfile

# A disk that refused is asked again after so long, by a file of this size: quotas and read-only mounts show in
# no number.
_ASK_AGAIN_S = 10.0
_PROBE_BYTES = 1 << 20
# Once short, there must be this much more before jobs come again: one job can take what was just freed.
_AGAIN_SHARE = 1.1
# An input tree and a toolchain have some thousands of files.
_FREE_FILES = 10_000


class Room:
    """The room in one directory, of which `free_bytes` are to stay free."""

    def __init__(self, directory: str, free_bytes: int) -> None:
        self._directory = directory
        self._free_bytes = free_bytes
        self._refusal = ""
        self._ask_at = 0.0
        self._is_short = False

    def refused(self, detail: str, now: float) -> None:
        """The disk would not take something."""
        self._refusal = f"the disk of {self._directory} takes nothing: {detail}"
        self._ask_at = now + _ASK_AGAIN_S

    def why_none(self, now: float) -> str:
        """Why there is no room for jobs, and what to do; empty where there is some."""
        short = self._why_short()
        self._is_short = bool(short)
        if self._refusal and now >= self._ask_at:
            try:
                with tempfile.TemporaryFile(dir=self._directory) as file:
                    file.write(bytes(_PROBE_BYTES))
                    file.flush()
                self._refusal = ""
            except OSError as error:
                self.refused(error.strerror or str(error), now)
        return short or self._refusal

    def _why_short(self) -> str:
        try:
            disk = os.statvfs(self._directory)
        except OSError as error:
            return f"{self._directory} cannot be looked at: {error.strerror}"
        share = _AGAIN_SHARE if self._is_short else 1.0
        free_bytes, needed_bytes = disk.f_bavail * disk.f_frsize, int(self._free_bytes * share)
        cure = "make room there, or serve with another --state"
        if free_bytes < needed_bytes:
            return (
                f"the disk of {self._directory} has {free_bytes >> 20} MiB free where"
                f" {needed_bytes >> 20} MiB have to be: {cure}"
            )
        if disk.f_files and disk.f_favail < _FREE_FILES:
            return f"the disk of {self._directory} has room for {disk.f_favail} more files: {cure}"
        return ""
