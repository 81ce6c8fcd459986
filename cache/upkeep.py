"""Looking after a disk store from outside: what it holds, and whether that is sound.

May run beside the process whose store it is: what is taken away is a miss there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cache.blobs import decompress, frame_size
from cache.digest import digest_of
from cache.errors import BlobCorruptError
from cache.stores import DiskStore

# The largest blob that a verification reads into memory; larger ones (toolchains) are checked in use.
_MAX_VERIFIED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Holding:
    """`stored_bytes` are the blobs on disk, compressed, with those that belong to no result (inputs,
    toolchains); `result_bytes` what the results' outputs are uncompressed, each result by itself."""

    results: int
    blobs: int
    stored_bytes: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class Verified:
    """`rotten` blobs were not what their names say, `lost` results lacked a blob: both are removed."""

    results: int
    blobs: int
    rotten: int
    lost: int


def holding(store: DiskStore) -> Holding:
    sizes = [entry.size_bytes for entry in store.blobs.entries()]
    totals = store.index.totals()
    return Holding(totals.results, len(sizes), sum(sizes), totals.size_bytes)


def verify(store: DiskStore, progress: Callable[[int, int], None]) -> Verified:
    """Read every blob, drop the rotten, and forget the results that lack one.

    `progress(done, all)` is called for each blob and each result.
    """
    blobs = [entry.key for entry in store.blobs.entries()]
    keys = store.index.keys()
    every = len(blobs) + len(keys)
    sound = set()
    for done, digest in enumerate(blobs):
        progress(done, every)
        try:
            frame = store.blobs.read_stored(digest)
            limit_bytes = min(frame_size(frame), _MAX_VERIFIED_BYTES)
            if digest_of(decompress(frame, limit_bytes)) == digest:
                sound.add(digest)
                continue
        except FileNotFoundError:
            continue  # evicted meanwhile
        except (OSError, BlobCorruptError):
            pass
        store.blobs.remove(digest)
    lost = []
    for done, key in enumerate(keys, len(blobs)):
        progress(done, every)
        record = store.index.get(key)  # drops a rotten one
        if record is None or not sound.issuperset(record.blobs):
            lost.append(key)
    store.index.remove(lost)
    progress(every, every)
    return Verified(len(keys), len(blobs), len(blobs) - len(sound), len(lost))
