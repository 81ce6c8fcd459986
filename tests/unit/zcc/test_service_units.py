"""The units: what systemd says of them, and what they must and must not take away."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.main import CREDENTIAL
from zcc.cli.agent import sibling
from zcc.service import install, places
from zcc.service.places import place_of, why_unreachable_for_others
from zcc.service.units import BROKER, NODE, Service, quoted, system_unit, sysusers, user_unit

SERVICES = [BROKER, NODE]
# Each puts a mount over a part of /proc, or a filter on what the sandbox is made with.
NOT_FOR_NODES = (
    "RestrictNamespaces", "ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelLogs",
    "ProtectControlGroups", "PrivateDevices", "PrivateUsers", "ProtectHostname",
)  # fmt: skip


def lines(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("make", [system_unit, user_unit])
def test_systemd_finds_nothing_wrong_with_a_unit(
    service: Service, make: Callable[[Service, str], str], tmp_path: Path
) -> None:
    path = tmp_path / f"{service.name}.service"
    path.write_text(make(service, "/bin/true"))
    # As a unit of the system's in both cases: a user's manager cannot be asked without one.
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if service.name in line]
    assert said == []


@pytest.mark.parametrize("service", SERVICES)
def test_both_are_watched_and_started_again(service: Service) -> None:
    for text in (system_unit(service, "/p/x"), user_unit(service, "/p/x")):
        found = lines(text)
        assert found["Type"] == ["notify"]
        assert found["Restart"] == ["on-failure"]
        assert int(found["WatchdogSec"][0]) >= 30
        assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        assert found["NoNewPrivileges"] == ["yes"]
        assert int(found["TimeoutStopSec"][0]) >= 30
        assert found["StartLimitBurst"] == ["5"]


def test_a_node_keeps_what_the_sandbox_is_made_with() -> None:
    found = lines(system_unit(NODE, "/p/zcc-node"))
    assert [name for name in NOT_FOR_NODES if name in found] == []
    assert found["Delegate"] == ["yes"]
    assert found["OOMPolicy"] == ["continue"]
    assert found["LoadCredential"] == [CREDENTIAL]
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0]


def test_the_brokers_libzmq_may_ask_for_addresses() -> None:
    assert "AF_NETLINK" in lines(system_unit(BROKER, "/p/zcc-broker"))["RestrictAddressFamilies"][0]


@pytest.mark.parametrize("service", SERVICES)
def test_a_user_s_own_unit_asks_for_nothing_that_only_root_s_manager_can_do(
    service: Service,
) -> None:
    found = lines(user_unit(service, "/p/x"))
    assert not {"User", "StateDirectory", "ProtectSystem", "CapabilityBoundingSet"} & set(found)
    assert found["WantedBy"] == ["default.target"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_users_full_name_has_no_colon(service: Service) -> None:
    """It is a field of /etc/passwd."""
    assert ":" not in sysusers(service)
    assert sysusers(service).startswith(f"u {service.name} ")


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1))
def test_a_command_line_is_read_as_the_words_that_it_was_made_of(words: list[str]) -> None:
    """systemd reads words as a shell does, and `%` and `$` besides."""
    read = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(quoted(*words))]
    assert read == words


def test_a_program_in_a_home_directory_is_no_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "zcc-node"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr(places, "_PRIVATE", (str(tmp_path),))
    assert why_unreachable_for_others(str(program)) == f"{program} is in a home directory"


def test_a_program_behind_a_closed_directory_is_no_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "_PRIVATE", ())
    with tempfile.TemporaryDirectory(prefix="zcc-closed-") as closed:  # of mode 0700
        program = Path(closed) / "bin" / "zcc-node"
        program.parent.mkdir()
        program.touch()
        assert why_unreachable_for_others(str(program)) == f"only its owner may enter {closed}"


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
    }
    return subprocess.run(
        [sibling(words[0]), *words[1:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["zcc-broker", "zcc-node"])
def test_print_shows_the_unit_and_writes_nothing(name: str, tmp_path: Path) -> None:
    done = run(name, "install-service", "--user", "--print", home=tmp_path)
    assert lines(done.stdout)["ExecStart"] == [f"{sibling(name)} serve"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["zcc-broker", "zcc-node"])
def test_a_users_service_comes_and_goes(name: str, tmp_path: Path) -> None:
    """In a HOME of its own, where no manager runs: that is said."""
    done = run(name, "install-service", "--user", home=tmp_path)
    assert done.returncode == 0, done.stderr
    unit = tmp_path / ".config" / "systemd" / "user" / f"{name}.service"
    assert (
        unit.read_text() == run(name, "install-service", "--user", "--print", home=tmp_path).stdout
    )
    assert f"next: systemctl --user enable --now {name}.service" in done.stdout
    assert "no systemd runs here" in done.stderr
    gone = run(name, "uninstall-service", "--user", home=tmp_path)
    assert gone.returncode == 0, gone.stderr
    assert not unit.exists()
    assert "is not installed" in run(name, "uninstall-service", "--user", home=tmp_path).stdout


def test_the_machines_unit_names_its_own_user_and_state() -> None:
    found = place_of(BROKER, is_system=True).files
    unit, users = found.values()
    assert lines(unit)["User"] == ["zcc-broker"]
    assert lines(unit)["StateDirectory"] == ["zcc-broker"]
    assert f"--state {install.kept_at(BROKER, is_system=True)}" in lines(unit)["ExecStart"][0]
    assert users == sysusers(BROKER)


def test_a_user_who_is_not_there_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", nobody)
    assert not place_of(NODE, is_system=True).has_user()
