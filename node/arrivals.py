"""Blobs on their way into a node's stores, by a worker thread of their own.

A piece of a frame may unpack to a hundred megabytes that are to be decoded, hashed and written: the loop
only puts pieces in line, and is told of each when it is through. What waits in line is bounded by the
sender's credit, which is granted anew for a piece that is through, not for one that has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cache.blobs import Arrival
from cache.digest import Digest
from zcc.transfer import Piece

# Makes the arrival, given the frame's first piece. Called on the worker.
Opening = Callable[[bytes], Arrival]
# Called on the loop when a piece is through: whether the blob is stored now, and the error that ended it.
Through = Callable[[bool, Exception | None], None]


@dataclass(slots=True)
class _Incoming:
    """One blob. The loop counts what it takes; `arrival` is the worker's."""

    opening: Opening
    taken_bytes: int = 0
    is_whole: bool = False  # its last piece is in line
    is_over: bool = False  # failed or given up: pieces in line are passed over
    arrival: Arrival | None = None

    def feed(self, data: bytes, is_last: bool) -> None:
        """Take the next piece; the last makes the blob appear. On the worker."""
        if self.is_over:
            return
        try:
            if self.arrival is None:
                self.arrival = self.opening(data)
            self.arrival.feed(data)
            if is_last:
                self.arrival.finish()
        except Exception:
            self.drop()
            raise

    def drop(self) -> None:
        """Leave nothing behind. On the worker."""
        self.is_over = True
        if self.arrival is not None:
            self.arrival.drop()


class BlobArrivals:
    """The blobs that are not wholly here. They outlive a session: what is asked for again goes on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # One thread: pieces of a blob are fed in the order in which they came.
        self._worker = ThreadPoolExecutor(1, "arrivals")
        self._incoming: dict[Digest, _Incoming] = {}
        self._is_closed = False

    def offset_of(self, digest: Digest) -> int | None:
        """From where on to ask for this blob; None: all of it is in line, so there is nothing to ask for."""
        incoming = self._incoming.get(digest)
        if incoming is None:
            return 0
        return None if incoming.is_whole else incoming.taken_bytes

    def take(self, piece: Piece, opening: Opening, through: Through) -> None:
        """Put a piece in line, which is the next of its blob; `opening` is for the first."""
        incoming = self._incoming.get(piece.digest)
        if incoming is None:
            incoming = self._incoming[piece.digest] = _Incoming(opening)
        incoming.taken_bytes += len(piece.data)
        incoming.is_whole = piece.is_last
        feeding = self._loop.run_in_executor(self._worker, incoming.feed, piece.data, piece.is_last)
        feeding.add_done_callback(lambda done: self._fed(piece, incoming, through, done))

    def drop(self, digest: Digest) -> bool:
        """No more of this blob comes; whether that ends it, which is not so when all of it is in line."""
        incoming = self._incoming.get(digest)
        if incoming is not None and incoming.is_whole:
            return False
        if incoming is not None:
            del self._incoming[digest]
            incoming.is_over = True
            self._worker.submit(incoming.drop)
        return True

    def close(self) -> None:
        """Take no more; `through` is not called again. What is half here goes when the store is opened anew."""
        self._is_closed = True
        for incoming in self._incoming.values():
            incoming.is_over = True
        self._worker.shutdown(cancel_futures=True)

    def _fed(
        self, piece: Piece, incoming: _Incoming, through: Through, done: asyncio.Future[None]
    ) -> None:
        error = None if done.cancelled() else done.exception()
        if self._is_closed or done.cancelled():
            return
        is_current = self._incoming.get(piece.digest) is incoming
        if is_current and (error is not None or piece.is_last):
            del self._incoming[piece.digest]
        if error is not None and not isinstance(error, Exception):
            raise error
        # Whatever became of a blob that was dropped, nobody waits for it.
        through(is_current and error is None and piece.is_last, error if is_current else None)
