"""A node's word on its speed makes others' slots wait no further than the broker's clock bears it out."""

from __future__ import annotations

import pytest

from broker.core import events
from broker.core.jobs import Lease, Phase
from broker.core.limits import STARTUP_GRACE_S
from broker.scheduling.patience import seen_wall_s
from cache.digest import digest_of
from tests.support.broker_world import FakeNode, World, job
from zcc.messages import Message, Revoke, Run, Started

NOW = 100.0


class SaysFast(FakeNode):
    """Does its jobs, and says that they took no time."""

    def _report(self, lease: bytes) -> None:
        self.world.tell(
            self,
            events.ResultArrived(
                self.origin, lease, 0, (), True, False, True, 0, 0.01, 0.01, b"ok"
            ),
        )


class SaysIdle(FakeNode):
    """Does its jobs, and says that they used no CPU meanwhile."""

    def _report(self, lease: bytes) -> None:
        took_s = self.took_s[lease]
        self.world.tell(
            self,
            events.ResultArrived(
                self.origin, lease, 0, (), True, False, True, 0, 0.0, took_s, b"ok"
            ),
        )


class Denies(FakeNode):
    """Gives at once results that nobody can use."""

    status, is_sound = 0, False

    def take(self, message: Message) -> None:
        if isinstance(message, Run):
            lease = message.lease
            self.world.say(self, Started(lease))
            self.world.later(0.02, lambda: self._deny(lease))
        elif not isinstance(message, Revoke):
            super().take(message)

    def _deny(self, lease: bytes) -> None:
        self.world.tell(
            self,
            events.ResultArrived(
                self.origin, lease, self.status, (), True, False, self.is_sound, 0, 0.01, 0.01, b""
            ),
        )


class Fails(Denies):
    status, is_sound = 1, True


@pytest.mark.long
@pytest.mark.parametrize("kind", [SaysFast, Denies, Fails])
def test_a_node_of_one_slot_that_says_it_is_fast_keeps_no_other_idle(kind: type[FakeNode]) -> None:
    world = World(109)
    world.desk.validates_each = 20
    for number in range(3):
        world.node(f"h{number}", 4)
    world._join(kind(world, "evil", 1))
    user, farm = world.agent("u"), world.desk.machine.farm
    world.run(STARTUP_GRACE_S + 1.0)
    idle, end = [], world.now + 60.0
    while world.now < end:
        while len(user.waiting) < 20:
            facts = job(f"{user.next_ticket}", inputs=(), hint_s=1.0)
            user.submit(facts)
            world.takes(facts, world.rng.uniform(0.6, 1.4))
        world.run(0.25)
        waits = any(each.phase is Phase.READY for each in farm.executions.values())
        honest = [each for each in farm.nodes if each.session.name != "evil"]
        idle.append(sum(each.idle_slots for each in honest) if waits else 0)
    # Without that node: 711 answered, none idle.
    assert len(user.finished) >= 600
    assert sum(idle) / len(idle) <= 2.0


def test_a_node_that_says_that_its_jobs_use_no_cpu_looks_no_faster_and_charges_no_more() -> None:
    """It was believed to be 120 times as fast as the others, and each second there was charged as sixty."""

    def done(kind: type[FakeNode]) -> int:
        world = World(3)
        world.desk.validates_each = 0
        for number in range(3):
            world.node(f"h{number}", 4)
        world._join(kind(world, "evil", 4))
        users, model = [world.agent("u"), world.agent("v")], world.desk.machine.farm.model
        world.run(STARTUP_GRACE_S + 1.0)
        end = world.now + 100.0
        while world.now < end:
            for user in users:
                while len(user.waiting) < 20:
                    facts = job(f"{user.name}{user.next_ticket}", inputs=(), hint_s=1.0)
                    user.submit(facts)
                    world.takes(facts, world.rng.uniform(0.6, 1.4))
            world.run(0.25)
        evil, honest = ("user-evil", "evil"), ("user-h0", "h0")
        assert model.wall_s(1.0, evil) == pytest.approx(model.wall_s(1.0, honest), rel=0.2)
        assert model.held_cost_s(1.0, evil) <= 2.5 * model.held_cost_s(1.0, honest)
        return sum(len(user.finished) for user in users)

    assert done(SaysIdle) >= 0.95 * done(FakeNode)


def lease(*, had_to_fetch: bool = False) -> Lease:
    made = Lease(b"l", digest_of(b"j"), b"n", "n", "u", NOW, NOW + 1, frozenset(), 1.0)
    made.had_to_fetch = had_to_fetch
    return made


def test_a_run_has_taken_half_of_the_time_that_its_slot_was_idle_for_it() -> None:
    run = lease()
    run.slot_at = NOW + 10.0
    assert seen_wall_s(run, 0.01, 1.0, NOW + 14.0) == pytest.approx(2.0)
    assert seen_wall_s(run, 3.0, 1.0, NOW + 14.0) == pytest.approx(3.0)
    run.slot_at = None  # it was never said to begin
    assert seen_wall_s(run, 0.01, 1.0, NOW + 14.0) == pytest.approx(7.0)


def test_the_way_of_a_toolchain_makes_no_node_slow_and_none_fast() -> None:
    run = lease(had_to_fetch=True)
    run.slot_at = NOW
    assert seen_wall_s(run, 1.0, 1.0, NOW + 60.0) == pytest.approx(1.0)
    assert seen_wall_s(run, 0.01, 1.0, NOW + 60.0) == pytest.approx(1.0)
    assert seen_wall_s(run, 2.0, 1.0, NOW + 60.0) == pytest.approx(2.0)
