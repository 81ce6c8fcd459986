"""A blob that comes in one piece: decoded and checked at once, and no file before it is kept.

Owns the bound of what is decoded at once. Most sources and objects are such blobs; they cost a call of zstd and
one of BLAKE2b, where an `Arrival` costs a decoder, a file, and a call for each kilobyte.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache.blobs import BlobStore
from cache.digest import Digest, digest_of
from cache.errors import BlobCorruptError
from cache.frame import decompress, frame_size

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
    """The blob of this frame, for a compressed store; None: it holds too much, so that it has to be fed to an
    `Arrival`.

    Raises:
        BlobCorruptError: it is no frame of ours, or not what the digest names.
    """
    if frame_size(frame) > MAX_AT_ONCE_BYTES:
        return None
    plain = decompress(frame, MAX_AT_ONCE_BYTES)
    if digest_of(plain) != digest:
        raise BlobCorruptError(f"bytes do not match their digest {digest.hex()}")
    return Whole(digest, frame, len(plain), store)
