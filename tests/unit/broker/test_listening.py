"""A broker that listens by the name of an interface: it binds what the interface has, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence

import pytest
import zmq

from broker import listening
from broker.errors import StartError
from broker.listening import InterfaceListener, Whereabouts, announced_addresses
from zcc.discovery.interfaces import InterfaceAddress
from zcc.discovery.multicast import Announcer

V4 = InterfaceAddress("wg0", "10.9.0.1", 24, 5)
OTHER = InterfaceAddress("wg0", "10.9.0.2", 24, 5)
V6 = InterfaceAddress("wg0", "fd00::1", 64, 5)
LINK = InterfaceAddress("wg0", "fe80::1", 64, 5)
LAN = InterfaceAddress("eth0", "192.168.1.1", 24, 2)
LOOPBACK = InterfaceAddress("lo", "127.0.0.1", 8, 1)


class Ports:
    """Stands for libzmq; `refused` endpoints cannot be bound, for that reason."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.refused: dict[str, int] = {}
        self.moved: list[str] = []

    def bind(self, endpoint: str) -> str:
        if endpoint in self.refused:
            raise zmq.ZMQError(self.refused[endpoint])
        self.bound.add(endpoint)
        return endpoint

    def unbind(self, endpoint: str) -> None:
        self.bound.remove(endpoint)


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[InterfaceAddress]:
    """The machine's addresses, to be changed."""
    addresses = [LOOPBACK, LAN]
    monkeypatch.setattr(listening, "interface_addresses", lambda: list(addresses))
    return addresses


def listener(ports: Ports) -> InterfaceListener:
    return InterfaceListener("wg0", 8317, ports.bind, ports.unbind, ports.moved.append)


def test_it_follows_what_comes_and_goes_and_says_so_once(
    ports: Ports, here: list[InterfaceAddress], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = listener(ports)
    for _ in range(3):
        watched.look()
    assert ports.bound == set()
    assert caplog.text.count("waiting for an interface wg0") == 1
    here[:] = [LAN, LINK, V4, V6]
    watched.look()
    assert ports.bound == {"tcp://10.9.0.1:8317", "tcp://[fd00::1]:8317"}
    assert watched.bound_addresses() == [V4, V6]
    here[:] = [LAN, OTHER]
    watched.look()
    assert ports.bound == {"tcp://10.9.0.2:8317"}
    here[:] = [LAN]
    watched.look()
    watched.look()
    assert ports.bound == set()
    assert caplog.text.count("waiting for an interface wg0") == 2
    here[:] = [OTHER]
    watched.look()
    assert ports.moved == ["tcp://10.9.0.1:8317", "tcp://10.9.0.2:8317"]


def test_a_port_that_is_taken_ends_the_start_and_later_is_tried_again(
    ports: Ports, here: list[InterfaceAddress], caplog: pytest.LogCaptureFixture
) -> None:
    here.append(V4)
    ports.refused["tcp://10.9.0.1:8317"] = errno.EADDRINUSE
    with pytest.raises(StartError, match="is another broker running"):
        listener(ports).look()
    ports.refused.clear()
    watched = listener(ports)
    watched.look()
    here[:] = [OTHER]
    ports.refused["tcp://10.9.0.2:8317"] = errno.EADDRINUSE
    for _ in range(3):
        watched.look()
    assert caplog.text.count("cannot listen on 10.9.0.2:8317") == 1
    ports.refused.clear()
    watched.look()
    assert ports.bound == {"tcp://10.9.0.2:8317"}


def test_an_address_that_is_not_ready_yet_is_no_word_worth(
    ports: Ports, here: list[InterfaceAddress], caplog: pytest.LogCaptureFixture
) -> None:
    here[:] = [V4, V6]
    ports.refused["tcp://[fd00::1]:8317"] = errno.EADDRNOTAVAIL
    watched = listener(ports)
    watched.look()
    assert "cannot listen" not in caplog.text
    ports.refused.clear()
    watched.look()
    assert "tcp://[fd00::1]:8317" in ports.bound


def test_what_is_announced_is_what_others_reach(
    here: list[InterfaceAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    here[:] = [LOOPBACK, LAN, V4, V6]
    monkeypatch.setattr(listening, "addresses_to_reach", lambda: [LAN, V4, V6])
    assert announced_addresses("tcp://0.0.0.0:8317") == [LAN, V4]
    assert announced_addresses("tcp://*:8317") == [LAN, V4]
    assert announced_addresses("tcp://[::]:8317") == [LAN, V4, V6]
    assert announced_addresses("tcp://192.168.1.1:8317") == [LAN]
    assert announced_addresses("tcp://10.77.0.1:8317") == []
    with pytest.raises(StartError, match=r"no other machine reaches tcp://127\.0\.0\.1:8317"):
        announced_addresses("tcp://127.0.0.1:8317")


def test_an_announcement_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the library of multicast raises: it is logged once, and does not end the following."""
    monkeypatch.setattr(listening, "LOOK_EVERY_S", 0.0)
    told: list[int] = []

    class Failing(Announcer):
        async def announce(self, addresses: Sequence[InterfaceAddress], port: int) -> bool:
            told.append(port)
            if len(told) < 4:
                raise RuntimeError("the name is taken")
            done.set()
            return False

    async def follow() -> None:
        whereabouts = Whereabouts(None, Failing("lab", "k" * 40), lambda: ([LAN], 8317))
        await asyncio.wait_for(done.wait(), 30)
        await whereabouts.close()

    done = asyncio.Event()
    asyncio.run(follow())
    assert told[:4] == [8317] * 4
    assert caplog.text.count("following this machine's addresses") == 1
