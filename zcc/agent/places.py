"""Where a compile's outputs go on this disk, and whether they can be placed by rename."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """Physical paths of the outputs, the main one first, and the directories that they are in."""

    outputs: tuple[bytes, ...]
    directories: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Misplaced:
    """An output that only the compiler itself can write as it would."""

    reason: str
    path: bytes


def find_places(cwd: bytes, outputs: Iterable[bytes], umask: int) -> Places | Misplaced:
    """Resolve the outputs' directories; refuse what a rename would change.

    The compiler writes *into* an existing file: through a symlink, into each hard link, keeping the
    mode. Only for a plain file with the mode that a new one would get is a rename the same.
    """
    directories: dict[bytes, bytes] = {}
    placed: list[bytes] = []
    for output in outputs:
        spelled, name = os.path.split(os.path.join(cwd, output))
        directory = directories.get(spelled)
        if directory is None:
            directory = directories[spelled] = os.path.realpath(spelled)
            if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
                return Misplaced("output-directory", spelled)
        path = os.path.join(directory, name)
        if not name or not _is_replaceable(path, umask):
            return Misplaced("output-not-plain", path)
        placed.append(path)
    spellings = {**dict.fromkeys(directories), **dict.fromkeys(directories.values())}
    return Places(tuple(dict.fromkeys(placed)), tuple(spellings))


def _is_replaceable(path: bytes, umask: int) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and stat.S_IMODE(status.st_mode) == 0o666 & ~umask
        and status.st_uid == os.geteuid()
    )


def physical_pwd(environment: dict[bytes, bytes], cwd: bytes) -> bytes | None:
    """PWD where it names the current directory, as gcc and clang check before they believe it."""
    pwd = environment.get(b"PWD", b"")
    if not pwd.startswith(b"/"):
        return None
    try:
        return pwd if os.path.samefile(pwd, cwd) else None
    except OSError:
        return None
