"""Trees that foreign code made are removed, whatever it made of them, by whoever owns them."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from pathlib import Path

import pytest

from node.sandbox.wiping import wipe
from tests.support.other_user import as_an_ordinary_user


@pytest.mark.long
def test_wiping_ends_for_deep_and_locked_directories(tmp_path: Path) -> None:
    top = os.fsencode(f"{tmp_path}/deep")
    os.mkdir(top)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
        os.mkdir("locked")
        os.chmod("locked", 0)
    finally:
        os.fchdir(here)
        os.close(here)
    wipe(top)
    assert not os.path.lexists(top)


def test_wiping_does_not_follow_symlinks(tmp_path: Path) -> None:
    outside = f"{tmp_path}/outside"
    os.mkdir(outside, 0o500)
    os.mkdir(f"{tmp_path}/top")
    os.symlink(outside, f"{tmp_path}/top/link")
    wipe(os.fsencode(f"{tmp_path}/top"))
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o500


def test_no_modes_of_directories_keep_anything() -> None:
    """To remove a name takes rights in the directory that has it: of two levels, each with each mode."""
    levels = ("a", "a/b")
    with as_an_ordinary_user() as place:
        for number, modes in enumerate(itertools.product(range(8), repeat=len(levels))):
            top = Path(place, str(number))
            Path(top, levels[-1]).mkdir(parents=True)
            for level in levels:
                Path(top, level, "file").touch()
            for level, mode in reversed(list(zip(levels, modes, strict=True))):
                Path(top, level).chmod(mode << 6)
            wipe(os.fsencode(top))
        assert os.listdir(place) == []


def test_a_deep_tree_without_a_right_in_it_goes() -> None:
    with as_an_ordinary_user() as place:
        Path(place, "top" + 100 * "/d").mkdir(parents=True)
        for depth in range(100, -1, -1):
            at = Path(place, "top" + depth * "/d")
            (at / "file").touch()
            at.chmod(0o500)
        wipe(os.fsencode(place) + b"/top")
        assert os.listdir(place) == []


def test_what_stays_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with as_an_ordinary_user() as place, caplog.at_level(logging.WARNING):
        Path(place, "kept/in").mkdir(parents=True)
        wipe(os.fsencode(place) + b"/was never there")
        assert caplog.messages == []
        os.chmod(place, 0o500)
        try:
            wipe(os.fsencode(place) + b"/kept")
        finally:
            os.chmod(place, 0o700)
    assert caplog.messages == [f"{place}/kept cannot be removed: Permission denied"]
