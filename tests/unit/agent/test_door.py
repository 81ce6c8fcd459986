"""The agent's door: connections of launchers and of the command line, over real sockets."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from zcc.agent.launchers.connection import Visitor
from zcc.agent.launchers.control import ask
from zcc.agent.launchers.door import Door, open_door
from zcc.agent.launchers.parked import RestingRoom
from zcc.agent.launchers.wire import Request
from zcc.errors import ConfigError

STRINGS = b"/work\0gcc\0/usr/bin/gcc\0-c\0a.c\0PATH=/usr/bin\0"
BODY = struct.pack("<IIHHII", 0, 0o022, 0, 0, 2, 1) + STRINGS
REQUEST = struct.pack("<4sI", b"ZCC\1", len(BODY)) + BODY
PATIENCE_S = 20


class Recorder:
    """A host that writes down what happens to it."""

    def __init__(self) -> None:
        self.arrived: list[tuple[Visitor, Request]] = []
        self.closed: list[int] = []
        self.misunderstood = 0

    def call_arrived(self, visitor: Visitor, request: Request) -> None:
        self.arrived.append((visitor, request))

    def call_misunderstood(self) -> None:
        self.misunderstood += 1

    def call_closed(self, visitor: Visitor) -> None:
        self.closed.append(visitor.number)

    async def control(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"asked": request}


class House:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = Recorder()
        self.callers: list[socket.socket] = []
        self.door: Door = open_door(str(path), self.host)

    def enter(self) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(self.path))
        caller.setblocking(False)
        self.callers.append(caller)
        return caller

    async def call(self) -> tuple[socket.socket, Visitor]:
        """A launcher whose request has arrived, and the other end of its connection."""
        caller = self.enter()
        caller.send(REQUEST)
        await self.until(lambda: self.host.arrived)
        return caller, self.host.arrived[-1][0]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[House]:
    opened = House(tmp_path / "state" / "agent.sock")
    try:
        yield opened
    finally:
        opened.door.close()
        for caller in opened.callers:
            caller.close()


async def received(caller: socket.socket) -> bytes:
    """All that comes until the end."""
    loop, pieces = asyncio.get_running_loop(), []
    async with asyncio.timeout(PATIENCE_S):
        while piece := await loop.sock_recv(caller, 1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def test_a_door_knows_when_its_place_is_taken(tmp_path: Path) -> None:
    """By a build that cleans its HOME away; another agent's socket there is not ours to remove."""

    async def main() -> None:
        async with house(tmp_path) as opened:
            path = tmp_path / "state" / "agent.sock"
            assert opened.door.is_in_place()
            path.unlink()
            assert not opened.door.is_in_place()
            with socket.socket(socket.AF_UNIX) as anothers:
                anothers.bind(str(path))
            assert not opened.door.is_in_place()
        assert path.exists()
        async with house(tmp_path):
            pass
        assert not path.exists()

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7, 40, len(REQUEST)])
def test_a_request_arrives_in_whatever_pieces_it_is_sent(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            caller = at.enter()
            for start in range(0, len(REQUEST), size):
                await asyncio.get_running_loop().sock_sendall(caller, REQUEST[start : start + size])
                await asyncio.sleep(0)
            await at.until(lambda: at.host.arrived)
            visitor, request = at.host.arrived[0]
            assert request.argv == (b"gcc", b"-c", b"a.c")
            assert request.environment == {b"PATH": b"/usr/bin"}
            assert at.host.closed == []
            caller.close()
            await at.until(lambda: at.host.closed == [visitor.number])

    asyncio.run(main())


def test_calls_are_numbered_as_they_come(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            callers = [at.enter() for _ in range(300)]
            for caller in callers:
                caller.send(REQUEST)
            await at.until(lambda: len(at.host.arrived) == 300)
            assert sorted(visitor.number for visitor, _ in at.host.arrived) == list(range(1, 301))
            for caller in callers:
                caller.close()
            await at.until(lambda: len(at.host.closed) == 300)

    asyncio.run(main())


def test_a_slow_caller_gets_all_of_a_large_answer_in_order(tmp_path: Path) -> None:
    pieces = [
        bytes([at % 251]) * (at * 997 % 70_000) for at in range(700)
    ]  # more than one sendmsg takes

    async def main() -> None:
        async with house(tmp_path) as at:
            caller, visitor = await at.call()
            visitor.send(*pieces)
            visitor.send(b"and this", b"")
            visitor.close()
            visitor.send(b"too late")
            assert await received(caller) == b"".join(pieces) + b"and this"
            await at.until(lambda: at.host.closed == [visitor.number])

    asyncio.run(main())


def test_an_answer_to_who_has_gone_is_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            caller, visitor = await at.call()
            visitor.send(bytes(8 << 20))  # more than the socket holds
            caller.close()
            await at.until(lambda: at.host.closed == [visitor.number])
            visitor.send(b"more")
            visitor.close()
            assert at.host.closed == [visitor.number]

    asyncio.run(main())


def test_who_rests_is_heard_of_only_when_somebody_looks(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            room = RestingRoom()
            caller, visitor = await at.call()
            visitor.send(b"run this")
            visitor.rest(room)
            assert await asyncio.get_running_loop().sock_recv(caller, 100) == b"run this"
            caller.close()
            another = at.enter()  # the loop has gone round when this one has arrived
            another.send(REQUEST)
            await at.until(lambda: len(at.host.arrived) == 2)
            assert at.host.closed == []
            room.look()
            assert at.host.closed == [visitor.number]
            room.close()

    asyncio.run(main())


def test_who_has_not_taken_all_of_an_answer_does_not_rest(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            room = RestingRoom()
            caller, visitor = await at.call()
            visitor.send(bytes(8 << 20))  # more than the socket holds
            visitor.rest(room)
            assert len(room) == 0
            caller.close()
            await at.until(lambda: at.host.closed == [visitor.number])
            room.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        REQUEST + b"more",
        struct.pack("<4sI", b"ZCC\1", 1 << 31),
        struct.pack("<4sI", b"ZCC\2", 1 << 20),
        struct.pack("<4sI", b"ZCC\2", 2) + b"[]",
        struct.pack("<4sI", b"ZCC\2", 3) + b"{no",
        struct.pack("<4sI", b"ZCC\2", 60_000) + b"[" * 60_000,
    ],
)
def test_who_speaks_nonsense_is_shown_out(tmp_path: Path, said: bytes) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            caller = at.enter()
            caller.send(said)
            assert await received(caller) == b""
            assert at.host.arrived == []

    asyncio.run(main())


def test_a_launcher_of_another_protocol_is_told_of(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            caller = at.enter()
            caller.send(b"ZCC\7" + REQUEST[4:])
            assert await received(caller) == b""
            assert (at.host.arrived, at.host.misunderstood) == ([], 1)

    asyncio.run(main())


def test_a_door_that_is_handed_over_lets_in_who_stands_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            caller = at.enter()  # the loop has not seen him yet
            at.door.hand_over()
            assert not at.path.exists()
            caller.send(REQUEST)
            await at.until(lambda: at.host.arrived)
            async with house(tmp_path) as following:
                # Its socket often has the inode of the one before.
                assert not at.door.is_in_place()
                await following.call()
                at.door.close()
                at.door.hand_over()
                assert at.path.exists()

    asyncio.run(main())


def test_control_requests_are_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            question = {"op": "status", "word": "ü"}
            answer = await asyncio.to_thread(ask, str(at.path), question)
            assert answer == {"asked": question}
            document = json.dumps(question).encode()
            caller = at.enter()
            for byte in struct.pack("<4sI", b"ZCC\2", len(document)) + document:
                await asyncio.get_running_loop().sock_sendall(caller, bytes([byte]))
            assert json.loads(await received(caller)) == {"asked": question}

    asyncio.run(main())


def test_the_directory_keeps_its_mode_and_is_taken_by_one(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "state").mkdir(mode=0o755)
        async with house(tmp_path) as at:
            assert stat.S_IMODE(at.path.parent.stat().st_mode) == 0o755
            with pytest.raises(ConfigError, match="another agent listens"):
                open_door(str(at.path), Recorder())
        opened = House(at.path)  # the socket that is left is nobody's
        opened.door.close()

    asyncio.run(main())


def test_a_directory_that_is_made_is_closed_to_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with house(tmp_path) as at:
            assert stat.S_IMODE(at.path.parent.stat().st_mode) == 0o700

    asyncio.run(main())


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_directory_that_others_may_write_to_is_refused_and_left_alone(
    tmp_path: Path, mode: int
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    with pytest.raises(ConfigError, match=r"others may write to .* of this user's alone"):
        open_door(str(tmp_path / "shared" / "agent.sock"), Recorder())
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == mode


def test_a_file_that_is_no_socket_is_not_removed_for_one(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is no socket"):
        open_door(str(tmp_path / "thesis.txt"), Recorder())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_directory_of_all_users_is_not_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    with pytest.raises(ConfigError, match="is for all users: the agent's socket"):
        open_door(str(tmp_path / "all" / "agent.sock"), Recorder())
    assert stat.S_IMODE((tmp_path / "all").stat().st_mode) == 0o1777


def test_no_free_descriptor_makes_callers_wait_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zcc.agent.launchers.door.REST_S", 0.01)

    async def main() -> None:
        async with house(tmp_path) as at:
            caller = at.enter()
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
                caller.send(REQUEST)
                await at.until(lambda: caplog.text.count("cannot take a connection") > 1)
                assert at.host.arrived == []
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            await at.until(lambda: at.host.arrived)

    asyncio.run(main())
