"""A place for attack code: own mounts, processes and System V objects, and a /dev of its own.

A job that gets out of its sandbox, as one did on a machine whose /dev/null it then owned, meets what is made
here and thrown away with the last process. The way in is a script of its own process, so nothing of the
test's process is in reach, and there is no way round through a wrapper that would run the code outside.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

# The devices that a shell, a compiler and Python need, by major and minor number (devices.txt of the kernel).
_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_TIMEOUT_S = 100

_ENTER = "\n".join(
    [
        "set -e",
        "mount -t tmpfs -o mode=755 none /mnt",
        *(f"mknod -m 666 /mnt/{name} c {at[0]} {at[1]}" for name, at in _DEVICES.items()),
        "mkdir /mnt/shm /mnt/pts",
        "ln -s /proc/self/fd /mnt/fd",
        "mount -t devpts -o newinstance,ptmxmode=0666 none /mnt/pts",
        "ln -s pts/ptmx /mnt/ptmx",
        "mount --move /mnt /dev",
        'exec "$@"',
    ]
)


@functools.cache
def why_not() -> str:
    """Empty where an enclosure can be made, else the reason why not."""
    if os.getuid():
        return "an enclosure needs root, whose devices are what is attacked"
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    done = run(["test", "-c", "/dev/null", "-a", "!", "-e", "/dev/vda"])
    return "" if done.returncode == 0 else f"no namespaces here: {done.stderr.strip()}"


def run(command: list[str], timeout_s: float = _TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run a command inside, and kill whatever of it is left."""
    unshare = ("unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
    return subprocess.run(
        [*unshare, "sh", "-c", _ENTER, "sh", *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip


def run_module(
    name: str, *arguments: str, timeout_s: float = _TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests inside, with an interpreter that other users can start too."""
    path = os.pathsep.join(entry for entry in (os.getcwd(), *sys.path) if entry)
    return run(
        [
            "env",
            f"PYTHONPATH={path}",
            "PYTHONDONTWRITEBYTECODE=1",
            interpreter(),
            "-m",
            name,
            *arguments,
        ],
        timeout_s,
    )


def is_for_all_users() -> bool:
    """Whether `run_module` can run a module that becomes another user."""
    return interpreter() != sys.executable or _starts_for_others(sys.executable)


@functools.cache
def interpreter() -> str:
    """This Python, or the system's of the same version where this one lies in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    system = f"/usr/bin/python{version}"
    if _starts_for_others(sys.executable) or not _starts_for_others(system):
        return sys.executable
    return system


@functools.cache
def _starts_for_others(path: str) -> bool:
    nobody = 65534
    try:
        done = subprocess.run(
            [path, "-c", "import os"], user=nobody, group=nobody, extra_groups=[], check=False,
            capture_output=True,
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0
