"""A node is rated by what runs there, when that takes longer than it should, and by nobody's jobs alone."""

from __future__ import annotations

import math

import pytest

from broker.core.limits import STARTUP_GRACE_S
from broker.scheduling.model import MAX_RATING, Model, cost_class
from tests.support.broker_world import FakeAgent, FakeNode, World, blob, job
from zcc.messages import Cancel

CLASS = cost_class(blob("gcc"), 1.0, 0)


def farm_of(count: int) -> tuple[World, list[FakeNode]]:
    """Nodes of four slots that have compiled before."""
    world = World(3)
    nodes = [world.node(f"n{number}", 4) for number in range(count)]
    agent = world.agent("before")
    world.run(STARTUP_GRACE_S + 1.0)
    for number in range(40 * count):
        agent.submit(job(f"before{number}", inputs=(), hint_s=1.0))
    world.run_until(lambda: not agent.waiting)
    return world, nodes


def submit(world: World, agent: FakeAgent, name: str, count: int, took_s: float = 20.0) -> None:
    """Jobs that are said to take 20 s."""
    for number in range(count):
        facts = job(f"{name}{number}", inputs=(), hint_s=20.0)
        world.takes(facts, took_s)
        agent.submit(facts)


def slowdown(world: World, node: FakeNode) -> float:
    return world.desk.machine.farm.model.slowdown((node.origin.user, node.name))


def test_a_node_that_slows_down_is_rated_before_anything_ends_there() -> None:
    world, nodes = farm_of(3)
    agent = world.agent("a")
    submit(world, agent, "long", 15)
    world.run(2.0)
    slow = nodes[0]
    ahead = set(slow.waiting)
    assert ahead
    assert len(slow.running) == 4
    begun = dict(slow.ends_at)
    slow.slow_down(0.01)
    # Of the others the jobs have ended by then, and new ones run.
    submit(world, agent, "more", 16)
    world.run_until(lambda: slowdown(world, slow) > 2.0)
    world.run(0.5)
    assert set(slow.running) == set(begun)
    assert not set(slow.waiting) & ahead, "what it had not begun goes to others"
    assert max(slowdown(world, each) for each in nodes[1:]) < 1.1


def test_one_keys_jobs_do_not_make_a_node_slow_beside_anothers() -> None:
    world, nodes = farm_of(3)
    liar, honest = world.agent("liar"), world.agent("honest")
    submit(world, liar, "liar", 9)
    world.run(0.5)
    submit(world, honest, "honest", 60)
    world.run(0.5)
    node = nodes[0]
    assert len(node.running) == 4
    of_liar = [lease for lease, run in node.running.items() if run.client == liar.origin.user]
    assert len(of_liar) == 3
    for lease in of_liar:
        node.ends_at[lease] += 300.0
    for _ in range(300):
        world.run(0.5)
        assert slowdown(world, node) < 1.1
    assert set(of_liar) < set(node.running)


def sleepers(world: World, agent: FakeAgent, name: str, hint_s: float, count: int) -> list[int]:
    tickets = []
    for number in range(count):
        facts = job(f"{name}{number}", inputs=(), hint_s=hint_s)
        world.takes(facts, 1e6)
        tickets.append(agent.submit(facts))
    return tickets


def call_off(
    world: World, agent: FakeAgent, tickets: list[int], but: FakeNode | None = None
) -> None:
    """All of these that are not on this node."""
    kept = {run.key for run in but.running.values()} if but is not None else set()
    for ticket in tickets:
        if ticket in agent.waiting and agent.waiting[ticket].key not in kept:
            del agent.waiting[ticket]
            world.say(agent, Cancel(ticket))


def late_runs_on(world: World, agent: FakeAgent, node: FakeNode) -> list[int]:
    """A key's runs are late on this node alone, by its own word of what they take."""
    short = sleepers(world, agent, f"short-{node.name}", 0.02, 12)
    world.run(1.0)
    call_off(world, agent, short, but=node)
    long = sleepers(world, agent, f"long-{node.name}", 50.0, 8)
    world.run_until(lambda: slowdown(world, node) > 5.0)
    return short + long


def test_what_runs_alone_have_said_is_void_when_they_end_without_a_result() -> None:
    world, nodes = farm_of(3)
    liar = world.agent("liar")
    tickets = late_runs_on(world, liar, nodes[0])
    call_off(world, liar, tickets)
    world.run(1.0)
    assert slowdown(world, nodes[0]) == pytest.approx(1.0, rel=0.1)


def test_one_keys_runs_rate_no_node_for_another() -> None:
    world, nodes = farm_of(3)
    liar, honest = world.agent("liar"), world.agent("honest")
    late_runs_on(world, liar, nodes[0])
    submit(world, honest, "honest", 3)
    world.run(1.0)
    assert slowdown(world, nodes[0]) == pytest.approx(1.0, rel=0.1)


def test_what_result_ends_there_says_all_and_nothing_is_taken_back() -> None:
    model, node = Model(), ("k", "n")
    for _ in range(20):
        model.observe(node, CLASS, 1.0, 1.0, 1.0)
    model.note_slower(node, 8.0, 0.0)
    assert model.is_rated_by_runs(node)
    model.observe(node, CLASS, 1.0, 1.0, 8.0)
    assert not model.is_rated_by_runs(node)
    model.take_back_slower(node)
    assert model.slowdown(node) > 4.0


@pytest.mark.long
def test_a_stale_rating_does_not_bar_the_job_that_corrects_it() -> None:
    """However long the jobs are, while slots idle and jobs wait."""
    world, nodes = farm_of(4)
    farm = world.desk.machine.farm
    for node in nodes[:3]:
        farm.model.note_slower((node.origin.user, node.name), 64.0, world.now)
    for each in farm.nodes:
        farm.seats.touch(each)
    agent = world.agent("a")
    for _ in range(150):
        while len(agent.waiting) < 30:
            facts = job(f"j{agent.next_ticket}", inputs=(), hint_s=8.0)
            world.takes(facts, 8.0)
            agent.submit(facts)
        world.run(1.0)
    assert [slowdown(world, node) for node in nodes] == pytest.approx([1.0] * 4, rel=0.2)


def test_where_all_nodes_are_late_it_was_the_prediction() -> None:
    world, nodes = farm_of(3)
    agent = world.agent("a")
    submit(world, agent, "long", 12, took_s=200.0)
    world.run(100.0)
    assert [len(node.running) for node in nodes] == [4, 4, 4]
    assert [slowdown(world, node) for node in nodes] == pytest.approx([1.0] * 3, rel=0.1)


def test_what_is_learnt_of_a_node_changes_nothing_for_others() -> None:
    model = Model()
    for node in ("good", "bad"):
        for _ in range(100):
            model.observe((node, node), CLASS, 1.0, 1.0, 1.0)
    ratio = model.cost_s(CLASS, 1.0) / model.speed(("good", "good"))
    model.note_slower(("bad", "bad"), 10.0, 0.0)
    for _ in range(5):
        model.observe(("bad", "bad"), CLASS, 1.0, 10.0, 10.0)
    assert model.speed(("good", "good")) / model.speed(("bad", "bad")) == pytest.approx(10, rel=0.1)
    expected = model.wall_s(model.cost_s(CLASS, 1.0), ("good", "good"))
    assert expected == pytest.approx(ratio, rel=0.2)


def test_a_key_with_many_names_has_one_voice_and_no_rating_without_bounds() -> None:
    model = Model()
    others = [(f"k{number}", "n") for number in range(3)]
    for each in others:
        for _ in range(20):
            model.observe(each, CLASS, 1.0, 1.0, 1.0)
    for round_ in range(40):
        for number in range(60):
            now = 61.0 * round_
            model.observe(("liar", f"n{number}"), CLASS, 1.0, 0.001, 3600.0, now=now)
    least = math.exp(-MAX_RATING / 4) * 0.8
    assert min(model.speed(each) for each in others) > least
    assert math.isfinite(math.exp(model.ln_rate(("liar", "n0"))))
