"""Settings in files: which goes before which, what a wrong one is told, and that what somebody wrote stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.main import app as broker_app
from node.main import app as node_app
from zcc import config
from zcc.cli.main import command_line
from zcc.errors import ConfigError
from zcc.settings.editing import set_value, unset_value

zcc_app = command_line("config")
HAND_WRITTEN = """\
# What we agreed on in May.

slots = 3   # the fourth is for the browser

local = "fallback"
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables = {
        "ZCC_SYSTEM_CONFIG_DIR": str(tmp_path / "etc"),
        "ZCC_CONFIG_DIR": str(tmp_path / "own"),
        "ZCC_STATE_DIR": str(tmp_path / "state"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("etc", "own"):
        (tmp_path / name).mkdir()
    return variables


def run(app: object, *words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


def wrong(app: object, *words: str) -> str:
    result = CliRunner().invoke(app, list(words))  # type: ignore[arg-type]
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_the_users_file_goes_before_the_machines_and_a_variable_before_both(
    tmp_path: Path, places: dict[str, str]
) -> None:
    (tmp_path / "etc" / "config.toml").write_text('slots = 2\ncc = "gcc"\nlog = "error"\n')
    (tmp_path / "own" / "config.toml").write_text('slots = 3\nlog = "debug"\n')
    loaded = config.load({**places, "ZCC_LOG": "warning"})
    assert (loaded.slots, loaded.cc, loaded.log) == (3, "gcc", "warning")
    origins = config.found_settings({**places, "ZCC_LOG": "warning"}).origins
    assert origins == {
        "cc": str(tmp_path / "etc" / "config.toml"),
        "slots": str(tmp_path / "own" / "config.toml"),
        "log": "ZCC_LOG",
    }


def test_a_mistake_in_the_machines_file_is_told_with_its_place(
    tmp_path: Path, places: dict[str, str]
) -> None:
    path = tmp_path / "etc" / "config.toml"
    path.write_text("slot = 3\n")
    with pytest.raises(ConfigError, match=f"^{path}: unknown setting 'slot'; is slots meant\\?$"):
        config.load(places)


def test_config_says_where_each_value_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc" / "config.toml").write_text('cache_size = "9G"\n')
    monkeypatch.setenv("ZCC_CACHE", "read")
    monkeypatch.setenv("ZCC_VERIFY", "nonsense")
    shown = json.loads(run(zcc_app, "config", "--json"))
    assert shown["cache_size"] == "9G"
    assert shown["origins"]["cache_size"] == str(tmp_path / "etc" / "config.toml")
    assert shown["origins"]["cache"] == "ZCC_CACHE"
    assert shown["origins"]["verify"] == shown["origins"]["log"] == "default"
    assert set(shown["origins"]) == set(config.SCHEMA.settings)
    lines = run(zcc_app, "config").splitlines()
    assert any(each.split() == ["log", "info", "default"] for each in lines)


def test_set_and_unset_leave_the_rest_as_somebody_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "own" / "config.toml"
    path.write_text(HAND_WRITTEN)
    path.chmod(0o640)
    told = run(zcc_app, "config", "set", "slots", "5")
    assert told.startswith(f"slots = 5 in {path}; now: zcc agent stop")
    assert path.read_text() == HAND_WRITTEN.replace("slots = 3 ", "slots = 5 ")
    assert path.stat().st_mode & 0o777 == 0o640
    run(zcc_app, "config", "set", "cache-size", "20G")
    assert path.read_text().endswith('local = "fallback"\ncache_size = "20G"\n')
    run(zcc_app, "config", "unset", "local")
    assert "# What we agreed on in May." in path.read_text()
    assert config.load(os.environ).local == config.SOONER
    assert os.listdir(tmp_path / "own") == ["config.toml"]


def test_a_change_that_another_file_hides_is_told_so(tmp_path: Path) -> None:
    run(zcc_app, "config", "set", "slots", "3")
    told = run(zcc_app, "config", "set", "--system", "slots", "8")
    assert (tmp_path / "etc" / "config.toml").read_text() == "slots = 8\n"
    assert f"in force here is slots = 3, by {tmp_path}/own/config.toml" in told


def test_a_file_of_the_machine_can_be_read_by_all(tmp_path: Path) -> None:
    run(zcc_app, "config", "set", "--system", "slots", "8")
    assert (tmp_path / "etc" / "config.toml").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("slot", "3", "unknown setting 'slot'; is slots meant?"),
        ("colour", "red", "unknown setting 'colour'; there are base_dir, broker, cache, "),
        ("slots", "many", "slots must be a whole number, found 'many'"),
        ("cache", "of", "cache = 'of': expected on, off, refresh or read"),
        ("verify", "nan", "verify = nan: expected a share"),
        ("verify", "half", "verify must be a number, found 'half'"),
    ],
)
def test_a_wrong_word_is_told_and_writes_nothing(
    tmp_path: Path, key: str, value: str, told: str
) -> None:
    assert wrong(zcc_app, "config", "set", key, value).startswith(told)
    assert os.listdir(tmp_path / "own") == []


def test_what_is_not_set_cannot_be_unset(tmp_path: Path) -> None:
    assert (
        wrong(zcc_app, "config", "unset", "log") == f"log is not set in {tmp_path}/own/config.toml"
    )


def test_a_file_that_is_no_toml_is_left_to_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "own" / "config.toml"
    path.write_text("slots = = 3\n")
    assert "mend it by hand" in wrong(zcc_app, "config", "set", "slots", "4")
    assert path.read_text() == "slots = = 3\n"


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text(HAND_WRITTEN)
    link = tmp_path / "own" / "config.toml"
    link.symlink_to(real)
    set_value(str(link), "slots", 9)
    assert link.is_symlink()
    assert "slots = 9 " in real.read_text()
    assert unset_value(str(link), "slots")
    assert not unset_value(str(link), "slots")


@pytest.mark.parametrize(
    ("app", "key", "value", "told"),
    [
        (broker_app, "quta", "1G", "unknown setting 'quta'; is quota meant?"),
        (broker_app, "quota", "1Q", "quota = '1Q': '1Q' is not a size"),
        (broker_app, "listen", "8317", "listen = '8317': "),
        (broker_app, "ccache_members", "some", "ccache_members = 'some': expected write, read or off"),
        (broker_app, "key_connections", "0", "key_connections = 0: expected 1 to "),
        (broker_app, "state", "/x", "unknown setting 'state'"),
        (node_app, "mode", "idel", "mode = 'idel': expected dedicated, proportional, idle or off"),
        (node_app, "nice", "99", "nice = 99: expected 0 to 19"),
        (node_app, "own", "1", "unknown setting 'own'"),
    ],
)  # fmt: skip
def test_the_services_settings_are_checked_as_their_options_are(
    app: object, key: str, value: str, told: str
) -> None:
    assert wrong(app, "config", "set", key, value).startswith(told)


def test_what_a_service_is_to_do_is_set_and_shown(tmp_path: Path) -> None:
    run(broker_app, "config", "set", "--system", "key-connections", "7")
    assert (tmp_path / "etc" / "broker.toml").read_text() == "key_connections = 7\n"
    shown = json.loads(run(broker_app, "config", "--json"))
    assert shown["key_connections"] == 7
    assert shown["origins"]["key_connections"] == f"{tmp_path}/etc/broker.toml"
    assert shown["listen"] == "tcp://127.0.0.1:8317"
    assert shown["ccache_members"] == "write"
    assert "key_connections    7" in run(broker_app, "config")
