"""Broker, nodes and agents of a farm are upgraded one after the other, in any order, while builds go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
COMMAND = ("gcc", "-O1", "-g", "-c")


@dataclass
class MixedFarm(LocalFarm):
    """Each part is of the release that `releases` says."""

    releases: dict[str, str] = field(default_factory=dict)
    agent: subprocess.Popen[bytes] | None = None

    def _spawn(
        self, name: str, command: list[str], pass_fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        part = os.path.basename(command[0])
        program = [sys.executable, "-m", "tests.releases", self.releases[part], part]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            return super()._spawn(name, [*program, *command[1:]], pass_fds)

    def _wait_for_nodes(self, count: int) -> None:
        self.start_agent()
        super()._wait_for_nodes(count)

    def start_agent(self) -> None:
        part = "zcc-agent"
        command = [sys.executable, "-m", "tests.releases", self.releases[part], part, "serve"]
        readable, writable = os.pipe()
        with open(self._at("agent.log"), "ab") as log:
            self.agent = subprocess.Popen(
                command,
                env=self.environment | {"PYTHONPATH": str(ROOT), "ZCC_READY_FD": str(writable)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writable,),
                start_new_session=True,
                cwd="/",
            )
        os.close(writable)
        with open(readable, "rb") as ready:
            assert ready.read(1), Path(self._at("agent.log")).read_text()

    def change(self, part: str, release: str) -> None:
        """Have this part be of another release."""
        self.releases[part] = release
        if part == "zcc-broker":
            self.restart_broker()
        elif part == "zcc-node":
            old = self.nodes.pop()
            self.add_node(f"{release}-{time.monotonic_ns()}", 2)
            old.terminate()
            old.wait()
        else:
            assert self.agent is not None
            control.ask(self.environment["ZCC_SOCKET"], {"op": "stop"})
            self.agent.wait(PATIENCE_S)
            self.start_agent()

    def remote(self) -> int:
        """Compiles that nodes have done, for all agents that have been here."""
        answer = control.ask(self.environment["ZCC_SOCKET"], {"op": "stats"})
        return 0 if answer is None else int(answer["outcomes"].get("remote", 0))


@dataclass
class Builder:
    """Compiles one new source after the other, until it is told to end."""

    farm: MixedFarm
    project: Path
    made: list[Path] = field(default_factory=list)
    failed: list[bytes] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    between: threading.Lock = field(default_factory=threading.Lock)  # held while one compiles

    def run(self) -> None:
        environment = {**self.farm.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
        while not self.is_over.is_set():
            number = len(self.made)
            source = self.project / f"a{number}.c"
            source.write_text(f"int f{number}(int x) {{ return x * {number}; }}\n")
            with self.between:
                done = subprocess.run(
                    ["zcc", *COMMAND, source.name],
                    cwd=self.project, env=environment, capture_output=True, check=False, timeout=100,
                )  # fmt: skip
            if done.returncode or done.stderr:
                self.failed.append(done.stderr)
            self.made.append(source)


@pytest.fixture
def farm() -> Iterator[MixedFarm]:
    needs("gcc")
    with tempfile.TemporaryDirectory(prefix="zcc-mixed-") as directory:
        parts = ("zcc-broker", "zcc-node", "zcc-agent")
        local = MixedFarm(directory, releases=dict.fromkeys(parts, "older"))
        try:
            local.start(nodes=1, slots=2)
            yield local
        finally:
            local.stop()
            if local.agent is not None:
                local.agent.wait(PATIENCE_S)


def wait_for_remote(farm: MixedFarm, more: int) -> None:
    enough, deadline = farm.remote() + more, time.monotonic() + PATIENCE_S
    while farm.remote() < enough:
        assert time.monotonic() < deadline, "nothing is compiled on a node"
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_parts_of_two_releases_work_together_whichever_is_the_newer(
    farm: MixedFarm, tmp_path: Path
) -> None:
    """Each change is of one part, and all eight mixtures are there once: every order is among these steps."""
    builder = Builder(farm, tmp_path)
    building = threading.Thread(target=builder.run)
    building.start()
    try:
        wait_for_remote(farm, 2)
        for part in ("broker", "node", "broker", "agent", "broker", "node", "broker"):
            name = f"zcc-{part}"
            release = "older" if farm.releases[name] == "newer" else "newer"
            with builder.between:  # no launcher is to start an agent of its own meanwhile
                farm.change(name, release)
            wait_for_remote(farm, 3)
        # The broker is the older one now: what it does not know is said at once.
        placed = control.ask(farm.environment["ZCC_SOCKET"], {"op": "placed", "job": ""})
        assert "older than this zcc" in str(placed)
    finally:
        builder.is_over.set()
        building.join(PATIENCE_S)
    assert builder.failed == []
    objects = [source.with_suffix(".o") for source in builder.made]
    made = [each.read_bytes() for each in objects]
    subprocess.run([*COMMAND, *(each.name for each in builder.made)], cwd=tmp_path, check=True)
    assert [each.read_bytes() for each in objects] == made
    lines = (Path(farm.directory) / "broker" / "audit.log").read_text().splitlines()
    audit = [json.loads(line) for line in lines]
    said = {line["event"] for line in audit}
    assert "unknown" in said
    assert "violation" not in said
    assert {line["kind"] for line in audit if line["event"] == "unknown"} >= {
        "progress",
        "ask-voided",
    }
