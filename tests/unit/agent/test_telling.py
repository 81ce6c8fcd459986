"""What an agent tells the farm's watchers, and what it keeps to itself."""

from __future__ import annotations

from typing import cast

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.core.effects import CountOutcome
from zcc.agent.farm.telling import MAX_SHOWN, Telling, name_of, shown_path
from zcc.agent.history.builds import Build
from zcc.compiler.commandline.tables import Family
from zcc.compiler.scan.closure import Closure
from zcc.compiler.toolchain.index import Toolchain
from zcc.job import Job, Manifest
from zcc.messages import MAX_COUNTED_BUILDS
from zcc.subject import MAX_FILES
from zcc.traits import Traits

BUILD = Build(1_700_000_000_123, b"/home/me/hello", 1_700_000_000.0, 1_700_000_000.0)
LOCAL = CountOutcome(1, "local", reason="not-a-compile")
HIT = CountOutcome(1, "local_hit")


class FakeToolchain:
    family = Family.GCC
    version = "gcc version 12.2.0 (Debian 12.2.0-14)"


def prepared(source: bytes, is_cxx: bool = False) -> Prepared:
    job = Job(digest_of(b"gcc"), b"/usr/bin/gcc", (b"gcc",), b"/", (), Manifest(), (b"/x.o",))
    traits = Traits(bytes(16), 9, is_cxx, 0, 0, 0)
    toolchain = cast(Toolchain, FakeToolchain())
    key, closure = digest_of(b"job"), Closure(Manifest(), 0, {})
    return Prepared(job, key, b"", closure, None, source, "b", toolchain, traits)


def watched() -> Telling:
    telling = Telling(is_on=True)
    telling.is_watched = True
    return telling


@pytest.mark.parametrize(
    ("source", "is_cxx", "language"),
    [
        (b"/home/me/hello/src/x.c", False, "c"),
        (b"/home/me/hello/src/x.cc", True, "c++"),
        (b"/home/me/hello/src/x.S", False, "assembler"),
        (b"/home/me/hello/src/x.mm", True, "objective-c++"),
    ],
)
def test_a_job_is_called_by_its_place_in_the_project(
    source: bytes, is_cxx: bool, language: str
) -> None:
    subject = Telling(is_on=True).subject(BUILD, {}, prepared(source, is_cxx), 0.0125)
    assert subject is not None
    assert subject.file == f"src/{source.rpartition(b'/')[2].decode()}"
    assert (subject.language, subject.toolchain, subject.scan_ms) == (language, "gcc 12.2.0", 12)
    assert subject.build.number == BUILD.number


def test_a_build_is_called_by_its_variable_else_by_directory_and_time() -> None:
    said = name_of(BUILD, {})
    assert said.startswith("hello ")
    assert len(said) == len("hello 12:00:00")
    assert name_of(BUILD, {b"ZCC_BUILD": b"nightly\x1b[0m"}) == "nightly?[0m"
    long = Build(1, b"/" + b"d" * 400, 0.0, 0.0)
    assert len(name_of(long, {})) <= MAX_SHOWN


def test_a_build_keeps_the_name_of_its_first_call() -> None:
    telling = Telling(is_on=True)
    first = telling.subject(BUILD, {b"ZCC_BUILD": b"one"}, prepared(b"/x.c"), 0.0)
    second = telling.subject(BUILD, {b"ZCC_BUILD": b"two"}, prepared(b"/y.c"), 0.0)
    assert first is not None
    assert second is not None
    assert first.build == second.build


def test_no_path_beyond_the_project_is_told() -> None:
    assert shown_path(b"/opt/secret/gen/y.c", b"/home/me/hello") == "y.c"
    assert shown_path(b"/home/me/hello-too/y.c", b"/home/me/hello") == "y.c"
    assert shown_path(b"/home/me/hello/" + b"d/" * 300 + b"y.c", b"/home/me/hello").endswith("/y.c")
    assert len(shown_path(b"/p/" + b"d/" * 300 + b"y.c", b"/p")) == MAX_SHOWN


def test_what_stays_here_is_counted_by_reason_with_some_files() -> None:
    telling = watched()
    for number in range(MAX_FILES + 5):
        sources = (b"/home/me/hello/%d.c" % number,)
        telling.counted(BUILD, {}, LOCAL, sources, ("first",), (0.5, 0.0))
    telling.counted(BUILD, {}, HIT, (b"/home/me/hello/h.c",), (), (0.1, 2.5))
    told = telling.take()
    assert told is not None
    (counts,) = told.builds
    assert (counts.local_hits, counts.saved_ms) == (1, 2500)
    assert counts.local == (("not-a-compile", MAX_FILES + 5),)
    assert counts.missed == (("first", MAX_FILES + 5),)
    assert len(counts.files) == MAX_FILES
    assert (counts.files[0].file, counts.files[0].waited_ms) == ("0.c", 500)
    assert telling.take() is None


def test_what_is_counted_of_many_builds_is_bounded() -> None:
    telling = watched()
    for number in range(MAX_COUNTED_BUILDS + 3):
        build = Build(number + 1, b"/p%d" % number, 0.0, 0.0)
        telling.counted(build, {}, HIT, (), (), (0.0, 0.0))
    told = telling.take()
    assert told is not None
    assert len(told.builds) == MAX_COUNTED_BUILDS


def test_nothing_is_counted_while_nobody_watches_and_nothing_told_where_the_user_says_so() -> None:
    telling = Telling(is_on=True)
    telling.counted(BUILD, {}, HIT, (), (), (0.0, 0.0))
    assert telling.take() is None
    silent = Telling(is_on=False)
    silent.is_watched = True
    silent.counted(BUILD, {}, HIT, (), (), (0.0, 0.0))
    assert silent.take() is None
    assert silent.subject(BUILD, {}, prepared(b"/x.c"), 0.0) is None
