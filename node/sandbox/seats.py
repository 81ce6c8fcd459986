"""The threads that jobs run on, each in a seat of its own: what the kernel keeps for a thread and hands down.

A mask of file modes, which is empty for what is started from here and for nobody else. And, where this process
may, an empty network namespace and one with the sandboxes' host name: to make and to bury these for each job
costs 1 ms of its CPU, as much of the kernel's own threads, and 10 ms of waiting. One job at a time runs in a
seat, so that no two are ever in one network; nothing in it is up, no job owns it, and nothing outlasts a job.

A thread may have namespaces of its own where its process may: as root, or in a user namespace of its own
(`own_user_namespace`). Elsewhere bubblewrap makes them for each job.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

from node.errors import SandboxError

HOST_NAME = b"zcc"
# linux/sched.h
_CLONE_FS, _CLONE_NEWUTS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x200, 0x4000000, 0x10000000, 0x40000000
# Where Ubuntu and its kin let programs have user namespaces by their profiles: ours has none, bubblewrap's may.
_RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
# linux/capability.h, version 3
_CAPABILITY_VERSION, _CAP_SYS_ADMIN = 0x20080522, 21
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_libc = ctypes.CDLL(None, use_errno=True)
_seat = threading.local()


def job_threads(count: int) -> ThreadPoolExecutor:
    """Threads for so many jobs at a time."""
    return ThreadPoolExecutor(count, "jobs", initializer=_take_seat)


def has_own_network() -> bool:
    """Whether what this thread starts is in an empty network already, under the sandboxes' host name."""
    return getattr(_seat, "has_network", False)


def own_user_namespace() -> bool:
    """Put this process, while it has one thread, in a user namespace where it is who it was; whether it could.

    It has no more rights on the machine than before; it may make its threads namespaces.
    """
    if not os.geteuid() or _is_restricted():
        return False
    uid, gid = os.geteuid(), os.getegid()
    # What an unshare cannot do for itself is to undo it: another process tries it first.
    child = os.fork()
    if not child:
        try:
            _enter_user_namespace(uid, gid)
            _unshare(_CLONE_NEWNET | _CLONE_NEWUTS)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] or _has_more_threads():
        return False
    _enter_user_namespace(uid, gid)
    return True


def _has_more_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1


def _is_restricted() -> bool:
    try:
        with open(_RESTRICTED) as file:
            return file.read().strip() != "0"
    except OSError:
        return False


def _enter_user_namespace(uid: int, gid: int) -> None:
    # Who has become another user may not write to what is his own in /proc otherwise.
    was_dumpable = _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    _unshare(_CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _libc.prctl(_PR_SET_DUMPABLE, was_dumpable, 0, 0, 0)
    # No others: one who owns a user namespace may look into any directory of his there, whatever its modes.
    _keep_capabilities(1 << _CAP_SYS_ADMIN)


def _take_seat() -> None:
    """
    Raises:
        SandboxError: the kernel refuses what takes no rights.
    """
    try:
        _unshare(_CLONE_FS)
    except OSError as error:
        raise SandboxError(f"a thread cannot have a mask of its own: {error}") from error
    os.umask(0)
    try:
        _unshare(_CLONE_NEWNET | _CLONE_NEWUTS)
        socket.sethostname(HOST_NAME.decode())
    except OSError:
        return
    if os.geteuid():
        _keep_capabilities(0)
    _seat.has_network = True


def _keep_capabilities(kept: int) -> None:
    """Give up all of this thread's but these bits, capabilities(7), for good."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    if _libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
