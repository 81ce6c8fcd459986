"""What an answer about the disk depended on, and whether that still stands.

Owns the cheap second look: entries that are what they were, names that are absent still. Must not know what
the answer was.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, Entry

_version_of = attrgetter("version")


class Absence:
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
        if directory.listing == self.listing and not directory.is_partial:
            return True
        if directory.pch_names != self.pch_names or disk.has_any(directory, self.names) is not None:
            return False
        self.listing = directory.listing
        return True


class Completeness(Absence):
    """A directory that has to hold what it held, and nothing else."""

    __slots__ = ("complete",)

    def __init__(self, disk: Disk, directory: Directory, complete: frozenset[bytes]) -> None:
        super().__init__(disk, directory, ())
        self.complete = complete

    def holds(self, disk: Disk) -> bool:
        return disk.names(self.directory) == self.complete and not self.directory.is_unlistable


class Grounds:
    """All that an answer depended on. Made while the disk works on the request that was answered.

    `checked_at`: when the first of it was looked at.
    """

    __slots__ = ("_absences", "_changes", "_checked_at", "_entries", "_versions", "references")

    def __init__(
        self,
        disk: Disk,
        entries: tuple[Entry, ...],
        absences: tuple[Absence, ...],
        checked_at: float,
    ) -> None:
        self._entries = entries
        self._versions = list(map(_version_of, entries))
        self._absences = absences
        self._changes = disk.changes
        self._checked_at = checked_at
        # How much memory that is, in references of 8 bytes.
        self.references = 4 * len(entries) + sum(16 + len(absence.names) for absence in absences)

    def hold(self, disk: Disk) -> bool:
        """Whether the same question, for the request that the disk works on, would have the same answer.

        Raises:
            DiskDoubtError: that cannot be told.
        """
        if self._checked_at >= disk.arrived:
            return True
        disk.check(self._entries)
        if (
            self._changes != disk.changes
            and list(map(_version_of, self._entries)) != self._versions
        ):
            return False
        changes = disk.changes
        if not all(absence.holds(disk) for absence in self._absences):
            return False
        self._changes = changes
        self._checked_at = disk.now
        return True
