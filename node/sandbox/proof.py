"""From the log of a command's look-ups to what the client must check. Pure.

The log is written by the shim; `shim/log.h` documents its format. The command saw an overlay of the
toolchain and of an input tree that holds this job's manifest. That is not taken on trust, and a command
makes files too, so a path that was found must resolve, through symlinks that are known, to a path that the
manifest or the toolchain names or that the command wrote. A path that was not found is handed to the
client, which knows whether it exists there.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from zcc.bounds import MAX_PATH_BYTES
from zcc.compiler.commandline.environment import is_settled
from zcc.job import (
    MAX_MISSED_DIRECTORIES,
    MAX_MISSES,
    MAX_UNDECLARED,
    VARIABLES,
    Job,
    Lookups,
    Manifest,
)

_HEADER = struct.Struct("=QQ")
HEADER_BYTES = _HEADER.size
# A full log is a flaw, not an error; a large C++ compile writes 0.3 MiB.
LOG_BYTES = 16 << 20
_MAX_LINKS = 40  # as Linux has it
# The log is the job's to write. Paths of one kind once: the largest compile known has 20,000.
_MAX_RECORDS = 300_000
# Names that are followed in all of a job's look-ups: each symlink on a path may have thousands, so that their
# product has no bound of its own. A C++ compile follows 20,000.
_MAX_STEPS = 2_000_000
# Directories up to this length are remembered with all above them, up to so many: 10 MiB, a compile has 500.
_MAX_SHORT_BYTES = 512
_MAX_REMEMBERED = 20_000
# The log is taken apart in pieces of so much, since no other thread runs while one is.
_PIECE_BYTES = 256 << 10
# And so many paths are sorted in one call, which takes some 8 ms.
_PIECE_PATHS = 16_384
_KINDS = (
    b"S/",
    b"X/",
    b"H/",
    b"D/",
    b"M/",
    b"W/",
    b"N/",
    b"V/",
    b"T/",
    b"R/",
    b"F/",
)  # with the first byte of an absolute path
_ERROR = ord("E")


@dataclass(frozen=True, slots=True)
class ToolchainView:
    """What a toolchain holds: physical paths of its files, directories and symlinks, and the targets
    of the latter."""

    members: frozenset[bytes] = frozenset()
    links: Mapping[bytes, bytes] = field(default_factory=dict)


def empty_log() -> bytes:
    """The header that the shim expects in a fresh log."""
    return _HEADER.pack(HEADER_BYTES, 0)


def log_end(header: bytes) -> int:
    """How many bytes of the log are in use, given its first HEADER_BYTES."""
    end: int = _HEADER.unpack_from(header)[0]
    return min(max(end, HEADER_BYTES), LOG_BYTES)


def is_started(log: bytes) -> bool:
    """Whether any process was logged at all: if not, the program was never reached, or is static."""
    return b"S/" in log[HEADER_BYTES : HEADER_BYTES + 2]


def read_lookups(
    log: bytes, job: Job, toolchain: ToolchainView, world: World | None = None
) -> Lookups:
    """What a run of this job looked up, for the client to judge. `world`: of this job and toolchain."""
    try:
        return _read(_Records.parsed(log), job, toolchain, world or World(job.manifest, toolchain))
    except _TooMuchError as error:
        return Lookups(flaw=str(error))


class _TooMuchError(Exception):
    """No compile looks up so much; what was is not gone through."""


def _read(records: _Records, job: Job, toolchain: ToolchainView, world: World) -> Lookups:
    written = {world.physical(path) for path in records.written}
    written.update(job.outputs)
    undeclared = _undeclared(records.found, world, written, job)
    variables = _not_set(records, job)
    misses = _group(records, world, written, variables)
    return Lookups(
        misses=misses,
        undeclared=tuple(heapq.nsmallest(MAX_UNDECLARED, undeclared)),
        flaw=records.flaw or _flaw_in(records, job, world, toolchain),
    )


class World:
    """The tree that the job is meant to see: the manifest over the toolchain."""

    __slots__ = (
        "_leaves",
        "_links",
        "_physical",
        "_steps_left",
        "_toolchain",
        "_toolchain_links",
        "known",
    )

    def __init__(self, manifest: Manifest, toolchain: ToolchainView) -> None:
        known = {file.path for file in manifest.files}
        known.update(path for path, _ in manifest.symlinks)
        known.update(path for path, _ in manifest.hard_links)
        self._leaves = frozenset(known)
        self._toolchain_links = toolchain.links.keys()
        known.update(manifest.directories)
        links = dict(toolchain.links)
        for path in known & links.keys():
            del links[path]  # the manifest lies on top
        links.update(manifest.symlinks)
        _add_ancestors(known)
        known.add(b"")
        self.known = known
        self._links = links
        self._toolchain = toolchain.members
        self._physical: dict[bytes, bytes] = {}
        self._steps_left = _MAX_STEPS

    @property
    def covers_toolchain(self) -> bool:
        """Whether the job has something where the toolchain has something else than a directory, or a file or
        symlink where that has anything."""
        if not self._leaves.isdisjoint(self._toolchain):
            return True
        full = {path.rpartition(b"/")[0] for path in self._toolchain} - self._toolchain_links
        return any(path in self._toolchain and path not in full for path in self.known - {b""})

    def has(self, physical: bytes) -> bool:
        return physical in self.known or physical in self._toolchain

    def physical(self, path: bytes) -> bytes:
        """Where an absolute path leads, symlinks and `..` followed as the kernel does. What does not
        exist is taken for a directory."""
        directory, _, name = path.rpartition(b"/")
        if name in _DOTS:
            return self._directory(path)
        place = self._directory(directory) + b"/" + name
        return self._walk(place) if place in self._links else place

    def _directory(self, path: bytes) -> bytes:
        """As `physical`, remembered; the root is empty here, as a prefix."""
        found = self._physical.get(path)
        if found is None:
            # What is remembered has a bound in bytes: a job's log may have any paths.
            is_short = len(path) <= _MAX_SHORT_BYTES and len(self._physical) < _MAX_REMEMBERED
            found = self._step_by_step(path) if is_short else self._walk(path)
            self._physical[path] = found
        return found

    def _step_by_step(self, path: bytes) -> bytes:
        """As `_walk`, with every directory on the way remembered: compilers search `A/../../B` for many B."""
        rest: list[bytes] = []
        head, found = path, None
        while found is None:
            head, _, name = head.rpartition(b"/")
            rest.append(name)
            found = self._physical.get(head) if head else b""
        self._step(len(rest))
        while rest:
            name = rest.pop()
            head = head + b"/" + name
            if name == b"..":
                found = found.rpartition(b"/")[0]
            elif name not in _HERE:
                found = found + b"/" + name
                if found in self._links:
                    found = self._walk(found)
            self._physical[head] = found
        return found

    def _walk(self, path: bytes) -> bytes:
        rest = path.split(b"/")[::-1]
        self._step(len(rest))
        place, links = b"", 0
        while rest:
            part = rest.pop()
            if part in _HERE:
                continue
            if part == b"..":
                place = place.rpartition(b"/")[0]
                continue
            place = place + b"/" + part
            target = self._links.get(place)
            if target is not None and links < _MAX_LINKS:
                links += 1
                place = b"" if target.startswith(b"/") else place.rpartition(b"/")[0]
                rest += target.split(b"/")[::-1]
                self._step(len(rest))
        return place

    def _step(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise _TooMuchError("its paths lead over too many symlinks")


def leads_to(world: World, path: bytes) -> bool:
    """Whether there is something at this path, symlinks followed; not where it leads over too many."""
    try:
        return world.has(world.physical(path))
    except _TooMuchError:
        return False


_HERE = frozenset((b"", b"."))
_DOTS = frozenset((b"", b".", b".."))


@dataclass(frozen=True, slots=True)
class _Records:
    """The log's records, each path once for each kind."""

    started: list[bytes]
    executed: list[bytes]
    found: list[bytes]
    listed: list[bytes]
    missed: list[bytes]
    written: list[bytes]
    variables: list[bytes]
    asked_by_plugin: list[bytes]
    times: list[bytes]
    unopened: list[bytes]
    unseen: list[bytes]
    flaw: str

    @classmethod
    def parsed(cls, log: bytes) -> _Records:
        end, flaws = _HEADER.unpack_from(log)
        flaw = "the log is full or incomplete" if flaws or end > len(log) else ""
        unique = _unique(log, end)
        kinds: dict[bytes, list[bytes]] = {kind: [] for kind in _KINDS}
        for record in unique:
            kind = record[:2]
            if kind in kinds and len(record) <= MAX_PATH_BYTES:
                kinds[kind].append(record[1:])
            else:
                flaw = flaw or _describe(record)
        if b"\0\0" in log[HEADER_BYTES:end] or log[HEADER_BYTES:end][-1:] not in (b"", b"\0"):
            flaw = flaw or "a record was never finished"
        return cls(
            kinds[b"S/"], kinds[b"X/"], kinds[b"H/"], kinds[b"D/"], kinds[b"M/"], kinds[b"W/"],
            kinds[b"N/"], kinds[b"V/"], kinds[b"T/"], kinds[b"R/"], kinds[b"F/"], flaw,
        )  # fmt: skip


def _unique(log: bytes, end: int) -> set[bytes]:
    """The different records. Everything that is not done once for each of them happens at the speed of C."""
    unique: set[bytes] = set()
    at = HEADER_BYTES
    while at < end:
        cut = log.find(b"\0", min(at + _PIECE_BYTES, end), end)
        cut = end if cut < 0 else cut
        unique.update(log[at:cut].split(b"\0"))
        if len(unique) > _MAX_RECORDS:
            raise _TooMuchError(f"more than {_MAX_RECORDS} paths were looked up")
        at = cut + 1
    unique.discard(b"")
    return unique


def _describe(record: bytes) -> str:
    if record[0] == _ERROR and len(record) > 2:
        return f"the look-up of {record[2:]!r} failed with errno {record[1]}"
    return f"an unreadable record {record[:80]!r}"


def _add_ancestors(known: set[bytes]) -> None:
    """Complete a set of paths with every directory above them."""
    fresh = {path.rpartition(b"/")[0] for path in known} - known
    while fresh:
        known |= fresh
        fresh = {path.rpartition(b"/")[0] for path in fresh} - known


def _undeclared(found: Iterable[bytes], world: World, written: set[bytes], job: Job) -> set[bytes]:
    known, toolchain, physical = world.known, world._toolchain, world.physical
    undeclared = set()
    climbed: dict[bytes, bool] = {}
    made: set[bytes] = set()
    for path in found:
        place = physical(path)
        if place not in known and place not in toolchain and place not in written:
            undeclared.add(path)
        elif b"/.." in path:
            way = path[: path.rindex(b"/..")] + b"/.."
            if not made:
                made = written | {job.cwd, *(path.rpartition(b"/")[0] for path in job.outputs)}
                _add_ancestors(made)
            if way not in climbed:
                climbed[way] = _is_climbable(way, world, made)
            if not climbed[way]:
                undeclared.add(path)
    return undeclared


def _is_climbable(way: bytes, world: World, made: set[bytes]) -> bool:
    """Whether each directory that a `..` of this path leads out of is one that the job has, or that was made
    for it."""
    parts = way.split(b"/")
    for at, part in enumerate(parts):
        place = world.physical(b"/".join(parts[:at])) if part == b".." and at > 1 else b""
        if place and not world.has(place) and place not in made:
            return False
    return True


def _not_set(records: _Records, job: Job) -> tuple[bytes, ...]:
    """The variables that were asked for, that the job does not set, and whose absence may count.

    What a plugin asks is another question than a compiler's of the same name. TMPDIR is the sandbox's
    own: a temporary name that gets into an output is noticed.
    """
    own = {b"TMPDIR", *(name for name, _ in job.environment)}
    on_terminal = job.terminal is not None
    asked = {path[1:] for path in records.variables}
    asked = {name for name in asked if not is_settled(name, on_terminal)}
    asked.update(path[1:] for path in records.asked_by_plugin)
    return tuple(asked - own)


def _group(
    records: _Records, world: World, written: set[bytes], variables: tuple[bytes, ...]
) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    # Thousands for each C++ compile, so that what is rare is looked for by its name alone first.
    names = {path.rpartition(b"/")[2] for path in written} | _DOTS
    grouped: dict[bytes, set[bytes]] = {}
    wanted = frozenset(records.unopened)
    for path in (*records.missed, *records.unopened):
        directory, _, name = path.rpartition(b"/")
        if name in names:
            if world.physical(path) in written and path not in wanted:
                continue  # asked for before it was created; an open for reading wants what was there
            while name in _DOTS and directory:  # "a/b/." and "a/b/.." are missing because a/b is
                directory, _, name = directory.rpartition(b"/")
        if directory in grouped:
            grouped[directory].add(name)
        else:
            grouped[directory] = {name}
            if len(grouped) > MAX_MISSED_DIRECTORIES:
                raise _TooMuchError("too many names were looked up in vain")
    if b"" in grouped:  # the root is also "/", where a path begins with two
        grouped.setdefault(b"/", set()).update(grouped.pop(b""))
    if variables:
        grouped[VARIABLES] = set(variables)
    if sum(map(len, grouped.values())) > MAX_MISSES or len(grouped) > MAX_MISSED_DIRECTORIES:
        raise _TooMuchError("too many names were looked up in vain")
    return tuple((at, tuple(_in_order(grouped[at]))) for at in sorted(grouped))


def _in_order(paths: Collection[bytes]) -> Iterable[bytes]:
    """As `sorted`, with turns for other threads in between."""
    if len(paths) <= _PIECE_PATHS:
        return sorted(paths)
    left = iter(paths)
    pieces = []
    while piece := sorted(islice(left, _PIECE_PATHS)):
        pieces.append(piece)
    return heapq.merge(*pieces)


def _flaw_in(records: _Records, job: Job, world: World, toolchain: ToolchainView) -> str:
    """Why the log proves nothing, though it is complete as a file."""
    started = set(records.started)
    if world.physical(job.executable) not in started:
        return f"{job.executable!r} ran without the look-up log"
    for program in records.executed:
        if program not in started:
            return f"{program!r} ran without the look-up log"
    if records.unseen:
        call = min(records.unseen)[1:80].decode(errors="replace")
        return f"{call} was called, which leaves no record of what it looks up"
    for directory in records.listed:
        place = world.physical(directory)
        if place not in toolchain.members and place not in job.listed:
            return f"the directory {directory!r} was listed"
    return "the local time was asked for" if records.times else ""
