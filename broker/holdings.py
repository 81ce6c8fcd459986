"""Which key has shown that it holds which blob. Pure.

A blob may be the input of a key's job only when that key has sent it whole, or proved that it has the bytes
(`zcc/holding.py`). So nobody can have a compiler read out a file of which he knows the digest alone, and nobody
learns from what he is asked for whether others have it.

A toolchain is no secret among a farm's members, and proving 300 MB would cost each agent half a second. It is
told from other blobs by its holders: a blob that a key has shown to hold, and has named as a job's toolchain.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from broker.limits import MAX_SHOWN, MAX_TOOLCHAINS
from cache.digest import Digest

# Of what is remembered, the share that is forgotten when it is too much.
_FORGOTTEN = 8


class Holdings:
    """One bit for each key in a number for each blob. Beyond `limit` blobs those first shown are forgotten:
    they are then asked for as if they had never been here."""

    def __init__(self, toolchains: Iterable[Digest] = (), limit: int = MAX_SHOWN) -> None:
        self._limit = limit
        self._holders: dict[Digest, int] = {}
        self._bits: dict[str, int] = {}
        self._keys = 0
        # Those last used last; whether a compiler of each has run.
        self._toolchains = OrderedDict[Digest, bool]((digest, True) for digest in toolchains)

    def note(self, user: str, digests: Iterable[Digest]) -> None:
        """This key has shown that it holds these."""
        bit = self._bits.get(user)
        if bit is None:
            bit = self._bits[user] = 1 << self._keys
            self._keys += 1
        holders = self._holders
        for digest in digests:
            holders[digest] = holders.get(digest, 0) | bit
        if len(holders) > self._limit:
            for digest in list(islice(holders, self._limit // _FORGOTTEN)):
                del holders[digest]

    def unshown(self, user: str, digests: Iterable[Digest]) -> list[Digest]:
        """Those that this key has not shown, in their order."""
        bit, get = self._bits.get(user, 0), self._holders.get
        return [digest for digest in digests if not get(digest, 0) & bit]

    def forget_key(self, user: str) -> None:
        """The key was revoked. Its bit is never given to another."""
        self._bits.pop(user, None)

    def note_toolchain(self, digest: Digest) -> None:
        """Somebody who holds this blob has named it as a toolchain."""
        self._toolchains.setdefault(digest, False)
        self._toolchains.move_to_end(digest)
        if len(self._toolchains) > MAX_TOOLCHAINS:
            self._toolchains.popitem(last=False)

    def note_proven(self, digest: Digest) -> bool:
        """A compiler in this toolchain has run; whether that is news."""
        is_news = not self._toolchains.get(digest, False)
        self.note_toolchain(digest)
        self._toolchains[digest] = True
        return is_news

    @property
    def toolchains(self) -> tuple[Digest, ...]:
        return tuple(self._toolchains)

    def is_toolchain(self, digest: Digest) -> bool:
        return digest in self._toolchains
