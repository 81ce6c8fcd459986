"""Where a compile's outputs go on this disk, and how they can be put there."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from zcc.agent.analysis.overwriting import Way, placing, way_of_side_file
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.renaming import DROPPED
from zcc.dumps import is_dump
from zcc.reasons import Reason

_OWN_DIRECTORY = re.compile(rb"^/+proc/+(?:thread-)?self/+cwd(?=/|$)")
# Where names mean another thing to each process.
_PROCESSES = re.compile(rb"^/+(?:proc|dev/+fd)(?=/|$)")


@dataclass(frozen=True, slots=True)
class Places:
    """Physical paths of the outputs, the main one first, and the directories that they are in.

    `spelled` are the outputs as the command has them. Into those of `written_into` the compiler writes; the
    others appear by rename.
    """

    outputs: tuple[bytes, ...]
    directories: tuple[bytes, ...]
    spelled: tuple[bytes, ...] = ()
    written_into: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Misplaced:
    """An output that only the compiler itself can write as it would."""

    reason: Reason
    path: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command writes, as it spells it: files, and dumps by their bases.

    `main` is how the compiler writes the first of `files`.
    """

    cwd: bytes
    umask: int
    family: Family
    main: Way
    files: tuple[bytes, ...]
    dumps: tuple[bytes, ...] = ()

    def find(self) -> Outputs | Misplaced:
        """Where all that goes now."""
        files = find_places(self.cwd, self.files, self.umask, self.family, self.main)
        if isinstance(files, Misplaced):
            return files
        dumps = find_dump_places(self.cwd, self.dumps, self.umask)
        return dumps if isinstance(dumps, Misplaced) else Outputs(self, files, dumps)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a command's outputs went when its job was made; of dumps, the bases."""

    wanted: Wanted
    files: Places
    dumps: Places

    def as_spelled(self, path: bytes) -> bytes:
        """What the command calls this output. Only that says where the compiler would write it later, when a
        directory has been renamed or made anew, or a link turned."""
        if path in self.files.outputs:
            return self.files.spelled[self.files.outputs.index(path)]
        for base, spelled in zip(self.dumps.outputs, self.dumps.spelled, strict=True):
            if is_dump(path, (base,)):
                return spelled + path[len(base) :]
        return path

    def first_moved(self) -> bytes | None:
        """What goes elsewhere by now, or is to be written in another way; None where nothing is."""
        now = self.wanted.find()
        if isinstance(now, Misplaced):
            return now.path
        return None if now == self else self.wanted.files[0]


def find_places(
    cwd: bytes, outputs: Iterable[bytes], umask: int, family: Family, main: Way = Way.REPLACES
) -> Places | Misplaced:
    """Resolve the outputs' directories, and see how each output is to be put there (`overwriting.py`).

    `main` is how the compiler writes the first one.
    """
    directories: dict[bytes, bytes] = {}
    placed: dict[bytes, bytes] = {}  # as spelled
    into: set[bytes] = set()
    for at, output in enumerate(outputs):
        if output == DROPPED:
            placed[output] = output
            continue
        spelled, name = os.path.split(os.path.join(cwd, output))
        directory = directories.get(spelled)
        if directory is None:
            found = physical(spelled)
            if found is None or not os.access(found, os.W_OK):
                return Misplaced(Reason.OUTPUT_DIRECTORY, spelled)
            directory = directories[spelled] = found
        path = os.path.join(directory, name)
        way = way_of_side_file(family, path) if at else main
        way_here = placing(path, way, umask) if name else None
        if way_here is None or (path in placed and os.path.lexists(path)):
            return Misplaced(Reason.OUTPUT_NOT_PLAIN, path)
        if way_here is Way.WRITES_INTO:
            into.add(path)
        placed.setdefault(path, output)
    if len(placed) > 1 and (both := _written_twice(placed)):
        return Misplaced(Reason.OUTPUT_NOT_PLAIN, both)
    names = {**dict.fromkeys(directories), **dict.fromkeys(directories.values())}
    return Places(tuple(placed), tuple(names), tuple(placed.values()), frozenset(into))


def _written_twice(paths: Iterable[bytes]) -> bytes:
    """An output that is another one too, by a link; empty where none is. What is left of both depends on which
    the compiler opens first, and on how."""
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            return path
        seen.add((status.st_dev, status.st_ino))
    return b""


def is_overwritten(source: bytes, cwd: bytes, outputs: Iterable[bytes]) -> bool:
    """Whether one of these outputs is the source itself, by whatever links.

    gcc refuses that; on a node, where an output has another name, it would not notice.
    """
    seen = []
    for path in outputs:
        with contextlib.suppress(OSError, ValueError):
            seen.append(os.stat(path))
    if not seen:
        return False
    try:
        own = os.stat(os.path.join(cwd, source))
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(own.st_mode) and any(os.path.samestat(own, each) for each in seen)


def first_linked(outputs: Iterable[bytes], inputs: Iterable[bytes]) -> bytes:
    """An output that another of its links has among the inputs; empty where none is. Which are written into, as
    the compiler empties what it is then to read."""
    linked = {}
    for path in outputs:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if status.st_nlink > 1:
                linked[status.st_dev, status.st_ino] = path
    for path in inputs if linked else ():
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if both := linked.get((status.st_dev, status.st_ino)):
                return both
    return b""


def find_dump_places(cwd: bytes, bases: Iterable[bytes], umask: int) -> Places | Misplaced:
    """As `find_places`, for the dumps with these bases; the physical bases stand for outputs."""
    placed: dict[bytes, bytes] = {}
    directories: list[bytes] = []
    for base in bases:
        spelled, name = os.path.split(os.path.join(cwd, base))
        directory = physical(spelled)
        if directory is None or not os.access(directory, os.R_OK | os.W_OK):
            return Misplaced(Reason.OUTPUT_DIRECTORY, spelled)
        names = os.listdir(directory)
        placed.setdefault(os.path.join(directory, name), base)
        directories += [spelled, directory]
        for path in (os.path.join(directory, each) for each in names):
            if is_dump(path, placed) and placing(path, Way.UNKNOWN, umask) is None:
                return Misplaced(Reason.OUTPUT_NOT_PLAIN, path)
    return Places(tuple(placed), tuple(dict.fromkeys(directories)), tuple(placed.values()))


def physical(directory: bytes) -> bytes | None:
    """The directory without symlinks, by the kernel's own look-up; None where it is none.

    Three system calls where os.path.realpath makes one for each component.
    """
    try:
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.readlink(b"/proc/self/fd/%d" % handle)
    except OSError:
        return os.path.realpath(directory)
    finally:
        os.close(handle)


def is_process_bound(path: bytes) -> bool:
    """Whether it means another place for each process: what lies there is nothing to send along."""
    return _PROCESSES.search(path) is not None


def physical_pwd(environment: dict[bytes, bytes], cwd: bytes) -> bytes | Misplaced | None:
    """PWD where it names the current directory, as gcc and clang check before they believe it.

    `/proc/self/cwd`, which Bazel sets, is each process's own. A name by way of another mount, or of another
    process, means this directory here and not on a node.
    """
    pwd = environment.get(b"PWD", b"")
    if not pwd.startswith(b"/"):
        return None
    place = _OWN_DIRECTORY.sub(lambda _: cwd, pwd)
    if is_process_bound(place) and not is_process_bound(cwd):
        return Misplaced(Reason.WORKING_DIRECTORY, pwd)
    if physical(place) == cwd:
        return pwd
    try:
        return Misplaced(Reason.WORKING_DIRECTORY, pwd) if os.path.samefile(place, cwd) else None
    except OSError:
        return None
