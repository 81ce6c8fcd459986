"""The broker's reader and its worker process: what is read, in which order, and what a dead worker costs."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from broker.core.events import Origin
from broker.core.limits import AT_ONCE_BYTES, MAX_JUDGED_AT_ONCE
from broker.errors import ReaderFullError, WorkerLostError
from broker.transport.heads import MAX_READ_BYTES, shown_values
from broker.transport.intake import Intake
from broker.transport.reader import UNREAD_BYTES, Head, Reader, Worker
from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from cache.frame import compress
from tests.unit.broker.test_broker_wire import sample_job
from zcc.holding import HOLDING_KEY_BYTES, SHOWN_BYTES, pack_shown, shown_by
from zcc.job import MAX_JOB_BYTES, FileInput, Job, Manifest, encode_job, job_key
from zcc.messages import Bye, Done, Message, PeerRole, Submit

KEY = b"k" * HOLDING_KEY_BYTES
ORIGIN = Origin(b"route", "user", PeerRole.CLIENT)
LARGE = replace(
    sample_job(b"t", b"s"),
    manifest=Manifest(
        tuple(FileInput(b"/src/%06d" % at, digest_of(b"%d" % at)) for at in range(10_000))
    ),
)


def submit(ticket: int, job: Job, shown: bytes = b"") -> Submit:
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, shown, None, 0, compress(encoded))


@dataclass
class Desk:
    """A reader over a store, and what it has told."""

    store: BlobStore
    taken: list[tuple[Message, Head, tuple[Digest, ...]]] = field(default_factory=list)
    failed: list[tuple[Message, Exception]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = Reader(
            self.store.directory,
            KEY,
            lambda: 0.0,
            lambda _, message, head, shown: self.taken.append((message, head, shown)),
            lambda _, message, error: self.failed.append((message, error)),
        )

    def read(self, *messages: Submit | Done) -> None:
        for message in messages:
            self.reader.read(ORIGIN, message, ORIGIN.user)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.taken) + len(self.failed) < count:
                await asyncio.sleep(0.005)

    @property
    def tickets(self) -> list[int]:
        return [each.ticket for each, _, _ in self.taken if isinstance(each, Submit)]


def run(story: Callable[[Desk], Coroutine[Any, Any, None]], directory: Path) -> None:
    @asynccontextmanager
    async def reading() -> AsyncIterator[Desk]:
        desk = Desk(BlobStore(str(directory / "blobs"), 1 << 30))
        try:
            yield desk
        finally:
            desk.reader.close()

    async def told() -> None:
        async with reading() as desk:
            await story(desk)

    asyncio.run(told())


def test_what_is_small_is_read_at_once_and_what_is_large_later_in_its_order(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.read(submit(1, sample_job(b"t", b"s")))
        assert desk.tickets == [1]
        desk.read(submit(2, LARGE), submit(3, sample_job(b"t", b"s")), submit(4, LARGE))
        desk.reader.take_last(ORIGIN, Bye(""))
        assert desk.tickets == [1]
        await desk.wait(5)
        assert desk.tickets == [1, 2, 3, 4]
        assert desk.taken[-1][0] == Bye("")
        assert not desk.reader.holds(ORIGIN.route)

    run(story, tmp_path)


def test_what_cannot_be_read_is_said_whoever_reads_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.read(replace(submit(1, sample_job(b"t", b"s")), key=digest_of(b"another")))
        desk.read(replace(submit(2, LARGE), key=digest_of(b"another")))
        desk.read(replace(submit(3, sample_job(b"t", b"s")), shown=b"no row"))
        await desk.wait(3)
        assert not desk.taken
        assert [str(error) for _, error in desk.failed] == [
            "its bytes do not match its key",
            "its bytes do not match its key",
            "what is shown is not in whole rows",
        ]

    run(story, tmp_path)


def claiming(size_bytes: int) -> bytes:
    """A zstd frame that says to hold so much, and holds nothing."""
    magic, eight_byte_size, empty_last_block = b"\x28\xb5\x2f\xfd", b"\xe0", b"\x01\0\0"
    return magic + eight_byte_size + struct.pack("<Q", size_bytes) + empty_last_block


def test_a_frame_that_claims_more_than_may_be_is_refused_at_once(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        body = claiming(1 << 62)
        desk.read(replace(submit(1, LARGE), body=body), Done(b"lease", body))
        desk.read(replace(submit(2, LARGE), body=claiming(MAX_JOB_BYTES + 1)))
        assert [type(message) for message, _ in desk.failed] == [Submit, Done, Submit]
        assert all("at most" in str(error) for _, error in desk.failed)
        assert not desk.reader.holds(ORIGIN.route)

    run(story, tmp_path)


def test_only_what_is_held_and_shown_rightly_counts_as_shown(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        held, other = desk.store.put(b"held"), desk.store.put(b"other")
        shown = {
            held: shown_by([b"held"], KEY),
            other: os.urandom(SHOWN_BYTES),
            digest_of(b"not here"): shown_by([b"not here"], KEY),
        }
        message = submit(1, sample_job(b"t", b"s"), pack_shown(shown))
        desk.read(message)
        await desk.wait(1)
        assert desk.taken[0][2] == (held,)
        desk.read(replace(message, shown=pack_shown({held: shown[held]})))
        assert desk.taken[1][2] == (held,)  # known by now

    run(story, tmp_path)


def test_a_cancelled_submit_and_a_closed_route_are_not_read(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.read(submit(1, LARGE), submit(2, LARGE), submit(3, LARGE))
        await asyncio.sleep(0)
        assert desk.reader.cancel(ORIGIN, 1)
        assert desk.reader.cancel(ORIGIN, 2)
        assert not desk.reader.cancel(ORIGIN, 2)
        await desk.wait(1)
        assert desk.tickets == [3]
        desk.read(submit(4, LARGE), submit(5, LARGE))
        desk.reader.take_last(ORIGIN, Bye(""))
        await asyncio.sleep(0)
        desk.reader.forget(ORIGIN.route)
        assert not desk.reader.holds(ORIGIN.route)
        other = replace(ORIGIN, route=b"other")
        desk.reader.read(other, submit(6, LARGE), other.user)
        await desk.wait(2)
        assert desk.tickets == [3, 6]

    run(story, tmp_path)


def test_what_finds_no_room_is_said_and_so_is_what_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(submit(1, LARGE).body) + UNREAD_BYTES
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES_PER_KEY", 3 * size)
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES", 3 * size)

    async def story(desk: Desk) -> None:
        desk.read(*(submit(ticket, LARGE) for ticket in (1, 2, 3, 4)))
        assert [each for each, _ in desk.failed] == [submit(4, LARGE)]
        desk.reader.read(ORIGIN, submit(5, LARGE), "another payer")
        assert [each for each, _ in desk.failed] == [submit(4, LARGE), submit(3, LARGE)]
        assert all(isinstance(error, ReaderFullError) for _, error in desk.failed)
        await desk.wait(5)
        assert sorted(desk.tickets) == [1, 2, 5]

    run(story, tmp_path)


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    async def told() -> None:
        worker = Worker(str(tmp_path))
        for _ in range(2):
            assert isinstance(await worker.ask(["result", b"none"]), str)
            assert worker._process is not None
            os.kill(worker._process.pid, signal.SIGKILL)
        worker.close()

    asyncio.run(told())


def test_a_message_over_which_the_worker_dies_twice_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.reader.sys.executable", "/bin/false")

    async def story(desk: Desk) -> None:
        desk.read(submit(1, LARGE))
        await desk.wait(1)
        ((message, error),) = desk.failed
        assert isinstance(message, Submit)
        assert isinstance(error, WorkerLostError)
        assert not desk.reader.holds(ORIGIN.route)

    run(story, tmp_path)


def test_one_message_has_only_so_much_of_the_store_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.heads.MAX_READ_BYTES", 100)
    assert MAX_READ_BYTES >= 1 << 20
    store = BlobStore(str(tmp_path), 1 << 30)
    digests = [store.put(bytes([number]) * 40) for number in range(5)]
    shown = shown_values(str(tmp_path), digests, KEY)
    assert list(shown.values) == digests[:2]
    assert not shown.too_large
    assert shown.read_bytes > 100


def test_a_blob_that_is_too_large_to_be_shown_is_read_once_and_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    charged: list[int] = []
    ask, charge = Worker.ask, Intake.charge

    async def noting_ask(worker: Worker, request: list[object]) -> Any:
        asked.append(cast("bytes", request[-1]))
        return await ask(worker, request)

    def noting_charge(intake: Intake, user: str, cost_bytes: int) -> None:
        charged.append(cost_bytes)
        charge(intake, user, cost_bytes)

    monkeypatch.setattr(Worker, "ask", noting_ask)
    monkeypatch.setattr(Intake, "charge", noting_charge)

    async def story(desk: Desk) -> None:
        content = bytes(MAX_READ_BYTES + 1)
        large = desk.store.put(content)
        message = submit(1, sample_job(b"t", b"s"), pack_shown({large: bytes(SHOWN_BYTES)}))
        for count in (1, 2, 3):
            desk.read(message)
            await desk.wait(count)
        assert not any(shown for _, _, shown in desk.taken)

    run(story, tmp_path)
    assert len(asked) == len(charged) == 1
    assert charged[0] > MAX_READ_BYTES


def test_a_new_source_is_judged_without_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.transport.reader.sys.executable", "/bin/false")

    async def story(desk: Desk) -> None:
        held = desk.store.put(b"held")
        for value in (os.urandom(SHOWN_BYTES), shown_by([b"held"], KEY)):
            shown = {digest_of(b"not here"): os.urandom(SHOWN_BYTES), held: value}
            desk.read(submit(1, sample_job(b"t", b"s"), pack_shown(shown)))
        assert [shown for _, _, shown in desk.taken] == [(), (held,)]

    run(story, tmp_path)


def test_a_large_blob_or_many_are_judged_by_the_worker(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        large = os.urandom(AT_ONCE_BYTES + 1)
        small = [b"%d" % at for at in range(MAX_JUDGED_AT_ONCE + 1)]
        for contents in ([large], small):
            shown = {desk.store.put(each): shown_by([each], KEY) for each in contents}
            count = len(desk.taken)
            desk.read(submit(1, sample_job(b"t", b"s"), pack_shown(shown)))
            assert len(desk.taken) == count
            await desk.wait(count + 1)
            assert desk.taken[-1][2] == tuple(shown)

    run(story, tmp_path)
