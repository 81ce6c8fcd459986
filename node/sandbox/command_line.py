"""What a job's processes may see and do: bubblewrap's command line and the limits.

The root of a sandbox is an overlay: toolchain below, input tree above, and an empty directory on top
that takes everything the command writes. Nothing of the host is mounted but two devices, which the job
does not own: who owns one could change its modes for the whole machine. `/.zcc` is
ours (shim, log, TMPDIR); `/proc` is the sandbox's own, its first process covered; every other path, `/tmp`,
`/run` and `/dev/shm` included, is as toolchain and manifest say.

Mode `none` keeps the namespaces and the change of root, without which a job could not see its client's
paths at all, and drops what narrows the kernel: the system call filter, resource limits, the ban on
nested user namespaces. It is for machines where these cannot be had, and must be said aloud. A foreign
toolchain never runs on the host's own root.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from node.errors import ToolchainError
from node.sandbox.cgroup import Cgroups
from node.sandbox.proof import ToolchainView
from node.sandbox.seats import HOST_NAME
from zcc.job import MAX_BLOB_BYTES, MAX_MESSAGE_BYTES, SANDBOX_DIRECTORY, Job

SHIM_PLACE = SANDBOX_DIRECTORY + b"/lookups.so"
LOG_PLACE = SANDBOX_DIRECTORY + b"/log"
TMP_PLACE = SANDBOX_DIRECTORY + b"/tmp"
# gcc seeds from urandom. Each device costs a mount, 0.3 ms: no more than compilers use.
DEVICES = (b"/dev/null", b"/dev/urandom")
FIRST_PROCESS = b"/proc/1"
MOUNTED_DIRECTORIES = (b"/proc", TMP_PLACE)
MOUNTED_FILES = (*DEVICES, SHIM_PLACE, LOG_PLACE)
# bubblewrap makes its mount points by path before the root changes, so a symlink at one of these in a
# toolchain or an input tree could lead it out, to a file of the host.
MOUNTED_AT = (b"/proc", SANDBOX_DIRECTORY, *DEVICES)
# Signals that a job may have wait, beside those that are just flags. From Linux 5.14 on they are counted for
# its own user namespace.
_WAITING_SIGNALS = 256
# A driver, what it starts, scripts around them: a JVM has some 30.
_FEW_TASKS = 64
# What a job may have however little is reserved for it: more than nine of ten C++ compiles, at all options.
LEAST_LIMIT_BYTES = 2 << 30


class SandboxMode(Enum):
    FULL = "full"
    NONE = "none"


def most_tasks() -> int:
    """Processes and threads that a job may have: what a tool starts for each processor, and drivers, scripts.

    Where neither groups nor sessions are weighed as one, processors go by the number of tasks.
    """
    return _FEW_TASKS + 2 * len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. None: no limit.

    There is no limit of address space: gcc reads it and writes other objects under it.
    """

    wall_s: float | None = 900.0
    cpu_s: int | None = 900
    # Of all processes and TMPDIR together; node/sandbox/memory.py chooses it.
    memory_bytes: int | None = LEAST_LIMIT_BYTES
    tasks: int | None = field(default_factory=most_tasks)  # processes and threads
    open_files: int | None = 1024
    file_bytes: int | None = MAX_BLOB_BYTES  # of one file
    outputs_bytes: int = MAX_BLOB_BYTES  # of all declared outputs together
    message_bytes: int = MAX_MESSAGE_BYTES  # of stdout and of stderr
    tmp_bytes: int = 1 << 30  # of TMPDIR, in memory
    # gcc -fdump-tree-all writes some 300; each costs 1 KiB of the kernel's memory, or an inode of the disk.
    files: int = 10_000  # written, directories among them, in TMPDIR and elsewhere together
    written_bytes: int = 2 * MAX_BLOB_BYTES  # on disk
    free_disk_bytes: int = 1 << 30  # that must stay free where the sandbox writes
    nice: int = 0  # how much it gives way to others on this machine: node/sandbox/priority.py

    def of_process(self) -> list[tuple[int, tuple[int, int]]]:
        """The limits that the kernel keeps for each process."""
        chosen = [
            # Not 0, which a core_pattern that is a program's passes over, core(5). No file is of one byte.
            (resource.RLIMIT_CORE, 1),
            # Else signals that wait are counted for all of a user's processes together.
            (resource.RLIMIT_SIGPENDING, _WAITING_SIGNALS),
            (resource.RLIMIT_NICE, 0),  # no way back from giving way
            (resource.RLIMIT_RTPRIO, 0),
            (resource.RLIMIT_CPU, self.cpu_s),
            (resource.RLIMIT_NOFILE, self.open_files),
            (resource.RLIMIT_FSIZE, self.file_bytes),
        ]
        return [(kind, (value, value)) for kind, value in chosen if value is not None]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A way to sandbox that works on this machine, as `probe` found it. Paths on the host."""

    bubblewrap: str
    shim: str
    seccomp: str  # a file with the filter, of this process's own
    mode: SandboxMode = SandboxMode.FULL
    devices: tuple[tuple[bytes, bytes], ...] = tuple((device, device) for device in DEVICES)
    cgroups: Cgroups | None = None  # without them the limits are watched
    weaker: tuple[str, ...] = ()  # what holds less here than elsewhere, for the operator
    # By which a node's sandboxes are known when it is dead: node/sandbox/keeper.py.
    mark: bytes = b""

    @property
    def null(self) -> bytes:
        """The null device as the job has it, on the host."""
        return next(source for source, place in self.devices if place == b"/dev/null")

    def why_none(self) -> str:
        """Why no sandbox can be made any more, and what to do; empty while what it takes is there."""
        needed = (self.bubblewrap, self.shim, *(os.fsdecode(source) for source, _ in self.devices))
        gone = next((path for path in needed if not os.path.exists(path)), "")
        return f"{gone} is gone, which every sandbox needs: restart the node" if gone else ""

    def options(
        self,
        job: Job,
        toolchain_root: bytes,
        tree_root: bytes,
        scratch: bytes,
        tmp_bytes: int,
        has_own_network: bool = False,
    ) -> list[bytes]:
        """bubblewrap's options for a job, those with file descriptors excepted.

        `scratch` holds `upper`, `work` (empty directories, one file system) and `log`. `has_own_network`: who
        starts bubblewrap is in an empty network already (`node/sandbox/seats.py`).
        """
        return [
            *self._isolation(has_own_network),
            b"--overlay-src", toolchain_root,
            b"--overlay-src", tree_root,
            b"--overlay", scratch + b"/upper", scratch + b"/work", b"/",
            # Read-only: a node that runs as root owns /proc/sys in there, and a core_pattern written
            # from inside would run on the host. bubblewrap's own cover of it misses that case.
            b"--proc", b"/proc", b"--remount-ro", b"/proc",
            # Its first process is bubblewrap, which has the host's /proc open when the job begins, and through
            # it all that is beside that. What covers it takes no files.
            b"--tmpfs", FIRST_PROCESS, b"--remount-ro", FIRST_PROCESS,
            *(word for source, place in self.devices for word in (b"--dev-bind", source, place)),
            b"--ro-bind", os.fsencode(self.shim), SHIM_PLACE,
            b"--bind", scratch + b"/log", LOG_PLACE,
            b"--perms", b"0700", b"--size", b"%d" % tmp_bytes, b"--tmpfs", TMP_PLACE,
            *_environment(job),
            b"--chdir", job.cwd,
            b"--argv0", job.argv[0],
        ]  # fmt: skip

    def _isolation(self, has_own_network: bool) -> list[bytes]:
        # Named one by one: --unshare-all only tries user and cgroup.
        options = [
            b"--unshare-user", b"--unshare-pid", b"--unshare-ipc", b"--unshare-cgroup-try",
            b"--die-with-parent", b"--new-session", b"--cap-drop", b"ALL", b"--clearenv",
        ]  # fmt: skip
        if not has_own_network:
            options += (b"--unshare-net", b"--unshare-uts", b"--hostname", HOST_NAME)
        return options if self.mode is SandboxMode.NONE else [*options, b"--disable-userns"]


def _environment(job: Job) -> list[bytes]:
    """The job's variables, and ours over them.

    bubblewrap sets PWD to the cwd whatever one says, so the shim puts the job's own PWD, or none, in
    its place when the first process starts.
    """
    variables = {name: value for name, value in job.environment if not name.startswith(b"LD_")}
    variables[b"ZCC_PWD"] = variables.pop(b"PWD", b"")
    variables[b"LD_PRELOAD"] = SHIM_PLACE
    variables[b"TMPDIR"] = TMP_PLACE
    options: list[bytes] = []
    for name, value in variables.items():
        options += (b"--setenv", name, value)
    return options


def is_reserved(path: bytes, is_directory: bool = False) -> bool:
    """Whether no input and no toolchain member may lie here: the sandbox mounts on it, or below it."""
    if path in (b"/dev", b"/proc"):
        return not is_directory
    return any(path == place or path.startswith(place + b"/") for place in MOUNTED_AT)


def why_not_begin(cwd: bytes, layers: Iterable[bytes]) -> str:
    """Why no command may begin in this directory; empty when one may. `layers` are what the sandbox's root is
    made of, the uppermost first.

    bubblewrap goes there while it still has the host's /proc open. By /proc/self/fd, or a symlink to there, it
    would take the job along, past whose change of root that leads.
    """
    path = b""
    for name in filter(None, cwd.split(b"/")):
        path += b"/" + name
        if path == b"/proc":
            return f"{os.fsdecode(cwd)} is no directory to begin in"
        found = next(filter(None, (_status_of(layer + path) for layer in layers)), None)
        if found is not None and stat.S_ISLNK(found.st_mode):
            return f"{os.fsdecode(path)}, on the way to where the command begins, is a symlink"
    return ""


def _status_of(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def view_toolchain(root: bytes) -> ToolchainView:
    """What an unpacked toolchain holds.

    Raises:
        ToolchainError: it would reach into what the sandbox mounts.
    """
    members: set[bytes] = {b""}
    links: dict[bytes, bytes] = {}
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        with os.scandir(root + directory + b"/") as entries:
            for entry in entries:
                path = directory + b"/" + entry.name
                members.add(path)
                is_directory = entry.is_dir(follow_symlinks=False)
                if is_reserved(path, is_directory):
                    raise ToolchainError(f"a toolchain may not hold {os.fsdecode(path)}")
                if entry.is_symlink():
                    links[path] = os.readlink(entry.path)
                elif is_directory:
                    waiting.append(path)
    return ToolchainView(frozenset(members), links)
