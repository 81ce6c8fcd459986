"""What was judged is judged again where it is placed late, and ccache gets nothing that it has not named."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.outcome import Here
from zcc.agent.calls import Call
from zcc.agent.core.discrepancy import RECENT_S
from zcc.agent.launchers import wire
from zcc.agent.results.late_answers import first_other_input, first_outdated, reply_here
from zcc.agent.results.part import Part
from zcc.compiler.disk.disk import Disk
from zcc.job import FileInput, Lookups, Manifest, Result, Usage
from zcc.reasons import Reason

HEADER = b"int x;\n"
LATE_S = 10 * RECENT_S


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A source and a header of long ago, which was looked for in `first` before."""
    for name in ("a.c", "second/x.h"):
        write(tmp_path / name, HEADER)
    (tmp_path / "first").mkdir()
    return tmp_path


def prepared_in(project: Path) -> Any:
    at = os.fsencode(project)
    files = tuple(FileInput(at + name, digest_of(HEADER)) for name in (b"/a.c", b"/second/x.h"))
    closure = SimpleNamespace(manifest=Manifest(files=files), misses={at + b"/first": (b"x.h",)})
    return SimpleNamespace(
        closure=closure,
        outputs=None,
        unbounded=None,
        way="scanned",
        job_in_place=SimpleNamespace(environment=()),
    )


def call_in(project: Path, is_named: bool = False, parts: int = 1) -> Call:
    """One whose results have come, and that has arrived at 0."""
    request: Any = SimpleNamespace(
        environment={},
        is_named=is_named,
        cwd=os.fsencode(project),
        argv=(b"gcc", b"-c", b"-o", b"a.o", b"a.c"),
        executable=b"/usr/bin/gcc",
    )
    time.sleep(0.02)  # file times have the kernel's tick
    call = Call(None, request, 0.0, None)  # type: ignore[arg-type]
    result = Result(0, b"", b"", (), Usage(0.0, 0.0, 0), Lookups(), "n")
    call.parts = [Part(prepared_in(project), each, result) for each in range(parts)]
    time.sleep(0.02)
    return call


def edit(project: Path) -> Path:
    write(project / "second/x.h", b"int y;\n")
    return project / "second/x.h"


def put_before(project: Path) -> Path:
    write(project / "first/x.h", HEADER)
    return project / "first/x.h"


def remove(project: Path) -> Path:
    (project / "a.c").unlink()
    return project / "a.c"


CHANGES = [edit, put_before, remove]


@pytest.mark.parametrize("change", CHANGES)
def test_what_waited_for_its_placing_is_judged_once_more(project: Path, change: Any) -> None:
    call, disk = call_in(project), Disk()
    assert first_outdated(call, disk, LATE_S) is None
    path = change(project)
    assert first_outdated(call, disk, RECENT_S / 2) is None  # judged a moment ago
    assert first_outdated(call, disk, 2 * LATE_S) == Here(Reason.INPUTS_CHANGED, str(path))


def test_each_name_of_a_file_is_judged(project: Path) -> None:
    """A link that was another file's name, and has bytes of its own by now."""
    call, disk = call_in(project), Disk()
    link = project / "second/y.h"
    os.link(project / "second/x.h", link)
    closure: Any = call.parts[0].prepared.closure
    links = ((os.fsencode(link), os.fsencode(project / "second/x.h")),)
    closure.manifest = replace(closure.manifest, hard_links=links)
    assert first_outdated(call, disk, LATE_S) is None
    link.unlink()
    write(link, b"int y;\n")
    assert first_outdated(call, disk, 2 * LATE_S) == Here(Reason.INPUTS_CHANGED, str(link))


def test_a_source_that_came_first_is_judged_with_the_one_that_came_last(project: Path) -> None:
    call, disk = call_in(project, parts=2), Disk()
    edit(project)
    assert first_outdated(call, disk, LATE_S, call.parts[1]) is not None
    call.parts.pop(0)
    assert first_outdated(call, disk, LATE_S, call.parts[0]) is None  # that was just now


def is_withdrawn(call: Call, now: float) -> bool:
    call.ran_here_ns = 0
    reply = reply_here(call, Disk(), now)
    assert (reply == wire.encode_withdraw()) is not bool(call.ran_here_ns)
    return reply == wire.encode_withdraw()


@pytest.mark.parametrize("change", CHANGES)
def test_ccache_gets_no_late_compile_of_what_it_has_not_seen(project: Path, change: Any) -> None:
    call = call_in(project, is_named=True)
    call.parts[0].result = None  # nothing has come, and the farm has given it up
    assert not is_withdrawn(call, LATE_S)
    change(project)
    assert not is_withdrawn(call, RECENT_S / 2)
    assert is_withdrawn(call, LATE_S)
    call.request = call_in(project).request  # nobody's name
    assert not is_withdrawn(call, LATE_S)


def test_ccache_gets_nothing_that_was_looked_at_late(project: Path) -> None:
    """The agent was slow to look, and found what the caller had not read: bytes do not show that."""
    call = call_in(project, is_named=True)
    write(project / "second/x.h", HEADER)
    assert first_outdated(call, Disk(), LATE_S, call.parts[0]) is not None
    assert is_withdrawn(call, LATE_S)


def test_a_launcher_is_as_late_as_it_is_old(project: Path) -> None:
    call = call_in(project, is_named=True)
    edit(project)
    call.age_s = (time.time_ns() - call.arrived_ns) / 1e9
    assert not is_withdrawn(call, 0.0)  # began after the edit, just now
    call.age_s = LATE_S
    assert is_withdrawn(call, 0.0)


def test_of_a_command_without_a_job_the_source_is_known(project: Path) -> None:
    call = call_in(project, is_named=True)
    call.parts = []
    edit(project)
    assert not is_withdrawn(call, LATE_S)
    write(project / "a.c", HEADER)
    assert is_withdrawn(call, LATE_S)


def test_inputs_that_the_compiler_listed_cannot_be_shown_to_be_the_same(project: Path) -> None:
    call = call_in(project, is_named=True)
    call.parts[0].prepared.unbounded = "computed"  # type: ignore[misc, assignment]
    assert not is_withdrawn(call, RECENT_S / 2)
    assert is_withdrawn(call, LATE_S)


def edit_and_put_back(project: Path) -> Path:
    edit(project)
    write(project / "second/x.h", HEADER)
    return project / "second/x.h"


@pytest.mark.parametrize("change", [*CHANGES, edit_and_put_back])
def test_two_compiles_that_may_have_read_other_inputs_are_told(project: Path, change: Any) -> None:
    call, disk = call_in(project), Disk()
    assert first_other_input(call, disk, LATE_S) == ""
    path = change(project)
    assert first_other_input(call, disk, 2 * LATE_S) == str(path)
