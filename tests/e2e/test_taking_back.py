"""What the farm has forgotten as wrong, its members' own caches forget too."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from cache.stores import DiskStore
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_memory import lose_own, place, stop_agent, wait_until_written
from tests.e2e.test_verify import COMMAND
from tests.support.forging import forge, other_object
from zcc.agent.launchers import control
from zcc.farm import DEFAULT_FARM

PATIENCE_S = 20.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "x.c").write_text(f"/* {tmp_path} */\nint say(void) {{ return 1; }}\n")
    return tmp_path


def is_right(farm: Farm, project: Path) -> bool:
    """Compile by zcc, then by the plain compiler: whether the objects are the same."""
    assert farm.run(*COMMAND, cwd=project).returncode == 0
    got = (project / "x.o").read_bytes()
    subprocess.run(COMMAND[1:], cwd=project, check=True)
    return got == (project / "x.o").read_bytes()


def deceive(farm: Farm, project: Path) -> Path:
    """Have a wrong object in the shared cache, and in the user's own; returns the broker's state directory."""
    state = Path(farm.local.directory) / "broker"
    with closing(DiskStore(str(state), DEFAULT_FARM, 1 << 30)) as store:
        before = store.index.count()
    assert is_right(farm, project)
    lose_own(farm)
    wait_until_written(state, before + 1)
    assert forge(state, DEFAULT_FARM, other_object, is_packed=True)
    assert not is_right(farm, project)
    assert not is_right(farm, project)  # by his own cache
    wait_until_more(farm, [])
    return state


def purge(state: Path, *which: str) -> None:
    command = [str(BIN / "zcc-broker"), "cache", "purge", *which, "--state", str(state)]
    subprocess.run(command, check=True)


def heard(farm: Farm) -> list[bytes]:
    """Up to where the agent has heard of what the farm took back."""
    return [path.read_bytes() for path in (place(farm) / "cache").glob("heard.*")]


def wait_until_more(farm: Farm, before: list[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while heard(farm) == before:
        assert time.monotonic() < deadline, "the agent has not heard of it"
        time.sleep(0.1)


@pytest.mark.parametrize("which", [("--node", "node1"), ("--all",)], ids=" ".join)
def test_what_is_purged_on_the_farm_is_not_placed_by_an_agent_that_is_connected(
    remembering: Farm, project: Path, which: tuple[str, ...]
) -> None:
    state = deceive(remembering, project)
    before = heard(remembering)
    purge(state, *which)
    wait_until_more(remembering, before)
    assert is_right(remembering, project)
    assert is_right(remembering, project)


def test_an_agent_that_was_away_hears_of_it_with_its_next_connection(
    remembering: Farm, project: Path, tmp_path: Path
) -> None:
    state = deceive(remembering, project)
    stop_agent(remembering)
    before = heard(remembering)
    purge(state, "--node", "node1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.c").write_text("int other;\n")
    assert is_right(remembering, other)  # it starts, and connects
    wait_until_more(remembering, before)
    assert is_right(remembering, project)


def _hits(state: Path) -> int:
    """How often the broker has begun to deliver what it remembers."""
    return (state / "audit.log").read_bytes().count(b'"event": "hit"')


@pytest.mark.parametrize("how", ["key", "node", "all"])
def test_what_is_on_its_way_when_it_is_taken_back_is_compiled_here(
    remembering: Farm, tmp_path: Path, how: str
) -> None:
    farm, command = remembering, ("zcc", "gcc", "-c", "x.c", "-o", "x.o")
    (tmp_path / "big.bin").write_bytes(os.urandom(30 << 20))
    incbin = '.section .rodata\\n.incbin \\"big.bin\\"\\n'
    (tmp_path / "x.c").write_text(f'/* {tmp_path} */ __asm__("{incbin}"); int v = 1;\n')
    state = Path(farm.local.directory) / "broker"
    with closing(DiskStore(str(state), DEFAULT_FARM, 1 << 30)) as store:
        count = store.index.count()
    assert farm.run(*command, cwd=tmp_path).returncode == 0
    lose_own(farm)
    wait_until_written(state, count + 1)
    (tmp_path / "w.c").write_text("int w;\n")
    assert farm.run("zcc", "gcc", "-c", "w.c", cwd=tmp_path).returncode == 0
    wait_until_written(state, count + 2)
    before = farm.stats()["outcomes"]
    status = control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    environment = {**farm.local.environment, "PATH": os.environ["PATH"]}
    had_hits = _hits(state)
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as waits:
        deadline = time.monotonic() + 60
        while _hits(state) == had_hits:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.kill(status["pid"], signal.SIGSTOP)
        try:
            assert waits.poll() is None
            with closing(DiskStore(str(state), DEFAULT_FARM, 1 << 30)) as store:
                large = [each for each in store.index.records() if each.size_bytes > 16 << 20]
            key = max(large, key=lambda each: each.made_s).key
            words = {"key": ("--key", key.hex()), "node": ("--node", "node1"), "all": ("--all",)}
            purge(state, *words[how])
            time.sleep(1.5)  # the broker has told it by then, behind what is on its way
        finally:
            os.kill(status["pid"], signal.SIGCONT)
        assert waits.wait(60) == 0
    after = farm.stats()["outcomes"]
    assert after["shared_hit"] == before["shared_hit"]
