"""Cables that are cut in the middle of a build, between machines that are network namespaces.

A cut cable is not a closed connection: nobody is told, packets vanish, and only silence can be noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disturbed import build_while, check_objects
from tests.support import machines
from tests.support.network_farm import Member, NetworkFarm, ready_farm, wait_until
from zcc.agent.launchers import control
from zcc.messages import CREDIT_BYTES

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
]

# What must have been sent before the cable is cut, of a toolchain of some 30 MiB.
_BEGUN_BYTES = 4 << 20


@pytest.fixture
def farm() -> Iterator[NetworkFarm]:
    with ready_farm() as made:
        yield made


def build(farm: NetworkFarm, project: Path, cut: Member) -> None:
    client = farm.clients[0]
    build_while(
        project,
        farm.environment(client),
        lambda: farm.network.cut(cut.machine),
        client.machine.inside,
    )


def test_a_node_whose_cable_is_cut(farm: NetworkFarm, project: Path) -> None:
    build(farm, project, farm.nodes[0])
    farm.wait_for_nodes(farm.clients[0], 1)


def test_a_client_whose_cable_is_cut_compiles_by_itself(farm: NetworkFarm, project: Path) -> None:
    build(farm, project, farm.clients[0])
    assert farm.stats(farm.clients[0])["local_reasons"]["broker-silent"] > 0


def test_a_broker_whose_cable_is_cut_and_mended_is_used_again(
    farm: NetworkFarm, project: Path
) -> None:
    build(farm, project, farm.broker)
    farm.network.mend(farm.broker.machine)
    farm.wait_for_nodes(farm.clients[0], 2)


def test_a_toolchain_on_its_way_is_resumed_and_not_begun_anew(
    farm: NetworkFarm, project: Path
) -> None:
    """The cable breaks inside the upload, long enough for all to give each other up."""
    client, environment = farm.clients[0], farm.environment(farm.clients[0])
    farm.network.slow(client.machine, rate_mbit=100)

    def break_for_a_while() -> None:
        farm.network.cut(client.machine)
        wait_until(lambda: not ask(client, "status")["connected"], "the broker to be given up")
        assert sent(client) < packed(client), "the toolchain was up before the cable was cut"
        farm.network.mend(client.machine)

    inside = client.machine.inside
    build_while(
        project, environment, break_for_a_while, inside, lambda: sent(client) > _BEGUN_BYTES
    )
    # What was under way when the cable broke was compiled here. Now the farm gets the rest.
    strictly = {**environment, "ZCC_FALLBACK": "never"}
    command = ("make", "-s", "-j2", "CXX=zcc g++", "OUT=farm", "-C", str(project))

    def is_built_by_the_farm() -> bool:
        """On a machine that is busy with other things the broker may seem lost once more."""
        for path in (project / "farm").iterdir():
            path.unlink()
        return farm.run(client.machine, *command, env=strictly, check=False).returncode == 0

    wait_until(lambda: bool(ask(client, "status")["connected"]), "the broker to be found again")
    wait_until(is_built_by_the_farm, "a build that the farm has done as a whole")
    check_objects(project, project / "farm")
    # Besides the toolchain some MiB of inputs went up; what was in flight at the cut went twice.
    assert packed(client) < sent(client) < packed(client) + _BEGUN_BYTES + CREDIT_BYTES


def packed(client: Member) -> int:
    """The size of the one packed toolchain."""
    (pack,) = client.state.rglob("*.tar.zst")
    return pack.stat().st_size


def sent(client: Member) -> int:
    return int(ask(client, "stats")["bytes_sent"])


def ask(client: Member, what: str) -> dict[str, Any]:
    """A question to the agent: its socket is a file, so it can be reached from outside."""
    answer = control.ask(str(client.state / "agent.sock"), {"op": what})
    assert answer is not None
    return answer
