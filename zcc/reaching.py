"""Why a broker's endpoint cannot be reached: the name, the way, the port, or what listens there.

ZeroMQ dials for ever and says nothing, so this tries the same by hand, for people who wait for an answer.
"""

from __future__ import annotations

import errno
import re
import socket

from zcc.errors import BadEndpointError

CONNECT_TIMEOUT_S = 3.0
# A name, an IPv4 address, or an IPv6 address in brackets. What else ZeroMQ takes (an interface,
# `source;target`) means something on one machine alone.
_ENDPOINT = re.compile(r"tcp://([\w.-]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):([0-9]{1,5})")
_MOST_PORT = 65_535


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


def check_listening(endpoint: str) -> None:
    """The one check of an endpoint to listen on: `*` is every address, and port 0 one that is free. libzmq
    itself takes a port modulo 65536.

    Raises:
        BadEndpointError: it is not tcp://HOST:PORT.
    """
    host, _, port = endpoint.rpartition(":")
    try:
        split_endpoint(f"{host.replace('*', 'all')}:{'1' if port in ('0', '*') else port}")
    except BadEndpointError as error:
        raise BadEndpointError(
            f"{endpoint!r} is nothing to listen on: expected tcp://HOST:PORT, a PORT up to {_MOST_PORT} (0: one"
            " that is free), and an IPv6 address in brackets"
        ) from error


def why_unreachable(endpoint: str, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """A sentence with what to do; empty where something listens at tcp://HOST:PORT."""
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
