"""Which inputs are known to be in the node's store, so that those of a job need not each be looked for.

A job names some hundred, of which the last one has named nearly all, and a look at the disk costs 5 us. What
is said here is no promise: a file may vanish at any moment, which an input tree notices when it takes it
(`MissingInputError`), and the job begins anew. Whoever removes a file, or has missed one, says `forget`.
"""

from __future__ import annotations

from cache.blobs import BlobStore
from cache.digest import Digest

# Some 130 bytes each.
MAX_KNOWN = 100_000


class Stock:
    """What one store of inputs holds. Safe to use from several threads."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._here: set[Digest] = set()

    def missing(self, wanted: set[Digest]) -> set[Digest]:
        """Those of these that have to be fetched."""
        # What is forgotten meanwhile is another set: what has been seen before that is not kept.
        here = self._here
        unsure = wanted - here
        missing = {digest for digest in unsure if not self._store.has(digest)}
        if len(here) + len(unsure) > MAX_KNOWN:
            self.forget()
        else:
            here |= unsure - missing
        return missing

    def forget(self) -> None:
        """Something has gone: look for each once more."""
        self._here = set()
