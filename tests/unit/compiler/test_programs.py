"""Helpers on PATH that are not the toolchain's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from zcc.agent.analysis.helpers_on_path import first_shadow, odd_path
from zcc.compiler.commandline.option import Family
from zcc.compiler.toolchain.index import Toolchain


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("own", "other", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "as").write_text("the toolchain's")
    return tmp_path


def shadow(here: Path, *path: str, own: str | None = "own/as") -> bytes | None:
    programs = {} if own is None else {"as": os.fsencode(here / own)}
    entries = [os.fsencode(each.replace("@", str(here))) for each in path]
    toolchain = cast(Toolchain, SimpleNamespace(programs=programs))
    return first_shadow(b":".join(entries), os.fsencode(here), toolchain)


@pytest.mark.parametrize("entry", ["other", "./other", "@/other", "@/other/"])
def test_a_helper_in_front_of_the_toolchains_is_found(here: Path, entry: str) -> None:
    assert shadow(here, entry, "@/own") is None
    (here / "other" / "as").write_text("another")
    found = shadow(here, entry, "@/own")
    assert found is not None
    assert os.path.samefile(found, here / "other" / "as")
    assert shadow(here, "@/own", entry) is None


@pytest.mark.parametrize("entry", ["", "."])
def test_the_current_directory_counts_where_path_names_it(here: Path, entry: str) -> None:
    (here / "as").write_text("another")
    assert shadow(here, entry, "@/own")
    assert shadow(here, "@/own", entry) is None


def test_another_name_for_the_toolchains_own_is_no_shadow(here: Path) -> None:
    (here / "other" / "as").symlink_to("../own/as")
    assert shadow(here, "@/other", "@/own") is None


def test_a_helper_that_the_compiler_has_beside_itself_is_not_looked_for_on_path(here: Path) -> None:
    (here / "other" / "as").write_text("another")
    assert shadow(here, "@/other", "@/empty") is None


def test_a_helper_where_the_toolchain_has_none_counts(here: Path) -> None:
    (here / "as").write_text("one")
    assert shadow(here, "@/empty", "", own=None)


def test_without_a_path_nothing_is_looked_for(here: Path) -> None:
    (here / "as").write_text("one")
    toolchain = cast(Toolchain, SimpleNamespace(programs={}))
    assert first_shadow(None, os.fsencode(here), toolchain) is None


@pytest.mark.parametrize(
    ("path", "family", "programs", "reason"),
    [
        (b"", Family.GCC, {"as": b"/usr/bin/as"}, "it is empty"),
        (b"", Family.CLANG, {}, "it is empty"),
        (b"/none", Family.GCC, {}, "no assembler is found"),
        (b"/none", Family.CLANG, {}, ""),
        (None, Family.GCC, {"as": b"/usr/bin/as"}, ""),
        (b"/none", Family.GCC, {"as": b"/usr/bin/as"}, ""),
    ],
)
def test_a_path_on_which_nothing_is_found_is_odd(
    path: bytes | None, family: Family, programs: dict[str, bytes], reason: str
) -> None:
    toolchain = cast(Toolchain, SimpleNamespace(programs=programs, family=family))
    assert odd_path(path, b"/", toolchain) == reason
