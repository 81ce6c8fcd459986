"""What tells one state of a file or directory from the next, and answers that hold as long as it stays.

Owns the one rule for that. Modification times alone tell nothing: `rsync -a`, tar and images set them back. The
time of change nobody can set where this kernel stamps it. Where another does, or nobody (`filesystems.py`), a
file is opened before its status counts, or what it holds is part of its signature. In an image its maker has
set it, and the next image at the same place may give a file the times, inode and device that another had in the
last: that images were exchanged shows as an event alone (`mounts.py`), after which what lies in one is not
believed. What has changed only just may change again within the same tick of its clock, so an answer that was
made of it is not kept.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Generic, TypeVar

from cache.digest import Hasher
from zcc.compiler.disk.filesystems import Trust
from zcc.compiler.disk.mounts import MOUNTS, Mounts

K = TypeVar("K")
V = TypeVar("V")

# Empty for what is not there: modification, change, size, inode, device. Where no status can be believed four
# more numbers, the digest of what is there; the inode, which FUSE may make up anew, is 0 then.
Signature = tuple[int, ...]
signature_of: Callable[[os.stat_result], Signature] = attrgetter(
    "st_mtime_ns", "st_ctime_ns", "st_size", "st_ino", "st_dev"
)
# Where in a signature.
CHANGED, SIZE, DEVICE = 1, 2, 4

# What changed less than this before it was looked at may change again without its times showing it. The
# kernel stamps with its tick (1 to 10 ms), NFS servers and ext3 with 1 s, FAT with 2 s; the agent's clock and a
# file server's are assumed to agree within what is left.
RACY_WINDOW_NS = 2_000_000_000


_READ_BYTES = 1 << 20
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def signature_at(path: bytes, mounts: Mounts = MOUNTS, *, follow: bool = True) -> Signature:
    """Of what lies at the end of all symlinks, or at this name; one that cannot be looked at is not there."""
    return _look(path, mounts, follow)[0]


def signature_of_open(handle: int, path: bytes, mounts: Mounts = MOUNTS) -> Signature:
    """Of the file or directory that is open; its offset is at the start before and after."""
    status = os.fstat(handle)
    if mounts.trust(status.st_dev, path) is not Trust.READ:
        return signature_of(status)
    hasher = Hasher()
    if stat.S_ISDIR(status.st_mode):
        hasher.update(b"\0".join(sorted(map(os.fsencode, os.listdir(handle)))))
    else:
        while piece := os.read(handle, _READ_BYTES):
            hasher.update(piece)
        os.lseek(handle, 0, os.SEEK_SET)
    return _with_content(status, hasher)


def may_be_newer(path: bytes, wall_ns: int, mounts: Mounts = MOUNTS) -> bool:
    """Whether what lies at this name, links not followed, may have been touched after that moment."""
    try:
        status = os.lstat(path)
        trust = mounts.trust(status.st_dev, path)
        changed_ns = status.st_ctime_ns
        if trust is Trust.OPENED and stat.S_ISREG(status.st_mode):
            changed_ns = _look(path, mounts, follow=False)[0][CHANGED]
    except (OSError, IndexError):
        return True
    return trust is Trust.READ or changed_ns > wall_ns


def _look(path: bytes, mounts: Mounts, follow: bool) -> tuple[Signature, Trust]:
    try:
        status = os.stat(path, follow_symlinks=follow)
        trust = mounts.trust(status.st_dev, path)
        if trust is Trust.STATUS:
            return signature_of(status), trust
        if stat.S_ISLNK(status.st_mode):
            hasher = Hasher()
            hasher.update(os.readlink(path))
            return _with_content(status, hasher), trust
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            return signature_of(status), trust
        handle = os.open(path, _OPEN_FLAGS | (0 if follow else os.O_NOFOLLOW))
        try:
            return signature_of_open(handle, path, mounts), trust
        finally:
            os.close(handle)
    except OSError:
        return (), Trust.STATUS


def _with_content(status: os.stat_result, hasher: Hasher) -> Signature:
    times_and_size = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return (*times_and_size, 0, status.st_dev, *struct.unpack("<4Q", hasher.digest()))


def racy_ns(signature: Signature, wall_ns: int) -> int:
    """For how long after `wall_ns` a change may leave this signature as it is; 0 or less: each one shows."""
    return signature[CHANGED] + RACY_WINDOW_NS - wall_ns if signature else 0


def is_racy(signature: Signature, wall_ns: int) -> bool:
    """Whether a change right after `wall_ns` could leave the signature as it is."""
    return racy_ns(signature, wall_ns) > 0


def one_of_each_device(signed: Iterable[tuple[bytes, Signature]]) -> Iterable[bytes]:
    """Of these paths with their signatures one for each file system: what holds for it holds for all on it."""
    return {signature[DEVICE]: path for path, signature in signed if signature}.values()


class Sightings:
    """The paths that an answer was made of, and what they were. Made before the first of them is read.

    What changes between that moment and the look at its signature is racy by then.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, mounts: Mounts = MOUNTS) -> None:
        self._begun_ns = wall_ns()
        self._mounts = mounts
        self._mounts_changes = mounts.look()
        self._present: dict[bytes, Signature] = {}
        # Those of them for which a look at the status is not enough.
        self._remote: dict[bytes, Signature] = {}
        self._absent: set[bytes] = set()
        self._is_racy = False

    def see(self, path: bytes) -> None:
        """Depend on this path. Best before it is read: what is removed right after has no time to show it."""
        if path in self._present or path in self._remote or path in self._absent:
            return
        signature, trust = _look(path, self._mounts, follow=True)
        if signature:
            seen = self._present if trust is Trust.STATUS else self._remote
            seen[path] = signature
            self._is_racy = self._is_racy or is_racy(signature, self._begun_ns)
        else:
            self._absent.add(path)

    def hold(self) -> bool:
        """Whether everything is what it was: one stat for each path, 1 to 2 us, where that is enough."""
        if self._is_racy:
            return False
        changes = self._mounts.look()
        try:
            found = list(map(signature_of, map(os.stat, self._present)))
        except OSError:
            return False
        if found != list(self._present.values()) or any(map(os.path.exists, self._absent)):
            return False
        for path, signature in self._remote.items():
            if signature_at(path, self._mounts) != signature:
                return False
        if changes != self._mounts_changes:
            seen = (*self._present.items(), *self._remote.items())
            if self._mounts.may_be_exchanged(one_of_each_device(seen)):
                return False
            self._mounts_changes = changes
        return True


class Memo(Generic[K, V]):
    """Answers, each as long as all that it was made of is what it was. Those unused for longest go."""

    def __init__(self, max_entries: int, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._max_entries = max_entries
        self._wall_ns = wall_ns
        self._known: OrderedDict[K, tuple[V, Sightings]] = OrderedDict()

    def begin(self) -> Sightings:
        """To be asked for before anything is read for an answer."""
        return Sightings(self._wall_ns)

    def get(self, key: K) -> V | None:
        """The answer; None where there is none that holds."""
        known = self._known.get(key)
        if known is None:
            return None
        if not known[1].hold():
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return known[0]

    def put(self, key: K, answer: V, seen: Sightings) -> V:
        """Keep what was made of what was seen."""
        self._known[key] = (answer, seen)
        if len(self._known) > self._max_entries:
            self._known.popitem(last=False)
        return answer

    def answer(self, key: K, find: Callable[[Sightings], V]) -> V:
        """The answer that holds, or a new one. `find` tells the sightings all that it reads."""
        known = self.get(key)
        if known is not None:
            return known
        seen = self.begin()
        return self.put(key, find(seen), seen)
