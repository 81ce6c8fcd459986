"""What the agent has inherited from the call that started it, and puts back.

It serves all builds of its user. Were it to keep the first one's processors, niceness and limits, `taskset -c 0
make` would leave one slot to everybody, and `nice make` a slow agent. An ordinary process can neither lower its
niceness nor leave its cgroup: where the user's service manager runs, such an agent is started anew below that.
`zcc agent status` shows what remains.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from zcc.agent.launchers import control
from zcc.capacity import processors

# Beginnings of variables that are not a build's; the launcher has the same list (start.c).
VARIABLES = (
    "HOME=",
    "USER=",
    "LOGNAME=",
    "PATH=",
    "TMPDIR=",
    "XDG_",
    "ZCC_",
    "LANG=",
    "VIRTUAL_ENV=",
)
# An agent stays among the processes of its caller with this one set to `off`; `zcc up` ends all of those.
MANAGER_VARIABLE = "ZCC_SERVICE_MANAGER"
_OF_ONE_CALL = ("ZCC_GUARD", "ZCC_FALLBACK", "ZCC_READY_FD", "ZCC_START_LOCK_FD")
# Limits that fail a build's other compiles, where a hard one is set.
_NOTED_LIMITS = {
    "address space (ulimit -v)": resource.RLIMIT_AS,
    "data (ulimit -d)": resource.RLIMIT_DATA,
    "CPU time (ulimit -t)": resource.RLIMIT_CPU,
    "file size (ulimit -f)": resource.RLIMIT_FSIZE,
}
_OTHER_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK)
# The usual one. Without a limit the kernel lays out memory in another way.
_STACK_BYTES = 8 << 20
_PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS = 1
_MANAGER_START_S = 20.0
_LOOK_EVERY_S = 0.05
# An agent in a chroot, or in another mount namespace, leaves so soon: until then it keeps the mounts busy.
FOREIGN_IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """Where this process stands among the others of its machine."""

    processors: int
    nice: int
    cgroup: str
    remarks: tuple[str, ...]  # what could not be put back


def put_back() -> None:
    """Take what this machine gives to every process of this user."""
    try:
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
    except OSError:
        pass  # a filter forbids it: shown as the processors that are left
    _schedule_as_usual()
    for limit in (*_NOTED_LIMITS.values(), *_OTHER_LIMITS):
        _lift(limit)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK_BYTES:
        at_most = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(hard, _STACK_BYTES)
        resource.setrlimit(resource.RLIMIT_STACK, (at_most, hard))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _PYTHON_IGNORES:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir("/")


def standing() -> ProcessRank:
    """As it is now."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    remarks = []
    if nice > 0:
        remarks.append(f"runs with niceness {nice}, which only root can lower")
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        remarks.append("runs under a scheduling policy that only root can change")
    for name, limit in _NOTED_LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        if hard != resource.RLIM_INFINITY:
            remarks.append(f"has a hard limit of {name}: {hard}")
    cgroup = _cgroup()
    remarks += [f"its cgroup has {each}" for each in _cgroup_limits(cgroup)]
    return ProcessRank(processors(), nice, cgroup, tuple(remarks))


def reduced(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what belongs to one build."""
    return {
        name: value
        for name, value in environment.items()
        if f"{name}=".startswith(VARIABLES) and name not in _OF_ONE_CALL
    }


def start_below_manager(environment: Mapping[str, str], socket_path: str) -> bool:
    """Start another agent below the user's service manager, if one is there and has more to give.

    True when that agent listens: this one is not needed then.
    """
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    command = shutil.which("systemd-run")
    if environment.get(MANAGER_VARIABLE) == "off" or command is None or not standing().remarks:
        return False
    if not os.path.exists(os.path.join(runtime, "systemd", "private")):
        return False
    variables = reduced(environment) | {MANAGER_VARIABLE: "off", "ZCC_SOCKET": socket_path}
    words = [command, "--user", "--quiet", "--collect", f"--unit=zcc-agent-{os.getpid()}"]
    words += [f"--setenv={name}={value}" for name, value in variables.items()]
    try:
        done = subprocess.run(
            [*words, sys.argv[0], "serve"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MANAGER_START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and _listens_soon(socket_path)


def is_in_foreign_root() -> bool:
    """Whether this process is in a chroot or a mount namespace of its own, as far as it can tell.

    It is where the oldest process that this user may look at, his login's mostly, sees another root.
    """
    own = _view("self")
    listed = os.listdir("/proc") if os.path.isdir("/proc") else []
    for pid in sorted(int(name) for name in listed if name.isdigit()):
        view = _view(str(pid))
        if view is not None:
            return view != own
    return True  # no /proc: few but chroots have none


def _view(pid: str) -> tuple[int, int, int, bytes] | None:
    """What this process calls "/": device, inode, mount namespace, mount; None: that may not be seen."""
    try:
        root, namespace = os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{pid}/ns/mnt")
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            rows = [line.split() for line in file]
    except OSError:
        return None
    mounts = [row[0] for row in rows if row[4] == b"/"]
    return root.st_dev, root.st_ino, namespace.st_ino, mounts[-1] if mounts else b""


def _listens_soon(socket_path: str) -> bool:
    deadline = time.monotonic() + _MANAGER_START_S
    while time.monotonic() < deadline:
        if control.ask(socket_path, {"op": "status"}) is not None:
            return True
        time.sleep(_LOOK_EVERY_S)
    return False


def _schedule_as_usual() -> None:
    try:
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        pass  # from SCHED_IDLE there is no way back for a user: `standing` says so
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) != 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError:
        pass  # likewise
    if number := _IOPRIO_SET.get(platform.machine()):
        # 0: as the niceness says. A refusal leaves a slower disk.
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, 0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
    except OSError:
        pass  # not lower than what the login gave


def _lift(limit: int) -> None:
    """To no limit where that is allowed, else to the hard one."""
    try:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))


def _cgroup() -> str:
    """The path in the hierarchy of version 2; empty: none is used."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _cgroup_limits(cgroup: str) -> list[str]:
    """The limits of this cgroup alone: those above it hold for more than one caller."""
    found = []
    for name in ("cpu.max", "memory.max"):
        try:
            with open(f"/sys/fs/cgroup{cgroup}/{name}", encoding="ascii") as file:
                value = file.read().strip()
        except OSError:
            continue
        if cgroup != "/" and value.split()[0] != "max":
            found.append(f"{name} {value}")
    return found
