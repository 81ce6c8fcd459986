"""What differs first between two compiles, and what is kept of the last one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.history import last_compiles as module
from zcc.agent.history.causes import Cause
from zcc.agent.history.database import FILE_NAME, Notebook, reading
from zcc.agent.history.fingerprint import Difference, differences, fingerprint_of
from zcc.agent.history.last_compiles import Lasts, cause_of, cause_of_miss, lasts_of, sources_in
from zcc.agent.launchers.wire import Environment, Request
from zcc.agent.results.local_cache import CacheMode, Missed
from zcc.cli.reasons import phrase, sentences
from zcc.compiler.neutral.renaming import NEUTRAL_OBJECT
from zcc.compiler.scan.closure import Closure
from zcc.compiler.toolchain.index import Toolchain
from zcc.job import FileInput, Job, Manifest, Terminal, encode_job, job_key
from zcc.reasons import Reason

SOURCE = b"/p/x.c"


def files(**contents: str) -> Manifest:
    """A manifest of `/p/NAME.h` and the source `/p/x.c`."""
    paths = {name: b"/p/x.c" if name == "x" else f"/p/{name}.h".encode() for name in contents}
    inputs = [FileInput(paths[n], digest_of(text.encode())) for n, text in contents.items()]
    return Manifest(files=tuple(sorted(inputs, key=lambda file: file.path)))


JOB = Job(
    toolchain=digest_of(b"gcc 12"),
    executable=b"/usr/bin/gcc",
    argv=(b"gcc", b"-g", b"-O2", b"-c", b"x.c", b"-o", b"x.o"),
    cwd=b"/p",
    environment=((b"LANG", b"C"), (b"PATH", b"/usr/bin")),
    manifest=files(x="1", a="1", b="1"),
    outputs=(b"/p/x.o",),
)


def first(after: Job, before: Job = JOB) -> Difference:
    return differences(fingerprint_of(before, SOURCE), fingerprint_of(after, SOURCE))[0]


def argv(*words: str) -> Job:
    return replace(JOB, argv=(b"gcc", *(word.encode() for word in words)))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (argv("-g", "-O3", "-c", "x.c", "-o", "x.o"), "the option -O3 stands where -O2 was"),
        (argv("-g", "-O2", "-DX", "-c", "x.c", "-o", "x.o"), "the option -DX was added"),
        (argv("-O2", "-c", "x.c", "-o", "x.o"), "the option -g was removed"),
        (
            replace(JOB, environment=((b"LANG", b"de"), (b"PATH", b"/usr/bin"))),
            "the variable LANG was C, it is de",
        ),
        (replace(JOB, environment=JOB.environment[1:]), "the variable LANG is not set, it was C"),
        (replace(JOB, cwd=b"/q"), "the working directory was /p, it is /q"),
        (replace(JOB, terminal=Terminal(24, 80)), "the terminal was none, it is 24x80"),
        (replace(JOB, manifest=files(x="1", a="1", b="2")), "the header /p/b.h changed"),
        (replace(JOB, manifest=files(x="2", a="2", b="2")), "the source /p/x.c changed"),
        (
            replace(JOB, manifest=files(x="1", a="1", b="1", c="1")),
            "the header /p/c.h was not among the inputs, it is now",
        ),
        (
            replace(JOB, manifest=files(x="1", a="1")),
            "the header /p/b.h is not among the inputs any more",
        ),
    ],
)
def test_one_change_is_named(after: Job, said: str) -> None:
    found = differences(fingerprint_of(JOB, SOURCE), fingerprint_of(after, SOURCE))
    assert phrase(found[0]) == said


def test_what_changes_the_inputs_is_named_before_the_inputs() -> None:
    changed = replace(JOB, manifest=files(x="1", a="9"))
    with_option = replace(changed, argv=(*JOB.argv, b"-I/q"))
    assert first(with_option).kind == "option"
    assert first(replace(with_option, toolchain=digest_of(b"gcc 13"))).kind == "toolchain"
    assert first(replace(changed, environment=())).kind == "environment"
    assert [
        d.change for d in differences(fingerprint_of(JOB, SOURCE), fingerprint_of(changed, SOURCE))
    ] == [
        "changed",
        "removed",
    ]


def test_equal_jobs_do_not_differ_and_damage_is_no_difference() -> None:
    fingerprint = fingerprint_of(JOB, SOURCE)
    assert differences(fingerprint, fingerprint) == []
    assert differences(b"\xc1damage", fingerprint) == []


def test_long_command_lines_are_not_compared_word_by_word() -> None:
    many = argv(*(f"-DA{at}" for at in range(1000)))
    others = argv(*(f"-DB{at}" for at in range(1000)))
    assert first(many, others) == Difference("option", "1000 words", "changed", after="1000 words")


# ---- the notebook -----------------------------------------------------------------------------


def prepared(job: Job) -> Prepared:
    encoded = encode_job(job)
    toolchain = Toolchain.__new__(Toolchain)  # nothing here looks into it
    closure = Closure(job.manifest, 0, {})
    return Prepared(job, job_key(encoded), encoded, closure, None, SOURCE, "p", toolchain)


OTHER = replace(JOB, manifest=files(x="1", a="1", b="2"))


class Pages:
    def __init__(self, directory: Path) -> None:
        self.path = str(directory / FILE_NAME)
        self.start()

    def start(self) -> None:
        self.notebook = Notebook(self.path)
        self.lasts = Lasts(self.notebook, lambda: 7.0)

    def restart(self) -> None:
        self.lasts.flush()
        self.notebook.close()
        self.start()

    def only(self) -> module.Last:
        self.lasts.flush()
        self.notebook.wait_written()
        (last,) = lasts_of(self.path, SOURCE)
        return last


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path)
    yield made
    made.notebook.close()


def test_the_first_compile_has_no_one_before_it(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "remote")
    last = pages.only()
    assert (last.outcome, last.output) == ("remote", b"/p/x.o")
    assert last.cause == Cause(Reason.FIRST, "", [], 0)


def test_hits_are_counted_and_rewrite_nothing(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "remote")
    pages.lasts.compiled(prepared(JOB), "local_hit")
    pages.restart()
    pages.lasts.compiled(prepared(JOB), "local_hit")
    pages.lasts.compiled(prepared(JOB), "local_hit")
    last = pages.only()
    assert (last.outcome, last.hits) == ("remote", 3)
    assert last.cause is not None
    assert last.cause.kind == "first"


def test_a_change_is_named_also_by_the_next_agent(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "remote")
    pages.restart()
    pages.lasts.compiled(prepared(OTHER), "remote")
    cause = pages.only().cause
    assert cause is not None
    assert (cause.kind, cause.count) == (Reason.CHANGED, 1)
    assert sentences(cause) == ["the header /p/b.h changed"]


def test_the_same_job_without_a_result_was_evicted_or_never_kept(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "local", "no-farm")
    pages.lasts.compiled(prepared(JOB), "remote")
    assert pages.only().cause == Cause("not-kept", "no-farm", [], 0)
    pages.lasts.compiled(prepared(JOB), "remote")
    assert pages.only().cause == Cause(Reason.EVICTED, "", [], 0)


def test_what_ran_here_again_is_the_latest_again(pages: Pages) -> None:
    times = iter(range(1, 10))
    pages.lasts = Lasts(pages.notebook, lambda: float(next(times)))
    pages.lasts.compiled(prepared(JOB), "remote")
    pages.lasts.ran_here(SOURCE, "time-macro", "/p/x.c")
    pages.lasts.compiled(prepared(JOB), "local_hit")
    pages.lasts.ran_here(SOURCE, "time-macro", "/p/x.c")
    pages.lasts.flush()
    pages.notebook.wait_written()
    latest, before = lasts_of(pages.path, SOURCE)
    assert (latest.output, latest.hits) == (b"", 1)
    assert (before.output, before.hits) == (b"/p/x.o", 1)


def test_what_the_cache_says_itself_comes_first() -> None:
    assert cause_of_miss(CacheMode.OFF, None) == Cause("cache-off")
    assert cause_of_miss(CacheMode.REFRESH, None) == Cause(Reason.REFRESH)
    refused = Missed(Reason.REFUSED, "/p/hidden.h")
    found = cause_of_miss(CacheMode.ON, refused)
    assert found is not None
    assert "/p/hidden.h" in sentences(found)[0]
    assert cause_of_miss(CacheMode.ON, Missed(Reason.UNKNOWN)) is None
    assert cause_of(None, JOB.toolchain, b"").kind == "first"


def test_two_outputs_of_one_source_do_not_meet(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "remote")
    pages.lasts.compiled(prepared(replace(JOB, outputs=(b"/p/pic/x.o",))), "remote")
    pages.notebook.wait_written()
    kinds = [last.cause.kind for last in lasts_of(pages.path, SOURCE) if last.cause]
    assert kinds == ["first", "first"]
    assert len(lasts_of(pages.path, b"/p/pic/x.o")) == 1


def test_fingerprints_are_bounded(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 4000)
    monkeypatch.setattr(module, "_TRIM_EVERY", 1)
    for at in range(100):
        outputs = (b"/p/%d.o" % at, b"/p/%d.d" % at)
        pages.lasts.compiled(prepared(replace(JOB, outputs=outputs)), "remote")
    pages.notebook.wait_written()
    kept = len(lasts_of(pages.path, SOURCE))
    assert 0 < kept < 60
    with reading(pages.path) as db:
        assert db is not None
        assert db.execute("SELECT count(*) FROM sides").fetchone() == (kept,)


def test_sources_are_told_by_their_suffix() -> None:
    request = Request(
        argv=(b"gcc", b"-c", b"x.c", b"-DA.c", b"/q/y.cpp", b"z.o"),
        executable=b"/usr/bin/gcc",
        cwd=b"/p",
        environment=Environment(),
        umask=0o22,
        terminal=None,
        stdin_is_terminal=False,
        is_cxx=False,
        use_default=False,
    )
    assert sources_in(request) == [b"/p/x.c", b"/q/y.cpp"]


SIDES = replace(JOB, outputs=(b"/p/x.o", b"/p/x.d", b"/p/x.dwo"))


def test_a_second_output_leads_to_the_compile_that_writes_it(pages: Pages) -> None:
    pages.lasts.compiled(prepared(SIDES), "remote")
    pages.notebook.wait_written()
    for name in (b"/p/x.d", b"/p/x.dwo"):
        (last,) = lasts_of(pages.path, name)
        assert (last.source, last.output) == (SOURCE, b"/p/x.o")
    assert lasts_of(pages.path, b"/p/y.d") == []


def test_a_notebook_of_an_older_agent_learns_of_second_outputs(pages: Pages) -> None:
    pages.lasts.compiled(prepared(JOB), "remote")

    def drop(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE IF EXISTS sides")

    pages.notebook.write(drop)
    pages.notebook.wait_written()
    assert lasts_of(pages.path, b"/p/x.d") == []
    pages.lasts.compiled(prepared(SIDES), "remote")
    pages.notebook.wait_written()
    assert [last.output for last in lasts_of(pages.path, b"/p/x.d")] == [b"/p/x.o"]


def test_the_neutral_name_of_an_output_is_nothing_to_people() -> None:
    with_output = replace(JOB, argv=(*JOB.argv, b"-o", NEUTRAL_OBJECT))
    found = differences(fingerprint_of(with_output, SOURCE), fingerprint_of(JOB, SOURCE))
    assert [phrase(each) for each in found] == ["the option -o OUTPUT was removed"]
