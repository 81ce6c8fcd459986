"""ZCC_VERIFY: what comes from elsewhere is compiled here too, and a lie is found."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from cache.stores import DiskStore
from tests.e2e.conftest import Farm
from tests.e2e.test_memory import lose_own, place, stop_agent, wait_until_written
from tests.forging import forge, missing, other_object
from zcc.agent.recall import SPACE
from zcc.farm import DEFAULT_FARM

COMMAND = ("zcc", "gcc", "-g", "-O2", "-MD", "-c", "x.c", "-o", "x.o")
NUMBERS = ("verified", "verify_differs", "verify_unsure")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    # No two tests share a job.
    (tmp_path / "x.c").write_text(f"/* {tmp_path} */\nint say(void) {{ return 1; }}\n")
    return tmp_path


def compile_(farm: Farm, project: Path, verify: str = "") -> dict[str, int]:
    """Compile, hold the object against the plain compiler's, and say what was counted."""
    before = farm.stats()
    extra = {"ZCC_VERIFY": verify} if verify else {}
    done = farm.run(*COMMAND, cwd=project, **extra)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    got = (project / "x.o").read_bytes()
    subprocess.run(COMMAND[1:], cwd=project, check=True)
    assert got == (project / "x.o").read_bytes()
    after = farm.stats()
    counted = {name: after[name] - before[name] for name in NUMBERS}
    counted |= {name: after["outcomes"][name] - n for name, n in before["outcomes"].items()}
    return {name: count for name, count in counted.items() if count}


def test_a_remote_compile_is_done_here_too_and_then_remembered(
    remembering: Farm, project: Path
) -> None:
    assert compile_(remembering, project, "1") == {"local": 1, "verified": 1}
    assert compile_(remembering, project, "1") == {"local": 1, "verified": 1}
    assert compile_(remembering, project) == {"local_hit": 1}


def test_a_forged_result_is_found_said_aloud_and_forgotten(
    remembering: Farm, project: Path
) -> None:
    compile_(remembering, project)
    stop_agent(remembering)
    assert forge(place(remembering) / "cache", SPACE, other_object, is_packed=False)
    assert compile_(remembering, project, "1") == {"local": 1, "verify_differs": 1}
    assert "not what this machine compiles, from node1" in remembering.stats()["notes"][-1]
    # It is compiled anew by the farm, and here, and kept as they are equal.
    assert compile_(remembering, project) == {"local": 1, "verified": 1}
    assert compile_(remembering, project) == {"local_hit": 1}


def test_a_forged_shared_result_is_neither_placed_nor_kept_once_it_was_found(
    remembering: Farm, project: Path
) -> None:
    state = Path(remembering.local.directory) / "broker"
    with closing(DiskStore(str(state), DEFAULT_FARM, 1 << 30)) as store:
        before = store.index.count()
    compile_(remembering, project)
    lose_own(remembering)
    wait_until_written(state, before + 1)
    assert forge(state, DEFAULT_FARM, other_object, is_packed=True)
    assert compile_(remembering, project, "1") == {"local": 1, "verify_differs": 1}
    stop_agent(remembering)  # the next one knows it too
    assert compile_(remembering, project) == {"local": 1, "verified": 1}
    assert compile_(remembering, project) == {"local_hit": 1}
    lose_own(remembering)
    assert compile_(remembering, project) == {"local": 1, "verified": 1}


def test_a_forged_miss_of_what_is_here_makes_no_hit(remembering: Farm, project: Path) -> None:
    state = Path(remembering.local.directory) / "broker"
    with closing(DiskStore(str(state), DEFAULT_FARM, 1 << 30)) as store:
        before = store.index.count()
    compile_(remembering, project)
    lose_own(remembering)
    wait_until_written(state, before + 1)
    there = project / "x.c"
    assert forge(state, DEFAULT_FARM, missing(there), is_packed=True)
    assert compile_(remembering, project) == {"remote": 1}
