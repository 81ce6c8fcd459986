"""What is remembered of one finished job: an opaque body, the blobs that it names, where it came from. Pure.

A record as bytes, in every store:

    32 bytes  BLAKE2b of all that follows
    msgpack   [1, key, body, digests joined, size in bytes, toolchain, node, node's key, user, made]

The digest in front makes a rotten record a miss, and the key within makes one that was filed under another
key a miss too. What `body` means is its owner's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from cache.digest import DIGEST_SIZE, Digest, digest_of
from cache.errors import RecordCorruptError

RECORD_FORMAT = 1
_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Source:
    """By whom a result came to be: what it may be purged by.

    `node` is the node's name, `node_key` its public key; `user` is the public key of who submitted the job.
    """

    toolchain: Digest
    node: str = ""
    node_key: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """`blobs` are all that `body` names, nothing twice; `size_bytes` is their size, uncompressed, and the
    body's. `made_s` is in Unix seconds: it is compared across processes and machines."""

    key: Digest
    body: bytes
    blobs: tuple[Digest, ...]
    size_bytes: int
    source: Source
    made_s: float


def encode_record(record: Record) -> bytes:
    source = record.source
    packed: bytes = msgpack.packb(
        (
            RECORD_FORMAT,
            record.key,
            record.body,
            b"".join(record.blobs),
            record.size_bytes,
            source.toolchain,
            source.node,
            source.node_key,
            source.user,
            record.made_s,
        ),
        use_bin_type=True,
    )
    return digest_of(packed) + packed


def decode_record(encoded: bytes, key: Digest) -> Record:
    """The record with these bytes, which must be this key's.

    Raises:
        RecordCorruptError: rotten, of another format, or another key's.
    """
    packed = encoded[DIGEST_SIZE:]
    if digest_of(packed) != encoded[:DIGEST_SIZE]:
        raise RecordCorruptError(f"the record of {key.hex()} does not match its digest")
    try:
        document = msgpack.unpackb(packed, raw=False)
        if len(document) != _FIELDS or document[0] != RECORD_FORMAT or document[1] != key:
            raise ValueError("another format, or another key's")
        _, _, body, joined, size_bytes, toolchain, node, node_key, user, made_s = document
        return Record(
            key=key,
            body=body,
            blobs=tuple(
                Digest(joined[at : at + DIGEST_SIZE]) for at in range(0, len(joined), DIGEST_SIZE)
            ),
            size_bytes=size_bytes,
            source=Source(Digest(toolchain), node, node_key, user),
            made_s=made_s,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise RecordCorruptError(f"not a record of {key.hex()}: {error}") from error
