"""Nodes with fast and slow lines, some of which lack the toolchain (tests/sim/lines.py, bench/lines.py)."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from broker.core.limits import RECALL_GAIN_S, STARTUP_GRACE_S
from tests.sim.lines import FARMS, TOOLCHAIN_BYTES, LinedNode, LinedWorld, run
from tests.support.broker_world import FakeAgent, blob, job
from zcc.messages import Busy

SEEDS = (1, 2, 3)


def took_s(name: str, build: int, *, is_flat: bool = False, has_cold: bool = True) -> float:
    farm = next(each for each in FARMS if each.name == name)
    runs = [run(farm, seed, is_flat=is_flat, has_cold=has_cold)[1] for seed in SEEDS]
    return statistics.median(builds[build].took_s for builds in runs)


def test_a_cold_node_on_a_slow_line_does_not_hold_a_users_build_beside_anothers() -> None:
    """Nothing rescues jobs that wait there while others wait for slots: they waited for the whole toolchain."""
    name = "a slow one is cold, of two users"
    measured_s = took_s(name, 0)
    assert measured_s <= 1.1 * took_s(name, 0, has_cold=False)
    assert measured_s <= 0.25 * took_s(name, 0, is_flat=True)


@pytest.mark.parametrize("name", ["one slow node is cold", "half are cold, slow"])
def test_slow_nodes_without_the_toolchain_cost_no_more_than_their_absence(name: str) -> None:
    assert took_s(name, 0) <= 1.05 * took_s(name, 0, has_cold=False)


def test_builds_end_near_the_bound_where_lines_are_mixed() -> None:
    farm = next(each for each in FARMS if each.name == "nobody has it")
    for seed in SEEDS:
        for times in run(farm, seed)[1]:
            assert times.ratio <= 1.3


class Shop:
    """A farm of one node that has the toolchain, and a build on it that keeps it full."""

    def __init__(self, mbit: float, make: Callable[[LinedWorld], LinedNode] | None = None) -> None:
        self.world = LinedWorld(1)
        self.warm = self.world.lined("warm", 4, 1000)
        self.warm.toolchains.add(blob("gcc"))
        self.agent = self.world.agent("a")
        self.world.run(STARTUP_GRACE_S + 1.0)
        self.build(8)
        self.cold = make(self.world) if make else self.world.lined("cold", 4, mbit)
        self.joined_at = self.world.now

    def build(self, count: int) -> None:
        for _ in range(count):
            self.agent.submit(job(f"j{self.agent.next_ticket}", inputs=(), hint_s=1.0))
        self.world.run_until(lambda: not self.agent.waiting)

    def goes_on(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            while len(self.agent.waiting) < 16:
                self.agent.submit(job(f"j{self.agent.next_ticket}", inputs=(), hint_s=1.0))
            self.world.run(0.05)

    def begun_after_s(self, node: LinedNode) -> float:
        return (
            next(at for at, line in self.world.story if line.startswith(f"{node.name} runs"))
            - self.joined_at
        )


def test_a_cold_node_on_a_fast_line_is_used_within_seconds_when_others_are_full() -> None:
    shop = Shop(1000)
    shop.goes_on(5.0)
    assert shop.begun_after_s(shop.cold) <= 2.0
    assert len(shop.cold.running) == 4


def test_a_slow_line_brings_its_toolchain_and_no_job_waits_for_it() -> None:
    """The node has no job that another node could have done meanwhile, and is full when it has the
    toolchain."""
    shop, waits = Shop(10), []
    way_s = TOOLCHAIN_BYTES / shop.cold.bytes_per_s
    while shop.world.now < shop.joined_at + way_s - 5.0:
        shop.goes_on(0.25)
        waits.append(len(shop.cold.waiting))
    # At first nothing is known of its line.
    assert not any(waits[8:])
    assert shop.cold.left_bytes
    shop.goes_on(10.0)
    assert len(shop.cold.running) == 4
    assert shop.begun_after_s(shop.cold) <= way_s + 2.0


def test_a_job_is_taken_back_from_a_node_that_turns_out_to_be_far() -> None:
    shop = Shop(10)
    shop.goes_on(8.0)
    assert shop.cold.left_bytes, "it was never asked to fetch"
    assert not shop.cold.waiting
    (node,) = [each for each in shop.world.desk.machine.farm.nodes if each.session.name == "cold"]
    arrival_s = node.supplies.arrival_s(blob("gcc"), TOOLCHAIN_BYTES, shop.world.now)
    assert arrival_s == pytest.approx(TOOLCHAIN_BYTES / shop.cold.bytes_per_s - 8.0, rel=0.25)
    assert arrival_s > 1.0 + RECALL_GAIN_S


@pytest.mark.parametrize("lie", ["takes_at_once", "begins_at_once"])
def test_a_node_that_lies_looks_nearer_for_one_toolchain(lie: str) -> None:
    def make(world: LinedWorld) -> LinedNode:
        begins_at_once = lie == "begins_at_once"
        return world.lined("cold", 4, 10, takes_at_once=True, begins_at_once=begins_at_once)

    shop = Shop(10, make)
    shop.goes_on(60.0)
    (node,) = [each for each in shop.world.desk.machine.farm.nodes if each.session.name == "cold"]
    arrival_s = node.supplies.arrival_s(blob("clang"), TOOLCHAIN_BYTES, shop.world.now)
    assert arrival_s >= 0.75 * TOOLCHAIN_BYTES / shop.cold.bytes_per_s


def test_an_agent_is_told_of_the_way_that_is_left() -> None:
    """What it is told decides whether it compiles at home."""
    world = LinedWorld(1)
    cold, agent = world.lined("cold", 1, 10), world.agent("a")
    world.run(STARTUP_GRACE_S + 1.0)
    agent.submit(job("x", inputs=(), hint_s=1.0))
    world.run(5.0)
    ticket = agent.submit(job("y", inputs=(), hint_s=1.0))
    world.run(1.0)
    told_s = told(world, agent)[ticket]
    assert told_s == pytest.approx(TOOLCHAIN_BYTES / cold.bytes_per_s - 5.0, rel=0.25)


def told(world: LinedWorld, agent: FakeAgent) -> dict[int, float]:
    said = world.desk.sent[agent.origin.route]
    return {each.ticket: each.expected_s for each in said if isinstance(each, Busy)}


def test_a_job_does_not_leave_a_node_that_unpacks_for_one_that_has_nothing() -> None:
    world = LinedWorld(1)
    nodes = [world.lined(f"n{number}", 2, 1000) for number in range(3)]
    for node in nodes:
        node.unpacking_s = 20.0
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S + 1.0)
    agent.submit(job("x", inputs=(), hint_s=1.0))
    world.run_until(lambda: not agent.waiting)
    assert sum(bool(node.wanted) for node in nodes) == 1
