"""The projects: what each is built with, in its own words. Data only."""

from __future__ import annotations

from dataclasses import dataclass

JOBS = 8


@dataclass(frozen=True)
class Project:
    """Commands are for `sh`; `{cc}` and `{cxx}` are compilers, `{jobs}` is the parallelism.

    `configure` runs before the counted part. `test` is the project's own suite, or the quick part of it.
    """

    name: str
    package: str  # Debian's source package
    kind: str
    configure: str
    build: str
    test: str
    settings: tuple[tuple[str, str], ...] = ()


PROJECTS = (
    Project(
        name="lua",
        package="lua5.4",
        kind="Makefile, C -g",
        configure=":",
        build="make -j{jobs} -C src linux CC='zcc {cc} -std=gnu99' MYCFLAGS=-g",
        test="""./src/lua -e 'assert(string.format("%d", 6 * 7) == "42"); print(_VERSION)'""",
    ),
    Project(
        name="xz",
        package="xz-utils",
        kind="autotools and libtool, C -g",
        configure="./configure -q CC='zcc {cc}'",
        build="make -j{jobs}",
        test="make -j{jobs} check",
    ),
    Project(
        name="leveldb",
        package="leveldb",
        kind="CMake and Ninja, C++ -g -O2",
        configure=(
            "cmake -S . -B out -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER={cxx}"
            " -DCMAKE_C_COMPILER={cc} -DCMAKE_CXX_COMPILER_LAUNCHER=zcc -DCMAKE_C_COMPILER_LAUNCHER=zcc"
            " -DLEVELDB_BUILD_TESTS=OFF -DLEVELDB_BUILD_BENCHMARKS=OFF"
        ),
        build="ninja -v -j{jobs} -C out",
        test="./out/leveldbutil 2>&1 | grep dump",
    ),
    Project(
        name="jsoncpp",
        package="libjsoncpp",
        kind="CMake and make, C++ -g -O1, its tests too",
        configure=(
            "cmake -S . -B out -DCMAKE_BUILD_TYPE=None '-DCMAKE_CXX_FLAGS=-g -O1'"
            " -DCMAKE_CXX_COMPILER={cxx} -DCMAKE_CXX_COMPILER_LAUNCHER=zcc"
            " -DJSONCPP_WITH_POST_BUILD_UNITTEST=OFF -DCCACHE_EXECUTABLE=OFF"
        ),
        build="make -j{jobs} -C out VERBOSE=1",
        test="cd out && ctest",
    ),
    Project(
        name="pixman",
        package="pixman",
        kind="Meson, C -g -O2",
        configure=(
            "CC='zcc {cc}' meson setup out --buildtype=debugoptimized"
            " -Dgtk=disabled -Dlibpng=disabled -Dopenmp=disabled"
        ),
        build="ninja -v -j{jobs} -C out",
        test="meson test -C out region-test oob-test fetch-test trap-crasher infinite-loop",
    ),
)
