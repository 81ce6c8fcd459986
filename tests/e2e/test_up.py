"""`zcc up` that is ended from outside: no process of its farm and no file of it is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import MARK, marked

PATIENCE_S = 60
BUILD = "setsid sleep 600 & while :; do zcc gcc -O2 -c a.c -DN=$n; n=$((n + 1)); done"


def wait_until(holds: Callable[[], bool], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "whom"),
    [
        (signal.SIGTERM, "front"),
        (signal.SIGHUP, "front"),
        (signal.SIGINT, "front"),
        (signal.SIGKILL, "front"),
        (signal.SIGTERM, "group"),
        (signal.SIGKILL, "group"),
        (signal.SIGKILL, "supervisor"),
    ],
)
def test_nothing_survives_zcc_up(tmp_path: Path, number: signal.Signals, whom: str) -> None:
    place, project, mark = tmp_path / "tmp", tmp_path / "project", uuid.uuid4().hex
    place.mkdir()
    project.mkdir()
    (project / "a.c").write_text("int x;\n")
    rng = random.Random(f"{number} {whom}")
    with subprocess.Popen(
        [Path(sys.executable).parent / "zcc", "up", "--", "sh", "-c", BUILD],
        cwd=project,
        env=os.environ | {"TMPDIR": str(place), MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            if rng.random() < 0.5:  # while it builds; else most likely while it starts
                wait_until((project / "a.o").exists, lambda: marked(mark))
            time.sleep(rng.uniform(0, 1.5))
            if whom == "group":
                os.killpg(process.pid, number)
            elif whom == "front":
                process.send_signal(number)
            else:
                task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                wait_until(lambda: bool(task.read_text()), lambda: marked(mark))
                os.kill(int(task.read_text().split()[0]), number)
            process.wait(PATIENCE_S)
            wait_until(
                lambda: not marked(mark) and not os.listdir(place),
                lambda: (marked(mark), os.listdir(place)),
            )
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("mode", "status"), [(None, 127), (0o644, 126)])
def test_a_command_that_cannot_be_run_ends_as_in_a_shell(
    tmp_path: Path, mode: int | None, status: int
) -> None:
    command = tmp_path / "nosuch"
    if mode is not None:
        command.write_text("")
        command.chmod(mode)
    done = subprocess.run(
        [Path(sys.executable).parent / "zcc", "up", "--nodes", "1", "--", command],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status
    assert done.stderr.startswith(f"zcc: {command}: ")
    assert len(done.stderr.splitlines()) == 1
