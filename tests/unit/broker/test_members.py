"""Members: what they are called, when they were seen, how they join again and leave."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.audit import AuditLog
from broker.core.limits import MAX_SEEN_WRITES, SEEN_EVERY_S
from broker.errors import BrokerError, EnrolError, RegistryError
from broker.main import app as broker_app
from broker.membership.attendance import Attendance
from broker.membership.registry import FILE_NAME, Registry
from broker.membership.requests import Membership
from node.main import app as node_app
from zcc.cli.main import command_line
from zcc.errors import TokenError, ZccError, told
from zcc.farm import JOIN_TIMEOUT_S, load_access
from zcc.keys import Token, new_key_pair, public_of
from zcc.member_id import member_id
from zcc.messages import OTHER_ROLE, Enrol, PeerRole, Rejoin

zcc_app = command_line()

BIN = Path(sys.executable).parent
PROGRAMS = {"zcc": zcc_app, "zcc-broker": broker_app, "zcc-node": node_app}
NOW = 1_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry(str(tmp_path))) as opened:
        yield opened


# ---- names ----


def test_a_label_makes_no_line_of_its_own_in_the_log(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    joiner, key = new_key_pair(), new_key_pair().public
    now = time.time()
    registry.add_joiner(joiner.public, PeerRole.CLIENT, now, now + 60, 2)
    label = "x)\n2026-11-30 ERROR a node is at fault\x1b[2J("
    with closing(AuditLog(str(tmp_path))) as audit, caplog.at_level(logging.INFO):
        membership = Membership("farm", registry, audit)
        membership.answer(joiner.public, Enrol(key, label))
        membership.answer(key, Rejoin(joiner.secret, label))
    assert len(caplog.messages) == 2
    assert all("x)?2026-11-30" in each and each.isprintable() for each in caplog.messages)


def test_a_key_that_begins_with_a_dash_is_revoked_by_its_id(registry: Registry) -> None:
    key = "-" + "a" * 39
    registry.add(key, PeerRole.CLIENT, "laptop", NOW)
    (row,) = registry.rows()
    assert row.id == member_id(key)
    assert row.id[:2] == "k-"
    assert row.id[2:].isalnum()
    assert registry.revoke(row.id, NOW).public_key == key


def test_a_name_that_two_have_is_refused_with_the_list_of_both(registry: Registry) -> None:
    for key in ("a" * 40, "b" * 40):
        registry.add(key, PeerRole.CLIENT, "anna@desk", NOW)
    with pytest.raises(RegistryError) as refused:
        registry.revoke("anna@desk", NOW)
    for row in registry.rows():
        assert row.revoked is None
        assert f"{row.id}  client" in str(refused.value)


def test_nobody_shields_his_key_by_taking_anothers_id_for_a_name(registry: Registry) -> None:
    bad = "a" * 40
    registry.add(bad, PeerRole.CLIENT, "mallory", NOW)
    registry.add("b" * 40, PeerRole.CLIENT, member_id(bad), NOW)
    assert registry.revoke(member_id(bad), NOW).label == "mallory"


def test_one_letter_is_no_beginning(registry: Registry) -> None:
    registry.add("a" * 40, PeerRole.CLIENT, "laptop", NOW)
    for text in ("", "k", "k-", "a", "aa"):
        with pytest.raises(RegistryError, match="no live key"):
            registry.revoke(text, NOW)
    assert registry.revoke("aaa", NOW).label == "laptop"


def test_a_registry_of_an_earlier_zcc_is_brought_up_to_date(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as old:
        old.execute(
            "CREATE TABLE keys (public_key TEXT PRIMARY KEY, role TEXT NOT NULL, joins_as TEXT NOT NULL"
            " DEFAULT '', label TEXT NOT NULL, created REAL NOT NULL, expires REAL, uses_left INTEGER,"
            " revoked REAL) STRICT"
        )
        old.execute(
            "INSERT INTO keys VALUES (?, 'client', '', 'old', 1.0, NULL, NULL, NULL)", ("a" * 40,)
        )
        old.commit()
    for _ in range(2):
        with closing(Registry(str(tmp_path))) as registry:
            (row,) = registry.rows()
            assert (row.label, row.seen, row.address) == ("old", None, "")


# ---- seen ----


def test_who_was_heard_is_written_down_once_a_minute() -> None:
    attendance = Attendance()
    attendance.heard("stranger", 1.0)
    assert attendance.due(0.0) == []
    attendance.connected("a", "10.0.0.1", 100.0, 0.0)
    assert attendance.due(0.0) == [("a", 100.0, "10.0.0.1")]
    attendance.heard("a", 101.0)
    assert attendance.due(SEEN_EVERY_S - 1) == []
    assert attendance.due(SEEN_EVERY_S) == [("a", 101.0, "10.0.0.1")]
    assert attendance.due(2 * SEEN_EVERY_S) == [], "nothing was heard since"


def test_not_all_of_many_are_written_down_at_once_and_at_the_end_all_are() -> None:
    attendance = Attendance()
    for number in range(3 * MAX_SEEN_WRITES):
        attendance.connected(str(number), "10.0.0.1", 1.0, 0.0)
    assert len(attendance.due(0.0)) == MAX_SEEN_WRITES
    assert len(attendance.due(0.0, is_last=True)) == 2 * MAX_SEEN_WRITES
    assert attendance.due(SEEN_EVERY_S, is_last=True) == []


def test_what_is_written_down_is_shown(registry: Registry) -> None:
    registry.add("a" * 40, PeerRole.CLIENT, "laptop", NOW)
    registry.note_seen([("a" * 40, NOW + 5, "10.0.0.1"), ("b" * 40, NOW, "nobody's")])
    (row,) = registry.rows()
    assert (row.seen, row.address) == (NOW + 5, "10.0.0.1")


# ---- joining again ----


def token(registry: Registry, role: PeerRole) -> str:
    """The secret key of a new join token."""
    pair = new_key_pair()
    registry.add_joiner(pair.public, role, NOW, NOW + 60, 1)
    return pair.secret


def test_a_member_gets_another_role_and_keeps_his_key(registry: Registry) -> None:
    own = new_key_pair().public
    registry.add(own, PeerRole.CLIENT, "old", NOW)
    secret = token(registry, PeerRole.PUBLISHER)
    assert registry.rejoin(secret, own, "new", NOW) == (public_of(secret), PeerRole.PUBLISHER)
    assert registry.role_of(own, NOW) is PeerRole.PUBLISHER
    found = registry.find(own)
    assert found is not None
    assert found.label == "new"
    assert registry.rejoin(secret, own, "new", NOW)[1] is PeerRole.PUBLISHER, "asked for again"
    with pytest.raises(EnrolError, match="used up"):
        registry.enrol(public_of(secret), new_key_pair().public, "other", NOW)


def test_whoever_has_a_token_changes_no_other_members_role(registry: Registry) -> None:
    """Enrol names a key without showing that it is one's own."""
    admin = new_key_pair().public
    registry.add(admin, PeerRole.ADMIN, "admin", NOW)
    with pytest.raises(EnrolError, match=OTHER_ROLE):
        registry.enrol(public_of(token(registry, PeerRole.CLIENT)), admin, "gotcha", NOW)
    assert registry.role_of(admin, NOW) is PeerRole.ADMIN


@pytest.mark.parametrize(
    ("has", "wants"), [(PeerRole.NODE, PeerRole.CLIENT), (PeerRole.CLIENT, PeerRole.NODE)]
)
def test_a_nodes_key_stays_a_nodes(registry: Registry, has: PeerRole, wants: PeerRole) -> None:
    own = new_key_pair().public
    registry.add(own, has, "box", NOW)
    with pytest.raises(EnrolError, match="stays a node's"):
        registry.rejoin(token(registry, wants), own, "box", NOW)
    assert registry.role_of(own, NOW) is has


def test_a_revoked_key_gets_no_role_by_a_token(registry: Registry) -> None:
    own = new_key_pair().public
    registry.add(own, PeerRole.CLIENT, "box", NOW)
    registry.revoke_key(own, NOW)
    with pytest.raises(EnrolError, match="no member"):
        registry.rejoin(token(registry, PeerRole.PUBLISHER), own, "box", NOW)
    with pytest.raises(EnrolError, match="leave --local"):
        registry.enrol(public_of(token(registry, PeerRole.CLIENT)), own, "box", NOW)


@pytest.mark.parametrize("secret", ["", "x" * 40, "no secret"])
def test_what_is_no_token_gives_no_role(registry: Registry, secret: str) -> None:
    own = new_key_pair().public
    registry.add(own, PeerRole.CLIENT, "box", NOW)
    with pytest.raises(EnrolError, match="not a join token"):
        registry.rejoin(secret, own, "box", NOW)


# ---- with a broker ----


@dataclass
class World:
    """A running broker, and one user's directory."""

    root: Path
    endpoint: str

    def broker(self, *words: str) -> str:
        return self.said("zcc-broker", *words, "--state", str(self.root / "broker"))

    def token(self, role: str) -> str:
        return self.broker("token", "--role", role).strip()

    def said(self, program: str, *words: str, status: int = 0, **extra: str) -> str:
        """What a command prints; in this process, since each start of Python would cost half a second."""
        own = dict.fromkeys(("ZCC_CONFIG_DIR", "ZCC_STATE_DIR"), str(self.own))
        done = CliRunner().invoke(PROGRAMS[program], words, env={**own, **extra})
        if isinstance(done.exception, (BrokerError, ZccError)):
            assert status == 1, done.exception
            return told(done.exception)
        assert done.exit_code == status, done.output
        return done.output

    @property
    def own(self) -> Path:
        return self.root / "own"

    def key(self) -> str:
        access = load_access(str(self.own))
        assert access is not None
        return access.keys.public

    def row(self, key: str) -> dict[str, object]:
        rows = json.loads(self.broker("keys", "--json"))
        (found,) = [row for row in rows if row["public_key"] == key]
        return dict(found)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    state = tmp_path_factory.mktemp("members")
    readable, writable = os.pipe()
    command: list[str | Path] = [
        BIN / "zcc-broker",
        "serve",
        "--listen",
        "tcp://127.0.0.1:0",
        "--ready-fd",
        str(writable),
    ]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--state", state / "broker"], pass_fds=(writable,), stdout=log, stderr=log
        )
    os.close(writable)
    with open(readable) as ready:
        endpoint = ready.readline().strip()
    yield state, endpoint
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def world(started: tuple[Path, str], tmp_path: Path) -> World:
    root, endpoint = started
    (tmp_path / "broker").symlink_to(root / "broker")
    return World(tmp_path, endpoint)


def test_joining_again_keeps_the_key_and_changes_the_role(world: World) -> None:
    assert "joined" in world.said("zcc", "join", world.token("client"))
    key = world.key()
    assert "joined" in world.said("zcc", "join", world.token("client"))
    assert "joined" in world.said("zcc", "join", world.token("publisher"), "--label", "ci")
    assert world.key() == key
    row = world.row(key)
    assert (row["role"], row["label"], row["state"]) == ("publisher", "ci", "valid")


def test_who_leaves_is_revoked_there_and_forgotten_here(world: World) -> None:
    world.said("zcc", "join", world.token("client"))
    key = world.key()
    assert "say --yes" in world.said("zcc", "leave", status=1)
    assert world.key() == key
    assert "left the farm" in world.said("zcc", "leave", "--yes")
    assert world.row(key)["state"] == "revoked"
    assert [path.name for path in world.own.iterdir() if path.name.startswith("farm")] == []
    assert "no farm is joined" in world.said("zcc", "leave", "--yes", status=1)
    world.said("zcc", "join", world.token("client"))
    assert world.key() != key


def test_a_node_leaves_too(world: World) -> None:
    state = str(world.root / "node")
    world.said("zcc-node", "join", world.token("node"), "--state", state, "--name", "box")
    access = load_access(state)
    assert access is not None
    assert "left the farm" in world.said("zcc-node", "leave", "--yes", "--state", state)
    assert world.row(access.keys.public)["state"] == "revoked"


def test_a_revoked_member_is_told_how_to_join_anew(world: World) -> None:
    world.said("zcc", "join", world.token("client"))
    key = world.key()
    world.broker("revoke", member_id(key))
    assert "leave --local" in world.said("zcc", "join", world.token("client"), status=1)
    assert "revoke" not in world.said("zcc", "leave", "--local", "--yes")
    world.said("zcc", "join", world.token("client"))
    assert world.key() != key
    called = member_id(world.key())
    said = world.said("zcc", "leave", "--local", "--yes")
    assert f"still admits the key until somebody says: zcc-broker revoke {called}" in said


def test_a_token_that_the_broker_turns_away_is_told_at_once(world: World) -> None:
    token = replace(Token.decode(world.token("client")), secret=new_key_pair().secret)
    begun = time.monotonic()
    said = world.said("zcc", "join", token.encode(), status=1)
    assert "the broker does not take this token" in said
    assert time.monotonic() - begun < JOIN_TIMEOUT_S / 2


def run_as(world: World, *words: str, **extra: str) -> tuple[int, str]:
    """Exit status and all output of a command of this member's, in a process of its own."""
    own = dict.fromkeys(("ZCC_CONFIG_DIR", "ZCC_STATE_DIR"), str(world.own)) | extra
    done = subprocess.run(
        [BIN / words[0], *words[1:]],
        cwd=world.root, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False, timeout=120, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_farm_without_nodes_is_no_good_health(world: World) -> None:
    world.said("zcc", "join", world.token("client"))
    (world.root / "x.c").write_text("int x;\n")
    try:
        assert run_as(world, "zcc", "agent", "start")[0] == 0
        status, said = run_as(world, "zcc", "agent", "status")
        assert (status, "does not answer" in said) == (0, False)
        # A compile that comes while its compiler is packed is no question to the farm.
        deadline = time.monotonic() + 30
        while "no node takes jobs, so compiles run here: zcc nodes says why" not in said:
            assert time.monotonic() < deadline, said
            assert run_as(world, "zcc", "gcc", "-c", "x.c") == (0, "")
            said = run_as(world, "zcc", "stats")[1]
    finally:
        run_as(world, "zcc", "agent", "stop")


@pytest.mark.parametrize("is_running", [True, False])
def test_an_agent_whose_key_is_revoked_says_so_wherever_it_is_asked(
    world: World, is_running: bool
) -> None:
    """Whether it is told while it is connected, or when it dials."""
    world.said("zcc", "join", world.token("client"))
    (world.root / "x.c").write_text("int x;\n")
    if is_running:
        assert run_as(world, "zcc", "nodes")[0] == 0
    world.broker("revoke", member_id(world.key()))
    deadline = time.monotonic() + 30
    try:
        while "revoked" not in run_as(world, "zcc", "nodes")[1]:
            assert time.monotonic() < deadline
        assert "not connected: this key was revoked" in run_as(world, "zcc", "agent", "status")[1]
        strictly = run_as(world, "zcc", "gcc", "-c", "x.c", ZCC_FALLBACK="never")
        assert strictly == (
            1,
            "zcc: ZCC_FALLBACK=never: this compile would have run locally: key-revoked\n",
        )
        assert run_as(world, "zcc", "gcc", "-c", "x.c") == (0, "")
        assert "this key was revoked" in run_as(world, "zcc", "stats")[1]
        status, said = run_as(world, "zcc", "doctor")
        assert status == 1
        assert "FAIL  broker: this key was revoked" in said
        assert "zcc leave --local, then zcc join TOKEN" in said
    finally:
        run_as(world, "zcc", "agent", "stop")


def test_without_a_broker_only_the_local_key_is_removed_and_only_if_that_is_meant(
    world: World,
) -> None:
    world.said("zcc", "join", world.token("client"))
    config = world.own / "farm.toml"
    config.write_text(config.read_text().replace(world.endpoint, "tcp://127.0.0.1:1"))
    said = world.said("zcc", "leave", "--yes", status=1)
    assert "nothing listens on port 1 of 127.0.0.1" in said
    assert "--local" in said
    assert config.exists()


def test_the_list_has_a_header_and_says_who_was_seen_when_and_where(world: World) -> None:
    world.said("zcc", "join", world.token("client"), "--label", "a name of four words")
    called = member_id(world.key())
    deadline = time.monotonic() + 20
    # An agent's connection with this key, in a process that may start one.
    own = dict.fromkeys(("ZCC_CONFIG_DIR", "ZCC_STATE_DIR"), str(world.own))
    subprocess.run([BIN / "zcc", "nodes"], env={**os.environ, **own}, check=True, timeout=60)
    while world.row(world.key())["seen"] is None and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = world.broker("keys").splitlines()
    assert lines[0].split() == ["id", "role", "state", "enrolled", "seen", "address", "name"]
    (line,) = [line for line in lines if line.startswith(called)]
    day = time.strftime("%Y-%m-%d")
    assert line.split()[1:7] == ["client", "valid", day, "now", "127.0.0.1", "a"]
    world.said("zcc", "agent", "stop")
    for columns in (80, 60):
        shown = world.said(
            "zcc-broker", "keys", "--state", str(world.root / "broker"), COLUMNS=str(columns)
        )
        assert max(map(len, shown.splitlines())) <= columns
        assert "a name of four words" in " ".join(shown.split())


# ---- tokens ----


def test_each_damage_to_a_token_is_told_as_one() -> None:
    text = Token(
        "tcp://broker:8317", "p" * 40, new_key_pair().secret, "farm", "client", 1.5
    ).encode()
    assert Token.decode(text).endpoint == "tcp://broker:8317"
    for at in range(len(text)):
        for damaged in (text[:at], text[:at] + text[at + 1 :], text[:at] + "A" + text[at + 1 :]):
            if damaged != text:
                with pytest.raises(TokenError):
                    Token.decode(damaged)
