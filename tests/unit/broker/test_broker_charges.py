"""A key is charged for the slots that its jobs hold, and for no more than a node had the time for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest

from broker.core.events import Origin
from broker.core.limits import STARTUP_GRACE_S
from tests.support.broker_world import Desk
from tests.unit.broker.test_broker_memory import known
from zcc.messages import Cancel, Revoke, Run, Started


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


@dataclass
class Slots:
    """A node with 16 slots beside which two keys wait; what each has held, in seconds of a slot. Jobs of those
    who are `late` begin when they end."""

    desk: Desk
    clients: tuple[Origin, Origin]
    node: Origin
    given: list[Run] = field(default_factory=list)
    running: dict[bytes, tuple[float, Run]] = field(default_factory=dict)
    held_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    late: tuple[str, ...] = ()

    def step(self) -> list[tuple[float, Run]]:
        """Half a second; what runs, with how long it has."""
        desk = self.desk
        gone = {message.lease for message in desk.got(self.node, Revoke)}
        self.running = {lease: each for lease, each in self.running.items() if lease not in gone}
        self.given = [run for run in self.given + desk.runs(self.node) if run.lease not in gone]
        while self.given and len(self.running) < 16:
            run = self.given.pop(0)
            if run.client not in self.late:
                desk.say(self.node, Started(run.lease))
            self.running[run.lease] = desk.now, run
        desk.pass_time(0.5, frozenset((*self.clients, self.node)))
        for _, run in self.running.values():
            self.held_s[run.client] += 0.5
        return [(desk.now - since, run) for since, run in self.running.values()]

    def end(self, run: Run, cpu_s: float, wall_s: float) -> None:
        del self.running[run.lease]
        if run.client in self.late:
            self.desk.say(self.node, Started(run.lease))
        self.desk.done(self.node, run.lease, cpu_s=cpu_s, wall_s=wall_s)


@pytest.mark.long
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_key_whose_jobs_only_wait_has_no_more_of_the_slots_for_that(
    desk: Desk, is_cancelled: bool, is_late: bool
) -> None:
    """`is_late`: they wait before they begin, for inputs or a toolchain of gigabytes."""
    sleeper, other, node = desk.client("sleeper"), desk.client("other"), desk.node("n", slots=16)
    slots = Slots(desk, (sleeper, other), node, late=(sleeper.user,) if is_late else ())
    for number in range(1200):
        facts = known(f"z{number % 50}")
        desk.submit(other, number, replace(facts, name=f"o{number}"))
    tickets = {}
    for number in range(200):
        facts = replace(known(f"x{number % 50}"), name=f"s{number}")
        tickets[b"job " + facts.name.encode()] = number
        desk.submit(sleeper, number, facts)
    desk.validates_each = 0
    for _ in range(240):
        for since_s, run in slots.step():
            if run.client == "user-other" and since_s >= 1.0:
                slots.end(run, 1.0, 1.0)
            elif since_s >= 20.0 and is_cancelled and run.body in tickets:
                desk.say(sleeper, Cancel(tickets.pop(run.body)))
            elif since_s >= 20.0 and not is_cancelled:
                slots.end(run, 0.01, 0.01 if is_late else since_s)
    assert slots.held_s["user-other"] > 0.25 * sum(slots.held_s.values()), slots.held_s


def serve(
    desk: Desk, node: Origin, here: frozenset[Origin], says_s: dict[str, float], jobs: int
) -> list[str]:
    """The keys whose jobs a node does, half a second each, of which it says that they took so long."""
    waiting: list[Run] = []
    served: list[str] = []
    while len(served) < jobs:
        waiting += desk.runs(node)
        run = waiting.pop(0)
        desk.pass_time(0.5, here)
        desk.done(node, run.lease, wall_s=says_s.get(run.client, 0.5))
        served.append(run.client)
    return served


@pytest.mark.long
@pytest.mark.parametrize("sources", [4, 100])
def test_no_nodes_word_takes_a_key_its_turns(desk: Desk, sources: int) -> None:
    victim, other, node = desk.client("victim"), desk.client("other"), desk.node("n", slots=16)
    here = frozenset((victim, other, node))
    for number in range(400):
        desk.submit(other, number, known(f"z{number}"))
    serve(desk, node, here, {}, 40)  # so that it is known for its speed
    for number in range(300):
        name = known(f"x{number % sources}")
        desk.submit(victim, number, replace(name, name=f"job{number}"))
    serve(desk, node, here, {"user-victim": 3600.0}, 60)
    served = serve(desk, node, here, {}, 80)
    assert served.count("user-victim") >= 30


def test_a_job_that_waits_behind_others_at_a_node_has_no_slot(desk: Desk) -> None:
    """It is charged from when one is idle for it, which may be long before it begins."""
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for number in range(2):
        desk.submit(agent, number, replace(known("x"), name=f"x{number}"))
    first, second = desk.runs(node)
    leases = desk.machine.farm.leases
    given_at = desk.now
    assert [leases[run.lease].slot_at for run in (first, second)] == [given_at, None]
    desk.say(node, Started(first.lease))
    desk.now += 3.0
    assert leases[second.lease].held_s(desk.now) == 0.0
    desk.done(node, first.lease)
    assert leases[second.lease].slot_at == desk.now
    desk.now += 2.0
    desk.say(node, Started(second.lease))
    assert leases[second.lease].held_s(desk.now) == 2.0
