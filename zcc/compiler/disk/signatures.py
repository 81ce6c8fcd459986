"""What tells one state of a file or directory from the next, and answers that hold as long as it stays.

Owns the one rule for that. Modification times alone tell nothing: `rsync -a`, tar and images set them back. The
time of change nobody can set where a kernel stamps it. In an image its maker has set it, and the next image at
the same place may give a file the times, inode and device that another had in the last: that images were
exchanged shows as an event alone (`mounts.py`), after which what lies in one is not believed. What has changed
only just may change again within the same tick of its clock, so an answer that was made of it is not kept.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Generic, TypeVar

from zcc.compiler.disk.mounts import MOUNTS, Mounts

K = TypeVar("K")
V = TypeVar("V")

# Empty for what is not there.
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


def signature_at(path: bytes) -> Signature:
    """Of what lies at the end of all symlinks."""
    try:
        return signature_of(os.stat(path))
    except OSError:
        return ()


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
        self._absent: set[bytes] = set()
        self._is_racy = False

    def see(self, path: bytes) -> None:
        """Depend on this path. Best before it is read: what is removed right after has no time to show it."""
        if path in self._present or path in self._absent:
            return
        signature = signature_at(path)
        if signature:
            self._present[path] = signature
            self._is_racy = self._is_racy or is_racy(signature, self._begun_ns)
        else:
            self._absent.add(path)

    def hold(self) -> bool:
        """Whether everything is what it was: one stat for each path, 1 to 2 us."""
        if self._is_racy:
            return False
        changes = self._mounts.look()
        try:
            found = list(map(signature_of, map(os.stat, self._present)))
        except OSError:
            return False
        if found != list(self._present.values()) or any(map(os.path.exists, self._absent)):
            return False
        if changes != self._mounts_changes:
            if self._mounts.may_be_exchanged(one_of_each_device(self._present.items())):
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
