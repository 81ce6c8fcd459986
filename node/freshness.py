"""Whether the files that a job has read are still what their digests say.

Owns what is known of each file on this disk: when it was read last and found sound, and how it looked to stat
then. A file is read again when it looks different, and when the last time is longer ago than an interval; so
no result leaves this node of whose inputs that cannot be said. Must not know what is done about a rotten file.

What this finds: whatever was written into a file since (its times tell), and what a disk or a memory changed
without a trace, within the interval. fs-verity would have the kernel check each page that is read; the kernels
that this was written on do not have it (CONFIG_FS_VERITY is off in most), and it needs the file system's
own consent, so nothing here depends on it.

Files are known by inode: blobs of the store are hard-linked into many trees, and are looked at once for all.
A link that is made or goes changes a file's ctime, so that it is read once more; that is a few dozen
microseconds for a header.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

from cache.digest import Digest, Hasher

# Jobs' inputs are read again when the last time is longer ago: some 20 ms of CPU for 800 headers.
INPUTS_EVERY_S = 3600.0
# A toolchain is 80 to 240 MB, a tenth of a second to a third.
TOOLCHAINS_SHARE = 24
# Files whose state is remembered, some 300 bytes each; beyond it all are read once more.
MAX_KNOWN = 500_000
_PIECE_BYTES = 1 << 20

# A path below a root, and what it must hold.
Expected = tuple[bytes, Digest]


# How a file looked when it was read (digest, size, mtime and ctime in ns), and the time. A tuple, and looked at
# in one loop: the 800 files of a C++ compile cost 3 ms, most of it lstat's.
_Known = tuple[Digest, int, int, int, float]


class Freshness:
    """One for a process; safe to use from several threads, which then wait for each other's reading."""

    def __init__(
        self, every_s: float = INPUTS_EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_s = every_s
        self.files_read = 0
        self.bytes_read = 0
        self._now = now
        self._known: dict[int, _Known] = {}
        self._lock = threading.Lock()

    def rotten(
        self, root: bytes, files: Iterable[Expected], every_s: float | None = None
    ) -> list[Expected]:
        """Those of these files below `root` that do not hold what they must, or are gone.

        `every_s` instead of this object's own. All are regular files; a link in a file's place is rotten.
        """
        latest_s = self._now() - (self.every_s if every_s is None else every_s)
        found = []
        lstat = os.lstat
        with self._lock:
            known = self._known
            for path, digest in files:
                try:
                    at = root + path
                    status = lstat(at)
                    last = known.get(status.st_ino)
                    if (
                        last is not None
                        and last[2] == status.st_mtime_ns
                        and last[3] == status.st_ctime_ns
                        and last[1] == status.st_size
                        and last[4] >= latest_s
                        and last[0] == digest
                    ):
                        continue
                    is_sound = self._read(at, digest)
                except OSError:
                    is_sound = False  # gone, unreadable, or no file any more
                if not is_sound:
                    found.append((path, digest))
        return found

    def _read(self, path: bytes, digest: Digest) -> bool:
        """Read the file and remember how it looked before that.

        Raises:
            OSError: it cannot be read.
        """
        hasher = Hasher()
        read_s = self._now()
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            while piece := os.read(handle, _PIECE_BYTES):
                hasher.update(piece)
                self.bytes_read += len(piece)
        finally:
            os.close(handle)
        self.files_read += 1
        if hasher.digest() != digest:
            self._known.pop(status.st_ino, None)
            return False
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        looks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        self._known[status.st_ino] = (digest, *looks, read_s)
        return True


def changed_links(root: bytes, links: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Those of these symlinks (path, target) below `root` that lead elsewhere now, or are gone."""
    found = []
    for path, target in links:
        try:
            if os.readlink(root + path) != target:
                found.append(path)
        except OSError:
            found.append(path)
    return found
