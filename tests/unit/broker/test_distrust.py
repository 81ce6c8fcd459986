"""Whose jobs have shown that a node lies is served nothing of its key: not with others, nor by recall."""

from __future__ import annotations

import pytest

from broker.core.effects import Remember
from broker.core.events import NodeCondemned, Origin, Recalled, RerunAsked
from broker.core.limits import CONDEMNED_S, STARTUP_GRACE_S
from tests.support.broker_world import Desk, blob, job
from zcc.messages import Beat, Finished, Refused, Run

FACTS = job("x", inputs=())
OF_FORGER = Recalled("forger", (), b"forged", "user-forger")


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace; jobs of user-wary have shown what user-forger's node gives."""
    desk = Desk()
    desk.node("forger", 1)
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    desk.node("forger", 1)
    desk.happen(NodeCondemned("user-forger", CONDEMNED_S, "user-wary"))
    return desk


def forger(desk: Desk) -> Origin:
    session = next(
        node.session for node in desk.machine.farm.nodes if node.session.name == "forger"
    )
    return Origin(session.route, session.user, session.role)


def answered(desk: Desk, agent: Origin) -> list[bytes]:
    return [message.body for message in desk.got(agent, Finished) if isinstance(message, Finished)]


def the_run(desk: Desk, node: Origin) -> Run:
    (run,) = desk.runs(node)
    assert run.key == FACTS.key
    return run


def test_who_joins_anothers_job_is_not_served_by_a_node_that_his_are_kept_from(desk: Desk) -> None:
    other, wary = desk.client("other"), desk.client("wary")
    good = desk.node("good", 1)
    desk.say(good, Beat(0.0, paused="busy"))
    desk.submit(other, 1, FACTS)
    desk.submit(wary, 7, FACTS)
    desk.done(forger(desk), the_run(desk, forger(desk)).lease, body=b"forged")
    assert (answered(desk, other), answered(desk, wary)) == ([b"forged"], [])
    assert [each.reason for each in desk.got(wary, Refused)] == ["no-nodes"]  # it compiles at home

    desk.say(good, Beat(0.0))
    desk.say(forger(desk), Beat(0.0))
    desk.submit(wary, 8, FACTS)
    desk.done(good, the_run(desk, good).lease, body=b"right")
    assert answered(desk, wary) == [b"right"]


def test_the_job_is_done_once_more_for_those_who_were_not_served(desk: Desk) -> None:
    other, wary = desk.client("other"), desk.client("wary")
    desk.submit(other, 1, FACTS)
    run = the_run(desk, forger(desk))
    desk.submit(wary, 7, FACTS)
    desk.submit(other, 2, FACTS)
    good = desk.node("good", 1)
    desk.done(forger(desk), run.lease, body=b"forged")
    assert (answered(desk, other), answered(desk, wary)) == ([b"forged"] * 2, [])
    again = the_run(desk, good)
    assert again.client == wary.user
    desk.done(good, again.lease, body=b"right")
    assert answered(desk, wary) == [b"right"]
    assert not desk.machine.farm.executions


def test_two_such_nodes_cannot_keep_it_going_round(desk: Desk) -> None:
    desk.happen(NodeCondemned("user-second", CONDEMNED_S, "user-wary"))
    other, wary, second = desk.client("other"), desk.client("wary"), desk.node("second", 1)
    busy = desk.node("good", 1)
    for node in (second, busy):
        desk.say(node, Beat(0.0, paused="busy"))
    desk.submit(other, 1, FACTS)
    first = the_run(desk, forger(desk))
    desk.submit(wary, 7, FACTS)
    for node in (second, busy):
        desk.say(node, Beat(0.0))
    filler = job("filler", inputs=())
    desk.submit(wary, 8, filler)  # the good one is taken
    assert [run.key for run in desk.runs(busy)] == [filler.key]
    desk.submit(wary, 9, job("ahead", inputs=()))
    assert len(desk.runs(busy)) == 1
    desk.done(forger(desk), first.lease, body=b"forged")
    desk.submit(other, 2, FACTS)
    desk.done(second, the_run(desk, second).lease, body=b"forged")
    desk.submit(other, 3, FACTS)
    assert not desk.runs(forger(desk))
    assert not desk.runs(second)
    assert answered(desk, wary) == []


def test_who_joins_an_audits_run_is_not_served_by_such_a_node(desk: Desk) -> None:
    wary = desk.client("wary")
    args = (
        FACTS.key,
        FACTS.toolchain,
        FACTS.inputs,
        b"",
        1,
        "user-other",
        frozenset[str](),
        b"job x",
    )
    desk.happen(RerunAsked(*args))
    run = the_run(desk, forger(desk))
    desk.submit(wary, 7, FACTS)
    good = desk.node("good", 1)
    desk.done(forger(desk), run.lease, body=b"forged")
    assert answered(desk, wary) == []
    desk.done(good, the_run(desk, good).lease, body=b"right")
    assert answered(desk, wary) == [b"right"]


def test_what_such_a_node_has_done_is_recalled_for_others_alone(desk: Desk) -> None:
    other, wary, good = desk.client("other"), desk.client("wary"), desk.node("good", 1)
    desk.submit(other, 1, FACTS, OF_FORGER)
    desk.submit(wary, 7, FACTS, OF_FORGER)
    assert (answered(desk, other), answered(desk, wary)) == ([b"forged"], [])
    desk.done(good, the_run(desk, good).lease, body=b"right")
    assert answered(desk, wary) == [b"right"]


def test_nor_is_it_when_the_last_input_has_been_shown(desk: Desk) -> None:
    facts = job("y")
    wary, good = desk.client("wary"), desk.node("good", 1)
    desk.recalls[facts.key] = OF_FORGER
    desk.submit(wary, 7, facts)
    desk.stored(blob("y.c"))
    assert answered(desk, wary) == []
    (run,) = desk.runs(good)
    desk.done(good, run.lease, body=b"right")
    assert answered(desk, wary) == [b"right"]


def test_a_node_that_everybody_is_kept_from_serves_nobody_with_what_it_ran(desk: Desk) -> None:
    other = desk.client("other")
    desk.submit(other, 1, FACTS)
    run = the_run(desk, forger(desk))
    desk.happen(NodeCondemned("user-forger", CONDEMNED_S))
    good = desk.node("good", 1)
    done = desk.done(forger(desk), run.lease, body=b"forged")
    assert not [each for each in done if isinstance(each, Remember)]
    desk.done(good, the_run(desk, good).lease, body=b"right")
    assert answered(desk, other) == [b"right"]
    desk.submit(other, 2, job("z", inputs=()), OF_FORGER)
    assert answered(desk, other) == [b"right"]
