"""What one key says that its jobs cost sets its own place and nobody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.limits import LEAST_RUN_LIMIT_S, STARTUP_GRACE_S
from broker.scheduling.memory import was_stopped
from broker.scheduling.queue import Lane, Queue
from broker.scheduling.turns import Charge, Turns
from cache.digest import Digest, digest_of
from tests.support.broker_world import FakeAgent, World, blob, job
from zcc.traits import Traits


def key(name: str) -> Digest:
    return digest_of(name.encode())


def farm_of(nodes: int, slots: int, *names: str) -> tuple[World, list[FakeAgent]]:
    world = World(5)
    world.desk.validates_each = 20
    for number in range(nodes):
        world.node(f"n{number}", slots)
    agents = [world.agent(name) for name in names]
    world.run(STARTUP_GRACE_S + 1.0)
    return world, agents


def keep(world: World, agent: FakeAgent, count: int, hint_s: float) -> None:
    """It has so many jobs here, which take a second and are said to take so long."""
    while len(agent.waiting) < count:
        facts = job(f"{agent.name}-{agent.next_ticket}", inputs=(), hint_s=hint_s, build=agent.name)
        agent.submit(facts)
        world.takes(facts, 1.0)


def test_a_turn_is_settled_with_who_was_charged_by_the_weight_that_it_had() -> None:
    queue, nice = Queue(), Lane("u", "nice", b"")
    queue.push(key("first"), nice, 1.0)
    line = queue.first()
    assert line is not None
    turn = queue.charge(line, 3600.0, 0.1)
    queue.remove(key("first"))
    for user in ("u", "v"):  # the lane that was charged is gone, and comes anew
        queue.push(key(user), Lane(user, "nice", b""), 1.0)
    turn.settle(1.0)
    lanes, users = queue._lanes["u"], queue._users
    assert lanes._served_s == {nice: 0.0}
    assert users._served_s == {"u": pytest.approx(10.0), "v": 0.0}


def test_a_price_that_is_refunded_sets_nobodys_place() -> None:
    turns: Turns[str] = Turns()
    turns.add("liar")
    prices = [turns.charge("liar", 3600.0) for _ in range(16)]
    turns.add("honest")
    for price in prices:
        price.settle(1.0)
    behind = 0
    while turns.first() == "honest":
        turns.charge("honest", 1.0)
        behind += 1
    assert behind <= 17
    assert turns._served_s["honest"] <= turns._served_s["liar"] + 1.0


def test_nobody_saves_up_turns_by_a_price_that_was_too_high() -> None:
    turns: Turns[str] = Turns()
    turns.add("liar")
    turns.add("honest")
    price = turns.charge("liar", 3600.0)
    for _ in range(1_000):
        turns.charge("honest", 1.0).settle(1.0)
    price.settle(1.0)
    assert turns._served_s == {"liar": 1_000.0, "honest": 1_000.0}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("come", "leave", "serve", "settle")),
            st.integers(0, 3),
            st.floats(0.01, 100.0),
        ),
        max_size=200,
    )
)
def test_a_settled_price_puts_nobody_behind_the_others(
    steps: list[tuple[str, int, float]],
) -> None:
    turns: Turns[int] = Turns()
    prices: list[tuple[Charge[int], float]] = []
    for what, who, seconds in steps:
        if what == "come" and who not in turns:
            turns.add(who)
        elif what == "leave" and who in turns:
            turns.remove(who)
        elif what == "serve" and (first := turns.first()) is not None:
            prices.append((turns.charge(first, 100.0 * seconds), seconds))
        elif what == "settle" and prices:
            price, truth_s = prices.pop(who % len(prices))
            before = dict(turns._served_s)
            turns.settle(price, truth_s)
            now = turns._served_s.get(price.item)
            if now is not None:
                # Not past the least that anybody has had without what is not settled.
                first = min(before, key=lambda each: before[each])
                least = before[first] - sum(
                    each.seconds for each, _ in [*prices, (price, 0.0)] if each.item == first
                )
                assert now >= min(before[price.item], least) - 1e-6
    for price, truth_s in prices:
        turns.settle(price, truth_s)
    assert not turns._open


@pytest.mark.parametrize("lie_s", [1.0, 3600.0])
def test_no_hint_starves_another_key(lie_s: float) -> None:
    world, (honest, liar) = farm_of(2, 4, "honest", "liar")
    done = []
    for step in range(240):
        keep(world, honest, 4, 1.0)
        keep(world, liar, 30, lie_s if 40 < step < 80 else 1.0)
        world.run(0.25)
        if step in (120, 239):
            done.append(len(honest.finished))
    # Its four jobs at a time have half of eight slots at the best, less the way.
    assert done[1] - done[0] > 50


def test_the_first_submitters_hint_is_not_what_others_are_charged_by() -> None:
    shares = []
    for lie_s in (1.0, 3600.0):
        world, (victim, bystander, first) = farm_of(2, 4, "victim", "bystander", "first")
        for _ in range(160):
            while len(victim.waiting) < 30:
                facts = job(f"shared{victim.next_ticket}", inputs=(), build="v")
                first.submit(replace(facts, hint_s=lie_s, build="mine"))
                victim.submit(facts)
                world.takes(facts, 1.0)
            keep(world, bystander, 30, 1.0)
            world.run(0.25)
        shares.append(len(bystander.finished))
        for queue in (world.desk.machine.farm.queue, world.desk.machine.farm.ready):
            assert all(served_s > -1.0 for served_s in queue._users._served_s.values())
    assert shares[1] == pytest.approx(shares[0], rel=0.15)


def test_who_waits_for_anothers_run_waits_by_what_he_expects_himself() -> None:
    world, (first, victim, others) = farm_of(0, 0, "first", "victim", "others")
    world.node("silent", 1, answers=False)
    facts = job("shared", inputs=())
    first.submit(replace(facts, hint_s=3600.0))
    world.run(0.5)
    ticket = victim.submit(facts)
    for _ in range(round(2 * LEAST_RUN_LIMIT_S)):
        keep(world, others, 4, 1.0)
        world.run(1.0)
        if ticket in victim.refused:
            break
    assert victim.refused[ticket] == "nodes-failed"
    assert world.now < 1.5 * LEAST_RUN_LIMIT_S + 100.0
    assert first.waiting, "nor is the run taken away from who expects it to take long"


def test_a_job_is_given_the_memory_that_the_key_whose_turn_it_is_knows_of() -> None:
    """What one key calls a huge source is an ordinary one by another's word; what a node says of this very job
    holds for both."""
    world, (first, victim) = farm_of(0, 0, "first", "victim")
    farm = world.desk.machine.farm
    facts = job("shared", inputs=())
    huge, plain = (Traits(blob(name)[:16], 1 << 20, True, 2, 0, 0) for name in ("huge", "plain"))
    farm.model.costs.needs_more(first.origin.user, facts.toolchain, huge, 1 << 40, "user-n")
    node = world.node("n", 1, answers=False)
    busy = world.agent("busy")
    busy.submit(job("busy", inputs=()))
    world.run(0.5)
    first.submit(replace(facts, traits=huge))
    victim.submit(replace(facts, traits=plain))
    world.run(0.5)
    execution = farm.executions[facts.key]
    users = first.origin.user, victim.origin.user
    seen = [farm.seen_by(execution, user).memory_bytes for user in users]
    assert seen[0] > 1 << 40 > 1 << 33 > seen[1]
    was_stopped(farm, execution, node.origin.user, 1 << 34, world.now)
    assert all(farm.seen_by(execution, user).memory_bytes > 1 << 34 for user in users)
