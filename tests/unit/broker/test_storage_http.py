"""The storage's HTTP door with real sockets: what ccache asks, and what nobody should."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.allowance import Allowance
from broker.errors import StartError
from broker.http.connection import HEAD_S, KEEP_ALIVE_S, STALL_S
from broker.http.door import ASK_AGAIN_S, MAX_VISITS, HttpDoor
from broker.storage import http as http_module
from broker.storage.http import MAX_DRAINED_BYTES, MIN_BYTES_PER_S, Premises, Visit
from broker.storage.tokens import StorageAccess, name_of
from cache.values import MAX_VALUE_BYTES, ValueStore
from zcc.summing import MOST_OF_THE_SAME, PERIOD_S

PATIENCE_S = 5.0
OPTION = "--ccache-listen"
KEY = "5652ec8584df4d793a5c5f070a158d22d612ea0a"
PATH = f"/team/{KEY[:2]}/{KEY[2:]}"
BURST = 4000
TOKENS = {"reader": StorageAccess.READ, "writer": StorageAccess.WRITE}


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    """A door on loopback, with a clock that stands until it is moved."""

    door: HttpDoor
    premises: Premises
    clock: Clock
    clients: list[Client] = field(default_factory=list)

    def let_pass(self, seconds: float) -> None:
        self.clock.now += seconds
        self.door.tick(self.clock.now)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.door.address))
        self.clients.append(client)
        return client

    async def ask(
        self, method: str, path: str = PATH, body: bytes = b"", token: str = "writer"
    ) -> Answer:
        client = await self.connect()
        return await client.ask(method, path, body, token)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(
        self, method: str, path: str = PATH, body: bytes = b"", token: str = "writer"
    ) -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{length}\r\n"
        )
        self.writer.write(head.encode() + body)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            return Answer(int(head[0].split()[1]), headers, await self.reader.readexactly(length))

    async def wait_cut_off(self) -> bytes:
        """What came before the connection ended."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def serving(
    directory: Path, limit_bytes: int = 1 << 30, most: int = MAX_VISITS
) -> AsyncIterator[Served]:
    clock = Clock()
    values = ValueStore(str(directory / "values"), limit_bytes)
    premises = Premises(values=values, access_of=TOKENS.get, now=clock)
    door = HttpDoor("127.0.0.1:0", premises, OPTION, most)
    await door.start()
    served = Served(door, premises, clock)
    try:
        yield served
    finally:
        door.close()
        for client in served.clients:
            client.writer.transport.abort()
        await asyncio.sleep(0)  # asyncio closes aborted sockets in the loop's next turn
        assert values.arriving_bytes == 0


def run(
    directory: Path,
    story: Callable[[Served], Coroutine[None, None, None]],
    most: int = MAX_VISITS,
) -> None:
    async def whole() -> None:
        async with serving(directory, most=most) as served:
            await story(served)

    asyncio.run(whole())


# ---- what ccache asks --------------------------------------------------------------------------


def test_a_stored_value_is_given_in_every_layout(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        assert (await served.ask("GET")).status == 404
        assert (await served.ask("PUT", body=b"a value")).status == 204
        for path in (PATH, f"/{KEY}", f"/x/ac/{KEY}{KEY[:24]}"):
            found = await served.ask("GET", path)
            assert (found.status, found.body) == (200, b"a value")
        head = await served.ask("HEAD")
        assert (head.status, head.headers["content-length"]) == (200, "7")
        assert (await served.ask("DELETE")).status == 204
        assert (await served.ask("HEAD")).status == 404
        assert (await served.ask("DELETE")).status == 204  # ccache would give the storage up

    run(tmp_path, story)


def test_a_connection_serves_many_requests(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        for round_ in range(20):
            body = bytes([round_ + 1]) * 100_000
            assert (await client.ask("PUT", body=body)).status == 204
            assert (await client.ask("HEAD")).status == 200
            assert (await client.ask("GET")).body == body

    run(tmp_path, story)


def test_a_large_value_comes_whole(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        body = bytes(range(256)) * (40 << 10)  # many pieces, more than the socket's buffers hold
        assert (await served.ask("PUT", body=body)).status == 204
        assert (await served.ask("GET", token="reader")).body == body

    run(tmp_path, story)


def test_a_pipelined_request_waits_for_its_turn(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        body = b"v" * (5 << 20)
        await served.ask("PUT", body=body)
        client = await served.connect()
        request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader\r\n\r\n".encode()
        client.writer.write(request * 3)
        assert [(await client.answer()).body == body for _ in range(3)] == [True] * 3
        client.writer.write(request.replace(b"GET", b"HEAD") * 2000)
        assert {(await client.answer("HEAD")).status for _ in range(2000)} == {200}

    run(tmp_path, story)


def test_a_client_that_waits_to_be_told_to_go_on_is_told(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        head = (
            "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n"
            "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        client = await served.connect()
        client.writer.write(head.format(PATH, "writer").encode())
        assert (await client.answer()).status == 100
        client.writer.write(b"value")
        assert (await client.answer()).status == 204
        client = await served.connect()
        client.writer.write(head.format(PATH, "nobody").encode())
        assert (await client.answer()).status == 401
        assert await client.wait_cut_off() == b""

    run(tmp_path, story)


# ---- who may what ------------------------------------------------------------------------------


def test_a_reader_is_told_that_it_stored_and_did_not(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        assert (await served.ask("PUT", body=b"from a reader", token="reader")).status == 204
        assert (await served.ask("GET")).status == 404
        await served.ask("PUT", body=b"from a writer")
        assert (await served.ask("PUT", body=b"from a reader", token="reader")).status == 204
        assert (await served.ask("DELETE", token="reader")).status == 204
        assert (await served.ask("GET", token="reader")).body == b"from a writer"

    run(tmp_path, story)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
def test_a_stranger_gets_nothing(tmp_path: Path, method: str) -> None:
    async def story(served: Served) -> None:
        await served.ask("PUT", body=b"a value")
        answer = await served.ask(method, body=b"poison", token="stranger")
        assert (answer.status, answer.body) == (401, b"")
        client = await served.connect()
        client.writer.write(
            f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert (await client.answer(method)).status == 401
        assert (await served.ask("GET")).body == b"a value"
        assert served.premises.counts["unauthorized"] == 2

    run(tmp_path, story)


def test_a_refusal_is_heard_behind_a_body_and_a_flood_is_not_read(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        assert (await client.ask("PUT", body=b"x" * MAX_DRAINED_BYTES, token="no")).status == 401
        assert await client.wait_cut_off() == b""
        client = await served.connect()
        client.writer.write(
            f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n".encode()
        )
        assert (await client.answer()).status == 401
        assert await client.wait_cut_off() == b""

    run(tmp_path, story)


def test_a_token_that_ends_while_a_body_comes_stores_and_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOKENS, "leaver", StorageAccess.WRITE)

    async def story(served: Served) -> None:
        await served.ask("PUT", body=b"a value")
        clients = [await served.connect() for _ in range(2)]
        for client, method in zip(clients, ("PUT", "DELETE"), strict=True):
            head = f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer leaver\r\n"
            client.writer.write(f"{head}Content-Length: 6\r\n\r\npoiso".encode())
        await until(lambda: sum(each.token == "leaver" for each in served.door._visits) == 2)
        monkeypatch.delitem(TOKENS, "leaver")
        for client in clients:
            client.writer.write(b"n")
            assert (await client.answer()).status == 401
        assert (await served.ask("GET", token="reader")).body == b"a value"

    run(tmp_path, story)


def test_who_is_inside_when_his_token_ends_is_turned_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOKENS, "leaver", StorageAccess.READ)

    async def story(served: Served) -> None:
        await served.ask("PUT", body=b"v" * (20 << 20))
        stays, leaver = await served.connect(), await served.connect()
        assert (await stays.ask("HEAD", token="reader")).status == 200
        leaver.writer.write(heads(f"GET {PATH} HTTP/1.1").replace(b"writer", b"leaver"))
        await leaver.reader.readexactly(100)
        monkeypatch.delitem(TOKENS, "leaver")
        served.let_pass(ASK_AGAIN_S)
        assert len(await leaver.wait_cut_off()) < 20 << 20
        assert (await stays.ask("HEAD", token="reader")).status == 200

    run(tmp_path, story)


# ---- what nobody should ask --------------------------------------------------------------------


def heads(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "Host: x", "Authorization: Bearer writer", "", ""]).encode() + body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 0"), 400),
        (heads(f"PUT {PATH} HTTP/1.1"), 400),
        (heads(f"PUT {PATH} HTTP/1.1", f"Content-Length: {MAX_VALUE_BYTES + 1}"), 413),
        (heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 99999999999999999999"), 413),
        (
            heads(
                f"PUT {PATH} HTTP/1.1", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n"
            ),
            411,
        ),
        (heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 3", "Content-Length: 4"), 400),
        (heads(f"PUT {PATH} HTTP/1.1", "Content-Length: -3"), 400),
        (heads("PUT /somewhere/else HTTP/1.1", "Content-Length: 1", body=b"x"), 404),
        (heads("GET /../../etc/passwd HTTP/1.1"), 404),
        (heads(f"POST {PATH} HTTP/1.1"), 405),
        (heads(f"GET {PATH} HTTP/1.1", "X: " + "y" * 20_000)[:-4], 431),
        (b"\x16\x03\x01\x02\x00\x01\x00" * 10 + b"\r\n\r\n", 400),
    ],
)
def test_a_request_that_cannot_be_is_refused(tmp_path: Path, request_: bytes, status: int) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(request_)
        assert (await client.answer()).status == status
        assert (await served.ask("GET")).status == 404

    run(tmp_path, story)


def test_a_body_that_breaks_off_is_not_stored(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 100", body=b"half"))
        await client.writer.drain()
        await until(lambda: served.premises.values.arriving_bytes == 4)
        client.writer.close()
        await until(lambda: served.premises.values.arriving_bytes == 0)
        assert (await served.ask("GET")).status == 404

    run(tmp_path, story)


def test_a_full_store_says_so_and_goes_on(tmp_path: Path) -> None:
    async def whole() -> None:
        async with serving(tmp_path, limit_bytes=1000) as served:
            assert (await served.ask("PUT", body=b"x" * 2000)).status == 507
            assert (await served.ask("PUT", body=b"x" * 500)).status == 204

    asyncio.run(whole())


def test_what_one_client_brings_about_again_and_again_fills_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> None:
        async with serving(tmp_path, limit_bytes=1000) as served:
            client = await served.connect()
            for _ in range(50):
                assert (await client.ask("PUT", body=b"x" * 2000)).status == 507
            assert len(caplog.messages) == MOST_OF_THE_SAME
            client.writer.close()
            served.let_pass(PERIOD_S)
            assert caplog.messages[-1].endswith(": 40 times more")

    asyncio.run(whole())


def test_a_disk_that_fails_costs_one_connection(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        await served.ask("PUT", body=b"a value")
        path = next(each for each in (tmp_path / "values").glob("??/*"))
        path.write_bytes(path.read_bytes()[:-2])
        assert (await served.ask("GET")).body == b"a val"  # ccache's own checksum finds it
        (tmp_path / "values" / "tmp").rmdir()
        assert (await served.ask("PUT", body=b"another")).status == 507
        assert (await served.ask("HEAD")).status == 200

    run(tmp_path, story)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=300) | st.sampled_from([
    heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 5"), heads(f"GET {PATH} HTTP/1.1"), b"\r\n", b"value",
]), max_size=6))  # fmt: skip
def test_whatever_comes_the_next_client_is_served(tmp_path: Path, pieces: list[bytes]) -> None:
    """The invariant: no bytes stop the door, and none are stored but as a whole value."""

    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(b"".join(pieces))
        client.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await client.wait_cut_off()
        assert served.premises.counts["failed"] == 0
        found = await served.ask("GET")
        assert found.status == 404 or len(found.body) == 5

    run(tmp_path, story)


# ---- who takes his time ------------------------------------------------------------------------


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.001)


def test_who_says_nothing_is_cut_off(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        silent, slow = await served.connect(), await served.connect()
        slow.writer.write(b"GET /")
        kept = await served.connect()
        await kept.ask("GET")
        served.let_pass(HEAD_S + 1)
        assert await silent.wait_cut_off() == b""
        assert await slow.wait_cut_off() == b""
        assert (await kept.ask("GET")).status == 404
        served.let_pass(KEEP_ALIVE_S + 1)
        assert await kept.wait_cut_off() == b""

    run(tmp_path, story)


def test_a_body_that_stands_still_is_cut_off(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 1000000", body=b"x"))
        await until(lambda: served.premises.values.arriving_bytes == 1)
        served.let_pass(STALL_S + 1)
        assert await client.wait_cut_off() == b""
        await until(lambda: served.premises.values.arriving_bytes == 0)
        assert served.premises.counts["late"] == 1

    run(tmp_path, story)


def test_a_body_that_drips_is_cut_off_too(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        size = 10 * MIN_BYTES_PER_S
        client = await served.connect()
        client.writer.write(heads(f"PUT {PATH} HTTP/1.1", f"Content-Length: {size}"))
        client.writer.write(b"x")
        await until(lambda: served.premises.values.arriving_bytes == 1)
        seconds = 0
        while served.premises.values.arriving_bytes:
            client.writer.write(b"x")
            await asyncio.sleep(0.002)
            served.let_pass(1)
            seconds += 1
            assert seconds < 60
        assert 10 <= seconds <= 10 + STALL_S + 2

    run(tmp_path, story)


def test_who_asks_and_does_not_read_holds_no_more_than_a_piece(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        await served.ask("PUT", body=b"v" * (60 << 20))
        client = await served.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(heads(f"GET {PATH} HTTP/1.1"))
        await until(lambda: any(not visit._may_write for visit in served.door._visits))
        (visit,) = [each for each in served.door._visits if not each._may_write]
        assert visit._transport is not None
        assert visit._transport.get_write_buffer_size() <= 512 << 10
        assert (await served.ask("HEAD")).status == 200  # others are served meanwhile
        served.let_pass(STALL_S + 1)
        await until(lambda: visit not in served.door._visits)

    run(tmp_path, story)


def test_a_body_that_came_fast_may_not_drip_for_the_rest(tmp_path: Path) -> None:
    """Of the four minutes that 16 MiB may take, none is left to who does not use them."""

    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(heads(f"PUT {PATH} HTTP/1.1", f"Content-Length: {16 << 20}"))
        client.writer.write(bytes(12 << 20))
        await until(lambda: served.premises.values.arriving_bytes == 12 << 20)
        seconds = 0
        while served.premises.values.arriving_bytes:
            client.writer.write(b"x")
            await asyncio.sleep(0.002)
            served.let_pass(1)
            seconds += 1
            assert seconds < 60
        assert seconds > STALL_S

    run(tmp_path, story)


def test_who_asks_much_at_once_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        greedy, other = await served.connect(), await served.connect()
        await other.ask("GET")
        greedy.writer.write(heads(f"GET {PATH} HTTP/1.1") * BURST)
        await until(lambda: served.premises.counts["misses"] > 1)
        assert (await other.ask("GET")).status == 404
        assert served.premises.counts["misses"] < BURST // 4
        for _ in range(BURST):
            assert (await greedy.answer()).status == 404

    run(tmp_path, story)


def test_who_asks_much_and_does_not_read_is_answered_no_further(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        for option in (
            socket.SO_SNDBUF,
            socket.SO_RCVBUF,
        ):  # else the kernel takes megabytes of answers
            served.door._listener.setsockopt(socket.SOL_SOCKET, option, 4096)
        client = await served.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(10):
            client.writer.write(heads(f"GET {PATH} HTTP/1.1") * BURST)
        await until(lambda: any(not visit._may_write for visit in served.door._visits))
        (visit,) = served.door._visits
        assert visit._transport is not None
        assert visit._transport.get_write_buffer_size() <= 128 << 10
        answered = served.premises.counts["misses"]
        assert (await served.ask("GET")).status == 404
        assert served.premises.counts["misses"] == answered + 1

    run(tmp_path, story)


def test_a_stranger_has_one_answer_a_connection(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        client.writer.write(heads(f"GET {PATH} HTTP/1.1").replace(b"writer", b"nobody") * BURST)
        await until(lambda: not served.door._visits)
        assert served.premises.counts["unauthorized"] == 1

    run(tmp_path, story)


def test_a_token_that_asks_more_than_it_may_waits_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "STORAGE_PER_S", 2.0)

    async def story(served: Served) -> None:
        served.premises.allowance = Allowance(10, 1.0)
        client = await served.connect()
        for _ in range(10):
            await client.ask("GET")
        client.writer.write(heads(f"GET {PATH} HTTP/1.1"))
        await until(lambda: served.premises.allowance.left(name_of("writer"), 1000.0) < 0)
        assert (await served.ask("GET", token="reader")).status == 404
        assert served.premises.counts["misses"] == 11
        assert (await client.answer()).status == 404
        assert served.premises.counts["misses"] == 12

    run(tmp_path, story)


def test_beyond_the_limit_strangers_go_first(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        busy, idle = await served.connect(), await served.connect()
        await idle.ask("HEAD")
        busy.writer.write(heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 5", body=b"va"))
        await until(lambda: served.premises.values.arriving_bytes == 2)
        for _ in range(
            20
        ):  # each holds a body open, and has been here for less time than the others
            stranger = await served.connect()
            head = heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 99", body=b"x")
            stranger.writer.write(head.replace(b"writer", b"nobody"))
        await until(lambda: served.premises.counts["crowded_out"] >= 18)
        busy.writer.write(b"lue")
        assert (await busy.answer()).status == 204
        assert (await idle.ask("GET")).body == b"value"

    run(tmp_path, story, most=3)


def test_beyond_the_limit_the_idle_go_first(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        busy = await served.connect()
        busy.writer.write(heads(f"PUT {PATH} HTTP/1.1", "Content-Length: 5", body=b"va"))
        await until(lambda: served.premises.values.arriving_bytes == 2)
        idle = []
        for _ in range(5):
            idle.append(await served.connect())
            await idle[-1].ask("GET")
            served.clock.now += 0.001
        for cut in idle[:3]:
            assert await cut.wait_cut_off() == b""
        busy.writer.write(b"lue")
        assert (await busy.answer()).status == 204
        assert (await idle[-1].ask("GET")).body == b"value"

    run(tmp_path, story, most=3)


async def connect_at_once(served: Served, count: int) -> list[Client]:
    """So many that wait to be let in together."""
    return list(await asyncio.gather(*(served.connect() for _ in range(count))))


def is_open(client: Client) -> bool:
    return not client.reader.at_eof() and client.reader.exception() is None


def test_of_many_that_come_at_once_none_stays_without_a_deadline(tmp_path: Path) -> None:
    """asyncio lets several in before it tells of the first: each of them could be the one that has to go."""

    async def story(served: Served) -> None:
        known = await connect_at_once(served, 16)
        for client in known:
            await client.ask("HEAD")
        for _ in range(3):
            before = served.premises.counts["crowded_out"]
            strangers = await connect_at_once(served, 40)
            await until(lambda: served.premises.counts["crowded_out"] >= before + 36)  # noqa: B023
            served.let_pass(HEAD_S + 0.1)
            for stranger in strangers:
                assert await stranger.wait_cut_off() == b""
        assert sum(map(is_open, known)) == 12
        assert (await served.ask("HEAD")).status == 404

    run(tmp_path, story, most=16)


def test_one_token_leaves_room_for_others_and_for_who_has_shown_none(tmp_path: Path) -> None:
    async def ask(served: Served, count: int, token: str) -> list[Client]:
        clients = []
        for _ in range(count):
            clients.append(await served.connect())
            await clients[-1].ask("HEAD", token=token)
            served.clock.now += 0.001
        return clients

    async def story(served: Served) -> None:
        read = await ask(served, 16, "reader")
        await until(lambda: sum(map(is_open, read)) == 12)
        first, *_ = [await served.connect() for _ in range(4)]  # as many as there is room for
        await first.ask("HEAD", token="writer")
        wrote = [first, *await ask(served, 5, "writer")]
        await until(lambda: sum(map(is_open, read)) == 6)
        wrote += await ask(served, 16, "writer")
        await until(lambda: sum(map(is_open, wrote)) == 6)
        assert sum(map(is_open, read)) == 6

    run(tmp_path, story, most=16)


def test_who_is_let_in_while_the_door_closes_is_cut_off(tmp_path: Path) -> None:
    async def story(served: Served) -> None:
        here, there = socket.socketpair()
        with there:
            served.door.close()
            visit = Visit(served.premises, served.door)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: visit, here)
            await until(lambda: here.fileno() < 0)
            assert there.recv(1) == b""

    run(tmp_path, story)


# ---- the address -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "no such host:1"]
)
def test_an_address_that_cannot_be_is_told(tmp_path: Path, address: str) -> None:
    premises = Premises(values=ValueStore(str(tmp_path), 1), access_of=TOKENS.get, now=Clock())
    with pytest.raises(StartError):
        HttpDoor(address, premises, OPTION)


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    premises = Premises(values=ValueStore(str(tmp_path), 1), access_of=TOKENS.get, now=Clock())
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError):
        HttpDoor(f"127.0.0.1:{taken.getsockname()[1]}", premises, OPTION)
