"""The real agent: what its first caller leaves it with, and when it goes."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from zcc.agent.launchers import control
from zcc.agent.launchers.inheritance import VARIABLES

BIN = Path(sys.executable).parent
PATIENCE_S = 30


@dataclass
class User:
    """Somebody without a farm, in a place of his own."""

    root: Path
    bin: Path = BIN
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("state", "config", "project"):
            (self.root / name).mkdir(mode=0o700)
        (self.root / "project" / "a.c").write_text("int x;\n")

    @property
    def socket(self) -> str:
        return str(self.root / "state" / "agent.sock")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.root),
            "ZCC_CONFIG_DIR": str(self.root / "config"),
            "ZCC_STATE_DIR": str(self.root / "state"),
            **self.extra,
        }

    def run(
        self, *words: str, prepare: Callable[[], object] | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.root / "project",
            env=self.environment | variables,
            preexec_fn=prepare,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def compile(self, prepare: Callable[[], object] | None = None, *before: str) -> None:
        done = self.run(*before, "zcc", "gcc", "-c", "a.c", prepare=prepare)
        assert (done.returncode, done.stderr) == (0, "")

    def status(self) -> dict[str, Any] | None:
        return control.ask(self.socket, {"op": "status"})

    def started(self) -> dict[str, Any]:
        """The agent's status, once it listens: its first caller waits for it for 5 s only."""
        self.wait_until(lambda: self.status() is not None)
        status = self.status()
        assert status is not None
        return status

    def pid(self) -> int:
        return int(self.started()["pid"])

    def has_another_agent_than(self, pid: int) -> bool:
        """Whether a compile has started one; for a moment there may be none."""
        self.compile()
        return int((self.status() or {"pid": pid})["pid"]) != pid

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.02)

    def close(self) -> None:
        status = self.status()
        if status is not None:
            control.ask(self.socket, {"op": "stop"})
            self.wait_until(lambda: not Path(f"/proc/{status['pid']}").exists())


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    user.close()


def burden() -> None:
    """What a first caller may come with, all at once."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, 7)
    for limit, soft in ((resource.RLIMIT_AS, 4 << 30), (resource.RLIMIT_NOFILE, 200)):
        resource.setrlimit(limit, (soft, resource.getrlimit(limit)[1]))
    Path("/proc/self/oom_score_adj").write_text("300")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.umask(0)


def write_nothing() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_an_agent_that_may_write_nothing_makes_way_to_one_that_may(user: User) -> None:
    """One that root starts can raise its limit."""
    user.run(
        "setpriv", "--bounding-set=-sys_resource", "zcc", "gcc", "-E", "a.c", prepare=write_nothing
    )
    pid = user.pid()
    limits = (
        resource.prlimit(pid, resource.RLIMIT_FSIZE),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    assert limits[0] == (0, 0)
    user.wait_until(lambda: user.has_another_agent_than(pid))
    assert resource.prlimit(user.pid(), resource.RLIMIT_FSIZE) == limits[1]


def test_the_agent_takes_nothing_of_its_first_caller(user: User) -> None:
    user.compile(burden)
    status = user.started()
    processors = len(os.sched_getaffinity(os.getpid()))
    assert status["slots"]["limit"] == processors
    assert status["standing"]["processors"] == processors
    pid = status["pid"]
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER
    if os.geteuid() == 0:  # others cannot lower their niceness: below
        assert status["standing"]["nice"] == 0
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max address space +unlimited", limits)
    assert not re.search(r"Max open files +200 ", limits)
    told = Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"SigBlk:\t0+\n", told)
    ignored = int(re.search(r"SigIgn:\t(\w+)", told)[1], 16)  # type: ignore[index]
    assert not ignored & 1 << signal.SIGHUP - 1
    assert re.search(r"Umask:\t0077", told)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_the_command_line_starts_it_without_the_builds_environment(user: User) -> None:
    assert user.run("zcc", "agent", "start", MAKEFLAGS="-j", ZCC_GUARD="2").returncode == 0
    variables = Path(f"/proc/{user.pid()}/environ").read_text().split("\0")[:-1]
    assert [each for each in variables if not each.startswith(VARIABLES)] == []
    assert not [each for each in variables if each.startswith("ZCC_GUARD")]


def test_launcher_and_command_line_keep_the_same_variables() -> None:
    source = (Path(__file__).parents[2] / "zcc" / "launcher" / "start.c").read_text()
    wanted = source.partition("wanted[] = {")[2].partition("};")[0]
    assert tuple(re.findall(r'"([^"]+)"', wanted)) == VARIABLES


# ---- the service manager ----


def without_rights() -> list[str]:
    """A command that keeps the user but may not raise a priority."""
    needs("setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def burden_of_niceness() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 7)


def test_a_niceness_that_cannot_be_lowered_is_told(user: User) -> None:
    user.compile(burden_of_niceness, *without_rights())
    user.started()
    done = user.run("zcc", "agent", "status")
    assert "odd          runs with niceness 7, which only root can lower" in done.stdout


@pytest.fixture
def manager(user: User) -> Path:
    """A service manager's command that says what it was asked for, and does it with rights of its own."""
    tools = user.root / "tools"
    tools.mkdir()
    private = user.root / "run" / "systemd"
    private.mkdir(parents=True, mode=0o700)
    (private / "private").touch()
    (user.root / "orders").mkdir()
    script = tools / "systemd-run"
    script.write_text(
        f"""#!{sys.executable} -ISE
import os, subprocess, sys
words = sys.argv[1:]
options = [word for word in words if word.startswith("--")]
environment = dict(word[9:].split("=", 1) for word in options if word.startswith("--setenv="))
command = words[len(options):]
with open({str(user.root / "orders")!r} + f"/{{os.getpid()}}", "w") as file:
    print(options[0], command[1:], file=file)
if os.fork() == 0:
    os.setsid()
    os.execve(command[0], command, environment)
"""
    )
    script.chmod(0o755)
    user.extra["PATH"] = f"{user.bin}:{tools}:{os.environ['PATH']}"
    user.extra["XDG_RUNTIME_DIR"] = str(user.root / "run")
    return user.root / "orders"


def test_an_agent_that_is_held_back_starts_below_the_service_manager(
    user: User, manager: Path
) -> None:
    user.compile(burden_of_niceness, *without_rights())
    user.started()
    assert [each.read_text() for each in manager.iterdir()] == ["--user ['serve']\n"]
    user.wait_until(lambda: not (user.root / "state" / "agent.starting").exists())


def test_an_agent_that_stands_well_needs_no_service_manager(user: User, manager: Path) -> None:
    user.compile()
    user.started()
    assert list(manager.iterdir()) == []


def test_a_service_manager_that_fails_is_no_harm(user: User, manager: Path) -> None:
    (user.root / "tools" / "systemd-run").write_text("#!/bin/sh\nexit 1\n")
    user.compile(burden_of_niceness, *without_rights())
    user.started()


# ---- other roots ----


def test_an_agent_in_a_chroot_leaves_soon_and_frees_it(user: User) -> None:
    """In a mount namespace, so that what is left over goes with it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare (util-linux)")
    inside = (
        "set -e; mkdir root; mount --rbind / root; "
        'chroot root sh -c \'cd /; exec zcc gcc -c "$0" -o "$1"\' $PWD/a.c $PWD/a.o; '
        "until umount -R root 2>/dev/null; do sleep 0.1; done"
    )
    done = user.run("unshare", "--mount", "--propagation", "private", "sh", "-c", inside)
    assert (done.returncode, done.stderr) == (0, "")
    assert (user.root / "project" / "a.o").exists()
    assert json.loads((user.root / "state" / "stats.json").read_text())


# ---- heavy links ----


def test_two_heavy_links_do_not_overlap(user: User) -> None:
    (user.root / "config" / "config.toml").write_text("slots = 4\n")
    linker = user.root / "gcc"
    busy, overlaps = user.root / "busy", user.root / "overlaps"
    linker.write_text(
        f"#!/bin/sh\nmkdir {busy} || echo two >>{overlaps}\nsleep 0.3\nrmdir {busy}\n"
    )
    linker.chmod(0o755)
    command: list[str | Path] = [user.bin / "zcc", linker, "-flto=auto", "a.o", "-o", "a"]
    started = [
        subprocess.Popen(command, cwd=user.root / "project", env=user.environment) for _ in range(4)
    ]
    assert [process.wait(PATIENCE_S) for process in started] == [0] * 4
    assert not overlaps.exists()


# ---- installations ----

ROOT = Path(__file__).parents[2]
LAUNCHER = sorted((ROOT / "zcc" / "launcher").glob("*.c"))


@dataclass
class Installed:
    """zcc in a virtual environment of its own: what pip puts there, with what it needs from this one."""

    root: Path

    def __post_init__(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.root], check=True)
        self.packages = Path(next(self.root.glob("lib/python*/site-packages")))
        needed = next(path for path in sys.path if path.endswith("site-packages"))
        (self.packages / "needed.pth").write_text(needed + "\n")

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def install(self, build: int) -> None:
        """As an upgrade does it: the old files go, and others come."""
        self.uninstall()
        for name in ("zcc", "cache"):
            shutil.copytree(ROOT / name, self.packages / name)
        script = self.bin / "zcc-agent"
        main = "import sys\nfrom zcc.entrance import main\nsys.exit(main())\n"
        script.write_text(f"#!{self.bin}/python\n{main}")
        script.chmod(0o755)
        options = ["-O1", f"-DZCC_BUILD={build}", "-o", str(self.bin / "zcc")]
        subprocess.run(["cc", *options, *map(str, LAUNCHER), "-lrt"], check=True)

    def uninstall(self) -> None:
        for name in ("zcc", "cache"):
            shutil.rmtree(self.packages / name, ignore_errors=True)
        for name in ("zcc", "zcc-agent"):
            (self.bin / name).unlink(missing_ok=True)


@pytest.fixture
def installed(user: User) -> Installed:
    installed = Installed(user.root / "venv")
    installed.install(build=1)
    user.bin = installed.bin
    return installed


def reasons(user: User) -> dict[str, int]:
    """Why calls ran here, by the running agent's account."""
    answer = control.ask(user.socket, {"op": "stats"})
    assert answer is not None
    found: dict[str, int] = answer["local_reasons"]
    return found


def test_an_upgrade_is_followed_by_another_agent(user: User, installed: Installed) -> None:
    user.compile()
    before = user.pid()
    installed.install(build=2)
    user.wait_until(lambda: user.has_another_agent_than(before))
    assert set(reasons(user)) == {"not-joined"}
    user.wait_until(lambda: not Path(f"/proc/{before}").exists())


def test_an_agent_whose_installation_is_gone_leaves(user: User, installed: Installed) -> None:
    user.compile()
    before = user.pid()
    installed.uninstall()
    user.wait_until(lambda: not Path(f"/proc/{before}").exists())
    assert not os.path.exists(user.socket)


def test_a_compile_that_runs_is_let_end_before_an_agent_leaves(
    user: User, installed: Installed
) -> None:
    slow = user.root / "slow"
    os.mkfifo(user.root / "go-on")
    slow.write_text(f"#!/bin/sh\nread line <{user.root}/go-on\nexit 5\n")
    slow.chmod(0o755)
    user.compile()
    before = user.pid()
    with subprocess.Popen(
        [installed.bin / "zcc", slow, "a.o"], cwd=user.root / "project", env=user.environment
    ) as process:
        try:
            user.wait_until(lambda: (user.status() or {}).get("slots", {}).get("used") == 1)
            installed.install(build=2)
            # The agent looks at its files every other second.
            user.wait_until(lambda: user.has_another_agent_than(before))
            assert Path(f"/proc/{before}").exists()
        finally:
            (user.root / "go-on").write_text("\n")
        assert process.wait(PATIENCE_S) == 5
    user.wait_until(lambda: not Path(f"/proc/{before}").exists())


def test_a_launcher_of_another_build_brings_its_own_agent(user: User, installed: Installed) -> None:
    """Once those of the first have been quiet for a while."""
    other = Installed(user.root / "other")
    other.install(build=3)
    user.compile()
    before = user.pid()
    user.bin = other.bin
    user.wait_until(lambda: user.has_another_agent_than(before))
    pid = user.pid()
    assert Path(f"/proc/{pid}/cmdline").read_text().startswith(str(other.bin))
    user.compile()
    assert user.pid() == pid
