"""Listings of the assembler, told in the names of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from zcc.agent.results.assembler_listings import temporary_directory, told_here
from zcc.compiler.commandline.tables import Family
from zcc.job import Lookups, Result, Usage

OBJECT = (b"/p/a.o", 0o644, b"GAS LISTING /.zcc/tmp/ccabcdef.s \t\t\tpage 1\n")


def told(listing: bytes, directory: bytes | None = b"/tmp/") -> tuple[bytes, bytes]:
    """The listing as a file and as standard output."""
    result = Result(0, listing, b"", (), Usage(0.0, 0.0, 0), Lookups(), "n")
    files, result = told_here([(b"/p/l", 0o644, listing), OBJECT], result, directory)
    assert files[1] == OBJECT
    return files[0][2], result.stdout


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (b"GAS LISTING /.zcc/tmp/ccab_-.s \t\t\tpage 1\n", b"GAS LISTING /tmp/ccab_-.s \t\t\tpage 1\n"),
        (b"x\n\fAARCH64 GAS  /.zcc/tmp/a-1.s \t\t\tpage 12\n", b"x\n\fAARCH64 GAS  /tmp/a-1.s \t\t\tpage 12\n"),
        (b"/.zcc/tmp/ccabcdef.s:7      .text:00000000 f\n", b"     /tmp/ccabcdef.s:7      .text:00000000 f\n"),
        (b"   /.zcc/tmp/a.s:71     *ABS*:00000001 f g\n", b"            /tmp/a.s:71     *ABS*:00000001 f g\n"),
    ],
)  # fmt: skip
def test_pages_and_symbols_name_the_directory_of_here(there: bytes, here: bytes) -> None:
    assert told(there) == (here, here)


@pytest.mark.parametrize(
    "text",
    [
        b"   1  \t.string \"/.zcc/tmp/cc.s\"\n", b"GAS LISTING /.zcc/tmp/cc.s\n",
        b"\0\nGAS LISTING /.zcc/tmp/ccabcdef.s \t\t\tpage 1\n", b"GAS LISTING /.zcc/tmp/a/b.s \t\t\tpage 1\n",
        b" 1:/.zcc/tmp/ccX **** int x;\n",
    ],
)  # fmt: skip
def test_what_has_another_form_stays_and_is_refused(text: bytes) -> None:
    assert told(text) == (text, text)


def test_where_the_driver_would_fail_nothing_is_told() -> None:
    assert told(OBJECT[2], None) == (OBJECT[2], OBJECT[2])


def test_gcc_takes_the_first_directory_that_it_can_write_to(tmp_path: Path) -> None:
    cwd = bytes(tmp_path)
    (tmp_path / "t").mkdir()
    variables = {b"TMPDIR": b"none", b"TMP": b"", b"TEMP": b"t"}
    assert temporary_directory(variables, Family.GCC, cwd) == b"t/"
    assert temporary_directory({b"TMPDIR": b"t/"}, Family.GCC, cwd) == b"t//"
    assert temporary_directory({}, Family.GCC, cwd) == b"/tmp/"


def test_clang_takes_the_first_that_is_set(tmp_path: Path) -> None:
    cwd = bytes(tmp_path)
    (tmp_path / "t").mkdir()
    assert temporary_directory({b"TMPDIR": b"none"}, Family.CLANG, cwd) is None
    assert temporary_directory({b"TMPDIR": b""}, Family.CLANG, cwd) == b""
    assert temporary_directory({b"TEMPDIR": b"t/"}, Family.CLANG, cwd) == b"t/"
    assert temporary_directory({b"TMP": b"t"}, Family.CLANG, cwd) == b"t/"
    assert temporary_directory({}, Family.CLANG, cwd) == b"/tmp/"
