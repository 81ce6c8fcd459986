"""How a broker's address is written, and why it cannot be reached: the name, the way, the port, or what listens
there.

An address is an endpoint, tcp://HOST:PORT, or a service of DNS, `_zcc._tcp.example.org`, whose records say
which endpoints there are. ZeroMQ dials for ever and says nothing, so this tries the same by hand, for people
who wait for an answer.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

from zcc.errors import BadEndpointError, UnreachableError

CONNECT_TIMEOUT_S = 3.0
# A name, an IPv4 address, or an IPv6 address in brackets. What else ZeroMQ takes (an interface,
# `source;target`) means something on one machine alone.
_ENDPOINT = re.compile(r"tcp://([\w.-]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):([0-9]{1,5})")
_MOST_PORT = 65_535
_SERVICE = re.compile(r"_zcc\._tcp(\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+\.?")
_MOST_NAME = 253  # of a name of DNS
# The kernel's bound of an interface's name, and what none is called.
_INTERFACE = re.compile(r"([A-Za-z0-9_.-]{1,15})(?::([0-9]{1,5}))?")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of a broker's endpoint: the one check of it, wherever one comes in.

    Raises:
        BadEndpointError: it is not tcp://HOST:PORT.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or not 0 < int(match[2]) <= _MOST_PORT:
        raise BadEndpointError(
            f"{endpoint!r} is no endpoint: expected tcp://HOST:PORT, a PORT from 1 to {_MOST_PORT}, and an IPv6"
            " address in brackets"
        )
    return match[1].strip("[]"), int(match[2])


def is_service(address: str) -> bool:
    """Whether the address is a service's name in DNS."""
    return len(address) <= _MOST_NAME and _SERVICE.fullmatch(address) is not None


def check_address(address: str) -> None:
    """The one check of a broker's address, wherever one comes in.

    Raises:
        BadEndpointError: it is neither tcp://HOST:PORT nor _zcc._tcp.DOMAIN.
    """
    if is_service(address):
        return
    try:
        split_endpoint(address)
    except BadEndpointError as error:
        raise BadEndpointError(f"{error}; or a service's name in DNS, _zcc._tcp.DOMAIN") from error


def dialled(address: str) -> list[str]:
    """The endpoints to try for this address, the best first.

    Raises:
        UnreachableError: DNS names none.
    """
    if not is_service(address):
        return [address]
    from zcc.discovery.srv import targets_of  # noqa: PLC0415 - few have such an address

    return targets_of(address)


def split_interface(listen: str) -> tuple[str, int | None] | None:
    """The interface and the port of `wg0:8317`, or of `wg0` alone; None: that is another way to say where to
    listen, or none."""
    match = _INTERFACE.fullmatch(listen)
    # A number alone is meant as a port.
    if match is None or match[1].isdigit() or _is_address(match[1]):
        return None
    port = None if match[2] is None else int(match[2])
    return None if port is not None and not 0 < port <= _MOST_PORT else (match[1], port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_listening(endpoint: str) -> None:
    """The one check of where to listen: an interface, or an endpoint in which `*` is every address, and port 0
    one that is free. libzmq itself takes a port modulo 65536.

    Raises:
        BadEndpointError: it is neither INTERFACE:PORT nor tcp://HOST:PORT.
    """
    if split_interface(endpoint) is not None:
        return
    host, _, port = endpoint.rpartition(":")
    try:
        split_endpoint(f"{host.replace('*', 'all')}:{'1' if port in ('0', '*') else port}")
    except BadEndpointError as error:
        raise BadEndpointError(
            f"{endpoint!r} is nothing to listen on: expected tcp://HOST:PORT, a PORT up to {_MOST_PORT} (0: one"
            " that is free), and an IPv6 address in brackets; or INTERFACE:PORT, as in wg0:8317"
        ) from error


def why_unreachable(address: str, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """A sentence with what to do; empty where something listens."""
    try:
        listening_at(address, timeout_s)
    except UnreachableError as error:
        return str(error)
    return ""


def listening_at(address: str, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """The first endpoint of this address at which something listens.

    Raises:
        UnreachableError: there is none; the message says why at the last, and what to do.
    """
    problem = ""
    for endpoint in dialled(address):
        problem = _why_not(endpoint, timeout_s)
        if not problem:
            return endpoint
    raise UnreachableError(f"{address}: {problem}" if is_service(address) else problem)


def _why_not(endpoint: str, timeout_s: float) -> str:
    try:
        host, port = split_endpoint(endpoint)
    except BadEndpointError as error:
        return str(error)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return (
            f"the name {host} is not known here: is it spelt right, and is the VPN or the network up on"
            " which it is known? An address does as well (zcc-broker token --endpoint)"
        )
    problem = ""
    for _, _, _, _, address in found:
        problem = _try(host, port, str(address[0]), timeout_s)
        if not problem:
            return ""
    return problem


def _try(host: str, port: int, address: str, timeout_s: float) -> str:
    where = host if host == address else f"{host} ({address})"
    try:
        socket.create_connection((address, port), timeout_s).close()
    except ConnectionRefusedError:
        return (
            f"nothing listens on port {port} of {where}: is zcc-broker serve running there, on this port, and"
            " with --listen for other machines?"
        )
    except TimeoutError:
        return (
            f"{where} does not answer on port {port}: is the machine up, and does a firewall on the way let the"
            " port through?"
        )
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return f"there is no way to {where} from here ({error.strerror}): is the network or VPN up?"
        return f"{where}, port {port}: {error.strerror or error}"
    return ""
