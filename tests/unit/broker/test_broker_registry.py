"""The registry of keys, the roles table, the audit log, the state directory."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.audit import MAX_FIELD, MOST_OF_JOBS, MOST_OF_SESSIONS, AuditLog
from broker.core.roles import ALLOWED, may_send
from broker.errors import EnrolError, RegistryError, StartError
from broker.main import app
from broker.membership.registry import Registry, is_public_key
from broker.membership.revocations import Revocations
from broker.state import broker_keys, record_serving, take_lock
from zcc.config import parse_duration, parse_size
from zcc.errors import ConfigError
from zcc.keys import Token, new_key_pair, public_of
from zcc.messages import ALL, PeerRole
from zcc.summing import MOST_OF_THE_SAME, PERIOD_S

NOW = 1_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry(str(tmp_path))) as opened:
        yield opened


def joiner(registry: Registry, role: PeerRole = PeerRole.CLIENT, uses: int = 1) -> str:
    public = new_key_pair().public
    registry.add_joiner(public, role, NOW, NOW + 60, uses)
    return public


def test_what_the_table_does_not_allow_is_denied() -> None:
    for role in PeerRole:
        for message in ALL:
            assert may_send(role, message.KIND) == (message in ALLOWED[role])
        assert not may_send(role, b"no-such-kind")


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        (PeerRole.CLIENT, b"done"), (PeerRole.CLIENT, b"want"), (PeerRole.CLIENT, b"started"),
        (PeerRole.NODE, b"submit"), (PeerRole.NODE, b"cancel"), (PeerRole.MONITOR, b"submit"),
        (PeerRole.JOINER, b"hello"), (PeerRole.CLIENT, b"enrol"), (PeerRole.NODE, b"run"),
        (PeerRole.CLIENT, b"watch"), (PeerRole.NODE, b"watch"), (PeerRole.PUBLISHER, b"watch"),
        (PeerRole.MONITOR, b"local-counts"), (PeerRole.MONITOR, b"want"), (PeerRole.MONITOR, b"ask-placed"),
    ],
)  # fmt: skip
def test_nobody_speaks_anothers_part(role: PeerRole, kind: bytes) -> None:
    assert not may_send(role, kind)


def test_an_unknown_key_has_no_role(registry: Registry) -> None:
    assert registry.role_of(new_key_pair().public, NOW) is None


def test_a_token_enrols_one_key_under_its_role(registry: Registry) -> None:
    token, own = joiner(registry, PeerRole.NODE), new_key_pair().public
    assert registry.role_of(token, NOW) is PeerRole.JOINER
    assert registry.enrol(token, own, "box", NOW) is PeerRole.NODE
    assert registry.role_of(own, NOW) is PeerRole.NODE
    with pytest.raises(EnrolError, match="used up"):
        registry.enrol(token, new_key_pair().public, "other", NOW)


def test_an_enrolment_asked_for_again_is_the_same_one(registry: Registry) -> None:
    token, own = joiner(registry), new_key_pair().public
    registry.enrol(token, own, "box", NOW)
    assert registry.role_of(token, NOW) is PeerRole.JOINER
    assert registry.enrol(token, own, "box", NOW) is PeerRole.CLIENT


def test_a_token_expires(registry: Registry) -> None:
    token = joiner(registry)
    assert registry.role_of(token, NOW + 61) is None
    with pytest.raises(EnrolError, match="expired"):
        registry.enrol(token, new_key_pair().public, "late", NOW + 61)


def test_a_token_of_three_uses_enrols_three(registry: Registry) -> None:
    token = joiner(registry, uses=3)
    for _ in range(3):
        registry.enrol(token, new_key_pair().public, "box", NOW)
    with pytest.raises(EnrolError):
        registry.enrol(token, new_key_pair().public, "box", NOW)


def test_only_a_joiners_key_enrols(registry: Registry) -> None:
    token, own = joiner(registry), new_key_pair().public
    registry.enrol(token, own, "box", NOW)
    with pytest.raises(EnrolError, match="not a join token"):
        registry.enrol(own, new_key_pair().public, "friend", NOW)


@pytest.mark.parametrize("bad", ["", "short", "x" * 41, '"' * 40, "\n" * 40])
def test_what_is_no_key_is_not_enrolled(registry: Registry, bad: str) -> None:
    assert not is_public_key(bad)
    with pytest.raises(EnrolError, match="not a CURVE"):
        registry.enrol(joiner(registry), bad, "box", NOW)


def test_a_revoked_key_is_out_and_cannot_come_back(registry: Registry) -> None:
    token, own = joiner(registry, uses=5), new_key_pair().public
    registry.enrol(token, own, "box", NOW)
    registry.revoke("box", NOW)
    assert registry.role_of(own, NOW) is None
    with pytest.raises(EnrolError, match="revoked"):
        registry.enrol(token, own, "box", NOW)


def test_revoke_takes_a_key_a_beginning_or_a_label_but_must_be_sure(registry: Registry) -> None:
    registry.add("a" * 40, PeerRole.CLIENT, "one", NOW)
    registry.add("a" * 39 + "b", PeerRole.CLIENT, "two", NOW)
    with pytest.raises(RegistryError, match="2 keys"):
        registry.revoke("aaa", NOW)
    with pytest.raises(RegistryError, match="no live key"):
        registry.revoke("three", NOW)
    assert registry.revoke("a" * 40, NOW).label == "one"
    assert registry.revoke("aaa", NOW).label == "two"
    registry.add("b" * 40, PeerRole.CLIENT, "user@laptop", NOW)
    assert registry.revoke("user", NOW).label == "user@laptop"


def test_another_process_change_is_seen(registry: Registry, tmp_path: Path) -> None:
    assert not registry.has_changed()
    with closing(Registry(str(tmp_path))) as other:
        other.add("a" * 40, PeerRole.CLIENT, "one", NOW)
    assert registry.has_changed()
    assert not registry.has_changed()
    assert registry.role_of("a" * 40, NOW) is PeerRole.CLIENT


def test_the_registry_is_private(registry: Registry, tmp_path: Path) -> None:
    for name in os.listdir(tmp_path):
        assert os.stat(tmp_path / name).st_mode & 0o077 == 0


def test_all_that_make_the_brokers_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    """`zcc-broker serve &` and, before it is up, `zcc-broker token`: the token names that broker."""
    for number in range(20):
        state = str(tmp_path / str(number))
        gate = threading.Barrier(4)

        def make(state: str = state, gate: threading.Barrier = gate) -> str:
            gate.wait()
            return broker_keys(state).public

        with ThreadPoolExecutor(4) as pool:
            made = [pool.submit(make) for _ in range(4)]
        assert len({each.result() for each in made}) == 1
        assert os.listdir(state) == ["broker.key"]


def test_two_brokers_do_not_share_a_state_directory(tmp_path: Path) -> None:
    handle = take_lock(str(tmp_path))
    with pytest.raises(StartError, match="another broker"):
        take_lock(str(tmp_path))
    os.close(handle)
    os.close(take_lock(str(tmp_path)))


def test_the_audit_log_rotates_by_size(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path), max_bytes=300)
    for number in range(50):
        log.write("submit", (("job", f"{number:012}"), ("user", 'odd "\n name')))
    log.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["audit.log", *(f"audit.log.{number}" for number in (1, 2, 3, 4))]
    for name in names:
        assert os.stat(tmp_path / name).st_size <= 300
        for line in (tmp_path / name).read_text().splitlines():
            assert json.loads(line)["event"] == "submit"


# --- the command line ---------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_token_is_all_that_token_prints(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    record_serving(str(tmp_path), "tcp://10.0.0.1:8317", "our farm")
    printed = run("token", "--role", "node", "--state", str(tmp_path), "--expires", "30m")
    token = Token.decode(printed)
    assert printed == token.encode() + "\n"
    assert (token.endpoint, token.farm, token.role) == ("tcp://10.0.0.1:8317", "our farm", "node")
    assert token.broker_public == broker_keys(str(tmp_path)).public
    with closing(Registry(str(tmp_path))) as registry:
        (row,) = registry.rows()
    assert (row.public_key, row.joins_as) == (public_of(token.secret), "node")
    assert row.expires == pytest.approx(row.created + 1800)


def test_a_token_for_a_broker_on_all_addresses_must_name_one(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    record_serving(str(tmp_path), "tcp://0.0.0.0:8317", "farm")
    result = CliRunner().invoke(app, ["token", "--role", "client", "--state", str(tmp_path)])
    assert "--endpoint" in str(result.exception)


def test_keys_lists_and_revoke_revokes(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    with closing(Registry(str(tmp_path))) as registry:
        registry.add("a" * 40, PeerRole.CLIENT, "laptop", NOW)
    assert "laptop" in run("keys", "--state", str(tmp_path))
    run("revoke", "laptop", "--state", str(tmp_path))
    (row,) = json.loads(run("keys", "--json", "--state", str(tmp_path)))
    assert (row["label"], row["state"]) == ("laptop", "revoked")


def test_durations_are_read() -> None:
    assert [parse_duration(text) for text in ("90s", "30m", "1h", "7d")] == [90, 1800, 3600, 604800]


@pytest.mark.parametrize("number", ["36501", "9" * 10, "9" * 20, "9" * 500, "\u0663"], ids=len)
def test_a_duration_or_a_size_that_cannot_be_is_an_error(number: str) -> None:
    with pytest.raises(ConfigError):
        parse_duration(f"{number}d")
    with pytest.raises(ConfigError):
        parse_size(f"{number}{'9' * 4}T")


def test_a_token_for_more_than_the_registry_can_count_is_an_error(tmp_path: Path) -> None:
    broker_keys(str(tmp_path))
    words = ["token", "--role", "node", "--state", str(tmp_path)]
    for option in (("--uses", "9" * 20), ("--expires", "9" * 400 + "d")):
        done = CliRunner().invoke(app, [*words, *option])
        assert done.exit_code
        assert isinstance(done.exception, (SystemExit, ConfigError)), done.exception


def lines_of(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "audit.log").read_text().splitlines()]


def test_what_a_stranger_tries_again_and_again_is_summed_up(tmp_path: Path) -> None:
    now = [0.0]
    log = AuditLog(str(tmp_path), clock=lambda: now[0])
    for number in range(2600):
        log.write("refuse", (("joiner", "k"), ("reason", f"used up {number}")))
    log.write("refuse", (("joiner", "other"), ("reason", "used up")))
    log.write("refuse", (("job", "x"), ("reason", "no-nodes")))
    assert len(lines_of(tmp_path)) == MOST_OF_THE_SAME + 2
    log.sum_up()
    assert len(lines_of(tmp_path)) == MOST_OF_THE_SAME + 2
    now[0] = PERIOD_S
    log.sum_up()
    last = lines_of(tmp_path)[-1]
    assert (last["event"], last["user"], last["more"]) == ("refuse", "k", 2600 - MOST_OF_THE_SAME)
    assert log.write("refuse", (("joiner", "k"), ("reason", "again")))
    log.close()


def test_a_member_who_opens_session_after_session_does_not_push_out_the_past(
    tmp_path: Path,
) -> None:
    log = AuditLog(str(tmp_path), clock=lambda: 0.0)
    for number in range(5_000):
        for what in ("open", "close", "pause"):
            log.write(what, (("user", "k"), ("name", f"{number}" + "n" * 5_000)))
    log.write("open", (("user", "other"), ("name", "laptop")))
    assert len(lines_of(tmp_path)) == 3 * MOST_OF_SESSIONS + 1
    assert max(len(str(line["name"])) for line in lines_of(tmp_path)) == MAX_FIELD
    log.close()
    assert [line["more"] for line in lines_of(tmp_path)[-3:]] == [5_000 - MOST_OF_SESSIONS] * 3


@pytest.mark.parametrize("what", ["submit", "abandon", "refuse", "dispatch", "result"])
def test_a_busy_member_keeps_a_line_for_each_job_and_a_flood_is_summed_up(
    what: str, tmp_path: Path
) -> None:
    now = [0.0]
    log = AuditLog(str(tmp_path), clock=lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        log.sum_up()
        for _ in range(150):
            assert log.write(what, (("user", "busy"), ("job", "x")))
        for _ in range(1_000):
            log.write(what, (("user", "flood"), ("job", "x")))
    log.close()
    lines = [line for line in lines_of(tmp_path) if line["user"] == "flood"]
    written = [line for line in lines if "more" not in line]
    assert len(written) == 3 * MOST_OF_JOBS
    assert sum(int(str(line.get("more", 1))) for line in lines) == 30_000


def test_a_line_of_each_of_many_members_is_written(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path))
    assert all(log.write("submit", (("user", str(n)), ("job", "x"))) for n in range(3_000))
    log.close()


def test_nothing_that_was_counted_is_lost_at_the_end(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path))
    for _ in range(MOST_OF_THE_SAME + 5):
        log.write("violation", (("user", "k"), ("reason", "nonsense")))
    log.close()
    assert lines_of(tmp_path)[-1]["more"] == 5


def test_a_registry_put_back_from_a_backup_revives_no_key(tmp_path: Path) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup.sqlite"
    one, two = new_key_pair().public, new_key_pair().public
    registry = Registry(str(state))
    registry.add(one, PeerRole.CLIENT, "one", 100.0)
    registry.add(two, PeerRole.CLIENT, "two", 100.0)
    registry.close()
    shutil.copy(state / "registry.sqlite", backup)
    registry = Registry(str(state))
    registry.revoke("one", 200.0)
    registry.close()
    for file in state.glob("registry.sqlite*"):
        file.unlink()
    shutil.copy(backup, state / "registry.sqlite")
    registry = Registry(str(state))
    assert registry.role_of(one, 300.0) is None
    assert registry.role_of(two, 300.0) is PeerRole.CLIENT
    row = registry.find(one)
    assert row is not None
    assert row.revoked == 200.0
    registry.close()


def test_a_registry_put_back_from_a_backup_gives_no_use_of_a_join_token_back(
    tmp_path: Path,
) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup.sqlite"
    once, often = (new_key_pair().public for _ in range(2))
    with closing(Registry(str(state))) as registry:
        registry.add_joiner(once, PeerRole.NODE, NOW, NOW + 100, 1)
        registry.add_joiner(often, PeerRole.NODE, NOW, NOW + 100, 5)
    shutil.copy(state / "registry.sqlite", backup)
    joined = [new_key_pair().public for _ in range(4)]
    with closing(Registry(str(state))) as registry:
        for key, token in zip(joined, (once, often, often, often), strict=True):
            registry.enrol(token, key, "n", NOW)
    for left in state.glob("registry.sqlite*"):
        left.unlink()
    shutil.copy(backup, state / "registry.sqlite")
    with closing(Registry(str(state))) as registry:
        with pytest.raises(EnrolError, match="used up"):
            registry.enrol(once, new_key_pair().public, "n", NOW)
        # It is used, not revoked: who asks again for an answer that was lost is still heard.
        assert registry.role_of(once, NOW) is PeerRole.JOINER
        for _ in range(2):
            registry.enrol(often, new_key_pair().public, "n", NOW)
        with pytest.raises(EnrolError, match="used up"):
            registry.enrol(often, new_key_pair().public, "n", NOW)


def test_what_was_used_up_before_uses_were_written_down_is_written_down(tmp_path: Path) -> None:
    token = new_key_pair().public
    with closing(Registry(str(tmp_path))) as registry:
        registry.add_joiner(token, PeerRole.NODE, NOW, NOW + 100, 1)
        registry.enrol(token, new_key_pair().public, "n", NOW)
    (tmp_path / "revoked").unlink()
    Registry(str(tmp_path)).close()
    assert Revocations(str(tmp_path)).uses_left() == {token: 0}


def test_a_revoked_key_that_an_older_registry_does_not_know_cannot_enrol(tmp_path: Path) -> None:
    joiner, key = new_key_pair().public, new_key_pair().public
    registry = Registry(str(tmp_path))
    registry.add(key, PeerRole.CLIENT, "one", 100.0)
    registry.revoke("one", 200.0)
    registry.close()
    for file in tmp_path.glob("registry.sqlite*"):
        file.unlink()
    registry = Registry(str(tmp_path))
    registry.add_joiner(joiner, PeerRole.CLIENT, 300.0, 400.0, 1)
    with pytest.raises(EnrolError, match="revoked"):
        registry.enrol(joiner, key, "one", 300.0)
    registry.close()


def test_revocations_of_before_there_was_the_file_are_written_to_it(tmp_path: Path) -> None:
    key = new_key_pair().public
    registry = Registry(str(tmp_path))
    registry.add(key, PeerRole.CLIENT, "one", 100.0)
    registry.revoke("one", 200.0)
    registry.close()
    (tmp_path / "revoked").unlink()
    Registry(str(tmp_path)).close()
    assert Revocations(str(tmp_path)).read() == {key: 200.0}


def test_a_damaged_line_among_the_revocations_harms_no_other(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_bytes(b"a 1.5\n\xff\xff garbage\n\nc 1 2\nc 1 2 3\nc 1 x\nb 2.5")
    assert Revocations(str(tmp_path)).read() == {"a": 1.5, "b": 2.5}
    assert Revocations(str(tmp_path)).uses_left() == {"c": 2}
