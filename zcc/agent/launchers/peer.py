"""What the kernel tells of a launcher's process: which files it sees, and where its messages go.

A launcher in a sandbox or a container may well reach this agent's socket and still have other files under the
same names. What the agent finds on its disk says nothing about a compile there.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from enum import Enum
from functools import cache

from zcc.agent.analysis.outcome import Here
from zcc.agent.launchers.wire import Request
from zcc.reasons import Reason

# Device and inode numbers of the mount namespace, then of the root directory.
_View = tuple[int, int, int, int]
# While nobody waits for a slot, who has one is looked at so often.
UNHURRIED_S = 30.0
# Of a process in /proc/PID/stat, behind its name.
_STATE, _STARTED = 0, 19
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Capabilities by which a process reads what modes forbid (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH).
_OVERRIDES = 1 << 1 | 1 << 2


class CompilerState(Enum):
    """What a compiler does that was let go."""

    RUNNING = "running"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Rights:
    """Which files a process may read, as far as that differs among one user's."""

    groups: frozenset[int]
    overrides: int
    user_namespace: tuple[int, int] | None


class Looks:
    """When those who hold slots are looked at.

    A slot's connection outlives its compiler in whatever that has started (a cache's server), and one that is
    stopped has it for as long as it likes: nobody waits for either.
    """

    def __init__(self, now: float) -> None:
        self._last_s = now

    def is_time(self, now: float, is_waited_for: bool) -> bool:
        """Whether to look now, which is asked once a second."""
        if not is_waited_for and now < self._last_s + UNHURRIED_S:
            return False
        self._last_s = now
        return True


class Caller:
    """The process that has connected, while it waits for its answer, and then the compiler that it becomes.

    `pid` is that of SO_PEERCRED: 0 for a process that this one cannot see. `groups` are all that it belongs to;
    None where the kernel has not told.
    """

    __slots__ = ("_groups", "_pid")

    def __init__(self, pid: int, groups: frozenset[int] | None = None) -> None:
        self._pid = pid
        self._groups = groups

    def why_here(self, request: Request) -> Here | None:
        """What of the process keeps this command on this machine; None: nothing does."""
        if not self.sees_our_files():
            return Here(Reason.OTHER_NAMESPACE, "another mount namespace or root than the agent's")
        if not self.has_our_rights():
            return Here(Reason.OTHER_RIGHTS, "the agent may read files that the caller may not")
        if not self.stands_in(request.cwd):
            return Here(Reason.WORKING_DIRECTORY, "something has been mounted over it")
        if b"-pipe" in request.argv and not self._has_streams():
            return Here(Reason.CLOSED_STREAM, "gcc's own pipe takes its place")
        return None

    def sees_our_files(self) -> bool:
        """Whether a path means the same to it as to this process; False where that cannot be told."""
        own = _own_view()
        return own is not None and _view(self._pid) == own

    def has_our_rights(self) -> bool:
        """Whether it may read every file that this process may, as far as groups and capabilities decide.

        The agent's may be more than those of a call: after `newgrp`, or where root has given something up.
        """
        own = _own_rights()
        groups = _groups(self._pid) if self._groups is None else self._groups
        if not own.groups <= groups:
            return False
        if not own.overrides:
            return True
        overrides, namespace = _overrides(self._pid), _user_namespace(self._pid)
        return own.overrides & ~overrides == 0 and namespace == own.user_namespace

    def has_fewer_groups(self) -> bool:
        """Whether an agent that it starts could serve all of this one's callers: it may read less, for want of
        groups alone."""
        own = _own_rights()
        return not own.overrides and self._groups is not None and self._groups < own.groups

    def may_write_more(self) -> bool:
        """Whether an agent that it starts could serve all of this one's callers, and write larger files than
        this one may (a hard `ulimit -f`). Of other groups it could not, and the two would take turns."""
        own = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        if own == resource.RLIM_INFINITY or not self._pid:
            return False
        if self._groups is None or self._groups != _own_rights().groups:
            return False
        try:
            its = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)[1]
        except OSError:
            return False
        return its == resource.RLIM_INFINITY or its > own

    def niceness(self) -> int:
        """Its process's own, as nice(1) has set it; 0 where nobody can tell."""
        try:
            return os.getpriority(os.PRIO_PROCESS, self._pid) if self._pid else 0
        except OSError:
            return 0

    def standing(self, arrived_s: float) -> CompilerState:
        """What has become of it, now that it is a compiler. It came at `arrived_s` of the monotonic clock."""
        if not self._pid:
            return CompilerState.RUNNING  # nobody can tell
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return CompilerState.ENDED
        # Both of these clocks count from the start of the machine; the process's goes on while that sleeps.
        slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        is_another = int(fields[_STARTED]) * _TICK_S > arrived_s + slept_s + _TICK_S
        if is_another or fields[_STATE] in (b"Z", b"X"):
            return CompilerState.ENDED
        return CompilerState.STOPPED if fields[_STATE] in (b"T", b"t") else CompilerState.RUNNING

    def age_s(self) -> float:
        """How long ago its process began, less up to a tick: what was written just before it shows as earlier.
        0 where nobody can tell."""
        if not self._pid:
            return 0.0
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:
                began = int(file.read().rpartition(b")")[2].split()[_STARTED])
        except OSError:
            return 0.0
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - (began + 1) * _TICK_S)

    def stands_in(self, cwd: bytes) -> bool:
        """Whether its working directory is what this process finds by that name; False where nobody can tell.

        It is not where something has been mounted on the way since it went there.
        """
        try:
            return os.path.samefile(f"/proc/{self._pid}/cwd", cwd)
        except OSError:
            return False

    @property
    def directory(self) -> bytes:
        """Its working directory, whatever that is called by now; none of a process that this one cannot see."""
        return b"/proc/%d/cwd" % self._pid

    def merges_streams(self) -> bool:
        """Whether its standard output and error go to one place, or that cannot be told.

        Then their order shows, and a result that holds the two apart does not have it.
        """
        try:
            return os.path.samefile(f"/proc/{self._pid}/fd/1", f"/proc/{self._pid}/fd/2")
        except OSError:
            return True

    def _has_streams(self) -> bool:
        """Whether standard input, output and error are open; False where that cannot be told."""
        return all(os.path.exists(f"/proc/{self._pid}/fd/{number}") for number in range(3))


@cache
def _own_view() -> _View | None:
    return _view(os.getpid())


@cache
def _own_rights() -> _Rights:
    pid = os.getpid()
    return _Rights(_groups(pid), _overrides(pid), _user_namespace(pid))


def _groups(pid: int) -> frozenset[int]:
    """All groups of a process; none where that cannot be told."""
    return frozenset(
        map(int, (*_status(pid, b"Gid").split()[1:2], *_status(pid, b"Groups").split()))
    )


def _overrides(pid: int) -> int:
    """The effective capabilities that count; 0 where that cannot be told."""
    return int(_status(pid, b"CapEff") or b"0", 16) & _OVERRIDES


def _status(pid: int, name: bytes) -> bytes:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return file.read().partition(b"\n%b:" % name)[2].split(b"\n", 1)[0]
    except OSError:
        return b""


def _user_namespace(pid: int) -> tuple[int, int] | None:
    try:
        status = os.stat(f"/proc/{pid}/ns/user")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _view(pid: int) -> _View | None:
    try:
        mounts, root = os.stat(f"/proc/{pid}/ns/mnt"), os.stat(f"/proc/{pid}/root")
    except OSError:
        return None
    return mounts.st_dev, mounts.st_ino, root.st_dev, root.st_ino
