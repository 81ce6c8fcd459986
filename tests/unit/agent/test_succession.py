"""When an agent makes way for another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc.agent.launchers.succession import (
    LOOK_EVERY_S,
    OWN_QUIET_S,
    Installation,
    Succession,
    own_files,
)

LATER_S = 100.0


def installed(place: Path) -> Installation:
    for name in ("a.py", "b.py"):
        (place / name).write_text(name)
    return Installation([str(place / name) for name in ("a.py", "b.py", "never-there")])


def test_an_installation_that_stays_has_not_changed(tmp_path: Path) -> None:
    assert not installed(tmp_path).has_changed(LATER_S)


@pytest.mark.parametrize("what", ["gone", "replaced", "written"])
def test_a_file_that_changes_is_seen(tmp_path: Path, what: str) -> None:
    installation = installed(tmp_path)
    path = tmp_path / "b.py"
    if what == "gone":
        path.unlink()
    elif what == "written":
        path.write_text("longer than it was")
    else:
        status = path.stat()
        (tmp_path / "new").write_text("b.py")
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").rename(path)
    assert installation.has_changed(LATER_S)
    assert installation.change == str(path)


def test_it_is_looked_at_now_and_then_only(tmp_path: Path) -> None:
    installation = installed(tmp_path)
    assert not installation.has_changed(LATER_S)
    (tmp_path / "a.py").unlink()
    assert not installation.has_changed(LATER_S + LOOK_EVERY_S / 2)
    assert installation.has_changed(LATER_S + LOOK_EVERY_S)


def test_an_installation_that_has_changed_does_not_change_back(tmp_path: Path) -> None:
    installation = installed(tmp_path)
    (tmp_path / "never-there").write_text("")
    assert installation.has_changed(LATER_S)
    (tmp_path / "never-there").unlink()
    assert installation.has_changed(2 * LATER_S)


def test_the_launcher_that_starts_an_agent_is_its_own(tmp_path: Path) -> None:
    succession = Succession(installed(tmp_path), 7)
    assert not succession.is_over_for(7, LATER_S)
    assert succession.is_over_for(8, LATER_S + OWN_QUIET_S)


def test_the_first_launcher_is_its_own_where_none_has_started_it(tmp_path: Path) -> None:
    succession = Succession(installed(tmp_path), None)
    assert not succession.is_over_for(8, LATER_S)
    assert succession.is_over_for(7, LATER_S + OWN_QUIET_S)


def test_two_builds_in_use_at_once_share_an_agent(tmp_path: Path) -> None:
    succession = Succession(installed(tmp_path), 7)
    for turn in range(10):
        now = LATER_S + turn * OWN_QUIET_S / 2
        assert not succession.is_over_for(7, now)
        assert not succession.is_over_for(8, now + 1)


def test_another_protocol_is_another_build(tmp_path: Path) -> None:
    succession = Succession(installed(tmp_path), 7)
    assert succession.is_over_for(None, LATER_S)


def test_the_agents_own_modules_are_among_its_files() -> None:
    files = own_files()
    assert any(path.endswith("zcc/agent/launchers/succession.py") for path in files)
