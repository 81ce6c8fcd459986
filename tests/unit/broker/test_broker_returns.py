"""Where a job goes that a node has let go for nobody's fault: to another, while there is one."""

from __future__ import annotations

import pytest

from broker.core.events import Origin
from broker.core.limits import STARTUP_GRACE_S
from cache.digest import Digest
from tests.support.broker_world import Desk, job, session_id
from zcc.messages import Beat, Bye, Failed, Fault, Hello, Offer, Refused, Run, Started


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def let_go(desk: Desk, node: Origin, run: Run, way: str) -> None:
    """The node lets the job go in this way, and is ready for others at once."""
    name = node.route.decode()
    if way in (fault.value for fault in Fault):
        desk.say(node, Started(run.lease))
        desk.say(node, Failed(run.lease, way, ""))
    elif way == "lends-less":
        desk.say(node, Beat(0.0, offer=Offer(0, "", "", False)))
    elif way == "bye":
        desk.say(node, Bye(""))
    if way in ("hello", "bye", Fault.STOPPING.value, Fault.UNFIT.value):
        desk.pass_time(2.0, frozenset((node,)))
        desk.say(node, Hello(session_id(name), "node", "", name, "0", 1, (), ()))
    desk.say(node, Beat(0.0))


def keys(desk: Desk, node: Origin) -> list[Digest]:
    return [run.key for run in desk.runs(node)]


WAYS = ["paused", "stopping", "unfit", "memory", "lends-less", "hello", "bye"]


@pytest.mark.parametrize("way", WAYS)
def test_a_job_does_not_return_to_who_let_it_go_while_another_may_run_it(
    desk: Desk, way: str
) -> None:
    agent, bad = desk.client("a"), desk.node("bad", slots=1)
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(bad)
    good = desk.node("good", slots=1)
    for ticket in (2, 3):  # one runs there, and one waits
        desk.submit(agent, ticket, job(f"y{ticket}", inputs=()))
    given = desk.runs(good)
    let_go(desk, bad, run, way)
    assert run.key not in keys(desk, bad)
    assert desk.machine.farm.executions[run.key].losses == 0
    while given[0].key != run.key:
        desk.done(good, given.pop(0).lease)
        given += desk.runs(good)


def test_a_second_node_of_the_key_has_it_and_no_third(desk: Desk) -> None:
    agent = desk.client("a")
    bad = desk.node("bad0", slots=1, user="bad")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(bad)
    good = desk.node("good", slots=1)
    desk.submit(agent, 2, job("y", inputs=()))
    (other,) = desk.runs(good)
    second = desk.node("bad1", slots=1, user="bad")
    let_go(desk, bad, run, "paused")
    (again,) = desk.runs(second)
    third = desk.node("bad2", slots=1, user="bad")
    let_go(desk, second, again, "paused")
    assert not desk.runs(third)
    desk.done(good, other.lease)
    assert keys(desk, good) == [run.key]


def test_who_had_it_for_longer_than_such_jobs_take_has_it_under_no_other_name(desk: Desk) -> None:
    agent = desk.client("a")
    bad = desk.node("bad0", slots=1, user="bad")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(bad)
    good = desk.node("good", slots=1)
    desk.submit(agent, 2, job("y", inputs=()))
    assert desk.runs(good)
    desk.say(bad, Started(run.lease))
    desk.pass_time(50.0, frozenset((agent, bad, good)))
    second = desk.node("bad1", slots=1, user="bad")
    let_go(desk, bad, run, "paused")
    assert not desk.runs(second)


@pytest.mark.parametrize("way", ["hello", "memory"])
def test_where_there_is_no_other_the_job_returns(desk: Desk, way: str) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    let_go(desk, node, run, way)
    assert keys(desk, node) == [run.key]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "unfit"])
def test_when_the_others_have_left_the_job_returns(desk: Desk, way: str) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    other = desk.node("other", slots=1)
    desk.submit(agent, 2, job("y", inputs=()))
    assert desk.runs(other)
    let_go(desk, node, run, way)
    assert run.key not in keys(desk, node)
    desk.say(other, Bye(""))
    assert run.key in keys(desk, node)
    assert not desk.got(agent, Refused)
