"""One command with several sources: what makes its results one, and what keeps it here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.analysis.output_places import Wanted
from zcc.agent.analysis.overwriting import Way
from zcc.agent.results.part import Part, joined, names_inode, names_sandbox, why_not_one
from zcc.compiler.commandline.arguments import split
from zcc.compiler.commandline.tables import Family
from zcc.job import Lookups, OutputFile, Result, Usage

GCC, CLANG = Family.GCC, Family.CLANG


def part(name: str, stderr: bytes = b"", *missed: bytes) -> Part:
    path = b"/p/" + name.encode()
    return Part(
        prepared=cast(Prepared, SimpleNamespace(outputs=None)),
        ticket=0,
        result=Result(
            exit_status=0,
            stdout=name.encode() + b"\n",
            stderr=stderr,
            outputs=(OutputFile(path, digest_of(path), 1, 0o644),),
            usage=Usage(0.0, 0.0, 0),
            lookups=Lookups(misses=((b"/p", missed),)),
            node="n",
        ),
        files=[(path, 0o644, b"x")],
    )


def commands(line: str, family: Family = GCC) -> list[str]:
    return [b" ".join(argv).decode() for argv in split(line.encode().split(), family, False)]


def test_each_source_gets_the_whole_command_without_the_others() -> None:
    assert commands("-O2 a.c -I x.c b.c -Wall -c") == [
        "-O2 a.c -I x.c -Wall -c",
        "-O2 -I x.c b.c -Wall -c",
    ]


def test_sources_behind_two_dashes_are_told_apart() -> None:
    assert commands("-c -- -a.c b.c", CLANG) == ["-c -- -a.c", "-c -- b.c"]


def test_a_language_goes_with_every_source() -> None:
    assert commands("-c -x c a.q b.q") == ["-c -x c a.q", "-c -x c b.q"]


@pytest.mark.parametrize(
    ("line", "family"),
    [
        ("-c @words", GCC),
        ("-c a.c b.c -frecord-gcc-switches", GCC),
        ("-c a.c b.c -grecord-command-line", CLANG),
    ],
)
def test_a_command_whose_words_are_elsewhere_or_recorded_is_not_split(
    line: str, family: Family
) -> None:
    assert commands(line, family) == []


def test_results_are_joined_in_the_order_of_the_sources() -> None:
    files, stdout, stderr = joined([part("a.o", b"1"), part("b.o", b"2")])
    assert [path for path, _, _ in files] == [b"/p/a.o", b"/p/b.o"]
    assert (stdout, stderr) == (b"a.o\nb.o\n", b"12")


def test_files_are_placed_under_the_names_that_the_command_has_for_them(tmp_path: Path) -> None:
    cwd = os.fsencode(tmp_path.resolve())
    found = Wanted(cwd, 0o022, GCC, Way.REPLACES, (b"./a.o",)).find()
    spelled = part("a.o")
    spelled.prepared = cast(Prepared, SimpleNamespace(outputs=found))
    spelled.files = [(cwd + b"/a.o", 0o644, b"x")]
    assert joined([spelled])[0] == [(b"./a.o", 0o644, b"x")]


@pytest.mark.parametrize(
    "stderr",
    [
        b"clang: warning: argument unused\n",
        b"x\nx86_64-linux-gnu-gcc-12: warning: l.a: linker input file unused\n",
        b"\x1b[1mclang: \x1b[0m\x1b[0;1;35mwarning: \x1b[0munused\n",
    ],
)
def test_what_the_driver_says_once_is_not_said_for_each_source(stderr: bytes) -> None:
    assert why_not_one([part("a.o"), part("b.o", stderr)])
    assert not why_not_one([part("b.o", stderr)])


def test_what_the_compiler_says_comes_once_a_source() -> None:
    said = b"cc1: warning: -fno-rtti is valid for C++\na.c:1:2: warning: gcc: no\n"
    assert not why_not_one([part("a.o", said), part("b.o", said)])


def test_a_source_that_looks_for_what_another_writes_keeps_the_command_here() -> None:
    assert "a.o" in why_not_one([part("a.o"), part("b.o", b"", b"x.h", b"a.o")])


def test_parts_that_are_under_way_speak_against_nothing() -> None:
    late = part("b.o")
    late.result = None
    assert not why_not_one([part("a.o"), late])


def test_a_name_in_the_sandbox_is_seen_in_files_and_messages() -> None:
    clean = part("a.o")
    result = cast(Any, clean.result)
    assert names_sandbox(clean.files, result) == ""
    assert names_sandbox([(b"/p/l.lst", 0o644, b"GAS /.zcc/tmp/cc.s")], result) == "/p/l.lst"
    spoken = cast(Any, part("a.o", b"/.zcc/tmp/x.s:1: Warning: \n").result)
    assert names_sandbox([], spoken) == "the messages"


def test_a_function_named_after_an_inode_is_seen() -> None:
    named = (b"/p/a.o", 0o644, b"\0__omp_offloading_fe00_2f8013_g_l2\0")
    assert names_inode([(b"/p/a.d", 0o644, b"a.o: a.c\n")]) == ""
    assert names_inode([(b"/p/a.d", 0o644, b"a.o: a.c\n"), named]) == "/p/a.o"
