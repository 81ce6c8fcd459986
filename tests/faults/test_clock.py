"""Clocks that jump in the middle of a build: a machine whose time is set, or that wakes from a long sleep.

A preloaded library adds an offset to the time of day, which it reads from a file at each call. (libfaketime
fails polls with EINVAL under Python.) Files keep the times that the file system gives them, and monotonic
clocks go on, as they do where a clock is set.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disturbed import build_while, check_objects
from tests.faults.test_faults import BIN
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

_DAY_S = 86_400.0


_LIBRARY = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    char text[32] = "";
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) < 0) abort();
    close(file);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that adds the offset."""
    directory = tmp_path_factory.mktemp("clock")
    (directory / "clock.c").write_text(_LIBRARY)
    built = directory / "clock.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(built), str(directory / "clock.c")]
    subprocess.run(command, check=True)
    return built


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file with the offset: `set_clock` writes it."""
    path = tmp_path / "offset"
    set_clock(path, 0.0)
    return path


@pytest.fixture
def farm(clock: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalFarm]:
    """Broker, nodes and agent whose time of day is what `clock` adds to the machine's."""
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_OFFSET", str(clock))
    with tempfile.TemporaryDirectory(prefix="zcc-clock-") as directory:
        local = PreparedFarm(directory)
        agent: subprocess.Popen[bytes] | None = None
        try:
            local.start(nodes=2, slots=1)
            # An agent that a launcher starts takes no preloaded library of a build's along.
            socket = local.environment["ZCC_SOCKET"]
            control.ask(socket, {"op": "stop"})
            wait_until(lambda: not os.path.exists(socket), "the agent to be gone")
            agent = subprocess.Popen([BIN / "zcc-agent", "serve"], env=local.environment)
            wait_until(lambda: control.ask(socket, {"op": "status"}) is not None, "another agent")
            local.environment["ZCC_CACHE"] = "off"
            local.environment["PATH"] = f"{os.environ['PATH']}:{BIN}"
            # The compiles themselves are run by a shell that has the right time.
            del local.environment["LD_PRELOAD"]
            yield local
        finally:
            local.stop()
            if agent is not None:
                assert agent.wait(30) == 0


@pytest.mark.parametrize("jump_s", [_DAY_S, -_DAY_S], ids=["forward", "back"])
def test_a_clock_that_jumps_by_a_day(
    farm: LocalFarm, project: Path, clock: Path, jump_s: float
) -> None:
    uptime_s = uptime_of_the_agent(farm)
    build_while(project, farm.environment, lambda: set_clock(clock, jump_s))
    assert abs(uptime_of_the_agent(farm) - uptime_s) > _DAY_S / 2, "the agent did not see the jump"
    strictly = {**farm.environment, "ZCC_FALLBACK": "never"}
    command = ["make", "-s", "-j2", "-B", "CXX=zcc g++", "OUT=farm"]

    def is_built_by_the_farm() -> bool:
        done = subprocess.run(command, cwd=project, env=strictly, check=False, capture_output=True)
        return done.returncode == 0

    wait_until(is_built_by_the_farm, "a build that the farm has done as a whole")
    check_objects(project, project / "farm")


def test_a_cache_filled_before_a_jump_answers_after_it(
    farm: LocalFarm, project: Path, clock: Path
) -> None:
    farm.environment["ZCC_CACHE"] = "on"
    command = ["make", "-s", "-j2", "-B", "CXX=zcc g++", "OUT=farm"]
    for jump_s in (0.0, _DAY_S, -_DAY_S):
        set_clock(clock, jump_s)
        subprocess.run(command, cwd=project, env=farm.environment, check=True)
        check_objects(project, project / "farm")
    stats = control.ask(farm.environment["ZCC_SOCKET"], {"op": "stats"})
    assert stats is not None
    assert stats["outcomes"]["local"] == 0


def set_clock(clock: Path, offset_s: float) -> None:
    """Written aside and renamed: a process that looks meanwhile sees the old time or the new one."""
    fresh = clock.with_suffix(".new")
    fresh.write_text(f"{offset_s:+.0f}\n")
    fresh.replace(clock)


def uptime_of_the_agent(farm: LocalFarm) -> float:
    status = control.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    return float(status["uptime_s"])
