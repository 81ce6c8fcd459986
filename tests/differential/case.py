"""One case: a project on disk, a command, and an edit after which the command runs again. Data, and its disk.

Names are text as `os.fsdecode` gives it, so that a name need not be UTF-8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# Modification times count back from here: old enough to be nobody's "just now", and the same in each run.
EPOCH_S = 1_700_000_000
HERE = "@HERE@"  # in words, contents and variables: the project's own directory
PATH = "@PATH@"  # in a variable: what PATH is without the case
UNSET = "@UNSET@"  # a variable's value: it is not set at all


class Streams(Enum):
    """Where standard output and standard error go: `&1` and `&-` as a shell writes it."""

    APART = "two pipes"
    ONE_PIPE = "2>&1"
    ONE_FILE = "one file"
    NO_OUTPUT = ">&-"
    NO_ERRORS = "2>&-"
    TERMINAL = "a pipe and a terminal"


class Stdin(Enum):
    """`SOURCE`: something to compile, for a command that reads it."""

    NOTHING = "</dev/null"
    CLOSED = "<&-"
    SOURCE = "a pipe"


class Kind(Enum):
    FILE = "file"
    SYMLINK = "symlink"
    DIRECTORY = "directory"
    HARD_LINK = "hard link"


@dataclass(frozen=True)
class Entry:
    """What lies at a path. `data` is content, or the target of a link; `age_s` its distance from EPOCH_S."""

    kind: Kind
    data: str = ""
    age_s: int = 0
    mode: int = 0o644


Project = dict[str, Entry]
# A path, and what it becomes; None: it is removed.
Edit = tuple[str, Entry | None]


@dataclass(frozen=True)
class Case:
    """`options` are words that belong together, in order. `settles`: the edit waits until what is on disk is
    older than the agent's racy window, so that memory and not a fresh look answers for what is unchanged."""

    project: Project
    compiler: str
    options: tuple[tuple[str, ...], ...]
    edits: tuple[Edit, ...] = ()
    cwd: str = "."
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    settles: bool = False
    streams: Streams = Streams.APART
    stdin: Stdin = Stdin.NOTHING

    @property
    def words(self) -> list[str]:
        return [word for option in self.options for word in option]

    def edited(self) -> Project:
        project = dict(self.project)
        for path, entry in self.edits:
            if entry is None:
                project.pop(path, None)
            else:
                project[path] = entry
        return project


def text(content: str, age_s: int = 0) -> Entry:
    return Entry(Kind.FILE, content, age_s)


def symlink(target: str) -> Entry:
    return Entry(Kind.SYMLINK, target)


def directory() -> Entry:
    return Entry(Kind.DIRECTORY, mode=0o755)


def content_of(entry: Entry, root: str) -> bytes:
    return os.fsencode(entry.data.replace(HERE, root))


def synchronise(root: str, project: Project) -> None:
    """Make the directory hold this project and nothing else. What is right already is not touched."""
    wanted = {os.path.join(root, path): entry for path, entry in project.items()}
    kept = {root}
    for path in wanted:
        while path not in kept:
            kept.add(path)
            path = os.path.dirname(path)
    for at, names, files in os.walk(root, topdown=False):
        for path in (os.path.join(at, name) for name in (*files, *names)):
            is_wrong = path in wanted and _kind_at(path) is not _kind_of(wanted[path])
            if path not in kept or is_wrong:
                _remove(path)
    # Links last: a hard link needs its target.
    for path, entry in sorted(wanted.items(), key=lambda item: (item[1].kind.value, item[0])):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _place(path, entry, root)


def _place(path: str, entry: Entry, root: str) -> None:
    match entry.kind:
        case Kind.DIRECTORY:
            os.makedirs(path, exist_ok=True)
        case Kind.SYMLINK:
            target = entry.data.replace(HERE, root)
            if not os.path.islink(path) or os.readlink(path) != target:
                _remove(path)
                os.symlink(target, path)
        case Kind.HARD_LINK:
            target = os.path.join(root, entry.data)
            if not os.path.lexists(path) or not os.path.samefile(path, target):
                _remove(path)
                os.link(target, path)
        case Kind.FILE:
            _write(path, entry, content_of(entry, root))


def _write(path: str, entry: Entry, content: bytes) -> None:
    when = EPOCH_S - entry.age_s
    if os.path.lexists(path):
        status = os.lstat(path)
        if (status.st_mtime, stat.S_IMODE(status.st_mode)) == (when, entry.mode):
            with open(path, "rb") as file:
                if file.read() == content:
                    return
        os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, entry.mode)
    os.utime(path, (when, when))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            _remove(os.path.join(path, name))
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _kind_of(entry: Entry) -> Kind:
    return Kind.FILE if entry.kind is Kind.HARD_LINK else entry.kind


def _kind_at(path: str) -> Kind | None:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return Kind.SYMLINK
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    return Kind.FILE if stat.S_ISREG(mode) else None
