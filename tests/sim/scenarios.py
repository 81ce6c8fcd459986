"""Builds on which policies are compared: farms, jobs and what befalls them. The same for each policy.

A farm has compiled before, so that what is learnt of its nodes is known. Times are over a lower bound, which
no policy can reach: max(work / speed of all slots that the build's jobs can fill, longest job / fastest node).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from broker.core.limits import STARTUP_GRACE_S
from tests.sim.policies import follow
from tests.support.broker_world import FakeAgent, FakeNode, JobFacts, World, job

_STEP_S = 0.05
_WARM_UP_JOBS = 4
SLOWED_TO = 0.15


@dataclass(frozen=True)
class Scenario:
    """`spread` and `sigma` are of the logarithm, of speeds and costs. `window` is what each user keeps at the
    broker (`make -jN`), for each slot of his share. `far` nodes are `far_s` away. `slowed` nodes fall to
    SLOWED_TO of their speed at a third of the bound. `tail_s` is a last job of that cost."""

    name: str
    nodes: int = 10
    slots: int = 8
    jobs: int = 12  # for each slot
    spread: float = 0.0
    sigma: float = 0.5
    users: int = 1
    window: float = 2.0
    far: int = 0
    far_s: float = 0.1
    slowed: int = 0
    tail_s: float = 0.0


SCENARIOS = (
    Scenario("equal speeds, wide"),
    Scenario("equal speeds, narrow", window=0.5),
    Scenario("mixed speeds, wide", spread=0.4),
    Scenario("mixed speeds, narrow", spread=0.4, window=0.5),
    Scenario("very mixed speeds", spread=0.9),
    Scenario("costs far apart", spread=0.4, sigma=1.2),
    Scenario("two users", spread=0.4, users=2),
    Scenario("a node slowed", spread=0.2, slowed=1),
    Scenario("far nodes", spread=0.4, sigma=0.5, far=5),
    Scenario("one long job last", spread=0.4, tail_s=20.0),
)


def speeds_of(scenario: Scenario, rng: random.Random) -> list[float]:
    return [math.exp(rng.gauss(0.0, scenario.spread)) for _ in range(scenario.nodes)]


def costs_of(scenario: Scenario, rng: random.Random) -> list[float]:
    count = scenario.nodes * scenario.slots * scenario.jobs
    costs = [min(60.0, math.exp(rng.gauss(0.5, scenario.sigma))) for _ in range(count)]
    return [*costs, scenario.tail_s] if scenario.tail_s else costs


def bound_s(scenario: Scenario, speeds: list[float], costs: list[float]) -> float:
    """Seconds that any schedule needs, which knew of everything from the start."""
    window = round(scenario.window * scenario.nodes * scenario.slots)
    power = _power(speeds, scenario.slots, window)
    work_s = sum(costs) / power
    if scenario.slowed:
        at_s = work_s / 3
        slowed = [speed * SLOWED_TO for speed in speeds[: scenario.slowed]]
        left = _power([*slowed, *speeds[scenario.slowed :]], scenario.slots, window)
        work_s = at_s + (sum(costs) - at_s * power) / left
    return max(work_s, max(costs) / max(speeds))


def _power(speeds: list[float], slots: int, window: int) -> float:
    return sum(sorted((each for each in speeds for _ in range(slots)), reverse=True)[:window])


class Run:
    """One scenario under one policy."""

    def __init__(self, scenario: Scenario, policy: str, seed: int) -> None:
        self._scenario = scenario
        rng = random.Random(seed)
        self._speeds, self._costs = speeds_of(scenario, rng), costs_of(scenario, rng)
        self._warm_up = [
            math.exp(rng.gauss(0.5, scenario.sigma))
            for _ in range(scenario.nodes * scenario.slots * _WARM_UP_JOBS)
        ]
        self.world = World(seed)
        self.world.desk.validates_each = 0
        self._nodes = [self._node(number) for number in range(scenario.nodes)]
        self._agents = [self.world.agent(f"a{number}") for number in range(scenario.users)]
        self.world.run(STARTUP_GRACE_S + 1.0)
        follow(self.world.desk.machine, policy)

    def ratio(self) -> float:
        """The time of the build over its bound."""
        self._build("before", self._warm_up)
        bound = bound_s(self._scenario, self._speeds, self._costs)
        begun = self.world.now
        self._build("build", self._costs, slow_at=begun + bound / 3)
        return (self.world.now - begun) / bound

    def _node(self, number: int) -> FakeNode:
        scenario = self._scenario
        # The last ones, as the first are slowed.
        is_far = number >= scenario.nodes - scenario.far
        speed = self._speeds[number]
        node = self.world.node(f"n{number}", scenario.slots, speed=speed)
        node.far_s = scenario.far_s if is_far else 0.0
        return node

    def _build(self, name: str, costs: list[float], slow_at: float = math.inf) -> None:
        todo = [self._jobs(name, costs, user) for user in range(self._scenario.users)]
        scenario = self._scenario
        window = round(scenario.window * scenario.nodes * scenario.slots / scenario.users)
        while any(todo) or any(agent.waiting for agent in self._agents):
            for agent, jobs in zip(self._agents, todo, strict=True):
                self._fill_up(agent, jobs, window)
            self.world.run(_STEP_S)
            if self.world.now >= slow_at:
                slow_at = math.inf
                for node in self._nodes[: scenario.slowed]:
                    node.slow_down(SLOWED_TO)

    def _jobs(self, name: str, costs: list[float], user: int) -> list[JobFacts]:
        """A user's share, the next one last."""
        users = self._scenario.users
        share = list(enumerate(costs))[user::users]
        return [
            job(
                f"{name}{number}",
                inputs=(f"{name}{number}.c", "h.h"),
                hint_s=cost,
                build=f"{name}-{user}",
            )
            for number, cost in reversed(share)
        ]

    def _fill_up(self, agent: FakeAgent, jobs: list[JobFacts], window: int) -> None:
        while jobs and len(agent.waiting) < window:
            agent.submit(jobs.pop())
