"""Ends the sandboxes that would outlive their node, whatever the node died of.

bubblewrap binds its life to its parent's by a signal that it asks for late (PR_SET_PDEATHSIG). Of a parent that
is dead by then it is never told, and what it runs goes on for ever, under no limit. What is true of a sandbox
from its birth is the environment that bubblewrap was started with: the node's mark, nothing else. The job has
another, and can change neither. bubblewrap is the first process of a sandbox too, with which all of it ends.

A keeper is forked while the node has one thread. It holds one end of a pipe whose other end only the node has.
When that is shut without a word, the keeper kills what bears the mark. A node that starts does the same, for
one whose keeper was killed too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

MARK = b"ZCC_NODE"
# A sandbox that was being started when its node died has no mark yet: until it has, which takes a millisecond.
_QUIET_S = 2.0
_LOOK_EVERY_S = 0.05
# One that the kernel cannot bury, for a disk that does not answer say, is not waited for longer.
_PATIENCE_S = 10.0
_TOKEN_BYTES = 8
_ENDED_IN_ORDER = b"."
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def mark_of(state: str) -> bytes:
    """What the marks of all nodes of this state directory begin with, and no others'.

    By the directory itself and not by its name alone, which another container may have for another one.

    Raises:
        OSError: there is no such directory.
    """
    status = os.stat(state)
    place = b"%d:%d:" % (status.st_dev, status.st_ino)
    return place + os.fsencode(os.path.realpath(state)) + b"//"


def new_mark(state: str) -> bytes:
    """A mark for one node's life: its keeper may still look when the next one has jobs."""
    return mark_of(state) + os.urandom(_TOKEN_BYTES).hex().encode()


def end_left(mark: bytes, quiet_s: float = 0.0) -> int:
    """Kill all sandboxes whose mark begins so, until there has been none for so long; how many there were.

    For nodes that are dead: who calls holds the lock of their state directory, or is the keeper. From within a
    user namespace beside theirs, marks are not to be seen.
    """
    environment = MARK + b"=" + mark
    ended: set[int] = set()
    now = time.monotonic()
    until, at_last = now + quiet_s, now + _PATIENCE_S
    while True:
        killed = {pid for pid in _pids() if _kill(pid, environment)}
        ended |= killed
        now = time.monotonic()
        if killed:
            until = now + quiet_s
        if (not killed and now >= until) or now >= at_last:
            return len(ended)
        time.sleep(_LOOK_EVERY_S)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _kill(pid: int, environment: bytes) -> bool:
    """Kill this process if it was started with an environment that begins so; one that is dead has none."""
    with contextlib.suppress(OSError):
        # The number may be another's by now, the handle cannot.
        handle = os.pidfd_open(pid)
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                is_marked = file.read(len(environment)) == environment
            if is_marked:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            return is_marked
        finally:
            os.close(handle)
    return False


@contextlib.contextmanager
def kept(mark: bytes) -> Iterator[None]:
    """Within, a keeper watches this process, which has one thread.

    Raises:
        OSError: the kernel gives no process or pipe.
    """
    out, into = os.pipe2(os.O_CLOEXEC)
    keeper = os.fork()
    if not keeper:
        try:
            _keep(mark, out)
        finally:
            os._exit(0)
    os.close(out)
    try:
        yield
        with contextlib.suppress(BrokenPipeError):
            os.write(into, _ENDED_IN_ORDER)
    finally:
        os.close(into)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(keeper, 0)


def _keep(mark: bytes, out: int) -> None:
    """The keeper's life."""
    os.setsid()
    for number in _IGNORED:  # they are for the node, after whom this ends by itself
        signal.signal(number, signal.SIG_IGN)
    # Neither the lock of the state directory nor an end of somebody's pipe is its to hold.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, out)
    os.closerange(out + 1, os.sysconf("SC_OPEN_MAX"))
    if os.read(out, 1) != _ENDED_IN_ORDER:
        end_left(mark, _QUIET_S)
