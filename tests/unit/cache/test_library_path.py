"""Directories of LD_LIBRARY_PATH: whether one of them would give the compiler another library."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.library_path import LibraryPath
from zcc.compiler.toolchain.index import Toolchain

TOOLCHAIN = cast(
    Toolchain,
    SimpleNamespace(
        digest=digest_of(b"gcc"), members=[SimpleNamespace(path=b"/usr/lib/libmpfr.so.6")]
    ),
)


@pytest.mark.parametrize("is_old", [True, False])
def test_a_library_that_comes_is_found_whatever_time_the_directory_has(
    tmp_path: Path, is_old: bool
) -> None:
    modified_s = 1_000_000_000 if is_old else time.time()
    value, library = os.fsencode(tmp_path), tmp_path / "libmpfr.so.6"
    known = LibraryPath()
    for _ in range(2):
        os.utime(tmp_path, (modified_s, modified_s))
        assert known.first_shadow(value, b"/", TOOLCHAIN) is None
        library.touch()
        os.utime(tmp_path, (modified_s, modified_s))
        assert known.first_shadow(value, b"/", TOOLCHAIN) == os.fsencode(library)
        library.unlink()


def test_a_directory_that_comes_is_searched(tmp_path: Path) -> None:
    value = os.fsencode(tmp_path / "libraries")
    known = LibraryPath()
    assert known.first_shadow(value, b"/", TOOLCHAIN) is None
    (tmp_path / "libraries").mkdir()
    assert known.first_shadow(value, b"/", TOOLCHAIN) is None
    (tmp_path / "libraries" / "libmpfr.so.6").touch()
    assert known.first_shadow(value, b"/", TOOLCHAIN) == value + b"/libmpfr.so.6"
