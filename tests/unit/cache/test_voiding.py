"""What an agent makes of the farm's list: what is kept while it cannot say up to where it has heard."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cache.digest import Digest, digest_of
from cache.errors import StoreError
from cache.forgotten import Forgotten
from cache.record import Record, Source
from zcc.agent.results.local_cache import Recall
from zcc.agent.results.voiding import Voiding
from zcc.messages import AskVoided, Voided

# What tells the first four lines of a list, or more, from those of any other.
FOUR, FIVE, SIX, OTHER = (letter * 16 for letter in (b"4", b"5", b"6", b"o"))
GCC = digest_of(b"gcc")
ONE, TWO, THREE = map(digest_of, (b"1", b"2", b"3"))

Left = Callable[[], set[Digest]]


@pytest.fixture
def recall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recall]:
    """Results of two nodes."""
    monkeypatch.setattr("cache.index._BUSY_S", 0.05)
    with closing(Recall(str(tmp_path), 1 << 30, 1 << 20)) as recall:
        for key, node in ((ONE, "n1"), (TWO, "n2"), (THREE, "n2")):
            recall._writer.put(Record(key, b"", (), 0, Source(GCC, node), 1.0), {})
        assert recall.wait_written()
        yield recall


def left(recall: Recall) -> set[Digest]:
    """What is on the disk, when all was tried that waits."""
    recall._writer.do(lambda: recall._tiers.settle(recall._tiers.forgotten.last))
    assert recall.wait_written()
    assert recall._store is not None
    return set(recall._store.index.keys())


def test_keys_and_nodes_are_forgotten_and_the_next_agent_knows_it(
    tmp_path: Path, recall: Recall
) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    assert voiding.question() == AskVoided(b"", 0)
    assert not voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    assert not voiding.told(Voided(FIVE, 4, 5, (TWO,), ()))
    assert left(recall) == {ONE, THREE}
    # What is on its way may be that node's.
    assert voiding.told(Voided(SIX, 5, 6, (), ("n2",)))
    assert not voiding.told(Voided(SIX, 5, 6, (), ("n2",)))
    assert left(recall) == {ONE}
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(SIX, 6)
    assert Voiding(str(tmp_path), recall, "another").question() == AskVoided(b"", 0)


@pytest.mark.parametrize(
    "said",
    [
        Voided(OTHER, 4, 4, (), ()),
        Voided(OTHER, 5, 5, (), ()),
        Voided(OTHER, 3, 3, (), ()),
        Voided(OTHER, 3, 6, (ONE,), ()),
        Voided(OTHER, 5, 6, (ONE,), ()),
    ],
)
def test_another_list_or_number_costs_everything(
    tmp_path: Path, recall: Recall, said: Voided
) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    voiding.told(said)
    assert left(recall) == set()
    assert voiding.question() == AskVoided(said.list_id, said.last)


def test_nothing_is_kept_while_it_cannot_be_said_up_to_where(
    tmp_path: Path, recall: Recall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    voiding = Voiding(str(tmp_path), recall, "broker")
    with monkeypatch.context() as patch:
        patch.setattr("zcc.agent.results.voiding.save_private", full)
        voiding.told(Voided(FOUR, 4, 4, (), ()))
        left(recall)
        assert not recall.may_keep()
    assert recall.may_keep()
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(FOUR, 4)


def test_a_damaged_note_costs_everything(tmp_path: Path, recall: Recall) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    for path in tmp_path.glob("heard.*"):
        path.write_bytes(b"junk")
    Voiding(str(tmp_path), recall, "broker").told(Voided(FOUR, 4, 4, (), ()))
    assert left(recall) == set()


def test_of_a_broker_that_does_not_say_what_it_takes_back_nothing_is_kept(
    tmp_path: Path, recall: Recall
) -> None:
    """It is of an older release. What an earlier one has told of may be void by now."""
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.not_told()
    assert left(recall) == {ONE, TWO, THREE}
    assert not recall.may_keep()
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    assert recall.may_keep()
    voiding.not_told()
    assert not recall.may_keep()
    assert left(recall) == set()
    # Its list costs everything when it has one again: nobody knows what is not in it.
    question = Voiding(str(tmp_path), recall, "broker").question()
    assert question.list_id not in (b"", FOUR)
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert recall.may_keep()


def test_a_damaged_note_costs_everything_where_the_broker_has_no_list_either(
    tmp_path: Path, recall: Recall
) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    next(tmp_path.glob("heard.*")).write_text("damaged")
    Voiding(str(tmp_path), recall, "broker").not_told()
    assert left(recall) == set()


def test_an_index_that_cannot_be_read_while_a_node_is_void_keeps_nothing(
    tmp_path: Path, recall: Recall
) -> None:
    """Which results are the node's cannot be said: all may be."""
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    left(recall)
    aside, index = tmp_path / "aside", tmp_path / "results.sqlite"

    def spoil() -> None:
        index.rename(aside)
        index.mkdir()

    recall._writer.do(spoil)
    voiding.told(Voided(FIVE, 4, 5, (), ("n2",)))
    assert recall.wait_written()
    index.rmdir()
    aside.rename(index)
    assert left(recall) == set()


def test_an_agent_without_a_store_has_forgotten_nothing_that_lies_there(
    tmp_path: Path, recall: Recall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps nothing either. The next agent, to which the disk is kinder, has to hear of it too."""

    def refuse(*_: object) -> None:
        raise StoreError("no store")

    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    left(recall)
    recall.close()
    with monkeypatch.context() as patch:
        patch.setattr("zcc.agent.results.local_cache.DiskStore", refuse)
        with closing(Recall(str(tmp_path), 1 << 30, 1 << 20)) as blind:
            Voiding(str(tmp_path), blind, "broker").told(Voided(FIVE, 4, 5, (TWO,), ()))
            blind.forget(ONE)  # what a check here has found wrong
            assert blind.wait_written()
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(FOUR, 4)
    with closing(Recall(str(tmp_path), 1 << 30, 1 << 20)) as again:
        assert left(again) == {THREE}


def test_what_could_not_be_forgotten_is_heard_again_by_the_next_agent(
    tmp_path: Path, recall: Recall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be killed before it has another chance."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    left(recall)
    with monkeypatch.context() as patch:
        patch.setattr(Forgotten, "_write", refuse)
        with closing(sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            voiding.told(Voided(FIVE, 4, 5, (TWO,), ()))
            assert recall._writer.wait_written()
            assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(FOUR, 4)
    assert left(recall) == {ONE, THREE}


def test_nothing_is_kept_before_the_list_is_heard_of(tmp_path: Path, recall: Recall) -> None:
    """With the first answer all that was taken back before counts as heard: so nothing may be here."""
    voiding = Voiding(str(tmp_path), recall, "broker")
    assert not recall.may_keep()
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert recall.may_keep()


def agent_on(directory: Path) -> tuple[Recall, Voiding]:
    """One of several that have this cache, which has heard four lines of the list."""
    recall = Recall(str(directory), 1 << 30, 1 << 20)
    voiding = Voiding(str(directory), recall, "broker")
    voiding.told(Voided(FOUR, 4, 4, (), ()))
    assert recall.wait_written()
    return recall, voiding


def take(recall: Recall, key: Digest) -> None:
    recall._writer.put(Record(key, b"", (), 0, Source(GCC, "n1"), 1.0), {})


@pytest.mark.parametrize("is_new_list", [False, True])
def test_an_agent_that_has_heard_less_than_another_writes_nothing_down(
    tmp_path: Path, is_new_list: bool
) -> None:
    """It ends without having heard that what it has taken is void, and the next asks behind that line."""
    (first, told), (second, _) = agent_on(tmp_path), agent_on(tmp_path)
    take(second, ONE)
    told.told(Voided(OTHER, 0, 1, (), ()) if is_new_list else Voided(FIVE, 4, 5, (ONE,), ()))
    assert first.wait_written()
    second.close()
    with closing(Recall(str(tmp_path), 1 << 30, 1 << 20)) as third:
        question = Voiding(str(tmp_path), third, "broker").question()
        assert question == (AskVoided(OTHER, 1) if is_new_list else AskVoided(FIVE, 5))
        assert left(third) == set()
    first.close()


def test_an_agent_keeps_again_when_it_has_heard_what_another_has(tmp_path: Path) -> None:
    (first, told), (second, telling) = agent_on(tmp_path), agent_on(tmp_path)
    told.told(Voided(FIVE, 4, 5, (ONE,), ()))
    assert first.wait_written()
    assert not second.may_keep()
    telling.told(Voided(FIVE, 4, 5, (ONE,), ()))
    assert second.may_keep()
    take(second, TWO)
    assert left(second) == left(first) == {TWO}
    first.close()
    second.close()


def test_an_agent_keeps_while_what_it_has_heard_is_not_noted_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recall, voiding = agent_on(tmp_path)
    monkeypatch.setattr(recall, "when_forgotten", lambda then: None)
    voiding.told(Voided(OTHER, 5, 9, (), ()))
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(FOUR, 4)
    assert voiding._is_noted()
    recall.close()
