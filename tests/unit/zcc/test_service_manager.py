"""What a service manager hears of a process, over a notify socket as systemd's (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notified import Heard
from zcc.service.manager import ServiceManager

PERIOD_S = 0.06


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    with Heard(str(tmp_path / "notify")) as open_:
        yield open_


def variables(address: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(PERIOD_S * 1e6)), **more}


def test_each_word_is_one_datagram_of_lines(heard: Heard) -> None:
    manager = ServiceManager.of(variables(heard.address))
    manager.ready("serves\nwell")
    manager.status("serves well")
    manager.status("serves better")
    manager.reloading()
    manager.stopping("ends what runs", 80.0)
    manager.close()
    ready, better, reloading, stopping = (heard.next() for _ in range(4))
    assert ready == {"READY": "1", "STATUS": "serves well"}
    assert better == {"STATUS": "serves better"}
    assert reloading["RELOADING"] == "1"
    assert 0 <= time.monotonic_ns() // 1000 - int(reloading["MONOTONIC_USEC"]) < 60_000_000
    assert stopping == {
        "STOPPING": "1", "STATUS": "ends what runs", "EXTEND_TIMEOUT_USEC": "80000000",
    }  # fmt: skip


def test_a_status_that_is_as_it_was_is_not_said_again(heard: Heard) -> None:
    manager = ServiceManager.of(variables(heard.address))
    manager.ready("one line")
    manager.status("one line")
    manager.status("another")
    manager.close()
    assert heard.next()["READY"] == "1"
    assert heard.next() == {"STATUS": "another"}


def test_an_abstract_socket_is_one_too() -> None:
    with Heard(f"@zcc-test-{os.getpid()}") as heard:
        manager = ServiceManager.of({"NOTIFY_SOCKET": heard.address})
        manager.ready("here")
        manager.close()
        assert heard.next()["READY"] == "1"


def test_nobody_else_speaks_in_our_name(heard: Heard) -> None:
    environment = variables(heard.address, WATCHDOG_PID=str(os.getpid()), PATH="/bin")
    ServiceManager.of(environment).close()
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nonexistent/notify"])
def test_without_a_manager_nothing_is_said_and_nothing_fails(address: str) -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": address} if address else {})
    assert not manager.is_there
    manager.ready("here")
    manager.stopping("gone")
    asyncio.run(_watch_briefly(manager))
    manager.close()


async def _watch_briefly(manager: ServiceManager) -> None:
    manager.watch(lambda: "never asked for")
    await asyncio.sleep(0)


def test_a_manager_that_goes_away_ends_nobody(tmp_path: Path) -> None:
    with Heard(str(tmp_path / "notify")) as heard:
        manager = ServiceManager.of(variables(heard.address))
        manager.ready("here")
    manager.status("still here")
    manager.close()


def test_pings_come_from_the_loop_and_stop_when_it_hangs(heard: Heard) -> None:
    manager = ServiceManager.of(variables(heard.address))

    async def run() -> None:
        manager.watch(lambda: "runs")
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, heard.next) != {"WATCHDOG": "1"}:
            pass
        heard.drain()
        # This callback is the loop's hang: nothing else of the loop runs beside it.
        until = time.monotonic() + 3 * PERIOD_S
        while time.monotonic() < until:
            pass
        assert heard.drain() == []
        while await loop.run_in_executor(None, heard.next) != {"WATCHDOG": "1"}:
            pass

    asyncio.run(run())
    manager.close()


def test_a_watchdog_of_another_process_is_not_fed(heard: Heard) -> None:
    manager = ServiceManager.of(variables(heard.address, WATCHDOG_PID="1"))

    async def run() -> dict[str, str]:
        manager.watch(lambda: "runs")
        return await asyncio.get_running_loop().run_in_executor(None, heard.next)

    assert asyncio.run(run()) == {"STATUS": "runs"}
    manager.close()


def is_taken(filler: socket.socket) -> bool:
    try:
        filler.send(b"x")
    except BlockingIOError:
        return False
    return True


def test_a_full_queue_blocks_the_loop_for_a_second_at_the_most(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(path)
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.connect(path)
        filler.setblocking(False)
        while is_taken(filler):
            pass
        manager = ServiceManager.of({"NOTIFY_SOCKET": path})
        manager.ready("nobody listens")  # returns
        manager.close()
        filler.close()
