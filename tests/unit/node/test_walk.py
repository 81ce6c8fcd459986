"""Going through directories that somebody changes meanwhile, with few of them open."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.sandbox.walk import MAX_DEPTH, sizes_below


def deep(top: Path, levels: int) -> Path:
    """The last of so many directories; each has two more in it, so that one is come back to."""
    at = top
    for _ in range(levels):
        at = at / "d"
        at.mkdir()
        for name in ("a", "z"):
            (at / name).mkdir()
            (at / name / "file").write_bytes(b"x" * 5000)
    return at


def sizes(top: Path) -> Iterator[int]:
    return sizes_below(os.fsencode(top))


def all_of(top: Path) -> tuple[int, int]:
    """How many files and directories there are, and their bytes on disk."""
    found = [path.lstat().st_blocks * 512 for path in top.rglob("*")]
    return len(found), sum(found)


def test_all_is_found_with_few_directories_open(tmp_path: Path) -> None:
    deep(tmp_path, MAX_DEPTH - 2)
    before = len(os.listdir("/proc/self/fd"))
    most, found = 0, []
    for size_bytes in sizes(tmp_path):
        found.append(size_bytes)
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert (len(found), sum(found)) == all_of(tmp_path)
    assert most - before <= 20
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_symlink_is_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"x")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to(tmp_path / "outside")
    assert len(list(sizes(tmp_path / "top"))) == 1


def test_directories_beyond_a_depth_are_refused(tmp_path: Path) -> None:
    deep(tmp_path, MAX_DEPTH)
    with pytest.raises(OSError, match="nested too deeply"):
        list(sizes(tmp_path))


def test_what_is_removed_or_replaced_meanwhile_is_passed_by(tmp_path: Path) -> None:
    for name in ("gone", "link", "file"):
        (tmp_path / name).mkdir()
    found = sizes(tmp_path)
    next(found)
    for name in ("gone", "link", "file"):
        (tmp_path / name).rmdir()
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "file").write_bytes(b"")
    assert len(list(found)) <= 2


@pytest.mark.parametrize("is_replaced", [False, True])
def test_one_that_was_shut_and_is_moved_meanwhile_is_missed(
    tmp_path: Path, is_replaced: bool
) -> None:
    """Or a job could hide what it has written."""
    top = tmp_path / "top"
    top.mkdir()
    deep(top, 60)
    walk = sizes(top)
    for _ in range(3 * 50):
        next(walk)
    (top / "d").rename(tmp_path / "elsewhere")
    if is_replaced:
        (top / "d").mkdir()
    with pytest.raises(OSError) as raised:  # noqa: PT011 - its number is looked at
        list(walk)
    assert raised.value.errno in (errno.ESTALE, errno.ENOENT)
