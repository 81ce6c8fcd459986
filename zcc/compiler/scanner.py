"""Finds what a compile can read, by following directives.

Owns the resolution of header names as gcc and clang do it, and the memory of finished scans. A scan of a
compile that was scanned before is a check of what it depended on and nothing else. Must not know jobs,
sockets or processes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

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
from zcc.compiler.entries import DiskDoubtError, Entry
from zcc.compiler.inclusion import Inclusion, StopScanError
from zcc.compiler.standing import Absence, Completeness, Grounds
from zcc.job import MAX_INPUTS

# What all remembered scans may refer to, in entries and names of 8 bytes each: 128 MiB.
MAX_REMEMBERED_REFERENCES = 16 << 20

Answer = Closure | NotBounded | Local


class Scanner:
    """Scans compiles on one disk. `home` is the user's home directory, which is never a root."""

    def __init__(self, disk: Disk, home: bytes) -> None:
        self._disk = disk
        self._home = os.path.realpath(home)
        self._known: OrderedDict[ScanRequest, tuple[Closure, Grounds]] = OrderedDict()
        self._references = 0

    def scan(self, request: ScanRequest, now: float, arrived: float | None = None) -> Answer:
        """What this compile can read. `now` and `arrived` as for `Disk.begin`."""
        disk = self._disk
        disk.begin(now, arrived)
        known = self._known.get(request)
        try:
            if known is not None and known[1].hold(disk):
                self._known.move_to_end(request)
                return known[0]
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
            answer, grounds = self._closure(inclusion)
        except StopScanError as stop:
            return stop.answer
        except DiskDoubtError as doubt:
            return NotBounded(Reason.DISK, doubt.doubt.encode() + b" " + doubt.path)
        if listed is None:
            self._remember(request, answer, grounds)
        return answer

    def _closure(self, inclusion: Inclusion) -> tuple[Closure, Grounds]:
        disk, trail = self._disk, inclusion.trail
        misses = tuple(Absence(disk, at, names) for at, names in trail.misses.items())
        for miss in misses:
            # Listing came after looking; what has appeared in between would go unnoticed.
            if disk.has_any(miss.directory, miss.names) is not None:
                raise DiskDoubtError("changing", miss.directory.path)
        complete = [Completeness(disk, at, names) for at, names in inclusion.listed.items()]
        if not all(each.holds(disk) for each in complete):
            raise DiskDoubtError("changing", complete[0].directory.path)
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
            listed=tuple(sorted(each.directory.path for each in complete)),
        )
        leaves: list[Entry] = [*inclusion.files, *trail.symlinks, *trail.obstacles]
        directories = ancestors(
            [*(leaf.parent for leaf in leaves), *trail.directories, *trail.misses]
        )
        entries = (*leaves, *directories)
        return closure, Grounds(disk, entries, (*misses, *complete))

    def _remember(self, request: ScanRequest, closure: Closure, grounds: Grounds) -> None:
        self._known[request] = closure, grounds
        self._references += grounds.references
        while self._references > MAX_REMEMBERED_REFERENCES and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, request: ScanRequest) -> None:
        self._references -= self._known.pop(request)[1].references
