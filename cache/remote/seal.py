"""A record as it lies where others can write: under the farm's seal. Pure.

    4 bytes   b"zcS1": the format and its version
    4 bytes   how many bytes follow the code, little-endian
    32 bytes  the code: BLAKE2b-256 of what follows, with the farm's secret as its key and
              b"zcc-tier-record1" as its personalisation
    msgpack   [space, key, mark, number, record]

`record` is as in `cache/record.py`, and names its blobs by their digests; `space` keeps farms apart. `mark` and
`number` are the stamp: of which list of void results, and of how many of its lines, the writer had heard when
the result was made (`broker/results/tombstones.py`). So whoever can write to the engine and lacks the secret
can put there nothing that is taken, and nothing of another key's in the place of this one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

import msgpack

from cache.digest import Digest
from cache.errors import CacheError, RecordCorruptError
from cache.record import Record, decode_record, encode_record

SECRET_BYTES = 32
MARK_BYTES = 16
_MAGIC = b"zcS1"
_PERSON = b"zcc-tier-record1"
_CODE_BYTES = 32
_HEAD_BYTES = len(_MAGIC) + 4


class ForgedError(CacheError):
    """A value that is whole and that nobody with the farm's secret has put there, under this key."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Up to where its maker had heard of what is void."""

    mark: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Sealed:
    record: Record
    stamp: Stamp


def seal(sealed: Sealed, secret: bytes, space: str) -> bytes:
    stamp, record = sealed.stamp, sealed.record
    document = (space, record.key, stamp.mark, stamp.number, encode_record(record))
    packed: bytes = msgpack.packb(document, use_bin_type=True)
    length = len(packed).to_bytes(4, "little")
    return b"".join((_MAGIC, length, _code(packed, secret), packed))


def unseal(value: bytes, key: Digest, secret: bytes, space: str) -> Sealed:
    """What was sealed with this secret for this key.

    Raises:
        RecordCorruptError: cut off, or no such value at all.
        ForgedError: somebody else's, or another key's or farm's.
    """
    head, code, packed = (
        value[:_HEAD_BYTES],
        value[_HEAD_BYTES : _HEAD_BYTES + _CODE_BYTES],
        value[_HEAD_BYTES + _CODE_BYTES :],
    )
    length = int.from_bytes(head[4:], "little")
    if not packed or head[:4] != _MAGIC or length != len(packed):
        raise RecordCorruptError(f"no whole sealed record of {key.hex()}")
    if not compare_digest(code, _code(packed, secret)):
        raise ForgedError(f"the seal of {key.hex()} is broken")
    its_space, its_key, mark, number, encoded = msgpack.unpackb(packed, raw=False)
    if its_space != space or its_key != key:
        raise ForgedError(f"another's record under {key.hex()}")
    return Sealed(decode_record(encoded, key), Stamp(mark, number))


def name_of_farm(secret: bytes) -> str:
    """What tells this secret's values from another's, and says nothing of the secret."""
    return blake2b(b"", key=secret, digest_size=8, person=b"zcc-tier-name").hexdigest()


def _code(packed: bytes, secret: bytes) -> bytes:
    return blake2b(packed, key=secret, digest_size=_CODE_BYTES, person=_PERSON).digest()
