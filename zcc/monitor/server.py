"""What `zcc monitor` answers over HTTP: the page's files, a stream of events, and JSON.

docs/reference/monitor.md has the fields. All is read-only, but for the order to drain a node where that is
allowed. Browsers share what is encoded once
(`broadcast.py`); nobody has a queue of his own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from zcc import __version__
from zcc.errors import ConfigError
from zcc.events import as_document
from zcc.messages import Drain
from zcc.monitor import analysis, openapi
from zcc.monitor.access import Guard, is_own_order
from zcc.monitor.broadcast import FIELDS, Broadcast, Place, place_of, sse
from zcc.monitor.files import TYPES, page_files
from zcc.monitor.report import report
from zcc.watching.builds import COMPILED, HITS
from zcc.watching.state import FarmState
from zcc.watching.troubles import troubles
from zcc.watching.words import sentences

MOST_READERS = 200
# A stream that is silent for longer is taken for dead by proxies.
BEAT_S = 15.0
MOST_BUILDS = 200
# What is wrong is looked at so often.
LOOK_S = 1.0
MOST_ORDER_BYTES = 4096

# Gives the order, and says of how many nodes that are here; raises ConfigError.
Drainer = Callable[[Drain], Awaitable[int]]


class Feed:
    """What is broadcast, how its source fares, and the bell for who waits for either. One event loop's."""

    def __init__(self, run: int) -> None:
        self.state = FarmState()
        self.broadcast = Broadcast(run, self.state)
        self.readers = 0
        self.source: dict[str, Any] = {"is_up": False, "why": "connecting", "is_replay": False}
        self.source_version = 0
        self.troubles: list[dict[str, Any]] = []
        self.troubles_version = 0
        self.is_closing = False
        self._looked: tuple[float, int, int] = (-LOOK_S, 0, 0)
        self._bell = asyncio.Event()

    def ring_bell(self) -> None:
        """Something is new."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Until something is new, which is true then, or so long."""
        bell = self._bell
        with suppress(TimeoutError):
            await asyncio.wait_for(bell.wait(), seconds)
        return bell.is_set()

    @property
    def is_looked_at(self) -> bool:
        """Whether what is wrong was looked at since the last batch."""
        place = self.broadcast.run, self.broadcast.number
        return self.state.farm is None or self._looked[1:] == place

    def look(self, now_s: float) -> None:
        """See what is wrong, once in LOOK_S at most."""
        if self.is_looked_at or now_s - self._looked[0] < LOOK_S:
            return
        self._looked = now_s, self.broadcast.run, self.broadcast.number
        told = [asdict(each) for each in troubles(self.state)]
        if told != self.troubles or not self.troubles_version:
            self.troubles = told
            self.troubles_version += 1

    def close(self) -> None:
        """Let all streams end."""
        self.is_closing = True
        self.ring_bell()

    def say_source(self, *, is_up: bool, why: str = "", is_replay: bool = False) -> None:
        """Whether events come, and why not."""
        told = {"is_up": is_up, "why": why, "is_replay": is_replay}
        if told != self.source:
            self.source = told
            self.source_version += 1
            self.ring_bell()


def make_app(
    feed: Feed, token: str = "", names: Iterable[str] = (), drainer: Drainer | None = None
) -> Starlette:
    """The whole of it; the source feeds `feed` in the same event loop. With a `drainer`, which needs a token,
    the page may drain nodes."""
    assert token or drainer is None
    server = _Server(feed, drainer)
    routes = [
        Route("/", server.file),
        Route("/healthz", server.health),
        Route("/events", server.events),
        Route("/api/state", server.state),
        Route("/api/builds", server.builds),
        Route("/api/builds/{id:path}", server.build),
        Route("/api/why", server.why),
        Route("/api/openapi.json", server.openapi),
        Route("/api/drain", server.drain, methods=["POST"]),
        Route("/report/{id:path}", server.report),
        Route("/{name}", server.file),
    ]
    guard = Middleware(Guard, token=token, names=tuple(names))
    return Starlette(routes=routes, middleware=[guard])


class _Server:
    def __init__(self, feed: Feed, drainer: Drainer | None) -> None:
        self._feed = feed
        self._drainer = drainer
        self._files = page_files()
        self._tags = {
            name: f'"{hashlib.sha256(text).hexdigest()[:16]}"' for name, text in self._files.items()
        }
        welcome: dict[str, Any] = {"version": __version__, "may_drain": drainer is not None}
        welcome |= {"fields": FIELDS, "words": sentences()}
        self._welcome = json.dumps(welcome, separators=(",", ":")).encode()

    async def file(self, request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        text = self._files.get(name)
        if text is None:
            raise HTTPException(404)
        headers = {"etag": self._tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(text, headers=headers, media_type=TYPES[os.path.splitext(name)[1]])

    async def health(self, _: Request) -> Response:
        source = self._feed.source
        told = {"is_up": source["is_up"], "readers": self._feed.readers, "version": __version__}
        return _json(told, 200 if source["is_up"] else 503)

    async def events(self, request: Request) -> Response:
        if self._feed.readers >= MOST_READERS:
            raise HTTPException(
                503, f"{MOST_READERS} browsers read this already", {"retry-after": "30"}
            )
        place = place_of(request.headers.get("last-event-id", ""))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            self._stream(place), headers=headers, media_type="text/event-stream"
        )

    async def _stream(self, place: Place | None) -> AsyncIterator[bytes]:
        feed = self._feed
        feed.readers += 1
        told, told_troubles = -1, 0
        try:
            yield b"retry: 2000\n\n" + sse("welcome", self._welcome)
            while not feed.is_closing:
                if told != feed.source_version:
                    told = feed.source_version
                    yield sse("source", json.dumps(feed.source).encode())
                piece, place = feed.broadcast.read(place)
                if piece:
                    yield piece
                    continue
                feed.look(time.monotonic())
                if told_troubles != feed.troubles_version:
                    told_troubles = feed.troubles_version
                    yield sse("troubles", json.dumps(feed.troubles).encode())
                wait_s = BEAT_S if feed.is_looked_at else LOOK_S
                if not await feed.wait(wait_s) and wait_s == BEAT_S:
                    yield b": still here\n\n"
        finally:
            feed.readers -= 1

    async def state(self, _: Request) -> Response:
        return _json(state_document(self._feed.state, self._feed.source))

    async def builds(self, _: Request) -> Response:
        state = self._feed.state
        latest = sorted(state.known_builds.values(), key=lambda each: -each.began_s)[:MOST_BUILDS]
        return _json({"builds": [analysis.summary(state, build) for build in latest]})

    async def build(self, request: Request) -> Response:
        state = self._feed.state
        build = state.known_builds.get(request.path_params["id"])
        if build is None:
            raise HTTPException(404, "no such build is known here")
        return _json(analysis.document(state, build))

    async def why(self, request: Request) -> Response:
        text = request.query_params.get("file", "")[:256]
        found = analysis.became_of(self._feed.state, text) if text else []
        return _json({"compiles": found})

    async def openapi(self, _: Request) -> Response:
        return _json(openapi.document())

    async def drain(self, request: Request) -> Response:
        """The one order that the page may give."""
        if self._drainer is None:
            raise HTTPException(
                403, "This page only shows: zcc monitor --allow-drain lets it drain."
            )
        if not is_own_order(request.headers):
            raise HTTPException(403, "Only the page itself, or who says the token, may order this.")
        order = await _order_of(request)
        try:
            count = await self._drainer(order)
        except ConfigError as error:
            return _json({"error": str(error)}, 502)
        if not count:
            raise HTTPException(404, "no such node is here")
        return _json({"count": count})

    async def report(self, request: Request) -> Response:
        state = self._feed.state
        build = state.known_builds.get(request.path_params["id"])
        if build is None:
            raise HTTPException(404, "no such build is known here")
        text = report(state, build, self._files)
        headers = {"content-disposition": 'attachment; filename="build.html"'}
        return Response(text, headers=headers, media_type="text/html; charset=utf-8")


def state_document(state: FarmState, source: dict[str, Any]) -> dict[str, Any]:
    """The farm at present, for scripts."""
    seconds = list(state.seconds)[-60:]
    ends = (*COMPILED, *HITS, "local", "refused")
    return {
        "source": source,
        "farm": as_document(state.farm) if state.farm is not None else None,
        "now_s": state.now_s,
        "pulse": as_document(state.pulse) if state.pulse is not None else None,
        "queue": as_document(state.queue) if state.queue is not None else None,
        "nodes": [
            {**as_document(node.shown), "running": sum(run is not None for run in node.slots)}
            for node in state.nodes.values()
        ],
        "members": [as_document(member) for member in state.members.values()],
        "toolchains": [as_document(each) for each in state.toolchains.values()],
        "jobs": {
            phase: sum(job.phase == phase for job in state.jobs.values())
            for phase in ("queued", "sending", "leased", "running")
        },
        "troubles": [asdict(each) for each in troubles(state)],
        "last_minute": {name: sum(each.counts[name] for each in seconds) for name in ends},
    }


async def _order_of(request: Request) -> Drain:
    """What the body asks for."""
    text = b""
    async for piece in request.stream():
        text += piece
        if len(text) > MOST_ORDER_BYTES:
            raise HTTPException(413)
    try:
        match json.loads(text):
            case {"member": str(member), "name": str(name), "is_drained": bool(is_drained)}:
                return Drain(member[:256], name[:256], is_drained)
    except ValueError:
        pass
    raise HTTPException(400, "expected member, name and is_drained")


def _json(told: Any, status: int = 200) -> Response:
    return JSONResponse(told, status, {"cache-control": "no-store"})
