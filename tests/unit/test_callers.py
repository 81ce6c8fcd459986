"""What is told of a launcher by its process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zcc.agent.callers import Caller

# argv: the descriptor to say a byte on; a directory to make the root.
CODE = """
import os, sys
for directory in sys.argv[2:]:
    os.chroot(directory)
os.write(int(sys.argv[1]), b"x")
os.read(0, 1)
"""


@contextmanager
def process(*before: str, root: str = "", **streams: Any) -> Iterator[Caller]:
    """A process, under the command `before`, that waits until it is left."""
    told, tell = os.pipe()
    command = [*before, sys.executable, "-c", CODE, str(tell), *filter(None, [root])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(tell,), **streams) as child:
        os.close(tell)
        try:
            assert os.read(told, 1) == b"x"
            yield Caller(child.pid)
        finally:
            os.close(told)
            child.kill()


def test_a_process_of_ours_sees_our_files() -> None:
    with process() as caller:
        assert caller.sees_our_files()


def test_a_process_in_another_mount_namespace_does_not() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no user namespaces")
    with process(*unshare) as caller:
        assert not caller.sees_our_files()


def test_a_process_with_another_root_does_not(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("chroot is for root")
    with process(root="/") as caller:
        assert caller.sees_our_files()
    with process(root=str(tmp_path)) as caller:
        assert not caller.sees_our_files()


def test_of_a_process_that_cannot_be_seen_the_worst_is_thought() -> None:
    assert not Caller(0).sees_our_files()
    assert Caller(0).merges_streams()


def test_two_streams_to_one_pipe_are_merged() -> None:
    with process(stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as caller:
        assert caller.merges_streams()
    with process(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as caller:
        assert not caller.merges_streams()
    with process(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as caller:
        assert not caller.merges_streams()
