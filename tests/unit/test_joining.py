"""Joining a farm: what goes wrong costs no token."""

from __future__ import annotations

from pathlib import Path

import pytest

from zcc import farm
from zcc.errors import TokenError
from zcc.keys import KeyPair, Token, new_key_pair
from zcc.messages import Enrolled

TOKEN = Token("tcp://127.0.0.1:1", "b" * 40, new_key_pair().secret, "ours", "client", 0.0)


def join(directory: Path) -> farm.Access:
    return farm.join(TOKEN.encode(), str(directory), "me", ("client",))


def test_a_directory_that_cannot_be_written_leaves_the_token_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
        pytest.fail("the broker was asked")

    monkeypatch.setattr(farm, "_enrol", enrol)
    (tmp_path / "file").touch()
    with pytest.raises(TokenError, match=r"cannot keep a key in .*not used up"):
        join(tmp_path / "file" / "below")


def test_who_joins_again_after_a_lost_answer_has_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    async def enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
        keys.append(own.public)
        if len(keys) == 1:
            raise TokenError("no answer")
        return Enrolled("ours", "client")

    monkeypatch.setattr(farm, "_enrol", enrol)
    with pytest.raises(TokenError):
        join(tmp_path)
    access = join(tmp_path)
    assert keys == [access.keys.public] * 2
    assert farm.load_access(str(tmp_path)) == access
    assert sorted(path.name for path in tmp_path.iterdir()) == ["farm.key", "farm.toml"]
    join(tmp_path)
    assert keys[2] == keys[1], "who has a key keeps it"
