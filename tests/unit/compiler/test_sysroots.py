"""What goes along of a sysroot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc.compiler.scan.provision import NOTHING
from zcc.compiler.toolchain.sysroots import Sysroots

TREE = (
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/12",
    "lib/firmware",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/gcc/notes",
    "usr/lib/gcc/x86_64-linux-gnu/11",
    "usr/lib/gcc/x86_64-linux-gnu/12.2.0",
)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    for name in TREE:
        (tmp_path / name).mkdir(parents=True)
    return os.fsencode(tmp_path)


def test_no_sysroot_is_no_question() -> None:
    assert Sysroots().places((), is_clang=True) == NOTHING


def test_gcc_looks_for_directories_of_libraries(root: bytes) -> None:
    found = Sysroots().places((root + b"/",), is_clang=False)
    assert {root, root + b"/usr", root + b"/usr/lib64"} <= {*found.directories}
    multiarch = root + b"/lib/x86_64-linux-gnu"
    assert {root + b"/lib", multiarch, multiarch + b"/12"} <= {*found.directories}
    assert root + b"/lib/firmware" not in found.directories
    assert (found.listed, found.optional) == ((), ())


def test_clang_looks_for_the_newest_gcc(root: bytes) -> None:
    found = Sysroots().places((root,), is_clang=True)
    triple = root + b"/usr/lib/gcc/x86_64-linux-gnu"
    assert {triple, root + b"/usr/include/c++"} <= {*found.listed}
    assert root + b"/usr/include" not in found.listed
    assert {triple + b"/11/crtbegin.o", triple + b"/12.2.0/32/crtbegin.o"} <= {*found.optional}
    assert triple + b"/12.2.0/../../../../include/c++/12.2.0" in found.directories
    named = Sysroots().places((triple + b"/11",), is_clang=True)
    assert triple + b"/11/crtbegin.o" in named.optional


def test_clang_looks_for_the_newest_api_of_android(root: bytes) -> None:
    found = Sysroots().places((root,), is_clang=True, is_android=True)
    assert root + b"/usr/include" in found.listed


@pytest.mark.parametrize("name", ["usr/lib/gcc/x86_64-linux-gnu/13", "lib/arm-none-eabi", "lib64"])
def test_what_comes_is_found_at_once(root: bytes, tmp_path: Path, name: str) -> None:
    sysroots = Sysroots()
    before = sysroots.places((root,), is_clang=True)
    assert sysroots.places((root,), is_clang=True) == before
    (tmp_path / name / "x86_64-linux-gnu").mkdir(parents=True)
    os.utime((tmp_path / name).parent, (1, 1))
    assert sysroots.places((root,), is_clang=True) != before
