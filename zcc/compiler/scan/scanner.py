"""Finds what a compile can read, by following directives.

Owns the resolution of header names as gcc and clang do it, and the memory of finished scans. A scan of a
compile that was scanned before is a check of what it depended on and nothing else. Must not know jobs,
sockets or processes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from zcc.bounded import Bounded
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import DiskDoubtError, Entry
from zcc.compiler.disk.validity import Absence, Completeness, Grounds
from zcc.compiler.scan.closure import (
    Closure,
    NotBounded,
    NotScannable,
    ScanRequest,
    ancestors,
    build_manifest,
)
from zcc.compiler.scan.include_walk import Inclusion, StopScanError
from zcc.job import MAX_INPUTS
from zcc.reasons import Reason

# What all remembered scans may take.
MAX_REMEMBERED_BYTES = 128 << 20
# Of a scan, with what the closure holds: measured, 27 KB for 325 inputs and 200 names that were missed.
_REFERENCE_BYTES = 11
_SCAN_BYTES = 1500
# Names that were missed are the same few in most scans; so many are kept once.
_MAX_SHARED_NAMES = 200_000

T = TypeVar("T")
Answer = Closure | NotBounded | NotScannable
Steps = Generator[None, float | None, Answer]


@dataclass(frozen=True, slots=True)
class _Upset:
    """What a scan has found so far is void, by what others had seen at that time."""

    seen_at: float


def finished(steps: Generator[None, float | None, T]) -> T:
    """What these steps come to, if nobody does anything in between."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(T, end.value)


def bounded(answer: Answer) -> Closure | NotScannable:
    """The answer to a listing, after which nobody is left to ask."""
    return NotScannable(answer.reason, answer.detail) if isinstance(answer, NotBounded) else answer


class Scanner:
    """Scans compiles on one disk. `home` is the user's home directory, which is never a root."""

    def __init__(self, disk: Disk, home: bytes, limit_bytes: int = MAX_REMEMBERED_BYTES) -> None:
        self._disk = disk
        self._home = os.path.realpath(home)
        self.known: Bounded[ScanRequest, tuple[Closure, Grounds]] = Bounded(limit_bytes, _bytes_of)
        self._names: dict[bytes, bytes] = {}

    def scan(self, request: ScanRequest, now: float, arrived: float | None = None) -> Answer:
        """What this compile can read, in one go. `now` and `arrived` as for `Disk.begin`."""
        return self.recall(request, now, arrived) or finished(self.steps(request, now, arrived))

    def closure_from_listing(
        self, request: ScanRequest, paths: Sequence[bytes], now: float, arrived: float | None = None
    ) -> Closure | NotScannable:
        """The closure of exactly what the compiler says that it reads (`-M`, see commandline/make_rule.py).

        What makes a compile local makes it local here too. Nothing is remembered: what is listed depends on
        the compiler's own run.
        """
        return bounded(finished(self.steps(request, now, arrived, paths)))

    def recall(
        self, request: ScanRequest, now: float, arrived: float | None = None
    ) -> Closure | None:
        """What an earlier scan found, if it still stands."""
        disk = self._disk
        disk.begin(now, arrived)
        known = self.known.get(request)
        try:
            if known is not None and known[1].hold(disk):
                return known[0]
        except DiskDoubtError:
            pass  # a scan will say what it is, if it is still there
        self.known.pop(request)
        return None

    def steps(
        self,
        request: ScanRequest,
        now: float,
        arrived: float | None = None,
        listed: Sequence[bytes] | None = None,
    ) -> Steps:
        """A scan in steps of a file or an operand, or the taking of what is `listed`.

        Between two of them others may use the disk. Who let them sends the time at which the scan goes on;
        who did not, nothing. Where they found something changed that was known already, what has been followed
        may not be what will be shipped: the scan begins anew, and yields no more.
        """
        arrived = now if arrived is None else arrived
        answer = yield from self._scan(request, listed, now, arrived)
        while isinstance(answer, _Upset):
            answer = finished(self._scan(request, listed, answer.seen_at, answer.seen_at))
        return answer

    def _scan(
        self, request: ScanRequest, listed: Sequence[bytes] | None, now: float, arrived: float
    ) -> Generator[None, float | None, Answer | _Upset]:
        disk = self._disk
        disk.begin(now, arrived)
        left_until: float | None = None
        try:
            inclusion = Inclusion(disk, request, self._home)
            for _ in inclusion.follow() if listed is None else inclusion.take(listed):
                upsets = disk.upsets
                resumed = yield
                if resumed is not None:
                    left_until = resumed
                    disk.begin(resumed, arrived)
                    if disk.upsets != upsets:
                        return _Upset(resumed)
            closure, grounds = self._closure(inclusion, now)
        except StopScanError as stop:
            return stop.answer
        except DiskDoubtError as doubt:
            if left_until is not None:
                return _Upset(left_until)
            if doubt.doubt == Reason.SPECIAL_FILE:
                # Whoever reads a pipe takes what is in it: the compiler itself has to be the first.
                return NotScannable(Reason.SPECIAL_FILE, doubt.path)
            if doubt.doubt == Reason.SHARED_INODE:
                # Of such files clang's own list may name one alone.
                return NotScannable(Reason.SHARED_INODE, doubt.path)
            return NotBounded(Reason.DISK, doubt.doubt.encode() + b" " + doubt.path)
        if listed is None:
            self.known.put(request, (closure, grounds))
        return closure

    def _closure(self, inclusion: Inclusion, begun: float) -> tuple[Closure, Grounds]:
        disk, trail = self._disk, inclusion.trail
        misses = tuple(Absence(disk, at, self._shared(names)) for at, names in trail.misses.items())
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
            raise StopScanError(NotScannable(Reason.TOO_LARGE))
        # What is shipped on another account is shown, wherever it lies.
        withheld = [entry for entry in inclusion.withheld if entry not in inclusion.files]
        closure = Closure(
            manifest=manifest,
            size_bytes=sum(file.size_bytes for file in inclusion.files),
            misses={miss.directory.path: miss.names for miss in misses if miss.names},
            doubts=frozenset(inclusion.doubts),
            listed=tuple(sorted(each.directory.path for each in complete)),
            unread=inclusion.unread,
            withheld=tuple(sorted(entry.path for entry in withheld)),
        )
        leaves: list[Entry] = [*inclusion.files, *withheld, *trail.symlinks, *trail.obstacles]
        directories = ancestors(
            [*(leaf.parent for leaf in leaves), *trail.directories, *trail.misses]
        )
        entries = (*leaves, *directories)
        return closure, Grounds(disk, entries, (*misses, *complete), begun)

    def _shared(self, names: Iterable[bytes]) -> list[bytes]:
        """The same names, each of them one object for all scans."""
        known = self._names
        if len(known) > _MAX_SHARED_NAMES:
            known.clear()
        return [known.setdefault(name, name) for name in names]


def _bytes_of(request: ScanRequest, scan: tuple[Closure, Grounds]) -> int:
    return _SCAN_BYTES + _REFERENCE_BYTES * scan[1].references
