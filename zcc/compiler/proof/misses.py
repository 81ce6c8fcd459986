"""The client's side of the proof: did the compiler, elsewhere, see what it would have seen here?

Owns the judgement on the look-ups that come back with a result. A hit is settled by the node (it lies in
the manifest or in the toolchain, or it is reported as undeclared); a miss is settled here: what was absent
there has to be absent here. Must not know what a scan is, beyond the misses that it made itself.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import Enum

from zcc.compiler.commandline.environment import is_compilers_own
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, DiskDoubtError, Entry, Trail
from zcc.compiler.disk.validity import Absence, Grounds
from zcc.compiler.scan.closure import ancestors
from zcc.job import VARIABLES, Lookups

# What gcc and clang look for beside each header that they look for.
_PCH_ENDINGS = (b".gch", b".pch")

Misses = tuple[tuple[bytes, tuple[bytes, ...]], ...]


class Refusal(Enum):
    """Why a result proves nothing."""

    FLAW = "flaw"  # the log itself is incomplete
    UNDECLARED = "undeclared"  # it found what the job did not declare
    PRESENT = "present"  # it missed what is here
    DOUBT = "doubt"  # whether that is here cannot be told


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """Whether a result may be taken; where not, why, and the first path that speaks against it."""

    refusal: Refusal | None = None
    path: bytes = b""

    @property
    def is_accepted(self) -> bool:
        return self.refusal is None

    @property
    def saw_other_files(self) -> bool:
        """Whether it found or missed what it would not have here: a failure of such a run says nothing."""
        return self.refusal in (Refusal.UNDECLARED, Refusal.PRESENT)


ACCEPTED = ProofVerdict()


def check(lookups: Lookups, disk: Disk, environment: Container[bytes] = ()) -> ProofVerdict:
    """Judge what a compiler looked up. `disk.begin` has to have been called for the request.

    `environment`: the variables that are set here.

    A name that is here but leads nowhere (a symlink to nothing) counts as absent, as it does for open().
    """
    if lookups.flaw:
        return ProofVerdict(Refusal.FLAW, lookups.flaw.encode())
    if lookups.undeclared:
        return ProofVerdict(Refusal.UNDECLARED, lookups.undeclared[0])
    if name := first_set(lookups.misses, environment):
        return ProofVerdict(Refusal.PRESENT, b"$" + name)
    return check_misses(lookups.misses, disk)


def check_misses(misses: Misses, disk: Disk) -> ProofVerdict:
    """Judge misses alone. `disk.begin` has to have been called for the request."""
    return _judge(misses, disk, Trail(), [])


class MissWatch:
    """The misses that a stored result is good for: judged in full once, then by what that depended on."""

    __slots__ = ("_grounds", "_misses")

    def __init__(self, misses: Misses) -> None:
        self._misses = misses
        self._grounds: Grounds | None = None

    def check(self, disk: Disk) -> ProofVerdict:
        """As `check_misses`."""
        try:
            if self._grounds is not None and self._grounds.hold(disk):
                return ACCEPTED
        except DiskDoubtError:
            pass  # the judgement below will say what it is, if it is still there
        trail, absent = Trail(), list[tuple[Directory, tuple[bytes, ...]]]()
        verdict = _judge(self._misses, disk, trail, absent)
        self._grounds = _grounds(disk, trail, absent) if verdict.is_accepted else None
        return verdict


def first_set(misses: Misses, environment: Container[bytes]) -> bytes:
    """Which variable that a plugin found unset is set here; empty where none is.

    Those that compilers ask for themselves are no news: what they mean has been settled.
    """
    for at, names in misses:
        if at == VARIABLES:
            return next((n for n in names if n in environment and not is_compilers_own(n)), b"")
    return b""


def residue(
    lookups: Lookups,
    known: Mapping[bytes, tuple[bytes, ...]],
    unread: Container[bytes],
    disk: Disk,
) -> Misses:
    """The misses that a scan does not repeat, to be kept with the result.

    `known` are the scan's own (`Closure.misses`, by physical directory). Each is known with a precompiled
    header's ending too, as the scanner stops at those; so is what lies beside a header, but for those that the
    scan did not follow (`Closure.unread`). Call it for accepted look-ups only.

    Raises:
        DiskDoubtError: the disk changed under it.
    """
    left = []
    for at, names in lookups.misses:
        if at == VARIABLES:
            left.append((at, names))
            continue
        trail = Trail()
        found = disk.walk(disk.root, at, trail)
        if found is None:
            # Nothing below an absent directory can appear before the directory does.
            gone = trail.misses.items()
            is_known = all(missed <= {*known.get(near.path, ())} for near, missed in gone)
            rest = () if is_known and not trail.obstacles else names
        elif isinstance(found[1], Directory):
            scanned = {*known.get(found[1].path, ())}
            beside = _Headers(found[1], disk.names(found[1]), unread)
            rest = tuple(name for name in names if not _is_known(name, scanned, beside))
        else:
            rest = names
        if rest:
            left.append((at, rest))
    return tuple(left)


def _judge(
    misses: Misses,
    disk: Disk,
    trail: Trail,
    absent: list[tuple[Directory, tuple[bytes, ...]]],
) -> ProofVerdict:
    """`trail` and `absent` are told what the verdict depends on."""
    at = b""
    try:
        for at, names in misses:
            directory = _directory(disk, at, trail)
            if directory is not None:
                present = _first_present(disk, directory, names)
                if present is not None:
                    return ProofVerdict(Refusal.PRESENT, at + b"/" + present)
                absent.append((directory, names))
    except DiskDoubtError as doubt:
        return ProofVerdict(Refusal.DOUBT, doubt.path or at)
    return ACCEPTED


def _grounds(
    disk: Disk, trail: Trail, absent: list[tuple[Directory, tuple[bytes, ...]]]
) -> Grounds | None:
    """What an accepting verdict depended on; None where that is more than names that are not there."""
    try:
        absences = tuple(Absence(disk, at, names) for at, names in (*absent, *trail.misses.items()))
        if any(disk.has_any(each.directory, each.names) is not None for each in absences):
            return None  # a symlink to nothing: only walking it tells
    except DiskDoubtError:
        return None
    crossed: list[Entry] = [*trail.symlinks, *trail.obstacles]
    places = [each.directory for each in absences]
    above = ancestors([*(each.parent for each in crossed), *trail.directories, *places])
    return Grounds(disk, (*crossed, *above), absences, disk.now)


def _directory(disk: Disk, path: bytes, trail: Trail) -> Directory | None:
    """Where the directory is here; None where it is not, so that nothing can be in it.

    Raises:
        DiskDoubtError: a relative path, which nobody can place.
    """
    if not path.startswith(b"/"):
        raise DiskDoubtError("relative-look-up", path)
    found = disk.walk(disk.root, path, trail)
    if found is None:
        return None
    if not isinstance(found[1], Directory):
        trail.obstacles.add(found[1])
        return None
    return found[1]


def _first_present(disk: Disk, directory: Directory, names: tuple[bytes, ...]) -> bytes | None:
    listed = disk.names(directory)
    if not directory.is_partial and listed.isdisjoint(names):
        return None
    for name in names:
        if (name in listed or directory.is_partial) and disk.walk(directory, name, Trail()):
            return name
    return None


@dataclass(frozen=True, slots=True)
class _Headers:
    """The names in a directory but those of files that the scan did not follow."""

    directory: Directory
    names: frozenset[bytes]
    unread: Container[bytes]

    def __contains__(self, name: bytes) -> bool:
        path = self.directory.path.rstrip(b"/") + b"/" + name
        return name in self.names and path not in self.unread


def _is_known(name: bytes, scanned: set[bytes], beside: _Headers) -> bool:
    """Whether a scan makes this look-up itself: the name, or a precompiled header for one."""
    if name in scanned:
        return True
    return name.endswith(_PCH_ENDINGS) and (name[:-4] in scanned or name[:-4] in beside)
