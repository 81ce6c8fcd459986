"""Parts that die, freeze, come and go in the middle of a build: it ends well, with the same objects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zcc.agent import door
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
FILES = 12
SOURCE = """
#include <map>
#include <string>
#include <vector>
std::map<std::string, std::vector<int>> table_{n};
int use_{n}() {{ table_{n}["{n}"].push_back({n}); return (int)table_{n}.size(); }}
"""
BUILD_TIMEOUT_S = 110
WAIT_S = 60


@pytest.fixture
def farm() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-faults-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=2, slots=1)
            yield local
        finally:
            for process in (*local.nodes, local.broker):
                if process is not None and process.poll() is None:
                    process.send_signal(signal.SIGCONT)
            local.stop()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources and a Makefile, with the objects of a plain build in `plain/`."""
    directory = tmp_path_factory.mktemp("project")
    names = [f"f{number}" for number in range(FILES)]
    for number, name in enumerate(names):
        (directory / f"{name}.cc").write_text(SOURCE.format(n=number))
    objects = " ".join(f"$(OUT)/{name}.o" for name in names)
    rule = "$(OUT)/%.o: %.cc\n\t@mkdir -p $(@D)\n\t@$(CXX) -g -O1 -c -o $@ $<\n"
    (directory / "Makefile").write_text(f"all: {objects}\n{rule}")
    subprocess.run(["make", "-s", "-j2", "CXX=g++", "OUT=plain"], cwd=directory, check=True)
    return directory


def build_while(farm: LocalFarm, project: Path, disturb: Callable[[], None]) -> None:
    """Build through the farm; disturb it once the first object is there; compare everything."""
    out = project / "farm"
    if out.exists():
        for path in out.iterdir():
            path.unlink()
    environment = {**farm.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
    command = ["make", "-s", "-j4", "CXX=zcc g++", "OUT=farm"]
    make = subprocess.Popen(command, cwd=project, env=environment)
    try:
        deadline = time.monotonic() + WAIT_S
        while not list(out.glob("*.o")) and time.monotonic() < deadline:
            assert make.poll() is None
            time.sleep(0.02)
        assert len(list(out.glob("*.o"))) < FILES, "the build was over before it was disturbed"
        disturb()
        assert make.wait(BUILD_TIMEOUT_S) == 0
    finally:
        if make.poll() is None:
            make.kill()
            make.wait()
    for plain in (project / "plain").iterdir():
        assert (out / plain.name).read_bytes() == plain.read_bytes(), plain.name


def test_a_node_that_is_killed(farm: LocalFarm, project: Path) -> None:
    build_while(farm, project, farm.nodes[0].kill)


def test_all_nodes_killed(farm: LocalFarm, project: Path) -> None:
    build_while(farm, project, lambda: [node.kill() for node in farm.nodes] and None)


def test_a_node_that_freezes(farm: LocalFarm, project: Path) -> None:
    build_while(farm, project, lambda: farm.nodes[0].send_signal(signal.SIGSTOP))


def test_a_node_that_is_added(farm: LocalFarm, project: Path) -> None:
    build_while(farm, project, lambda: farm.add_node("late", 1) and None)


def test_a_broker_that_is_killed_and_restarted(farm: LocalFarm, project: Path) -> None:
    build_while(farm, project, farm.restart_broker)


def test_a_broker_that_is_killed_for_good(farm: LocalFarm, project: Path) -> None:
    assert farm.broker is not None
    build_while(farm, project, farm.broker.kill)


def test_an_agent_that_is_killed(farm: LocalFarm, project: Path) -> None:
    status = door.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    build_while(farm, project, lambda: os.kill(int(status["pid"]), signal.SIGKILL))
