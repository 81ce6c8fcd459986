"""`zcc watch` and `zcc up --progress` on a real terminal: the line, and that all else is the command's own."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from zcc.agent.launchers import control

PATIENCE_S = 60.0
ROWS, COLUMNS = 24, 100
MAKEFILE = """\
all: one.o two.o three.o
%.o: %.c
\t@zcc gcc -O1 -c $< -o $@ && echo made $@ && test ! -e hold || while test -e hold; do sleep 0.1; done
"""


class Terminal:
    """A program whose standard streams are a terminal of its own."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.heard = ""

    def read(self) -> None:
        try:
            self.heard += os.read(self._master, 1 << 16).decode()
        except (BlockingIOError, OSError):
            pass

    def until(self, holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not holds():
            self.read()
            assert time.monotonic() < end_s, self.heard
            time.sleep(0.01)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Its status; all that it has written has been heard."""
        self.until(lambda: self.process.poll() is not None)
        self.read()
        os.close(self._master)
        return self.process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for number, name in enumerate(("one", "two", "three")):
        (tmp_path / f"{name}.c").write_text(f"int {name}(int a) {{ return a * {number + 7}; }}\n")
    return tmp_path


def environment_of(farm: Farm, **more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name not in ("MAKEFLAGS", "COLUMNS")}
    return {**kept, **farm.local.environment, "PATH": f"{BIN}:{os.environ['PATH']}", **more}


def watched(command: list[str], farm: Farm, cwd: Path, **more: str) -> Terminal:
    return Terminal([str(BIN / "zcc"), "watch", "--", *command], cwd, environment_of(farm, **more))


def test_a_line_says_how_far_the_build_is_and_goes(remembering: Farm, project: Path) -> None:
    (project / "hold").touch()
    terminal = watched(["make", "-j3"], remembering, project, ZCC_FALLBACK="never")
    terminal.until(lambda: "zcc: 3 done, 0 running, 0 from a cache" in terminal.heard)
    assert f"\x1b[1;{ROWS - 1}r" in terminal.heard
    (project / "hold").unlink()
    assert terminal.end() == 0
    *_, last = terminal.heard.split("\x1b[r")
    assert f"\x1b[{ROWS};1H\x1b[2K\x1b8zcc: 3 done in " in last
    assert "the farm" not in last
    assert all(f"made {name}.o" in terminal.heard for name in ("one", "two", "three"))


def test_hits_and_what_they_spared_are_counted_for_this_build_alone(
    remembering: Farm, project: Path
) -> None:
    for _ in range(2):
        for each in project.glob("*.o"):
            each.unlink()
        terminal = watched(["make"], remembering, project, ZCC_BUILD="the same name")
        assert terminal.end() == 0
        control.ask(remembering.local.environment["ZCC_SOCKET"], {"op": "settle"})
    last = terminal.heard.rpartition("zcc: ")[2]
    assert last.startswith("3 done in ")
    assert ", 3 from a cache, " in last


@pytest.mark.parametrize("status", [0, 7, 127])
def test_the_exit_status_is_the_commands(remembering: Farm, tmp_path: Path, status: int) -> None:
    assert watched(["sh", "-c", f"exit {status}"], remembering, tmp_path).end() == status


def test_a_command_that_a_signal_ends_ends_it_so(remembering: Farm, tmp_path: Path) -> None:
    terminal = watched(["sh", "-c", "kill -TERM $$"], remembering, tmp_path)
    assert terminal.end() == -signal.SIGTERM
    terminal = watched(["no-such-program"], remembering, tmp_path)
    assert terminal.end() == 127
    assert "no-such-program: command not found" in terminal.heard


def test_ctrl_c_is_the_commands_to_answer(remembering: Farm, tmp_path: Path) -> None:
    story = "trap 'echo ended well; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    terminal = watched(["sh", "-c", story], remembering, tmp_path)
    terminal.until(lambda: "ready" in terminal.heard and "zcc: 0 done" in terminal.heard)
    terminal.type(b"\x03")
    assert terminal.end() == 5
    assert "ended well" in terminal.heard


def test_without_a_terminal_nothing_is_said_and_the_output_is_the_commands(
    remembering: Farm, project: Path
) -> None:
    story = "printf 'out\\000\\377'; printf err >&2; echo $ZCC_BUILD; exit 3"
    done = subprocess.run(
        [BIN / "zcc", "watch", "--", "sh", "-c", story],
        cwd=project,
        env=environment_of(remembering, ZCC_BUILD="named"),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\0\xffnamed\n", b"err")


def test_a_farm_that_is_not_reached_is_said_once_and_the_build_goes_on(
    remembering: Farm, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = os.fspath(tmp_path_factory.mktemp("own"))
    elsewhere = {
        "ZCC_CONFIG_DIR": own,
        "ZCC_STATE_DIR": own,
        "ZCC_SOCKET": f"{own}/agent.sock",
    }
    try:
        terminal = watched(["make"], remembering, project, **elsewhere)
        assert terminal.end() == 0
    finally:
        subprocess.run(
            [BIN / "zcc", "agent", "stop"],
            env={**environment_of(remembering), **elsewhere},
            check=False,
            stdout=subprocess.DEVNULL,
        )
    last = terminal.heard.rpartition("zcc: 3 done in ")[2]
    assert last.count("no farm was joined: zcc doctor says why") == 1
    assert (project / "three.o").exists()


def test_up_shows_the_same_line(project: Path) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("MAKEFLAGS", None)
    command = [str(BIN / "zcc"), "up", "--nodes", "1", "--slots", "2", "--progress", "--", "make"]
    terminal = Terminal(command, project, environment)
    assert terminal.end() == 0
    assert "zcc: 3 done in " in terminal.heard
    quiet = subprocess.run(
        [*command[:-1], "sh", "-c", "echo out; exit 4"],
        cwd=project,
        env=environment,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (4, b"out\n", b"")
