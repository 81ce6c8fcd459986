"""Keys, tokens, access and configuration: what a user can get wrong gets a sentence that helps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc import config
from zcc.errors import ConfigError, TokenError
from zcc.farm import Access, join, load_access, save_access
from zcc.keys import Token, load_key_pair, new_key_pair, public_of, save_key_pair

KEYS = new_key_pair()
TOKEN = Token("tcp://broker:8317", KEYS.public, KEYS.secret, "farm", "client", 0.0)


def test_a_token_survives_being_pasted() -> None:
    assert Token.decode(f"  {TOKEN.encode()}\n") == TOKEN


@pytest.mark.parametrize("damage", ["", "hello", "zcc1.", "zcc1.!!!", TOKEN.encode()[:-9]])
def test_a_damaged_token_is_said_to_be_one(damage: str) -> None:
    with pytest.raises(TokenError, match="token"):
        Token.decode(damage)


def test_a_token_for_another_role_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="node"):
        join(TOKEN.encode(), str(tmp_path), "me", ("node",))


def test_an_expired_token_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    old = Token(*(*[getattr(TOKEN, name) for name in TOKEN.__slots__][:5], 1.0))
    with pytest.raises(TokenError, match="expired"):
        join(old.encode(), str(tmp_path), "me", ("client",))


def test_keys_are_private_and_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    save_key_pair(path, KEYS)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert load_key_pair(path) == KEYS
    assert public_of(KEYS.secret) == KEYS.public


def test_a_key_that_others_can_read_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    save_key_pair(path, KEYS)
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key_pair(path)


def test_access_is_kept_and_its_endpoint_can_be_overridden(tmp_path: Path) -> None:
    access = Access("tcp://a:1", KEYS.public, 'a "farm"\\', "client", KEYS)
    save_access(str(tmp_path), access)
    assert load_access(str(tmp_path)) == access
    moved = load_access(str(tmp_path), "tcp://b:2")
    assert moved is not None
    assert moved.endpoint == "tcp://b:2"
    assert load_access(str(tmp_path / "none")) is None


def test_damaged_access_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text("endpoint = 1 = 2")
    with pytest.raises(ConfigError, match="join again"):
        load_access(str(tmp_path))


def configured(tmp_path: Path, text: str, **extra: str) -> config.Config:
    (tmp_path / "config.toml").write_text(text)
    return config.load({"ZCC_CONFIG_DIR": str(tmp_path), **extra})


def test_the_environment_stands_over_the_file_over_the_defaults(tmp_path: Path) -> None:
    assert config.load({"ZCC_CONFIG_DIR": str(tmp_path)}) == config.Config()
    read = configured(tmp_path, 'cc = "gcc-12"\nidle_minutes = 1\n', ZCC_BROKER="tcp://x:1")
    assert (read.cc, read.idle_minutes, read.broker) == ("gcc-12", 1.0, "tcp://x:1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("slots = 'many'", "slots must be a whole number"),
        ("colour = 1", "unknown setting 'colour'"),
        ("slots = -1", "must not be negative"),
        ("log = 'loud'", "expected debug, info"),
        ("= 1", "cannot read"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configured(tmp_path, text)


def test_the_socket_is_where_the_launcher_looks() -> None:
    rows = [
        ({"ZCC_SOCKET": "/s", "ZCC_STATE_DIR": "/d"}, "/s"),
        ({"ZCC_STATE_DIR": "/d", "XDG_RUNTIME_DIR": "/r"}, "/d/agent.sock"),
        ({"XDG_RUNTIME_DIR": "/r"}, "/r/zcc/agent.sock"),
    ]
    for environment, path in rows:
        assert config.socket_path(environment) == path
    assert config.socket_path({"XDG_RUNTIME_DIR": "relative"}) == config.socket_path({})
