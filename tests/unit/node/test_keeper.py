"""The keeper of a node's sandboxes, with any programs as sandboxes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.sandbox.keeper import MARK, end_left, mark_of, new_mark

NODE = """
import os, subprocess, sys
from node.sandbox.keeper import MARK, kept, new_mark
mark = new_mark(sys.argv[1])
with kept(mark):
    print(subprocess.Popen(["sleep", "60"], env={MARK: mark}, stdout=subprocess.DEVNULL).pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is kept, with a program that outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()
    end_left(mark_of(str(tmp_path)))


def number_of(node: subprocess.Popen[bytes]) -> int:
    assert node.stdout is not None
    return int(node.stdout.readline())


def wait_dead(handle: int) -> None:
    assert select.select([handle], [], [], 20)[0]


def test_what_bears_the_mark_ends_with_a_node_that_is_killed(
    node: subprocess.Popen[bytes],
) -> None:
    handle = os.pidfd_open(number_of(node))
    node.kill()
    wait_dead(handle)
    os.close(handle)


def test_a_keeper_goes_with_a_node_that_ends_in_order(node: subprocess.Popen[bytes]) -> None:
    left = number_of(node)
    with open(f"/proc/{node.pid}/task/{node.pid}/children") as file:
        (keeper,) = {int(word) for word in file.read().split()} - {left}
    node.communicate()
    assert node.returncode == 0
    assert not os.path.exists(f"/proc/{keeper}")
    os.kill(left, signal.SIGKILL)  # it was left alone


def test_only_what_bears_this_very_mark_is_ended(tmp_path: Path) -> None:
    state = f"{tmp_path}/state"
    os.mkdir(state)
    mark = new_mark(state)
    # Its own; that of the next node of this state directory; that of another directory with the same name.
    marks = [mark, new_mark(state)]
    os.rename(state, f"{tmp_path}/mine")
    os.mkdir(state)
    marks.append(new_mark(state))
    os.rename(state, f"{tmp_path}/others")
    os.rename(f"{tmp_path}/mine", state)
    sleepers = [subprocess.Popen(["sleep", "60"], env={MARK: each}) for each in marks]
    try:
        assert end_left(mark) == 1
        assert sleepers[0].wait(20) == -signal.SIGKILL
        assert [each.poll() for each in sleepers[1:]] == [None, None]
        assert end_left(mark_of(state)) == 1
        assert sleepers[1].wait(20) == -signal.SIGKILL
        assert sleepers[2].poll() is None
    finally:
        for each in sleepers:
            each.kill()
            each.wait()
