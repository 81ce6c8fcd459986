"""What gets into the shared cache, and what comes out of it."""

from __future__ import annotations

import pytest

from broker.core.effects import Deliver, Effect, Remember
from broker.core.events import Recalled
from broker.core.limits import STARTUP_GRACE_S
from tests.support.broker_world import Desk, blob, job
from tests.unit.broker.test_broker_machine import lease_for
from zcc.messages import Finished, Run


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def remembered(effects: list[Effect]) -> list[Remember]:
    return [effect for effect in effects if isinstance(effect, Remember)]


def test_a_result_is_remembered_with_whom_it_came_from(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 7, job("x", inputs=()))
    (run,) = desk.runs(node)
    assert remembered(desk.done(node, run.lease)) == [
        Remember(
            key=job("x").key,
            body=b"result",
            outputs=(blob("output"),),
            size_bytes=1,
            toolchain=blob("gcc"),
            node="n",
            node_key=node.user,
            user=agent.user,
            job=b"job x",
        )
    ]


@pytest.mark.parametrize(
    "flaw", [{"exit_status": 1}, {"exit_status": -9}, {"is_sound": False}, {"is_complete": False}]
)
def test_a_result_with_a_flaw_is_not_remembered(desk: Desk, flaw: dict[str, int]) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 7, job("x", inputs=()))
    (run,) = desk.runs(node)
    assert remembered(desk.done(node, run.lease, **flaw)) == []  # type: ignore[arg-type]


def test_a_result_for_a_lease_that_the_node_does_not_hold_is_not_remembered(desk: Desk) -> None:
    agent, holder = desk.client("a"), desk.node("n")
    liar = desk.node("liar", slots=0)
    desk.submit(agent, 7, job("x", inputs=()))
    (run,) = desk.runs(holder)
    assert remembered(desk.done(liar, run.lease)) == []
    assert remembered(desk.done(liar, lease_for("x"))) == []
    assert len(remembered(desk.done(holder, run.lease))) == 1


def test_a_result_of_an_adopted_lease_is_delivered_and_not_remembered(desk: Desk) -> None:
    """Nobody but the node says that this job was ever handed to it."""
    agent = desk.client("a")
    node = desk.node("n", leases=(lease_for("x"),))
    desk.store.add(blob("x.c"))
    desk.submit(agent, 7, job("x"))
    assert desk.runs(node) == []
    effects = desk.done(node, lease_for("x"))
    assert [message.ticket for message in desk.got(agent, Finished)] == [7]
    assert remembered(effects) == []


def test_what_is_remembered_answers_at_once_and_without_a_node(desk: Desk) -> None:
    agent = desk.client("a")
    recalled = Recalled("n", (blob("output"),), b"result")
    desk.store.add(blob("x.c"))
    effects = desk.submit(agent, 7, job("x"), recalled)
    finished = Finished(7, "n", 0.0, True, True, b"result")
    assert [each for each in effects if isinstance(each, Deliver)] == [
        Deliver(agent.route, (blob("output"),), finished, job("x").key)
    ]
    assert not desk.machine.farm.executions
    # The ticket is free again: the agent may have found that this does not hold on its disk.
    node = desk.node("late")
    desk.submit(agent, 7, job("x", inputs=()))
    assert len(desk.runs(node)) == 1


def test_a_twin_of_what_is_remembered_does_not_wait_for_the_one_that_runs(desk: Desk) -> None:
    one, two, node = desk.client("a"), desk.client("b"), desk.node("n")
    desk.submit(one, 1, job("x", inputs=()))
    desk.submit(two, 2, job("x", inputs=()), Recalled("n", (), b"result"))
    assert [message.ticket for message in desk.got(two, Finished)] == [2]
    assert len(desk.got(node, Run)) == 1
