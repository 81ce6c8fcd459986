"""Frames that came just now, in memory: most are sent on in a moment, and need not be read for it. Pure."""

from __future__ import annotations

from collections import OrderedDict

from broker.core.limits import MAX_RECENT_BYTES
from cache.digest import Digest


class Recent:
    """The last `limit_bytes` of them. Each is in the store as well, or was there."""

    def __init__(self, limit_bytes: int = MAX_RECENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._frames: OrderedDict[Digest, bytes] = OrderedDict()
        self._size_bytes = 0

    def put(self, digest: Digest, frame: bytes) -> None:
        self.forget(digest)
        self._frames[digest] = frame
        self._size_bytes += len(frame)
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= len(self._frames.popitem(last=False)[1])

    def get(self, digest: Digest) -> bytes | None:
        return self._frames.get(digest)

    def forget(self, digest: Digest) -> None:
        self._size_bytes -= len(self._frames.pop(digest, b""))
