"""A control group (version 2) for each job: the kernel then counts and keeps its memory and its tasks, and
gives each job the same share of the processors, however many processes it has.

What this machine must give us is a part of the tree of our own, with the controllers `memory` and `pids`:
a service with `Delegate=yes`, or `systemd-run --user --scope -p Delegate=yes zcc-node serve`. Only leaves may
hold processes, so the node moves into a leaf beside its jobs. A group that holds others' processes is left
alone: it belongs to whoever put them there.

Files and their meaning: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from node.errors import CgroupError
from zcc.messages import Fault

OWN_LEAF = "zcc-node"
JOB_PREFIX = "zcc-job-"
_CONTROLLERS = frozenset({"memory", "pids"})
# Taken where it is offered. Each job's group then weighs the default of 100; the node's own more, so that beats
# go on beside many jobs.
_SHARES, _OWN_WEIGHT = "cpu", 1000
# What a user needs to own of a group to be given it.
_DELEGATED_FILES = ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads")
_CURE = (
    "give the node a group of its own: systemd-run --user --scope -p Delegate=yes zcc-node serve"
)


@dataclass(frozen=True, slots=True)
class Group:
    """One job's group. A path below the mount of the tree."""

    path: str

    def admit(self, pid: int) -> None:
        """Take a process in, with all that it will start."""
        _write(f"{self.path}/cgroup.procs", str(pid))

    def peak_bytes(self) -> int:
        """The most memory so far; before Linux 5.19 what is used now."""
        for name in ("memory.peak", "memory.current"):
            with contextlib.suppress(OSError):
                return int(_read(f"{self.path}/{name}"))
        return 0

    def used_bytes(self) -> int:
        """The memory that it has now."""
        with contextlib.suppress(OSError, ValueError):
            return int(_read(f"{self.path}/memory.current"))
        return 0

    def excess(self) -> tuple[Fault, str] | None:
        """Which limit the job has run into, if any."""
        if _count(f"{self.path}/memory.events", "oom_kill"):
            limit = _read(f"{self.path}/memory.max").strip()
            return Fault.MEMORY, f"more than {limit} bytes of memory"
        if _count(f"{self.path}/pids.events", "max"):
            limit = _read(f"{self.path}/pids.max").strip()
            return Fault.RESOURCES, f"more than {limit} processes and threads"
        return None

    def kill(self) -> None:
        """Kill every process in it at once; before Linux 5.14 nothing."""
        with contextlib.suppress(FileNotFoundError):
            _write(f"{self.path}/cgroup.kill", "1")

    def remove(self) -> bool:
        """Whether it is gone; a process that the kernel has not quite buried yet keeps it."""
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


@dataclass(slots=True)
class Cgroups:
    """The part of the tree that is ours."""

    path: str
    _made: int = field(default=0)

    def make(self, memory_bytes: int | None, tasks: int | None) -> Group:
        """A group for one job.

        Raises:
            OSError: the tree is not ours any more.
        """
        self._made += 1
        group = Group(f"{self.path}/{JOB_PREFIX}{self._made}")
        os.mkdir(group.path)
        try:
            if memory_bytes is not None:
                _write(f"{group.path}/memory.max", str(memory_bytes))
                # Absent where the kernel does not count swap, or has none.
                with contextlib.suppress(FileNotFoundError):
                    _write(f"{group.path}/memory.swap.max", "0")
                # All or nothing: a compiler that lost a process says what no local run would.
                _write(f"{group.path}/memory.oom.group", "1")
            if tasks is not None:
                _write(f"{group.path}/pids.max", str(tasks))
        except OSError:
            group.remove()
            raise
        return group

    def give_to(self, user: int) -> None:
        """Let this user go on with it, when we are no longer root."""
        for group in (self.path, f"{self.path}/{OWN_LEAF}"):
            for name in _DELEGATED_FILES:
                os.chown(group + name, user, -1)


def claim_cgroups() -> Cgroups:
    """Take the group that this process runs in, and move this process to a leaf of it.

    Raises:
        CgroupError: there is none that is ours alone, with the reason.
    """
    return claim_at(own_group(), os.getpid())


def own_group() -> str:
    """The directory of this process's group.

    Raises:
        CgroupError: no version 2 tree is mounted, or not the part of it that we are in.
    """
    with open("/proc/self/cgroup") as file:
        own = [line[3:].rstrip("\n") for line in file if line.startswith("0::")]
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    for words in mounts:
        root, place, kind = words[3], words[4], words[words.index("-") + 1]
        if kind == "cgroup2" and own and (own[0] + "/").startswith(root.rstrip("/") + "/"):
            return os.path.normpath(place + "/" + own[0][len(root.rstrip("/")) :])
    raise CgroupError("no control groups of version 2 are mounted")


def claim_at(path: str, pid: int) -> Cgroups:
    """Take this group; see `claim_cgroups`."""
    if os.path.basename(path) == OWN_LEAF:
        path = os.path.dirname(path)  # claimed before, by this very process
    try:
        missing = _CONTROLLERS - set(_read(f"{path}/cgroup.controllers").split())
        if missing:
            raise CgroupError(f"no controller {' and '.join(sorted(missing))} in {path}; {_CURE}")
        if not os.access(f"{path}/cgroup.subtree_control", os.W_OK):
            raise CgroupError(f"{path} belongs to somebody else; {_CURE}")
        _clear(path)
        _settle(path, pid)
    except OSError as error:
        raise CgroupError(f"{error.filename or path}: {error.strerror}; {_CURE}") from error
    return Cgroups(path)


def _settle(path: str, pid: int) -> None:
    """Move into a leaf, and have the controllers in its siblings."""
    others = set(_read(f"{path}/cgroup.procs").split()) - {str(pid)}
    if others:
        raise CgroupError(f"{path} holds other processes too; {_CURE}")
    leaf = f"{path}/{OWN_LEAF}"
    os.makedirs(leaf, exist_ok=True)
    _write(f"{leaf}/cgroup.procs", str(pid))
    try:
        _hand_down(path)
    except OSError:
        _write(f"{path}/cgroup.procs", str(pid))
        raise


def _hand_down(path: str) -> None:
    """Have the controllers in the groups below."""
    if _SHARES in _read(f"{path}/cgroup.controllers").split():
        # Refused where a process of a real-time class is in it.
        with contextlib.suppress(OSError):
            _enable(path, _CONTROLLERS | {_SHARES})
            _write(f"{path}/{OWN_LEAF}/cpu.weight", str(_OWN_WEIGHT))
            return
    _enable(path, _CONTROLLERS)


def _enable(path: str, controllers: frozenset[str]) -> None:
    _write(f"{path}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def _clear(path: str) -> None:
    """Remove what a node that was killed has left."""
    for name in os.listdir(path):
        if name.startswith(JOB_PREFIX):
            left = Group(f"{path}/{name}")
            left.kill()
            left.remove()


def _count(path: str, name: str) -> int:
    """The value in a file of names and numbers; of a file that is not there 0."""
    with contextlib.suppress(FileNotFoundError):
        for line in _read(path).splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, text: str) -> None:
    # Not created where the kernel has none; and the write's error, not the close's, is told.
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
