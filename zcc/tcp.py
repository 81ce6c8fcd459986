"""What the kernel knows of a peer's TCP connection, by the descriptor that libzmq has for it.

Owns the reading of `tcp_info` and the end of a connection. A descriptor is libzmq's, which may close it at any
moment, and its number may then be another's: so whatever is done is done to the connection with that address.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# `struct tcp_info` of linux/tcp.h: 8 bytes of flags, 24 numbers of 32 bits, then of 64 bits tcpi_pacing_rate,
# tcpi_max_pacing_rate, tcpi_bytes_acked and tcpi_bytes_received (both since Linux 4.1).
_COUNTS_AT = 8 + 24 * 4 + 2 * 8
_COUNTS = struct.Struct("=QQ")
_INFO_BYTES = _COUNTS_AT + _COUNTS.size

# As getpeername says it: the host, the port, and for IPv6 two more.
Address = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Bytes since the connection began: what the peer's kernel has confirmed, and what has come here."""

    acked_bytes: int
    received_bytes: int


def address_of(descriptor: int) -> Address | None:
    """Who is at the other end; None: it is no TCP connection, or none any more."""
    with _borrowed(descriptor) as found:
        return None if found is None else _address(found)


def counts_of(descriptor: int, address: Address | None) -> Counts | None:
    """The counts of the connection with this address, 0 where the kernel keeps none; None: it is gone."""
    with _borrowed(descriptor) as found:
        if found is None or address is None or _address(found) != address:
            return None
        try:
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        except OSError:
            return None
    is_whole = len(info) == _INFO_BYTES
    return Counts(*_COUNTS.unpack_from(info, _COUNTS_AT)) if is_whole else Counts(0, 0)


def shut(descriptor: int, address: Address | None) -> None:
    """End the connection with this address: libzmq then finds it broken, and closes its descriptor.

    It takes no descriptor of its own: who uses them all up is shut as well. In the moment between look and end
    the number can become another connection's, which is cut off then, and comes again.
    """
    with _borrowed(descriptor) as found, contextlib.suppress(OSError):
        if found is not None and address is not None and _address(found) == address:
            found.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket | None]:
    """The descriptor as a socket, which stays libzmq's; None where it is none."""
    try:
        # Named outright: else each look asks the kernel for all three.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        yield None
        return
    try:
        yield found
    finally:
        found.detach()


def _address(found: socket.socket) -> Address | None:
    try:
        address = found.getpeername()
    except OSError:
        return None
    return address if isinstance(address, tuple) else None
