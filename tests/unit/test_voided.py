"""The list of what the farm has taken back: who has heard what, and what a full disk makes of it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker import voided
from broker.voided import FILE_NAME, Crier, VoidedList, note_purge
from cache.digest import digest_of
from cache.selection import Selection
from cache.stores import DiskStore
from tests.unit.test_upkeep import keep
from zcc.messages import AskVoided, Message, Voided

ONE, TWO = digest_of(b"one"), digest_of(b"two")


@dataclass
class Agent:
    """One that asks, and counts as it should."""

    list_id: bytes = b""
    number: int = 0
    keys: list[bytes] = field(default_factory=list)
    forgot_all: int = 0

    def ask(self, crier: Crier) -> None:
        crier.ask(b"agent", AskVoided(self.list_id, self.number))

    def hear(self, _: bytes, message: Message) -> None:
        assert isinstance(message, Voided)
        if not self.list_id:
            pass  # nothing was taken from here before
        elif message.list_id != self.list_id or not message.since <= self.number <= message.last:
            self.forgot_all += 1
        else:
            self.keys += message.keys
        self.list_id, self.number = message.list_id, message.last


def broker(state: Path) -> tuple[Crier, Agent]:
    agent = Agent()
    crier = Crier(str(state), agent.hear)
    crier.tick(0.0)
    return crier, agent


def test_who_knows_the_list_is_told_what_is_new_while_he_is_connected(tmp_path: Path) -> None:
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    crier.add(ONE)
    crier.tick(0.0)
    assert (agent.keys, agent.forgot_all) == ([ONE], 0)
    crier.forget(b"agent")
    crier.add(TWO)
    crier.tick(0.0)
    assert agent.keys == [ONE]
    agent.ask(crier)
    assert (agent.keys, agent.forgot_all) == ([ONE, TWO], 0)


def test_the_next_broker_goes_on_with_the_list(tmp_path: Path) -> None:
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    crier.add(ONE)
    crier.close()
    crier, again = broker(tmp_path)
    again.list_id, again.number = agent.list_id, agent.number
    again.ask(crier)
    assert (again.keys, again.forgot_all) == ([ONE], 0)


def test_who_has_heard_more_than_the_list_has_forgets_all(tmp_path: Path) -> None:
    """A broker whose state was put back from a copy."""
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    agent.number += 1
    agent.ask(crier)
    assert agent.forgot_all == 1


def test_what_a_full_disk_does_not_take_is_a_new_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    crier, agent = broker(tmp_path)
    agent.ask(crier)
    with monkeypatch.context() as patch:
        patch.setattr(voided, "add_lines", full)
        crier.add(ONE)
        crier.tick(0.0)
        assert agent.keys == []
        crier.close()
    crier, again = broker(tmp_path)
    again.list_id, again.number = agent.list_id, agent.number
    again.ask(crier)
    assert again.forgot_all == 1


@pytest.mark.parametrize("content", [b"", b"junk\n", b"\xff\xfe", b"list 00\n", b"key 00\n"])
def test_a_damaged_list_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    listed = VoidedList(str(tmp_path))
    listed.read()
    assert (len(listed.id), listed.entries) == (16, [])


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(node="n1"), [(b"node", b"n1")]),
        (Selection(node_key="k" * 40), [(b"node", b"n1"), (b"node", b"n2")]),
        (Selection(key_prefix=ONE[:4]), [(b"key", ONE)]),
        (Selection(node="n1", used_before_s=1e12), [(b"key", ONE)]),
        (Selection(used_before_s=1e12), []),
    ],
)
def test_a_purge_says_what_it_means(
    tmp_path: Path, selection: Selection, expected: list[tuple[bytes, bytes]]
) -> None:
    with closing(DiskStore(str(tmp_path), "farm", 1 << 30)) as store:
        keep(store, b"one", "n1", b"x")
        keep(store, b"two", "n2", b"y")
        note_purge(store, selection)()
    listed = VoidedList(str(tmp_path))
    listed.read()
    assert listed.entries == expected


def test_a_purge_of_too_much_to_tell_is_a_new_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voided, "MOST_AT_ONCE", 1)
    listed = VoidedList(str(tmp_path))
    listed.read()
    before = listed.id
    listed.add([(b"key", ONE), (b"key", TWO)])
    assert (listed.id != before, listed.entries) == (True, [])
