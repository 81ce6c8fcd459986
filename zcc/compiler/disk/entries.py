"""What the disk holds, as remembered: files, directories, symlinks and the rest.

Owns the entries and what a walk leaves behind. Must not touch the disk: `disk.py` fills them in.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict

from zcc.compiler.disk.signatures import Signature
from zcc.compiler.text.directives import FileFacts
from zcc.errors import CompilerError
from zcc.job import FileInput

NEVER = float("-inf")
NO_NAMES: frozenset[bytes] = frozenset()


class DiskDoubtError(CompilerError):
    """Something on the disk cannot be described to a node: do not scan around it."""

    def __init__(self, doubt: str, path: bytes) -> None:
        super().__init__(f"{doubt}: {os.fsdecode(path)}")
        self.doubt = doubt
        self.path = path


class Entry:
    """One name on the disk.

    `version` moves when what it means to a job has changed. What is `racy` may have changed though its status
    is the same.
    """

    __slots__ = ("checked_at", "name", "parent", "path", "racy", "signature", "version")

    def __init__(self, path: bytes, name: bytes, parent: Directory | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.signature: Signature = ()
        self.checked_at = NEVER
        self.racy = False
        self.version = 0


class File(Entry):
    """A regular file at its physical path. `input` is None until it has been read.

    Of one that is racy and `shows_when_opened` the status tells all when it is open.
    """

    __slots__ = (
        "conditions", "definitions", "facts", "input", "links", "shows_when_opened", "size_bytes", "time_s",
    )  # fmt: skip

    def __init__(self, path: bytes, name: bytes, parent: Directory | None) -> None:
        super().__init__(path, name, parent)
        self.input: FileInput | None = None
        self.facts: FileFacts | None = None
        self.definitions: dict[bytes, tuple[bytes, ...]] | None = None
        self.conditions: tuple[bytes, ...] | None = None
        self.shows_when_opened = False
        self.links = 1
        self.size_bytes = 0
        # Whole seconds: that is what gcc compares for `#pragma once`.
        self.time_s = 0

    @property
    def identity(self) -> Signature:
        """(inode, device)"""
        return self.signature[3:]


class Directory(Entry):
    """A physical directory. `names` is its listing, if one was needed and could be had.

    One that `is_partial` may have other names too: each has to be looked for. One that `is_unlistable` has no
    listing at all.
    """

    __slots__ = (
        "children", "is_partial", "is_unlistable", "listing", "names", "needs_listing", "pch_names",
    )  # fmt: skip

    def __init__(self, path: bytes, name: bytes, parent: Directory | None) -> None:
        super().__init__(path, name, parent)
        self.children: dict[bytes, Entry] = {}
        self.names: frozenset[bytes] = NO_NAMES
        self.pch_names: frozenset[bytes] = NO_NAMES
        self.listing = 0  # moves when `names` has changed
        self.needs_listing = True
        self.is_partial = self.is_unlistable = False


class Symlink(Entry):
    __slots__ = ("target",)

    def __init__(self, path: bytes, name: bytes, parent: Directory | None) -> None:
        super().__init__(path, name, parent)
        self.target = b""


class Special(Entry):
    """A FIFO, a socket or a device."""

    __slots__ = ()


class Trail:
    """What walks have crossed: all that their outcome depends on, besides what they found."""

    __slots__ = ("directories", "misses", "obstacles", "symlinks")

    def __init__(self) -> None:
        self.symlinks: set[Symlink] = set()
        # Directories that were entered and left again, or found where a file was looked for.
        self.directories: set[Directory] = set()
        self.misses: defaultdict[Directory, set[bytes]] = defaultdict(set)
        # Files that stood where a directory was looked for.
        self.obstacles: set[Entry] = set()

    def note_search(self, directory: Directory) -> None:
        """Depend on the directory's precompiled headers, though nothing be missed in it."""
        self.misses[directory].update(())


_KINDS: dict[int, type[Entry]] = {
    stat.S_IFREG: File,
    stat.S_IFDIR: Directory,
    stat.S_IFLNK: Symlink,
}


def kind_of(mode: int) -> type[Entry]:
    return _KINDS.get(stat.S_IFMT(mode), Special)
