"""What runs under a supervisor, and that nothing of it survives. Real processes and real signals."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.support.processes import MARK, marked

PATIENCE_S = 30
# A stubborn child in a session of its own, an orphan, and a command with a child.
PROGRAM = """
import os, subprocess, sys
from zcc.cli.supervisor import Work, die_with_parent, is_agent, make_directory, supervise
from zcc.cli.up import run_command
from zcc.errors import ConfigError

def run(group):
    os.makedirs(os.path.join(make_directory("zcc-test-"), "inner", "closed"))
    # A shell whose child is killed first says so: not among what is compared.
    stubborn = ["sh", "-c", "trap '' TERM HUP INT; sleep 600 & sleep 600"]
    subprocess.Popen(stubborn, start_new_session=True, stderr=subprocess.DEVNULL)
    subprocess.run(["sh", "-c", "setsid sh -c 'sleep 600; :' & :"])
    {extra}
    return run_command(["sh", "-c", {command!r}], os.environ, group)

sys.exit(supervise(Work(run, True, "zcc-test-", {options})))
"""
RUNS_ON = "sleep 600 & echo ready; wait"


@dataclass
class World:
    """A place for temporary files, and everything that was started with its mark."""

    place: Path
    mark: str

    def start(
        self,
        command: str = RUNS_ON,
        options: str = "",
        extra: str = "",
        prefix: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        program = PROGRAM.format(command=command, options=options, extra=extra)
        return subprocess.Popen(
            [*prefix, sys.executable, "-c", program],
            env=os.environ | {"TMPDIR": str(self.place), MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, (marked(self.mark), os.listdir(self.place))
            time.sleep(0.01)

    def wait_for_nothing(self) -> None:
        """Until neither a process nor a directory is left."""
        self.wait_until(lambda: not marked(self.mark) and not os.listdir(self.place))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, uuid.uuid4().hex)
    yield world
    for pid in marked(world.mark):
        os.kill(pid, signal.SIGKILL)


def ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def supervisor_of(process: subprocess.Popen[bytes]) -> int:
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(task.read_text().split()[0])


ENDING = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]


@pytest.mark.parametrize("number", ENDING)
def test_nothing_survives_a_signal_to_the_front(world: World, number: signal.Signals) -> None:
    with world.start() as process:
        ready(process)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == -number
        world.wait_for_nothing()


@pytest.mark.parametrize("number", ENDING)
def test_nothing_survives_a_signal_at_a_random_moment(world: World, number: signal.Signals) -> None:
    rng = random.Random(number)
    for _ in range(5):
        with world.start() as process:
            time.sleep(rng.uniform(0, 0.8))
            process.send_signal(number)
            process.communicate(timeout=PATIENCE_S)
            world.wait_for_nothing()


def test_nothing_survives_the_death_of_the_supervisor(world: World) -> None:
    with world.start() as process:
        ready(process)
        os.kill(supervisor_of(process), signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL
        world.wait_for_nothing()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_a_signal_to_the_whole_group(world: World, number: signal.Signals) -> None:
    with world.start(prefix=("setsid",)) as process:
        ready(process)
        os.killpg(process.pid, number)
        world.wait_for_nothing()


def test_nothing_survives_timeout(world: World) -> None:
    needs("timeout")
    with world.start(prefix=("timeout", "2")) as process:
        assert process.wait(PATIENCE_S) == 124
        world.wait_for_nothing()


def test_a_command_that_ends_takes_all_that_it_has_left_along(world: World) -> None:
    with world.start("sleep 600 & exit 7") as process:
        assert process.wait(PATIENCE_S) == 7
        world.wait_for_nothing()


def test_a_command_has_time_to_end_in_its_own_way(world: World, tmp_path: Path) -> None:
    cleaned = tmp_path.parent / f"cleaned-{world.mark}"
    command = f"trap 'sleep 0.2; echo done >{cleaned}; exit 1' TERM; echo ready; sleep 600 & wait"
    with world.start(command) as process:
        ready(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
        world.wait_for_nothing()
    assert cleaned.read_text() == "done\n"


def test_who_is_spared_goes_on(world: World) -> None:
    agent = world.place / "zcc-agent"
    agent.write_text("#!/bin/sh\nsleep 600; :\n")
    agent.chmod(0o755)
    extra = f"subprocess.run(['sh', '-c', 'setsid {agent} serve >/dev/null 2>&1 & :'])"
    with world.start(options="spares=is_agent", extra=extra) as process:
        ready(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    left = marked(world.mark)
    assert sorted("zcc-agent" in each or "sleep" in each for each in left.values()) == [True] * 2
    assert os.listdir(world.place) == ["zcc-agent"]


def test_a_work_that_only_ends_what_is_interrupted_leaves_a_daemon(world: World) -> None:
    with world.start("setsid sleep 600 >/dev/null 2>&1 & exit 0", "ends_all=False") as process:
        assert process.wait(PATIENCE_S) == 0
    assert any("sleep" in each for each in marked(world.mark).values())
    assert os.listdir(world.place) == []


def test_an_error_of_the_work_is_one_line(world: World) -> None:
    extra = "raise ConfigError('no farm today')"
    with world.start(extra=extra) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, b"zcc: no farm today\n")
    world.wait_for_nothing()


def test_what_nohup_switched_off_stays_off_for_the_command(world: World) -> None:
    with world.start(
        "kill -HUP $$; echo lived", prefix=("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    ) as process:
        assert process.communicate(timeout=PATIENCE_S)[0] == b"lived\n"


def test_the_keyboards_interrupt_is_the_commands_to_understand(world: World) -> None:
    """An interpreter takes Ctrl-C and goes on; and so does its farm."""
    command = (
        "trap 'echo heard' INT; echo ready; until read word; do :; done; echo got $word; exit 4"
    )
    program = PROGRAM.format(command=command, options="", extra="")
    pid, terminal = pty.fork()
    if pid == 0:
        environment = os.environ | {"TMPDIR": str(world.place), MARK: world.mark}
        os.execve(sys.executable, [sys.executable, "-c", program], environment)
    said = b""

    def hear(word: bytes) -> None:
        nonlocal said
        while word not in said:
            said += os.read(terminal, 1000)

    hear(b"ready")
    os.write(terminal, b"\x03")
    hear(b"heard")
    os.write(terminal, b"on\n")
    hear(b"got on")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    os.close(terminal)
    world.wait_for_nothing()
