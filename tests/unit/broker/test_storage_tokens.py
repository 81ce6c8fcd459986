"""Storage tokens: kept as hashes, good until they expire or are revoked, made and ended by commands."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.errors import RegistryError
from broker.main import app
from broker.membership.revocations import Revocations
from broker.state import broker_keys
from broker.storage.service import DIRECTORY
from broker.storage.tokens import FILE_NAME, NAME_LENGTH, StorageAccess, StorageTokens, token_in
from cache.values import ValueStore
from zcc.errors import ConfigError

NOW = 1_700_000_000.0


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[StorageTokens]:
    opened = StorageTokens(str(tmp_path))
    yield opened
    opened.close()


def test_a_token_allows_what_it_was_made_for(tokens: StorageTokens) -> None:
    for access in StorageAccess:
        made = tokens.add("ci", access, NOW, None)
        assert tokens.access_of(made, NOW + 1e9) is access
        assert tokens.access_of(made + "x", NOW) is None
    for nothing in (
        "",
        "zccs.",
        "x" * 100_000,
        "zccs.\u00ff\udc80".encode("utf-8", "ignore").decode(),
    ):
        assert tokens.access_of(nothing, NOW) is None


def test_a_token_ends(tokens: StorageTokens) -> None:
    short, long = (
        tokens.add(label, StorageAccess.READ, NOW, NOW + 60) for label in ("short", "long")
    )
    assert tokens.access_of(short, NOW + 59) is StorageAccess.READ
    assert tokens.access_of(short, NOW + 60) is None
    assert tokens.revoke("long", NOW).label == "long"
    assert tokens.access_of(long, NOW + 1) is None
    with pytest.raises(RegistryError):
        tokens.revoke("long", NOW)


def test_a_revocation_by_another_process_counts_at_once(
    tokens: StorageTokens, tmp_path: Path
) -> None:
    made = tokens.add("ci", StorageAccess.WRITE, NOW, None)
    assert tokens.access_of(made, NOW) is StorageAccess.WRITE
    other = StorageTokens(str(tmp_path))
    other.revoke(other.rows()[0].hash[:10], NOW)
    other.close()
    assert tokens.access_of(made, NOW) is None


def test_tokens_put_back_from_a_backup_revive_none(tmp_path: Path) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup.sqlite"
    with closing(StorageTokens(str(state))) as tokens:
        gone, stays = (
            tokens.add(label, StorageAccess.WRITE, NOW, None) for label in ("gone", "stays")
        )
    shutil.copy(state / FILE_NAME, backup)
    with closing(StorageTokens(str(state))) as tokens:
        tokens.revoke("gone", NOW + 1)
    for left in state.glob(f"{FILE_NAME}*"):
        left.unlink()
    shutil.copy(backup, state / FILE_NAME)
    with closing(StorageTokens(str(state))) as tokens:
        assert tokens.access_of(gone, NOW + 2) is None
        assert tokens.access_of(stays, NOW + 2) is StorageAccess.WRITE
        assert [row.revoked for row in tokens.rows() if row.label == "gone"] == [NOW + 1]
    (state / "revoked").unlink()  # of before it was kept of tokens
    StorageTokens(str(state)).close()
    assert list(Revocations(str(state)).read().values()) == [NOW + 1]


def test_an_ambiguous_label_revokes_nothing(tokens: StorageTokens) -> None:
    made = [tokens.add("ci", StorageAccess.WRITE, NOW, None) for _ in range(2)]
    with pytest.raises(RegistryError, match="means 2 tokens"):
        tokens.revoke("ci", NOW)
    assert [tokens.access_of(each, NOW) for each in made] == [StorageAccess.WRITE] * 2


def test_the_file_holds_no_token_and_is_its_owners_alone(
    tokens: StorageTokens, tmp_path: Path
) -> None:
    made = tokens.add("ci", StorageAccess.WRITE, NOW, None)
    assert not any(made.encode() in each.read_bytes() for each in tmp_path.iterdir())
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer zccs.abc", "zccs.abc"),
        (b"bearer zccs.abc", "zccs.abc"),
        (b"Basic " + base64.b64encode(b"anybody:zccs.abc"), "zccs.abc"),
        (b"Basic " + base64.b64encode(b"zccs.abc"), ""),
        (b"Basic !", ""),
        (b"Digest zccs.abc", ""),
        (b"", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_token_is_a_bearers_or_basics_password(header: bytes, token: str) -> None:
    assert token_in(header) == token


def test_the_commands_make_list_and_end_tokens(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))

    def command(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--state", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.output

    made = command("storage-token", "--label", "ci", "--access", "write", "--expires", "7d").strip()
    command("storage-token", "--label", "desk")
    ci, desk = json.loads(command("storage-tokens", "--json"))
    assert (ci["access"], ci["state"], ci["expires"] - ci["created"]) == ("write", "valid", 604800)
    assert (desk["access"], desk["state"], desk["expires"]) == ("read", "valid", None)
    assert "revoked" in command("storage-revoke", "ci")
    assert made not in command("storage-tokens")
    assert [row["state"] for row in json.loads(command("storage-tokens", "--json"))] == [
        "revoked",
        "valid",
    ]


def store(state: Path, number: int, writer: str) -> None:
    values = ValueStore(str(state / DIRECTORY), 1 << 20)
    arrival = values.arrival(bytes([number]) * 20, 4, writer)
    arrival.feed(b"data")
    arrival.finish()


def purge(state: Path, writer: str) -> str:
    done = CliRunner().invoke(app, ["storage-purge", writer, "--state", str(state)])
    if done.exception is not None:
        raise done.exception
    return done.output.strip()


@pytest.mark.parametrize("length", [8, 12, 13, 64])
def test_a_purge_takes_a_tokens_hash_as_the_list_prints_it_or_any_beginning(
    tokens: StorageTokens, tmp_path: Path, length: int
) -> None:
    broker_keys(str(tmp_path))
    tokens.add("ci", StorageAccess.WRITE, NOW, None)
    (row,) = tokens.rows()
    store(tmp_path, 1, row.hash[:NAME_LENGTH])
    store(tmp_path, 2, "0123456789ab")  # of a token that a registry from a backup does not know
    assert purge(tmp_path, row.hash[:length]) == "removed 1 of ccache's values"
    assert purge(tmp_path, row.hash[:length]) == "removed 0 of ccache's values"
    gone = "0123456789ab" + "c" * 52
    assert purge(tmp_path, gone[:length]) == "removed 1 of ccache's values"


def test_a_purge_of_nobody_or_of_several_is_an_error_that_names_the_writers(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    for number, writer in enumerate(("0123456789ab", "0123456789ac", "k" * 40)):
        store(tmp_path, number, writer)
    with pytest.raises(ConfigError, match=rf"values: 0123456789ab \(1\), .*{'k' * 40} \(1\)"):
        purge(tmp_path, "1123456789ab")
    with pytest.raises(ConfigError, match=r"means 2 writers.*: 0123456789ab, 0123456789ac"):
        purge(tmp_path, "01234567")
    assert purge(tmp_path, "0123456789ac") == "removed 1 of ccache's values"
