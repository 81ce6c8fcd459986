"""A Debian that boots in a container of its own: systemd is its first process, and zcc is in /opt/zcc.

systemd-nspawn makes its namespaces; there is no network but its own loopback. What is run inside enters them
by nsenter, as nothing of the host's manager is needed for that.

The root is made once by mmdebstrap and the wheels of this checkout, below a directory that goes afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "gcc", "libc6-dev", "iproute2", "procps",
    "libpam-systemd", "dbus-user-session",  # for the manager of a user
)  # fmt: skip
_SUITE = "bookworm"  # its systemd is 252, the oldest that the units are held to
_NEEDED = ("mmdebstrap", "systemd-nspawn", "nsenter")
PATH = "/opt/zcc/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Timers that begin when a machine has booted, and would use its disk.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
)
_BOOT_S = 120.0
# A container has mounts over parts of /proc, which the sandbox needs plain. SYSTEMD_NSPAWN_API_VFS_WRITABLE
# leaves /proc/sys alone; the rest is taken away inside.
_PLAIN_PROC = (
    "for at in $(awk '$2 ~ \"^/proc/\" {print $2}' /proc/self/mounts | tac); do umount $at; done"
)


def why_not() -> str:
    """Empty where such a machine can be made, else the reason why not."""
    if os.geteuid():
        return "only root can boot a container"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (mmdebstrap, systemd-container)" if missing else ""


@dataclass
class Machine:
    """A booted one. `leader` is its first process, as the host counts."""

    root: Path
    leader: int

    def run(
        self, script: str, *, is_strict: bool = True, timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it as root."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        done = subprocess.run(
            [*enter, "env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "sh", "-c", script],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip
        print(f"$ {script}\n{done.stdout}{done.stderr}", flush=True)
        if is_strict:
            assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done

    def say(self, script: str) -> str:
        return self.run(script).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.say(f"systemctl show --property={name} --value {unit}")

    def wait(self, script: str, timeout_s: float = 120) -> None:
        """Return when the script succeeds."""
        deadline = time.monotonic() + timeout_s
        while self.run(script, is_strict=False).returncode:
            assert time.monotonic() < deadline, f"{script} does not come true"
            time.sleep(0.5)


def make_root(directory: Path) -> Path:
    """The disk of a machine with zcc on it."""
    root, wheels = directory / "root", directory / "wheels"
    _call("mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root))
    for name in _MASKED:
        (root / "etc/systemd/system" / name).symlink_to("/dev/null")
    python = _same_python(root)
    _call(python, "-m", "pip", "wheel", "-q", "-w", str(wheels), str(ROOT))
    shutil.copytree(wheels, root / "wheels")
    _call("chroot", str(root), "python3", "-m", "venv", "/opt/zcc")
    pip = ("chroot", str(root), "/opt/zcc/bin/pip", "install", "-q", "--no-index")
    _call(*pip, "--find-links", "/wheels", "zcc-farm")
    shutil.rmtree(root / "wheels")
    return root


def _same_python(root: Path) -> str:
    """This interpreter, whose wheels are to be those of the machine's."""
    done = subprocess.run(
        ["chroot", str(root), "python3", "-c", "import sys; print(*sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = ".".join(done.stdout.split())
    found = shutil.which(f"python{theirs}")
    if f"{sys.version_info.major}.{sys.version_info.minor}" == theirs:
        return sys.executable
    assert found, f"wheels for Python {theirs} are made by that Python, which is not here"
    return found


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot it; it is switched off in the end, and all its processes with it."""
    with open(root.parent / "console", "wb") as console:
        container = subprocess.Popen(
            ["systemd-nspawn", "--register=no", "--keep-unit", "--boot", "--private-network", "-D", str(root)],
            env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"},
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )  # fmt: skip
    try:
        machine = Machine(root, _leader(container))
        machine.wait("systemctl is-system-running | grep -E 'running|degraded'", _BOOT_S)
        machine.run("ip link set lo up")
        machine.run(_PLAIN_PROC)
        yield machine
    finally:
        container.terminate()  # nspawn has the machine switch itself off
        try:
            container.wait(_BOOT_S)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()


def _leader(container: subprocess.Popen[bytes]) -> int:
    """The first process of the container: nspawn's child."""
    deadline = time.monotonic() + _BOOT_S
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    while time.monotonic() < deadline and container.poll() is None:
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return int(pid)
        time.sleep(0.1)
    raise AssertionError("the container does not boot")


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
