"""What a sandbox uses that the kernel does not limit for us: time, disk, files; and, where no control
group counts them, the memory of all its processes, their number and that of their threads.

The processes are listed by the sandbox's own /proc, which shows exactly the pid namespace and cannot be
unmounted from inside. Memory that belongs to no process is refused by the system call filter, or lies in
TMPDIR, which is counted with it. A file that was removed and is held counts as one with a name.

A job owns what we look through, and could lock it where the node is not root. So what does not let itself be
looked at is not nothing: it stops the job, unless what was looked at has ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
import time
from dataclasses import dataclass

from node.errors import HoldsTooMuchError
from node.sandbox.cgroup import Group
from node.sandbox.command_line import TMP_PLACE, Limits
from node.sandbox.disk import JobDisk
from node.sandbox.nameless import has_ended, nameless_bytes, unless_ended
from node.sandbox.proof import LOG_BYTES
from node.sandbox.walk import CHANGED, sizes_below
from zcc.messages import Fault

_FIELD = re.compile(rb"^(State|VmRSS|VmSwap|VmPTE|Threads):\s*(\w+)", re.MULTILINE)
_PSS = re.compile(rb"^(?:Pss|SwapPss):\s*(\d+) kB", re.MULTILINE)
# Of a core: what all searches together may take, since Python runs one thread at a time. With a quarter another
# job waits four times as long for its turns.
SEARCHES_SHARE = 0.1
# And between two of one job there is so much, before the first too: a search is half of what a look costs
# (0.3 of 0.7 ms), and a compile that is over sooner is searched once, at its end. What a job writes meanwhile
# is what the disk takes: that it is short is looked for each time (`JobDisk`), and has all searched at once.
SEARCH_EVERY_S = 0.25
_STAT_BLOCK_BYTES = 512
# What a file system may take for a file beside its bytes: maps of its blocks, and some ahead.
_LOG_SLACK_BYTES = 1 << 20
# How something refuses to be looked at while its sandbox lasts; any other error is not the job's.
_HIDDEN = (*CHANGED, errno.EACCES, errno.EPERM)
# So do directories that only a job can have made so.
_ODD = (*_HIDDEN, errno.ENAMETOOLONG, errno.ESTALE)


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What all processes of a sandbox have at one moment."""

    memory_bytes: int = 0
    tasks: int = 0  # threads, those of one thread included


class Searches:
    """How often jobs' files are gone through, which costs what the jobs like: so that all of it together takes
    no more than its share, however many jobs there are. For all watches of a node."""

    def __init__(self) -> None:
        self.every_s = SEARCH_EVERY_S
        self._costs_s: dict[SandboxWatch, float] = {}
        self._lock = threading.Lock()

    def note(self, watch: SandboxWatch, cost_s: float) -> None:
        """A search has taken so much CPU time. 0: there will be no more."""
        with self._lock:
            self._costs_s.pop(watch, None)
            if cost_s:
                self._costs_s[watch] = cost_s
            self.every_s = max(SEARCH_EVERY_S, sum(self._costs_s.values()) / SEARCHES_SHARE)


class SandboxWatch:
    """One sandbox's use, and the most memory seen."""

    def __init__(
        self,
        limits: Limits,
        scratch: bytes,
        disk: JobDisk,
        searches: Searches,
        group: Group | None = None,
    ) -> None:
        self.peak_bytes = 0
        # At the last look.
        self.used_bytes = 0
        self.written_bytes = 0
        self.looked_at = 0.0
        self._disk = disk
        self._limits = limits
        self._scratch = scratch
        self._group = group
        self._searches = searches
        self._searched_s = 0.0  # when, of the run's time

    def close(self) -> None:
        """The job is over."""
        self._searches.note(self, 0.0)

    def excess(self, init_pid: int, running_s: float) -> tuple[Fault, str] | None:
        """What the job has too much of, if anything; init_pid 0 when it is not known yet.

        Its files, with those that it holds, are searched when it is time for that again.
        """
        now = time.monotonic()
        is_due = running_s - self._searched_s >= self._searches.every_s
        is_search = is_due or self._disk.is_asking(self, now)
        begun_s = time.thread_time()
        try:
            return self._excess(init_pid, running_s, now, is_search)
        finally:
            if is_search:
                self._searched_s, self.looked_at = running_s, now
                self._searches.note(self, time.thread_time() - begun_s)

    def _excess(
        self, init_pid: int, running_s: float, now: float, is_search: bool
    ) -> tuple[Fault, str] | None:
        limits = self._limits
        if limits.wall_s is not None and running_s > limits.wall_s:
            return Fault.DEADLINE, f"not done after {limits.wall_s:g} s"
        excess = self._disk.why_stop(self, self._scratch, limits.free_disk_bytes, now)
        if excess is not None:
            return excess
        tmp_files = held_bytes = 0
        if has_begun(init_pid):
            try:
                tmp_bytes, tmp_files, tmp_device = _tmp_of(init_pid)
                if tmp_files > limits.files:
                    return self._too_many()
                pids = pids_in(init_pid)
                # First how many there are: what follows goes through the files of each.
                excess = self._excess_of_processes(init_pid, pids, tmp_bytes)
                if excess is not None or not is_search:
                    return excess
                held_bytes = nameless_bytes(f"/proc/{init_pid}/root/proc", pids, tmp_device)
            except HoldsTooMuchError as error:
                return Fault.RESOURCES, str(error)
            except OSError as error:
                if not has_ended(f"/proc/{init_pid}"):
                    if error.errno not in _HIDDEN:
                        raise
                    return Fault.RESOURCES, f"a process cannot be looked into: {error.strerror}"
        return self.excess_of_files(tmp_files, held_bytes) if is_search else None

    def excess_of_files(self, tmp_files: int = 0, held_bytes: int = 0) -> tuple[Fault, str] | None:
        """Whether too much was written, by number or size: whatever follows goes through all of it.

        `held_bytes` are on disk beside what has a name.
        """
        limits = self._limits
        files, written_bytes = tmp_files, held_bytes
        try:
            log = os.lstat(self._scratch + b"/log")
            on_disk_bytes = log.st_blocks * _STAT_BLOCK_BYTES
            if max(log.st_size, on_disk_bytes - _LOG_SLACK_BYTES) > LOG_BYTES:
                return Fault.RESOURCES, "the log of look-ups was made larger than it is"
            if not log.st_mode & stat.S_IRUSR:
                return Fault.RESOURCES, "the log of look-ups was locked"
            for size_bytes in sizes_below(self._scratch + b"/upper"):
                files += 1
                written_bytes += size_bytes
                if files > limits.files:
                    break
            self.written_bytes = written_bytes
        except OSError as error:
            if error.errno not in _ODD:
                raise
            # A compiler reads and writes its own directories.
            return Fault.RESOURCES, f"a directory cannot be looked into: {error.strerror}"
        if files > limits.files:
            return self._too_many()
        if written_bytes > limits.written_bytes:
            return Fault.RESOURCES, f"more than {limits.written_bytes} bytes on disk"
        return None

    def _too_many(self) -> tuple[Fault, str]:
        return Fault.RESOURCES, f"more than {self._limits.files} files and directories"

    def _excess_of_processes(
        self, init_pid: int, pids: list[int], tmp_bytes: int
    ) -> tuple[Fault, str] | None:
        if self._group is not None:
            self.used_bytes = self._group.used_bytes()
            self.peak_bytes = max(self.peak_bytes, self._group.peak_bytes())
            return self._group.excess()
        limits = self._limits
        uses = [_use_of(place_of(init_pid, pid)) for pid in pids]
        if limits.tasks is not None and sum(use.tasks for use in uses) > limits.tasks:
            return Fault.RESOURCES, f"more than {limits.tasks} processes and threads"
        used_bytes = sum(use.memory_bytes for use in uses) + tmp_bytes
        if limits.memory_bytes is not None and used_bytes > limits.memory_bytes:
            places = [place_of(init_pid, pid) for pid in pids]
            used_bytes = tmp_bytes + _shared_out(places)
            if used_bytes > limits.memory_bytes:
                # One that ended meanwhile left what it shared to those that were asked after it.
                used_bytes = tmp_bytes + _shared_out(places)
        self.used_bytes = used_bytes
        self.peak_bytes = max(self.peak_bytes, used_bytes)
        if limits.memory_bytes is not None and used_bytes > limits.memory_bytes:
            return Fault.MEMORY, f"more than {limits.memory_bytes} bytes of memory"
        return None


def has_begun(init_pid: int) -> bool:
    """Whether the command of a sandbox with this first process may run: that leads a session of its own when
    all is mounted, and its own /proc is where ours was."""
    try:
        return bool(init_pid) and os.getsid(init_pid) == init_pid
    except ProcessLookupError:
        return False


def pids_in(init_pid: int) -> list[int]:
    """The processes of a sandbox that has begun, by their numbers inside.

    Raises:
        OSError: it is over, or cannot be looked into.
    """
    return [int(name) for name in os.listdir(f"/proc/{init_pid}/root/proc") if name.isdigit()]


def place_of(init_pid: int, pid: int) -> str:
    """Where a sandbox's process is shown, by its number inside; the first one is covered there."""
    return f"/proc/{init_pid}" if pid == 1 else f"/proc/{init_pid}/root/proc/{pid}"


def _use_of(place: str) -> ResourceUse:
    """What a process has, by its directory in /proc; nothing if it is gone."""
    status: dict[bytes, bytes] = {}
    with unless_ended(place):
        status = _status_in(place)
        if status.get(b"State") == b"Z" and int(status.get(b"Threads", 0)) > 1:
            # Its first thread has ended, and with it went all that /proc says of the process's memory.
            for thread in os.listdir(f"{place}/task"):
                with unless_ended(f"{place}/task/{thread}"):
                    found = _status_in(f"{place}/task/{thread}")
                    if b"VmRSS" in found:
                        status = found
                        break
    kilobytes = sum(int(status.get(name, 0)) for name in (b"VmRSS", b"VmSwap", b"VmPTE"))
    return ResourceUse(kilobytes << 10, int(status.get(b"Threads", 0)))


def _status_in(place: str) -> dict[bytes, bytes]:
    with open(f"{place}/status", "rb") as file:
        return dict(_FIELD.findall(file.read()))


def _shared_out(places: list[str]) -> int:
    """The bytes that processes have, where what they share is counted once: a walk over their pages."""
    return sum(map(_shared_out_bytes, places))


def _shared_out_bytes(place: str) -> int:
    found: list[bytes] = []
    with contextlib.suppress(OSError), open(f"{place}/smaps_rollup", "rb") as file:
        found = _PSS.findall(file.read())
    if not found:  # where it has ended what it shared is others' by now
        return _use_of(place).memory_bytes
    return sum(int(value) for value in found) << 10


def _tmp_of(init_pid: int) -> tuple[int, int, int]:
    """(bytes, files, device) of the sandbox's TMPDIR, a file system of its own in memory.

    Raises:
        OSError: it cannot be looked at.
    """
    place = b"/proc/%d/root" % init_pid + TMP_PLACE
    tmp = os.statvfs(place)
    used_bytes = (tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize
    return used_bytes, tmp.f_files - tmp.f_ffree, os.stat(place).st_dev
