"""A command is moved only where nothing that it writes depends on its place in a way that does not show."""

from __future__ import annotations

import pytest

from zcc.compiler.commandline.arguments import Compilation, parse
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.relocation import is_movable

BASE = b"/home/a/p"


def movable(*arguments: str, family: Family = Family.GCC, types_name_files: bool = False) -> bool:
    words = ["-c", "x.cc", "-o", f"{BASE.decode()}/x.o", *arguments]
    parsed = parse([word.encode() for word in words], family, True, BASE, lambda _: None)
    assert isinstance(parsed, Compilation), parsed
    return is_movable(parsed.words, family, BASE, types_name_files=types_name_files)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-g", "-O2", "-Wall", "-I/home/a/p/include", "-MD", "-MF", "/home/a/p/x.d"),
        ("-DDATA=/home/a/p/data",),
        ("-D", "DATA=/home/a/p/data"),
        ("-Wp,-DX=1",),
        ("-frandom-seed=x.o",),
        ("-gsplit-dwarf",),
        ("-fstack-usage",),
        ("-gz", "-g3"),
        ("-ffile-prefix-map=/home/a/p=.",),
        ("-fdebug-prefix-map=/home/a/p/=",),
        ("-fmacro-prefix-map=/home/b=/q",),
        ("-ffile-prefix-map=/zoo=/q",),
    ],
)
def test_a_command_whose_paths_show_is_moved(arguments: tuple[str, ...]) -> None:
    assert movable(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-Wp,-DDATA=/home/a/p/data",),
        ("--define-macro=DATA=/home/a/p/data",),
        ("--define-macro", "DATA=/home/a/p/data"),
        ("-Xpreprocessor", "-DDATA=/home/a/p/data"),
        ("-Xpreprocessor", "-D", "-Xpreprocessor", "DATA=/home/a/p/data"),
        ("-frandom-seed=/home/a/p/x.o",),
        ("-gsplit-dwarf", "-gz"),
        ("-flto",),
        ("--coverage",),
        ("-fprofile-generate=/home/a/p/prof",),
        ("-fsave-optimization-record",),
        ("-ffile-prefix-map=/home/a=/q",),
        ("-fdebug-prefix-map=/ho=/q",),
        ("-fmacro-prefix-map==/q",),
        # The beginning of the neutral root's name, of a text and not of a path.
        ("-ffile-prefix-map=/z=/src",),
        ("-fdebug-prefix-map=/zcc-base-=/src",),
        ("-fmacro-prefix-map=/zcc-base-5d1c8e7a=/src",),
        ("-ffile-prefix-map=/z=/y=/src",),
        ("-fprofile-prefix-map=/z=/src",),
        ("-Wa,--debug-prefix-map=/z=/src",),
    ],
)
def test_a_path_that_gets_hashed_compressed_or_computed_with_stays(
    arguments: tuple[str, ...],
) -> None:
    assert not movable(*arguments)


def test_where_types_name_files_no_file_is_named_below_the_base() -> None:
    family = Family.CLANG
    assert movable("-Iinclude", family=family, types_name_files=True)
    assert not movable("-I/home/a/p/include", family=family, types_name_files=True)
    assert movable("-I/home/a/p/include", family=family)
