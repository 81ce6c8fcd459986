"""Compiles that end in an exit status: by themselves, or because a node says so of whatever it gets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.core.jobs import LEASED
from broker.core.limits import STARTUP_GRACE_S
from broker.trust.denials import Denials
from tests.support.broker_world import FakeAgent, World, job
from zcc.messages import Cancel

BUILD_S = 80.0


@dataclass
class Build:
    """A `make -j` without an end, which keeps so many compiles under way. Those of which the farm says that
    they failed run again at home, so many at a time; a share of them fails in truth."""

    world: World
    agent: FakeAgent
    keeps: int
    at_home: int = 8
    fails: float = 0.0
    seen: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    denied: int = 0

    def go_on(self) -> None:
        while self.seen < len(self.agent.finished):
            message = list(self.agent.finished.values())[self.seen]
            self.seen += 1
            if message.body == b"failed":
                self.denied += 1
                self.queued += 1
            else:
                self.done += 1
        while self.running < self.at_home and (self.queued or self._takes_home()):
            self.queued -= bool(self.queued)
            self.running += 1
            self.world.later(1.0, self._ended)
        while len(self.agent.waiting) + self.queued + self.running < self.keeps:
            name = f"{self.agent.name}{self.agent.next_ticket}"
            facts = job(name, inputs=(), hint_s=1.0)
            if self.world.rng.random() < self.fails:
                self.world.failing.add(facts.key)
            self.world.takes(facts, self.world.rng.uniform(0.5, 1.5))
            self.agent.submit(facts)

    def _takes_home(self) -> bool:
        """Call off the job that came last, of those that the farm has not begun."""
        executions = self.world.desk.machine.farm.executions
        for ticket, facts in reversed(self.agent.waiting.items()):
            execution = executions.get(facts.key)
            if execution is not None and execution.phase not in LEASED:
                del self.agent.waiting[ticket]
                self.world.say(self.agent, Cancel(ticket))
                return True
        return False

    def _ended(self) -> None:
        self.running -= 1
        self.done += 1


def build(
    nodes: dict[str, int],
    liars: int = 0,
    liars_nodes: int = 1,
    silent: str = "",
    fails: tuple[float, ...] = (0.0,),
    at_home: int = 8,
    seed: int = 1,
) -> list[int]:
    """How many compiles of as many members' builds are done in BUILD_S, by these nodes of so many slots each.
    Nodes of one more key, with so many slots together, deny whatever they get."""
    world = World(seed)
    world.desk.validates_each = 2_000
    for name, slots in nodes.items():
        world.node(name, slots).answers = name != silent
    for number in range(liars_nodes if liars else 0):
        world.node(f"liar{number}", liars // liars_nodes, user="liars", denies=1.0)
    agents = [world.agent(f"agent{number}") for number in range(len(fails))]
    world.run(STARTUP_GRACE_S)
    builds = [
        Build(world, agent, 72, at_home, share) for agent, share in zip(agents, fails, strict=True)
    ]
    end = world.now + BUILD_S
    while world.now < end:
        for each in builds:
            each.go_on()
        world.run(0.05)
    return [each.done for each in builds]


HONEST = {f"honest{number}": 4 for number in range(8)}


@pytest.mark.parametrize("silent", ["", "small"])
@pytest.mark.parametrize("at_home", [8, 1000])
def test_where_half_of_all_compiles_fail_the_farm_is_as_fast_as_if_nothing_followed_from_it(
    silent: str, at_home: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one slot of the other key did each again: a quarter was left, and nothing where it is silent.

    One seed says little: which compiles fail moves either figure by a tenth.
    """

    def done() -> int:
        nodes = {"large": 32, "small": 1}
        builds = (
            build(nodes, silent=silent, fails=(0.5,), at_home=at_home, seed=seed)
            for seed in range(1, 4)
        )
        return sum(each[0] for each in builds)

    with_it = done()
    monkeypatch.setattr(Denials, "allows", lambda *_: True)
    assert with_it >= 0.93 * done()


def test_a_member_whose_jobs_all_fail_harms_nobody_else() -> None:
    """It cut the jobs that others had of an honest key's nodes to a third."""
    nodes = {"large": 32, "small": 1}
    _, beside_one = build(nodes, fails=(1.0, 0.0))
    _, beside_another = build(nodes, fails=(0.0, 0.0))
    assert beside_one >= 0.95 * beside_another


@pytest.mark.parametrize("honest", [HONEST, {"one": 8}])
@pytest.mark.parametrize(
    ("liars_nodes", "fails"), [(1, (0.0,)), (16, (0.0, 0.0)), (1, (0.5,))], ids=str
)
def test_a_key_whose_nodes_deny_all_that_they_get_makes_no_farm_much_slower(
    honest: dict[str, int], liars_nodes: int, fails: tuple[float, ...]
) -> None:
    """They are always free, and had most jobs."""
    with_it = sum(build(honest, liars=64, liars_nodes=liars_nodes, fails=fails))
    assert with_it >= 0.8 * sum(build(honest, fails=fails))
