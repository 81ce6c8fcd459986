"""Precompiled headers: the node takes what the compiler here would take, never the text in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import Site, assert_equal, need
from tests.e2e.conftest import Farm
from tests.e2e.test_callers import names
from tests.e2e.test_farm import both_ways

CMAKELISTS = """
cmake_minimum_required(VERSION 3.16)
project(words LANGUAGES C CXX)
set(CMAKE_BUILD_TYPE RelWithDebInfo)
add_library(count STATIC words.c)
target_precompile_headers(count PRIVATE <stdio.h> words.h)
add_executable(words main.cc other.cc)
target_precompile_headers(words PRIVATE <iostream> <string> words.h)
target_link_libraries(words count)
add_executable(again third.cc)
target_precompile_headers(again REUSE_FROM words)
"""
THIRD = "int main() { std::cout << words << std::endl; }\n"


@pytest.fixture
def site(farm: Farm, tmp_path: Path) -> Site:
    return Site(farm, tmp_path / "project", {})


def make(directory: Path, compiler: str, *arguments: str) -> None:
    subprocess.run([compiler, *arguments], cwd=directory, check=True)


def write(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / name.replace("_", ".", 1)).write_text(text)


def remote(farm: Farm) -> int:
    return int(farm.stats()["outcomes"]["remote"])


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_cmakes_precompiled_headers(site: Site, family: str, generator: str) -> None:
    need("cmake", "ninja")
    site.extra = {
        "CMakeLists.txt": CMAKELISTS,
        "other.cc": "std::string other;\n",
        "third.cc": THIRD,
    }
    # Two plain runs make different ones: they hold addresses, or the times of generated headers.
    site.ignored = ("*.gch", "*.pch")
    compilers = "-DCMAKE_C_COMPILER={cc} -DCMAKE_CXX_COMPILER={cxx}".format(**names(family))
    launchers = "-DCMAKE_C_COMPILER_LAUNCHER=zcc -DCMAKE_CXX_COMPILER_LAUNCHER=zcc"
    line = f"cmake -S . -B out -G '{generator}' {compilers} {launchers} >/dev/null 2>&1"
    line = f"{line}; cmake --build out -j 4 >/dev/null; echo a b | out/words"
    before = site.farm.stats()
    distributed = site.distributed(line)
    assert_equal(site.plain(line), distributed)
    assert distributed.remote + distributed.hits == 4
    after = site.farm.stats()
    assert after["proof_failures"] == before["proof_failures"]
    assert after["discrepancies"] == before["discrepancies"]
    made = after["local_reasons"]["makes-pch"] - before["local_reasons"].get("makes-pch", 0)
    assert made == 2


# ---- gcc -----------------------------------------------------------------------------------------

OLD, NEW = "#define VALUE 1\n", "#define VALUE 2\n"


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ('#include "x.h"\nint v = VALUE;\n', ()),
        ("#include <x.h>\nint v = VALUE;\n", ("-I.",)),
        ("int v = VALUE;\n", ("-include", "x.h")),
        ("int v = VALUE;\n", ("-include", "x.h", "-MD")),
        ("int first;\n#include <x.h>\nint v = VALUE;\n", ("-I.", "-Winvalid-pch")),
        ("int v = VALUE;\n", ("-include", "x.h", "-O3", "-fpic", "-Winvalid-pch")),
        ("int v = VALUE;\n", ("-include", "x.h", "-DVALUE=3", "-Winvalid-pch")),
    ],
)
def test_gcc_takes_the_precompiled_header_that_it_would_take_here(
    farm: Farm, tmp_path: Path, source: str, arguments: tuple[str, ...]
) -> None:
    """The text says another value by then, so the object tells which of the two was read."""
    write(tmp_path, x_h=OLD)
    make(tmp_path, "gcc", "-g", "-x", "c-header", "x.h", "-o", "x.h.gch")
    write(tmp_path, x_h=NEW, a_c=source)
    before = remote(farm)
    both_ways(farm, tmp_path, "gcc", "-g", *arguments, "-c", "a.c")
    assert remote(farm) == before + 1


def test_gcc_takes_a_precompiled_header_without_its_text(farm: Farm, tmp_path: Path) -> None:
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    make(tmp_path, "gcc", "x.h", "-o", "x.h.gch")
    (tmp_path / "x.h").unlink()
    both_ways(farm, tmp_path, "gcc", "-c", "a.c")


@pytest.mark.parametrize("words", [(), ("-MD",), ("-O2", "-MMD", "-Wall"), ("-fpic",)])
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_directory_of_precompiled_headers_goes_along(
    farm: Farm, tmp_path: Path, compiler: str, words: tuple[str, ...]
) -> None:
    """As qmake makes them: one for each language."""
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    (tmp_path / "x.h.gch").mkdir()
    for language in ("c", "c++"):
        make(tmp_path, "gcc", "-x", f"{language}-header", "x.h", "-o", f"x.h.gch/{language}")
    write(tmp_path, x_h=NEW)
    before = remote(farm)
    both_ways(farm, tmp_path, compiler, *words, "-c", "a.c")
    assert remote(farm) == before + 1


def test_what_comes_into_such_a_directory_or_goes_counts(farm: Farm, tmp_path: Path) -> None:
    """The node has a tree in which the file that is gone lies still."""
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    made = tmp_path / "x.h.gch"
    made.mkdir()
    make(tmp_path, "gcc", "-O2", "x.h", "-o", "x.h.gch/one")
    write(tmp_path, x_h=NEW)
    before = remote(farm)
    for _ in range(2):
        both_ways(farm, tmp_path, "gcc", "-O2", "-H", "-c", "a.c")
        (made / "one").rename(made / "other")
        (tmp_path / "a.o").unlink()
        both_ways(farm, tmp_path, "gcc", "-O2", "-H", "-c", "a.c")
        (made / "other").rename(made / "one")
        (tmp_path / "a.o").unlink()
    assert remote(farm) == before + 4


@pytest.mark.parametrize("words", ["-Winvalid-pch", "-H", "-Wp,-H"])
def test_messages_that_name_all_of_them_are_made_here(
    farm: Farm, tmp_path: Path, words: str
) -> None:
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    (tmp_path / "x.h.gch").mkdir()
    for language in ("c", "c++"):
        make(tmp_path, "gcc", "-x", f"{language}-header", "x.h", "-o", f"x.h.gch/{language}")
    before = farm.stats()["local_reasons"].get("precompiled-header", 0)
    both_ways(farm, tmp_path, "gcc", words, "-c", "a.c", ends="precompiled-header")
    assert farm.stats()["local_reasons"]["precompiled-header"] == before + 1


def test_a_directory_of_headers_for_one_language_is_not_sent(farm: Farm, tmp_path: Path) -> None:
    """gcc takes the first that fits, in the order of the file system."""
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    (tmp_path / "x.h.gch").mkdir()
    for level in ("-O0", "-O2"):
        make(tmp_path, "gcc", level, "x.h", "-o", f"x.h.gch/{level}")
    write(tmp_path, x_h=NEW)
    before = farm.stats()["local_reasons"].get("precompiled-header", 0)
    both_ways(farm, tmp_path, "gcc", "-O2", "-c", "a.c", ends="precompiled-header")
    assert farm.stats()["local_reasons"]["precompiled-header"] == before + 1


def test_a_precompiled_header_that_comes_and_goes_is_noticed(farm: Farm, tmp_path: Path) -> None:
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    made = tmp_path / "x.h.gch"

    def compile_both() -> None:
        both_ways(farm, tmp_path, "gcc", "-c", "a.c")
        (tmp_path / "a.o").unlink()

    compile_both()
    make(tmp_path, "gcc", "x.h", "-o", "x.h.gch")
    write(tmp_path, x_h=NEW)
    compile_both()
    made.rename(tmp_path / "kept")
    compile_both()
    (tmp_path / "kept").rename(made)
    compile_both()


# ---- clang ---------------------------------------------------------------------------------------

HEADER = '#pragma once\n#include <vector>\n#include "y.h"\ntemplate <class T> T twice(T t) { return t + t; }\n'
USER = "int f() { std::vector<int> v(Y); return twice(int(v.size())); }\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-include-pch", "x.h.pch"),
        ("-include", "x.h"),
        ("-Xclang", "-include-pch", "-Xclang", "x.h.pch", "-Xclang", "-include", "-Xclang", "x.h"),
    ],
    ids=" ".join,
)
def test_clang_takes_a_precompiled_header(
    farm: Farm, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """It holds the times of all that it was made of, and clang compares them."""
    need("clang++")
    write(tmp_path, x_h=HEADER, y_h="#define Y 7\n", a_cc=USER)
    os.utime(tmp_path / "y.h", (1_600_000_000, 1_600_000_000))
    make(tmp_path, "clang++", "-g", "-x", "c++-header", "x.h", "-o", "x.h.pch")
    before = remote(farm)
    both_ways(farm, tmp_path, "clang++", "-g", *arguments, "-MD", "-c", "a.cc")
    assert remote(farm) == before + 1


def test_clang_refuses_a_precompiled_header_that_is_older_than_its_text(
    farm: Farm, tmp_path: Path
) -> None:
    need("clang++")
    write(tmp_path, x_h=HEADER, y_h="#define Y 7\n", a_cc=USER)
    make(tmp_path, "clang++", "-x", "c++-header", "x.h", "-o", "x.h.pch")
    for again in ("#define Y 7\n", "#define Y 8\n"):
        write(tmp_path, y_h=again)
        os.utime(tmp_path / "y.h", (1_600_000_000, 1_600_000_000))
        plain, _ = both_ways(farm, tmp_path, "clang++", "-include", "x.h", "-c", "a.cc")
        assert plain.returncode == 1
        assert b"modified since" in plain.stderr


# ---- without the text that they were made of -----------------------------------------------------


@pytest.mark.parametrize("made", ["out/q.gch", "out/q.gch/c"])
@pytest.mark.parametrize("words", [(), ("-MD",), ("-O2", "-Winvalid-pch"), ("-fpch-preprocess",)])
def test_gcc_includes_what_is_only_there_precompiled(
    farm: Farm, tmp_path: Path, made: str, words: tuple[str, ...]
) -> None:
    write(tmp_path, p_h=OLD, b_c="int v = VALUE;\n")
    (tmp_path / made).parent.mkdir(parents=True)
    make(tmp_path, "gcc", *words[:1], "-x", "c-header", "p.h", "-o", made)
    before = remote(farm)
    plain, _ = both_ways(farm, tmp_path, "gcc", *words, "-include", "out/q", "-c", "b.c")
    # One for other options is none: gcc says that there is no such file, and so does zcc.
    assert remote(farm) == before + (plain.returncode == 0)


def test_the_time_in_what_is_only_there_precompiled_is_this_machines(
    farm: Farm, tmp_path: Path
) -> None:
    write(tmp_path, p_h="#define NOW __TIME__\n", b_c="const char *s = NOW;\n")
    make(tmp_path, "gcc", "p.h", "-o", "q.gch")
    command = ("zcc", "gcc", "-include", "q", "-c", "b.c")
    with farm.ending("proof"):
        done = farm.run(*command, cwd=tmp_path, strict=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("made", ["q.pch", "q.gch", "out/q.pch"])
def test_clang_includes_what_is_only_there_precompiled(
    farm: Farm, tmp_path: Path, made: str
) -> None:
    need("clang++")
    write(tmp_path, x_h=HEADER, y_h="#define Y 7\n", a_cc=USER)
    os.utime(tmp_path / "y.h", (1_600_000_000, 1_600_000_000))
    (tmp_path / "out").mkdir()
    make(tmp_path, "clang++", "-g", "-x", "c++-header", "x.h", "-o", made)
    name = made.rpartition(".")[0]
    before = remote(farm)
    both_ways(farm, tmp_path, "clang++", "-g", "-include", name, "-MD", "-c", "a.cc")
    assert remote(farm) == before + 1


@pytest.mark.parametrize("words", [(), ("-save-temps",), ("-no-integrated-cpp",), ("-MMD", "-g")])
def test_what_ccache_wants_of_a_precompiled_header_is_no_hindrance(
    farm: Farm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """-fpch-preprocess names the header in preprocessed text, in place of its own."""
    write(tmp_path, x_h=OLD, a_c='#include "x.h"\nint v = VALUE;\n')
    make(tmp_path, "gcc", "-g", "-x", "c-header", "x.h", "-o", "x.h.gch")
    write(tmp_path, x_h=NEW)
    before = remote(farm)
    both_ways(farm, tmp_path, "gcc", "-g", "-fpch-preprocess", *words, "-c", "a.c")
    assert remote(farm) == before + 1
