"""A compile behind ccache that is away while its inputs change here: nothing wrong stays in ccache's cache."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from tests.support.network_farm import wait_until
from zcc.agent.launchers import control

COMMAND = ("gcc", "-Ifirst", "-Isecond", "-c", "a.c", "-o", "a.o")
PATIENCE_S = 100
BELIEVED_S = 2.1
# More than there are tests.
PLACES = 20
# What a launcher without an agent takes for more than a moment (call.c).
MOMENT_S = 2.2


@pytest.fixture(params=["of the system", "of PyPI"])
def ccache(request: pytest.FixtureRequest) -> str:
    path = BIN / "ccache" if request.param == "of PyPI" else Path("/usr/bin/ccache")
    return needs(str(path))


class Place:
    """A source and its header, as ccache with zcc as its prefix compiles it."""

    def __init__(self, farm: Farm, ccache: str, top: Path) -> None:
        self.farm, self.ccache, self.top = farm, ccache, top
        self.rest()
        self.environment = {
            **farm.local.environment,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "CCACHE_DIR": str(top / "ccache"),
            "CCACHE_CONFIGPATH": str(top / "none"),
            "CCACHE_PREFIX": "zcc",
        }

    def edit(self, name: str, value: int) -> None:
        (self.top / name).write_text(f"#define VALUE {value}\n")

    def rest(self) -> None:
        """Until the header that is read is old enough: ccache does not believe times of just now."""
        status = (self.top / "second/x.h").stat()
        newest = max(status.st_mtime, status.st_ctime)
        time.sleep(max(0.0, newest + BELIEVED_S - time.time()))

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.ccache, *COMMAND], cwd=self.top, env=self.environment)

    def compiled(self) -> bytes:
        assert self.start().wait(PATIENCE_S) == 0
        return (self.top / "a.o").read_bytes()

    def plain(self) -> bytes:
        subprocess.run([*COMMAND[:-1], "plain.o"], cwd=self.top, check=True)
        return (self.top / "plain.o").read_bytes()

    def away(self) -> subprocess.Popen[bytes]:
        """Compile, the node standing still with the job."""
        assert self.compiled_once()
        self.farm.local.nodes[0].send_signal(signal.SIGSTOP)
        begun = self.start()
        wait_until(self._is_there, "the job to be at the node", timeout_s=PATIENCE_S)
        return begun

    def compiled_once(self) -> bool:
        """The node has the compiler, and the agent is there."""
        (self.top / "warm.c").write_text("int warm;\n")
        return self.farm.run("zcc", "gcc", "-c", "warm.c", cwd=self.top).returncode == 0

    def thaw(self) -> None:
        self.farm.local.nodes[0].send_signal(signal.SIGCONT)

    def _is_there(self) -> bool:
        answer = control.ask(self.farm.local.environment["ZCC_SOCKET"], {"op": "nodes"}) or {}
        return any(row["running"] for row in answer.get("nodes", ()))

    def stored(self) -> int:
        done = subprocess.run(
            [self.ccache, "--print-stats"],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return int(dict(map(str.split, done.stdout.splitlines()))["cache_miss"])


@pytest.fixture(scope="module")
def tops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sources for all tests of this file: they grow old together."""
    made = [tmp_path_factory.mktemp("late") for _ in range(PLACES)]
    for top in made:
        (top / "first").mkdir()
        (top / "second").mkdir()
        (top / "a.c").write_text(f"/* {top} */\n#include <x.h>\nint value = VALUE;\n")
        (top / "second/x.h").write_text("#define VALUE 1\n")
    return iter(made)


@pytest.fixture
def place(one_node: Farm, ccache: str, tops: Iterator[Path]) -> Place:
    return Place(one_node, ccache, next(tops))


def edited(place: Place) -> None:
    place.edit("second/x.h", 2)


def put_back(place: Place) -> None:
    place.edit("second/x.h", 1)


def put_before(place: Place) -> None:
    place.edit("first/x.h", 2)


def removed(place: Place) -> None:
    (place.top / "first/x.h").unlink()


HOW = {"edited": (edited, put_back), "put before": (put_before, removed)}


@pytest.mark.parametrize("has_object", [False, True])
@pytest.mark.parametrize(("change", "undo"), HOW.values(), ids=HOW.keys())
def test_what_has_changed_meanwhile_is_not_kept_for_what_was_there(
    place: Place,
    has_object: bool,
    change: Callable[[Place], None],
    undo: Callable[[Place], None],
) -> None:
    if has_object:
        (place.top / "a.o").write_bytes(b"an object of before")
    away = place.away()
    change(place)
    time.sleep(0.2)  # else it might have been looked at just now
    place.thaw()
    assert away.wait(PATIENCE_S) == 0
    assert (place.top / "a.o").read_bytes() == place.plain()
    assert place.stored() == 0
    undo(place)
    place.rest()
    assert place.compiled() == place.plain()
    assert place.stored() == 1


def test_what_comes_back_as_it_was_asked_for_is_kept(place: Place) -> None:
    away = place.away()
    time.sleep(0.2)
    place.thaw()
    assert away.wait(PATIENCE_S) == 0
    assert place.stored() == 1


def test_a_launcher_that_loses_its_agent_leaves_nothing_to_keep(place: Place) -> None:
    away = place.away()
    put_before(place)
    time.sleep(MOMENT_S)
    status = control.ask(place.farm.local.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    os.kill(status["pid"], signal.SIGKILL)
    place.thaw()
    assert away.wait(PATIENCE_S) == 0
    assert (place.top / "a.o").read_bytes() == place.plain()
    assert place.stored() == 0
    removed(place)
    place.rest()
    assert place.compiled() == place.plain()


def test_a_check_of_the_syntax_that_fails_is_no_success_to_keep(place: Place) -> None:
    """ccache expects no object of it, so that "0, and no object" would be one."""
    (place.top / "bad.c").write_text("int f(void) { return undeclared; }\n")
    command = [place.ccache, "gcc", "-c", "-fsyntax-only", "bad.c", "-o", "bad.o"]
    assert place.compiled_once()
    status = control.ask(place.farm.local.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    os.kill(status["pid"], signal.SIGSTOP)
    waits = subprocess.Popen(command, cwd=place.top, env=place.environment, stderr=subprocess.PIPE)
    time.sleep(MOMENT_S)
    os.kill(status["pid"], signal.SIGKILL)
    assert b"undeclared" in waits.communicate(timeout=PATIENCE_S)[1]
    assert waits.returncode == 1
    again = subprocess.run(
        command, check=False, cwd=place.top, env=place.environment, capture_output=True
    )
    assert (again.returncode, b"undeclared" in again.stderr) == (1, True)
