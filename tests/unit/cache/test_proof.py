"""From a log to what the client must check."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.digest import digest_of
from node.sandbox.proof import LOG_BYTES, ToolchainView, World, empty_log, log_end, read_lookups
from zcc.job import MAX_UNDECLARED, VARIABLES, FileInput, Job, Lookups, Manifest, Terminal

DIGEST = digest_of(b"")
GCC = b"/usr/bin/gcc-12"
CC1 = b"/usr/lib/gcc/12/cc1"
TOOLCHAIN = ToolchainView(
    members=frozenset(
        (b"", b"/usr", b"/usr/bin", GCC, b"/usr/bin/gcc", b"/usr/lib", b"/usr/lib/gcc", b"/lib",
         b"/usr/lib/gcc/12", CC1)
    ),
    links={b"/usr/bin/gcc": b"gcc-12", b"/lib": b"usr/lib"},
)  # fmt: skip
MANIFEST = Manifest(
    files=(
        FileInput(b"/src/a.c", DIGEST),
        FileInput(b"/src/inc/x.h", DIGEST),
        FileInput(b"/usr/include/stdio.h", DIGEST),
    ),
    symlinks=(
        (b"/src/abs", b"/src/inc"),
        (b"/src/inc/y.h", b"../inc/x.h"),
        (b"/src/loop", b"loop"),
    ),
    directories=(b"/src/empty",),
    hard_links=((b"/src/hard.h", b"/src/inc/x.h"),),
)
JOB = Job(
    toolchain=DIGEST,
    executable=b"/usr/bin/gcc",
    argv=(b"gcc",),
    cwd=b"/src",
    environment=(),
    manifest=MANIFEST,
    outputs=(b"/src/out/a.o",),
)


def log_of(records: Iterable[bytes], flaws: int = 0) -> bytes:
    body = b"".join(record + b"\0" for record in records)
    header = (16 + len(body)).to_bytes(8, "little") + flaws.to_bytes(8, "little")
    return header + body


def test_variables_that_the_job_does_not_set_are_misses() -> None:
    job = replace(JOB, environment=((b"LANG", b"C"),))
    records = (b"S" + GCC, b"V/LANG", b"V/TMPDIR", b"V/OWN", b"V/HOME", b"M/src/no.h")
    assert read_lookups(log_of(records), job, TOOLCHAIN).misses == (
        (VARIABLES, (b"HOME", b"OWN")),
        (b"/src", (b"no.h",)),
    )


@pytest.mark.parametrize(
    ("terminal", "missed"), [(None, (b"HOME", b"OWN")), (Terminal(24, 80), (b"OWN",))]
)
def test_a_variable_that_is_settled_is_no_miss_of_a_compilers(
    terminal: Terminal | None, missed: tuple[bytes, ...]
) -> None:
    asked = (b"N/HOME", b"N/OWN", b"N/GCC_COLORS", b"N/LC_TIME", b"N/MAKEFLAGS", b"N/TMP")
    job = replace(JOB, terminal=terminal)
    assert read_lookups(log_of((b"S" + GCC, *asked)), job, TOOLCHAIN).misses == (
        (VARIABLES, missed),
    )


@pytest.mark.parametrize("function", [b"T/localtime", b"T/localtime_r"])
def test_an_output_that_may_hold_the_time_is_no_result(function: bytes) -> None:
    found = read_lookups(log_of((b"S" + GCC, function)), JOB, TOOLCHAIN)
    assert found.flaw == "the local time was asked for"


def lookups_of(*records: bytes, started: bool = True) -> Lookups:
    return read_lookups(log_of((*((b"S" + GCC,) if started else ()), *records)), JOB, TOOLCHAIN)


@pytest.mark.parametrize(
    "path",
    [
        b"/src/a.c", b"/src/inc/x.h", b"/src/inc", b"/src", b"/", b"/src/empty", b"/src/hard.h",
        b"/src/./inc/../a.c", b"//src//a.c", b"/src/abs/x.h", b"/src/abs/../a.c", b"/src/abs",
        b"/src/inc/y.h", b"/src/abs/y.h", b"/usr/include/stdio.h", b"/usr/include",
        b"/usr/bin/gcc", b"/lib/gcc/12/cc1", b"/lib/gcc/12/../../../include/stdio.h",
        b"/src/inc/", b"/src/inc/.", b"/src/inc/..", b"/..", b"/src/loop", b"/src/out/a.o",
    ],
)  # fmt: skip
def test_what_manifest_or_toolchain_name_is_declared(path: bytes) -> None:
    assert lookups_of(b"H" + path) == Lookups()


@pytest.mark.parametrize(
    "path",
    [
        b"/src/b.c", b"/src/inc/z.h", b"/etc/passwd", b"/src/inc/../../etc", b"/src/abs/z.h",
        b"/usr/bin/ld", b"/lib/gcc/13", b"/src/abs/../inc2/x.h", b"/src/out2",
    ],
)  # fmt: skip
def test_what_else_was_found_is_undeclared(path: bytes) -> None:
    assert lookups_of(b"H" + path).undeclared == (path,)


def test_what_the_command_wrote_may_be_found_again() -> None:
    assert lookups_of(b"H/src/inc/../tmp1", b"W/src/tmp1", b"M/src/./tmp1") == Lookups()


def test_misses_are_grouped_by_directory_as_spelled() -> None:
    looked = lookups_of(
        b"M/src/inc/q.h", b"M/src/q.h", b"M/src/p.h", b"M/src/q.h", b"M/src/inc/../q.h",
        b"M/top", b"M/no/", b"M/no/such/.", b"M/no/way/..",
    )  # fmt: skip
    assert looked.misses == (
        (b"/", (b"no", b"top")),
        (b"/no", (b"such", b"way")),
        (b"/src", (b"p.h", b"q.h")),
        (b"/src/inc", (b"q.h",)),
        (b"/src/inc/..", (b"q.h",)),
    )


def test_a_root_that_is_spelled_in_two_ways_loses_no_miss() -> None:
    assert lookups_of(b"M//a.h", b"M/b.h").misses == ((b"/", (b"a.h", b"b.h")),)


def test_a_miss_of_an_output_is_no_miss() -> None:
    assert lookups_of(b"M/src/out/a.o") == Lookups()


def test_an_output_that_was_to_be_read_is_one() -> None:
    assert lookups_of(b"R/src/out/a.o").misses == ((b"/src/out", (b"a.o",)),)
    assert lookups_of(b"R/src/./tmp1", b"W/src/tmp1").misses == ((b"/src/.", (b"tmp1",)),)


def test_what_is_found_past_a_directory_that_the_job_does_not_have_is_undeclared() -> None:
    """`gone/..` leads nowhere here, whatever made it lead somewhere there."""
    assert lookups_of(b"H/src/gone/../inc/x.h").undeclared == (b"/src/gone/../inc/x.h",)
    assert lookups_of(b"H/src/gone/..").undeclared == (b"/src/gone/..",)
    assert lookups_of(b"H/src/inc/../inc/x.h").undeclared == ()
    assert lookups_of(b"W/src/made", b"H/src/made/../inc/x.h").undeclared == ()


@pytest.mark.parametrize(
    ("records", "flaw"),
    [
        ([b"E\x0d/src/locked"], "errno 13"),
        ([b"D/src"], "was listed"),
        ([b"X" + CC1], "without the look-up log"),
        ([b"F/glob64"], "glob64 was called"),
        ([b"?/src"], "unreadable"),
        ([b"Hrelative"], "unreadable"),
        ([b"H"], "unreadable"),
        ([b""], "never finished"),
        ([b"H/src", b"", b"", b"H/src/inc"], "never finished"),
    ],
)
def test_a_log_that_proves_nothing_says_why(records: list[bytes], flaw: str) -> None:
    assert flaw in lookups_of(*records).flaw


def test_a_driver_that_did_not_report_is_a_flaw() -> None:
    assert "without the look-up log" in lookups_of(b"H/src/a.c", started=False).flaw
    assert lookups_of(b"X" + CC1, b"S" + CC1).flaw == ""


def test_a_full_or_cut_log_is_a_flaw() -> None:
    whole = log_of([b"S" + GCC, b"H/src"])
    assert read_lookups(whole, JOB, TOOLCHAIN).flaw == ""
    assert "full" in read_lookups(whole[:-1], JOB, TOOLCHAIN).flaw
    assert "full" in read_lookups(log_of([b"S" + GCC], flaws=1), JOB, TOOLCHAIN).flaw
    unfinished = (len(whole) - 2).to_bytes(8, "little") + whole[8:-2]
    assert "never finished" in read_lookups(unfinished, JOB, TOOLCHAIN).flaw


def test_listing_a_directory_of_the_toolchain_is_no_flaw() -> None:
    assert lookups_of(b"D/lib/gcc") == Lookups()


def test_the_header_bounds_what_is_read() -> None:
    assert log_end(empty_log()) == 16
    assert log_end(b"\xff" * 16) == LOG_BYTES
    assert log_end(bytes(16)) == 16


def test_the_manifest_hides_the_toolchain_below() -> None:
    manifest = Manifest(files=(FileInput(b"/lib/gcc/12/cc1", DIGEST),))
    assert World(manifest, TOOLCHAIN).physical(b"/lib/gcc") == b"/usr/lib/gcc"
    replaced = Manifest(symlinks=((b"/lib", b"opt"),))
    assert World(replaced, TOOLCHAIN).physical(b"/lib/gcc") == b"/opt/gcc"


def test_endless_links_and_deep_paths_end() -> None:
    world = World(MANIFEST, TOOLCHAIN)
    assert world.physical(b"/src/loop/x") == b"/src/loop/x"
    deep = b"/a" * 2000
    assert world.physical(deep + b"/..") == deep[:-2]


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer(body: bytes) -> None:
    log = (16 + len(body)).to_bytes(8, "little") + bytes(8) + body
    lookups = read_lookups(log, JOB, TOOLCHAIN)
    assert lookups.flaw != ""  # nothing here starts the driver


@given(st.lists(st.sampled_from([b"src", b"inc", b"x.h", b"abs", b"..", b".", b"", b"y.h"])))
def test_resolution_is_idempotent(parts: list[bytes]) -> None:
    world = World(MANIFEST, TOOLCHAIN)
    once = world.physical(b"/" + b"/".join(parts))
    assert world.physical(once) == once


_LINKS = Manifest(
    symlinks=((b"/a", b"d/e"), (b"/b", b"/a/../f/."), (b"/d/b", b"../a//g"), (b"/d/e/a", b"/b"))
)
_SPELLED = st.lists(st.sampled_from((b"a", b"b", b"d", b"e", b"f", b"..", b".", b"")), min_size=1)


@given(st.lists(_SPELLED, min_size=1))
def test_what_is_remembered_of_one_path_leads_others_where_they_lead(
    paths: list[list[bytes]],
) -> None:
    world = World(_LINKS, TOOLCHAIN)
    for parts in paths:
        path = b"/" + b"/".join(parts)
        assert world.physical(path) == World(_LINKS, TOOLCHAIN)._walk(path)


def test_a_log_of_more_paths_than_any_compile_has_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.sandbox.proof._MAX_RECORDS", 100)
    log = log_of([b"S" + GCC, *(b"M/%d" % number for number in range(101))])
    lookups = read_lookups(log, JOB, TOOLCHAIN)
    assert "paths were looked up" in lookups.flaw
    assert lookups.misses == ()


def test_symlinks_that_lead_over_symlinks_have_a_bound_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The product of 16 MiB of paths, 40 symlinks on each, and 2,000 names in each target."""
    monkeypatch.setattr("node.sandbox.proof._MAX_STEPS", 10_000)
    links = tuple(
        (b"/l%d" % at, b"x/" * 1000 + b"../" * 1000 + b"l%d" % (at + 1)) for at in range(40)
    )
    job = replace(JOB, manifest=Manifest(symlinks=links))
    lookups = read_lookups(log_of([b"S" + GCC, b"H/l0/a", b"H/l0/b/c"]), job, TOOLCHAIN)
    assert "symlinks" in lookups.flaw


def test_a_path_longer_than_any_is_a_flaw_and_goes_no_further() -> None:
    lookups = read_lookups(log_of([b"S" + GCC, b"M/" + b"x" * 5000]), JOB, TOOLCHAIN)
    assert lookups.flaw
    assert lookups.misses == ()


def test_of_what_was_found_undeclared_so_much_is_told_as_a_result_holds() -> None:
    log = log_of([b"S" + GCC, *(b"H/q/%d" % number for number in range(MAX_UNDECLARED + 1))])
    assert len(read_lookups(log, JOB, TOOLCHAIN).undeclared) == MAX_UNDECLARED


@pytest.mark.parametrize("kind", [b"M/src/%d.h", b"M/%d/x.h", b"Nvariable%d", b"H/q/%d"])
def test_no_more_is_sorted_at_a_time_than_leaves_others_a_turn(
    kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one call sorts 300,000 paths, for a fifth of a second, no other thread runs."""
    lengths = []

    def noted(items: Iterable[bytes]) -> list[bytes]:
        found = sorted(items)
        lengths.append(len(found))
        return found

    monkeypatch.setattr("node.sandbox.proof.sorted", noted, raising=False)
    log = log_of([b"S" + GCC, *(kind % number for number in range(200_000))])
    lookups = read_lookups(log, JOB, TOOLCHAIN)
    assert max(lengths, default=0) <= 16_384
    for found in (lookups.undeclared, *(names for _, names in lookups.misses)):
        assert list(found) == sorted(found)


def test_two_hundred_thousand_records_end() -> None:
    """Were the work a square of their number, the test would run into its time limit."""
    rng = random.Random(1)
    directories = [b"/usr/lib/gcc/12/../../../include/d%d" % at for at in range(60)]
    names = [b"/%x.h" % rng.getrandbits(40) for _ in range(3400)]
    records = [b"M" + directory + name for directory in directories for name in names]
    log = log_of([b"S" + GCC, *records])
    misses = read_lookups(log, JOB, TOOLCHAIN).misses
    assert len(misses) == len(directories)
    assert sum(len(missed) for _, missed in misses) == len(directories) * len(set(names))
