"""Going through what a job writes, while it may change all of it: how many bytes each file and directory takes.

Owns the way down: no symlink is followed, and few directories are open at a time, however deep they lie. Must
not know what is too much.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

# Levels of directories that a job may write.
MAX_DEPTH = 100
# Of those on the way down, how many are open: a node may have 1024 descriptors for all its jobs.
_MAX_OPEN = 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STAT_BLOCK_BYTES = 512
# An entry that is gone, or no directory any more, since it was listed.
CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _Level:
    """A directory on the way down: open as `handle`, or shut (-1); `below` are those still to be entered."""

    __slots__ = ("below", "handle", "inode", "name")

    def __init__(self, name: bytes | str, above: int | None) -> None:
        self.name = name
        self.below: list[str] = []
        self.handle = os.open(name, _DIRECTORY, dir_fd=above)
        self.inode = _inode(self.handle)

    def shut(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def sizes(self) -> Iterator[int]:
        with os.scandir(self.handle) as entries:
            for entry in entries:
                try:
                    blocks = entry.stat(follow_symlinks=False).st_blocks
                    is_directory = entry.is_dir(follow_symlinks=False)
                except OSError as error:
                    if error.errno in CHANGED:
                        continue
                    raise
                if is_directory:
                    self.below.append(entry.name)
                yield blocks * _STAT_BLOCK_BYTES


def sizes_below(directory: bytes) -> Iterator[int]:
    """The bytes on disk of each file and directory below.

    Raises:
        OSError: a directory cannot be read, they are nested too deeply (ENAMETOOLONG), or one that was shut
            is elsewhere now (ESTALE).
    """
    way = [_Level(directory, None)]
    try:
        yield from way[0].sizes()
        while way:
            level = way[-1]
            if not level.below:
                way.pop().shut()
                continue
            if len(way) >= MAX_DEPTH:
                raise OSError(errno.ENAMETOOLONG, "they are nested too deeply")
            if level.handle < 0:
                _open_again(way)
            try:
                way.append(_Level(level.below.pop(), level.handle))
            except OSError as error:
                if error.errno in CHANGED:
                    continue
                raise
            if len(way) > 1 + _MAX_OPEN:
                way[-1 - _MAX_OPEN].shut()
            yield from way[-1].sizes()
    finally:
        for level in way:
            level.shut()


def _open_again(way: list[_Level]) -> None:
    """Open the last of them, by the names that lead to it from the first, which is never shut.

    Raises:
        OSError: it is not there any more.
    """
    level = way[-1]
    with contextlib.ExitStack() as opened:
        at = os.dup(way[0].handle)
        for each in way[1:]:
            opened.callback(os.close, at)
            at = os.open(each.name, _DIRECTORY, dir_fd=at)
    level.handle = at
    if _inode(at) != level.inode:
        raise OSError(errno.ESTALE, "it was moved while it was looked into")


def _inode(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
