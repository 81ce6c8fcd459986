"""Joining a farm: what goes wrong costs no token."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from node.main import app as node_app
from zcc import farm
from zcc.cli import finding
from zcc.cli.agent import sibling
from zcc.cli.main import command_line
from zcc.discovery.announcement import Announcement, fingerprint_of
from zcc.errors import TokenError, UnreachableError
from zcc.keys import KeyPair, Token, new_key_pair
from zcc.messages import Enrolled

client_app = command_line()

TOKEN = Token("tcp://127.0.0.1:1", "b" * 40, new_key_pair().secret, "ours", "client", 0.0)

NODES = Token("tcp://127.0.0.1:1", "b" * 40, new_key_pair().secret, "ours", "node", 0.0)


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


@pytest.mark.parametrize(
    "given", [f"{TOKEN.encode()}\n", TOKEN.encode(), f"  {TOKEN.encode()} \nmore\n"]
)
@pytest.mark.parametrize("app", [client_app, node_app], ids=["zcc", "zcc-node"])
def test_a_token_is_read_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: typer.Typer, given: str
) -> None:
    """An argument can be read by everybody on the machine, for 10 s where the broker does not answer."""
    used: list[Token] = []

    async def enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
        used.append(token)
        return Enrolled("ours", token.role)

    monkeypatch.setattr(farm, "_enrol", enrol)
    monkeypatch.setenv("ZCC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ZCC_STATE_DIR", str(tmp_path))
    token = given if app is client_app else given.replace(TOKEN.encode(), NODES.encode())
    where = [] if app is client_app else ["--state", str(tmp_path)]
    done = CliRunner().invoke(app, ["join", "-", *where], input=token, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert used == [TOKEN if app is client_app else NODES]


@pytest.mark.parametrize("command", [["zcc"], ["zcc-node"]])
def test_no_token_on_standard_input_is_said(tmp_path: Path, command: list[str]) -> None:
    environment = os.environ | {"ZCC_CONFIG_DIR": str(tmp_path), "ZCC_STATE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sibling(command[0]), "join", "-"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "standard input has no join token" in done.stderr) == (1, True)


def test_a_token_that_is_typed_is_not_shown(tmp_path: Path) -> None:
    own, its = pty.openpty()
    environment = os.environ | {"ZCC_CONFIG_DIR": str(tmp_path), "ZCC_STATE_DIR": str(tmp_path)}
    joining = subprocess.Popen(
        [sibling("zcc"), "join", "-"], env=environment, stdin=its, stdout=its, stderr=its,
        start_new_session=True,
    )  # fmt: skip
    os.close(its)
    seen = b""
    while b"join token" not in seen:
        seen += os.read(own, 1024)
    os.write(own, b"zcc1.no-token\n")
    joining.wait(30)
    os.set_blocking(own, False)
    seen += os.read(own, 4096)
    os.close(own)
    assert b"this join token is damaged" in b" ".join(seen.split())  # it is folded
    assert b"no-token" not in seen


def announce(monkeypatch: pytest.MonkeyPatch, *announcements: Announcement) -> list[str]:
    """These are announced; returns the names that were looked for."""
    names: list[str] = []

    def announced(name: str) -> tuple[Announcement, ...]:
        names.append(name)
        return announcements

    monkeypatch.setattr(finding, "announced", announced)
    return names


LIAR = Announcement("ours", "zcc/2", "1" * 64, ("tcp://10.0.0.9:1",))
OURS = Announcement(
    "ours", "zcc/2", fingerprint_of("b" * 40), ("tcp://10.0.0.1:1", "tcp://10.0.0.2:1")
)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--discover"], ""), (["--discover", "ours"], "ours"), (["--discover=ours"], "ours"),
        (["--discover", "-"], ""), (["-", "--discover"], ""), (["--discover", TOKEN.encode()], ""),
        (["--discover", "ours", TOKEN.encode()], "ours"), ([TOKEN.encode(), "--discover", "ours"], "ours"),
    ],
)  # fmt: skip
def test_a_farm_that_is_announced_is_joined_where_its_key_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    """One address of it does not answer; another farm of that name is not so much as asked."""
    asked: list[str] = []

    async def enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
        asked.append(token.endpoint)
        if len(asked) == 1:
            raise UnreachableError("nothing listens there")
        return Enrolled("ours", "client")

    monkeypatch.setattr(farm, "_enrol", enrol)
    names = announce(monkeypatch, LIAR, OURS)
    monkeypatch.setenv("ZCC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ZCC_SOCKET", str(tmp_path / "none"))
    done = CliRunner().invoke(client_app, ["join", *words], input=f"{TOKEN.encode()}\n")
    assert done.exit_code == 0, done.output
    assert names == [name]
    assert asked == list(OURS.endpoints)
    access = farm.load_access(str(tmp_path))
    assert access is not None
    assert access.endpoint == "tcp://10.0.0.2:1"


def test_a_farm_with_another_key_is_not_joined_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enrol(token: Token, own: KeyPair, label: str) -> Enrolled:
        pytest.fail("somebody was asked")

    monkeypatch.setattr(farm, "_enrol", enrol)
    announce(monkeypatch, LIAR)
    monkeypatch.setenv("ZCC_CONFIG_DIR", str(tmp_path))
    done = CliRunner().invoke(client_app, ["join", TOKEN.encode(), "--discover", "ours"])
    assert isinstance(done.exception, TokenError)
    assert fingerprint_of("b" * 40) in str(done.exception)
    assert "Nothing was joined" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_nothing_is_joined() -> None:
    done = CliRunner().invoke(client_app, ["join"])
    assert done.exit_code == 2
    assert "say the TOKEN" in done.output
