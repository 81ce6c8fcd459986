"""What one compile can read, and how that becomes a job's manifest.

Owns the scanner's input and its three answers, the building of manifests from disk entries, and the
choice of a project's root. Must not know how the inputs were found.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from cache.blobs import PLAIN_MTIME_S
from cache.digest import Digest
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, DiskDoubtError, File, Symlink
from zcc.compiler.scan.search_list import SearchList
from zcc.compiler.text.hazards import Hazard
from zcc.compiler.text.lexing import Lexis
from zcc.job import FileInput, Manifest
from zcc.reasons import Reason

# What stands at the top of a checked-out tree, in the order of how common it is.
_PROJECT_MARKS = (
    b".git",
    b".hg",
    b".svn",
    b".jj",
    b".bzr",
    b"_darcs",
    b".pijul",
    b".fslckout",
    b"_FOSSIL_",
    b".repo",
    b"CVS",
)


class Forced(Enum):
    INCLUDE = "include"
    MACROS = "imacros"


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """One compile, as far as its inputs go. Paths are as spelled, relative ones to `cwd`.

    `language` is the compiler's name for it (`c`, `c++`, `assembler`, `assembler-with-cpp`, ...). `defines`
    are the operands of `-D`. `extra_inputs` have to exist; `optional_inputs` are shipped where they do, and
    their absence is part of the answer where they do not; so are `mentioned`, which only other files name,
    below the roots. `precompiled` are the operands of `-include-pch`. `directories` (of outputs, PWD) are
    shown where they exist, `listed` as well, whose entries the compiler goes through. `tells_precompiled`:
    gcc's messages name the precompiled headers that it tries. `names_offloaded`: what OpenMP moves out of a
    function is named after its file's device and inode. `has_modules`: what
    provides or imports a module would write or read more, as it would where the file `module_mapper` names any.
    `roots` are the directories below which any file may
    be shipped; the search directories count as well, and so does every file that the command line names
    itself. `loose` is the source's directory where no checkout tells the project's extent: then what it shares
    with a search directory or the cwd is one of the roots.
    """

    cwd: bytes
    source: bytes
    language: str
    search: SearchList
    roots: tuple[bytes, ...]
    loose: bytes = b""
    forced: tuple[tuple[Forced, bytes], ...] = ()
    defines: tuple[bytes, ...] = ()
    extra_inputs: tuple[bytes, ...] = ()
    optional_inputs: tuple[bytes, ...] = ()
    mentioned: tuple[bytes, ...] = ()
    precompiled: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()
    listed: tuple[bytes, ...] = ()
    assembler_directories: tuple[bytes, ...] = ()
    assembler_sources: tuple[bytes, ...] = ()
    embed_directories: tuple[bytes, ...] = ()
    tells_precompiled: bool = False
    is_clang: bool = False
    has_source_date_epoch: bool = False
    names_offloaded: bool = False
    has_modules: bool = False
    module_mapper: bytes | None = None
    lexis: Lexis = Lexis.OLD


@dataclass(frozen=True, slots=True)
class NotBounded:
    """The scanner cannot tell what is read: ask the compiler (the listed way)."""

    reason: Reason
    detail: bytes = b""


@dataclass(frozen=True, slots=True)
class NotScannable:
    """What is read cannot be shown to a node: compile here."""

    reason: Reason
    detail: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """A superset of what the compile reads of this disk.

    The same object is given out again as long as nothing in it has changed, so whatever is derived from
    the manifest can be remembered by identity. `misses` are the names that were looked for in vain, by
    physical directory: as long as a scan gives this closure they are absent. `doubts` are hazards that only
    the proof can settle. `listed` are directories of which the manifest holds everything. `unread` are files of
    the manifest that were not followed as a header is. `withheld` were found where a file is only asked about
    or pointed at, and are not in the manifest: the roots do not cover them, or they are no files.

    Invariant: when a name in `misses` appears, the next scan of the same request gives another manifest, or the
    name is among its `withheld`, or it gives no closure; but for a file where only a directory was looked for,
    below which all is missing as before. A result that is kept without the misses that a scan knows
    (`lookups.residue`) therefore holds only for a closure with the same manifest and nothing withheld.
    """

    manifest: Manifest
    size_bytes: int
    misses: Mapping[bytes, tuple[bytes, ...]]
    doubts: frozenset[Hazard] = field(default=frozenset())
    listed: tuple[bytes, ...] = ()
    unread: frozenset[bytes] = frozenset()
    withheld: tuple[bytes, ...] = ()

    @property
    def file_count(self) -> int:
        return len(self.manifest.files)


_path_of = attrgetter("path")


def build_manifest(
    disk: Disk,
    files: Iterable[File],
    symlinks: Iterable[Symlink],
    directories: Iterable[Directory],
    has_times: bool = False,
) -> Manifest:
    """The manifest that shows these entries; all must have been checked for the request at hand.

    `has_times`: with the files' own times of modification, and not only which of them are equal.

    Raises:
        DiskDoubtError: a time that cannot be shown, or an inode with two contents.
    """
    ordered = sorted(files, key=_path_of)
    number = _with_times if has_times else _with_twins
    implied = ancestors([*(file.parent for file in ordered), *(link.parent for link in symlinks)])
    wanted = set(directories) - implied
    wanted -= ancestors(directory.parent for directory in wanted)
    hard_links = _hard_links(disk, ordered)
    if hard_links:
        linked = {path for path, _ in hard_links}
        ordered = [file for file in ordered if file.path not in linked]
    return Manifest(
        files=tuple(number(ordered, [disk.input(file) for file in ordered])),
        symlinks=tuple(sorted({(link.path, link.target) for link in symlinks})),
        directories=tuple(sorted(directory.path for directory in wanted)),
        hard_links=hard_links,
    )


def ancestors(directories: Iterable[Directory | None]) -> set[Directory]:
    """These directories and all above them."""
    found: set[Directory] = set()
    for directory in directories:
        while directory is not None and directory not in found:
            found.add(directory)
            directory = directory.parent
    return found


def _with_twins(files: list[File], inputs: list[FileInput]) -> list[FileInput]:
    """Number the times of files with equal content, in the order in which they come.

    Whole seconds, as gcc compares them: times that are equal for it must be equal on the node too.
    """
    if len({each.digest for each in inputs}) == len(inputs):
        return inputs
    times: defaultdict[Digest, dict[int, int]] = defaultdict(dict)
    numbered = []
    for file, each in zip(files, inputs, strict=True):
        seen = times[each.digest]
        twin = seen.setdefault(file.time_s, len(seen))
        numbered.append(FileInput(each.path, each.digest, twin) if twin else each)
    return numbered


def _with_times(files: list[File], inputs: list[FileInput]) -> list[FileInput]:
    """Number the files by their times: a node sets a file's to so many seconds after PLAIN_MTIME_S."""
    for file in files:
        if file.time_s < PLAIN_MTIME_S:
            raise DiskDoubtError("old-time", file.path)
    return [
        FileInput(each.path, each.digest, file.time_s - PLAIN_MTIME_S)
        for file, each in zip(files, inputs, strict=True)
    ]


def _hard_links(disk: Disk, files: list[File]) -> tuple[tuple[bytes, bytes], ...]:
    """Names for one file, by link or by mount: clang reads it once under `#pragma once`.

    A file system that passes on the inodes of several devices as if they were one's (bindfs, 9p, CIFS) has
    other files under one number. Of those clang reads one for both, which a node's disk cannot show.
    """
    if len({file.identity for file in files}) == len(files):
        return ()
    first: dict[tuple[int, ...], File] = {}
    links = []
    for file in files:
        same_as = first.setdefault(file.identity, file)
        if same_as is not file:
            if disk.input(file).digest != disk.input(same_as).digest:
                raise DiskDoubtError(Reason.SHARED_INODE, file.path)
            links.append((file.path, same_as.path))
    return tuple(links)


# An agent's own HOME may be one that a package's build has made up.
_SOMEBODYS_HOME = re.compile(rb"(?:/[^/]+)?/(?:homes?|[Uu]sers)/[^/]+")
# Where packages lie, with nothing of anybody's own; directories of headers are full of links into it: Debian's
# asm/ lies in /usr/lib/linux/uapi, and all of Nix's and Guix's in their stores.
SYSTEM_ROOTS = (
    b"/usr/include", b"/usr/lib", b"/usr/share", b"/usr/src", b"/nix/store", b"/gnu/store",
)  # fmt: skip


def project_root(
    directory: bytes, home: bytes, exists: Callable[[bytes], bool] = os.path.lexists
) -> bytes:
    """The top of the project that this absolute directory belongs to, or the directory itself.

    Never `home`, nor anything above it, whatever lies there: a dotfile repository must not open a whole home
    directory. Where `directory` itself is such a place the answer is all the same `directory`; the
    scanner then does not count it as a root.
    """
    at = directory
    while not is_too_wide(at, home):
        if any(exists(at + b"/" + mark) for mark in _PROJECT_MARKS):
            return at
        at = at.rpartition(b"/")[0] or b"/"
    return directory


def is_too_wide(directory: bytes, home: bytes) -> bool:
    """Whether this physical directory is `home` or above it: too much to be anybody's project."""
    return directory in (b"/", home) or home.startswith(directory + b"/")


def is_project(directory: bytes, home: bytes) -> bool:
    """Whether this physical directory, which holds a source and what it is compiled with, is so far down that
    it can be one project: not /tmp or /usr, not too wide, and nobody else's home."""
    is_deep = directory.count(b"/") > 1 and not _SOMEBODYS_HOME.fullmatch(directory)
    return is_deep and not is_too_wide(directory, home)
