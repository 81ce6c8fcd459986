"""Which key has shown that it holds which blob. Pure.

A blob may be the input of a key's job only when that key has sent it whole, or proved that it has the bytes
(`zcc/holding.py`). So nobody can have a compiler read out a file of which he knows the digest alone, and nobody
learns from what he is asked for whether others have it.

A toolchain is no secret among a farm's members, and proving 300 MB would cost each agent half a second. It is
told from other blobs by its holders: a blob that a key has shown to hold, and has named as a job's toolchain.

Each table has a bound, and no key's entries push out what others rely on (`broker/shares.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from broker.limits import (
    MAX_NAMED_PER_KEY,
    MAX_PROVEN_PER_KEY,
    MAX_SHOWN,
    MAX_TOOLCHAINS,
)
from broker.shares import Shares
from cache.digest import Digest

# Of what is one key's, the share that is forgotten when there is too much: some milliseconds' work.
_FORGOTTEN = 64


class Holdings:
    """One bit for each key in a number for each blob.

    Beyond `limit` blobs, the key that was the first to show the most of them loses those first shown: it is
    asked for them as if they had never been here. Who else has shown them is not asked again.
    """

    def __init__(
        self, toolchains: Iterable[tuple[Digest, str]] = (), limit: int = MAX_SHOWN
    ) -> None:
        self._limit = limit
        self._holders: dict[Digest, int] = {}
        self._bits: dict[str, int] = {}
        self._keys = 0
        # What was first shown by the key of this bit, oldest first: these entries are that key's.
        self._firsts: dict[int, dict[Digest, None]] = {}
        # What keys have named as toolchains, and those in which a compiler of a key's job has run.
        self._named = Shares[Digest](MAX_TOOLCHAINS, MAX_NAMED_PER_KEY)
        self._proven = Shares[Digest](MAX_TOOLCHAINS, MAX_PROVEN_PER_KEY)
        for digest, user in toolchains:
            self._proven.use(user, digest)

    def note(self, user: str, digests: Iterable[Digest]) -> None:
        """This key has shown that it holds these."""
        bit = self._bits.get(user)
        if bit is None:
            bit = self._bits[user] = 1 << self._keys
            self._keys += 1
        holders = self._holders
        firsts = self._firsts.setdefault(bit, {})
        for digest in digests:
            held = holders.get(digest, 0)
            if not held:
                firsts[digest] = None
            holders[digest] = held | bit
        if len(holders) > self._limit:
            self._forget_some()

    def unshown(self, user: str, digests: Iterable[Digest]) -> list[Digest]:
        """Those that this key has not shown, in their order."""
        bit, get = self._bits.get(user, 0), self._holders.get
        return [digest for digest in digests if not get(digest, 0) & bit]

    def forget_key(self, user: str) -> None:
        """The key was revoked. Its bit is never given to another."""
        self._bits.pop(user, None)

    def name_toolchain(self, user: str, digest: Digest) -> None:
        """This key holds this blob, and has named it as a toolchain."""
        if digest not in self._proven:
            self._named.use(user, digest)

    def prove_toolchain(self, user: str, digest: Digest) -> bool:
        """A compiler in this toolchain has run for this key; whether that is worth writing down."""
        is_news = digest not in self._proven and not self._proven.has_all(user)
        self._proven.use(user, digest)
        return is_news

    @property
    def toolchains(self) -> tuple[Digest, ...]:
        known = dict.fromkeys(each for each, _ in self._proven.items() + self._named.items())
        return tuple(known)

    def is_toolchain(self, digest: Digest) -> bool:
        return digest in self._proven or digest in self._named

    def _forget_some(self) -> None:
        """A blob whose first key loses it becomes the entry of another that has shown it, if there is one.
        Revoked keys are the first to lose theirs."""
        live = frozenset(self._bits.values())
        bit = max(self._firsts, key=lambda each: (each not in live, len(self._firsts[each])))
        firsts = self._firsts[bit]
        for digest in list(islice(firsts, 1 + len(firsts) // _FORGOTTEN)):
            del firsts[digest]
            left = self._holders[digest] & ~bit
            if left:
                self._holders[digest] = left
                self._firsts.setdefault(left & -left, {})[digest] = None
            else:
                del self._holders[digest]
        if not firsts:
            del self._firsts[bit]
