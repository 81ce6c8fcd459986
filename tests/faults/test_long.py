"""What lasts longer than anybody waits: parts that stand still, networks that are apart, half-open connections.

Each build ends well with the right objects, and once the fault is over the farm is used again without a hand.
The faults last for some multiples of the time after which members give each other up. `make faults` makes
them as long as they are in life (a minute, five minutes), where the retransmissions of TCP back off as well,
and runs those that are marked `nightly` too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disturbed import build_while, check_objects
from tests.support import machines
from tests.support.network_farm import Member, NetworkFarm, ready_farm, wait_until
from zcc.agent.launchers import control
from zcc.messages import LOST_AFTER_S

_IS_LONG = bool(os.environ.get("ZCC_LONG_FAULTS"))
FREEZE_S = 60.0 if _IS_LONG else 2.5 * LOST_AFTER_S
PARTITION_S = 300.0 if _IS_LONG else 3 * LOST_AFTER_S

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
    pytest.mark.timeout(900 if _IS_LONG else 240),
]


@pytest.fixture
def farm() -> Iterator[NetworkFarm]:
    with ready_farm() as made:
        yield made


def test_a_broker_that_stood_still_is_used_again(farm: NetworkFarm, project: Path) -> None:
    broker = farm.broker.process
    assert broker is not None
    stopped_at = disturb(farm, project, lambda: broker.send_signal(signal.SIGSTOP))
    let_pass(FREEZE_S, stopped_at)
    broker.send_signal(signal.SIGCONT)
    expect_the_farm(farm, project)


@pytest.mark.nightly
def test_a_node_that_stood_still_is_used_again(farm: NetworkFarm, project: Path) -> None:
    node = farm.nodes[0].process
    assert node is not None
    stopped_at = disturb(farm, project, lambda: node.send_signal(signal.SIGSTOP))
    let_pass(FREEZE_S, stopped_at)
    node.send_signal(signal.SIGCONT)
    expect_the_farm(farm, project)


def test_a_farm_that_was_apart_comes_together(farm: NetworkFarm, project: Path) -> None:
    """The broker's network is away for as long as a switch takes to be exchanged."""
    cut_at = disturb(farm, project, lambda: farm.network.cut(farm.broker.machine))
    let_pass(PARTITION_S, cut_at)
    farm.network.mend(farm.broker.machine)
    expect_the_farm(farm, project)


def test_a_node_that_lost_power_takes_its_place_again(farm: NetworkFarm, project: Path) -> None:
    """The broker's connection to it stays half open: the new process speaks from another address."""
    node = farm.nodes[0]

    def lose_power() -> None:
        farm.network.cut(node.machine)
        assert node.process is not None
        os.killpg(node.process.pid, signal.SIGKILL)
        node.process.wait()
        node.machine = farm.network.move(node.machine, "10.83.0.101")
        farm.network.mend(node.machine)
        farm.start_node(node)

    disturb(farm, project, lose_power)
    expect_the_farm(farm, project)


@pytest.mark.nightly
def test_a_client_that_changed_its_network_goes_on(farm: NetworkFarm, project: Path) -> None:
    """A laptop that is taken elsewhere in the middle of a build: neither side closes the connection."""
    client = farm.clients[0]

    def change_network() -> None:
        client.machine = farm.network.move(client.machine, "10.83.0.102")

    disturb(farm, project, change_network)
    expect_the_farm(farm, project)


@pytest.mark.nightly
def test_an_agent_that_died_on_a_machine_without_a_network_is_replaced(
    farm: NetworkFarm, project: Path
) -> None:
    """What the broker still holds for the dead one does not keep the new one from working."""
    client = farm.clients[0]

    def die() -> None:
        farm.network.cut(client.machine)
        os.kill(int(ask(client, "status")["pid"]), signal.SIGKILL)
        client.machine = farm.network.move(client.machine, "10.83.0.103")
        farm.network.mend(client.machine)

    disturb(farm, project, die)
    expect_the_farm(farm, project)


def disturb(farm: NetworkFarm, project: Path, fault: Any) -> float:
    """Build; the fault begins in the middle. When it began."""
    client = farm.clients[0]
    began: list[float] = []

    def begin() -> None:
        began.append(time.monotonic())
        fault()

    build_while(project, farm.environment(client), begin, client.machine.inside)
    return began[0]


def let_pass(duration_s: float, since_s: float) -> None:
    """The fault lasts: the time itself is what is tested."""
    wait_until(
        lambda: time.monotonic() - since_s > duration_s, "time to pass", duration_s + LOST_AFTER_S
    )


def expect_the_farm(farm: NetworkFarm, project: Path) -> None:
    """Everybody comes back by himself, and the farm does a whole build."""
    client = farm.clients[0]
    farm.wait_for_nodes(client, 2)
    strictly = {**farm.environment(client), "ZCC_FALLBACK": "never"}
    command = ("make", "-s", "-j2", "CXX=zcc g++", "OUT=farm", "-C", str(project))

    def is_built_by_the_farm() -> bool:
        """On a machine that is busy with other things the broker may seem lost once more."""
        for path in (project / "farm").iterdir():
            path.unlink()
        return farm.run(client.machine, *command, env=strictly, check=False).returncode == 0

    wait_until(is_built_by_the_farm, "a build that the farm has done as a whole")
    check_objects(project, project / "farm")


def ask(client: Member, what: str) -> dict[str, Any]:
    """A question to the agent: its socket is a file, so it can be reached from outside."""
    answer = control.ask(str(client.state / "agent.sock"), {"op": what})
    assert answer is not None
    return answer
