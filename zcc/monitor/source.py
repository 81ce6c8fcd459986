"""Where the page's events come from: the broker, or a recording at the pace at which it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import zmq

from cache.frame import decompress
from zcc.events import MAX_EVENTS_BYTES, FarmEvent, FarmShown, unpack_events
from zcc.farm import Access
from zcc.messages import Happened, Snapshot
from zcc.monitor.server import Feed
from zcc.watching.session import WatchSession

_LOOK_S = 0.25
# Who was refused asks again: a key may be given its role, a broker may be upgraded.
_AGAIN_S = 15.0
ENDED = "ended"


def take(feed: Feed, batch: list[FarmEvent]) -> None:
    """A batch, or a snapshot, which begins with `farm`."""
    if batch and isinstance(batch[0], FarmShown):
        feed.broadcast.restart(batch)
    else:
        feed.broadcast.add(batch)
    feed.ring_bell()


async def watch(feed: Feed, access: Access) -> None:
    """Tell what the broker tells, until this is cancelled.

    Raises:
        ConfigError: this key may not watch.
    """
    context = zmq.Context[zmq.Socket[bytes]]()

    def heard(message: Snapshot | Happened) -> None:
        take(feed, unpack_events(decompress(message.body, MAX_EVENTS_BYTES)))

    try:
        while True:
            session = WatchSession(context, access, heard)
            try:
                while not session.refused:
                    feed.say_source(is_up=session.is_open, why=session.state)
                    await asyncio.sleep(_LOOK_S)
                feed.say_source(is_up=False, why=session.refused)
            finally:
                session.close()
            await asyncio.sleep(_AGAIN_S)
    finally:
        context.term()


async def replay(feed: Feed, recording: Iterable[list[FarmEvent]], speed: float) -> None:
    """Tell a recording: so many times as fast as it happened; 0: all at once."""
    loop = asyncio.get_running_loop()
    feed.say_source(is_up=True, is_replay=True)
    began: tuple[float, int] | None = None
    for batch in recording:
        if not batch:
            continue
        is_snapshot = isinstance(batch[0], FarmShown)
        if is_snapshot or began is None:
            began = loop.time(), batch[-1].at_ms
        elif speed > 0:
            due = began[0] + (batch[-1].at_ms - began[1]) / 1000 / speed
            await asyncio.sleep(max(0.0, due - loop.time()))
        take(feed, batch)
        await asyncio.sleep(0)
    feed.say_source(is_up=True, is_replay=True, why=ENDED)
