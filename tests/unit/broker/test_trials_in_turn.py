"""A node key's trials come one after the other, and stand in nobody else's way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker.core.effects import TryNode
from broker.core.limits import QUARANTINE_S
from cache.record import Record
from tests.support.trial_world import TrialFarm
from zcc.messages import Bye


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[TrialFarm]:
    made = TrialFarm(tmp_path)
    yield made
    made.close()


def tried(farm: TrialFarm) -> list[str]:
    return [each.node for each in farm.desk.effects if isinstance(each, TryNode)]


def test_one_node_of_a_key_is_tried_at_a_time(farm: TrialFarm) -> None:
    waiting: list[Future[deque[Record]]] = []

    def gather(node_key: str, owner: str) -> Future[deque[Record]]:
        waiting.append(Future())
        return waiting[-1]

    farm.examiner._gather = gather
    for name in ("one", "two", "three"):
        farm.node(name, user="flood")
    farm.node("honest")
    for name in farm.nodes:
        farm.quarantine(name)
    farm.pass_time(QUARANTINE_S + 5.0)
    assert sorted(tried(farm)) == ["honest", "one"]
    assert len(farm.examiner._sought) == 2
    waiting[0].set_result(deque())
    farm.pass_time(2.0)
    assert sorted(tried(farm)) == ["honest", "one", "two"]


def test_new_names_of_a_key_do_not_begin_trials_of_their_own(farm: TrialFarm) -> None:
    """One came twice a second over each connection, and each was looked for in one line for all."""
    farm.node("name0", user="flood")
    farm.quarantine("name0")
    farm.pass_time(QUARANTINE_S - 1.0)
    for number in range(1, 40):
        farm.desk.say(farm.nodes[f"name{number - 1}"].origin, Bye("x"))
        farm.examiner.tick()
        farm._take()
        flood = farm.node(f"name{number}", user="flood")
        farm.desk.pass_time(0.5, frozenset((flood.origin,)))
    assert 1 <= len(tried(farm)) <= 3  # after 10 s, then 20 s
    assert len(farm.examiner._sought) <= 1


def test_what_is_looked_for_in_vain_by_now_is_not_waited_for(farm: TrialFarm) -> None:
    first: Future[deque[Record]] = Future()
    second: Future[deque[Record]] = Future()
    found = iter((first, second))
    farm.examiner._gather = lambda *_: next(found)
    for session in (b"1", b"2"):
        farm.examiner.seek(TryNode(session, "key", "name", ""))
    assert first.cancelled()
    assert len(farm.examiner._sought) == 1
