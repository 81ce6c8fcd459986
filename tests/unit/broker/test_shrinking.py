"""A farm that shrinks, however often: what waits is looked at by turns, and nothing is forgotten."""

from __future__ import annotations

import pytest

from broker.core import events
from broker.core.events import Origin
from broker.core.limits import LOOKED_AT_A_TICK, TOLD_A_TICK
from tests.support.broker_world import Desk, job, validate
from zcc.messages import Beat, Busy, Failed, Fault, Refused

MANY = 3_000


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.validates_each = 0
    desk.now += 10.0
    return desk


def submit_many(desk: Desk, machine_class: bytes, first: int = 0) -> Origin:
    agent = desk.client(f"a{first}")
    for ticket in range(first, first + MANY):
        facts = job(f"x{ticket}", (), machine_class=machine_class)
        submitted = events.JobSubmitted(
            agent, ticket, facts.key, 1.0, "b", facts.toolchain, (), machine_class, None, b"x"
        )
        desk.machine.handle(submitted, desk.now)
    return agent


def tick(desk: Desk, *heard: Origin) -> None:
    desk.now += 0.1
    desk.happen(events.Ticked(frozenset((each.route, each.user) for each in heard)))


@pytest.fixture
def looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each job that was looked at."""
    unservable = desk.machine._ledger.unservable
    seen: list[None] = []
    judge = unservable._why

    def counted(*given: object) -> str:
        seen.append(None)
        return judge(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(unservable, "_why", counted)
    return seen


def test_a_node_that_pauses_all_the_time_takes_little_of_the_loop(
    desk: Desk, looks: list[None]
) -> None:
    """Each pause had all that waits looked at: 14 to 35 ms for 10,000 jobs, 256 times a second."""
    desk.node("good", slots=1)
    bad = desk.node("bad", slots=64)
    submit_many(desk, b"")
    desk.happen()
    for run in desk.runs(bad):
        desk.say(bad, Failed(run.lease, Fault.MEMORY.value, ""))
    for _ in range(50):
        desk.say(bad, Beat(0.0, "x"))
        desk.say(bad, Beat(0.0))
    assert len(looks) <= LOOKED_AT_A_TICK / 8


@pytest.mark.long
@pytest.mark.parametrize("shrinks_meanwhile", [False, True])
def test_what_no_node_may_run_is_all_refused_and_nothing_else(
    desk: Desk, shrinks_meanwhile: bool
) -> None:
    good = desk.node("good", slots=1)
    last = desk.node("last", slots=1, classes=(b"fma",))
    other = desk.node("other", slots=1)
    stay = submit_many(desk, b"")
    leave = submit_many(desk, b"fma", MANY)
    if shrinks_meanwhile:  # what was looked at before is looked at again
        desk.machine.handle(events.PeerUnreachable(other.route), desk.now)
        tick(desk, good, last, stay, leave)
    desk.machine.handle(events.PeerUnreachable(last.route), desk.now)
    assert len(desk.machine.farm.executions) > MANY
    for _ in range(100):
        tick(desk, good, other, stay, leave)
    assert {each.reason for each in desk.got(leave, Refused)} == {"no-nodes"}
    assert len(desk.got(leave, Refused)) == MANY
    assert not desk.got(stay, Refused)
    assert len(desk.machine.farm.executions) == MANY
    validate(desk.machine)


@pytest.mark.long
def test_all_who_wait_are_told_anew_by_turns(desk: Desk) -> None:
    """40,000 requests took a third of a second each time that a node paused."""
    good, other = desk.node("good", slots=1), desk.node("other", slots=8)
    agents = [submit_many(desk, b"", first) for first in (0, MANY)]
    desk.happen()
    for agent in agents:
        desk.sent[agent.route].clear()
    desk.now += 5.0
    said = 0
    for turn in range(20):
        if turn < 5:
            desk.say(other, Beat(0.0, "x"))
            desk.say(other, Beat(0.0))
        tick(desk, good, other, *agents)
        before, said = said, sum(len(desk.got(each, Busy)) for each in agents)
        assert said - before <= 2 * TOLD_A_TICK
    for agent in agents:
        told = {each.ticket for each in desk.got(agent, Busy) if isinstance(each, Busy)}
        assert len(told) >= MANY - 9 - 10  # the others have begun, or are about to
