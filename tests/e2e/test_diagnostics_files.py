"""Diagnostics in files, and in other forms than text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import both_ways, project
from tests.e2e.test_profiles import remote

# sarif-file and json-file came with gcc 13, clang's sarif with 15.
NEWER = {
    "gcc": [f"gcc-{version}" for version in range(13, 20)],
    "clang": [f"clang-{version}" for version in range(15, 30)],
}


def newer(compiler: str) -> str:
    found = [name for name in NEWER[compiler] if shutil.which(name)]
    if not found:
        pytest.skip(f"no {compiler} from {NEWER[compiler][0]} on is installed")
    return found[0]


@pytest.mark.parametrize("form", ["sarif-file", "json-file"])
@pytest.mark.parametrize("words", ["", "-o out/x.y.o", "-o noext", "-save-temps -o out/x.o", "-S"])
def test_a_file_of_diagnostics_lies_where_gcc_puts_it(
    farm: Farm, tmp_path: Path, form: str, words: str
) -> None:
    top = project(tmp_path / "p")
    (top / "out").mkdir()
    before = remote(farm)
    compiler = newer("gcc")
    option = f"-fdiagnostics-format={form}"
    # With -pipe: a SARIF file of gcc 15 quotes cc1's arguments, temporary names among them.
    both_ways(farm, top, compiler, option, "-pipe", "-Wall", *words.split(), "-c", "a.c")
    assert remote(farm) == before + 1


@pytest.mark.parametrize("form", ["sarif-file", "json-file", "sarif-stderr"])
def test_a_form_that_gcc_does_not_know_is_its_own_error(
    farm: Farm, tmp_path: Path, form: str
) -> None:
    need("gcc")
    top = project(tmp_path / "p")
    option = f"-fdiagnostics-format={form}"
    both_ways(farm, top, "gcc", "-pipe", option, "-c", "a.c", ends="compile-error")


@pytest.mark.parametrize(
    ("compiler", "form"), [("gcc", "json"), ("gcc", "text"), ("clang", "msvc"), ("clang", "vi")]
)
def test_forms_that_go_to_standard_error_are_remote(
    farm: Farm, tmp_path: Path, compiler: str, form: str
) -> None:
    need(compiler)
    before = remote(farm)
    option = f"-fdiagnostics-format={form}"
    both_ways(farm, project(tmp_path / "p"), compiler, option, "-Wall", "-c", "a.c")
    assert remote(farm) == before + 1


def test_sarif_of_clang_is_remote(farm: Farm, tmp_path: Path) -> None:
    before = remote(farm)
    option = "-fdiagnostics-format=sarif"
    both_ways(farm, project(tmp_path / "p"), newer("clang"), option, "-Wall", "-c", "a.c")
    assert remote(farm) == before + 1


@pytest.mark.parametrize("words", ["-fprofile-sample-use", "-fno-auto-profile -fauto-profile"])
def test_sample_profiles_without_a_name_are_none(farm: Farm, tmp_path: Path, words: str) -> None:
    need("clang")
    top = project(tmp_path / "p")
    (top / "default.profdata").write_text("not read\n")
    before = remote(farm)
    both_ways(farm, top, "clang", "-O2", *words.split(), "-c", "a.c")
    assert remote(farm) == before + 1
