"""Local slots of an agent, and compilers that do not just end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import BIN, Farm
from zcc.capacity import processors

PATIENCE_S = 60


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@contextmanager
def all_slots(farm: Farm, top: Path) -> Iterator[list[int]]:
    """The compilers that hold all of the agent's slots, by their process ids."""
    begun = top / "begun"
    begun.mkdir()
    endless = script(top / "endless", f"echo >{begun}/$$; exec sleep {3 * PATIENCE_S}")
    environment = {**farm.local.environment, "PATH": os.environ["PATH"]}
    command = [str(BIN / "zcc"), endless, "-c", "x.c"]
    running = [
        subprocess.Popen(command, cwd=top, env=environment, stdin=subprocess.DEVNULL)
        for _ in range(processors())
    ]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while len(pids := list(map(int, os.listdir(begun)))) < len(running):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield pids
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_compilers_that_are_stopped_hold_nobody_up(farm: Farm, tmp_path: Path) -> None:
    """Ctrl-Z in one terminal, make in another."""
    quick = script(tmp_path / "quick", "echo done")
    with all_slots(farm, tmp_path) as pids:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with farm.ending("not-a-compile"):
            assert farm.run("zcc", quick, cwd=tmp_path, strict=False).stdout == b"done\n"


def test_what_a_compiler_leaves_behind_holds_no_slot(farm: Farm, tmp_path: Path) -> None:
    """As a wrapper does that starts its cache's server."""
    left = tmp_path / "left"
    leaving = script(
        tmp_path / "leaving",
        f"sleep {3 * PATIENCE_S} >&- 2>&- & echo $! >>{left}; echo done",
    )
    try:
        for _ in range(processors() + 1):
            with farm.ending("not-a-compile"):
                assert farm.run("zcc", leaving, cwd=tmp_path, strict=False).stdout == b"done\n"
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
