"""How the kernel walks a path, one component at a time, with every symlink on the way written down.

Owns the only correct way to turn a spelled path into a physical one; `normpath` is wrong for
`symlink/..`, and `realpath` forgets the symlinks that must be recreated elsewhere. Must not know what
the paths are for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

# The kernel gives up (ELOOP) beyond this many symlinks in one walk: MAXSYMLINKS in namei.h. Here it
# bounds only links that lead to links: a path across 41 separate ones is not worth the counting.
MAX_SYMLINKS = 40


@dataclass(frozen=True, slots=True)
class Walked:
    """Where a path leads.

    `physical` has no symlink, `.` or `..` in it; None when the path leads nowhere. `symlinks` are
    those on the way, each once, in the order met: (physical path of the link, its literal target).
    `missing` is the first path that is not there (below an existing physical directory, or below a
    file that was taken for a directory, or a symlink that loops); None when `physical` is set.
    """

    physical: bytes | None
    symlinks: tuple[tuple[bytes, bytes], ...] = ()
    missing: bytes | None = None


_ROOT = Walked(b"/")


class PathWalker:
    """Walks paths; remembers directories until told to forget.

    The last component of a path is looked up anew each time, so that a file that comes or goes is
    noticed; the directories on the way are not.
    """

    def __init__(
        self,
        lstat: Callable[[bytes], os.stat_result] = os.lstat,
        readlink: Callable[[bytes], bytes] = os.readlink,
    ) -> None:
        self._lstat = lstat
        self._readlink = readlink
        self._directories: dict[bytes, Walked] = {}

    def walk(self, path: bytes, cwd: bytes = b"/") -> Walked:
        """Where `path` leads from the absolute directory `cwd`, its last symlink followed."""
        if not path:
            return Walked(None, (), b"")  # the kernel says ENOENT
        if not path.startswith(b"/"):
            path = cwd + b"/" + path
        return self._walk(path, MAX_SYMLINKS)

    def forget(self) -> None:
        """Trust nothing that was remembered."""
        self._directories.clear()

    def _walk(self, path: bytes, budget: int) -> Walked:
        head, _, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return self._directory(path, budget)
        above = self._directory(head, budget)
        return above if above.physical is None else self._step(above, name, budget)

    def _directory(self, path: bytes, budget: int) -> Walked:
        """Where `path` leads, which has to be a directory (the empty path is the root)."""
        known = self._directories.get(path)
        if known is not None:
            return known
        head, _, name = path.rpartition(b"/")
        if not path:
            found = _ROOT
        elif name in (b"", b"."):
            found = self._directory(head, budget)
        elif name == b"..":
            found = _parent(self._directory(head, budget))
        else:
            found = self._directory(head, budget)
            if found.physical is not None:
                found = self._require_directory(self._step(found, name, budget))
        self._directories[path] = found
        return found

    def _step(self, above: Walked, name: bytes, budget: int) -> Walked:
        """From an existing directory to one name in it."""
        assert above.physical is not None
        path = b"/" + name if above.physical == b"/" else above.physical + b"/" + name
        try:
            if not stat.S_ISLNK(self._lstat(path).st_mode):
                return Walked(path, above.symlinks)
            target = self._readlink(path)
        except OSError:
            return Walked(None, above.symlinks, path)
        met = _joined(above.symlinks, ((path, target),))
        if not target or budget == 0:
            return Walked(None, met, path)
        if not target.startswith(b"/"):
            target = above.physical + b"/" + target
        onward = self._walk(target, budget - 1)
        return Walked(onward.physical, _joined(met, onward.symlinks), onward.missing)

    def _require_directory(self, found: Walked) -> Walked:
        if found.physical is None:
            return found
        try:
            if stat.S_ISDIR(self._lstat(found.physical).st_mode):
                return found
        except OSError:
            return Walked(None, found.symlinks, found.physical)
        return Walked(None, found.symlinks, found.physical + b"/.")


def _parent(found: Walked) -> Walked:
    if found.physical is None:
        return found
    return Walked(found.physical.rpartition(b"/")[0] or b"/", found.symlinks)


def _joined(
    first: tuple[tuple[bytes, bytes], ...], then: tuple[tuple[bytes, bytes], ...]
) -> tuple[tuple[bytes, bytes], ...]:
    if not then:
        return first
    return first + tuple(link for link in then if link not in first)
