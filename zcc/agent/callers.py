"""What the kernel tells of a launcher's process: which files it sees, and where its messages go.

A launcher in a sandbox or a container may well reach this agent's socket and still have other files under the
same names. What the agent finds on its disk says nothing about a compile there.
"""

from __future__ import annotations

import os
from functools import cache

from zcc.agent.prepared import Here
from zcc.agent.wire import Request

# Device and inode numbers of the mount namespace, then of the root directory.
_View = tuple[int, int, int, int]


class Caller:
    """The process that has connected, while it waits for its answer.

    `pid` is that of SO_PEERCRED: 0 for a process that this one cannot see.
    """

    __slots__ = ("_pid",)

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def why_here(self, request: Request) -> Here | None:
        """What of the process keeps this command on this machine; None: nothing does."""
        if not self.sees_our_files():
            return Here("other-namespace", "another mount namespace or root than the agent's")
        if not self.stands_in(request.cwd):
            return Here("working-directory", "something has been mounted over it")
        if b"-pipe" in request.argv and not self._has_streams():
            return Here("closed-stream", "gcc's own pipe takes its place")
        return None

    def sees_our_files(self) -> bool:
        """Whether a path means the same to it as to this process; False where that cannot be told."""
        own = _own_view()
        return own is not None and _view(self._pid) == own

    def stands_in(self, cwd: bytes) -> bool:
        """Whether its working directory is what this process finds by that name; False where nobody can tell.

        It is not where something has been mounted on the way since it went there.
        """
        try:
            return os.path.samefile(f"/proc/{self._pid}/cwd", cwd)
        except OSError:
            return False

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


def _view(pid: int) -> _View | None:
    try:
        mounts, root = os.stat(f"/proc/{pid}/ns/mnt"), os.stat(f"/proc/{pid}/root")
    except OSError:
        return None
    return mounts.st_dev, mounts.st_ino, root.st_dev, root.st_ino
