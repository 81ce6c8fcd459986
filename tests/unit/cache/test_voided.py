"""The list of what the farm has taken back: who has heard what, and what a full disk makes of it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.results import marked_list, voided
from broker.results.voided import FILE_NAME, Crier, VoidedList, note_purge
from cache.digest import digest_of
from cache.errors import StoreError
from cache.selection import Selection
from cache.stores import DiskStore
from tests.unit.cache.test_upkeep import keep
from zcc.cli.cache import cache_commands
from zcc.messages import AskVoided, Message, Voided

ONE, TWO, THREE, FOUR = map(digest_of, (b"one", b"two", b"three", b"four"))


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
        elif (message.list_id, message.last) == (self.list_id, self.number):
            pass
        elif message.since == self.number < message.last:
            self.keys += message.keys
        else:
            self.forgot_all += 1
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


def test_a_verdict_outlives_a_broker_that_is_killed_behind_it(tmp_path: Path) -> None:
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    crier.add(ONE)
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
        patch.setattr(marked_list, "add_lines", full)
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
    assert ([len(mark) for mark in listed.marks], listed.entries) == ([16], [])


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


def test_a_purge_that_fails_half_way_is_told(tmp_path: Path) -> None:
    """The results are gone from the farm, and no other attempt finds which they were."""
    with closing(DiskStore(str(tmp_path), "farm", 1 << 30)) as store:
        keep(store, b"one", "n1", b"x")
        (entry,) = store.blobs.entries()
        blob = Path(store.blobs.path_of(entry.key))
    blob.unlink()
    blob.mkdir()  # what nobody can remove as a file
    commands = cache_commands(
        lambda place: DiskStore(place, "farm", 1 << 30, is_strict=True), "", "--state", note_purge
    )
    asked = CliRunner().invoke(commands, ["purge", "--key", ONE.hex(), "--state", str(tmp_path)])
    assert isinstance(asked.exception, StoreError)
    with closing(DiskStore(str(tmp_path), "farm", 1 << 30)) as store:
        assert store.index.count() == 0
    listed = VoidedList(str(tmp_path))
    listed.read()
    assert listed.entries == [(b"key", ONE)]


def test_a_purge_of_too_much_to_tell_is_a_new_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voided, "MOST_AT_ONCE", 1)
    listed = VoidedList(str(tmp_path))
    listed.read()
    before = listed.marks
    listed.add([(b"key", ONE), (b"key", TWO)])
    assert listed.entries == []
    assert not listed.has(before[0], 0)


@pytest.mark.parametrize("is_same_length", [True, False])
@pytest.mark.parametrize("is_connected", [True, False])
def test_who_has_heard_other_lines_than_the_list_has_forgets_all(
    tmp_path: Path, is_connected: bool, is_same_length: bool
) -> None:
    """A list that was put back from a copy, and has grown again since."""
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    crier.add(ONE)
    crier.tick(0.0)
    copy = (tmp_path / FILE_NAME).read_bytes()
    crier.add(TWO)
    crier.tick(0.0)
    assert (agent.keys, agent.forgot_all) == ([ONE, TWO], 0)
    (tmp_path / FILE_NAME).write_bytes(copy)
    listed = VoidedList(str(tmp_path))
    listed.add([(b"key", THREE)] if is_same_length else [(b"key", THREE), (b"key", FOUR)])
    os.utime(tmp_path / FILE_NAME, (1.0, 1.0))  # not in the same tick of the disk's clock
    if is_connected:
        crier.tick(0.0)
    else:
        crier, again = broker(tmp_path)
        again.list_id, again.number = agent.list_id, agent.number
        again.ask(crier)
        agent = again
    assert agent.forgot_all == 1
    assert agent.number == len(listed.entries)
    agent.ask(crier)
    assert agent.forgot_all == 1
    crier.add(TWO)
    crier.tick(0.0)
    assert (agent.keys[-1:], agent.forgot_all) == ([TWO], 1)


def test_who_has_too_much_to_hear_forgets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voided, "MOST_AT_ONCE", 2)
    crier, agent = broker(tmp_path)
    agent.ask(crier)
    one_behind, two_behind = [Agent(agent.list_id, agent.number) for _ in range(2)]
    for at, key in enumerate((ONE, TWO, THREE)):
        if at == 1:
            one_behind = Agent(agent.list_id, agent.number)
        crier.add(key)
        crier.tick(0.0)
    for each in (one_behind, two_behind):
        crier, _ = broker(tmp_path)
        crier._say = each.hear
        each.ask(crier)
    assert (one_behind.keys, one_behind.forgot_all) == ([TWO, THREE], 0)
    assert (two_behind.keys, two_behind.forgot_all) == ([], 1)


def test_a_line_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    """A node's name that is cut short is another node's."""
    listed = VoidedList(str(tmp_path))
    listed.read()
    with open(tmp_path / FILE_NAME, "ab", buffering=0) as file:
        file.write(b"node 6e")
        listed.read()
        assert listed.entries == []
        file.write(b"31\n")
        listed.read()
    assert listed.entries == [(b"node", b"n1")]
    again = VoidedList(str(tmp_path))
    again.read()
    assert again.marks == listed.marks
