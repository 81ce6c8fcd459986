"""Finds what a compile can read, by following directives.

Owns the resolution of header names as gcc and clang do it, and the memory of finished scans. A scan of a
compile that was scanned before is a check of what it depended on and nothing else. Must not know jobs,
sockets or processes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from operator import attrgetter

from zcc.compiler.closure import (
    Closure,
    Local,
    NotBounded,
    Reason,
    ScanRequest,
    ancestors,
    build_manifest,
)
from zcc.compiler.disk import Disk
from zcc.compiler.entries import Directory, DiskDoubtError, Entry
from zcc.compiler.inclusion import Inclusion, StopScanError
from zcc.job import MAX_INPUTS

# What all remembered scans may refer to, in entries and names of 8 bytes each: 128 MiB.
MAX_REMEMBERED_REFERENCES = 16 << 20

_version_of = attrgetter("version")

Answer = Closure | NotBounded | Local


class _Miss:
    """Names that have to stay absent from one directory."""

    __slots__ = ("directory", "listing", "names", "pch_names")

    def __init__(self, disk: Disk, directory: Directory, names: Iterable[bytes]) -> None:
        self.directory = directory
        self.names = tuple(names)
        disk.names(directory)
        self.listing = directory.listing
        self.pch_names = directory.pch_names

    def holds(self, disk: Disk) -> bool:
        """Whether all are absent still, and no precompiled header has come or gone."""
        directory = self.directory
        disk.names(directory)
        if directory.listing == self.listing and not directory.is_unlistable:
            return True
        if directory.pch_names != self.pch_names or disk.has_any(directory, self.names) is not None:
            return False
        self.listing = directory.listing
        return True


class _Scanned:
    """A finished scan with all that it depended on."""

    __slots__ = ("answer", "changes", "checked_at", "entries", "misses", "references", "versions")

    def __init__(
        self, disk: Disk, answer: Answer, entries: tuple[Entry, ...], misses: tuple[_Miss, ...]
    ) -> None:
        self.answer = answer
        self.entries = entries
        self.versions = list(map(_version_of, entries))
        self.misses = misses
        self.changes = disk.changes
        self.checked_at = disk.now
        self.references = 4 * len(entries) + sum(16 + len(miss.names) for miss in misses)

    def holds(self, disk: Disk) -> bool:
        """Whether a scan for the request that the disk works on would give the same answer."""
        if self.checked_at >= disk.arrived:
            return True
        disk.check(self.entries)
        if self.changes != disk.changes and list(map(_version_of, self.entries)) != self.versions:
            return False
        changes = disk.changes
        if not all(miss.holds(disk) for miss in self.misses):
            return False
        self.changes = changes
        self.checked_at = disk.now
        return True


class Scanner:
    """Scans compiles on one disk. `home` is the user's home directory, which is never a root."""

    def __init__(self, disk: Disk, home: bytes) -> None:
        self._disk = disk
        self._home = os.path.realpath(home)
        self._known: OrderedDict[ScanRequest, _Scanned] = OrderedDict()
        self._references = 0

    def scan(self, request: ScanRequest, now: float, arrived: float | None = None) -> Answer:
        """What this compile can read. `now` and `arrived` as for `Disk.begin`."""
        disk = self._disk
        disk.begin(now, arrived)
        known = self._known.get(request)
        try:
            if known is not None and known.holds(disk):
                self._known.move_to_end(request)
                return known.answer
        except DiskDoubtError:
            pass  # the scan below will say what it is, if it is still there
        if known is not None:
            self._forget(request)
        return self._scan(request, None)

    def closure_from_listing(
        self, request: ScanRequest, paths: Sequence[bytes], now: float, arrived: float | None = None
    ) -> Closure | Local:
        """The closure of exactly what the compiler says that it reads (`-M`, see listing.py).

        What makes a compile local makes it local here too. Nothing is remembered: what is listed depends on
        the compiler's own run.
        """
        self._disk.begin(now, arrived)
        answer = self._scan(request, paths)
        if isinstance(answer, NotBounded):
            return Local(answer.reason, answer.detail)
        return answer

    def _scan(self, request: ScanRequest, listed: Sequence[bytes] | None) -> Answer:
        disk = self._disk
        answer: Answer
        try:
            inclusion = Inclusion(disk, request, self._home)
            if listed is None:
                inclusion.follow()
            else:
                inclusion.take(listed)
            answer, scanned = self._closure(inclusion)
        except StopScanError as stop:
            return stop.answer
        except DiskDoubtError as doubt:
            return NotBounded(Reason.DISK, doubt.doubt.encode() + b" " + doubt.path)
        if listed is None:
            self._remember(request, scanned)
        return answer

    def _closure(self, inclusion: Inclusion) -> tuple[Closure, _Scanned]:
        disk, trail = self._disk, inclusion.trail
        misses = tuple(_Miss(disk, at, names) for at, names in trail.misses.items())
        for miss in misses:
            # Listing came after looking; what has appeared in between would go unnoticed.
            if disk.has_any(miss.directory, miss.names) is not None:
                raise DiskDoubtError("changing", miss.directory.path)
        # A directory in which a name is missing is itself there, and has to be on the node:
        # clang asks for each one on the way to a search directory that is missing.
        shown = trail.directories.union(trail.misses)
        manifest = build_manifest(
            disk, inclusion.files, trail.symlinks, shown, inclusion.needs_times
        )
        if len(manifest.files) + len(manifest.symlinks) + len(manifest.directories) > MAX_INPUTS:
            raise StopScanError(Local(Reason.TOO_LARGE))
        closure = Closure(
            manifest=manifest,
            size_bytes=sum(file.size_bytes for file in inclusion.files),
            misses={miss.directory.path: miss.names for miss in misses if miss.names},
            doubts=frozenset(inclusion.doubts),
        )
        leaves: list[Entry] = [*inclusion.files, *trail.symlinks, *trail.obstacles]
        directories = ancestors(
            [*(leaf.parent for leaf in leaves), *trail.directories, *trail.misses]
        )
        entries = (*leaves, *directories)
        return closure, _Scanned(disk, closure, entries, misses)

    def _remember(self, request: ScanRequest, scanned: _Scanned) -> None:
        self._known[request] = scanned
        self._references += scanned.references
        while self._references > MAX_REMEMBERED_REFERENCES and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, request: ScanRequest) -> None:
        self._references -= self._known.pop(request).references
