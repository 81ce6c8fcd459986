"""What `--purge` takes: zcc's own things by their names, and nothing of anybody else's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cache import index
from node import naming, orders
from zcc.agent.history import database, stats
from zcc.errors import ConfigError
from zcc.service import purge
from zcc.service.purge import Keeping

ROOT = Path(__file__).parents[3]


def test_what_is_not_zccs_stays_with_its_directory(tmp_path: Path) -> None:
    for name in ("farm.key", "agent.log", "agent.log.1", "thesis.tex", "agent.logs"):
        (tmp_path / name).touch()
    found = purge.find([Keeping(str(tmp_path), (*purge.ACCESS_NAMES, *purge.AGENT_NAMES))])
    assert [Path(each).name for each in found.strange] == ["agent.logs", "thesis.tex"]
    purge.remove(found)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.logs", "thesis.tex"]


def test_a_directory_that_is_empty_then_goes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "cache" / "blobs" / "ab").mkdir(parents=True)
    (state / "cache" / "blobs" / "ab" / "cd").touch()
    (state / "stats.json").touch()
    purge.remove(
        purge.find(
            [
                Keeping(str(state), purge.AGENT_NAMES),
                Keeping(str(state / "cache"), purge.CACHE_NAMES),
            ]
        )
    )
    assert not state.exists()


def test_a_tree_that_lets_nobody_in_goes_too(tmp_path: Path) -> None:
    closed = tmp_path / "trees" / "1" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0o000)
    purge.remove(purge.find([Keeping(str(tmp_path), purge.NODE_NAMES)]))
    assert not tmp_path.exists()


def test_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "large-disk"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    state = tmp_path / "state"
    state.mkdir()
    (state / "spool").symlink_to(elsewhere)
    purge.remove(purge.find([Keeping(str(state), purge.BROKER_NAMES)]))
    assert not state.exists()
    assert (elsewhere / "file").exists()


def test_who_cannot_be_asked_has_to_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "farm.key").touch()
    found = purge.find([Keeping(str(tmp_path), purge.NODE_NAMES)])
    with open("/dev/null") as nobody, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", nobody)
        with pytest.raises(ConfigError, match="nothing was removed: say --yes"):
            purge.ask(found, ["leaves the farm"], is_sure=False)
    assert capsys.readouterr().out == f"leaves the farm\nremoves {tmp_path}/farm.key\n"
    assert (tmp_path / "farm.key").exists()


def is_named(name: str, names: tuple[str, ...]) -> bool:
    return any(re.fullmatch(each.replace(".", r"\.").replace("*", ".*"), name) for each in names)


def test_each_file_that_the_programs_name_is_known_here() -> None:
    broker = set()
    for path in (ROOT / "broker").rglob("*.py"):
        text = path.read_text()
        broker |= set(re.findall(r'^(?:\w+_)?(?:FILE|FILE_NAME|DIRECTORY) = "([^"]+)"', text, re.M))
    assert len(broker) >= 12
    missing = {name for name in broker if not is_named(name, purge.BROKER_NAMES)}
    assert missing == set()
    for name in (naming.FILE_NAME, orders.MODE_FILE, orders.DRAIN_FILE, orders.LOCK_FILE):
        assert is_named(name, purge.NODE_NAMES)
    assert is_named(index.FILE_NAME, purge.CACHE_NAMES)
    for name in (database.FILE_NAME, stats.FILE_NAME):
        assert is_named(name, purge.AGENT_NAMES)
