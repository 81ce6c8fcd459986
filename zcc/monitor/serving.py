"""The process: one event loop with the source and the HTTP server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn

from zcc.farm import Access
from zcc.monitor.connections import PageConnection
from zcc.monitor.server import Drainer, Feed, make_app
from zcc.monitor.source import replay, watch
from zcc.watching.draining import drain
from zcc.watching.recording import read_recording

_LAST_WORDS_S = 1


class _Server(uvicorn.Server):
    """Streams have no end of their own: a signal ends them."""

    def __init__(self, settings: uvicorn.Config, feed: Feed) -> None:
        super().__init__(settings)
        self._loop = asyncio.get_running_loop()
        self._feed = feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._feed.close)


def run(
    listener: socket.socket,
    origin: Access | str,
    *,
    token: str = "",
    names: Sequence[str] = (),
    speed: float = 1.0,
    may_drain: bool = False,
) -> None:
    """Serve the farm of an access, or a recording at a path, until a signal ends it. `may_drain`: readers may
    drain nodes of the farm, by this access's key.

    Raises:
        ConfigError: the key may not watch, or there is no such recording.
    """
    with suppress(KeyboardInterrupt):
        drainer = partial(drain, origin) if may_drain and isinstance(origin, Access) else None
        asyncio.run(_run(listener, origin, token, names, speed, drainer))


async def _run(
    listener: socket.socket,
    origin: Access | str,
    token: str,
    names: Sequence[str],
    speed: float,
    drainer: Drainer | None,
) -> None:
    feed = Feed(run=int(time.time() * 1000))
    if isinstance(origin, str):
        source = asyncio.create_task(replay(feed, read_recording(origin), speed))
    else:
        source = asyncio.create_task(watch(feed, origin))
    settings = uvicorn.Config(
        make_app(feed, token, names, drainer),
        http=PageConnection,
        log_level="error",  # a warning is of a request, of which a stranger makes as many as he likes
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_LAST_WORDS_S,
    )
    server = _Server(settings, feed)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    # A source that has failed ends the page: without it there is nothing to show.
    await asyncio.wait([serving, source], return_when=asyncio.FIRST_EXCEPTION)
    server.should_exit = True
    feed.close()
    await serving
    source.cancel()
    with suppress(asyncio.CancelledError):
        await source
