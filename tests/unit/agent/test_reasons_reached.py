"""Reasons that no other test reaches, by the parts that give them."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq

from cache.digest import Digest, digest_of
from cache.frame import compress
from cache.record import Record, Source
from cache.stores import DiskStore
from tests.conftest import needs
from tests.unit.agent.test_callers import process
from tests.unit.agent.test_parts import part
from tests.unit.compiler.test_scanner import Project
from zcc import codec
from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.compilers import Compilers
from zcc.agent.analysis.outcome import Here, JobMemo, Prepared
from zcc.agent.analysis.output_places import first_linked
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.analysis.split import jobs_of
from zcc.agent.calls import Call, failed, why_not_taken
from zcc.agent.core.events import PartUnproven
from zcc.agent.core.forecast import Forecast
from zcc.agent.farm.session import FarmSession
from zcc.agent.history.recorder import Account
from zcc.agent.launchers.wire import Environment, Request
from zcc.agent.results.local_cache import SPACE, LocalResult, Missed, Recall
from zcc.agent.results.part import Part
from zcc.agent.results.results import Results
from zcc.agent.results.verdict import Unproven, as_asked, judge
from zcc.cli.explain import request_of
from zcc.compiler.commandline.arguments import Local, parse
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.mounts import MOUNTS
from zcc.compiler.neutral.renaming import NEUTRAL_OBJECT, Renaming, renamed, restored
from zcc.compiler.scan.closure import Closure, NotScannable
from zcc.compiler.toolchain.index import Toolchain
from zcc.errors import CompilerError
from zcc.farm import Access
from zcc.holding import HOLDING_KEY_BYTES
from zcc.job import (
    SANDBOX_DIRECTORY,
    FileInput,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    encode_job,
    encode_result,
    job_key,
)
from zcc.keys import new_key_pair
from zcc.messages import Bye, Finished, Message, Welcome
from zcc.messages import Refused as FarmRefused
from zcc.reasons import Reason

GCC, CLANG = Family.GCC, Family.CLANG

# ---- words of a command -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "family", "reason"),
    [
        ("--version", GCC, Reason.INFORMATION),
        ("-v -c a.c", GCC, Reason.VERBOSE),
        ("-c conftest.c", GCC, Reason.CONFTEST),
        ("-wrapper gdb -c a.c", GCC, Reason.WRAPPER),
        ("--machine=native -c a.c", GCC, Reason.MACHINE),
        ("-iplugindir=x -c a.c", GCC, Reason.PLUGIN),
        ("-c a.f90", GCC, Reason.LANGUAGE),
        ("-c a.cu", CLANG, Reason.OFFLOAD),
        ("-frepo -c a.cc", GCC, Reason.REPOSITORY),
        ("-gen-reproducer -c a.c", CLANG, Reason.REPRODUCER),
        ("-Wa,-ag=x.lst -c a.c", GCC, Reason.LISTING_TIME),
        ("-mincremental-linker-compatible -c a.c", CLANG, Reason.TIME_STAMP),
        ("-fltrans -c a.c", GCC, Reason.LTO_INTERNAL),
        ("--embed-dir=x -c a.c", GCC, Reason.EMBED_DIRECTORY),
        ("-filelist x -c a.c", CLANG, Reason.FILE_LIST),
        ("-index-header-map -c a.c", CLANG, Reason.HEADER_MAP),
        ("-fcs-profile-use -c a.c", CLANG, Reason.PROFILE_USE),
        ("-fbuild-session-timestamp=1 -c a.c", CLANG, Reason.BUILD_SESSION),
        ("-fdiagnostics-add-output=sarif -c a.c", GCC, Reason.DIAGNOSTICS_FILE),
        ("-c a.cc -fmodules", GCC, Reason.MODULES),
    ],
)
def test_a_word_that_keeps_a_command_here(line: str, family: Family, reason: Reason) -> None:
    answer = parse(os.fsencode(line).split(), family, False, b"/p", lambda _: None)
    assert isinstance(answer, Local)
    assert answer.reason is reason


# ---- what files say ---------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path.resolve())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('#pragma GCC dependency "b.h"\n', Reason.PRAGMA_DEPENDENCY),
        (
            "#define ASK(x) __has_ ## x\n#define E embed\n#if ASK(embed)(<x>)\n#endif\n",
            Reason.PASTED_PROBE,
        ),
        ("void f(void) {\n#pragma omp target\n{}\n}\n", Reason.INODE_NAME),
    ],
)
def test_a_text_that_keeps_a_compile_here(project: Project, text: str, reason: Reason) -> None:
    project.write(a_c=text, b_h="")
    answer = project.scan(is_clang=True, names_offloaded=True)
    assert isinstance(answer, NotScannable), answer
    assert answer.reason is reason


def test_more_inputs_than_a_job_may_have(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zcc.compiler.scan.scanner.MAX_INPUTS", 2)
    project.write(a_c='#include "b.h"\n#include "c.h"\n', b_h="", c_h="")
    assert project.scan() == NotScannable(Reason.TOO_LARGE)


# ---- what is around a command -----------------------------------------------------------------


@pytest.fixture(scope="module")
def toolchains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compilers are packed, once for all."""
    return tmp_path_factory.mktemp("toolchains")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def analysed(request: Request, toolchains: Path) -> list[Prepared] | Here:
    async def analyse() -> list[Prepared] | Here:
        compilers = Compilers(str(toolchains))
        analyser = Analyser(Surroundings(run_query, compilers.toolchain), b"/", b"")
        return await jobs_of(analyser, request, time.monotonic(), time.monotonic)

    return asyncio.run(analyse())


def reason_for(request: Request, toolchains: Path) -> Reason:
    answer = analysed(request, toolchains)
    assert isinstance(answer, Here), answer
    return answer.reason


def test_a_source_and_a_compiler_that_are_not_there(directory: Path, toolchains: Path) -> None:
    request = request_of([needs("gcc"), "-c", "b.c"])
    assert reason_for(request, toolchains) is Reason.MISSING_SOURCE
    assert reason_for(replace(request, executable=b""), toolchains) is Reason.NO_COMPILER


def test_a_processor_without_a_description(
    directory: Path, toolchains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zcc.agent.analysis.hindrances.processor_class", lambda: b"")
    request = request_of([needs("gcc"), "-march=native", "-c", "a.c"])
    assert reason_for(request, toolchains) is Reason.NATIVE


def test_what_ccache_has_read_where_no_time_of_change_is_known(
    directory: Path, toolchains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing could show by the time of an answer that ccache has read the same."""
    monkeypatch.setattr(MOUNTS, "first_unstamped", lambda paths: next(iter(paths)))
    request = request_of([needs("gcc"), "-c", "a.c"])
    assert not isinstance(analysed(request, toolchains), Here)
    named = analysed(replace(request, is_named=True), toolchains)
    assert isinstance(named, Here)
    assert named.reason is Reason.DISK
    assert named.detail.endswith(str(directory / "a.c"))


@pytest.mark.parametrize(
    ("word", "is_local"),
    [
        ("-ffile-prefix-map=/=x", True),
        ("-fdebug-prefix-map==x", True),
        ("-Wa,--debug-prefix-map=/.z=x", True),
        ("-Wa,--debug-prefix-map,/.z=x", True),
        ("-fmacro-prefix-map=/p=x", False),
        ("@words", True),
    ],
)
def test_a_prefix_map_that_would_hide_a_temporary_name(
    directory: Path, toolchains: Path, word: str, is_local: bool
) -> None:
    (directory / "words").write_text("-Wa,--debug-prefix-map -Wa,/=x")
    answer = analysed(request_of([needs("gcc"), word, "-c", "a.c"]), toolchains)
    if is_local:
        assert isinstance(answer, Here)
        assert answer.reason is Reason.TEMPORARY_NAME
        assert answer.detail in (word, "-Wa,--debug-prefix-map")
    else:
        assert not isinstance(answer, Here)


def test_a_plugin_whose_libraries_may_lie_anywhere(
    directory: Path, toolchains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "p.so").touch()
    (directory / "libraries").mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(directory / "libraries"))
    request = request_of([needs("gcc"), "-fplugin=./p.so", "-c", "a.c"])
    assert reason_for(request, toolchains) is Reason.PLUGIN


def test_a_variable_that_has_the_compiler_write(
    directory: Path, toolchains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPENDENCIES_OUTPUT", "x")
    request = request_of([needs("gcc"), "-c", "a.c"])
    assert analysed(request, toolchains) == Here(
        Reason.ENVIRONMENT, "DEPENDENCIES_OUTPUT: gcc appends to a file"
    )


def test_a_ccache_that_does_not_call_zcc(directory: Path, toolchains: Path) -> None:
    wrapper = directory / "ccache"
    wrapper.write_text('#!/bin/sh\nexec "$@"\n')
    wrapper.chmod(0o755)
    request = request_of([str(wrapper), needs("gcc"), "-c", "a.c"])
    assert reason_for(request, toolchains) is Reason.WRAPPER_WITHOUT_ZCC


def test_a_disk_without_room_for_a_compiler(directory: Path) -> None:
    request = request_of([needs("gcc"), "-c", "a.c"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        assert reason_for(request, directory / "toolchains") is Reason.NO_ROOM
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_zcc_cannot_read_and_what_is_its_own_mistake(directory: Path) -> None:
    request = request_of([needs("gcc"), "-c", "a.c"])
    assert failed(request, OSError("gone")) == Here(Reason.ANALYSIS_FAILED, "gone")
    assert failed(request, CompilerError("odd")) == Here(Reason.ANALYSIS_FAILED, "odd")
    assert failed(request, KeyError("x")) == Here(Reason.INTERNAL_ERROR, "KeyError('x')")


# ---- the caller -------------------------------------------------------------------------------


def request_in(cwd: str, *words: bytes) -> Request:
    return Request(
        (b"gcc", *words),
        b"/usr/bin/gcc",
        os.fsencode(cwd),
        Environment(),
        0o22,
        None,
        False,
        False,
        False,
    )


def test_a_caller_that_may_read_less() -> None:
    request = request_in(os.getcwd(), b"-c", b"a.c")
    with process() as caller:
        assert caller.why_here(request) is None
        poor = type(caller)(caller._pid, frozenset((60_123,)))
        here = poor.why_here(request)
    assert here is not None
    assert here.reason is Reason.OTHER_RIGHTS


def test_a_caller_whose_output_is_closed() -> None:
    request = request_in(os.getcwd(), b"-pipe", b"-c", b"a.c")
    with process() as caller:
        assert caller.why_here(request) is None
    with process("sh", "-c", 'exec "$@" >&-', "sh") as caller:
        here = caller.why_here(request)
    assert here is not None
    assert here.reason is Reason.CLOSED_STREAM


@pytest.mark.parametrize("is_one", [True, False])
def test_messages_whose_order_would_be_lost(is_one: bool) -> None:
    stderr = subprocess.STDOUT if is_one else subprocess.PIPE
    with process(stdout=subprocess.PIPE, stderr=stderr) as caller:
        visitor: Any = SimpleNamespace(caller=caller)
        call = Call(visitor, request_in(os.getcwd()), 0.0, cast(Any, None))
        call.parts = [part("a.o", b"a warning\n")]
        why = why_not_taken(call)
    assert (why and why.reason) is (Reason.MIXED_STREAMS if is_one else None)


# ---- jobs and results -------------------------------------------------------------------------

JOB = Job(
    toolchain=digest_of(b"gcc 12"),
    executable=b"/usr/bin/gcc",
    argv=(b"gcc", b"-c", b"x.c", b"-o", b"x.o"),
    cwd=b"/p",
    environment=(),
    manifest=Manifest(),
    outputs=(b"/p/x.o",),
)
OBJECT = b"an object"


def prepared(job: Job = JOB, **more: Any) -> Prepared:
    toolchain = Toolchain.__new__(Toolchain)  # nothing here looks into it
    encoded, closure = encode_job(job), Closure(job.manifest, 0, {})
    return Prepared(
        job, job_key(encoded), encoded, closure, None, b"/p/x.c", "p", toolchain, **more
    )


def result(content: bytes = OBJECT, path: bytes = b"/p/x.o", **more: Any) -> Result:
    output = OutputFile(path, digest_of(content), len(content), 0o644)
    return replace(Result(0, b"", b"", (output,), Usage(0.0, 0.0, 0), Lookups(), "n"), **more)


def refused(came: Result, content: bytes = OBJECT, job: Job = JOB) -> Reason:
    disk = Disk()
    disk.begin(1.0)
    frames: dict[Digest, bytes] = {digest_of(content): compress(content)}
    found = judge(came, frames, prepared(job), request_in("/p"), disk)
    assert isinstance(found, Unproven), found
    return found.reason


def test_a_job_that_no_broker_would_take() -> None:
    here = JobMemo(1 << 20).prepared(
        command=replace(JOB, cwd=b"p"),
        closure=Closure(Manifest(), 0, {}),
        unbounded=None,
        source=b"/p/x.c",
        root=b"/p",
        toolchain=Toolchain.__new__(Toolchain),
        base=b"",
        renaming=None,
    )
    assert isinstance(here, Here)
    assert here.reason is Reason.OUT_OF_BOUNDS


def test_results_that_are_of_no_use() -> None:
    assert refused(result(lookups=Lookups(undeclared=(b"/p/y.h",)))) is Reason.PROOF
    assert refused(result(outputs=())) is Reason.OUTPUT_MISSING
    named = b"made of " + SANDBOX_DIRECTORY + b"/tmp/cc1.s"
    assert refused(result(named), named) is Reason.TEMPORARY_NAME
    offloaded = b"__omp_offloading_10302_21ce8_f_l3"
    assert refused(result(offloaded), offloaded) is Reason.INODE_NAME


OBJECT_IN_P = Manifest((FileInput(b"/p/x.o", digest_of(b"old")),))
NAMES = Renaming(Family.GCC, (), b"/p/x.o", None, b"x.o", (b"/p",))


def made(closure: Closure, renaming: Renaming | None = NAMES) -> Prepared | Here:
    return JobMemo(1 << 20).prepared(
        command=JOB,
        closure=closure,
        unbounded=None,
        source=b"/p/x.c",
        root=b"/p",
        toolchain=Toolchain.__new__(Toolchain),
        base=b"",
        renaming=renaming,
    )


@pytest.mark.parametrize(
    "manifest",
    [
        OBJECT_IN_P,
        Manifest(symlinks=((b"/p/x.o", b"y"),)),
        Manifest(hard_links=((b"/p/x.o", b"/p/y"),)),
    ],
)
def test_an_output_that_is_an_input(manifest: Manifest) -> None:
    for renaming in (NAMES, None):
        here = made(Closure(manifest, 0, {}), renaming)
        assert isinstance(here, Here)
        assert (here.reason, here.detail) == (Reason.OUTPUT_IS_INPUT, "/p/x.o")


def test_an_output_that_is_an_input_by_another_link(tmp_path: Path) -> None:
    output, other, header = (tmp_path / name for name in ("x.s", "y.h", "z.h"))
    for path in (output, header):
        path.touch()
    names = [os.fsencode(path) for path in (output, other, header)]
    assert not first_linked(names[:1], names[2:])
    other.hardlink_to(output)
    assert first_linked(names[:1], names[:0:-1]) == names[0]


def test_an_output_that_is_looked_for_keeps_its_name() -> None:
    for closure in (
        Closure(Manifest(), 0, {b"/p": (b"x.h", b"x.o")}),
        Closure(Manifest(), 0, {}, withheld=(b"/p/x.o",)),
    ):
        kept = made(closure)
        assert isinstance(kept, Prepared)
        assert kept.renaming is None
        assert kept.job.outputs == JOB.outputs
        assert kept.job.manifest.directories == (b"/p",)
    other = made(Closure(Manifest(), 0, {b"/": (b"x.o",), b"/p": (b"x.h",)}))
    assert isinstance(other, Prepared)
    assert other.renaming is NAMES


@pytest.mark.parametrize("exit_status", [0, 1])
def test_an_output_that_is_looked_for_where_no_scan_sees_it(
    tmp_path: Path, exit_status: int
) -> None:
    """The result is right for another output, so it is refused as often as it is come upon."""
    at = os.fsencode(tmp_path.resolve())
    job = replace(JOB, outputs=(at + b"/x.o",))
    names = replace(NAMES, main=at + b"/x.o", directories=(at,))
    moved = prepared(renamed(job, names), renaming=names, plain=job)
    request = request_in("/p")
    disk = Disk()
    disk.begin(1.0)
    for looked, is_own in ((at, True), (at + b"/.", True), (b"/p", False)):
        lookups = Lookups(misses=((looked, (b"x.h", b"x.o")),))
        came = result(path=NEUTRAL_OBJECT, lookups=lookups, exit_status=exit_status)
        frames = {digest_of(OBJECT): compress(OBJECT)}
        found = judge(came, frames, moved, request, disk)
        refusal = Unproven(Reason.OUTPUT_IS_INPUT, os.fsdecode(at + b"/x.o"))
        assert (found == refusal) is is_own, found
        kept = as_asked(LocalResult(restored(came, names), []), moved, request)
        assert isinstance(kept, Missed) is is_own


def test_what_is_remembered_does_not_hold_where_something_is_withheld(tmp_path: Path) -> None:
    """A name that every scan misses is not kept with a result; outside of the roots it changes no key."""
    recall = Recall(str(tmp_path / "cache"), 1 << 24, 1 << 20)
    disk = Disk()
    disk.begin(1.0)
    try:
        recall.remember(prepared(), result(), {digest_of(OBJECT): compress(OBJECT)}, disk)
        assert recall.wait_written()
        assert isinstance(recall.find(prepared(), disk), LocalResult)
        later = replace(prepared(), closure=Closure(Manifest(), 0, {}, withheld=(b"/out/x.h",)))
        assert recall.find(later, disk) == Missed(Reason.REFUSED, "/out/x.h")
    finally:
        recall.close()


def judged(
    state: Path,
    made: Prepared,
    body: bytes,
    outputs: dict[Digest, bytes],
    disputed: tuple[Digest, ...] = (),
) -> Any:
    """What the agent makes of a Finished with this body, which the farm has remembered, for a call of one
    part. Checks have found what the farm has for `disputed` to be wrong."""

    async def judge_it() -> Any:
        session: Any = SimpleNamespace(outputs=SimpleNamespace(take=outputs.get))
        surroundings = Surroundings(run_query, cast(Any, None))
        account = Account(str(state), lambda _: None)
        recall = Recall(str(state / "cache"), 1 << 20, 1 << 20)
        account.disputed.add(disputed)
        try:
            results = Results(Analyser(surroundings, b"/"), recall, account, session, Forecast())
            build = account.stats.enter(b"/p")
            call = Call(cast(Any, None), request_in("/p"), 0.0, build)
            call.parts = [Part(made, 1)]
            return results.came(call, call.parts[0], Finished(1, "n", 0.0, False, True, body))
        finally:
            recall.close()
            account.close({})

    return asyncio.run(judge_it())


def test_a_result_that_did_not_come_whole(tmp_path: Path) -> None:
    event = judged(tmp_path, prepared(), b"no frame", {})
    assert isinstance(event, PartUnproven)
    assert event.reason is Reason.DAMAGED_RESULT


def test_a_result_of_what_a_check_has_found_wrong(tmp_path: Path) -> None:
    made, body = prepared(), compress(encode_result(result()))
    outputs = {digest_of(OBJECT): compress(OBJECT)}
    event = judged(tmp_path, made, body, outputs, disputed=(made.key,))
    assert isinstance(event, PartUnproven)
    assert event.reason is Reason.DISPUTED


def test_an_object_that_names_the_neutral_place(directory: Path, toolchains: Path) -> None:
    answer = analysed(request_of([needs("gcc"), "-c", "a.c", "-o", "a.o"]), toolchains)
    assert isinstance(answer, list)
    (made,) = answer
    assert made.renaming is not None
    content = b"an object of " + NEUTRAL_OBJECT
    came = result(content, NEUTRAL_OBJECT)
    body = compress(encode_result(came))
    event = judged(directory, made, body, {digest_of(content): compress(content)})
    assert isinstance(event, PartUnproven)
    assert event.reason is Reason.NAMES_NEUTRAL_PLACE


# ---- this machine's cache ---------------------------------------------------------------------


def test_a_cache_that_has_nothing_what_is_rotten_or_what_holds_no_more(tmp_path: Path) -> None:
    (tmp_path / "there.h").touch()
    missing = Lookups(misses=((os.fsencode(tmp_path), (b"there.h",)),))
    bodies = {
        Reason.UNKNOWN: None,
        Reason.DAMAGED: b"no result",
        Reason.REFUSED: encode_result(result(outputs=(), lookups=missing)),
    }
    made = prepared()
    for reason, body in bodies.items():
        place = str(tmp_path / reason)
        if body is not None:
            store = DiskStore(place, SPACE, 1 << 20)
            record = Record(made.key, body, (), len(body), Source(JOB.toolchain, "n"), time.time())
            store.put_records([record])
            store.close()
        recall, disk = Recall(place, 1 << 20, 1 << 20), Disk()
        disk.begin(1.0)
        found = recall.find(made, disk)
        recall.close()
        assert isinstance(found, Missed)
        assert found.kind is reason


# ---- the farm ---------------------------------------------------------------------------------


class Heard:
    """Who is told of the farm."""

    def __init__(self) -> None:
        self.closed: list[Reason] = []

    def farm_closed(self, reason: Reason) -> None:
        self.closed.append(reason)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def close_by(*frames: list[bytes]) -> list[Reason]:
    """Why the farm is closed to an agent that a broker greets, and that then gets this."""

    async def story() -> list[Reason]:
        context, heard = zmq.Context[zmq.Socket[bytes]](), Heard()
        access = Access(
            "tcp://127.0.0.1:9", new_key_pair().public, "farm", "client", new_key_pair()
        )
        listener: Any = heard
        session = FarmSession(context, access, "a", listener, lambda *_: None, lambda _: None)
        session._received(codec.encode(Welcome(bytes(16), "farm", "1", bytes(HOLDING_KEY_BYTES))))
        assert session.is_open
        for each in frames:
            session._received(each)
        assert not session.is_open
        session.close("over")
        context.term()
        return heard.closed

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Bye("the broker stops"), Reason.BROKER_STOPPED),
        (Bye("revoked"), Reason.KEY_REVOKED),
        (FarmRefused(0, "no session of this key"), Reason.SESSION_REFUSED),
    ],
)
def test_a_broker_that_ends_the_session(message: Message, reason: Reason) -> None:
    assert close_by(codec.encode(message)) == [reason]


def test_a_broker_that_says_what_it_must_not() -> None:
    assert close_by([b"another protocol", b"x", b"y"]) == [Reason.PROTOCOL_ERROR]
