"""ZCC_VERIFY: what comes from elsewhere is compiled here too, and a lie is found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cache.stores import DiskStore
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_memory import lose_own, place, stop_agent, wait_until_written
from tests.support.forging import forge, missing, other_object
from tests.support.network_farm import wait_until
from zcc.agent.launchers import control
from zcc.agent.results.local_cache import SPACE
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
    done = farm.run(*COMMAND, cwd=project, strict=True, **extra)
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


@contextmanager
def no_slot(farm: Farm, project: Path) -> Iterator[None]:
    """While as many compilers as there are slots here wait for a source from a pipe."""
    slots = control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "slots"})
    assert slots is not None
    environment = {**farm.local.environment, "PATH": f"{BIN}:{os.environ['PATH']}"}
    before = farm.stats()["local_reasons"].get("stdin-source", 0)
    waiting = [
        subprocess.Popen(
            ["zcc", "gcc", "-x", "c", "-c", "-", "-o", f"{number}.o"],
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
        )
        for number in range(slots["local"])
    ]
    wait_until(
        lambda: farm.stats()["local_reasons"].get("stdin-source", 0) == before + len(waiting),
        "all slots to be taken",
    )
    yield
    for each in waiting:
        each.communicate(b"int x;\n", timeout=100)


def test_compiles_of_two_states_of_a_header_are_not_compared(
    remembering: Farm, project: Path
) -> None:
    """The result is here, and the compile that it is held against still waits."""
    (project / "x.h").write_text("int a = 1;\n")
    (project / "x.c").write_text(f'/* {project} */\n#include "x.h"\n')
    environment = {**remembering.local.environment, "PATH": f"{BIN}:{os.environ['PATH']}"}
    assert remembering.run("zcc", "gcc", "-E", "x.c", cwd=project, strict=False).returncode == 0
    before = remembering.stats()
    with no_slot(remembering, project):
        verified = before["local_reasons"].get("verify", 0)
        checked = subprocess.Popen(COMMAND, cwd=project, env=environment | {"ZCC_VERIFY": "1"})
        wait_until(
            lambda: remembering.stats()["local_reasons"].get("verify", 0) == verified + 1,
            "the result to have come",
            timeout_s=100,
        )
        (project / "x.h").write_text("int a = 2;\n")
    assert checked.wait(100) == 0
    wait_until(
        lambda: remembering.stats()["verify_unsure"] == before["verify_unsure"] + 1,
        "the compiles to be left uncompared",
    )
    assert remembering.stats()["verify_differs"] == before["verify_differs"]


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
