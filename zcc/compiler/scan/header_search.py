"""Where the name of a header leads, by the rules of gcc and clang.

Owns the search along a compile's directories, and the trail that it leaves. Where the compilers differ, every
candidate is taken. Must not know what is done with what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import (
    Directory,
    DiskDoubtError,
    Entry,
    File,
    Special,
    Symlink,
    Trail,
)
from zcc.compiler.scan.closure import ScanRequest
from zcc.compiler.text.directives import Include
from zcc.reasons import Reason

_GCC_PCH = (b".gch",)
_CLANG_FORCED_PCH = (b".pch", b".gch")
_AT_ENDS = re.compile(rb"\A[^A-Za-z0-9]+|[^A-Za-z0-9]+\Z")
Hit = tuple[Directory, File]


class Finder:
    """The search of one scan. `ship_pch` is told of each precompiled header beside a text: directory and name.

    Raises:
        DiskDoubtError: the search list does not fit the disk, or as `Disk.walk`; so do the methods.
    """

    def __init__(
        self,
        disk: Disk,
        request: ScanRequest,
        trail: Trail,
        ship_pch: Callable[[Directory, bytes], None],
    ) -> None:
        self.trail = trail
        self._disk = disk
        self._ship_pch = ship_pch
        self._is_clang = request.is_clang
        self._skips_includer = request.search.skips_includer
        self._chained: dict[tuple[bool, bytes], Hit | None] = {}
        self._beside: dict[tuple[Directory, bytes], Hit | None] = {}
        self._descended: dict[tuple[Directory, bytes], Directory | None] = {}
        self._ready: set[Directory] = set()
        self._endings: tuple[bytes, ...] = () if request.is_clang else _GCC_PCH
        self.cwd = self._directory(disk.root, request.cwd)
        search = request.search
        self.angle = [self._directory(self.cwd, at) for at in search.angle]
        self.quote = [self._directory(self.cwd, at) for at in search.quote] + self.angle
        for at in search.duplicates:
            # The compiler goes by inodes, and a node's disk has one for each path: it would search here too.
            if self._directory(self.cwd, at) not in self.quote:
                raise DiskDoubtError(Reason.SHARED_INODE, at)
        for at in search.ignored:
            if disk.walk(self.cwd, at, self.trail) is not None:
                raise DiskDoubtError("search-list-is-old", at)

    def existing(self, paths: Iterable[bytes]) -> list[Directory]:
        """Those of these that are directories; they have to be shown."""
        found = [self._disk.walk(self.cwd, path, self.trail) for path in paths]
        entries = [self._as_directory(hit[1]) for hit in found if hit is not None]
        directories = [entry for entry in entries if entry is not None]
        self.trail.directories.update(directories)
        return directories

    def forced(self, name: bytes) -> Hit | None:
        """`-include` looks in the working directory first, then as `#include "name"` does."""
        endings = self._endings
        if self._is_clang:
            self._endings = _CLANG_FORCED_PCH
        hit = self._first_of([self.cwd, *self.quote], name)
        self._endings = endings
        return hit

    def hits(self, container: Directory, include: Include) -> Sequence[Hit]:
        """The files that this directive, in a file found in `container`, can mean."""
        name, is_quoted, is_next = include
        if is_next:
            # Where the search goes on depends on how the includer was found.
            return [*self.every([container, *self.quote], name)]
        hit = self._search(container, name, is_quoted)
        return () if hit is None else (hit,)

    def hits_amiss(self, container: Directory, include: Include) -> Sequence[Hit]:
        """What clang reads where there is no such header: it says so, and goes on with what may be meant.

        That is the name in quotes, then without what is no letter or digit at its ends
        (clang/lib/Lex/PPDirectives.cpp, LookupHeaderIncludeOrImport).
        """
        name, is_quoted, is_next = include
        if is_next or not self._is_clang:
            return ()
        hit = None if is_quoted else self._search(container, name, is_quoted=True)
        meant = _AT_ENDS.sub(b"", name)
        if hit is None and meant and meant != name:
            hit = self._search(container, meant, is_quoted)
        return () if hit is None else (hit,)

    def every(self, directories: Iterable[Directory], name: bytes) -> Iterator[Hit]:
        """What the name leads to from each of these."""
        for directory in dict.fromkeys(directories):
            hit = self._try(directory, name)
            if hit is not None:
                yield hit

    def take_pch(self, directory: Directory, base: bytes) -> None:
        """Ship the precompiled headers of this name, beside the text: the compiler judges which it takes.

        Where there is none, its coming is what the scan depends on: the text in its place would give
        another object, and nothing would show it.
        """
        names = self._disk.names(directory)
        self.trail.note_search(directory)
        if not directory.pch_names and not directory.is_partial:
            return
        for ending in self._endings:
            if base + ending in names or directory.is_partial:
                self._ship_pch(directory, base + ending)

    def _search(self, container: Directory, name: bytes, is_quoted: bool) -> Hit | None:
        if is_quoted and not self._skips_includer:
            key = (container, name)
            try:
                hit = self._beside[key]
            except KeyError:
                hit = self._beside[key] = self._try(container, name)
            if hit is not None:
                return hit
        chain = (is_quoted, name)
        try:
            return self._chained[chain]
        except KeyError:
            directories = self.quote if is_quoted else self.angle
            hit = self._chained[chain] = self._first_of(directories, name)
            return hit

    def _first_of(self, directories: Iterable[Directory], name: bytes) -> Hit | None:
        for directory in directories:
            hit = self._try(directory, name)
            if hit is not None:
                return hit
        return None

    def _try(self, directory: Directory, name: bytes) -> Hit | None:
        """The file that `name` is when looked up from this directory."""
        if b"/" in name:
            below, _, name = name.rpartition(b"/")
            descended = self._descend(directory, below or b"/")
            if descended is None or not name:
                return None
            directory = descended
        if directory not in self._ready:
            self._disk.names(directory)
            self.trail.note_search(directory)
            self._ready.add(directory)
        if directory.pch_names or directory.is_partial:
            self.take_pch(directory, name)
        if name not in directory.names and not directory.is_partial:
            self.trail.misses[directory].add(name)
            return None
        entry = self._disk.child(directory, name)
        if type(entry) is File:
            return directory, entry
        return self._look_closer(directory, name, entry)

    def _look_closer(self, directory: Directory, name: bytes, entry: Entry | None) -> Hit | None:
        if entry is None:
            self.trail.misses[directory].add(name)
            return None
        if isinstance(entry, Symlink):
            found = self._disk.walk(directory, name, self.trail)
            if found is None:
                return None
            entry = found[1]
        if isinstance(entry, Special):
            raise DiskDoubtError(Reason.SPECIAL_FILE, entry.path)
        if isinstance(entry, Directory):
            self.trail.directories.add(entry)  # both compilers pass over it and search on
            return None
        assert isinstance(entry, File)
        return directory, entry

    def _descend(self, directory: Directory, below: bytes) -> Directory | None:
        key = (directory, below)
        if key not in self._descended:
            if not below.startswith(b"/"):
                self._disk.names(directory)  # so that what is not there costs no call
            found = self._disk.walk(directory, below, self.trail)
            self._descended[key] = None if found is None else self._as_directory(found[1])
        return self._descended[key]

    def _as_directory(self, entry: Entry) -> Directory | None:
        if isinstance(entry, Directory):
            return entry
        self.trail.obstacles.add(entry)
        return None

    def _directory(self, start: Directory, path: bytes) -> Directory:
        found = self._disk.walk(start, path, self.trail)
        if found is None or not isinstance(found[1], Directory):
            raise DiskDoubtError("no-directory", path)
        self.trail.directories.add(found[1])
        return found[1]
