"""Whom a node runs as: not as root, whose jobs would own in the kernel's eyes what root owns.

A node that root starts becomes, for good, in this order: whom `--user` names; the owner of its state
directory; the system user `zcc`; else a number of its own that needs no account. What it then has to
reach, and cannot give itself any more, is looked at before: its state and its own program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import stat
import sys
from dataclasses import dataclass

import zmq

from node.errors import NodeError

SYSTEM_USER = "zcc"
# systemd's table of user numbers leaves 60706 to 61183 to nobody, and containers map the first 65536 mostly.
OWN_NUMBER = 60888
STAY = "root"
ANY = "any"
# Directories that everybody may enter, unlike root's home.
ROOTS_STATE = "/var/lib/zcc-node"
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2


@dataclass(frozen=True, slots=True)
class User:
    """Somebody to become, by number."""

    name: str
    uid: int
    gid: int


def choose_user(asked: str, state: str) -> User | None:
    """Whom to become, None to stay who we are.

    Raises:
        NodeError: nobody can be asked for who is not root, or there is no such user, or he cannot reach
            what a node needs; the message says what to do.
    """
    if os.geteuid():
        if asked not in ("", ANY, name_of(os.geteuid())):
            raise NodeError(f"--user {asked}: only root can become somebody else")
        return None
    if asked == STAY or (asked in ("", ANY) and _is_nobody_outside()):
        return None
    user = _default_user(state) if asked in ("", ANY) else _named(asked)
    closed = _what_is_closed(user, state)
    if closed and asked == ANY:
        return None
    if closed:
        raise NodeError(f"as root a node becomes the user {user.name}, who {closed}")
    return user


def become(user: User, state: str) -> None:
    """Give this user the state directory, and be nobody else from now on.

    Call it while the process has one thread.

    Raises:
        NodeError: the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Asked for by who started us, and forgotten by the kernel when a process changes its user.
    on_parents_death = ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(on_parents_death), 0, 0, 0)
    parent = os.getppid()
    try:
        _give(user, state)
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise NodeError(f"cannot become the user {user.name}: {error}; see --user") from error
    if on_parents_death.value:
        libc.prctl(_PR_SET_PDEATHSIG, on_parents_death.value, 0, 0, 0)
        if os.getppid() != parent:  # who died in between
            os.kill(os.getpid(), signal.Signals(on_parents_death.value))


def default_state(usual: str) -> str:
    """Where a node keeps its state if nobody says: root's in a place that others can enter, unless he has
    one in the usual place from before."""
    return ROOTS_STATE if not os.geteuid() and not os.path.exists(usual) else usual


def name_of(uid: int) -> str:
    """The user's name, or his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_nobody_outside() -> bool:
    """Whether root here is an ordinary user outside of this user namespace."""
    with open("/proc/self/uid_map") as file:
        return not any(line.split()[:2] == ["0", "0"] for line in file)


def _default_user(state: str) -> User:
    try:
        owner = os.stat(state)
        if owner.st_uid:
            return User(name_of(owner.st_uid), owner.st_uid, owner.st_gid)
    except FileNotFoundError:
        pass
    try:
        return _named(SYSTEM_USER)
    except NodeError:
        return User(str(OWN_NUMBER), OWN_NUMBER, OWN_NUMBER)


def _named(name: str) -> User:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError as error:
        if name.isdigit():
            return User(name, int(name), int(name))
        raise NodeError(f"--user {name}: there is no such user here") from error
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _what_is_closed(user: User, state: str) -> str:
    """What this user could not reach, and what to do; nothing if all is well."""
    closed = _first_closed(user, os.path.dirname(os.path.abspath(state)))
    if closed:
        return (
            f"cannot enter {closed}: move the state (mv {state} {ROOTS_STATE}; zcc-node serve --state"
            f" {ROOTS_STATE}), or say --user root"
        )
    for needed in (sys.executable, os.__file__, zmq.__file__, __file__):
        closed = _first_closed(user, os.path.dirname(os.path.realpath(needed)))
        if closed:
            return (
                f"cannot enter {closed}, where zcc is installed: install it where everybody can read"
                " (/opt, or pipx install --global), or say --user root"
            )
    return ""


def _first_closed(user: User, path: str) -> str:
    """The first directory on the way to this one that the user cannot enter, this one included."""
    parts = os.path.realpath(path).split("/")
    for count in range(1, len(parts) + 1):
        directory = "/".join(parts[:count]) or "/"
        try:
            status = os.stat(directory)
        except FileNotFoundError:
            return ""  # it will be made, by whoever needs it
        own = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
        if not status.st_mode >> own & 1:
            return directory
    return ""


def _give(user: User, state: str) -> None:
    """Make the directory and all in it this user's, if it is not; else what root has put there since, as
    joining again does."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    if os.stat(state).st_uid == user.uid:
        for name in os.listdir(state):
            _give_file(user, os.path.join(state, name))
        return
    for directory, directories, names in os.walk(state, topdown=False):
        for name in (*directories, *names):  # links to directories among the first
            os.lchown(os.path.join(directory, name), user.uid, user.gid)
        os.lchown(directory, user.uid, user.gid)


def _give_file(user: User, path: str) -> None:
    """Make a file of root's the user's, but none that the user could have linked here from elsewhere."""
    with contextlib.suppress(OSError):  # a link, or a special file
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and not status.st_uid:
                os.fchown(handle, user.uid, user.gid)
        finally:
            os.close(handle)
