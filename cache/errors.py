"""What can go wrong in a store. A store's failure costs a miss, never a build."""

from __future__ import annotations


class CacheError(Exception):
    """The root of this folder's errors."""


class BlobMissingError(CacheError):
    """The store does not hold this blob (or held it rotten, and has dropped it)."""


class BlobCorruptError(CacheError):
    """The bytes that arrived are not those that the digest names; the sender is at fault."""


class RecordCorruptError(CacheError):
    """A record is not what was written under its key; the store has to drop it."""


class StoreError(CacheError):
    """A store cannot do its work (full, read-only, gone): whoever asked goes on without it."""
