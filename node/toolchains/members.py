"""What an unpacked toolchain consists of, so that it can be read again and compared. Pure.

As bytes: the digest of what follows, then msgpack: [1, [[path, digest]...], [[path, target]...]].
Paths begin with a slash, which is the toolchain's root. The digest in front makes a rotten list no list.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from cache.digest import DIGEST_SIZE, Digest, digest_of
from node.errors import ToolchainError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Members:
    """Regular files with their contents, and symlinks with their targets."""

    files: tuple[tuple[bytes, Digest], ...]
    links: tuple[tuple[bytes, bytes], ...]


def encode_members(members: Members) -> bytes:
    packed: bytes = msgpack.packb((_FORMAT, members.files, members.links), use_bin_type=True)
    return digest_of(packed) + packed


def decode_members(encoded: bytes) -> Members:
    """The members with these bytes.

    Raises:
        ToolchainError: rotten, or of another format.
    """
    packed = encoded[DIGEST_SIZE:]
    if digest_of(packed) != encoded[:DIGEST_SIZE]:
        raise ToolchainError("the list of a toolchain's members does not match its digest")
    try:
        found, files, links = msgpack.unpackb(packed, raw=False)
        if found != _FORMAT:
            raise ValueError(f"format {found!r}")
        return Members(
            tuple((path, Digest(digest)) for path, digest in files),
            tuple((path, target) for path, target in links),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ToolchainError(f"not a list of a toolchain's members: {error}") from error
