"""What is done to a connection by the number of its descriptor."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from zcc import tcp

PATIENCE_S = 5.0


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection on loopback: here, and at the other end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as there,
    ):
        here, _ = listener.accept()
        there.settimeout(PATIENCE_S)
        with closing(here):
            yield here, there


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_connection_is_shut_without_any_descriptor_left() -> None:
    with connected() as (here, there):
        address = tcp.address_of(here.fileno())
        with no_descriptor_left():
            with pytest.raises(OSError, match="Too many open files"):
                os.open(os.devnull, os.O_RDONLY)
            assert tcp.address_of(here.fileno()) == address
            assert tcp.counts_of(here.fileno(), address) is not None
            tcp.shut(here.fileno(), address)
        assert there.recv(1) == b""
        assert here.fileno() >= 0  # it is its owner's to close


def test_anothers_connection_by_the_same_descriptor_is_left_alone() -> None:
    with connected() as (here, there):
        for address in (None, ("127.0.0.1", 1)):
            tcp.shut(here.fileno(), address)
            assert tcp.counts_of(here.fileno(), address) is None
        here.sendall(b"x")
        assert there.recv(1) == b"x"


def test_a_descriptor_that_is_closed_or_no_socket_is_passed_over() -> None:
    with connected() as (here, _):
        address, number = tcp.address_of(here.fileno()), here.fileno()
    tcp.shut(number, address)
    assert tcp.address_of(number) is None
    with open("/dev/null", "rb") as file:
        tcp.shut(file.fileno(), address)
        assert tcp.address_of(file.fileno()) is None
