"""Whoever comes begins where those before him stood, though nobody waits at the moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.limits import STARTUP_GRACE_S
from broker.scheduling.turns import Charge, Turns
from tests.support.broker_world import FakeAgent, World, job
from zcc.messages import Cancel


def keep(world: World, agent: FakeAgent, count: int, hint_s: float = 1.0) -> None:
    """It has so many jobs here, which take about a second and are said to take so long."""
    while len(agent.waiting) < count:
        facts = job(f"{agent.name}-{agent.next_ticket}", inputs=(), hint_s=hint_s, build=agent.name)
        agent.submit(facts)
        world.takes(facts, world.rng.uniform(0.6, 1.4))


def farm_of_16_slots(*names: str) -> tuple[World, list[FakeAgent]]:
    world = World(3)
    world.desk.validates_each = 20
    for number in range(4):
        world.node(f"n{number}", 4)
    agents = [world.agent(name) for name in names]
    world.run(STARTUP_GRACE_S + 1.0)
    return world, agents


def answered_beside(world: World, few: FakeAgent, many: FakeAgent, seconds: float) -> int:
    """How many jobs of `few` are answered, who has 8 at a time, beside one who has 60."""
    before, end = len(few.finished), world.now + seconds
    while world.now < end:
        keep(world, many, 60)
        keep(world, few, 8)
        world.run(0.25)
    return len(few.finished) - before


def test_who_has_built_alone_stands_behind_nobody_who_comes_later() -> None:
    world, (early, late) = farm_of_16_slots("early", "late")
    end = world.now + 120.0
    while world.now < end:
        keep(world, early, 8)
        world.run(0.25)
    assert answered_beside(world, early, late, 20.0) >= 70


@pytest.mark.long
def test_jobs_that_were_called_off_set_nobody_behind_who_comes_later() -> None:
    world, (liar, honest, late) = farm_of_16_slots("liar", "honest", "late")
    for step in range(40):
        keep(world, liar, 60, hint_s=3600.0)
        if step > 10:
            keep(world, honest, 8)
        world.run(0.25)
        for ticket in list(liar.waiting):
            world.say(liar, Cancel(ticket))
            del liar.waiting[ticket]
    while honest.waiting:
        world.run(0.25)
    assert answered_beside(world, honest, late, 20.0) >= 70


def test_the_place_goes_on_from_what_the_last_one_had_and_not_from_its_price() -> None:
    turns: Turns[str] = Turns()
    turns.add("early")
    turns.charge("early", 10.0).settle(10.0)
    price = turns.charge("early", 3600.0)
    turns.remove("early")
    turns.add("second")
    assert turns._served_s["second"] == pytest.approx(10.0)
    turns.remove("second")
    price.settle(5.0)
    turns.add("third")
    turns.add("early")
    assert turns._served_s == {"third": pytest.approx(15.0), "early": pytest.approx(15.0)}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("come", "leave", "all-leave", "serve", "settle")),
            st.integers(0, 3),
            st.floats(0.01, 100.0),
        ),
        max_size=200,
    )
)
def test_who_comes_is_before_others_by_no_more_than_they_had_beside_somebody(
    steps: list[tuple[str, int, float]],
) -> None:
    turns: Turns[int] = Turns()
    prices: list[tuple[Charge[int], bool]] = []
    beside_s = dict.fromkeys(range(4), 0.0)
    for what, who, seconds in steps:
        if what == "come" and who not in turns:
            turns.add(who)
        elif what == "leave" and who in turns:
            turns.remove(who)
        elif what == "all-leave":
            for each in list(turns._served_s):
                turns.remove(each)
        elif what == "serve" and who in turns:
            prices.append((turns.charge(who, seconds), len(turns) > 1))
        elif what == "settle" and prices:
            price, was_beside = prices.pop(who % len(prices))
            price.settle(price.seconds)
            if was_beside or any(each != price.item for each in turns._served_s):
                beside_s[price.item] += price.seconds
        if not len(turns):
            for each, left_s in turns._left.items():
                open_s = sum(price.seconds for price, _ in prices if price.item == each)
                assert left_s - turns._least_s() <= beside_s[each] + open_s + 1e-6
