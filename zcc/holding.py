"""How an agent shows the broker that it holds a file, without sending it. Pure.

The broker gives every session the same secret, new with each start of its own: a key for BLAKE2. What is shown
for a blob is the keyed digest of its (uncompressed) bytes. Who knows only the blob's own digest cannot make it,
and what is made for one broker's lifetime is of no use in the next. One key for all sessions, rather than one
for each, lets the broker work it out once for a blob and compare it with everybody's after that. It travels
under CURVE from a member to the broker only: there is nobody who could show another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from cache.digest import DIGEST_SIZE, Digest

HOLDING_KEY_BYTES = 32
# 128 bits: a guess is right once in 10^38 tries.
SHOWN_BYTES = 16
# A blob's digest, and what shows that one holds it.
SHOWN_ROW_BYTES = DIGEST_SIZE + SHOWN_BYTES


def shown_by(pieces: Iterable[bytes | memoryview], key: bytes) -> bytes:
    """What shows that one holds the blob that these pieces make up."""
    state = hashlib.blake2b(key=key, digest_size=SHOWN_BYTES)
    for piece in pieces:
        state.update(piece)
    return state.digest()


def pack_shown(shown: Mapping[Digest, bytes]) -> bytes:
    """What a Submit carries: one row after the other, so that reading a message costs nothing for each."""
    return b"".join(digest + value for digest, value in shown.items())


def unpack_shown(packed: bytes) -> dict[Digest, bytes]:
    """
    Raises:
        ValueError: not whole rows.
    """
    if len(packed) % SHOWN_ROW_BYTES:
        raise ValueError("what is shown is not in whole rows")
    starts = range(0, len(packed), SHOWN_ROW_BYTES)
    return {
        Digest(packed[at : at + DIGEST_SIZE]): packed[at + DIGEST_SIZE : at + SHOWN_ROW_BYTES]
        for at in starts
    }
