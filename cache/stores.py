"""Where records and blobs are kept: one interface for every tier, the disk, and memory.

A tier answers in batches and never raises for what it lacks. One that cannot work at all raises StoreError;
`cache/tiers.py` turns that into misses. Blobs are zstd frames; who reads one checks its content against
its digest, whatever tier it came from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Protocol

from cache.blobs import BlobStore
from cache.digest import Digest
from cache.errors import StoreError
from cache.index import ResultIndex
from cache.record import Record

# Of a disk store's limit, what the records themselves may take: a record is some 300 bytes and its messages and
# look-ups, its blobs are tens of kilobytes.
RECORDS_SHARE = 0.1
# Blobs have at least this share, however large a file an earlier version, or another farm's results, have left.
_BLOBS_SHARE = 0.5


class Store(Protocol):
    """One tier. What is asked for and not there is left out of the answer.

    Raises (all methods):
        StoreError: the tier does not work now.
    """

    def get_records(self, keys: Iterable[Digest]) -> dict[Digest, Record]: ...
    def put_records(self, records: Iterable[Record]) -> None: ...
    def remove_records(self, keys: Iterable[Digest]) -> None: ...
    def remove_all_records(self) -> None: ...
    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]: ...
    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]: ...
    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None: ...
    def remove_blobs(self, digests: Iterable[Digest]) -> None: ...
    def maintain(self) -> int: ...
    def close(self) -> None: ...


class MemoryStore:
    """A tier that forgets everything with its process, and nothing before."""

    def __init__(self) -> None:
        self.records: dict[Digest, Record] = {}
        self.blobs: dict[Digest, bytes] = {}

    def get_records(self, keys: Iterable[Digest]) -> dict[Digest, Record]:
        return {key: self.records[key] for key in keys if key in self.records}

    def put_records(self, records: Iterable[Record]) -> None:
        self.records.update((record.key, record) for record in records)

    def remove_records(self, keys: Iterable[Digest]) -> None:
        for key in keys:
            self.records.pop(key, None)

    def remove_all_records(self) -> None:
        self.records.clear()

    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]:
        return self.blobs.keys() & set(digests)

    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        return {digest: self.blobs[digest] for digest in digests if digest in self.blobs}

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None:
        self.blobs.update(frames)

    def remove_blobs(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            self.blobs.pop(digest, None)

    def maintain(self) -> int:
        return 0

    def close(self) -> None:
        pass


class DiskStore:
    """Below one directory: `results.sqlite` and the blobs, together at most about `limit_bytes` on disk.

    `quota_bytes` bounds what the results of one user's jobs take, uncompressed; 0: no bound. Safe to use
    from several threads: reads in one, writes and `maintain` in another. `is_strict` is for commands, which
    tell somebody what is there and what was done: what the disk refuses is an error then.

    Raises:
        StoreError: the directory cannot be made or written.
    """

    def __init__(
        self,
        directory: str,
        space: str,
        limit_bytes: int,
        quota_bytes: int = 0,
        *,
        is_strict: bool = False,
    ) -> None:
        self.directory = directory
        self.space = space
        self.quota_bytes = quota_bytes
        self.limit_bytes = limit_bytes
        self.index = ResultIndex(directory, space, is_strict=is_strict)
        try:
            self.blobs = BlobStore(os.path.join(directory, "blobs"), limit_bytes)
        except OSError as error:
            self.index.close()
            raise StoreError(f"cannot use {directory}: {error.strerror}") from error

    def get_records(self, keys: Iterable[Digest]) -> dict[Digest, Record]:
        found = ((key, self.index.get(key)) for key in keys)
        return {key: record for key, record in found if record is not None}

    def put_records(self, records: Iterable[Record]) -> None:
        for record in records:
            self.index.put(record)

    def remove_records(self, keys: Iterable[Digest]) -> None:
        self.index.remove(keys)

    def remove_all_records(self) -> None:
        self.index.remove_all()

    def has_blobs(self, digests: Iterable[Digest]) -> set[Digest]:
        return {digest for digest in digests if self.blobs.has(digest)}

    def get_blobs(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        frames = {}
        for digest in digests:
            with contextlib.suppress(OSError):
                frames[digest] = self.blobs.read_stored(digest)
                self.blobs.touch(digest)
        return frames

    def put_blobs(self, frames: Mapping[Digest, bytes]) -> None:
        try:
            for digest, frame in frames.items():
                self.blobs.adopt(digest, frame)
        except OSError as error:
            raise StoreError(f"cannot write to {self.directory}: {error.strerror}") from error

    def remove_blobs(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            self.blobs.remove(digest)

    def maintain(self) -> int:
        """Write down what waits, evict beyond the limit; how many blobs and records went."""
        self.index.flush()
        gone = self.trim(self.limit_bytes)
        if self.quota_bytes:
            for user, _, size_bytes in self.index.by_label("user"):
                if size_bytes > self.quota_bytes:
                    gone += self.index.trim_outputs(self.quota_bytes, user)
        return gone

    def trim(self, limit_bytes: int) -> int:
        """Evict the least recently used down to a limit; how many blobs and records went."""
        gone = self.index.trim(int(limit_bytes * RECORDS_SHARE))
        left_bytes = max(limit_bytes - self.index.size_bytes, int(limit_bytes * _BLOBS_SHARE))
        return gone + self.blobs.trim(left_bytes)

    def close(self) -> None:
        self.index.close()
