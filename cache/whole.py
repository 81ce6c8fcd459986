"""A blob that comes in one piece: decoded and checked at once, and no file before it is kept.

Owns the bound of what is decoded at once. Most sources and objects are such blobs; they cost a call of zstd and
one of BLAKE2b, where an `Arrival` costs a decoder, a file, and a call for each kilobyte.
"""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

from cache.blobs import MAX_WINDOW_BYTES, BlobStore, decompress
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError

# A frame says what it holds, and zstd is given no more room than that: some 5 ms of zstd and BLAKE2b.
MAX_AT_ONCE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A blob whose frame is here and was checked. It is in no store before `keep`."""

    digest: Digest
    frame: bytes
    plain_bytes: int
    store: BlobStore

    def keep(self) -> None:
        """Make it appear.

        Raises:
            OSError: the disk refused; nothing is stored.
        """
        self.store.write(self.digest, self.frame)

    def drop(self) -> None:
        """There is nothing to clean up."""


def whole(store: BlobStore, digest: Digest, frame: bytes) -> Whole | None:
    """The blob of this frame, for a compressed store; None: it does not say its size or holds too much, so that
    it has to be fed to an `Arrival`.

    Raises:
        BlobCorruptError: it is not what the digest names, or asks for too large a window.
    """
    try:
        said = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise BlobCorruptError(f"not a valid zstd frame: {error}") from error
    if said.content_size > MAX_AT_ONCE_BYTES:  # of one that does not say, this is 2^64 - 1
        return None
    if said.window_size > MAX_WINDOW_BYTES:
        raise BlobCorruptError(f"a frame with a window of {said.window_size} bytes")
    plain = decompress(frame, MAX_AT_ONCE_BYTES)
    if digest_of(plain) != digest:
        raise BlobCorruptError(f"bytes do not match their digest {digest.hex()}")
    return Whole(digest, frame, len(plain), store)
