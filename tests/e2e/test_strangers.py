"""Keys that a farm does not take: refused, logged, and nothing learnt; the build goes on without it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN
from tests.support.network_farm import wait_until
from tests.support.prepared_farm import PreparedFarm
from zcc import farm
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm
from zcc.farm import load_access, save_access
from zcc.keys import new_key_pair


@pytest.fixture
def local() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-strangers-") as directory:
        made = PreparedFarm(directory)
        try:
            made.start(nodes=1, slots=1)
            # These tests are about compiling: what is remembered must not answer for it.
            made.environment["ZCC_CACHE"] = "off"
            yield made
        finally:
            made.stop()


def as_client(local: LocalFarm, state: Path) -> dict[str, str]:
    """The environment of a client whose key and token lie in `state`."""
    names = ("ZCC_CONFIG_DIR", "ZCC_STATE_DIR")
    own = {**dict.fromkeys(names, str(state)), "ZCC_SOCKET": str(state / "agent.sock")}
    return {**local.environment, **own}


def compile_with(environment: dict[str, str], directory: Path) -> str:
    """Compile a file, which has to succeed; the reason why it was done here."""
    (directory / "a.c").write_text("#include <stdio.h>\nint a;\n")
    plain = subprocess.run(["gcc", "-c", "a.c", "-o", "plain.o"], cwd=directory, check=False)
    command = [str(BIN / "zcc"), "gcc", "-c", "a.c"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, check=False)
    assert (plain.returncode, done.returncode, done.stderr) == (0, 0, b"")
    assert (directory / "a.o").read_bytes() == (directory / "plain.o").read_bytes()
    stats = control.ask(environment["ZCC_SOCKET"], {"op": "stats"})
    assert stats is not None
    (reason,) = stats["local_reasons"]
    return str(reason)


def leave(environment: dict[str, str]) -> None:
    control.ask(environment["ZCC_SOCKET"], {"op": "stop"})
    wait_until(lambda: control.ask(environment["ZCC_SOCKET"], {"op": "status"}) is None, "no agent")


def broker_log(local: LocalFarm) -> str:
    return (Path(local.directory) / "broker.log").read_text()


def audited(local: LocalFarm) -> list[dict[str, object]]:
    lines = (Path(local.directory) / "broker" / "audit.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_stranger_is_not_let_in_and_compiles_by_himself(local: LocalFarm, tmp_path: Path) -> None:
    """He knows everything that is public: the endpoint, the broker's key, the farm's name."""
    access = load_access(local.environment["ZCC_CONFIG_DIR"])
    assert access is not None
    stranger = new_key_pair()
    state = tmp_path / "stranger"
    state.mkdir()
    save_access(
        str(state), farm.Access(access.endpoint, access.broker_public, "farm", "client", stranger)
    )
    environment = as_client(local, state)
    try:
        assert compile_with(environment, tmp_path) == "key-revoked"
        wait_until(lambda: stranger.public in broker_log(local), "the refusal in the broker's log")
        # Not a single message of the farm's reached him.
        stats = control.ask(environment["ZCC_SOCKET"], {"op": "stats"})
        assert stats is not None
        assert stats["bytes_received"] == 0
        assert not [row for row in audited(local) if stranger.public in row.values()]
    finally:
        leave(environment)


def test_a_clients_key_is_not_a_nodes(local: LocalFarm, tmp_path: Path) -> None:
    state = tmp_path / "node"
    own = local.environment["ZCC_CONFIG_DIR"]
    access = load_access(own)
    assert access is not None
    shutil.copytree(own, state, ignore=lambda _, names: {n for n in names if "farm." not in n})
    save_access(
        str(state),
        farm.Access(access.endpoint, access.broker_public, access.farm, "node", access.keys),
    )
    command = [str(BIN / "zcc-node"), "serve", "--state", str(state), "--name", "impostor"]
    command += ["--user", "any"]
    with open(tmp_path / "node.log", "wb") as log:
        node = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: "refuse" in (tmp_path / "node.log").read_text(), "the node to be told")
        listed = control.ask(local.environment["ZCC_SOCKET"], {"op": "nodes"})
        assert listed is not None
        assert [row["name"] for row in listed["nodes"]] == ["node1"]
        refusals = [row for row in audited(local) if row["event"] == "refuse"]
        assert access.keys.public in refusals[-1].values()
    finally:
        node.terminate()
        node.wait()


def test_a_revoked_key_is_out_within_a_moment(local: LocalFarm, tmp_path: Path) -> None:
    environment = local.environment
    status = control.ask(environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    assert status["connected"]
    broker = ("--state", str(Path(local.directory) / "broker"))
    subprocess.run(
        [str(BIN / "zcc-broker"), "revoke", "zcc up", *broker], check=True, capture_output=True
    )

    def is_out() -> bool:
        now = control.ask(environment["ZCC_SOCKET"], {"op": "status"})
        return now is not None and not now["connected"]

    wait_until(is_out, "the live session to be dropped", timeout_s=10)
    compile_with(environment, tmp_path)
