"""A broker that listens by the name of an interface, and members that come by it.

It goes and comes back, also with another address, and nobody lends a hand. A compile meanwhile is done here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import machines, vpn
from tests.support.machines import Machine
from tests.support.network_farm import Member, NetworkFarm, wait_until

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.needs("gcc"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(machines.why_not()), reason=machines.why_not()),
]

PORT = 8316
BROKER, NODE, CLIENT = 1, 2, 3


class VpnFarm(NetworkFarm):
    """All members dial by the VPN, of which their other network knows nothing."""

    def give(self, member: Member, number: int, own_v6: str = "") -> None:
        vpn.connect(self.network, member.machine, vpn.address(number), own_v6)

    def compiles(self, member: Member, policy: str = "never") -> bool:
        """Whether one compile ends well; `never`: one that has to be done by the farm."""
        source = member.state / "x.c"
        source.write_text("int x(void) { return 1; }\n")
        command = ("zcc", "gcc", "-c", str(source), "-o", str(member.state / "x.o"))
        environment = self.environment(member) | {"ZCC_FALLBACK": policy}
        done = self.run(member.machine, *command, env=environment, check=False)
        return bool(done.returncode == 0)

    def wait_remote(self) -> None:
        (client,) = self.clients
        wait_until(lambda: self.compiles(client), "a compile by the farm", 120)

    def wait_local(self) -> None:
        """Until the agent knows that there is no farm; a compile is done here, and well."""
        (client,) = self.clients
        before: int = self.stats(client)["local_reasons"].get("broker-silent", 0)

        def is_local() -> bool:
            assert self.compiles(client, "")
            now: int = self.stats(client)["local_reasons"].get("broker-silent", 0)
            return now > before

        wait_until(is_local, "a compile here, as the broker is silent")

    def says(self, text: str) -> int:
        return self.log_of(self.broker).count(text)


@pytest.fixture
def farm() -> Iterator[VpnFarm]:
    """The broker is told of an interface that is not there yet."""
    with machines.network() as network, tempfile.TemporaryDirectory(prefix="zcc-vpn-") as at:
        vpn.make(network)
        made = VpnFarm(
            network,
            Path(at),
            ("--listen", f"{vpn.INTERFACE}:{PORT}", "--announce", "--farm", "lab"),
        )
        try:
            yield made
        finally:
            made.stop()


def connect_all(farm: VpnFarm) -> None:
    farm.give(farm.broker, BROKER, "fd84::1")
    wait_until(
        lambda: farm.says(f"listens on tcp://{vpn.address(BROKER)}:{PORT}") == 1, "it to bind"
    )
    farm.endpoint = f"tcp://{vpn.address(BROKER)}:{PORT}"
    # Through the VPN alone: the other network is cut off.
    join_by_vpn(farm, farm.add_node, NODE)
    join_by_vpn(farm, farm.add_client, CLIENT)
    farm.wait_for_nodes(farm.clients[0], 1)
    farm.wait_remote()


def join_by_vpn(farm: VpnFarm, add: Callable[[], Member], number: int) -> None:
    """The next machine that is plugged in has the VPN's interface, and nothing else."""
    plug_in = farm.network.plug_in

    def plugged() -> Machine:
        machine = plug_in()
        farm.network.cut(machine)
        vpn.connect(farm.network, machine, vpn.address(number))
        return machine

    farm.network.plug_in = plugged  # type: ignore[method-assign]
    try:
        add()
    finally:
        farm.network.plug_in = plug_in  # type: ignore[method-assign]


def test_a_broker_waits_for_its_interface_and_says_so_once(farm: VpnFarm) -> None:
    waiting = f"waiting for an interface {vpn.INTERFACE} with an address"
    wait_until(lambda: farm.says(waiting) == 1, "it to wait")
    done = farm.run(
        farm.broker.machine,
        *("zcc-broker", "token", "--role", "client", "--state", str(farm.broker.state)),
        check=False,
    )
    assert b"the broker waits for the interface wg0: bring it up" in done.stderr
    connect_all(farm)
    assert farm.says(waiting) == 1
    # By IPv6 too, once the kernel has seen that nobody else has the address.
    wait_until(lambda: farm.says(f"listens on tcp://[fd84::1]:{PORT}") == 1, "IPv6 to be bound")
    token = farm.broker_says("token", "--role", "client", "--endpoint", f"tcp://[fd84::1]:{PORT}")
    other = farm._member("other")
    vpn.connect(farm.network, other.machine, vpn.address(9), "fd84::9")
    wait_until(lambda: vpn.is_settled(other.machine), "its address to be its own")
    farm.zcc(other, "join", token)
    farm.clients.append(other)
    wait_until(lambda: farm.compiles(other), "a compile by IPv6")


def test_a_vpn_that_goes_and_comes_is_survived_by_all(farm: VpnFarm) -> None:
    connect_all(farm)
    broker, (client,), (node,) = farm.broker.machine, farm.clients, farm.nodes
    # Down and up.
    vpn.down(broker)
    farm.wait_local()
    vpn.up(broker)
    farm.wait_remote()
    # Taken away and made again.
    lost = farm.says(f"has lost {vpn.address(BROKER)}")
    vpn.disconnect(broker)
    farm.wait_local()
    wait_until(lambda: farm.says(f"has lost {vpn.address(BROKER)}") > lost, "it to be noticed")
    vpn.connect(farm.network, broker, vpn.address(BROKER))
    farm.wait_remote()
    # A member's, with another address.
    vpn.disconnect(client.machine)
    farm.wait_local()
    vpn.connect(farm.network, client.machine, vpn.address(50))
    farm.wait_remote()
    assert node.process is not None
    assert node.process.poll() is None


def test_a_vpn_that_gives_the_broker_another_address(farm: VpnFarm) -> None:
    """It listens there and nowhere else, and its members find it by its key."""
    connect_all(farm)
    broker = farm.broker.machine
    vpn.disconnect(broker)
    farm.wait_local()
    vpn.connect(farm.network, broker, vpn.address(77))
    farm.wait_remote()
    assert farm.says(f"listens on tcp://{vpn.address(77)}:{PORT}") == 1
    listening = farm.run(broker, "ss", "-ltnH").stdout.decode()
    assert f"{vpn.address(77)}:{PORT}" in listening
    assert vpn.address(BROKER) + ":" not in listening
    # Whoever joins now is told of it by the token.
    farm.zcc(farm.clients[0], "join", farm.broker_says("token", "--role", "client"))
    assert vpn.address(77) in (farm.clients[0].state / "farm.toml").read_text()
