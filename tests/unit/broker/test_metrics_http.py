"""The door of the metrics with real sockets: what a Prometheus asks, and what anybody else may try."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import typer

from broker.errors import StartError
from broker.http.connection import HEAD_S, KEEP_ALIVE_S, MAX_HEAD_BYTES
from broker.http.door import HttpDoor
from broker.main import app
from broker.metrics.http import REQUESTS_BURST, ScrapePremises
from broker.metrics.service import DEFAULT_ADDRESS, MAX_SCRAPES
from zcc.exposition import OPEN_TYPE, TEXT_TYPE

PATIENCE_S = 10.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    """A door on loopback, with a clock that stands until it is moved, and a page that takes `steps`."""

    clock: Clock = field(default_factory=Clock)
    steps: int = 1
    text: str = "zcc_x 1\n"
    asked: int = 0
    streams: list[asyncio.StreamWriter] = field(default_factory=list)

    def text_of(self, is_open: bool) -> str | None:
        self.asked += 1
        return None if self.asked % self.steps else self.text + "# EOF\n" * is_open

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Served]:
        self.premises = ScrapePremises(now=self.clock, text_of=self.text_of)
        self.door = HttpDoor("127.0.0.1:0", self.premises, "--metrics", MAX_SCRAPES)
        await self.door.start()
        try:
            yield self
        finally:
            self.door.close()
            for writer in self.streams:
                writer.transport.abort()
            await asyncio.sleep(0)

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection(*self.door.address)
        self.streams.append(writer)
        return Client(reader, writer)

    async def ask(self, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
        return await (await self.connect()).ask(request)

    def let_pass(self, seconds: float) -> None:
        self.clock.now += seconds
        self.door.tick(self.clock.now)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        return await self.answer(has_body=not request.startswith(b"HEAD"))

    async def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            length = int(headers["content-length"]) if has_body else 0
            return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def wait_cut_off(self) -> bytes:
        """What came before the connection ended."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
            return b""


def run(story: Callable[[Served], Coroutine[None, None, None]], **more: object) -> None:
    async def whole() -> None:
        async with Served(**more).open() as served:  # type: ignore[arg-type]
            await story(served)

    asyncio.run(whole())


def test_a_prometheus_gets_the_page_in_the_form_that_it_asks_for_on_one_connection() -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        status, headers, body = await client.ask()
        assert (status, headers["content-type"], body) == (200, TEXT_TYPE, b"zcc_x 1\n")
        accept = b"Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
        status, headers, body = await client.ask(GET[:-2] + accept + b"\r\n")
        assert (status, headers["content-type"], body) == (200, OPEN_TYPE, b"zcc_x 1\n# EOF\n")
        status, headers, body = await client.ask(b"HEAD" + GET[3:])
        assert (status, headers["content-length"]) == (200, "8")
        status, _, body = await client.ask(GET.replace(b"/metrics", b"/metrics?x=1"))
        assert (status, body) == (200, b"zcc_x 1\n")

    run(story)


def test_a_page_of_many_steps_comes_whole_to_all_who_ask_meanwhile() -> None:
    async def story(served: Served) -> None:
        clients = [await served.connect() for _ in range(5)]
        for client in clients:
            client.writer.write(GET)
        assert [(await client.answer())[2] for client in clients] == [b"zcc_x 1\n"] * 5

    run(story, steps=40)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET.replace(b"/metrics", b"/"), 404),
        (GET.replace(b"/metrics", b"/metrics/../state"), 404),
        (GET.replace(b"/metrics", b"/metrics%00"), 404),
        (b"POST" + GET[3:], 405),
        (b"OPTIONS" + GET[3:], 405),
        (b"PUT" + GET[3:-2] + b"Content-Length: 5\r\n\r\nhello", 413),
        (GET[:-2] + b"Content-Length: 99999999999\r\n\r\n", 413),
        (GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413),
        (GET.replace(b"Host: x\r\n", b""), 400),
        (GET[:-2] + b"Host: y\r\n\r\n", 400),
        (GET[:-2] + b"Content-Length: -1\r\n\r\n", 400),
        (GET[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_HEAD_BYTES, 431),
        (GET[:-2] + b"X: " + b"a" * MAX_HEAD_BYTES, 431),
    ],
)  # fmt: skip
def test_what_is_no_request_for_the_page_is_refused_and_hung_up_on(
    request_: bytes, status: int
) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(request_)
        answer = await client.wait_cut_off()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.endswith(b"\r\n\r\n")
        assert served.asked == 0
        assert (await served.ask())[0] == 200

    run(story)


def test_two_hundred_idle_connections_keep_nobody_out() -> None:
    async def story(served: Served) -> None:
        prometheus = await served.connect()
        assert (await prometheus.ask())[0] == 200
        idle = [await served.connect() for _ in range(200)]
        async with asyncio.timeout(PATIENCE_S):
            while served.premises.counts["crowded_out"] < 201 - MAX_SCRAPES:
                await asyncio.sleep(0.001)
        assert (await served.ask())[0] == 200
        assert len(served.door._visits) <= MAX_SCRAPES
        served.let_pass(HEAD_S + 0.1)
        for client in idle:
            assert await client.wait_cut_off() == b""
        assert (await served.ask())[0] == 200

    run(story)


def test_a_head_that_comes_slowly_is_cut_off_in_time() -> None:
    async def story(served: Served) -> None:
        slow = [await served.connect() for _ in range(20)]
        for at in range(len(GET) - 1):
            for client in slow:
                client.writer.write(GET[at : at + 1])
            served.let_pass(0.5)
            if served.clock.now > 1000 + HEAD_S:
                break
            assert (await served.ask())[0] == 200
        for client in slow:
            assert await client.wait_cut_off() == b""
        assert served.asked <= HEAD_S / 0.5 + 1

    run(story)


def test_who_does_not_read_his_pages_gets_no_more_of_them_and_is_cut_off() -> None:
    async def story(served: Served) -> None:
        greedy = await served.connect()
        greedy.reader._transport.pause_reading()  # type: ignore[attr-defined]
        greedy.writer.write(GET * 30)
        async with asyncio.timeout(PATIENCE_S):
            while not served.asked:
                await asyncio.sleep(0.001)
        for _ in range(3):
            assert (await served.ask())[0] == 200
        (visit,) = [each for each in served.door._visits if not each._may_write]
        assert visit._transport is not None
        assert visit._transport.get_write_buffer_size() <= 2 * len(served.text)
        served.let_pass(KEEP_ALIVE_S + 0.1)
        async with asyncio.timeout(PATIENCE_S):
            while visit in served.door._visits:
                await asyncio.sleep(0.001)

    run(story, text="x" * (8 << 20))


def test_more_requests_than_anybody_needs_wait_and_the_broker_does_not() -> None:
    async def story(served: Served) -> None:
        flood = [await served.connect() for _ in range(8)]
        for client in flood:
            client.writer.write(GET * 1000)
        async with asyncio.timeout(PATIENCE_S):
            while served.premises.counts["pages"] < REQUESTS_BURST:
                await asyncio.sleep(0.001)
        for _ in range(200):  # turns of the loop
            await asyncio.sleep(0)
        assert REQUESTS_BURST <= served.premises.counts["pages"] <= REQUESTS_BURST + 1
        served.clock.now += 1.0
        for _ in range(200):
            await asyncio.sleep(0)
        for client in flood:
            client.writer.transport.abort()

    run(story)


def test_a_page_that_fails_costs_this_connection_and_nothing_else() -> None:
    async def story(served: Served) -> None:
        served.premises.text_of = lambda is_open: 1 / 0  # type: ignore[assignment, return-value]
        client = await served.connect()
        client.writer.write(GET)
        assert await client.wait_cut_off() == b""
        assert served.premises.counts["failed"] == 1
        served.premises.text_of = served.text_of
        assert (await served.ask())[0] == 200

    run(story)


@pytest.mark.parametrize("address", ["8319", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", ":1"])
def test_what_is_no_address_is_told_with_the_options_name(address: str) -> None:
    premises = ScrapePremises(now=Clock(), text_of=lambda is_open: "")
    with pytest.raises(StartError, match="write --metrics HOST:PORT"):
        HttpDoor(address, premises, "--metrics", MAX_SCRAPES)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ([], ""),
        (["--metrics"], DEFAULT_ADDRESS),
        (["--metrics", "--farm", "f"], DEFAULT_ADDRESS),
        (["--metrics", "10.0.0.1:99", "--farm", "f"], "10.0.0.1:99"),
        (["--metrics=[::1]:99"], "[::1]:99"),
    ],
)
def test_metrics_are_off_by_default_and_on_loopback_unless_another_address_is_named(
    words: list[str], address: str
) -> None:
    command: Any = typer.main.get_command(app)
    context = command.commands["serve"].make_context("serve", words)
    assert context.params["metrics"] == address
