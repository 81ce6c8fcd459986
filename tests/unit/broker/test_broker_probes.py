"""A node that was slow once is tried again, and believed."""

from __future__ import annotations

import pytest

from broker.core.limits import LOOK_AT_NODES_S, STARTUP_GRACE_S
from broker.scheduling.model import HALF_LIFE_S, STALE_S, Model, cost_class
from cache.digest import digest_of
from tests.support.broker_world import FakeAgent, FakeNode, World, job

GCC = digest_of(b"gcc")
CLASS = cost_class(GCC, 1.0, 0)
GOOD, BAD = ("k", "good"), ("k", "bad")


def rated(now: float = 0.0) -> Model:
    """One node is four times as fast as the other, and both are well known."""
    model = Model()
    for _ in range(300):
        for node, took_s in ((GOOD, 1.0), (BAD, 4.0)):
            model.observe(node, CLASS, 1.0, took_s, took_s, now=now)
    return model


def test_a_rating_drifts_to_the_mean_by_half_in_half_an_hour() -> None:
    model = rated()
    before = model.speed(GOOD) / model.speed(BAD)
    assert model.drift(STALE_S, LOOK_AT_NODES_S) == []
    assert set(model.drift(STALE_S + HALF_LIFE_S, HALF_LIFE_S)) == {GOOD, BAD}
    assert model.speed(GOOD) / model.speed(BAD) == pytest.approx(before**0.5)


def test_the_first_job_after_a_pause_says_all_where_a_node_has_changed() -> None:
    model = rated()
    later = STALE_S + 1
    assert model.is_stale(BAD, later)
    assert not model.is_stale(GOOD, later), "it is not slow"
    assert not model.is_stale(BAD, STALE_S / 2)
    cost_s = model.cost_s(CLASS, 1.0)
    fast_s = cost_s / model.speed(GOOD)
    model.observe(BAD, CLASS, 1.0, fast_s, fast_s, now=later)
    assert model.speed(BAD) / model.speed(GOOD) > 0.6
    assert not model.is_stale(BAD, later + 1)


def test_the_first_job_after_a_pause_says_little_where_it_has_not() -> None:
    model = rated()
    before = model.speed(GOOD)
    took_s = 1.3 * model.cost_s(CLASS, 1.0) / before
    model.observe(GOOD, CLASS, 1.0, took_s, took_s, now=STALE_S + 1)
    assert model.speed(GOOD) == pytest.approx(before, rel=0.1)


def test_an_owner_s_load_that_has_gone_is_forgotten_at_once() -> None:
    model = rated()
    for _ in range(300):
        model.observe(GOOD, CLASS, 1.0, 1.0, 8.0)
    assert model.slowdown(GOOD) > 4.0
    model.observe(GOOD, CLASS, 1.0, 1.0, 1.0, now=STALE_S + 1)
    assert model.slowdown(GOOD) == pytest.approx(1.0, rel=0.1)


def keep_busy(world: World, agent: FakeAgent, seconds: float, name: str) -> None:
    """A build that never asks for more than the fast node alone can do."""
    end, number = world.now + seconds, 0
    while world.now < end:
        while len(agent.waiting) < 3:
            number += 1
            agent.submit(job(f"{name}{number}", inputs=(), hint_s=0.5))
        world.run(0.25)


def jobs_on(world: World, node: FakeNode, since: float) -> int:
    return sum(at >= since and text.startswith(f"{node.name} runs") for at, text in world.story)


def test_a_node_that_was_slow_once_is_back_within_two_minutes_on_a_calm_farm() -> None:
    world = World(3)
    good = world.node("good", 4, speed=1.0)
    once = world.node("once", 4, speed=0.1)
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S + 1)
    for number in range(60):
        agent.submit(job(f"first{number}", inputs=(), hint_s=1.0))
    world.run_until(lambda: not agent.waiting)
    model = world.desk.machine.farm.model
    slow = model.speed(("user-once", "once")) / model.speed(("user-good", "good"))
    assert slow < 0.3
    once.speed = 1.0
    recovered = world.now
    keep_busy(world, agent, 120.0, "later")
    assert jobs_on(world, good, recovered) > 100
    assert model.speed(("user-once", "once")) / model.speed(("user-good", "good")) > 0.7
    assert jobs_on(world, once, recovered) >= 1


@pytest.mark.long
def test_a_node_that_stays_slow_is_given_one_short_job_a_minute_at_the_most() -> None:
    world = World(4)
    world.node("good", 4, speed=1.0)
    slow = world.node("slow", 4, speed=0.1)
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S + 1)
    for number in range(60):
        agent.submit(job(f"first{number}", inputs=(), hint_s=1.0))
    world.run_until(lambda: not agent.waiting)
    since = world.now
    keep_busy(world, agent, 300.0, "later")
    assert 1 <= jobs_on(world, slow, since) <= 6
