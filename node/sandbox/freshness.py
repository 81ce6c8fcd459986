"""Whether the files that a job has read are still what their digests say.

Owns what is known of each file on this disk: when it was read last and found sound, and how it looked to stat
then. A file is read again when it looks different, and when the last time is longer ago than an interval; so
no result leaves this node of whose inputs that cannot be said. Must not know what is done about a rotten file.

What this finds: whatever was written into a file since (its times tell), and what a disk or a memory changed
without a trace, within the interval. fs-verity would have the kernel check each page that is read; the kernels
that this was written on do not have it (CONFIG_FS_VERITY is off in most), and it needs the file system's
own consent, so nothing here depends on it.

Files are known by inode: blobs of the store are hard-linked into many trees, and are looked at once for all.
A link that is made or goes changes a file's ctime. Where it is the node's own (`linking`, `unlinking`) the
file stays known; any other has it read once more. That takes a few dozen microseconds for a header, and seconds
for an input of a GiB: so nobody waits for another file's reading.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from cache.digest import Digest, Hasher

# Jobs' inputs are read again when the last time is longer ago: some 20 ms of CPU for 800 headers.
INPUTS_EVERY_S = 3600.0
# A toolchain is 80 to 240 MB, a tenth of a second to a third.
TOOLCHAINS_SHARE = 24
# Files whose state is remembered, some 300 bytes each; beyond it all are read once more.
MAX_KNOWN = 500_000
# Links of different files are made side by side, as a rule.
_LINK_LOCKS = 64
_PIECE_BYTES = 1 << 20

# A path below a root, and what it must hold.
Expected = tuple[bytes, Digest]


# How a file looked when it was read (digest, size, mtime and ctime in ns), and the time. A tuple, and looked at
# in one loop: the 800 files of a C++ compile cost 3 ms, most of it lstat's.
_Known = tuple[Digest, int, int, int, float]


class _Turn:
    """Whose it is to read one inode, and for how many that is of use."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = 0


class Freshness:
    """One for a process; safe to use from several threads. Who wants a file that is being read waits for that,
    and for no other file's reading."""

    def __init__(
        self, every_s: float = INPUTS_EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_s = every_s
        self.files_read = 0
        self.bytes_read = 0
        self._now = now
        # Looked into without the lock: a look sees one state of it or the other.
        self._known: dict[int, _Known] = {}
        self._turns: dict[int, _Turn] = {}
        self._lock = threading.Lock()  # never held while a file is read
        self._link_locks = tuple(threading.Lock() for _ in range(_LINK_LOCKS))

    @contextlib.contextmanager
    def linking(self, path: str, digest: Digest) -> Iterator[None]:
        """Have the file at `path` get one more link meanwhile, by us, and be known as before."""
        with self._relinked(path, digest, 1):
            yield

    @contextlib.contextmanager
    def unlinking(self, path: str, digest: Digest) -> Iterator[None]:
        """Have the file at `path` lose one link meanwhile, by us and not that one, and be known as before."""
        with self._relinked(path, digest, -1):
            yield

    @contextlib.contextmanager
    def _relinked(self, path: str, digest: Digest, links: int) -> Iterator[None]:
        """Take the ctime that a link of ours has given a file over into what is known of it.

        What makes that safe. Before our call the file looks to `stat` exactly as when it was found sound,
        ctime included: whoever has changed it until then shows. After it, it is the same inode, with that
        mode, size and mtime, and as many links more or less as we have made. A ctime that has moved by
        anybody else's doing between the two looks shows too: by the mtime if he wrote, as a blob's is a fixed
        time of long ago (`PLAIN_MTIME_S`), whatever the clock's grain; by the count if he linked; by the mode
        if he changed that. What is left is a write whose mtime is set back, both within these microseconds.
        No job can do either: it has the file as the read-only layer of an overlay, and by no other name. Who
        can is the node's own user, or root, who may replace the node as well. The hour's reading finds that,
        as it does what a disk changes: when a file was read last stays what it was.
        """
        with self._link_locks[digest[0] % _LINK_LOCKS]:
            before = _status_of(path)
            known = self._known.get(before.st_ino) if before is not None else None
            yield
            if before is None or known is None or not _is_as(known, before, digest):
                return
            after = _status_of(path)
            if after is None or _of_link(after) != _of_link(before, links):
                return
            with self._lock:
                # Unless another has read it meanwhile, and found it rotten.
                if self._known.get(before.st_ino) is known:
                    self._known[before.st_ino] = (*known[:3], after.st_ctime_ns, known[4])

    def rotten(
        self, root: bytes, files: Iterable[Expected], every_s: float | None = None
    ) -> list[Expected]:
        """Those of these files below `root` that do not hold what they must, or are gone.

        `every_s` instead of this object's own. All are regular files; a link in a file's place is rotten.
        """
        latest_s = self._latest_s(every_s)
        return [
            each
            for each in self._unsure(root, files, latest_s)
            if not self._is_sound(root + each[0], each, latest_s)
        ]

    def unsure(
        self, root: bytes, files: Iterable[Expected], every_s: float | None = None
    ) -> list[Expected]:
        """Those of which only reading can tell whether they are rotten. Reads none."""
        return self._unsure(root, files, self._latest_s(every_s))

    def _latest_s(self, every_s: float | None) -> float:
        return self._now() - (self.every_s if every_s is None else every_s)

    def _unsure(self, root: bytes, files: Iterable[Expected], latest_s: float) -> list[Expected]:
        found = []
        lstat, known = os.lstat, self._known
        for each in files:
            try:
                status = lstat(root + each[0])
            except OSError:
                found.append(each)
                continue
            last = known.get(status.st_ino)
            if (
                last is None
                or last[2] != status.st_mtime_ns
                or last[3] != status.st_ctime_ns
                or last[1] != status.st_size
                or last[4] < latest_s
                or last[0] != each[1]
            ):
                found.append(each)
        return found

    def _is_sound(self, at: bytes, expected: Expected, latest_s: float) -> bool:
        """Read it, unless another has while this one waited for its turn."""
        try:
            with self._turn(os.lstat(at).st_ino):
                return not self._unsure(b"", [(at, expected[1])], latest_s) or self._read(
                    at, expected[1]
                )
        except OSError:
            return False  # gone, unreadable, or no file any more

    @contextlib.contextmanager
    def _turn(self, inode: int) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(inode, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    del self._turns[inode]

    def _read(self, path: bytes, digest: Digest) -> bool:
        """Read the file and remember how it looked before that.

        Raises:
            OSError: it cannot be read.
        """
        hasher = Hasher()
        read_s = self._now()
        size_bytes = 0
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            while piece := os.read(handle, _PIECE_BYTES):
                hasher.update(piece)
                size_bytes += len(piece)
        finally:
            os.close(handle)
        is_sound = hasher.digest() == digest
        looks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            self.files_read += 1
            self.bytes_read += size_bytes
            if not is_sound:
                self._known.pop(status.st_ino, None)
                return False
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[status.st_ino] = (digest, *looks, read_s)
        return True


def _status_of(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _is_as(known: _Known, status: os.stat_result, digest: Digest) -> bool:
    looks = (digest, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return known[:4] == looks


def _of_link(status: os.stat_result, links: int = 0) -> tuple[int, ...]:
    """All that a file that gets so many links keeps, and the number that it then has."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_nlink + links,
    )


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
