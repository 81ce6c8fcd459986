"""Paths are walked as the kernel walks them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zcc.compiler.disk.paths import PathWalker, Walked


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    top = os.fsencode(os.path.realpath(tmp_path))
    os.makedirs(top + b"/real/deep")
    os.makedirs(top + b"/other")
    for name in (b"/real/file", b"/real/deep/file", b"/other/na\xffme"):
        with open(top + name, "wb") as file:
            file.write(b"x")
    os.symlink(b"real/deep", top + b"/link")
    os.symlink(top + b"/link", top + b"/other/absolute")
    os.symlink(b"loop-b", top + b"/loop-a")
    os.symlink(b"loop-a", top + b"/loop-b")
    os.symlink(b"nowhere", top + b"/dangling")
    return top


def test_dots_after_a_symlink_leave_where_it_led(top: bytes) -> None:
    walked = PathWalker().walk(top + b"/link/../file")
    assert walked == Walked(top + b"/real/file", ((top + b"/link", b"real/deep"),))


def test_every_symlink_on_the_way_is_written_down_once(top: bytes) -> None:
    walked = PathWalker().walk(b"other/absolute/file", top)
    links = ((top + b"/other/absolute", top + b"/link"), (top + b"/link", b"real/deep"))
    assert walked == Walked(top + b"/real/deep/file", links)


def test_what_is_missing_is_named_where_it_would_be(top: bytes) -> None:
    walker = PathWalker()
    links = ((top + b"/link", b"real/deep"),)
    assert walker.walk(top + b"/link/none/x.h") == Walked(None, links, top + b"/real/deep/none")
    assert walker.walk(top + b"/dangling").missing == top + b"/nowhere"
    assert walker.walk(top + b"/loop-a").physical is None
    assert walker.walk(b"").physical is None


def test_a_file_is_no_directory(top: bytes) -> None:
    walker = PathWalker()
    assert walker.walk(top + b"/real/file/../file").physical is None
    assert walker.walk(top + b"/real/file/").physical is None
    assert walker.walk(top + b"/real/deep/.").physical == top + b"/real/deep"


def test_bytes_that_are_no_text_are_kept(top: bytes) -> None:
    assert PathWalker().walk(top + b"//other/./na\xffme").physical == top + b"/other/na\xffme"


def test_files_are_looked_up_anew_and_directories_until_forgotten(top: bytes) -> None:
    walker = PathWalker()
    assert walker.walk(top + b"/new/file").physical is None
    assert walker.walk(top + b"/real/new").physical is None
    os.mkdir(top + b"/new")
    for name in (b"/new/file", b"/real/new"):
        with open(top + name, "wb"):
            pass
    assert walker.walk(top + b"/real/new").physical == top + b"/real/new"
    assert walker.walk(top + b"/new/file").physical is None
    walker.forget()
    assert walker.walk(top + b"/new/file").physical == top + b"/new/file"


def test_a_directory_is_looked_at_once(top: bytes) -> None:
    asked: list[bytes] = []

    def counting(look: Callable[[bytes], os.stat_result]) -> Callable[[bytes], os.stat_result]:
        def lstat(path: bytes) -> os.stat_result:
            asked.append(path)
            return look(path)

        return lstat

    walker = PathWalker(lstat=counting(os.lstat))
    walker.walk(top + b"/link/file")
    asked.clear()
    walker.walk(top + b"/link/file")
    assert asked == [top + b"/real/deep/file"]


_PARTS = st.sampled_from(
    [b"real", b"deep", b"file", b"link", b"other", b"absolute", b"..", b".", b"", b"none",
     b"dangling", b"loop-a", b"na\xffme"]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(_PARTS, min_size=1, max_size=8))
def test_a_walk_ends_where_the_kernel_does(top: bytes, parts: list[bytes]) -> None:
    path = top + b"/" + b"/".join(parts)
    walked = PathWalker().walk(path)
    try:
        status = os.stat(path)
    except OSError:
        assert walked.physical is None
        assert walked.missing is not None
        return
    assert walked.missing is None
    assert walked.physical == os.path.realpath(path)
    assert os.path.samestat(status, os.lstat(walked.physical))
    assert all(os.readlink(link) == target for link, target in walked.symlinks)
    assert all(
        os.path.realpath(os.path.dirname(k)) == os.path.dirname(k) for k, _ in walked.symlinks
    )
