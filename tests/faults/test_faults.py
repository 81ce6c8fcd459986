"""Parts that die, freeze, come and go in the middle of a build: it ends well, with the same objects."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.disturbed import build_while
from zcc.agent import door
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent


@pytest.fixture
def farm() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-faults-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=2, slots=1)
            # These tests are about compiling: what is remembered must not answer for it.
            local.environment["ZCC_CACHE"] = "off"
            yield local
        finally:
            for process in (*local.nodes, local.broker):
                if process is not None and process.poll() is None:
                    process.send_signal(signal.SIGCONT)
            local.stop()


def build(farm: LocalFarm, project: Path, disturb: Callable[[], object]) -> None:
    build_while(project, {**farm.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}, disturb)


def test_a_node_that_is_killed(farm: LocalFarm, project: Path) -> None:
    build(farm, project, farm.nodes[0].kill)


def test_all_nodes_killed(farm: LocalFarm, project: Path) -> None:
    build(farm, project, lambda: [node.kill() for node in farm.nodes])


def test_a_node_that_freezes(farm: LocalFarm, project: Path) -> None:
    build(farm, project, lambda: farm.nodes[0].send_signal(signal.SIGSTOP))


def test_a_node_that_is_added(farm: LocalFarm, project: Path) -> None:
    build(farm, project, lambda: farm.add_node("late", 1))


def test_a_broker_that_is_killed_and_restarted(farm: LocalFarm, project: Path) -> None:
    build(farm, project, farm.restart_broker)


def test_a_broker_that_is_killed_for_good(farm: LocalFarm, project: Path) -> None:
    assert farm.broker is not None
    build(farm, project, farm.broker.kill)


def test_an_agent_that_is_killed(farm: LocalFarm, project: Path) -> None:
    status = door.ask(farm.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    build(farm, project, lambda: os.kill(int(status["pid"]), signal.SIGKILL))
