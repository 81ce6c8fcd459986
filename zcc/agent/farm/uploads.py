"""What the farm may ask this machine for: the inputs of jobs that were submitted, and nothing else.

A file is read when the farm wants it, and sent only if its bytes are still those that were hashed.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from cache.digest import Digest, digest_of
from cache.frame import compress
from zcc.agent.farm.arrivals import Frames, frame_bytes
from zcc.job import Manifest
from zcc.regular import opener

# Files that may be asked for, the most recently submitted ones: some hundred C++ closures. One is a path, a
# digest, and a place in the map.
_OFFER_BYTES = 250
# Frames that were begun to be sent. A frame is read again from its file when it was dropped.
MAX_FRAME_BYTES = 64 << 20


class InputUploads:
    """Reads frames for `zcc.transfer.Sender`."""

    def __init__(self, limit_bytes: int) -> None:
        self.asked_bytes = 0  # of inputs, uncompressed, that were read to be sent
        self._max_offered = limit_bytes // _OFFER_BYTES
        self._paths: OrderedDict[Digest, bytes] = OrderedDict()
        self._packs: dict[Digest, str] = {}
        self._frames = Frames(MAX_FRAME_BYTES, frame_bytes)

    @property
    def offered(self) -> int:
        """How many files may be asked for."""
        return len(self._paths)

    @property
    def size_bytes(self) -> int:
        """What is remembered of files that may be asked for."""
        return len(self._paths) * _OFFER_BYTES

    def offer(self, manifest: Manifest) -> None:
        """These files may be asked for from now on."""
        paths = self._paths
        for file in manifest.files:
            paths[file.digest] = file.path
        while len(paths) > self._max_offered:
            paths.popitem(last=False)

    def offer_pack(self, digest: Digest, path: str) -> None:
        """A packed toolchain: a file that is a zstd frame already."""
        self._packs[digest] = path

    def path_of(self, digest: Digest) -> bytes | None:
        """Where an input lies that may be asked for."""
        return self._paths.get(digest)

    def read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int] | None:
        """A stretch of the blob's frame and the frame's length; None when it is not to be had."""
        pack = self._packs.get(digest)
        if pack is not None:
            return _stretch(pack, offset, length)
        frame = self._frames.get(digest) or self._load(digest)
        if frame is None:
            return None
        piece = frame[offset : offset + length]
        if offset + length >= len(frame):
            self._frames.pop(digest)
        return piece, len(frame)

    def _load(self, digest: Digest) -> bytes | None:
        path = self._paths.get(digest)
        if path is None:
            return None
        try:
            with open(path, "rb", opener=opener) as file:
                data = file.read()
        except OSError:
            return None
        if digest_of(data) != digest:
            return None
        self.asked_bytes += len(data)
        frame = compress(data)
        self._frames.put(digest, frame)
        return frame


def _stretch(path: str, offset: int, length: int) -> tuple[bytes, int] | None:
    try:
        with open(path, "rb") as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(offset)
            return file.read(length), total
    except OSError:
        return None
