"""What all sockets of the farm have in common."""

from __future__ import annotations

import asyncio
import itertools
import struct
import time

import pytest
import zmq
from zmq.backend import Socket as PlainSocket

from zcc import link
from zcc.link import EVENTS_AT_ONCE, Events, Monitor, bounded_socket


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.DEALER])
def test_dead_connections_are_found_by_the_kernel_and_not_by_heartbeats(kind: int) -> None:
    """A heartbeat of libzmq 4.3.5 ends the process where a peer is gone of whose messages some are unread."""
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = bounded_socket(context, kind, "tcp://127.0.0.1:1")

    def number(option: int) -> int:
        value = socket.getsockopt(option)
        assert isinstance(value, int)
        return value

    try:
        assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
        assert socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
        idle_s = number(zmq.TCP_KEEPALIVE_IDLE)
        probing_s = number(zmq.TCP_KEEPALIVE_INTVL) * number(zmq.TCP_KEEPALIVE_CNT)
        assert 0 < idle_s + probing_s <= 15
        assert 0 < number(zmq.TCP_MAXRT) <= 15_000
    finally:
        socket.close()
        context.term()


def test_a_peer_that_leaves_while_its_messages_are_unread_does_no_harm() -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    router = bounded_socket(context, zmq.ROUTER, "tcp://127.0.0.1:0", unread_messages=2)
    try:
        router.bind("tcp://127.0.0.1:0")
        endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        other = zmq.Context[zmq.Socket[bytes]]()
        dealer = other.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(endpoint.rstrip(b"\0").decode())
        for _ in range(20):
            dealer.send(bytes(100_000))
        assert router.poll(10_000)
        dealer.close()
        other.term()
        read, deadline = 0, time.monotonic() + 30
        while router.poll(200) and time.monotonic() < deadline:
            router.recv_multipart()
            read += 1
        assert 2 <= read <= 20
    finally:
        router.close()
        context.term()


class Flood:
    """A monitor's socket that has the next event as soon as one was read, until it is told to run dry."""

    get = staticmethod(PlainSocket.get)

    def __init__(self) -> None:
        self.most = float("inf")
        self._frames = itertools.count()

    def recv(self, socket: zmq.Socket[bytes], flags: int, copy: bool = True) -> bytes:
        number = next(self._frames)
        if number >= 2 * self.most:
            raise zmq.Again
        return b"tcp://somewhere" if number % 2 else struct.pack("=HI", 1, number // 2)


def test_a_monitor_that_never_runs_dry_leaves_the_loop_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        context, flood, heard = zmq.Context[zmq.Socket[bytes]](), Flood(), Events()
        monkeypatch.setattr(link, "PlainSocket", flood)
        watched = context.socket(zmq.ROUTER)
        monitor = Monitor(context, watched, zmq.EVENT_ACCEPTED, heard.extend)
        try:
            assert not monitor.catch_up(is_urgent=True)
            assert len(heard) == EVENTS_AT_ONCE
            for is_urgent in (True, False):
                assert not monitor.catch_up(is_urgent=is_urgent)  # not twice in a turn
            assert len(heard) == EVENTS_AT_ONCE
            for turn in range(2, 6):
                await asyncio.sleep(0)
                assert len(heard) == turn * EVENTS_AT_ONCE  # it goes on by itself
            flood.most = len(heard) + 7
            await asyncio.sleep(0)
            assert monitor.catch_up()
            assert heard == [(1, number) for number in range(flood.most)]
        finally:
            monitor.close()
            watched.close()
            context.term()

    asyncio.run(story())
