"""What is executed of bubblewrap, and where a command may begin."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.probe import find_bubblewrap
from node.sandbox.bubblewrap import is_changeable, library_path, open_copy
from node.sandbox.command_line import why_not_begin
from node.sandbox.spawning import keep_descriptors


@pytest.fixture
def copy() -> Iterator[int]:
    made = open_copy(find_bubblewrap())
    yield made
    os.close(made)


def test_a_copy_is_executed_as_the_program_is(copy: int) -> None:
    path = find_bubblewrap()
    shown = [
        subprocess.run(
            [path, "--version"], executable=executable, env=library_path(path), check=True,
            capture_output=True, close_fds=False,
        ).stdout
        for executable in (path, f"/proc/self/fd/{copy}")
    ]  # fmt: skip
    assert shown[0] == shown[1] != b""


def test_a_copy_takes_no_writes_by_whomever(copy: int) -> None:
    os.fchmod(copy, 0o777)
    again = os.open(f"/proc/self/fd/{copy}", os.O_RDWR)
    for change in (
        lambda: os.pwrite(again, b"x", 0),
        lambda: os.ftruncate(again, 0),
        lambda: os.ftruncate(again, 1 << 20),
    ):
        with pytest.raises(PermissionError):
            change()
    os.close(again)


def test_each_copy_is_a_file_of_its_own(copy: int) -> None:
    other = open_copy(find_bubblewrap())
    os.fchmod(copy, 0)
    assert os.fstat(other).st_mode & 0o777 == 0o555
    os.close(other)


def test_only_what_the_nodes_user_may_change_is_copied(tmp_path: Path) -> None:
    path = str(tmp_path / "bwrap")
    Path(path).write_bytes(b"")
    os.chmod(path, 0)
    assert is_changeable(path)  # its owner's, who may do so again
    if not os.geteuid():
        child = os.fork()
        if not child:
            os.chmod(path, 0o755)
            os.chmod(tmp_path, 0o755)
            os.setresuid(60606, 60606, 60606)
            os._exit(is_changeable("/bin/sh"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_kernel_without_the_flag_makes_copies_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 6.3."""
    real = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 0x10:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    os.close(open_copy(find_bubblewrap()))


def test_a_kernel_that_executes_no_memory_is_told_with_a_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(PermissionError, match=r"vm\.memfd_noexec=1"):
        open_copy(find_bubblewrap())


def test_what_a_process_was_started_with_is_not_handed_down() -> None:
    handle = os.open("/", os.O_RDONLY)
    os.set_inheritable(handle, True)
    keep_descriptors()
    assert not os.get_inheritable(handle)
    assert os.get_inheritable(2)
    os.close(handle)


# ---- where a command begins -------------------------------------------------------------------------


def test_no_command_begins_where_the_host_can_be_reached(tmp_path: Path) -> None:
    tree, toolchain = tmp_path / "tree", tmp_path / "toolchain"
    for layer in (tree, toolchain):
        (layer / "a/b").mkdir(parents=True)
    (toolchain / "above").symlink_to("a")
    (tree / "above").mkdir()
    (tree / "link").symlink_to("/proc/self/fd/3")
    (toolchain / "a" / "link").symlink_to("/proc/self/fd")
    layers = [os.fsencode(tree), os.fsencode(toolchain)]
    for cwd in (b"/", b"/a", b"/a/b", b"/a/b/c", b"/above", b"/procedures"):
        assert why_not_begin(cwd, layers) == ""
    for cwd in (b"/proc", b"/proc/self/fd/3", b"/link", b"/a/link/3", b"//proc/self"):
        assert why_not_begin(cwd, layers), cwd
