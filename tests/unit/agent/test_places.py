"""Outputs are placed by rename only where that is what the compiler's own writing would come to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.output_places import (
    Misplaced,
    Outputs,
    Places,
    Wanted,
    find_places,
    physical,
    physical_pwd,
)
from zcc.agent.analysis.overwriting import Way
from zcc.agent.farm.uploads import InputUploads
from zcc.compiler.commandline.tables import Family
from zcc.job import FileInput, Manifest

UMASK = 0o022


def place(directory: Path, *outputs: bytes) -> Places | Misplaced:
    return find_places(os.fsencode(directory), outputs, UMASK, Family.GCC)


def test_outputs_are_physical_and_the_main_one_is_first(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    found = place(tmp_path, b"link/a.o", b"a.d")
    assert isinstance(found, Places)
    root = os.fsencode(tmp_path.resolve())
    assert found.outputs == (root + b"/real/a.o", root + b"/a.d")
    assert os.fsencode(tmp_path) + b"/link" in found.directories


def test_a_directory_is_physical_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    (tmp_path / "file").touch()
    root = os.fsencode(tmp_path.resolve())
    for spelled in (b"/link/..", b"/./real", b"/real/", b"/link/../../real"):
        assert physical(root + spelled) == root + b"/real" == os.path.realpath(root + spelled)
    assert physical(root + b"/file") is physical(root + b"/none") is None


def test_outputs_keep_the_names_that_the_command_has_for_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    cwd, root = os.fsencode(tmp_path), os.fsencode(tmp_path.resolve())
    files = (b"link/a.o", b"/dev/null", root + b"/real/../a.d")
    found = Wanted(cwd, UMASK, Family.GCC, Way.REPLACES, files, (b"link/a.c",)).find()
    assert isinstance(found, Outputs)
    assert tuple(map(found.as_spelled, found.files.outputs)) == files
    assert found.as_spelled(root + b"/real/a.c.005t.original") == b"link/a.c.005t.original"
    assert found.as_spelled(root + b"/real/other") == root + b"/real/other"


@pytest.mark.parametrize("what", ["link", "kind", "removed", "nothing"])
def test_outputs_have_moved_where_they_would_be_written_otherwise(
    tmp_path: Path, what: str
) -> None:
    for name in ("real", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("real")
    wanted = Wanted(os.fsencode(tmp_path), UMASK, Family.GCC, Way.REPLACES, (b"link/a.o", b"a.d"))
    found = wanted.find()
    assert isinstance(found, Outputs)
    if what == "link":
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("other")
    elif what == "kind":
        (tmp_path / "x").touch()
        os.link(tmp_path / "x", tmp_path / "a.d")
    elif what == "removed":
        (tmp_path / "real").rmdir()
    assert (found.first_moved() is None) == (what == "nothing")


@pytest.mark.parametrize("how", ["same name", "hard link", "symlink", "two files"])
def test_two_outputs_that_are_one_file_are_left_to_the_compiler(tmp_path: Path, how: str) -> None:
    names = (b"a.s", b"a.s") if how == "same name" else (b"a.s", b"a.d")
    assert isinstance(place(tmp_path, *names), Places)
    (tmp_path / "a.s").write_text("old")
    if how == "hard link":
        os.link(tmp_path / "a.s", tmp_path / "a.d")
    elif how == "symlink":
        (tmp_path / "a.d").symlink_to("a.s")
    elif how == "two files":
        (tmp_path / "a.d").write_text("old")
    found = place(tmp_path, *names)
    assert isinstance(found, Places) == (how == "two files")


def test_a_plain_file_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.o").touch(0o644)
    os.chmod(tmp_path / "a.o", 0o666 & ~UMASK)
    assert isinstance(place(tmp_path, b"a.o"), Places)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "mode", "directory"])
def test_what_a_rename_would_change_is_left_to_the_compiler(tmp_path: Path, kind: str) -> None:
    output, other = tmp_path / "a.o", tmp_path / "other"
    other.touch()
    if kind == "symlink":
        output.symlink_to("other")
    elif kind == "hard link":
        os.link(other, output)
    elif kind == "fifo":
        os.mkfifo(output)
    elif kind == "directory":
        output.mkdir()
    else:
        output.touch()
        os.chmod(output, 0o755)
    found = place(tmp_path, b"a.o")
    assert isinstance(found, Misplaced)
    assert found.reason == "output-not-plain"


def test_a_directory_that_is_missing_is_left_to_the_compiler(tmp_path: Path) -> None:
    found = place(tmp_path, b"none/a.o")
    assert isinstance(found, Misplaced)
    assert found.reason == "output-directory"


def test_pwd_counts_only_where_it_names_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    cwd, link = os.fsencode(tmp_path), os.fsencode(tmp_path / "link")
    assert physical_pwd({b"PWD": link}, cwd) == link
    assert physical_pwd({b"PWD": b"/"}, cwd) is None
    assert physical_pwd({b"PWD": b"."}, cwd) is None
    assert physical_pwd({}, cwd) is None


@pytest.mark.parametrize("name", [b"/proc/%d/cwd", b"//proc/%d/cwd/.", b"/dev/fd/%d"])
def test_the_name_that_another_process_has_is_left_to_the_compiler(
    tmp_path: Path, name: bytes
) -> None:
    found = physical_pwd({b"PWD": name % os.getpid()}, os.fsencode(tmp_path))
    assert isinstance(found, Misplaced)
    assert found.reason == "working-directory"


@pytest.mark.parametrize("own", [b"/proc/self/cwd", b"/proc/thread-self/cwd", b"//proc/self/cwd/."])
def test_a_processs_own_name_for_its_directory_is_believed(tmp_path: Path, own: bytes) -> None:
    cwd = os.fsencode(tmp_path)
    assert physical_pwd({b"PWD": own}, cwd) == own
    assert physical_pwd({b"PWD": own + b"/.."}, cwd) is None


def test_only_offered_files_are_read_and_only_if_they_are_what_was_hashed(tmp_path: Path) -> None:
    header = tmp_path / "a.h"
    header.write_bytes(b"old")
    digest = digest_of(b"old")
    uploads = InputUploads(1 << 20)
    assert uploads.read(digest, 0, 100) is None
    uploads.offer(Manifest(files=(FileInput(os.fsencode(header), digest),)))
    assert uploads.read(digest, 0, 100) is not None
    header.write_bytes(b"new")
    assert uploads.read(digest, 0, 100) is None
