"""Looking after a disk store from outside: what it holds, and whether that is sound.

May run beside the process whose store it is: what is taken away is a miss there. The store has to be strict
(`DiskStore`), as what is told here is what was done: what could not be is a StoreError that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cache.digest import Digest
from cache.errors import BlobCorruptError, StoreError
from cache.selection import Selection
from cache.stores import DiskStore


@dataclass(frozen=True, slots=True)
class Holding:
    """`stored_bytes` are the blobs on disk, compressed, with those that belong to no result (inputs,
    toolchains); `result_bytes` what the results' outputs are uncompressed, each result by itself."""

    results: int
    blobs: int
    stored_bytes: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class Removed:
    """How many results were forgotten and blobs removed; `freed_bytes` are the blobs', on disk."""

    results: int
    blobs: int
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Verified:
    """`rotten` blobs were not what their names say: they are damage, and removed.

    `lost` results lacked a blob, as eviction leaves them behind (or damage of now): they are forgotten.
    """

    results: int
    blobs: int
    rotten: int
    lost: int


def holding(store: DiskStore) -> Holding:
    sizes = [entry.size_bytes for entry in store.blobs.entries()]
    totals = store.index.totals()
    return Holding(totals.results, len(sizes), sum(sizes), totals.size_bytes)


def purge(store: DiskStore, selection: Selection) -> Removed:
    """Forget the results that match, and remove the blobs that no other result needs.

    Inputs and toolchains stay, as nothing says whose they are: `clear` removes them.

    Raises (as `clear`, `trim` and `verify`):
        StoreError: the disk refuses; the message says what was done before.
    """
    keys = store.index.keys(selection)
    blobs = _blobs_of(store, keys)
    forgotten = store.index.remove(keys)
    if blobs:
        blobs -= _blobs_of(store, store.index.keys())
    return _removed(store, forgotten, blobs)


def clear(store: DiskStore) -> Removed:
    """Forget all results, and remove all blobs: inputs and toolchains come again when they are needed."""
    keys = store.index.keys()
    forgotten = store.index.remove(keys)
    removed = _removed(store, forgotten, [entry.key for entry in store.blobs.entries()])
    store.index.compact()
    return removed


def trim(store: DiskStore, limit_bytes: int) -> Removed:
    """Evict the least recently used down to a limit, and forget the results whose blobs went with that."""
    results = store.index.count()
    sizes = {entry.key: entry.size_bytes for entry in store.blobs.entries()}
    store.trim(limit_bytes)
    left = {entry.key for entry in store.blobs.entries()}
    if sum(sizes.values()) > limit_bytes and not sizes.keys() - left:
        raise StoreError(f"no blob in {store.directory} can be removed")
    store.index.remove(
        [record.key for record in store.index.records() if not left.issuperset(record.blobs)]
    )
    gone = sizes.keys() - left
    freed_bytes = sum(sizes[digest] for digest in gone)
    return Removed(results - store.index.count(), len(gone), freed_bytes)


def _blobs_of(store: DiskStore, keys: Iterable[Digest]) -> set[Digest]:
    records = store.get_records(keys).values()
    return {digest for record in records for digest in record.blobs}


def _removed(store: DiskStore, results: int, blobs: Iterable[Digest]) -> Removed:
    before = {entry.key: entry.size_bytes for entry in store.blobs.entries()}
    wanted = [digest for digest in blobs if digest in before]
    gone = [digest for digest in wanted if store.blobs.remove(digest)]
    if len(gone) < len(wanted):
        raise StoreError(
            f"forgot {results} results and removed {len(gone)} blobs, but"
            f" {len(wanted) - len(gone)} more in {store.directory} cannot be removed"
        )
    return Removed(results, len(gone), sum(before[digest] for digest in gone))


def verify(store: DiskStore, progress: Callable[[int, int], None]) -> Verified:
    """Read every blob, drop the rotten, and forget the results that lack one.

    `progress(done, all)` is called for each blob and each result.
    """
    blobs = [entry.key for entry in store.blobs.entries()]
    keys = store.index.keys()
    every = len(blobs) + len(keys)
    sound = set()
    rotten = 0
    for done, digest in enumerate(blobs):
        progress(done, every)
        try:
            store.blobs.check(digest)
            sound.add(digest)
            continue
        except FileNotFoundError:
            continue  # evicted meanwhile
        except (OSError, BlobCorruptError):
            pass
        rotten += 1
        if not store.blobs.remove(digest):
            raise StoreError(f"{store.blobs.path_of(digest)} is rotten, and cannot be removed")
    lost = []
    for done, key in enumerate(keys, len(blobs)):
        progress(done, every)
        record = store.index.get(key)  # drops a rotten one
        # What came while we read is not among those that were read.
        if (
            record is None
            or store.has_blobs(set(record.blobs) - sound) != set(record.blobs) - sound
        ):
            lost.append(key)
    store.index.remove(lost)
    progress(every, every)
    return Verified(len(keys), len(blobs), rotten, len(lost))
