"""How a job's processes give way to everybody else's on this machine.

The class is SCHED_BATCH: what computes without a pause need not preempt who wakes up. Not SCHED_IDLE: of a
machine that somebody else fills it gets so little (3 shares to 1024, where nice 19 has 15) that its job would
not end within its time, and from it there is no way back for who is not root.

Where the kernel groups processes by session (`kernel.sched_autogroup_enabled`, the default of most desktops)
niceness counts inside a session only, and each sandbox is a session. There the session is given the niceness
too, by /proc/PID/autogroup (sched(7)), which takes ten writes a second from who is not root: it is written
while the job is watched, so that jobs of less than a tenth of a second go without.
"""

from __future__ import annotations

import contextlib
import os

LOWEST = 19


def lower(pid: int, nice: int) -> None:
    """Let this process, and all that it will start, give way; of one that is gone nothing is left to do."""
    if nice <= 0:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        # Whoever was started nicer than that stays so.
        os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))


def lower_running(leader: int) -> None:
    """Let the process group of a session's leader give way to all others, from now on."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PGRP, leader, LOWEST)


def lower_session(leader: int, nice: int) -> bool:
    """The same for the session that this process leads, if the kernel groups by sessions; whether it is done.

    A sandbox's first process leads one only when all is mounted: until then it is in the node's.
    """
    path = f"/proc/{leader}/autogroup"
    try:
        name, _, rest = _read(path).partition(" ")
        if not rest:
            return True  # processes are not grouped so
        if name == _read("/proc/self/autogroup").partition(" ")[0]:
            return False
        if int(rest.split()[-1]) >= nice:
            return True
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, b"%d" % nice)
        finally:
            os.close(handle)
    except BlockingIOError:
        return False  # too many in this tenth of a second
    except (OSError, ValueError):
        return True  # there is no such thing here, or the job is over
    return True


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
