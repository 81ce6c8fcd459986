"""What the owner of this machine does, as the kernel shows it: the processors that others than the node's jobs
use, and when somebody typed.

Only `node/core/lending.py` knows what follows. Two looks give what was used between them:

    used = (what ran on our processors - what the node and its jobs ran) / time

What ran is user, nice, system, irq and softirq time of /proc/stat (proc(5)), of the processors that we may run
on; waiting for a disk is not running, and stolen time is another machine's. The jobs' time is `cpu.stat` of the
control group where the node has its own, else that of this process, of all that it has buried, and of what
lives in the sandboxes.

Typing is seen at terminals: the kernel sets a terminal's atime, in steps of 8 s, when a program reads what was
typed. A graphical desktop reads its keyboard past them, and shows by its processors alone. Terminals of our
jobs come and go and are never typed at: one that is new says nothing yet.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from node.core.lending import Look
from node.errors import NodeError
from node.sandbox.watch import has_begun, pids_in, place_of

# user, nice, system, irq, softirq: guests' time is in the first two.
_RUNNING = (0, 1, 2, 5, 6)
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# utime, stime, cutime, cstime behind the name, in proc_pid_stat(5).
_TIMES = slice(11, 15)
_TERMINALS = ("/dev/tty*", "/dev/pts/[0-9]*")
# Less says nothing: a tick is 10 ms.
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    busy_s: float
    own_s: float


class Owner:
    """Looks at one machine; `cgroup` is the node's own group of version 2, if it has one, and `root` stands
    before each path, for tests."""

    def __init__(self, cgroup: str = "", root: str = "") -> None:
        self._cgroup = cgroup
        self._root = root
        self._names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        self._last: _Reading | None = None
        self._typed: dict[tuple[str, int], int] = {}
        self._typed_at = -math.inf
        try:
            self._busy_s()
        except (OSError, ValueError) as error:
            raise NodeError(
                f"--mode dedicated or off is all that can be done here: {error}"
            ) from error

    @property
    def processors(self) -> int:
        """Those that are looked at."""
        return len(self._names)

    def look(self, sandboxes: Iterable[int], now: float) -> Look | None:
        """What others have used since the last look, beside the sandboxes with these first processes; None: it
        is the first, or too soon."""
        last = self._last
        if last is not None and now - last.at < _LEAST_S:
            return None
        reading = _Reading(now, self._busy_s(), self._own_s(sandboxes))
        self._last = reading
        self._notice_typing(now)
        if last is None:
            return None
        others_s = (reading.busy_s - last.busy_s) - (reading.own_s - last.own_s)
        used = max(0.0, others_s / (now - last.at))
        return Look(min(used, float(self.processors)), now - self._typed_at)

    def forget(self) -> None:
        """Nobody looks for a while: the next look is a first one."""
        self._last = None

    def _busy_s(self) -> float:
        """Seconds that our processors have run."""
        with open(f"{self._root}/proc/stat") as file:
            rows = [line.split() for line in file if line.startswith("cpu")]
        found = [row[1:] for row in rows if row[0] in self._names]
        if not found:
            raise ValueError("/proc/stat has none of this node's processors")
        return sum(int(row[at]) for row in found for at in _RUNNING) * _TICK_S

    def _own_s(self, sandboxes: Iterable[int]) -> float:
        """Seconds that this node and its jobs have run."""
        if self._cgroup:
            with contextlib.suppress(OSError), open(f"{self._cgroup}/cpu.stat") as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "usage_usec":
                        return int(value) / 1e6
        usages = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return seconds + sum(map(_sandbox_s, sandboxes))

    def _notice_typing(self, now: float) -> None:
        is_first = not self._typed
        seen = dict(self._terminals())
        if is_first and seen:
            # By the wall's clock, once: later only that an atime has changed counts.
            age_s = max(0.0, time.time() - max(seen.values()) / 1e9)
            self._typed_at = now - age_s
        elif any(seen[each] != self._typed.get(each, seen[each]) for each in seen):
            self._typed_at = now
        self._typed = seen

    def _terminals(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Each terminal, told from one of its name before it, and when it was read last, in nanoseconds."""
        for pattern in _TERMINALS:
            for path in glob.glob(self._root + pattern):
                with contextlib.suppress(OSError):
                    found = os.stat(path)
                    yield (path, found.st_ctime_ns), found.st_atime_ns


def _sandbox_s(init_pid: int) -> float:
    """Seconds that the processes of a sandbox have run, with those that they have buried."""
    ticks = 0
    pids: list[int] = []
    with contextlib.suppress(OSError):
        pids = pids_in(init_pid) if has_begun(init_pid) else []
    for pid in pids:
        with (
            contextlib.suppress(OSError, ValueError),
            open(f"{place_of(init_pid, pid)}/stat") as file,
        ):
            # Its name, in brackets, may hold anything.
            fields = file.read().rpartition(")")[2].split()
            ticks += sum(map(int, fields[_TIMES]))
    return ticks * _TICK_S
