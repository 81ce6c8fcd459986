"""`zcc monitor` before it serves: what it refuses, and what it says then."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import zcc.monitor
from tests.support import watched_farm
from tests.support.recordings import write_recording
from zcc import farm as membership
from zcc.cli import agent, farm, monitor, watching
from zcc.errors import ConfigError
from zcc.farm import Access
from zcc.keys import new_key_pair


def call(**more: Any) -> None:
    options: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "is_opened": False,
        "source": "",
        "speed": 1.0,
        "token_file": "",
        "names": [],
        "key": "",
        "allows_drain": False,
    }
    monitor.monitor(**(options | more))


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "zcc.monitor.serving", raising=False)
    monkeypatch.delattr(zcc.monitor, "serving", raising=False)
    with pytest.raises(
        ConfigError, match=r"the page needs uvicorn: pip install 'zcc-farm\[monitor\]'"
    ):
        call(source="somewhere")


def test_to_drain_it_takes_an_admins_key_a_token_and_a_farm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def access_of(role: str) -> Access:
        return Access("tcp://127.0.0.1:1", new_key_pair().public, "", role, new_key_pair())

    with pytest.raises(ConfigError, match="a recording has no nodes"):
        call(source="somewhere", allows_drain=True)
    monkeypatch.setattr(monitor, "monitor_access", lambda *_: access_of("monitor"))
    with pytest.raises(ConfigError, match=r"a monitor's, and only an admin's drains nodes"):
        call(allows_drain=True)
    monkeypatch.setattr(monitor, "monitor_access", lambda *_: access_of("admin"))
    with pytest.raises(ConfigError, match="needs --token-file"):
        call(allows_drain=True)


def test_beyond_this_machine_it_asks_for_a_token() -> None:
    with pytest.raises(
        ConfigError, match=r"everybody who reaches 0\.0\.0\.0 could read .* --token-file"
    ):
        call(listen="0.0.0.0:0", source="somewhere")


def test_without_a_key_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZCC_CONFIG_DIR", os.fspath(tmp_path))
    with pytest.raises(ConfigError, match="--role monitor"):
        call()


def test_with_a_clients_key_it_announces_nothing_and_says_how_to_get_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain `zcc join` would give the key that compiles another role."""
    monkeypatch.setenv("ZCC_CONFIG_DIR", os.fspath(tmp_path))
    keys = new_key_pair()
    access = Access("tcp://127.0.0.1:1", keys.public, "main", "client", keys)
    monkeypatch.setattr(
        watching,
        "load_access",
        lambda place, _, follows: access if place == os.fspath(tmp_path) else None,
    )
    with pytest.raises(ConfigError) as refused:
        call()
    beside = tmp_path / "monitor"
    assert str(refused.value) == (
        "this key is a client's: to watch, ask for a token of zcc-broker token --role monitor, then"
        f" ZCC_CONFIG_DIR={beside} zcc join -"
    )
    assert "the page is at" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "hint"), [("monitor", "now: zcc monitor"), ("client", "try it: zcc gcc")]
)
def test_who_has_joined_is_told_what_his_key_is_for(
    role: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = new_key_pair()
    access = Access("tcp://127.0.0.1:1", keys.public, "main", role, keys)
    monkeypatch.setattr(membership, "join", lambda *_: access)
    monkeypatch.setattr(agent, "ask", lambda _: None)
    farm.join("token", "me@here")
    assert hint in capsys.readouterr().out


def test_a_report_names_the_builds_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = os.fspath(tmp_path / "recording")
    write_recording(recording, watched_farm.five_minutes(60))
    with pytest.raises(ConfigError, match=r"no build 'other' .* engine 14:05:09, nightly-4711"):
        monitor.report("other", "-", recording)
    monitor.report("engine", "-", recording)
    assert "<title>zcc: a build</title>" in capsys.readouterr().out
    file = tmp_path / "build.html"
    monitor.report("", os.fspath(file), recording)
    assert "nightly-4711" in file.read_text()
