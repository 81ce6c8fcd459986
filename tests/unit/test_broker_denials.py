"""A node that says no to whatever it gets: its results are held against what other nodes make of the jobs."""

from __future__ import annotations

import pytest

from broker.effects import Deliver
from broker.events import Origin
from broker.limits import (
    DOUBTED_RESULTS,
    FAULT_WINDOW,
    MAX_FAULTS,
    MAX_RECORDS_PER_KEY,
    STARTUP_GRACE_S,
)
from broker.nodes import Node
from tests.broker_world import Desk, job
from zcc.messages import Beat, Bye, Refused


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def node_of(desk: Desk, name: str) -> Node:
    return next(node for node in desk.machine.farm.nodes if node.session.name == name)


def compile_one(
    desk: Desk, agent: Origin, name: str, statuses: dict[Origin, int], without: Origin | None = None
) -> list[str]:
    """Have a job done by nodes that answer so; who answered, in their order. `without` pauses meanwhile."""
    if without is not None:
        desk.say(without, Beat(0.0, paused="busy"))
    desk.submit(agent, len(desk.effects), job(f"{agent.user} {name}", inputs=()))
    answered = []
    while given := [(node, run) for node in statuses for run in desk.runs(node)]:
        for node, run in given:
            answered.append(node.route.decode())
            desk.done(node, run.lease, exit_status=statuses[node])
    if without is not None:
        desk.say(without, Beat(0.0))
    return answered


def answers(desk: Desk) -> list[str]:
    return [each.message.node for each in desk.effects if isinstance(each, Deliver)]


def test_a_node_that_fails_all_jobs_is_found_by_what_others_make_of_them(desk: Desk) -> None:
    """It answered at once, and so had nearly all jobs of three keys."""
    agents = [desk.client(name) for name in "abc"]
    liar, one, two = desk.node("liar", slots=64), desk.node("one", slots=1), desk.node("two", 1)
    for number in range(DOUBTED_RESULTS + 4 * MAX_FAULTS):
        for agent in agents:
            others = (one, two) if number % 2 else (two, one)
            compile_one(desk, agent, f"{number}", {liar: 1, **dict.fromkeys(others, 0)}, others[0])
    assert answers(desk).count("liar") == DOUBTED_RESULTS
    assert node_of(desk, "liar").state(desk.now) == "quarantined"
    assert node_of(desk, "one").record.faults == node_of(desk, "two").record.faults == 0
    assert not any(desk.got(agent, Refused) for agent in agents)


def test_of_one_key_alone_the_node_is_kept_from_it_alone(desk: Desk) -> None:
    agent = desk.client("a")
    liar, one, two = desk.node("liar", slots=64), desk.node("one", slots=1), desk.node("two", 1)
    for number in range(DOUBTED_RESULTS + 4 * MAX_FAULTS):
        others = (one, two) if number % 2 else (two, one)
        compile_one(desk, agent, f"{number}", {liar: 1, **dict.fromkeys(others, 0)}, others[0])
    assert node_of(desk, "liar").record.is_aside_for(agent.user, desk.now)
    assert node_of(desk, "liar").state(desk.now) == "ready"


def test_one_node_alone_that_contradicts_has_no_other_put_aside(desk: Desk) -> None:
    """Of a configure most compiles fail. One node that said yes to all had all others in quarantine."""
    agents = [desk.client(name) for name in "ab"]
    honest, liar = desk.node("honest", slots=64), desk.node("liar", slots=1)
    for number in range(DOUBTED_RESULTS + 6 * MAX_FAULTS):
        for agent in agents:
            compile_one(desk, agent, f"{number}", {honest: 1, liar: 0})
    assert answers(desk).count("liar")
    record = node_of(desk, "honest").record
    assert node_of(desk, "honest").state(desk.now) == "ready"
    assert not any(record.is_aside_for(agent.user, desk.now) for agent in agents)


def test_a_node_is_doubted_under_a_new_name_of_its_key(desk: Desk) -> None:
    """It said no to a few jobs under each name, and had most of the farm's."""
    agent = desk.client("a")
    for name in range(10):
        liar = desk.node(f"liar{name}", slots=64, user="liar")
        honest = desk.node("honest", slots=1)  # which comes second
        for number in range(DOUBTED_RESULTS - 1):
            compile_one(desk, agent, f"{name}-{number}", {liar: 1, honest: 0})
        desk.say(liar, Bye("x"))
        desk.say(honest, Bye("x"))
    assert len(answers(desk)) == 10 * (DOUBTED_RESULTS - 1)
    assert sum(name.startswith("liar") for name in answers(desk)) == DOUBTED_RESULTS


def test_a_key_under_many_names_is_remembered_as_the_nodes_that_it_has(desk: Desk) -> None:
    roster = desk.machine.farm.nodes
    for number in range(2 * MAX_RECORDS_PER_KEY):
        desk.say(desk.node(f"n{number}", user="many"), Bye("x"))
    stays, other = desk.node("stays", user="many"), desk.node("other", user="many")
    assert len(roster._records["many"]) == MAX_RECORDS_PER_KEY
    assert len(roster.records_of("many")) == 2
    assert node_of(desk, "stays").record is roster.record((stays.user, "stays"))
    assert node_of(desk, "other").record is not node_of(desk, "stays").record
    assert other.user == stays.user


def test_jobs_that_fail_everywhere_tell_on_nobody_and_run_twice_at_the_most(desk: Desk) -> None:
    """Many of what `configure` compiles fail."""
    agent = desk.client("a")
    nodes = {desk.node("one", slots=2): 1, desk.node("two", slots=2): 1}
    runs = [compile_one(desk, agent, f"{number}", nodes) for number in range(60)]
    assert all(len(set(each)) == len(each) <= 2 for each in runs)
    assert len(answers(desk)) == 60
    assert all(node_of(desk, name).record.faults == 0 for name in ("one", "two"))
    assert not desk.got(agent, Refused)


def test_a_node_that_seldom_says_no_is_believed(desk: Desk) -> None:
    agent = desk.client("a")
    one = desk.node("one", slots=8)
    desk.node("two", slots=1)
    two = next(node.session for node in desk.machine.farm.nodes if node.session.name == "two")
    other = Origin(two.route, two.user, two.role)
    for number in range(4 * FAULT_WINDOW):
        is_bad = number % FAULT_WINDOW < DOUBTED_RESULTS - 1
        assert len(compile_one(desk, agent, f"{number}", {one: int(is_bad), other: 0})) == 1


def test_where_nobody_else_can_be_asked_the_result_is_delivered(desk: Desk) -> None:
    agent, one = desk.client("a"), desk.node("one", slots=8)
    twin = desk.node("twin", slots=8, user=one.user)
    for number in range(2 * FAULT_WINDOW):
        assert len(compile_one(desk, agent, f"{number}", {one: 1, twin: 1})) == 1
    assert len(answers(desk)) == 2 * FAULT_WINDOW
