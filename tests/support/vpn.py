"""A second network beside `machines`' own, whose interfaces come and go as a VPN's do."""

from __future__ import annotations

import subprocess

from tests.support.machines import Machine, Network

INTERFACE = "wg0"
_BRIDGE = "vpn"


def address(number: int) -> str:
    """The address of a machine on this network that has no other."""
    return f"10.84.0.{number}"


def make(network: Network) -> None:
    """The network without anybody on it."""
    ip("-n", network.hub, "link", "add", _BRIDGE, "type", "bridge")
    ip("-n", network.hub, "link", "set", _BRIDGE, "up")


def connect(network: Network, machine: Machine, own: str, own_v6: str = "") -> None:
    """Give the machine the interface, with this address."""
    port = f"v{machine.port}"
    ip(
        *("-n", network.hub, "link", "add", port, "type", "veth"),
        *("peer", "name", INTERFACE, "netns", machine.namespace),
    )
    ip("-n", network.hub, "link", "set", port, "master", _BRIDGE, "up")
    ip("-n", machine.namespace, "addr", "add", f"{own}/24", "dev", INTERFACE)
    if own_v6:
        ip("-n", machine.namespace, "addr", "add", f"{own_v6}/64", "dev", INTERFACE)
    up(machine)


def disconnect(machine: Machine) -> None:
    """Take the interface away."""
    ip("-n", machine.namespace, "link", "del", INTERFACE)


def down(machine: Machine) -> None:
    ip("-n", machine.namespace, "link", "set", INTERFACE, "down")


def up(machine: Machine) -> None:
    ip("-n", machine.namespace, "link", "set", INTERFACE, "up")


def is_settled(machine: Machine) -> bool:
    """Whether the kernel has seen that nobody else has its IPv6 addresses: before that it uses none of them."""
    return not ip("-n", machine.namespace, "-6", "addr", "show", "dev", INTERFACE, "tentative")


def ip(*arguments: str) -> bytes:
    return subprocess.run(("ip", *arguments), check=True, capture_output=True).stdout
