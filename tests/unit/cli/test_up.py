"""The end of `zcc up`: the nodes first, while the broker is there, and all of it within one deadline."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from zcc.cli import up
from zcc.cli.up import LocalFarm

LEAVES = "trap 'sleep 0.3; echo {name} >>{log}; exit' TERM; echo >&2; while :; do sleep 0.05; done"
STAYS = "trap '' TERM; echo >&2; while :; do sleep 0.05; done"


def process(script: str) -> subprocess.Popen[bytes]:
    """A shell that has set its traps."""
    started = subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE)
    assert started.stderr is not None
    with started.stderr:
        started.stderr.readline()
    return started


def test_the_broker_is_asked_to_end_when_the_nodes_have(tmp_path: Path) -> None:
    log = tmp_path / "log"
    farm = LocalFarm(str(tmp_path))
    farm.broker = process(LEAVES.format(name="broker", log=log))
    farm.nodes = [process(LEAVES.format(name="node", log=log)) for _ in range(2)]
    farm.stop()
    assert log.read_text().split() == ["node", "node", "broker"]


def test_whoever_does_not_end_is_killed_within_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "STOP_TIMEOUT_S", 1.0)
    monkeypatch.setattr(up, "BROKER_STOP_S", 0.3)
    farm = LocalFarm(str(tmp_path))
    farm.broker, farm.nodes = process(STAYS), [process(STAYS) for _ in range(3)]
    begun = time.monotonic()
    farm.stop()
    assert time.monotonic() - begun < 2.5
    assert all(each.poll() is not None for each in (farm.broker, *farm.nodes))
