"""`CC=zcc CXX=zcc++`: whoever asks the compiler who it is gets the compiler's own answer."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm

# By how they end. What asks for nothing that zcc knows is the compiler's to answer, like everything here.
QUESTIONS = {
    "information": [
        "--version", "-dumpversion", "-dumpfullversion", "-dumpmachine", "-dumpspecs", "-print-search-dirs",
        "-print-prog-name=ld", "-print-prog-name=cc1plus", "-print-file-name=libc.so",
        "-print-multi-os-directory", "-print-sysroot", "-print-libgcc-file-name", "--print-multiarch",
        "--help=optimizers", "--target-help", "x.c --version",
    ],
    "not-a-compile": [
        "-v", "-V", "-qversion", "-### x.c -o x", "-h", "-frobnicate", "-Wl,--version x.o", "-",
    ],
    "preprocess-only": ["-E -dM -", "-E -v -x c /dev/null", "-E no-such-file.c"],
    "verbose": ["-### -c x.c"],
    "response-missing": ["@no-such-file"],
}  # fmt: skip
# How the compiles of a build system's own checks end, according to its version.
CHECKS = "not-a-compile|conftest|information|preprocess-only|verbose"


def plain(cwd: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("question", "end"), [(each, end) for end, asked in QUESTIONS.items() for each in asked]
)
def test_an_answer_is_the_default_compilers_to_the_byte(
    farm: Farm, tmp_path: Path, question: str, end: str
) -> None:
    (tmp_path / "x.c").write_text("int main(void) { return 0; }\n")
    for program, compiler in (("zcc", "cc"), ("zcc++", "c++")):
        own = plain(tmp_path, compiler, *question.split())
        with farm.ending(end):
            through = farm.run(program, *question.split(), cwd=tmp_path, strict=False)
        assert (through.returncode, stable(through.stdout), stable(through.stderr)) == (
            own.returncode, stable(own.stdout), stable(own.stderr),
        )  # fmt: skip


def stable(text: bytes) -> bytes:
    """Without the random names of temporary files."""
    return re.sub(rb"/tmp/cc\w{6}", b"/tmp/ccNAME", text)


def test_meson_knows_the_compilers(farm: Farm, tmp_path: Path) -> None:
    needs("meson", "ninja")
    (tmp_path / "meson.build").write_text(
        "project('x', 'c', 'cpp')\ncc = meson.get_compiler('c')\n"
        "assert(cc.has_header('stdio.h'))\nassert(cc.sizeof('void *') == 8)\n"
    )

    def identified(cc: str, cxx: str) -> list[str]:
        done = farm.run("meson", "setup", f"build-{cc}", cwd=tmp_path, CC=cc, CXX=cxx)
        assert done.returncode == 0, done.stdout
        said = done.stdout.decode().splitlines()
        found = [as_plain(line) for line in said if "for the host machine" in line]
        assert len(found) == 4
        return found

    with farm.ending(CHECKS):
        through = identified("zcc", "zcc++")
    assert through == identified("cc", "c++")


def as_plain(line: str) -> str:
    return line.replace("zcc++", "c++").replace("zcc", "cc")


def test_cmake_knows_the_compilers(farm: Farm, tmp_path: Path) -> None:
    needs("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(x C CXX)\n"
    )

    def identified(cc: str, cxx: str) -> list[str]:
        build = f"build-{cc}"
        done = farm.run("cmake", "-S", ".", "-B", build, cwd=tmp_path, CC=cc, CXX=cxx)
        assert done.returncode == 0, done.stderr
        found = sorted((tmp_path / build).glob("CMakeFiles/*/CMakeC*Compiler.cmake"))
        assert len(found) == 2
        # The line that names the compiler itself; everything else has to be as with it.
        return [
            line.replace(build, "BUILD")
            for path in found
            for line in path.read_text().splitlines()
            if not line.startswith(("set(CMAKE_C_COMPILER ", "set(CMAKE_CXX_COMPILER "))
        ]

    with farm.ending(CHECKS):
        through = identified("zcc", "zcc++")
    assert through == identified("cc", "c++")


def test_autoconf_and_libtool_find_what_they_find_with_the_compilers(
    farm: Farm, tmp_path: Path
) -> None:
    needs("autoreconf", "libtoolize")
    (tmp_path / "configure.ac").write_text(
        "AC_INIT([x], [1])\nAC_CONFIG_AUX_DIR([.])\nAC_CONFIG_MACRO_DIRS([m4])\nAC_PROG_CC\nAC_PROG_CXX\n"
        "AC_PROG_CPP\nLT_INIT\nAC_CHECK_HEADERS([unistd.h])\nAC_CHECK_SIZEOF([long])\nAC_OUTPUT\n"
    )
    (tmp_path / "m4").mkdir()
    made = plain(tmp_path, "autoreconf", "-i")
    assert made.returncode == 0, made.stderr

    def found(cc: str, cxx: str) -> set[str]:
        build = tmp_path / f"build-{cc}"
        build.mkdir()
        done = farm.run("../configure", "-C", f"CC={cc}", f"CXX={cxx}", cwd=build)
        assert done.returncode == 0, done.stderr
        lines = (build / "config.cache").read_text().splitlines()
        names = ("ac_cv_env_C", "ac_cv_prog_ac_ct_C", "#")
        return {as_plain(line) for line in lines if not line.startswith(names)}

    with farm.ending(CHECKS):
        through = found("zcc", "zcc++")
    assert through == found("cc", "c++")


def test_what_cc_rs_asks_is_answered_as_by_the_compiler(farm: Farm, tmp_path: Path) -> None:
    """The cc crate cannot be had here; these are the questions that its version 1.2 asks."""
    probe = tmp_path / "detect_compiler_family.c"
    probe.write_text(
        '#ifdef __clang__\n#pragma message "clang"\n#endif\n#ifdef __GNUC__\n#pragma message "gcc"\n#endif\n'
    )
    (tmp_path / "flag_check.c").write_text("int main(void) { return 0; }\n")
    for program, compiler in (("zcc", "cc"), ("zcc++", "c++")):
        path = shutil.which(program, path=str(BIN))
        assert path is not None
        for arguments, end in (
            (["-E", str(probe)], "preprocess-only"),
            (["-dumpmachine"], "information"),
            (["--version"], "information"),
            (["-O0", "-Wno-such-warning", "-c", "flag_check.c", "-o", "flag_check.o"], "remote"),
            (
                ["-O0", "-fno-such-flag", "-c", "flag_check.c", "-o", "flag_check.o"],
                "compiler-not-understood",
            ),
        ):
            own = plain(tmp_path, compiler, *arguments)
            with farm.ending(end):
                through = farm.run(path, *arguments, cwd=tmp_path, strict=False)
            assert (through.returncode, through.stdout, through.stderr) == (
                own.returncode, own.stdout, own.stderr,
            )  # fmt: skip
