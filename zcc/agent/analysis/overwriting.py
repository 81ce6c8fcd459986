"""How a compiler writes an output that exists: it makes another file of that name, or writes into that one.

Found by `strace` of gcc 12 with binutils 2.40 and of clang 14; a test compares what is left:

    object of gcc (the assembler)   removes file or symlink and makes a new one, but writes into an empty file
    .dwo of gcc (objcopy)           the same
    assembly, .d, .su, .gcno of gcc, what -save-temps keeps
                                    writes into the file: its links, mode, group and attributes stay
    object and assembly of clang    a temporary file, renamed; but where its own assembler is a step by itself
                                    (-save-temps, assembly as source) it writes into the file
    .d of clang                     writes into the file

zcc has the whole output before it touches the file, and then does the same. Of others, what is no plain file is
left to the compiler.
"""

from __future__ import annotations

import os
import stat
from enum import Enum

from zcc.compiler.commandline.tables import Family

_GCC_WRITES_INTO = (b".d", b".su", b".gcno", b".i", b".ii", b".s")
_GCC_REPLACES = (b".dwo",)
_LABEL = "security.selinux"


class Way(Enum):
    REPLACES = "another file of that name"
    WRITES_INTO = "into the file that is there"
    UNKNOWN = "nobody has looked"


def way_of_main(family: Family, is_assembly: bool, is_assembled_apart: bool) -> Way:
    """How this family writes the object, or with `is_assembly` the assembly."""
    into = is_assembly if family is Family.GCC else is_assembled_apart and not is_assembly
    return Way.WRITES_INTO if into else Way.REPLACES


def way_of_side_file(family: Family, path: bytes) -> Way:
    """How this family writes what is no main output."""
    if path.endswith(b".d") or (family is Family.GCC and path.endswith(_GCC_WRITES_INTO)):
        return Way.WRITES_INTO
    if family is Family.GCC and path.endswith(_GCC_REPLACES):
        return Way.REPLACES
    return Way.UNKNOWN


def placing(path: bytes, way: Way, umask: int) -> Way | None:
    """How to put an output where this one is; None: only the compiler itself can."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return Way.REPLACES
    except OSError:
        return None
    if is_plain(path, status, umask) and not _has_attributes(path, status, way):
        return Way.REPLACES
    if status.st_uid != os.geteuid() or not os.access(path, os.W_OK):
        return None
    if way is Way.REPLACES and _is_filled_file(path):
        return way
    if way is Way.WRITES_INTO and stat.S_ISREG(status.st_mode):
        return way
    return None


def _has_attributes(path: bytes, status: os.stat_result, way: Way) -> bool:
    """Whether the file has attributes (an ACL, a label, a user's own) that another in its place would not have,
    and that the compiler may leave as they are."""
    if way is Way.REPLACES and status.st_size > 0:
        return False
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False  # this file system has none
    # Under SELinux every file has a label, nearly always the one that its directory gives.
    return any(name != _LABEL or way is Way.WRITES_INTO for name in names)


def is_plain(path: bytes, status: os.stat_result, umask: int) -> bool:
    """Whether a new file would be the same but for its content."""
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and stat.S_IMODE(status.st_mode) == 0o666 & ~umask
        and status.st_uid == os.geteuid()
        and status.st_gid == _group_of_new(os.path.dirname(path))
    )


def _is_filled_file(path: bytes) -> bool:
    status = os.stat(path)
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _group_of_new(directory: bytes) -> int:
    status = os.stat(directory)
    return status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
