"""A backup of a broker and its way back: the same farm, and nobody who was revoked."""

from __future__ import annotations

import io
import os
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.commands import backup as module
from broker.errors import BrokerError
from broker.main import app
from broker.membership.registry import Registry
from broker.results.tombstones import Tombstones
from broker.state import broker_keys, record_serving, take_lock
from zcc.keys import new_key_pair
from zcc.messages import PeerRole

pytestmark = pytest.mark.outside


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A broker's, with one member."""
    state = tmp_path / "state"
    state.mkdir(0o700)
    broker_keys(str(state))
    record_serving(str(state), "tcp://127.0.0.1:1", "hill")
    (state / "tiers.toml").write_text("")
    join(state, "ann")
    return state


def join(state: Path, label: str) -> str:
    """A new member's key."""
    joiner, member, now = new_key_pair(), new_key_pair(), time.time()
    with closing(Registry(str(state))) as registry:
        registry.add_joiner(joiner.public, PeerRole.CLIENT, now, now + 60, 1)
        registry.enrol(joiner.public, member.public, label, now)
    return member.public


def valid(state: Path) -> set[str]:
    with closing(Registry(str(state))) as registry:
        rows = registry.rows()
        return {
            row.label for row in rows if row.role is PeerRole.CLIENT and row.is_valid(time.time())
        }


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_lost_disk_comes_back_as_the_same_farm(state: Path, tmp_path: Path) -> None:
    file, key = tmp_path / "backup", broker_keys(str(state))
    run("backup", file, "--state", state)
    assert file.stat().st_mode & 0o777 == 0o600
    there = tmp_path / "other"
    told = run("restore", file, "--state", there)
    assert broker_keys(str(there)) == key
    assert valid(there) == {"ann"}
    assert "who was revoked since the backup is a member again" in told
    assert (there / "tiers.toml").exists()


def test_who_was_revoked_since_stays_revoked(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    run("backup", file, "--state", state)
    with closing(Registry(str(state))) as registry:
        registry.revoke("ann", time.time())
    join(state, "bob")
    told = run("restore", file, "--state", state)
    assert valid(state) == set()
    assert "revoked since" not in told


def test_who_was_revoked_before_stays_so_on_a_new_disk(state: Path, tmp_path: Path) -> None:
    with closing(Registry(str(state))) as registry:
        registry.revoke("ann", time.time())
    run("backup", tmp_path / "backup", "--state", state)
    run("restore", tmp_path / "backup", "--state", tmp_path / "other")
    assert valid(tmp_path / "other") == set()
    revoked = (state / "revoked").read_text()
    assert (tmp_path / "other" / "revoked").read_text() == revoked
    run("restore", tmp_path / "backup", "--state", tmp_path / "other")  # again: nothing twice
    assert (tmp_path / "other" / "revoked").read_text() == revoked


def test_what_is_void_is_neither_copied_nor_put_back(state: Path, tmp_path: Path) -> None:
    Tombstones(str(state)).begin_use()
    (state / "voided").write_text("list " + "00" * 16 + "\n")
    (state / "tier.key").write_text("00" * 32)
    before = {name: (state / name).read_bytes() for name in ("tombstones", "voided", "tier.key")}
    run("backup", tmp_path / "backup", "--state", state)
    run("restore", tmp_path / "backup", "--state", state)
    assert {name: (state / name).read_bytes() for name in before} == before
    run("restore", tmp_path / "backup", "--state", tmp_path / "other")
    assert not before.keys() & set(os.listdir(tmp_path / "other"))


def test_nothing_is_put_over_a_running_broker_or_another_farm(state: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "backup", tmp_path / "other"
    run("backup", file, "--state", state)
    lock = take_lock(str(state))
    with pytest.raises(BrokerError, match="another broker serves"):
        run("restore", file, "--state", state)
    os.close(lock)
    other.mkdir()
    broker_keys(str(other))
    with pytest.raises(BrokerError, match="belongs to another farm"):
        run("restore", file, "--state", other)
    assert valid(other) == set()


def made(path: Path, names: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"FORMAT": b"2\n", "broker.key": b"k"},
        {"FORMAT": b"1\n"},
        {"FORMAT": b"1\n", "broker.key": b"k", "../evil": b"x"},
        {"FORMAT": b"1\n", "broker.key": b"k", "tombstones": b"x"},
    ],
)
def test_what_is_no_backup_changes_nothing(tmp_path: Path, names: dict[str, bytes]) -> None:
    file, state = made(tmp_path / "backup", names), tmp_path / "state"
    with pytest.raises(BrokerError, match=r"no backup|in no backup"):
        run("restore", file, "--state", state)
    assert not state.exists()


def test_links_in_a_backup_are_not_followed(tmp_path: Path) -> None:
    file = made(tmp_path / "backup", {"FORMAT": b"", "broker.key": b""}, tarfile.SYMTYPE)
    with pytest.raises(BrokerError):
        run("restore", file, "--state", tmp_path / "state")


def test_a_backup_that_cannot_be_written_leaves_the_one_before(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup"
    file.write_text("the last one")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_add", refuse)
    with pytest.raises(BrokerError, match="cannot write"):
        run("backup", file, "--state", state)
    assert file.read_text() == "the last one"
    assert sorted(os.listdir(tmp_path)) == ["backup", "state"]
