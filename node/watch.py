"""What a sandbox uses that the kernel does not limit for us: memory of all its processes, their
number, the disk.

Without a delegated cgroup nobody else counts these. The processes are listed by the sandbox's own
/proc, which shows exactly the pid namespace and cannot be unmounted from inside.
"""

from __future__ import annotations

import os
import resource

from node.sandbox import Limits
from zcc.messages import Fault

_PAGE_BYTES = resource.getpagesize()


class Watch:
    """One sandbox's use, and the most memory seen."""

    def __init__(self, limits: Limits, scratch: bytes) -> None:
        self.peak_bytes = 0
        self._limits = limits
        self._scratch = scratch

    def excess(self, init_pid: int, running_s: float) -> tuple[Fault, str] | None:
        """What the job has too much of, if anything; init_pid 0 when it is not known yet."""
        limits = self._limits
        if limits.wall_s is not None and running_s > limits.wall_s:
            return Fault.DEADLINE, f"not done after {limits.wall_s:g} s"
        disk = os.statvfs(self._scratch)
        if disk.f_bavail * disk.f_frsize < limits.free_disk_bytes:
            return Fault.RESOURCES, "the disk is almost full"
        pids = _pids_in(init_pid) if init_pid else []
        if limits.processes is not None and len(pids) > limits.processes:
            return Fault.RESOURCES, f"more than {limits.processes} processes"
        used_bytes = sum(_resident_bytes(init_pid, pid) for pid in pids)
        self.peak_bytes = max(self.peak_bytes, used_bytes)
        if limits.memory_bytes is not None and used_bytes > limits.memory_bytes:
            return Fault.RESOURCES, f"more than {limits.memory_bytes} bytes of memory"
        return None


def _pids_in(init_pid: int) -> list[int]:
    """The processes of a sandbox, by their numbers inside."""
    try:
        names = os.listdir(f"/proc/{init_pid}/root/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit()]


def _resident_bytes(init_pid: int, pid: int) -> int:
    try:
        with open(f"/proc/{init_pid}/root/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
