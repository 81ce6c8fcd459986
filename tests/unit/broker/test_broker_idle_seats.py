"""Who may not have what is idle gets his share of what is not."""

from __future__ import annotations

import pytest

from broker.core.limits import STARTUP_GRACE_S
from tests.support.broker_world import FakeAgent, FakeNode, World, blob, job, session_id
from zcc.messages import Failed, Hello, Message, Run


class Classed(FakeNode):
    """Of machine class y."""

    machine_class = b"y"

    def hello(self) -> None:
        held = (*self.waiting, *self.running, *self.unsettled)
        classes = (self.machine_class,)
        self.world.say(
            self,
            Hello(session_id(self.name), "node", "", self.name, "0", self.slots, held, classes),
        )


class NoRoom(Classed):
    """Of another machine class, without room for the toolchain of v's jobs."""

    machine_class = b"x"

    def take(self, message: Message) -> None:
        if isinstance(message, Run) and message.body.startswith(b"v"):
            self.world.say(self, Failed(message.lease, "unfit", "no room"))
            return
        super().take(message)


def keep(world: World, agent: FakeAgent, count: int, toolchain: str, machine_class: bytes) -> None:
    while len(agent.waiting) < count:
        facts = job(
            f"{agent.name}{agent.next_ticket}",
            toolchain=toolchain,
            inputs=(),
            machine_class=machine_class,
            hint_s=1.0,
            build=agent.name,
        )
        agent.submit(facts)
        world.takes(facts, world.rng.uniform(0.6, 1.4))


@pytest.mark.parametrize("count", [4, 30])
def test_a_node_without_room_for_a_users_jobs_keeps_them_from_no_other(count: int) -> None:
    world = World(5)
    world.desk.validates_each = 20
    world.desk.store.add(blob("clang"))
    world.desk.machine.farm.holdings.prove_toolchain("user-v", blob("clang"))
    for number in range(3):
        world._join(Classed(world, f"h{number}", 4))
    world._join(NoRoom(world, "x", 2))
    v, a = world.agent("v"), world.agent("a")
    world.run(STARTUP_GRACE_S + 1.0)
    end = world.now + 40.0
    while world.now < end:
        keep(world, v, count, "clang", b"")
        keep(world, a, 30, "gcc", b"y")
        world.run(0.25)
    # Without that node: v 95 of 4 at a time.
    assert len(v.finished) >= (80 if count == 4 else 200)
