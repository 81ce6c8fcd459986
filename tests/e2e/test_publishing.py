"""What a publisher's machine has compiled itself, others get from the farm; nobody else puts anything in."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from zcc import farm as membership
from zcc.agent.launchers import control
from zcc.cli import agent as agent_commands
from zcc.cli import publish as publishing
from zcc.cli.up import LocalFarm


class Machine:
    """A member's machine: its own configuration, state and agent."""

    def __init__(self, local: LocalFarm, name: str, role: str) -> None:
        self.directory = Path(local.directory) / name
        membership.join(local.token(role), str(self.directory), name, (role,))
        self.environment = {
            **os.environ,
            "ZCC_CONFIG_DIR": str(self.directory),
            "ZCC_STATE_DIR": str(self.directory),
            "ZCC_SOCKET": str(self.directory / "agent.sock"),
            "ZCC_LOCAL": "fallback",  # a loaded machine is not to take home what the test counts
            "PATH": f"{os.environ['PATH']}:{BIN}",
        }

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, cwd=cwd, env=self.environment, capture_output=True, check=False, timeout=100
        )

    def outcomes(self) -> dict[str, int]:
        answer = control.ask(self.environment["ZCC_SOCKET"], {"op": "stats"})
        assert answer is not None
        return {name: count for name, count in answer["outcomes"].items() if count}

    def stop(self) -> None:
        control.ask(self.environment["ZCC_SOCKET"], {"op": "stop"})


@pytest.fixture
def local() -> Iterator[LocalFarm]:
    """A broker without any node."""
    with tempfile.TemporaryDirectory(prefix="zcc-publish-") as directory:
        made = PreparedFarm(directory)
        try:
            made.start(nodes=0, slots=1)
            yield made
        finally:
            made.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / f"f{number}.c").write_text(f"#include <stdio.h>\nint f{number};\n")
    rule = "%.o: %.c\n\tzcc gcc -g -O1 -MD -c $< -o $@\n"
    (tmp_path / "Makefile").write_text(f"all: f0.o f1.o f2.o\n{rule}")
    return tmp_path


def objects(project: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in project.glob("f?.[od]")}
    for name in found:
        (project / name).unlink()
    return found


def results(local: LocalFarm) -> dict[str, object]:
    state = os.path.join(local.directory, "broker")
    command = [str(BIN / "zcc-broker"), "cache", "show", "--json", "--state", state]
    done = subprocess.run(command, check=True, capture_output=True)
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_others_get_what_a_publisher_has_compiled(local: LocalFarm, project: Path) -> None:
    ci, desk = Machine(local, "ci", "publisher"), Machine(local, "desk", "client")
    try:
        done = ci.run("zcc", "publish", "--slots", "2", "--", "make", "-j2", cwd=project)
        assert done.returncode == 0, done.stderr
        assert ci.outcomes() == {"remote": 3}
        made = objects(project)
        assert len(made) == 6
        done = desk.run("make", "-j2", cwd=project)
        assert done.returncode == 0, done.stderr
        assert desk.outcomes() == {"shared_hit": 3}
        assert objects(project) == made
        subprocess.run(["make", "CC=gcc", "-j2", "-f", "-", "all"], cwd=project, check=True,
                       input=b"all: f0.o f1.o f2.o\n%.o: %.c\n\tgcc -g -O1 -MD -c $< -o $@\n",
                       capture_output=True)  # fmt: skip
        assert objects(project) == made
    finally:
        ci.stop()
        desk.stop()


def test_its_exit_status_is_the_build_s(local: LocalFarm, project: Path) -> None:
    ci = Machine(local, "ci", "publisher")
    try:
        assert ci.run("zcc", "publish", "--", "sh", "-c", "exit 7", cwd=project).returncode == 7
    finally:
        ci.stop()


def test_a_second_one_beside_it_builds_with_the_node_of_the_first(
    local: LocalFarm, project: Path
) -> None:
    ci = Machine(local, "ci", "publisher")
    for name in ("is-up", "may-end"):
        os.mkfifo(project / name)
    waits = "echo > is-up; read line < may-end"
    first = subprocess.Popen([BIN / "zcc", "publish", "--", "sh", "-c", waits],
                             cwd=project, env=ci.environment)  # fmt: skip
    try:
        (project / "is-up").read_text()
        done = ci.run("zcc", "publish", "--", "make", cwd=project)
        assert done.returncode == 0, done.stderr
        assert b"another zcc publish has one" in done.stderr
        assert ci.outcomes() == {"remote": 3}
        # The broker writes them down behind its answers.
        wait_until(lambda: results(local)["results"] == 3, "three results of the second one's")
        (project / "may-end").write_text("now\n")
        assert first.wait(100) == 0
    finally:
        first.terminate()
        first.wait()
        ci.stop()


def test_a_build_whose_node_cannot_be_runs_all_the_same(local: LocalFarm, project: Path) -> None:
    ci = Machine(local, "ci", "publisher")
    (ci.directory / "own-node").write_text("in the way")
    try:
        done = ci.run("zcc", "publish", "--", "make", cwd=project)
        assert (done.returncode, len(objects(project))) == (0, 6), done.stderr
        assert b"no node of its own: " in done.stderr
        assert ci.run("zcc", "publish", "--", "sh", "-c", "exit 7", cwd=project).returncode == 7
    finally:
        ci.stop()


def test_a_node_that_the_farm_does_not_welcome_costs_no_build(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A broker that is down, a kernel without namespaces: the node has ended, or nobody knows it in time."""
    monkeypatch.setattr(publishing, "START_TIMEOUT_S", 0.0)
    monkeypatch.setattr(agent_commands, "ask", lambda question: {})
    node = tmp_path / "zcc-node"
    node.write_text("#!/bin/sh\nexec sleep 1000\n")
    node.chmod(0o755)
    monkeypatch.setattr(agent_commands, "sibling", lambda name: str(node))
    with publishing._own_node(str(tmp_path / "own-node"), 1):
        assert "no word of the farm" in capsys.readouterr().err
    node.write_text("#!/bin/sh\necho zcc-node: no namespaces\nexit 1\n")
    monkeypatch.setattr(publishing, "START_TIMEOUT_S", 100.0)
    with publishing._own_node(str(tmp_path / "own-node"), 1):
        assert "did not start: no namespaces" in capsys.readouterr().err


def test_a_publisher_s_plain_build_puts_nothing_in(local: LocalFarm, project: Path) -> None:
    """Without its node the compiles are local ones, with no proof."""
    ci = Machine(local, "ci", "publisher")
    try:
        assert ci.run("make", cwd=project).returncode == 0
        assert ci.outcomes() == {"local": 3}
        assert results(local)["results"] == 0
    finally:
        ci.stop()


def test_a_client_cannot_publish(local: LocalFarm, project: Path) -> None:
    desk = Machine(local, "desk", "client")
    try:
        done = desk.run("zcc", "publish", "--", "make", cwd=project)
        assert done.returncode == 1
        assert b"this key is a client's" in done.stderr
        assert b"--role publisher" in done.stderr
        # The program is no boundary: its key is. With the words changed, the broker says no.
        access = desk.directory / "farm.toml"
        access.write_text(access.read_text().replace('"client"', '"publisher"'))
        node = ("zcc-node", "serve", "--own", "--state", str(desk.directory / "n"), "--slots", "1")
        refused = subprocess.Popen(
            node, env=desk.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            assert refused.stderr is not None
            for line in refused.stderr:
                if b"enrolled as client, not as node" in line:
                    break
            else:
                pytest.fail("the broker did not refuse")
        finally:
            refused.terminate()
            refused.communicate()
        audit = (Path(local.directory) / "broker" / "audit.log").read_text()
        assert "enrolled as client, not as node" in audit
        assert results(local)["results"] == 0
    finally:
        desk.stop()
