"""What a command wrote, read out of the directory that took its writes.

Everything there was made by foreign code. Paths are walked component by component without following a
symlink; only regular files with one link are read; sizes are capped before anything is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from node.errors import NodeError
from node.sandbox.proof import World
from zcc.dumps import MAX_DUMPS, is_dump
from zcc.job import Job

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A command that leaves more behind than this is not looked through any further.
_MAX_LEFT = 2000


# Paths, parents before what lies in them, and whether each is a directory.
Written = list[tuple[bytes, bool]]


class OutputTooLargeError(NodeError):
    """The outputs exceed their limit: the job is at fault."""


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """One output; `mode` as under an empty umask."""

    path: bytes
    mode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Collected:
    """The declared outputs that were written, in the order declared. `flaw` says what was written
    that cannot be given back, or is empty. `written` is all that lies there; None: too much, or too deep, to
    be gone through."""

    files: tuple[CollectedFile, ...]
    flaw: str
    written: Written | None


def find_dumps(upper: bytes, bases: Collection[bytes]) -> list[bytes]:
    """The dumps with these bases that were written, at most MAX_DUMPS: one more is undeclared."""
    found: list[bytes] = []
    known = frozenset(bases)
    for directory in {base.rpartition(b"/")[0] for base in bases}:
        with contextlib.suppress(OSError), _opened_beneath(upper, directory) as at:
            names = map(os.fsencode, os.listdir(at))
            found += (path for n in names if is_dump(path := directory + b"/" + n, known))
    return sorted(found)[:MAX_DUMPS]


def find_unlisted(job: Job, roots: Collection[bytes]) -> set[bytes]:
    """What lies below these roots in a directory that the job may list, and not in its manifest: the
    toolchain's."""
    if not job.listed:
        return set()
    manifest = job.manifest
    known = {file.path for file in manifest.files}
    known.update(path for path, _ in (*manifest.symlinks, *manifest.hard_links))
    known.update(manifest.directories)
    for path in list(known):
        while (path := path.rpartition(b"/")[0]) and path not in known:
            known.add(path)
    found: set[bytes] = set()
    for directory in job.listed:
        for root in roots:
            # A foreign toolchain's symlink must not lead to a directory of the host.
            with contextlib.suppress(OSError), _opened_beneath(root, directory) as at:
                found.update(directory + b"/" + os.fsencode(name) for name in os.listdir(at))
    return found - known


def collect(upper: bytes, outputs: Collection[bytes], world: World, limit_bytes: int) -> Collected:
    """Read the declared outputs below `upper`.

    Raises:
        OutputTooLargeError: together they are larger than the limit.
    """
    files: list[CollectedFile] = []
    flaw = ""
    left_bytes = limit_bytes
    for path in outputs:
        try:
            found = _read_beneath(upper, path, left_bytes)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            flaw = flaw or f"the output {path!r} cannot be read: {error.strerror}"
            continue
        if found is None:
            flaw = flaw or f"the output {path!r} is not a regular file of its own"
            continue
        left_bytes -= len(found.data)
        files.append(found)
    written = list(islice(_written(upper), _MAX_LEFT + 1))
    stray = _first_stray(written, frozenset(outputs), world)
    if stray:
        flaw = flaw or f"{stray!r} was written, which the job does not declare"
    return Collected(tuple(files), flaw, written if len(written) <= _MAX_LEFT else None)


def _read_beneath(upper: bytes, path: bytes, limit_bytes: int) -> CollectedFile | None:
    directory, _, name = path.rpartition(b"/")
    with _opened_beneath(upper, directory) as at:
        # Asked before it is opened: opening a FIFO or a device acts.
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return None
        if status.st_size > limit_bytes:
            raise OutputTooLargeError(f"outputs of more than {limit_bytes} bytes: {path!r}")
        with os.fdopen(os.open(name, _FILE, dir_fd=at), "rb") as file:
            data = file.read(limit_bytes + 1)
    return CollectedFile(path, stat.S_IMODE(status.st_mode) & 0o777, data)


@contextlib.contextmanager
def _opened_beneath(upper: bytes, directory: bytes) -> Iterator[int]:
    """A descriptor of this directory, reached without following a symlink."""
    at = os.open(upper, _DIRECTORY)
    try:
        for name in filter(None, directory.split(b"/")):
            below = os.open(name, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def _first_stray(written: Written, outputs: frozenset[bytes], world: World) -> bytes:
    """What was written and not declared; empty if nothing was."""
    for path, is_directory in written[:_MAX_LEFT]:
        # Directories above an output are copied up; one that is news was made by the command. What cannot be
        # looked into has no reason to be so.
        if path not in outputs and not (is_directory and world.has(path)):
            return path
    return written[_MAX_LEFT][0] if len(written) > _MAX_LEFT else b""


def _written(upper: bytes) -> Iterator[tuple[bytes, bool]]:
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(upper + directory + b"/") as entries:
                for entry in entries:
                    path = directory + b"/" + entry.name
                    is_directory = entry.is_dir(follow_symlinks=False)
                    yield path, is_directory
                    if is_directory:
                        waiting.append(path)
        except OSError:
            # Locked, or too deep to be named: only what the command made so. It is no output.
            yield directory, False
