"""A compile beside the farm's: the user's bytes, and nothing of his touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import needs
from zcc.agent.analysis.ask_compiler import run_query
from zcc.agent.analysis.compilers import Compilers
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.analysis.pipeline import Analyser
from zcc.agent.analysis.questions import Surroundings
from zcc.agent.analysis.split import jobs_of
from zcc.agent.calls import Call
from zcc.agent.launchers import wire
from zcc.agent.launchers.peer import Caller
from zcc.agent.results.late_answers import is_of_use
from zcc.agent.results.part import Part
from zcc.agent.results.racing import Aside, Races
from zcc.cli.explain import request_of
from zcc.compiler.disk.disk import Disk
from zcc.compiler.text.hazards import Hazard

SOURCE = """
#include <string.h>
#include "own.h"
int length(const char *text) { int unused; return VALUE + (int)strlen(text); }
"""
PATIENCE_S = 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "own.h").write_text("#define VALUE 3\n")
    (directory / "a.c").write_text(SOURCE)
    monkeypatch.chdir(directory)
    return directory


async def prepared_of(request: wire.Request, state: Path) -> Prepared:
    compilers = Compilers(str(state / "toolchains"))
    analyser = Analyser(Surroundings(run_query, compilers.toolchain), b"/", b"")
    jobs = await jobs_of(analyser, request, time.monotonic(), time.monotonic)
    assert isinstance(jobs, list), jobs
    return jobs[0]


async def raced(state: Path, request: wire.Request) -> tuple[Races, Prepared, Aside | None]:
    ended: asyncio.Future[Aside | None] = asyncio.get_running_loop().create_future()
    prepared = await prepared_of(request, state)
    races = Races(str(state), lambda _, aside: ended.set_result(aside))
    assert races.can_race([Part(prepared, 1)])
    races.start(1, prepared, request, request.cwd)
    aside = await asyncio.wait_for(ended, PATIENCE_S)
    return races, prepared, aside


def written(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "a.c", "-o", "a.o"),
        ("-g", "-O2", "-Wall", "-MD", "-c", "a.c", "-o", "out/a.o"),
        ("-g", "-MMD", "-MP", "-MF", "x.d", "-MT", "some/target", "-c", "a.c", "-o", "a.o"),
    ],
)
def test_it_gives_the_bytes_of_the_plain_command_and_touches_nothing(
    compiler: str, arguments: tuple[str, ...], project: Path, tmp_path: Path
) -> None:
    needs(compiler)
    (project / "out").mkdir()
    request = request_of([compiler, *arguments])
    before = sorted(project.rglob("*"))
    races, _, aside = asyncio.run(raced(tmp_path / "state", request))
    assert sorted(project.rglob("*")) == before
    assert aside is not None
    plain = subprocess.run([compiler, *arguments], capture_output=True, check=True)
    assert (aside.stdout, aside.stderr) == (plain.stdout, plain.stderr)
    expected = {os.fsencode(path): path.read_bytes() for path in project.rglob("*.[od]")}
    assert {path: content for path, _, content in aside.files} == expected
    assert aside.files[-1][0].endswith(b".o")
    asyncio.run(races.close())
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["toolchains"]


def test_what_is_said_to_a_terminal_is_said_as_to_one(project: Path, tmp_path: Path) -> None:
    needs("gcc")
    command = ["gcc", "-Wall", "-c", "a.c", "-o", "a.o"]
    request = replace(request_of(command), terminal=wire.TerminalSize(24, 80))
    _, _, aside = asyncio.run(raced(tmp_path / "state", request))
    assert aside is not None
    assert b"\x1b[" in aside.stderr
    assert b"\r" not in aside.stderr


def test_it_is_made_where_the_caller_stands_though_that_has_another_name(
    project: Path, tmp_path: Path
) -> None:
    needs("gcc")
    request = request_of(["gcc", "-c", "a.c", "-o", "a.o"])
    subprocess.run(["gcc", "-c", "a.c", "-o", "a.o"], check=True)
    expected = (project / "a.o").read_bytes()

    async def run(caller: int) -> Aside | None:
        ended: asyncio.Future[Aside | None] = asyncio.get_running_loop().create_future()
        prepared = await prepared_of(request, tmp_path / "state")
        project.rename(tmp_path / "old")
        project.mkdir()
        (project / "own.h").write_text("#define VALUE 4\n")
        (project / "a.c").write_text(SOURCE)
        races = Races(str(tmp_path / "state"), lambda _, aside: ended.set_result(aside))
        races.start(1, prepared, request, Caller(caller).directory)
        return await asyncio.wait_for(ended, PATIENCE_S)

    with subprocess.Popen(["sleep", "1000"]) as caller:
        aside = asyncio.run(run(caller.pid))
        caller.kill()
    assert aside is not None
    assert aside.files[-1][2] == expected


def test_a_compiler_behind_a_launchers_link_finds_what_is_its_own(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("gcc")
    subprocess.run(["gcc", "-g", "-c", "a.c", "-o", "plain.o"], check=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "zcc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "links" / "zcc").chmod(0o755)
    (tmp_path / "links" / "gcc").symlink_to("zcc")
    compiler = shutil.which("gcc") or ""
    monkeypatch.setenv("PATH", f"{tmp_path / 'links'}:{os.environ['PATH']}")
    request = request_of(["gcc", "-g", "-c", "a.c", "-o", "a.o"])
    request = replace(request, executable=os.fsencode(compiler))
    _, _, aside = asyncio.run(raced(tmp_path / "state", request))
    assert aside is not None
    assert aside.files[-1][2] == (project / "plain.o").read_bytes()


def test_a_compile_that_fails_is_of_no_use(project: Path, tmp_path: Path) -> None:
    needs("gcc")
    request = request_of(["gcc", "-c", "a.c", "-o", "a.o"])
    state = tmp_path / "state"

    async def run() -> Aside | None:
        ended: asyncio.Future[Aside | None] = asyncio.get_running_loop().create_future()
        prepared = await prepared_of(request, state)
        (project / "own.h").write_text("#error no\n")
        races = Races(str(state), lambda _, aside: ended.set_result(aside))
        races.start(1, prepared, request, request.cwd)
        return await asyncio.wait_for(ended, PATIENCE_S)

    assert asyncio.run(run()) is None


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.005)


def below(directory: Path) -> list[str]:
    """Command lines of processes that work in this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(directory):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in found if "cc1" in line or "gcc" in line]


def test_one_that_is_stopped_is_gone_with_all_that_it_started(
    project: Path, tmp_path: Path
) -> None:
    """Whenever that is: while it begins, in the compiler, at the end."""
    needs("gcc")
    request = request_of(["gcc", "-g", "-O2", "-MD", "-c", "a.c", "-o", "a.o"])
    state = tmp_path / "state"
    (project / "a.c").write_text("#include <stdio.h>\n#include <stdlib.h>\n" + SOURCE)

    async def run() -> int:
        prepared = await prepared_of(request, state)
        ended: list[Aside | None] = []
        races = Races(str(state), lambda _, aside: ended.append(aside))
        stopped = 0
        for turn in range(12):
            races.start(turn, prepared, request, request.cwd)
            await asyncio.sleep(0)
            for _ in range(turn):
                await asyncio.sleep(0.003)
            if not ended:
                races.stop(turn)
                stopped += 1
            ended.clear()
        await races.close()
        assert not ended
        await until(lambda: not below(project))
        return stopped

    assert asyncio.run(run()) > 0
    assert written(project).keys() == {"a.c", "own.h"}
    assert [path.name for path in state.iterdir()] == ["toolchains"]


def test_what_may_not_be_renamed_is_not_raced(project: Path, tmp_path: Path) -> None:
    needs("gcc")
    races = Races(str(tmp_path / "state"), lambda _, __: None)
    for words in ((), ("--coverage",), ("-save-temps",)):
        command = ["gcc", *words, "-c", "a.c", "-o", "a.o"]
        prepared = asyncio.run(prepared_of(request_of(command), tmp_path / "state"))
        part = Part(prepared, 1)
        assert races.can_race([part]) is not bool(words)
        assert not races.can_race([part, part])
    assert not Races("/with space", lambda _, __: None).can_race([part])


def test_what_may_look_for_its_own_output_is_not_raced(project: Path, tmp_path: Path) -> None:
    needs("gcc")
    races = Races(str(tmp_path / "state"), lambda _, __: None)
    request = request_of(["gcc", "-c", "a.c", "-o", "a.o"])
    prepared = asyncio.run(prepared_of(request, tmp_path / "state"))
    doubted = replace(prepared.closure, doubts=frozenset({Hazard.HIDDEN_HAS_INCLUDE}))
    assert races.can_race([Part(prepared, 1)])
    assert not races.can_race([Part(replace(prepared, closure=doubted), 1)])


@pytest.mark.parametrize("is_merged", [False, True])
def test_messages_on_both_streams_are_not_told_apart_where_they_go_to_one_place(
    is_merged: bool, project: Path, tmp_path: Path
) -> None:
    needs("gcc")
    (project / "a.c").write_text('asm(".print \\"told\\"");\n' + SOURCE)
    request = request_of(["gcc", "-Wall", "-c", "a.c", "-o", "a.o"])
    _, prepared, aside = asyncio.run(raced(tmp_path / "state", request))
    assert aside is not None
    assert aside.stdout
    assert aside.stderr
    assert is_of_use(call_of(prepared, request, is_merged), aside, Disk(), 0.0) is not is_merged


def test_nothing_is_placed_that_was_made_of_other_inputs(project: Path, tmp_path: Path) -> None:
    needs("gcc")
    request = request_of(["gcc", "-c", "a.c", "-o", "a.o"])
    _, prepared, aside = asyncio.run(raced(tmp_path / "state", request))
    assert is_of_use(call_of(prepared, request), aside, Disk(), 10.0)
    (project / "own.h").write_text("#define VALUE 7777\n")
    assert not is_of_use(call_of(prepared, request), aside, Disk(), 10.0)


def test_nothing_is_placed_that_was_made_under_names_that_count(
    project: Path, tmp_path: Path
) -> None:
    needs("gcc")
    request = request_of(["gcc", "-Wall", "-c", "a.c", "-o", "a.o"])
    races, prepared, aside = asyncio.run(raced(tmp_path / "state", request))
    assert is_of_use(call_of(prepared, request), aside, Disk(), 0.0)
    # What the farm made of it held the name, or it had looked for a file beside its output.
    again = call_of(prepared.in_place(), request)
    assert not is_of_use(again, aside, Disk(), 0.0)
    assert not races.can_race(again.parts)


def call_of(prepared: Prepared, request: wire.Request, is_merged: bool = False) -> Call:
    caller = SimpleNamespace(merges_streams=lambda: is_merged, stands_in=lambda _: True)
    visitor: Any = SimpleNamespace(caller=caller)
    build: Any = None
    return Call(visitor, request, 0.0, build, parts=[Part(prepared, 1)])
