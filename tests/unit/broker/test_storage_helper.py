"""The storage helper as ccache meets it: its socket, its farm, its leaving. Real broker, real sockets."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from broker.membership.registry import Registry
from broker.shell import Shell
from broker.state import broker_keys
from broker.storage.service import Storage
from broker.storage.tokens import StorageAccess
from cache.stores import DiskStore
from zcc import membership
from zcc.errors import ConfigError
from zcc.farm import Access as FarmAccess
from zcc.farm import save_access
from zcc.keys import new_key_pair
from zcc.messages import CHUNK_BYTES, PeerRole
from zcc.storage import crsh, session
from zcc.storage.helper import endpoint_in
from zcc.storage.session import FarmAwayError, StorageSession

PATIENCE_S = 10.0
KEY = bytes(range(20))
PROGRAM = str(Path(sys.executable).parent / "ccache-storage-zcc")


@dataclass
class Farm:
    """A broker in this loop that can be stopped and started again."""

    directory: Path
    members: StorageAccess | None = StorageAccess.WRITE
    endpoint: str = "tcp://127.0.0.1:0"
    shell: Shell | None = None
    context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)
    sessions: list[StorageSession] = field(default_factory=list)

    def start(self) -> None:
        state = str(self.directory / "broker")
        store = DiskStore(state, "testfarm", 1 << 30)
        storage = Storage(state, 1 << 28, self.members)
        self.shell = Shell("testfarm", self.endpoint, broker_keys(state), state, store, storage)
        self.endpoint = self.shell.endpoint

    def stop(self) -> None:
        if self.shell is not None:
            self.shell.close()
            self.shell = None

    def access(self, role: PeerRole = PeerRole.CLIENT) -> FarmAccess:
        state = str(self.directory / "broker")
        pair = new_key_pair()
        registry = Registry(state)
        registry.add(pair.public, role, role.value, time.time())
        registry.close()
        public = broker_keys(state).public
        return FarmAccess(self.endpoint, public, "testfarm", role.value, pair)

    def session(self, access: FarmAccess | None = None) -> StorageSession:
        made = StorageSession(self.context, access or self.access(), "test")
        self.sessions.append(made)
        return made


@asynccontextmanager
async def farming(directory: Path, members: StorageAccess | None) -> AsyncIterator[Farm]:
    farm = Farm(directory, members)
    farm.start()
    try:
        yield farm
    finally:
        for each in farm.sessions:
            each.close()
        farm.context.term()
        farm.stop()


def run(
    directory: Path,
    story: Callable[[Farm], Coroutine[None, None, None]],
    members: StorageAccess | None = StorageAccess.WRITE,
) -> None:
    async def whole() -> None:
        async with farming(directory, members) as farm:
            await story(farm)

    asyncio.run(whole())


# ---- the session -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 40 * CHUNK_BYTES + 5])
def test_a_value_goes_to_the_farm_and_back(tmp_path: Path, size: int) -> None:
    async def story(farm: Farm) -> None:
        value = os.urandom(size)
        writer, reader = farm.session(), farm.session()
        assert await reader.get(KEY) is None
        assert not await reader.exists(KEY)
        assert await writer.put(KEY, value, True)
        assert await reader.exists(KEY)
        assert await reader.get(KEY) == value
        assert not await writer.put(KEY, os.urandom(size), False)
        assert await reader.get(KEY) == value
        assert await writer.remove(KEY)
        assert not await writer.remove(KEY)
        assert await reader.get(KEY) is None

    run(tmp_path, story)


def test_many_at_a_time_do_not_mix(tmp_path: Path) -> None:
    async def story(farm: Farm) -> None:
        member = farm.session()
        values = {bytes([n]) * 20: os.urandom(n * 50_000) for n in range(1, 40)}
        puts = [member.put(key, value, True) for key, value in values.items()]
        assert await asyncio.gather(*puts) == [True] * len(values)
        assert await asyncio.gather(*map(member.get, values)) == list(values.values())

    run(tmp_path, story)


def test_members_that_may_only_read_are_told_nothing_was_stored(tmp_path: Path) -> None:
    async def story(farm: Farm) -> None:
        assert not await farm.session().put(KEY, os.urandom(3 * CHUNK_BYTES), True)
        assert await farm.session().get(KEY) is None

    run(tmp_path, story, StorageAccess.READ)


def test_a_value_that_rots_on_the_brokers_disk_is_a_miss(tmp_path: Path) -> None:
    async def story(farm: Farm) -> None:
        member = farm.session()
        await member.put(KEY, os.urandom(2 * CHUNK_BYTES), True)
        (path,) = (tmp_path / "broker" / "ccache").glob("??/*")
        with path.open("r+b") as file:
            file.seek(CHUNK_BYTES)
            file.write(b"rot")
        assert await member.get(KEY) is None

    run(tmp_path, story)


def test_a_farm_that_goes_fails_requests_at_once_and_serves_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The broker stops in our own loop, so its Bye is lost with the connection before we can read it.
    monkeypatch.setattr(membership, "LOST_AFTER_S", 2.0)

    async def story(farm: Farm) -> None:
        member = farm.session()
        assert await member.put(KEY, b"a value", True)
        farm.stop()
        async with asyncio.timeout(PATIENCE_S):
            while member.is_open:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(FarmAwayError, match="broker does not answer"):
            await member.get(KEY)
        assert time.monotonic() - began < 0.1
        farm.start()
        async with asyncio.timeout(PATIENCE_S):
            while not member.is_open:
                await asyncio.sleep(0.01)
        assert await member.get(KEY) == b"a value"

    run(tmp_path, story)


def test_a_request_under_way_fails_when_the_broker_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "LOST_AFTER_S", 2.0)

    async def story(farm: Farm) -> None:
        member = farm.session()
        assert await member.get(KEY) is None
        with member._ticket() as (_, answers):  # asked, and never answered
            waiting = asyncio.ensure_future(member._answer(answers))
            await asyncio.sleep(0)
            farm.stop()
            with pytest.raises(FarmAwayError):
                await asyncio.wait_for(waiting, session.ANSWER_S / 2)

    run(tmp_path, story)


@pytest.mark.parametrize("case", ["no broker", "a stranger's key", "a node's key"])
def test_who_is_not_let_in_learns_it_soon(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FIRST_ANSWER_S", 0.5)

    async def story(farm: Farm) -> None:
        access = farm.access(PeerRole.NODE if case == "a node's key" else PeerRole.CLIENT)
        if case == "a stranger's key":
            stranger = new_key_pair()
            access = FarmAccess(access.endpoint, access.broker_public, "", "client", stranger)
        if case == "no broker":
            farm.stop()
        member = farm.session(access)
        if case == "a node's key":  # it is let in, and thrown out when it asks
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(FarmAwayError):
                    await member.get(KEY)
            return
        began = time.monotonic()
        with pytest.raises(FarmAwayError):
            await member.get(KEY)
        with pytest.raises(FarmAwayError):
            await member.get(KEY)
        assert time.monotonic() - began < 2.0

    run(tmp_path, story)


def test_who_leaves_before_a_broker_was_found_dials_no_more(tmp_path: Path) -> None:
    async def story(farm: Farm) -> None:
        farm.stop()
        member = farm.session()
        await asyncio.sleep(0)  # it has said Hello, in vain
        member.close()
        assert member._beating.cancelled()

    run(tmp_path, story)


# ---- the URL -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("zcc:", ""),
        ("zcc://", ""),
        ("zcc:///", ""),
        ("zcc://broker.example:8317", "tcp://broker.example:8317"),
        ("zcc://[::1]:8317/", "tcp://[::1]:8317"),
    ],
)
def test_a_url_names_the_joined_farm_or_its_address(url: str, endpoint: str) -> None:
    assert endpoint_in(url) == endpoint


@pytest.mark.parametrize("url", ["", "http://h:1", "zcc://host", "zcc://a:b@h:1", "zcc://h:1/x"])
def test_a_url_of_another_kind_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="zcc://HOST:PORT"):
        endpoint_in(url)


# ---- the program -------------------------------------------------------------------------------


def ask(path: Path, request: bytes) -> bytes:
    """Answer to one request on a connection of its own, after the greeting."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(path))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        data = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert data.startswith(crsh.GREETING)
    return data[len(crsh.GREETING) :]


def put_request(key: bytes, value: bytes, flags: int = 1) -> bytes:
    return (
        b"\1" + bytes((len(key),)) + key + bytes((flags,)) + struct.pack("=Q", len(value)) + value
    )


def get_request(key: bytes, kind: int = 0) -> bytes:
    return bytes((kind, len(key))) + key


@dataclass
class Program:
    """`ccache-storage-zcc`, started as ccache does."""

    directory: Path
    access: FarmAccess | None
    url: str = "zcc:"
    idle_s: int = 600

    def start(self) -> subprocess.Popen[bytes]:
        own = str(self.directory / "member")
        if self.access is not None:
            os.makedirs(own, exist_ok=True)
            save_access(own, self.access)
        environment = {
            **os.environ,
            "ZCC_CONFIG_DIR": own,
            "CRSH_IPC_ENDPOINT": str(self.path),
            "CRSH_URL": self.url,
            "CRSH_IDLE_TIMEOUT": str(self.idle_s),
            "CRSH_NUM_ATTR": "0",
        }
        process = subprocess.Popen([PROGRAM], env=environment)
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                ask(self.path, b"\4")
                break
            except (ConnectionRefusedError, FileNotFoundError):
                time.sleep(0.01)
        return process

    @property
    def path(self) -> Path:
        return self.directory / "helper.sock"


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    assert shutil.which(PROGRAM), "run the tests by `make test`"


def test_ccaches_requests_are_answered_as_its_protocol_says(tmp_path: Path) -> None:
    value = os.urandom(700_000)

    async def story(farm: Farm) -> None:
        program = Program(tmp_path, farm.access())

        def talk() -> None:
            process = program.start()
            assert os.stat(program.path).st_mode & 0o077 == 0
            steps = [
                (get_request(KEY), b"\1"),
                (get_request(KEY, 5), b"\1"),
                (put_request(KEY, value), b"\0"),
                (put_request(KEY, b"another", flags=0), b"\1"),
                (get_request(KEY), b"\0" + struct.pack("=Q", len(value)) + value),
                (get_request(KEY, 5), b"\0"),
                (get_request(KEY, 2), b"\0"),
                (get_request(KEY, 2), b"\1"),
                (put_request(b"", b"x"), b"\1"),
                (put_request(KEY, b""), b"\1"),
                (get_request(bytes(255)), b"\1"),
            ]
            assert [ask(program.path, request) for request, _ in steps] == [
                answer for _, answer in steps
            ]
            assert ask(program.path, b"".join(request for request, _ in steps)) == b"".join(
                answer for _, answer in steps
            )
            assert b"connected" in ask(program.path, b"\4")
            assert ask(program.path, b"\3") == b"\0"
            assert process.wait(PATIENCE_S) == 0
            assert not program.path.exists()

        await asyncio.to_thread(talk)

    run(tmp_path, story)


@pytest.mark.parametrize("junk", [b"\6", b"\xff" * 1000, b"\1\x14", b"\0\xffshort"])
def test_what_is_no_request_costs_its_connection_only(tmp_path: Path, junk: bytes) -> None:
    program = Program(tmp_path, None)
    process = program.start()
    assert ask(program.path, junk) == b""
    assert ask(program.path, get_request(KEY)).startswith(b"\2")
    assert ask(program.path, b"\3") == b"\0"
    assert process.wait(PATIENCE_S) == 0


def test_without_a_farm_it_says_so_at_once(tmp_path: Path) -> None:
    """It serves all the same: ccache waits 10 s for a helper that has not come up."""
    for url, words in (("zcc:", b"zcc join"), ("zcc://nowhere", b"zcc://HOST:PORT")):
        program = Program(tmp_path, None, url)
        process = program.start()
        answer = ask(program.path, get_request(KEY))
        assert answer[0] == 2
        assert words in answer
        assert ask(program.path, b"\3") == b"\0"
        assert process.wait(PATIENCE_S) == 0


def test_it_leaves_when_nobody_has_come_for_long_enough(tmp_path: Path) -> None:
    program = Program(tmp_path, None, idle_s=1)
    process = program.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(program.path))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.5)  # one is here, waiting for its compiler
    assert process.wait(PATIENCE_S) == 0
    assert not program.path.exists()


def test_a_dead_ones_socket_is_taken_and_a_living_ones_is_not(tmp_path: Path) -> None:
    program = Program(tmp_path, None)
    killed = program.start()
    killed.kill()
    killed.wait()
    assert program.path.exists()
    living = program.start()
    assert ask(program.path, get_request(KEY)).startswith(b"\2")
    second = program.start()
    assert second.wait(PATIENCE_S) == 1
    assert ask(program.path, b"\3") == b"\0"
    assert living.wait(PATIENCE_S) == 0


def test_started_by_hand_it_says_what_it_is_for() -> None:
    environment = {name: text for name, text in os.environ.items() if name[:5] != "CRSH_"}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CCACHE_REMOTE_STORAGE=zcc://" in done.stderr


def test_its_help_is_no_error() -> None:
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CCACHE_REMOTE_STORAGE=zcc://" in done.stdout
