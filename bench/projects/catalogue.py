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
    compilers: tuple[str, ...] = ("gcc", "clang")


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
        name="jsoncpp-pch",
        package="libjsoncpp",
        kind="CMake and Ninja, C++ -g, precompiled headers",
        configure=(
            "echo 'cmake_language(DEFER CALL target_precompile_headers jsoncpp_lib PRIVATE"
            " <string> <map> <sstream> <json/json.h>)' > pch.cmake &&"
            " cmake -S . -B out -G Ninja -DCMAKE_BUILD_TYPE=None '-DCMAKE_CXX_FLAGS=-g -O1'"
            " -DCMAKE_CXX_COMPILER={cxx} -DCMAKE_CXX_COMPILER_LAUNCHER=zcc"
            " -DCMAKE_PROJECT_jsoncpp_INCLUDE=$PWD/pch.cmake -DBUILD_STATIC_LIBS=OFF"
            " -DBUILD_OBJECT_LIBS=OFF"
            " -DJSONCPP_WITH_POST_BUILD_UNITTEST=OFF -DCCACHE_EXECUTABLE=OFF"
        ),
        build="ninja -v -j{jobs} -C out",
        test="cd out && ctest",
    ),
    Project(
        name="lua-pgo",
        package="lua5.4",
        kind="Makefile, C -O2, optimized by a profile of its own",
        # With one seed for its hashes the profiles of two runs are the same.
        configure=(
            "make -j{jobs} -C src linux CC='{cc} -std=gnu99' MYLDFLAGS=-fprofile-generate"
            " MYCFLAGS='-fprofile-generate -D\"luai_makeseed(L)\"=0' &&"
            " ./src/lua -e 'local t = {{}} for i = 1, 1e5 do t[i] = (\"%d\"):format(i) end' &&"
            " rm -f src/*.o src/*.a src/lua src/luac"
        ),
        build=(
            "make -j{jobs} -C src linux CC='zcc {cc} -std=gnu99'"
            " MYCFLAGS='-g -fprofile-use -Wno-missing-profile -D\"luai_makeseed(L)\"=0'"
        ),
        test="""./src/lua -e 'assert(string.format("%d", 6 * 7) == "42"); print(_VERSION)'""",
        compilers=("gcc",),
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
