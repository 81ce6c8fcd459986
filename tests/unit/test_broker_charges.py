"""What a node says that a job has cost is held to the time that it had for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.events import Origin
from broker.limits import STARTUP_GRACE_S
from tests.broker_world import Desk
from tests.unit.test_broker_memory import known
from zcc.messages import Run


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


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
