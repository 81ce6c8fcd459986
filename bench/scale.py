"""What does the broker's judgement cost a job, and how near to its bound does a build end, as the farm grows?

    python bench/scale.py [NODESxSLOTSxJOBS ...] [--seeds N] [--cold] [--agents K] [--spread S] [--sigma S]
                          [--validate N]

The machine that runs in production (broker/core/machine.py), among fake agents and nodes on a virtual clock. A
row is a farm: nodes, slots of each, jobs a slot. Speeds of nodes and costs of jobs are log-normal
(`--spread`, `--sigma`: of the logarithm). Each of K agents keeps two jobs a slot of its share
outstanding, as `make -jN` does. By default the farm has compiled before, so that its speeds are known;
`--cold`: it has not.

With `--validate N` each N-th state is held against what must be true of all, which takes long on a large
farm and is not counted. A million jobs on 10,000 nodes: `10000x8x12 --seeds 1 --cold --agents 10 --validate
100000`; a user has 10,000 jobs at the broker at most, and all together 100,000.

`ms a job` is CPU within the machine, all events of a job together, and the beats of all nodes meanwhile;
`growth` is it over the first row's.
`ratio` is the time of the build over its lower bound, max(work / speed of all slots, longest job /
fastest node): median and largest of the seeds. `idle` is the share of slot time that was idle while jobs
were ready and more were to come.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass

import tests.support.broker_world as world_module
from broker.core.effects import Effect
from broker.core.events import Event
from broker.core.limits import MAX_JOBS, MAX_JOBS_PER_USER, STARTUP_GRACE_S
from broker.core.machine import Machine
from tests.support.broker_world import FakeAgent, JobFacts, World, job

FARMS = ("4x8x20", "10x8x10", "20x8x8", "40x8x6", "40x16x6", "40x16x30", "1000x8x3")
WARM_UP_JOBS = 4
STEP_S = 0.05


@dataclass
class Cost:
    """CPU seconds within the machine."""

    spent_s: float = 0.0
    events: int = 0


@dataclass
class Outcome:
    jobs: int
    machine_ms: float
    ratio: float
    idle_share: float


class TimedMachine(Machine):
    cost = Cost()

    def handle(self, event: Event, now: float) -> list[Effect]:
        begun = time.process_time()
        try:
            return super().handle(event, now)
        finally:
            TimedMachine.cost.spent_s += time.process_time() - begun
            TimedMachine.cost.events += 1


class Build:
    """What is to be compiled, and the agents that keep submitting it."""

    def __init__(
        self, world: World, agents: list[FakeAgent], costs_s: list[float], name: str
    ) -> None:
        self._world = world
        self._agents = agents
        self._todo = [
            job(f"{name}{number}", inputs=(f"{name}{number}.c", "h.h"), hint_s=cost_s, build=name)
            for number, cost_s in enumerate(costs_s)
        ]

    @property
    def is_over(self) -> bool:
        return not self._todo and not any(agent.waiting for agent in self._agents)

    @property
    def goes_on(self) -> bool:
        return bool(self._todo)

    def fill_up(self, window: int) -> None:
        for agent in self._agents:
            while self._todo and len(agent.waiting) < window:
                agent.submit(self._next())

    def _next(self) -> JobFacts:
        return self._todo.pop()


def run(nodes: int, slots: int, per_slot: float, options: argparse.Namespace, seed: int) -> Outcome:
    world = World(seed)
    world.desk.validates_each = options.validate
    speeds = [math.exp(world.rng.gauss(0, options.spread)) for _ in range(nodes)]
    for number, speed in enumerate(speeds):
        world.node(f"n{number}", slots, speed=speed)
    agents = [world.agent(f"a{number}") for number in range(options.agents)]
    world.run(STARTUP_GRACE_S + 1)
    most = min(MAX_JOBS_PER_USER, MAX_JOBS // options.agents)
    window = min(most, max(1, 2 * nodes * slots // options.agents))
    if not options.cold:
        count = nodes * slots * WARM_UP_JOBS
        costs = [math.exp(world.rng.gauss(0.5, options.sigma)) for _ in range(count)]
        carry_out(Build(world, agents, costs, "before"), world, window, slots * nodes)
    costs = [
        min(60.0, math.exp(world.rng.gauss(0.5, options.sigma)))
        for _ in range(int(nodes * slots * per_slot))
    ]
    TimedMachine.cost = Cost()
    begun = world.now
    idle_share = carry_out(Build(world, agents, costs, "build"), world, window, slots * nodes)
    bound_s = max(sum(costs) / (slots * sum(speeds)), max(costs) / max(speeds))
    machine_ms = 1e3 * TimedMachine.cost.spent_s / len(costs)
    assert not any(agent.refused for agent in agents), (
        "jobs were refused: not what was to be measured"
    )
    return Outcome(len(costs), machine_ms, (world.now - begun) / bound_s, idle_share)


def carry_out(build: Build, world: World, window: int, slots: int) -> float:
    """The share of slots that were idle while jobs were ready and more were to come."""
    idle = looks = 0
    build.fill_up(window)
    while not build.is_over:
        world.run(STEP_S)
        if build.goes_on and world.desk.machine.farm.ready:
            looks += 1
            idle += slots - min(slots, len(world.running))
        build.fill_up(window)
    return idle / (looks * slots) if looks else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("farms", nargs="*", default=FARMS, metavar="NODESxSLOTSxJOBS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--spread", type=float, default=0.4)
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--validate", type=int, default=0, help="each N-th state; 0: none")
    options = parser.parse_args()
    world_module.Machine = TimedMachine  # type: ignore[attr-defined]
    first_ms = 0.0
    for farm in options.farms:
        nodes, slots, per_slot = farm.split("x")
        outcomes = [
            run(int(nodes), int(slots), float(per_slot), options, seed)
            for seed in range(1, options.seeds + 1)
        ]
        machine_ms = statistics.median(each.machine_ms for each in outcomes)
        first_ms = first_ms or machine_ms
        ratios = [each.ratio for each in outcomes]
        print(
            f"{farm:>12}  {machine_ms:.3f} ms a job, growth {machine_ms / first_ms:.2f};"
            f" ratio {statistics.median(ratios):.2f} (largest {max(ratios):.2f});"
            f" idle {max(each.idle_share for each in outcomes):.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
