"""`zcc doctor`: a verdict for every part, and what to do where it is not well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.conftest import BIN, Farm

DOCTOR = (str(BIN / "zcc"), "doctor")


def examined(farm: Farm, **changed: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and the findings by their first word (of several the last)."""
    done = farm.run(*DOCTOR, "--json", cwd=Path("/"), strict=True, **changed)
    return done.returncode, {row["what"].split()[0]: row for row in json.loads(done.stdout)}


def test_a_sound_farm_has_a_verdict_for_each_part(farm: Farm) -> None:
    status, found = examined(farm)
    assert status == 0
    parts = {
        "configuration",
        "launcher",
        "compiler",
        "clock:",
        "sandbox:",
        "key",
        "agent,",
        "broker",
    }
    assert parts <= set(found)
    assert found["nodes:"]["what"] == "nodes: 2 with 4 slots"
    assert {row["verdict"] for row in found.values()} == {"ok"}


def test_who_has_not_joined_is_told_how(farm: Farm, tmp_path: Path) -> None:
    status, found = examined(farm, ZCC_CONFIG_DIR=str(tmp_path))
    assert status == 1
    assert found["key:"]["verdict"] == "FAIL"
    assert "zcc join TOKEN" in found["key:"]["advice"]


def test_a_compiler_that_is_not_there_is_named(farm: Farm) -> None:
    status, found = examined(farm, ZCC_CC="no-such-cc", ZCC_CXX="no-such-cc")
    assert status == 1
    assert found["compiler"]["what"] == "compiler no-such-cc: command not found"


def test_a_variable_that_cannot_be_obeyed_is_noted(farm: Farm) -> None:
    status, found = examined(farm, ZCC_CACHE="foo")
    assert status == 0
    assert found["variable"]["verdict"] == "note"
    assert "ZCC_CACHE=foo is not obeyed: expected on, off" in found["variable"]["what"]


def test_an_agent_that_cannot_start_is_named_with_its_reason(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    status, found = examined(farm, ZCC_SOCKET=str(tmp_path / "all" / "agent.sock"))
    assert status == 1
    assert found["agent:"]["verdict"] == "FAIL"
    assert "is for all users: the agent's socket (ZCC_SOCKET) has to" in found["agent:"]["what"]


def test_a_damaged_configuration_is_named(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("slots = many\n")
    done = farm.run(*DOCTOR, cwd=Path("/"), ZCC_CONFIG_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith(b"FAIL  configuration: ")
    assert b"config.toml" in done.stdout


def test_a_machine_without_user_namespaces_is_no_node_and_says_why(
    farm: Farm, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    done = farm.run(
        *("unshare", "--user", "--map-root-user", "sh", "-c"),
        f"echo 0 >/proc/sys/user/max_user_namespaces; exec {BIN}/zcc-node check --state {state} --user any",
        cwd=Path("/"),
    )
    assert done.returncode == 1
    assert b"sysctl user.max_user_namespaces=10000" in done.stderr
    assert len(done.stderr.splitlines()) == 1
