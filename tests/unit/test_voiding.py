"""What an agent makes of the farm's list: what is kept while it cannot say up to where it has heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cache.digest import Digest, digest_of
from cache.record import Record, Source
from zcc.agent.recall import Recall
from zcc.agent.voiding import Voiding
from zcc.messages import AskVoided, Voided

LIST, OTHER = b"l" * 16, b"o" * 16
GCC = digest_of(b"gcc")
ONE, TWO, THREE = map(digest_of, (b"1", b"2", b"3"))

Left = Callable[[], set[Digest]]


@pytest.fixture
def recall(tmp_path: Path) -> Iterator[Recall]:
    """Results of two nodes."""
    with closing(Recall(str(tmp_path), 1 << 30, 1 << 20)) as recall:
        for key, node in ((ONE, "n1"), (TWO, "n2"), (THREE, "n2")):
            recall._writer.put(Record(key, b"", (), 0, Source(GCC, node), 1.0), {})
        assert recall.wait_written()
        yield recall


def left(recall: Recall) -> set[Digest]:
    assert recall.wait_written()
    assert recall.wait_written()  # what a node has made is looked up there, and forgotten behind
    assert recall._store is not None
    return set(recall._store.index.keys())


def test_keys_and_nodes_are_forgotten_and_the_next_agent_knows_it(
    tmp_path: Path, recall: Recall
) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    assert voiding.question() == AskVoided(b"", 0)
    assert not voiding.told(Voided(LIST, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    assert not voiding.told(Voided(LIST, 4, 5, (TWO,), ()))
    assert left(recall) == {ONE, THREE}
    # What is on its way may be that node's.
    assert voiding.told(Voided(LIST, 5, 6, (), ("n2",)))
    assert not voiding.told(Voided(LIST, 5, 6, (), ("n2",)))
    assert left(recall) == {ONE}
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(LIST, 6)
    assert Voiding(str(tmp_path), recall, "another").question() == AskVoided(b"", 0)


@pytest.mark.parametrize(
    "said", [Voided(OTHER, 4, 4, (), ()), Voided(LIST, 5, 5, (), ()), Voided(LIST, 3, 3, (), ())]
)
def test_another_list_or_number_costs_everything(
    tmp_path: Path, recall: Recall, said: Voided
) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(LIST, 4, 4, (), ()))
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
        patch.setattr("zcc.agent.voiding.save_private", full)
        voiding.told(Voided(LIST, 4, 4, (), ()))
        left(recall)
        assert not recall.may_keep()
    assert recall.may_keep()
    assert Voiding(str(tmp_path), recall, "broker").question() == AskVoided(LIST, 4)


def test_a_damaged_note_costs_everything(tmp_path: Path, recall: Recall) -> None:
    voiding = Voiding(str(tmp_path), recall, "broker")
    voiding.told(Voided(LIST, 4, 4, (), ()))
    assert left(recall) == {ONE, TWO, THREE}
    for path in tmp_path.glob("heard.*"):
        path.write_bytes(b"junk")
    Voiding(str(tmp_path), recall, "broker").told(Voided(LIST, 4, 4, (), ()))
    assert left(recall) == set()
