"""This machine's network interfaces and their addresses, as they are now."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of an interface. `scope` is the interface's number, for addresses that need one."""

    interface: str
    address: str
    prefix: int
    scope: int

    def __str__(self) -> str:
        return f"{self.interface} ({self.address}/{self.prefix})"

    @property
    def is_v6(self) -> bool:
        return ":" in self.address

    @property
    def is_local(self) -> bool:
        """Whether it is of use on this machine or this link alone."""
        found = ipaddress.ip_address(self.address)
        return found.is_loopback or (self.is_v6 and found.is_link_local)

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(f"{self.address}/{self.prefix}", strict=False)


def interface_addresses() -> list[InterfaceAddress]:
    """All of them, loopback's too; IPv4 first."""
    import ifaddr  # noqa: PLC0415 - compiles, most programs too, need no interfaces

    found = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = each.ip if isinstance(each.ip, str) else each.ip[0]
            found.append(
                InterfaceAddress(adapter.name, address, each.network_prefix, adapter.index or 0)
            )
    return sorted(found, key=lambda each: each.is_v6)


def addresses_to_reach() -> list[InterfaceAddress]:
    """Those by which other machines reach this one."""
    return [each for each in interface_addresses() if not each.is_local]
