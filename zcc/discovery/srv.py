"""Which endpoints DNS names for a domain's farm: the SRV records of `_zcc._tcp.DOMAIN` (RFC 2782)."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zcc.errors import UnreachableError

LOOK_UP_S = 3.0
# Targets of one service, and endpoints in all: more are nobody's farm.
MAX_TARGETS = 16
MAX_ENDPOINTS = 16


@dataclass(frozen=True, slots=True)
class SrvTarget:
    """One SRV record."""

    priority: int
    weight: int
    host: str
    port: int


def targets_of(service: str) -> list[str]:
    """The endpoints of a service, in the order in which they are to be tried.

    Raises:
        UnreachableError: DNS names none, or does not answer; the message says what to do.
    """
    import dns.exception  # noqa: PLC0415 - few have such an address
    import dns.resolver  # noqa: PLC0415

    try:
        # A new one each time: a VPN that has come since has brought name servers of its own.
        answer = dns.resolver.Resolver().resolve(service, "SRV", lifetime=LOOK_UP_S)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
        raise UnreachableError(
            f"DNS has no SRV record of {service}: is it spelt right, and is the network or VPN up in which it"
            f" is known? What DNS has: dig SRV {service}"
        ) from error
    except dns.exception.DNSException as error:
        raise UnreachableError(
            f"DNS does not say where {service} is: {error}; is the network or VPN up?"
        ) from error
    targets = [
        SrvTarget(each.priority, each.weight, each.target.to_text(omit_final_dot=True), each.port)
        for each in list(answer)[:MAX_TARGETS]
    ]
    endpoints = [
        f"tcp://[{address}]:{target.port}" if ":" in address else f"tcp://{address}:{target.port}"
        for target in ordered(targets, random.random)
        for address in _addresses(target)
    ]
    if not endpoints:
        hosts = ", ".join(each.host or "." for each in targets)
        raise UnreachableError(f"DNS has no address for what {service} names: {hosts}")
    return list(dict.fromkeys(endpoints))[:MAX_ENDPOINTS]


def ordered(targets: Iterable[SrvTarget], chance: Callable[[], float]) -> list[SrvTarget]:
    """By priority, the lowest first; of one priority by lot, in which a target's weight is its share. `chance`
    is a number from 0 to 1, less than 1."""
    # The largest of chance ** (1 / weight) is each with the probability that RFC 2782 asks for (Efraimidis and
    # Spirakis, 2006). Without a weight a target comes behind those that have one.
    return sorted(
        targets,
        key=lambda each: (each.priority, -(chance() ** (1 / each.weight) if each.weight else 0.0)),
    )


def _addresses(target: SrvTarget) -> list[str]:
    """IPv4 and IPv6, in the system's own order; none for a host that is not known now."""
    if not target.host or not target.port:
        return []  # RFC 2782: the service is decidedly not there
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))
