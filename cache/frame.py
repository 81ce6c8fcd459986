"""One zstd frame: what blobs, jobs and results travel and lie on disk as.

A frame of ours is one frame of RFC 8878 and nothing else: it says how many bytes it holds, holds as many, asks
for no large window, and has nothing before it or behind it. There is one decoder for all who read one, at once
or in pieces: what one reader takes and another refuses, nobody can use, and nobody would ask for anew.
(zstandard's own call for a whole frame looks at nothing behind a header that says 0.)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import zstandard

from cache.errors import BlobCorruptError

# Level 1 costs a third of level 3 on object files and gives up about 5% of size (LAN is cheaper).
COMPRESSION_LEVEL = 1
# Bounds the memory that one frame may ask of a decoder. Level 1 takes 512 KiB and the packs of toolchains, at
# level 3, take 2 MiB; a higher level (9 to 15) would take this.
MAX_WINDOW_BYTES = 4 << 20
# A frame is decoded in pieces of this size: one byte of it can stand for 32 KiB, so that a chunk of 256 KiB
# could ask for 8 GiB at once. (zstandard's call for a whole frame is faster by 15 to 30%, which BLAKE2b hides.)
_SLICE_BYTES = 1 << 10
_UNSAID = zstandard.CONTENTSIZE_UNKNOWN & (1 << 64) - 1


class _Codec(threading.local):
    """zstd's contexts, kept: making one costs as much as some ten kilobytes. They are not thread-safe."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)


_codec = _Codec()


def compress(data: bytes) -> bytes:
    """One zstd frame that records its content size."""
    return _codec.compressor.compress(data)


def frame_size(frame: bytes) -> int:
    """How many bytes are in a frame that begins so, by its own word.

    Raises:
        BlobCorruptError: it does not say, asks for too large a window, or is no zstd frame.
    """
    if not frame.startswith(zstandard.FRAME_HEADER):
        raise BlobCorruptError("not a valid zstd frame: it does not begin as one")
    try:
        said = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise BlobCorruptError(f"not a valid zstd frame: {error}") from error
    if said.content_size == _UNSAID:
        raise BlobCorruptError("a frame that does not say its size")
    if said.window_size > MAX_WINDOW_BYTES:
        raise BlobCorruptError(
            f"a frame with a window of {said.window_size} bytes where at most {MAX_WINDOW_BYTES} may be"
        )
    return said.content_size


def window_bytes(beginning: bytes) -> int:
    """The memory that a decoder keeps for a frame that begins so: what it says, or the most that it may say."""
    try:
        return min(zstandard.get_frame_parameters(beginning).window_size, MAX_WINDOW_BYTES)
    except zstandard.ZstdError:
        return MAX_WINDOW_BYTES


def _has_header(beginning: bytes) -> bool:
    try:
        return len(beginning) >= zstandard.frame_header_size(beginning)
    except zstandard.ZstdError:
        return False  # of five bytes on it says how long it is


class Decoder:
    """One frame, fed in pieces. `plain_bytes` have come out of `received_bytes`, so far.

    After an error it is of no use.
    """

    def __init__(self, context: zstandard.ZstdDecompressor | None = None) -> None:
        """`context`: one that nobody else uses before the frame has ended."""
        self.received_bytes = 0
        self.plain_bytes = 0
        self._beginning: bytes | None = b""  # until it has said its size
        self._size_bytes = 0
        context = context or zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._decoder = context.decompressobj()

    def feed(self, piece: bytes | memoryview) -> Iterator[bytes]:
        """What the next bytes of the frame stand for; they are read as the answer is gone through.

        Raises:
            BlobCorruptError: not a frame of ours, or more than it says.
        """
        view = memoryview(piece)
        for at in range(0, len(view), _SLICE_BYTES):
            yield self._decode(bytes(view[at : at + _SLICE_BYTES]))

    def finish(self) -> None:
        """There are no more bytes.

        Raises:
            BlobCorruptError: they are not one frame and nothing else.
        """
        # What follows the frame would be taken by one reader and refused by another.
        if not self._decoder.eof or self._decoder.unused_data:
            raise BlobCorruptError("not one zstd frame and nothing else")

    def _decode(self, piece: bytes) -> bytes:
        self.received_bytes += len(piece)
        if self._beginning is not None:
            self._beginning += piece
            if not _has_header(self._beginning):
                return b""
            self._size_bytes = frame_size(self._beginning)
            piece, self._beginning = self._beginning, None
        try:
            plain = self._decoder.decompress(piece)
        except zstandard.ZstdError as error:
            raise BlobCorruptError(f"not a valid zstd frame: {error}") from error
        self.plain_bytes += len(plain)
        if self.plain_bytes > self._size_bytes:
            raise BlobCorruptError(
                f"a frame of more than the {self._size_bytes} bytes that it says"
            )
        return plain


def decompress(frame: bytes, limit_bytes: int) -> bytes:
    """The content of one zstd frame of at most `limit_bytes`.

    Raises:
        BlobCorruptError: not a frame of ours and nothing else, or more than the limit.
    """
    size = frame_size(frame)
    if size > limit_bytes:
        raise BlobCorruptError(f"a frame of {size} bytes where at most {limit_bytes} may be")
    decoder = Decoder(_codec.decompressor)
    plain = b"".join(decoder.feed(frame))
    decoder.finish()
    return plain
