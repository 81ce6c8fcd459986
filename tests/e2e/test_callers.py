"""Every way in which builds call zcc: each against the same build without it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import COMPILES, SOURCES, Site, assert_equal, files_of, need
from tests.e2e.conftest import BIN, Farm
from zcc.agent.launchers import control

MAKEFILE = """
CFLAGS = -g -O2 -Wall -MD
CXXFLAGS = $(CFLAGS)
words: main.o words.o
\t$(CXX) -o $@ $^
"""
CMAKELISTS = """
cmake_minimum_required(VERSION 3.15)
project(words LANGUAGES C CXX)
set(CMAKE_BUILD_TYPE RelWithDebInfo)
add_library(count STATIC words.c)
target_compile_options(count PRIVATE -Wall)
add_executable(words main.cc)
target_link_libraries(words count)
"""
MESON = """
project('words', 'c', 'cpp', default_options: ['buildtype=debugoptimized', 'warning_level=2'])
count = static_library('count', 'words.c')
executable('words', 'main.cc', link_with: count)
"""
CONFIGURE = """
AC_INIT([words], [1])
AC_CONFIG_SRCDIR([words.c])
AC_CONFIG_AUX_DIR([.])
AC_CONFIG_MACRO_DIRS([m4])
AM_INIT_AUTOMAKE([foreign])
LT_INIT
AC_PROG_CC
AC_PROG_CXX
AC_CHECK_HEADERS([ctype.h])
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
"""
AUTOMAKE = """
ACLOCAL_AMFLAGS = -I m4
lib_LTLIBRARIES = libcount.la
libcount_la_SOURCES = words.c words.h
bin_PROGRAMS = words
words_SOURCES = main.cc
words_LDADD = libcount.la
"""
MAKE = "make -j4 CC='zcc {cc}' CXX='zcc {cxx}'"


@pytest.fixture
def site(farm: Farm, tmp_path: Path) -> Site:
    return Site(farm, tmp_path / "project", {"Makefile": MAKEFILE})


def names(family: str) -> dict[str, str]:
    return {"cc": family, "cxx": {"gcc": "g++", "clang": "clang++"}[family]}


# ---- make ----------------------------------------------------------------------------------------


def test_make_with_zcc_in_front_of_the_compiler(site: Site, family: str) -> None:
    built = site.both(MAKE.format(**names(family)))
    assert b"unused" in built.said


def test_make_with_zcc_as_the_compiler(site: Site) -> None:
    site.both("make -j4 CC=zcc CXX=zcc++")


def test_make_with_a_compiler_by_its_full_path(site: Site) -> None:
    site.both("make CC='zcc /usr/bin/gcc' CXX='zcc /usr/bin/g++'")


def test_make_with_compilers_that_only_zcc_hides(site: Site, tmp_path: Path) -> None:
    """The only `gcc` before the real one is a link to zcc."""
    masquerade(tmp_path / "links", "gcc", "g++")
    path = f"{tmp_path / 'links'}:{os.environ['PATH']}"
    plain = site.plain("make -j4 CC=gcc CXX=g++")
    distributed = site.distributed("make -j4 CC=gcc CXX=g++", PATH=path)
    assert_equal(plain, distributed)
    assert distributed.remote == COMPILES


def test_a_compiler_that_is_a_script_meets_zcc_inside(site: Site, tmp_path: Path) -> None:
    masquerade(tmp_path / "links", "gcc", "g++")
    site.extra |= {
        "mycc": '#!/bin/sh\nexec gcc -DFROM_SCRIPT "$@"\n',
        "mycxx": '#!/bin/sh\nexec g++ -DFROM_SCRIPT "$@"\n',
    }
    path = f"{tmp_path / 'links'}:{os.environ['PATH']}"
    plain = site.plain("make -j4 CC=./mycc CXX=./mycxx")
    distributed = site.distributed("make -j4 CC=./mycc CXX=./mycxx", PATH=path)
    assert_equal(plain, distributed)
    assert distributed.remote == COMPILES


def test_zcc_in_front_of_a_script_builds_the_same(site: Site) -> None:
    """A script may do anything: it runs here, and says nothing new."""
    site.extra |= {
        "mycc": '#!/bin/sh\nexec gcc -DFROM_SCRIPT "$@"\n',
        "mycxx": '#!/bin/sh\nexec g++ -DFROM_SCRIPT "$@"\n',
    }
    line = "make -j4 CC='zcc ./mycc' CXX='zcc ./mycxx'"
    plain = site.plain(line)
    with site.farm.ending("compiler-not-understood", "not-a-compile"):
        distributed = site.distributed(line, strict=False)
    assert_equal(plain, distributed)


def test_a_compiler_that_finds_itself_through_zcc_ends_with_one_sentence(
    farm: Farm, tmp_path: Path
) -> None:
    masquerade(tmp_path / "links", "gcc")
    script = tmp_path / "scripts" / "gcc"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nexec gcc "$@"\n')
    script.chmod(0o755)
    (tmp_path / "a.c").write_text("int a;\n")
    path = f"{tmp_path / 'links'}:{script.parent}:{os.environ['PATH']}"
    done = farm.run("gcc", "-c", "a.c", cwd=tmp_path, strict=False, PATH=path)
    assert done.returncode == 1
    (sentence,) = done.stderr.decode().splitlines()
    assert sentence.startswith("zcc: gcc calls itself through zcc")


# ---- the jobserver -------------------------------------------------------------------------------

LTO = """
FLAGS = -O2 -flto -ffat-lto-objects -frandom-seed=1
words: main.o words.o
\t+zcc g++ -O2 -flto=jobserver -o $@ $^
%.o: %.c
\tzcc gcc $(FLAGS) -c -o $@ $<
%.o: %.cc
\tzcc g++ $(FLAGS) -c -o $@ $<
"""


@pytest.mark.parametrize("jobs", ["-j3", "-j1", ""])
def test_a_link_that_asks_makes_jobserver_finds_it(site: Site, jobs: str) -> None:
    """gcc warns when the descriptors that MAKEFLAGS names are not there."""
    site.extra = {"Makefile": LTO}
    site.both(f"make {jobs} && echo a b c | ./words")


def test_make_gets_all_its_tokens_back(site: Site) -> None:
    """make says so at its end if one is missing: a launcher or a compiler would have kept it."""
    site.extra = {"Makefile": LTO}
    built = site.distributed("make -j3 words && echo a b c | ./words")
    assert b"INTERNAL" not in built.said
    assert built.said.endswith(b"3\n")


def test_an_agent_that_a_build_starts_has_nothing_of_the_build(farm: Farm, tmp_path: Path) -> None:
    """The jobserver above all: make waits for ever for a token that an agent would keep."""
    makefile = "all:\n\t+echo $$MAKEFLAGS; zcc gcc -c a.c; ls -l /proc/self/fd\n"
    (tmp_path / "Makefile").write_text(makefile)
    (tmp_path / "a.c").write_text("int a;\n")
    path = str(tmp_path / "state" / "agent.sock")
    own = {"ZCC_STATE_DIR": str(tmp_path / "state"), "ZCC_SOCKET": path}
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = farm.run("make", "-j2", cwd=tmp_path, strict=False, **own, **environment)
    try:
        assert done.returncode == 0, done.stderr
        assert b"jobserver" in done.stdout
        status = control.ask(path, {"op": "status"})
        assert status is not None
        process = Path(f"/proc/{status['pid']}")
        assert b"MAKEFLAGS" not in (process / "environ").read_bytes()
        pipes = {
            word for word in done.stdout.decode().split() if word.startswith("pipe:")
        }  # make's, and those to this test
        assert pipes
        assert not pipes.intersection(files_of(process))
    finally:
        control.ask(path, {"op": "stop"})


# ---- CMake, Meson, autotools, ninja --------------------------------------------------------------


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_cmake_with_launcher_variables(site: Site, family: str, generator: str) -> None:
    need("cmake", "ninja")
    site.extra = {"CMakeLists.txt": CMAKELISTS}
    compilers = "-DCMAKE_C_COMPILER={cc} -DCMAKE_CXX_COMPILER={cxx}".format(**names(family))
    launchers = "-DCMAKE_C_COMPILER_LAUNCHER=zcc -DCMAKE_CXX_COMPILER_LAUNCHER=zcc"
    line = f"cmake -S . -B out -G '{generator}' {compilers} {launchers} >/dev/null 2>&1"
    site.both(f"{line}; cmake --build out -j 4 >/dev/null; echo a b | out/words")


def test_cmake_with_zcc_as_the_compiler(site: Site) -> None:
    need("cmake")
    site.extra = {"CMakeLists.txt": CMAKELISTS}
    # CMake writes down where it found zcc, which is not where the plain build's stand-in is.
    site.ignored = ("*.cmake", "*CMakeCache.txt", "*build.make", "*link.txt", "*flags.make")
    configure = "CC='zcc gcc' CXX='zcc g++' cmake -S . -B out >/dev/null 2>&1"
    line = f"{configure}; cmake --build out -j 4 >/dev/null; echo a b | out/words"
    distributed = site.distributed(line)
    assert_equal(site.plain(line), distributed)
    assert distributed.remote >= COMPILES  # and what CMake tries the compilers with


def test_meson(site: Site, family: str) -> None:
    need("meson", "ninja")
    site.extra = {"meson.build": MESON}
    compilers = "CC='zcc {cc}' CXX='zcc {cxx}'".format(**names(family))
    site.both(
        f"{compilers} meson setup out >/dev/null; ninja -C out >/dev/null; echo a b | out/words"
    )


def test_autoconf_and_libtool(site: Site, family: str) -> None:
    """libtool compiles the library's source twice, and greps in the compiler's messages."""
    need("autoreconf", "libtoolize", "automake")
    site.extra = {"configure.ac": CONFIGURE, "Makefile.am": AUTOMAKE, "m4/keep": ""}
    # What automake lists as aclocal's inputs depends on the second in which its cache was written.
    site.ignored = ("autom4te.cache/*", "Makefile.in", "Makefile")
    compilers = "CC='zcc {cc}' CXX='zcc {cxx}'".format(**names(family))
    line = f"autoreconf -i >/dev/null 2>&1; ./configure -q {compilers}; make -j4 >/dev/null 2>&1"
    site.both(f"{line}; echo a b | ./words", compiles=COMPILES + 1)


def test_two_hundred_launchers_at_once(site: Site) -> None:
    need("ninja")
    count = 60
    rules = (
        "rule cc\n  command = zcc gcc -g -O1 -MD -MF $out.d -c -o $out $in\n  depfile = $out.d\n"
    )
    edges = "".join(f"build f{at}.o: cc f{at}.c\n" for at in range(count))
    text = '#include <stdio.h>\nint f{}(void) {{ return puts(""); }}\n'
    sources = {f"f{at}.c": text.format(at) for at in range(count)}
    site.extra = {"build.ninja": rules + edges, **sources}
    site.both("ninja -j200 >/dev/null", compiles=count)


# ---- the masquerade directory --------------------------------------------------------------------


def masquerade(directory: Path, *compilers: str) -> subprocess.CompletedProcess[str]:
    chosen = [word for name in compilers for word in ("--compiler", name)]
    return subprocess.run(
        [str(BIN / "zcc"), "masquerade", str(directory), *chosen],
        check=True,
        capture_output=True,
        text=True,
    )


def test_a_masquerade_directory_takes_the_compiles_of_a_build_that_knows_no_zcc(
    site: Site, tmp_path: Path, family: str
) -> None:
    said = masquerade(tmp_path / "links").stdout
    line = "make -j4 CC={cc} CXX={cxx}".format(**names(family))
    plain = site.plain(line)
    distributed = site.distributed(f"{said}{line}")
    assert_equal(plain, distributed)
    assert distributed.remote == COMPILES
    assert set(SOURCES) < set(distributed.files)
