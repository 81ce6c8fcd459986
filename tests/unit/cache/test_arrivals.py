"""Blobs that arrive: the loop waits for none of them, and each is whole or nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.blobs import Arrival, BlobStore
from cache.digest import Digest, digest_of
from cache.frame import compress
from node.arrivals import BlobArrivals
from zcc.transfer import Piece

CONTENT = os.urandom(3000)
PATIENCE_S = 20.0


@dataclass
class Desk:
    """Arrivals before a store whose disk works when the gate is open."""

    store: BlobStore
    arrivals: BlobArrivals
    gate: threading.Event = field(default_factory=threading.Event)
    through: list[tuple[bool, Exception | None]] = field(default_factory=list)

    def take(self, content: bytes, *, start: int = 0, end: int | None = None) -> None:
        """Put bytes [start, end) of a content's frame in line."""
        frame = compress(content)
        data = frame[start:end]
        is_last = start + len(data) == len(frame)
        digest = digest_of(content)
        piece = Piece(digest, start, len(frame), data, is_last)
        self.arrivals.take(
            piece, lambda _: self._open(digest), lambda *told: self.through.append(told)
        )

    def _open(self, digest: Digest) -> Arrival:
        assert self.gate.wait(PATIENCE_S), "the loop waited for the worker"
        return self.store.arrival(digest, 1 << 20)

    async def told(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.through) < count:
                await asyncio.sleep(0.001)

    def left(self) -> list[str]:
        return os.listdir(self.store.tmp_dir)


def run(story: Callable[[Desk], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    async def told() -> None:
        desk = Desk(BlobStore(str(tmp_path / "store"), 1 << 20), BlobArrivals())
        try:
            await story(desk)
        finally:
            desk.gate.set()
            desk.arrivals.close()

    asyncio.run(told())


def test_the_loop_goes_on_while_a_blob_is_stored(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.take(CONTENT)
        await asyncio.sleep(0)
        assert desk.through == []
        desk.gate.set()
        await desk.told(1)
        assert desk.through == [(True, None)]
        assert desk.store.has(digest_of(CONTENT))

    run(story, tmp_path)


def test_a_blob_goes_on_behind_what_is_in_line(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        digest = digest_of(CONTENT)
        assert desk.arrivals.offset_of(digest) == 0
        desk.take(CONTENT, end=1000)
        assert desk.arrivals.offset_of(digest) == 1000
        desk.take(CONTENT, start=1000)
        assert desk.arrivals.offset_of(digest) is None
        desk.gate.set()
        await desk.told(2)
        assert desk.through == [(False, None), (True, None)]
        assert desk.arrivals.offset_of(digest) == 0
        assert desk.store.read(digest) == CONTENT

    run(story, tmp_path)


def test_what_is_in_line_behind_an_error_is_passed_over(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        digest = digest_of(CONTENT)
        garbage = Piece(digest, 0, 4000, b"garbage" * 100, False)
        desk.arrivals.take(
            garbage, lambda _: desk._open(digest), lambda *told: desk.through.append(told)
        )
        desk.take(CONTENT, start=700)
        desk.gate.set()
        await desk.told(2)
        (_, error), second = desk.through
        assert "not a valid zstd frame" in str(error)
        assert second == (False, None)
        assert desk.left() == []
        assert desk.arrivals.offset_of(digest) == 0
        desk.take(CONTENT)  # sent anew
        await desk.told(3)
        assert desk.through[2] == (True, None)

    run(story, tmp_path)


def test_a_blob_of_which_no_more_comes_leaves_nothing(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        digest = digest_of(CONTENT)
        desk.gate.set()
        desk.take(CONTENT, end=1000)
        await desk.told(1)
        assert len(desk.left()) == 1
        assert desk.arrivals.drop(digest)
        assert desk.arrivals.offset_of(digest) == 0
        desk.take(CONTENT)
        await desk.told(2)
        assert desk.through == [(False, None), (True, None)]
        assert desk.left() == []

    run(story, tmp_path)


def test_a_blob_that_is_wholly_in_line_is_not_dropped(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.take(CONTENT)
        assert not desk.arrivals.drop(digest_of(CONTENT))
        desk.gate.set()
        await desk.told(1)
        assert desk.through == [(True, None)]

    run(story, tmp_path)


def test_nothing_is_told_after_the_close(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.gate.set()
        for number in range(20):
            desk.take(b"%d" % number)
        desk.arrivals.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert desk.through == []

    run(story, tmp_path)
