"""A watcher's session with a broker over sockets: whatever it loses the broker for, it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest

from cache.frame import decompress
from tests.unit.broker.test_broker_wire import Broker, run
from zcc import codec, membership
from zcc.errors import UnsendableError
from zcc.events import MAX_EVENTS_BYTES, FarmEvent, FarmShown, unpack_events
from zcc.farm import Access
from zcc.messages import (
    MAX_FRAME_BYTES,
    MAX_SENT_BYTES,
    PROTOCOL,
    Happened,
    PeerRole,
    Snapshot,
)
from zcc.watching import session as watching
from zcc.watching.session import WatchSession

PATIENCE_S = 20.0
FEED = b"12345678"


class Watcher:
    def __init__(self, broker: Broker) -> None:
        access = Access(
            farm="",
            endpoint=broker.shell.endpoint,
            broker_public=broker.keys.public,
            keys=broker.member(PeerRole.MONITOR),
            role="monitor",
        )
        self.told: list[FarmEvent] = []
        self.session = WatchSession(broker.context, access, self._heard)

    def _heard(self, message: Snapshot | Happened) -> None:
        self.told += unpack_events(decompress(message.body, MAX_EVENTS_BYTES))

    def snapshots(self) -> int:
        return len([event for event in self.told if isinstance(event, FarmShown)])


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def watched(
    story: Callable[[Broker, Watcher, bytes], Coroutine[Any, Any, None]], tmp_path: Path
) -> None:
    """A story of a watcher that has had its snapshot, and of its route."""

    async def told(broker: Broker) -> None:
        watcher = Watcher(broker)
        try:
            await until(lambda: watcher.snapshots() > 0, "a snapshot")
            (route,) = broker.shell._watching._watchers
            await story(broker, watcher, route)
        finally:
            watcher.session.close()

    run(told, tmp_path)


@pytest.fixture(autouse=True)
def _few_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (membership, watching):
        monkeypatch.setattr(module, "LOST_AFTER_S", 1.0)
    monkeypatch.setattr(watching, "BEAT_S", 0.2)


def test_a_connection_that_libzmq_gives_up_is_dialled_again(tmp_path: Path) -> None:
    async def story(broker: Broker, watcher: Watcher, route: bytes) -> None:
        header = msgpack.packb([FEED, 1])
        frames = [PROTOCOL, Snapshot.KIND, header, bytes(MAX_FRAME_BYTES + 1)]
        assert broker.shell._link.send(route, frames)
        await until(lambda: not watcher.session.is_open, "it is lost")
        assert watcher.session.state == "the broker does not answer"
        await until(lambda: watcher.session.is_open, "it is back")
        before = len(watcher.told)
        await until(lambda: len(watcher.told) > before, "it is told on")
        assert not watcher.session.refused

    watched(story, tmp_path)


@pytest.mark.parametrize("body", [b"no frame at all", b""])
def test_who_is_sent_what_cannot_be_read_begins_anew(tmp_path: Path, body: bytes) -> None:
    async def story(broker: Broker, watcher: Watcher, route: bytes) -> None:
        assert broker.shell._link.send(route, codec.encode(Snapshot(FEED, 7, body)))
        await until(lambda: not watcher.session.is_open, "it is lost")
        assert "must not" in watcher.session.state
        await until(lambda: watcher.snapshots() == 2, "a second snapshot")
        assert not watcher.session.refused

    watched(story, tmp_path)


def test_what_no_frame_may_be_is_not_sent_and_ends_no_session(tmp_path: Path) -> None:
    longest = Happened(FEED, 1, bytes(MAX_SENT_BYTES))
    assert len(codec.encode(longest)[-1]) == MAX_SENT_BYTES
    with pytest.raises(UnsendableError):
        codec.encode(Happened(FEED, 1, bytes(MAX_SENT_BYTES + 1)))

    async def story(broker: Broker, watcher: Watcher, route: bytes) -> None:
        too_long = Happened(FEED, 1, bytes(MAX_SENT_BYTES + 1))
        assert broker.shell._outgoing.outbox.offer(route, lambda: too_long)
        assert broker.shell.failures.count == 1
        before = len(watcher.told)
        # The longest that is sent comes there, over CURVE: of another feed, it is asked for anew.
        assert broker.shell._outgoing.outbox.offer(route, lambda: longest)
        await until(lambda: len(watcher.told) > before, "it is told on")
        assert watcher.session.is_open
        assert list(broker.shell._watching._watchers) == [route]

    watched(story, tmp_path)
