"""`zcc top` on the command line: what it prints, and what it says where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer

from tests.support import small_farm
from tests.support.recordings import write_recording
from zcc.cli import top as command
from zcc.errors import ConfigError


def top(
    once: bool = False, as_json: bool = False, source: str = "", speed: float = 1.0, key: str = ""
) -> None:
    command.top(once, as_json, source, speed, key)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    events = [event for batch in small_farm.batches() for event in batch]
    write_recording(str(tmp_path / "kept"), events)
    return str(tmp_path / "kept")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_check_terminal", lambda: None)


def test_once_prints_the_end_of_a_recording(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    top(once=True, as_json=True, source=recording)
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["farm"], document["running"]) == (1, "hill", 2)
    assert {each["name"] for each in document["nodes"]} == {"oak", "elm"}
    top(once=True, source=recording)
    assert "hill at " in capsys.readouterr().out


def test_without_the_extra_a_line_says_what_to_install(
    terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        each for each in sys.modules if each.startswith(("zcc.top.app", "zcc.top.screen"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("textual", "textual.app", "textual.binding", "textual.widget", "textual.widgets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        top(source="anything")
    assert str(caught.value) == (
        "the screen needs textual.app: pip install 'zcc-farm[tui]'; zcc top --once does without"
    )


def test_once_imports_nothing_of_the_extra(recording: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("textual", "rich"):
        monkeypatch.setitem(sys.modules, name, None)
    top(once=True, as_json=True, source=recording)


def test_a_recording_that_is_not_there_is_said(tmp_path: Path, terminal: None) -> None:
    for once in (True, False):
        with pytest.raises(ConfigError, match="no recording is at"):
            top(once=once, source=str(tmp_path / "none"))


def test_who_has_no_key_is_told_how_to_get_one(
    tmp_path: Path, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZCC_CONFIG_DIR", str(tmp_path))
    for once in (True, False):
        with pytest.raises(ConfigError, match="zcc-broker token --role monitor"):
            top(once=once)


def test_a_pipe_is_no_terminal() -> None:
    with pytest.raises(ConfigError, match="zcc top --once prints how the farm is"):
        top()


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(typer.BadParameter, match="--json goes with --once"):
        top(as_json=True)
    with pytest.raises(typer.BadParameter, match="--speed is 0 to 1000"):
        top(speed=-1)
