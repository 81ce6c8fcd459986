"""Whole farms on a virtual clock, through the machine that runs in production."""

from __future__ import annotations

import math

import pytest

from broker.core import effects, events
from broker.core.limits import LEAST_RUN_LIMIT_S, STARTUP_GRACE_S
from broker.trust.standing import TrialOutcome
from tests.support.broker_world import FakeAgent, FakeNode, JobFacts, World, job


def farm(seed: int = 1, nodes: int = 4, slots: int = 4) -> World:
    world = World(seed)
    for number in range(nodes):
        world.node(f"node{number}", slots)
    world.run(STARTUP_GRACE_S)
    return world


def jobs(world: World, count: int, prefix: str = "j") -> list[JobFacts]:
    return [
        job(
            f"{prefix}{number}",
            inputs=(f"{prefix}{number}.c", "common.h"),
            hint_s=math.exp(world.rng.gauss(0.0, 0.8)),
        )
        for number in range(count)
    ]


def assert_all_answered(agent: FakeAgent, count: int) -> None:
    assert not agent.waiting
    assert len(agent.finished) + len(agent.refused) == count


def test_a_build_is_done_in_near_the_time_that_its_work_needs() -> None:
    world = farm(nodes=4, slots=4)
    agent = world.agent("a")
    world.run(1.0)
    work = jobs(world, 300)
    begun = world.now
    for facts in work:
        agent.submit(facts)
    world.run_until(lambda: not agent.waiting)
    assert len(agent.finished) == 300
    bound = sum(facts.hint_s for facts in work) / 16
    assert (world.now - begun) / bound < 1.25


def test_fast_nodes_get_more_and_the_build_ends_near_the_bound() -> None:
    world = World(3)
    speeds = (0.35, 0.6, 1.0, 1.2, 1.6)
    for number, speed in enumerate(speeds):
        world.node(f"node{number}", 6, speed=speed)
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S)
    work = jobs(world, 600)
    begun = world.now
    for facts in work:
        agent.submit(facts)
    world.run_until(lambda: not agent.waiting)
    bound = sum(facts.hint_s for facts in work) / (6 * sum(speeds))
    assert (world.now - begun) / bound < 1.4


def test_an_interactive_job_overtakes_a_build_of_hundreds() -> None:
    world = farm(nodes=2, slots=4)
    builder, typist = world.agent("builder"), world.agent("typist")
    world.run(1.0)
    for facts in jobs(world, 400):
        builder.submit(facts)
    world.run(5.0)
    begun = world.now
    typist.submit(job("mine", hint_s=0.5))
    world.run_until(lambda: not typist.waiting)
    assert typist.finished
    assert world.now - begun < 8.0
    assert len(builder.waiting) > 200


def test_nodes_that_are_lost_freeze_and_join_lose_no_job() -> None:
    world = farm(seed=7, nodes=5, slots=3)
    agents = [world.agent(f"agent{number}") for number in range(3)]
    world.run(1.0)
    for agent in agents:
        for facts in jobs(world, 120, prefix=agent.name):
            agent.submit(facts)
    nodes = [world.peers[f"node{number}".encode()] for number in range(5)]
    world.run(3.0)
    world.leave(nodes[0])
    nodes[1].is_frozen = True
    world.run(4.0)
    world.node("late", 6)
    world.run(4.0)
    nodes[1].is_frozen = False
    world.leave(nodes[2])
    world.run_until(lambda: not any(agent.waiting for agent in agents))
    for agent in agents:
        assert_all_answered(agent, 120)
        # One loss is made good; a job that two of the lost nodes had goes home.
        assert len(agent.finished) >= 115


def test_a_lost_agents_jobs_do_not_keep_the_farm_busy() -> None:
    world = farm()
    gone, here = world.agent("gone"), world.agent("here")
    world.run(1.0)
    for facts in jobs(world, 200, "gone"):
        gone.submit(facts)
    world.run(2.0)
    world.leave(gone)
    for facts in jobs(world, 20, "here"):
        here.submit(facts)
    world.run_until(lambda: not here.waiting)
    world.run(10.0)
    assert len(here.finished) == 20
    assert not world.desk.machine.farm.executions
    assert not world.running


def test_an_agent_without_its_files_gets_its_jobs_back_and_hinders_nobody() -> None:
    world = farm()
    broken, sound = world.agent("broken", has_files=False), world.agent("sound")
    world.run(1.0)
    for facts in jobs(world, 30, "broken"):
        broken.submit(facts)
    for facts in jobs(world, 30, "sound"):
        sound.submit(facts)
    world.run_until(lambda: not (broken.waiting or sound.waiting))
    assert set(broken.refused.values()) == {"input-absent"}
    assert len(sound.finished) == 30


def test_a_bad_node_is_put_aside_and_the_build_goes_on() -> None:
    world = World(5)
    bad = world.node("bad", 4, fault_share=1.0)
    for number in range(3):
        world.node(f"good{number}", 4)
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S)
    for facts in jobs(world, 200):
        agent.submit(facts)
    world.run_until(lambda: not agent.waiting)
    assert len(agent.finished) == 200
    tried = sum(f"{bad.name} runs" in line for _, line in world.story)
    assert tried < 40


def test_two_agents_that_build_the_same_run_each_job_once() -> None:
    world = farm()
    one, two = world.agent("one"), world.agent("two")
    world.run(1.0)
    for facts in jobs(world, 100):
        one.submit(facts)
        two.submit(facts)
    world.run_until(lambda: not (one.waiting or two.waiting))
    assert len(one.finished) == len(two.finished) == 100
    assert len(world.story) == len({line.split()[-1] for _, line in world.story}) == 100


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_restarted_broker_adopts_what_runs(seed: int) -> None:
    world = farm(seed=seed)
    agent = world.agent("a")
    world.run(1.0)
    for facts in jobs(world, 100):
        agent.submit(facts)
    world.run(3.0)
    running = {
        run.key for node in world.peers.values() for run in getattr(node, "running", {}).values()
    }
    assert running
    world.restart_broker()
    world.run_until(lambda: not agent.waiting)
    assert len(agent.finished) == 100
    names = [line.split()[-1] for _, line in world.story]
    again = len(names) - len(set(names))
    assert again <= 3, f"{again} jobs ran twice"


def test_the_same_seed_tells_the_same_story() -> None:
    def story() -> list[tuple[float, str]]:
        world = World(11)
        for number in range(3):
            world.node(f"node{number}", 2, speed=1.0 + number, fault_share=0.1)
        agents = [world.agent(f"agent{number}") for number in range(3)]
        world.run(STARTUP_GRACE_S)
        for agent in agents:
            for facts in jobs(world, 40, agent.name):
                agent.submit(facts)
        world.run(5.0)
        world.leave(world.peers[b"node1"])
        world.run_until(lambda: not any(agent.waiting for agent in agents))
        return world.story

    assert story() == story()


@pytest.mark.parametrize("nodes", [10, 100])
def test_no_slot_idles_while_jobs_are_ready_and_the_build_goes_on(nodes: int) -> None:
    """Nodes of mixed speeds, and a `make -jN` that fills up what is finished."""
    world = World(5)
    world.desk.validates_each = 50
    for number in range(nodes):
        world.node(f"node{number}", 4, speed=math.exp(world.rng.gauss(0.0, 0.4)))
    agents = [world.agent(f"agent{number}") for number in range(4)]
    world.run(STARTUP_GRACE_S)
    slots = 4 * nodes
    todo = {agent.name: jobs(world, 2 * slots, agent.name) for agent in agents}
    looks = idle = 0

    def fill_up() -> None:
        for agent in agents:
            while todo[agent.name] and len(agent.waiting) < slots // 2:
                agent.submit(todo[agent.name].pop())

    fill_up()
    world.run(3.0)
    while all(todo.values()):
        fill_up()
        world.run(0.1)
        if world.desk.machine.farm.ready:
            looks += slots
            idle += slots - len(world.running)
    assert looks
    assert idle / looks < 0.02


def test_jobs_that_a_slow_node_has_not_begun_are_taken_back_at_the_end() -> None:
    world = World(1)
    slow, fast = world.node("slow", 1, speed=0.05), world.node("fast", 4)
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S)
    for facts in jobs(world, 60):
        agent.submit(facts)
    world.run_until(lambda: not agent.waiting, at_most_s=200.0)
    begun = world.now
    # Now that their speeds are known: two jobs at the slow one, which the fast one could do at once.
    for number in range(6):
        agent.submit(job(f"last{number}", inputs=(), hint_s=1.0))
    world.run_until(lambda: not agent.waiting, at_most_s=200.0)
    assert world.now - begun < 30.0
    assert slow.is_alive
    assert fast.is_alive


def build_s(world: World, agent: FakeAgent, work: list[JobFacts], keeps: int) -> float:
    """How long a `make -jN` takes that keeps so many jobs here."""
    begun, left = world.now, list(work)
    while left or agent.waiting:
        while left and len(agent.waiting) < keeps:
            agent.submit(left.pop())
        world.run(0.05)
    return world.now - begun


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_node_that_becomes_slow_in_mid_build_costs_little_more_than_its_absence(
    seed: int,
) -> None:
    """It has 15% of its speed from a third of the build on, for what runs there too."""

    def took_s(nodes: int, is_one_slow: bool) -> float:
        world = World(seed)
        world.desk.validates_each = 50
        made = [world.node(f"n{number}", 4) for number in range(nodes)]
        agent = world.agent("a")
        world.run(STARTUP_GRACE_S)
        build_s(world, agent, jobs(world, 120, "before"), 2 * 4 * nodes)
        if is_one_slow:
            world.later(15.0, lambda: made[0].slow_down(0.15))
        took = build_s(world, agent, jobs(world, 1000), 2 * 4 * nodes)
        assert len(agent.finished) == 1120
        return took

    assert took_s(8, is_one_slow=True) <= 1.2 * took_s(7, is_one_slow=False)


def test_a_silent_node_costs_a_build_little_and_gets_no_more_jobs_of_it() -> None:
    """It says Started to whatever it is given, and never answers."""

    def took_s(*, is_there: bool) -> float:
        world = World(2)
        world.desk.validates_each = 50
        for number in range(7):
            world.node(f"n{number}", 4)
        if is_there:
            world.node("silent", 4).answers = False
        agent = world.agent("a")
        world.run(STARTUP_GRACE_S)
        took = build_s(world, agent, jobs(world, 1000), 56)
        assert len(agent.finished) == 1000
        assert not world.desk.machine.farm.leases
        return took

    assert took_s(is_there=True) <= 1.2 * took_s(is_there=False)


def test_a_silent_node_holds_no_job_while_others_wait_for_slots() -> None:
    """There is never a slot for a second copy: the limit ends it."""
    world = World(4)
    world.desk.validates_each = 50
    sound = world.node("sound", 1)
    world.node("silent", 1).answers = False
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S)
    took = build_s(world, agent, [job(f"j{n}", inputs=(), hint_s=1.0) for n in range(400)], 8)
    assert len(agent.finished) == 400
    assert sound.is_alive
    assert took < 400 + 2 * LEAST_RUN_LIMIT_S


def farm_with_a_bad_node(seed: int) -> tuple[World, FakeNode, list[FakeAgent]]:
    """Its jobs fail, of two agents that build without an end."""
    world = World(seed)
    world.desk.validates_each = 50
    bad = world.node("bad", 4, fault_share=1.0)
    for number in range(2):
        world.node(f"good{number}", 4)
    agents = [world.agent(name) for name in ("one", "two")]
    world.run(STARTUP_GRACE_S + 1.0)
    return world, bad, agents


def build_on(world: World, agents: list[FakeAgent], seconds: float) -> None:
    end = world.now + seconds
    while world.now < end:
        for agent in agents:
            while len(agent.waiting) < 8:
                agent.submit(job(f"{agent.name}{agent.next_ticket}", inputs=(), hint_s=0.5))
        world.run(0.25)


def runs_on(world: World, node: FakeNode, since: float) -> int:
    return sum(at >= since and line.startswith(f"{node.name} runs") for at, line in world.story)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_users_job_pays_for_a_node_that_stays_bad(seed: int) -> None:
    """Known jobs tell, as an examiner would: a real one is given to it when it is mended."""
    world, bad, agents = farm_with_a_bad_node(seed)

    def examine(due: effects.TryNode) -> list[events.Event]:
        is_bad = due.node == bad.name and bad.fault_share > 0
        outcome = TrialOutcome.FAILED if is_bad else TrialOutcome.PASSED
        against = frozenset(("user-one", "user-two")) if is_bad else frozenset()
        return [events.TrialEnded(due.session, due.node_key, due.node, outcome, against, 0)]

    world.desk.on_try = examine
    build_on(world, agents, 20.0)
    assert runs_on(world, bad, 0.0), "it has to be found bad"
    since = world.now
    build_on(world, agents, 100.0)
    assert runs_on(world, bad, since) == 0
    assert not any(agent.refused for agent in agents)
    bad.fault_share = 0.0
    build_on(world, agents, 150.0)
    assert runs_on(world, bad, since) > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_is_known_a_bad_node_has_one_job_at_a_time(seed: int) -> None:
    world, bad, agents = farm_with_a_bad_node(seed)
    build_on(world, agents, 20.0)
    since, most = world.now, 0
    for _ in range(100):
        build_on(world, agents, 1.0)
        most = max(most, len(bad.running) + len(bad.waiting))
    assert most == 1
    assert runs_on(world, bad, since) < 40
    assert not any(agent.refused for agent in agents)
    bad.fault_share = 0.0
    build_on(world, agents, 200.0)
    assert world.desk.machine.farm.nodes.record(("user-bad", "bad")).standing.is_trusted
