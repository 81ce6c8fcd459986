"""How much memory jobs may have on this machine, and which of them goes when it is short.

    limit     --memory, or what this machine or container has, less KEEP_SHARE of it
    usable    min(limit, what is available now + what jobs have - KEEP_SHARE of all)
    of a run  what is reserved for it twice over, at least LEAST_LIMIT_BYTES, at most the limit

Available is MemAvailable of /proc/meminfo, and in each control group with a limit what is left of that, with
the page cache that can go. Pressure is `some avg10` of the group's memory.pressure, else of
/proc/pressure/memory (Documentation/accounting/psi.rst of the kernel).

A run may have more than is reserved for it while there is more. When there is not, the youngest of those that
have more goes, else the youngest: it has done the least. One that runs alone is left to its limit.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from node.sandbox.command_line import LEAST_LIMIT_BYTES
from zcc.capacity import available_bytes, memory_bytes, memory_levels, pressure_files
from zcc.lent import LentMemory

# Of all memory, what is left to the system and to the node itself, and at least so much.
KEEP_SHARE = 1 / 16
LEAST_KEPT_BYTES = 128 << 20
# A run's limit, in times of what is reserved for it.
HEADROOM = 2
# In percent of ten seconds in which nothing ran for want of memory: jobs go before it is worse.
MOST_STALLED = 5.0
# After a job has gone, the averages take so long to fall.
SETTLES_S = 10.0
_AVERAGE = re.compile(r"^(some|full) avg10=([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Holder:
    """A run: when it began, what it has, and what is reserved for it."""

    lease: bytes
    begun_s: float
    used_bytes: int
    reserved_bytes: int


class Gauge:
    """One machine's memory. `limit_bytes`: what the operator gives to jobs; 0: all but what is kept. `root`
    stands before each path, for tests."""

    def __init__(self, limit_bytes: int = 0, root: str = "") -> None:
        self._root = root
        self._levels = memory_levels(root)
        all_bytes = memory_bytes(root)
        self._kept_bytes = max(LEAST_KEPT_BYTES, int(KEEP_SHARE * all_bytes))
        most = max(0, all_bytes - self._kept_bytes) or limit_bytes
        self.limit_bytes = min(limit_bytes or most, most)
        self._pressed_s = -SETTLES_S

    def limit_of(self, reserved_bytes: int) -> int | None:
        """What a run may have at the most; None: nobody knows what there is."""
        if not self.limit_bytes:
            return max(LEAST_LIMIT_BYTES, HEADROOM * reserved_bytes)
        return min(self.limit_bytes, max(LEAST_LIMIT_BYTES, HEADROOM * reserved_bytes))

    def look(self, used_bytes: int) -> LentMemory | None:
        """What there is now, where jobs have so much; None: nobody knows."""
        if not self.limit_bytes:
            return None
        some, _ = self._pressure()
        return LentMemory(self.limit_bytes, self._usable_bytes(used_bytes), min(some, 100.0))

    def victim(self, holders: Iterable[Holder], now: float) -> Holder | None:
        """The run that has to go now, if memory is short."""
        found = list(holders)
        if len(found) < 2 or not self.limit_bytes:
            return None
        used_bytes = sum(each.used_bytes for each in found)
        is_over = used_bytes > self._usable_bytes(used_bytes)
        if not is_over and now - self._pressed_s >= SETTLES_S:
            _, full = self._pressure()
            if full > MOST_STALLED:
                self._pressed_s, is_over = now, True
        return youngest_beyond(found) if is_over else None

    def _usable_bytes(self, used_bytes: int) -> int:
        free_bytes = available_bytes(self._levels, self._root) - self._kept_bytes
        return max(0, min(self.limit_bytes, used_bytes + free_bytes))

    def _pressure(self) -> tuple[float, float]:
        """`some` and `full`, in percent; 0 where the kernel does not say."""
        for path in pressure_files(self._levels, self._root):
            with contextlib.suppress(OSError), open(path) as file:
                found = dict(_AVERAGE.findall(file.read()))
                return float(found.get("some", 0.0)), float(found.get("full", 0.0))
        return 0.0, 0.0


def youngest_beyond(holders: Iterable[Holder]) -> Holder:
    """The youngest that has more than is reserved for it, else the youngest; there must be one."""
    found = list(holders)
    beyond = [each for each in found if each.used_bytes > each.reserved_bytes]
    return max(beyond or found, key=lambda each: each.begun_s)
