"""Names for bytes: BLAKE2b with 32 bytes of output.

BLAKE2b is in the standard library, is faster than SHA-256 without special instructions, and hashing
is far from being the bottleneck: a whole C++ closure costs less than one millisecond, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NewType

from cache.errors import BlobCorruptError

Digest = NewType("Digest", bytes)

DIGEST_SIZE = 32
_SHORT = 12


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    """The digest that names these bytes."""
    return Digest(hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest())


class Hasher:
    """Digest of bytes that arrive in pieces."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=DIGEST_SIZE)

    def update(self, piece: bytes | memoryview) -> None:
        self._state.update(piece)

    def digest(self) -> Digest:
        return Digest(self._state.digest())


def digest_of_pieces(pieces: Iterable[bytes]) -> Digest:
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def short(digest: bytes) -> str:
    """The first hexadecimal digits, for people to read in logs; never a key."""
    return digest.hex()[:_SHORT]


def verified(data: bytes, digest: Digest) -> bytes:
    """The same bytes, if they are what the digest names.

    Raises:
        BlobCorruptError: they are not.
    """
    if digest_of(data) != digest:
        raise BlobCorruptError(f"bytes do not match their digest {digest.hex()}")
    return data
