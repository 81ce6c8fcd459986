"""One scan: from the files that a command line names to all that they can pull in.

Owns what is followed, and what makes a scan stop; where a name leads is header_search.py's to say. Where it
depends on a condition, every candidate is taken: a file too many costs a look-up, a file too few a compile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import TypeGuard

from zcc.compiler.commandline import time_macros
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Directory, Entry, File, Trail
from zcc.compiler.scan.closure import NotBounded, NotScannable, ScanRequest, is_project, is_too_wide
from zcc.compiler.scan.header_search import Finder, Hit
from zcc.compiler.scan.precompiled import is_one_for
from zcc.compiler.text.computed import FILE_MACROS, asked_headers, named_headers
from zcc.compiler.text.directives import Computed, FileFacts, Include
from zcc.compiler.text.hazards import Hazard
from zcc.compiler.text.macros import Macros, given_definitions
from zcc.errors import CompilerError
from zcc.reasons import Reason

# GCC reads it first of all, unasked, where the C library has it.
_PREINCLUDED = Include(b"stdc-predef.h", is_quoted=False, is_next=False)
_PROBES = (
    b"__has_include",
    b"__has_include__",
    b"__has_include_next",
    b"__has_include_next__",
    b"__has_embed",
)
MAX_LISTED = 2000
# Only the directory below which gcc asks for each header as a module: the proof sees whether there is one.
_NAMES_NO_MODULE = re.compile(rb"(?:\$root[ \t]+[^\n]*|[ \t]*)(?:\n(?:\$root[ \t]+[^\n]*|[ \t]*))*")
_TIMES = {
    Hazard.DATE: frozenset({b"__DATE__"}),
    Hazard.TIME: frozenset({b"__TIME__"}),
    Hazard.TIMESTAMP: frozenset({b"__TIMESTAMP__"}),
    Hazard.PASTED_TIME: time_macros.ALL,
}


def _upwards(directory: Directory) -> Iterator[Directory]:
    at: Directory | None = directory
    while at is not None:
        yield at
        at = at.parent


class StopScanError(CompilerError):
    """The scan ends here, with this answer."""

    def __init__(self, answer: NotBounded | NotScannable) -> None:
        super().__init__(answer.reason.value)
        self.answer = answer


class FollowMode(IntEnum):
    """What is followed in a file. Integers, as it is hashed some ten thousand times a scan."""

    SOURCE = 0
    ASSEMBLY = 1  # only what the assembler reads
    LISTED = 2  # not its includes: the compiler has listed them


class Inclusion:
    """The state of one scan. Afterwards `files` and `trail` hold all that it found and depended on."""

    def __init__(self, disk: Disk, request: ScanRequest, home: bytes) -> None:
        self.files: dict[File, None] = {}
        self.trail = Trail()
        self.doubts: set[Hazard] = set()
        # clang compares the times of the files that a precompiled header was made of.
        self.needs_times = False
        # What was found where a file is only asked about or pointed at, and is not shown.
        self.withheld: dict[Entry, None] = {}
        # Directories of precompiled headers, which the compiler lists.
        self.listed: dict[Directory, frozenset[bytes]] = {}
        self._disk = disk
        self._request = request
        self._queue: list[tuple[Directory, File, FollowMode]] = []
        # In the order of finding, so that two scans of the same files are the same in everything.
        self._entered: dict[tuple[Directory, File, FollowMode], None] = {}
        self._computed: dict[Computed, dict[Directory, None]] = {}
        self._macros = Macros()
        self._macros.add(given_definitions(request.defines))
        self._hides_probes = any(b"__has_" in text for text in request.defines)
        self._precompiled = 0  # how many headers
        # A string is only that, unless a macro hands it to _Pragma: it takes both.
        self._has_open_pragma = any(b"_Pragma" in text for text in request.defines)
        self._quoted_time: File | None = None
        self._defining: set[File] = set()
        self._is_cpp = "c++" in request.language
        self._finder = Finder(disk, request, self.trail, self._ship_pch)
        self.cwd = self._finder.cwd
        self._embed = self._finder.existing(request.embed_directories)
        self._assembler = self._finder.existing(request.assembler_directories)
        self._roots = self._find_roots(home)
        self._allowed: dict[Directory, bool] = {}

    def follow(self) -> Iterator[None]:
        """Find everything from the source on; yields where the work can be left for a while.

        Raises:
            StopScanError: the compile cannot be scanned, or has to stay local.
            DiskDoubtError: the disk cannot be described.
        """
        is_assembly = self._request.language == "assembler"
        mode = FollowMode.ASSEMBLY if is_assembly else FollowMode.SOURCE
        self._take_named(self._request.source, mode)
        self._take_command_line(mode)
        if not is_assembly:
            for hit in self._finder.hits(self.cwd, _PREINCLUDED):
                self._enter(hit, mode)
        yield from self._drain()
        entered = 0
        while self._computed and entered != len(self._entered):
            entered = len(self._entered)
            yield from self._take_computed()
            yield from self._drain()
        yield from self._take_asked()

    def take(self, listed: Sequence[bytes]) -> Iterator[None]:
        """Take these files, and what in them the compiler's list leaves out. Raises as `follow`."""
        for path in listed:
            self._take_named(path, FollowMode.LISTED, Reason.LISTING)
        self._take_command_line(FollowMode.LISTED)
        yield from self._drain()
        yield from self._take_asked()

    @property
    def unread(self) -> frozenset[bytes]:
        """The files that were found, but not followed."""
        followed = {file for _, file, _ in self._entered}
        return frozenset(file.path for file in self.files if file not in followed)

    # The command line

    def _find_roots(self, home: bytes) -> set[Directory]:
        found = {*self._finder.quote}
        for path in self._request.roots:
            root = self._disk.walk(self.cwd, path, Trail())
            if root is not None and isinstance(root[1], Directory):
                found.add(root[1])
        loose = (
            self._disk.walk(self.cwd, self._request.loose, Trail()) if self._request.loose else None
        )
        if loose is not None and isinstance(loose[1], Directory):
            above = set(_upwards(loose[1]))
            for directory in {*self._finder.quote, self.cwd}:
                shared = next(at for at in _upwards(directory) if at in above)
                if is_project(shared.path, home):
                    found.add(shared)
        return {root for root in found if not is_too_wide(root.path, home)}

    def _take_command_line(self, mode: FollowMode) -> None:
        request, disk = self._request, self._disk
        for macro in time_macros.asked(request.defines):
            self._judge_time(frozenset({macro}), macro)
        for _, name in request.forced:
            self._take_forced(name, mode)
        for path in request.extra_inputs:
            self._ship(self._named(path, Reason.MISSING_INPUT)[1], is_named=True)
        for path in request.assembler_sources:
            self._take_named(path, FollowMode.ASSEMBLY, Reason.MISSING_INPUT)
        for path in request.precompiled:
            self._take_named_pch(path)
        if request.module_mapper is not None:
            self._take_mapper(request.module_mapper)
        for path in request.optional_inputs:
            found = disk.walk(self.cwd, path, self.trail)
            if found is not None and isinstance(found[1], File):
                self._ship(found[1], is_named=True)
            elif found is not None:
                raise StopScanError(NotScannable(Reason.MISSING_INPUT, path))
        for path in request.mentioned:
            self._take_if_allowed(path)
        self._finder.existing(request.directories)
        for directory in self._finder.existing(request.listed):
            self._show_entries(directory)

    def _show_entries(self, directory: Directory) -> None:
        """All that lies in a directory which the compiler lists; it may not, where that is too much, or
        not to leave the machine."""
        names = self._disk.names(directory)
        if len(names) > MAX_LISTED or directory.is_unlistable:
            return
        found = [self._disk.walk(directory, name, self.trail) for name in names]
        entries = [hit[1] for hit in found if hit is not None]
        directories = [entry for entry in entries if isinstance(entry, Directory)]
        files = [each for each in entries if isinstance(each, File) and self._is_allowed(each)]
        if len(directories) + len(files) < len(names):
            return
        self.trail.directories.update(directories)
        for file in files:
            self._ship(file)
        self.listed[directory] = names

    def _named(self, path: bytes, reason: Reason) -> Hit:
        """The file that the command line names."""
        found = self._disk.walk(self.cwd, path, self.trail)
        if found is None or not isinstance(found[1], File):
            raise StopScanError(NotScannable(reason, path))
        return found[0], found[1]

    def _take_named(
        self, path: bytes, mode: FollowMode, reason: Reason = Reason.MISSING_INPUT
    ) -> None:
        hit = self._named(path, reason)
        self._finder.take_pch(hit[0], path.rpartition(b"/")[2])
        self._ship(hit[1], is_named=True)
        self._enter(hit, mode)

    def _take_mapper(self, path: bytes) -> None:
        """gcc's file of where modules lie, which has to name none."""
        file = self._named(path, Reason.MISSING_INPUT)[1]
        self._ship(file, is_named=True)
        self._disk.input(file)
        if not _NAMES_NO_MODULE.fullmatch(self._disk.content(file)):
            raise StopScanError(NotScannable(Reason.MODULES, path))

    def _take_forced(self, name: bytes, mode: FollowMode) -> None:
        before = self._precompiled
        hit = self._finder.forced(name)
        if hit is None and self._precompiled > before:
            return  # precompiled, without its text: the proof watches what is made of it
        if hit is None:
            raise StopScanError(NotScannable(Reason.MISSING_INPUT, name))
        self._ship(hit[1], is_named=True)
        self._enter(hit, mode)

    # What is found

    def _enter(self, hit: Hit, mode: FollowMode) -> None:
        """Read this file, found in this directory, unless it has been."""
        key = (hit[0], hit[1], mode)
        if key not in self._entered:
            self._entered[key] = None
            self._ship(hit[1])
            self._queue.append(key)

    def _ship(self, file: File, is_named: bool = False) -> None:
        if file in self.files:
            return
        if not is_named and not self._is_allowed(file):
            raise StopScanError(NotBounded(Reason.OUTSIDE_ROOTS, file.path))
        self.files[file] = None

    def _is_allowed(self, file: File) -> bool:
        directory = file.parent
        assert directory is not None
        allowed = self._allowed.get(directory)
        if allowed is None:
            allowed = any(at in self._roots for at in _upwards(directory))
            self._allowed[directory] = allowed
        return allowed

    def _drain(self) -> Iterator[None]:
        while self._queue:
            yield
            container, file, mode = self._queue.pop()
            facts = self._disk.facts(file)
            # An assembler has other comments than C.
            is_c = mode is not FollowMode.ASSEMBLY
            found = facts.stands(self._request.lexis) if is_c else facts.suspected
            if found.hazards:
                self._judge(file, found.hazards, mode)
            if mode is FollowMode.SOURCE:
                for include in facts.includes:
                    self._take_included(container, include)
                for computed in found.computed:
                    self._computed.setdefault(computed, {})[container] = None
            if mode is not FollowMode.ASSEMBLY:
                self._take_mentioned(container, facts)
            for name in found.assembled:
                self._take_assembled(name)

    def _take_included(self, container: Directory, include: Include) -> None:
        hits = self._finder.hits(container, include)
        if not hits and self._request.is_clang:
            amiss = self._finder.hits_amiss(container, include)
            hits = [hit for hit in amiss if self._may_show(hit[1])]
        for hit in hits:
            self._enter(hit, FollowMode.SOURCE)

    def _take_mentioned(self, container: Directory, facts: FileFacts) -> None:
        """What a file only asks about, embeds or points at."""
        for include in facts.probes:
            for _, file in self._finder.hits(container, include):
                self._show(file)
        for include in facts.embeds:
            places = [container, self.cwd, *self._embed, *self._finder.quote]
            for _, file in self._finder.every(places, include.name):
                self._ship(file)
        for path in facts.line_files:
            if path.startswith(b"<") or not path:
                continue
            self._take_if_allowed(path)

    def _take_if_allowed(self, path: bytes) -> None:
        """Ship what a file points at."""
        found = self._disk.walk(self.cwd, path, self.trail)
        if found is not None and isinstance(found[1], Directory):
            self.trail.directories.add(found[1])
        elif found is not None:
            self._show(found[1])

    def _show(self, entry: Entry) -> None:
        """Ship what is only asked about or pointed at."""
        if self._may_show(entry):
            self.files[entry] = None

    def _may_show(self, entry: Entry) -> TypeGuard[File]:
        """Whether this may be shipped; beyond the roots the proof decides, and it is noted as withheld."""
        if isinstance(entry, File) and self._is_allowed(entry):
            return True
        self.withheld[entry] = None
        return False

    def _take_assembled(self, name: bytes) -> None:
        hits = list(self._finder.every([self.cwd, *self._assembler, *self._finder.quote], name))
        if not hits:
            raise StopScanError(NotScannable(Reason.ASSEMBLER_INPUT, name))
        for hit in hits:
            self._enter(hit, FollowMode.ASSEMBLY)

    # Hazards

    def _judge(self, file: File, hazards: frozenset[Hazard], mode: FollowMode) -> None:
        if Hazard.INCBIN in hazards:
            raise StopScanError(NotScannable(Reason.ASSEMBLER_INPUT, file.path))
        if mode is FollowMode.ASSEMBLY:
            return
        if Hazard.ENCODING in hazards:
            raise StopScanError(NotBounded(Reason.ENCODING, file.path))
        for hazard, macros in _TIMES.items():
            if hazard in hazards:
                self._judge_time(macros, file.path)
        self._has_open_pragma |= Hazard.OPEN_PRAGMA in hazards
        if Hazard.QUOTED_TIME in hazards:
            self._quoted_time = file
        if self._quoted_time is not None and self._has_open_pragma:
            self._judge_time(time_macros.ALL, self._quoted_time.path)
        if Hazard.PRAGMA_DEPENDENCY in hazards:
            raise StopScanError(NotScannable(Reason.PRAGMA_DEPENDENCY, file.path))
        if Hazard.PASTED_PROBE in hazards:
            raise StopScanError(NotScannable(Reason.PASTED_PROBE, file.path))
        if Hazard.PRAGMA_PCH in hazards:
            raise StopScanError(NotScannable(Reason.PRECOMPILED_HEADER, file.path))
        is_unit = Hazard.MODULES in hazards and self._is_cpp
        if is_unit or (Hazard.MODULE_UNIT in hazards and self._request.has_modules):
            raise StopScanError(NotScannable(Reason.MODULES, file.path))
        if Hazard.OMP_TARGET in hazards and self._request.names_offloaded:
            raise StopScanError(NotScannable(Reason.INODE_NAME, file.path))
        self._hides_probes |= Hazard.HIDDEN_HAS_INCLUDE in hazards

    def _judge_time(self, macros: frozenset[bytes], where: bytes) -> None:
        decided = time_macros.replaced(self._request.defines)
        if self._request.has_source_date_epoch:
            decided |= time_macros.DATE_AND_TIME
        if not macros <= decided:
            raise StopScanError(NotScannable(Reason.TIME_MACRO, where))

    # Precompiled headers

    def _take_named_pch(self, path: bytes) -> None:
        """clang's `-include-pch`. What it was made of is among the request's optional inputs."""
        self._ship(self._named(path, Reason.MISSING_INPUT)[1], is_named=True)
        self.needs_times = True

    def _ship_pch(self, directory: Directory, name: bytes) -> None:
        found = self._disk.walk(directory, name, self.trail)
        if found is None:
            return
        headers = [found[1]] if isinstance(found[1], File) else self._listed_pch(found[1])
        if headers is None:
            raise StopScanError(
                NotScannable(Reason.PRECOMPILED_HEADER, directory.path + b"/" + name)
            )
        for header in headers:
            self._ship(header)
        self._precompiled += len(headers)
        self.needs_times |= self._request.is_clang

    def _listed_pch(self, entry: Entry) -> list[File] | None:
        """All in a directory of precompiled headers; None where it matters in which order they come."""
        if not isinstance(entry, Directory) or self._request.is_clang:
            return None
        names = self._disk.names(entry)
        found = [self._disk.child(entry, name) for name in sorted(names)]
        headers = [each for each in found if isinstance(each, File)]
        is_told = len(headers) > 1 and self._request.tells_precompiled
        if entry.is_unlistable or len(headers) < len(names) or is_told:
            return None
        if not is_one_for(self._request.language, [each.path for each in headers]):
            return None
        self.listed[entry] = names
        self.trail.directories.add(entry)
        return headers

    # Computed includes

    def _take_computed(self) -> Iterator[None]:
        """Follow all that the operands of computed includes can mean, by every definition so far."""
        yield from self._define()
        for computed, containers in list(self._computed.items()):
            yield
            if computed.macro in FILE_MACROS:
                continue  # a file that is being read already
            includes = yield from named_headers(computed, self._macros)
            if includes is None:
                raise StopScanError(NotBounded(Reason.COMPUTED_INCLUDE, computed.macro))
            for include in includes:
                for container in list(containers):
                    self._take_included(container, include)

    def _take_asked(self) -> Iterator[None]:
        """What `__has_include` asks for where macros hide it: every candidate of every name."""
        if not self._hides_probes:
            return
        yield from self._define()
        askers = self._macros.callers_of(_PROBES)
        for container, file, mode in self._entered:
            yield
            for condition in () if mode is FollowMode.ASSEMBLY else self._disk.conditions(file):
                asked = yield from asked_headers(condition, askers, self._macros)
                if asked is None:
                    # The compiler's own list would not tell either; the proof does.
                    self.doubts.add(Hazard.HIDDEN_HAS_INCLUDE)
                places = [container, self.cwd, *self._embed, *self._finder.quote]
                for include in asked or ():
                    for _, found in self._finder.every(places, include.name):
                        self._show(found)

    def _define(self) -> Iterator[None]:
        """Take over the definitions of the files that have been entered since."""
        for _, file, _ in self._entered:
            if file not in self._defining:
                yield
                self._defining.add(file)
                self._macros.add(self._disk.definitions(file))
