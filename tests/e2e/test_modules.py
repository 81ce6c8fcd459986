"""gcc's modules: a source that has nothing to do with one is compiled remotely, though they are switched on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import Site, assert_equal, need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import both_ways
from tests.e2e.test_hazards import put

ON = ("-std=c++20", "-fmodules-ts", "-fmodule-mapper=a.modmap", "-x", "c++")
PLAIN = (
    '// import nothing;\n#include <vector>\n#include "x.h"\n'
    "int f() { return std::vector<int>(V).size(); }\n"
)
CMAKELISTS = """
cmake_minimum_required(VERSION 3.28)
project(plain LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_BUILD_TYPE RelWithDebInfo)
add_library(one STATIC one.cc two.cc)
add_executable(words main.cc)
target_link_libraries(words one)
"""
# Where somebody has them; Debian 13's are called so.
COMPILERS = ("g++-14", "g++-15")


def remote(farm: Farm) -> int:
    return int(farm.stats()["outcomes"].get("remote", 0))


@pytest.mark.parametrize(
    "words", [(), ("-MD", "-g"), ("-MMD", "-MT", "o", "-MF", "o.d"), ("-save-temps",)]
)
def test_a_source_without_modules_is_compiled_remotely(
    farm: Farm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    put(tmp_path, {"a.cc": PLAIN, "x.h": "#define V 3\n", "a.modmap": "$root .\n"})
    before = remote(farm)
    both_ways(farm, tmp_path, "g++", *ON, *words, "-c", "a.cc")
    assert remote(farm) == before + 1


@pytest.mark.parametrize(
    ("text", "mapper"),
    [
        ("export module here;\nexport int f() { return 3; }\n", "$root .\nhere here.gcm\n"),
        ("export module here;\nexport int f() { return 3; }\n", "$root .\n"),
        (PLAIN, "$root .\nthere there.gcm\n"),
    ],
)
def test_what_has_to_do_with_a_module_stays_here(
    farm: Farm, tmp_path: Path, text: str, mapper: str
) -> None:
    put(tmp_path, {"a.cc": text, "x.h": "#define V 3\n", "a.modmap": mapper})
    before = farm.stats()["local_reasons"].get("modules", 0)
    # gcc writes the time into a module.
    epoch = {"SOURCE_DATE_EPOCH": "1"}
    both_ways(farm, tmp_path, "g++", *ON, "-c", "a.cc", ends="modules", **epoch)
    assert farm.stats()["local_reasons"]["modules"] == before + 1


def test_a_header_that_is_there_as_a_module_is_taken_as_one_here(
    farm: Farm, tmp_path: Path
) -> None:
    """gcc asks for one in place of each header; a node has none, and the proof sees it."""
    put(tmp_path, {"a.cc": PLAIN, "x.h": "#define V 3\n", "a.modmap": "$root .\n"})
    both_ways(farm, tmp_path, "g++", *ON, "-c", "a.cc")
    make = ["g++", "-std=c++20", "-fmodules-ts", "-fmodule-header", "x.h"]
    subprocess.run(make, cwd=tmp_path, check=True)
    [made] = tmp_path.rglob("x.h.gcm")
    (tmp_path / "a.modmap").write_text(f"$root {made.parent.parent.relative_to(tmp_path)}\n")
    put(tmp_path, {"x.h": "#define V 4\n"})
    both_ways(farm, tmp_path, "g++", *ON, "-c", "a.cc", ends="proof")


def _newer(compilers: tuple[str, ...]) -> str:
    """A gcc to which CMake gives -fmodules-ts, and a CMake that does; skips where there is none."""
    need("cmake", "ninja")
    found = next(filter(shutil.which, compilers), None)
    said = subprocess.run(["cmake", "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if found is None or version < (3, 28):
        pytest.skip(f"needs one of {compilers} and CMake 3.28; here: {found}, CMake {version}")
    return found


def test_cmake_switches_modules_on_for_every_source(farm: Farm, tmp_path: Path) -> None:
    compiler = _newer(COMPILERS)
    site = Site(farm, tmp_path / "project", {})
    site.extra = {
        "CMakeLists.txt": CMAKELISTS,
        "one.cc": PLAIN,
        "two.cc": "int two() { return 2; }\n",
        "main.cc": "int f();\nint two();\nint main() { return f() + two() - 5; }\n",
        "x.h": "#define V 3\n",
    }
    line = f"CXX={compiler} cmake -S . -B out -G Ninja -DCMAKE_CXX_COMPILER_LAUNCHER=zcc >/dev/null"
    line += "; cmake --build out -j 2 >/dev/null && out/words"
    before = remote(farm)
    distributed = site.distributed(line)
    assert_equal(site.plain(line), distributed)
    assert remote(farm) >= before + 3
    commands = (tmp_path / "project").rglob("*.modmap")
    assert [os.path.getsize(each) for each in commands], "CMake has not switched modules on"
