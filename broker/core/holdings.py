"""Which key has shown that it holds which blob. Pure.

A blob may be the input of a key's job only when that key has sent it whole, or proved that it has the bytes
(`zcc/holding.py`). So nobody can have a compiler read out a file of which he knows the digest alone, and nobody
learns from what he is asked for whether others have it.

A toolchain is no secret among a farm's members, and proving 300 MB would cost each agent half a second. It is
told from other blobs by its holders: a blob that a key has shown to hold, and has named as a job's toolchain.

Each table has a bound, and no key's entries push out what others rely on (`broker/core/shares.py`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice

from broker.core.limits import (
    MAX_NAMED_PER_KEY,
    MAX_PROVEN_PER_KEY,
    MAX_SHOWN,
    MAX_TOOLCHAINS,
)
from broker.core.shares import Shares
from cache.digest import Digest

# Of what is one key's, the share that is forgotten when there is too much: some milliseconds' work.
_FORGOTTEN = 64
# A sweep begins when so many keys have left, and looks at so many blobs for each key that comes: 1 ms. So keys
# that come and go need some 250 bits, in 32 bytes a blob.
_LEAST_LEFT = 64
_SWEPT_AT_ONCE = 4_096


class Holdings:
    """One bit for each key in a number for each blob.

    A key that is revoked leaves its bit in the numbers. It is given to another key when it stands in none of
    them: when a sweep over all of them has ended that was begun after the key had left. Until then nobody has
    that bit, so that nobody adds it anywhere behind the sweep, or is taken to hold what it still says.

    Beyond `limit` blobs, the key that was the first to show the most of them loses those first shown: it is
    asked for them as if they had never been here. Who else has shown them is not asked again.
    """

    def __init__(
        self, toolchains: Iterable[tuple[Digest, str]] = (), limit: int = MAX_SHOWN
    ) -> None:
        self._limit = limit
        self._holders: dict[Digest, int] = {}
        self._bits: dict[str, int] = {}
        # All bits of keys that are here, as one number. Those that were given, and of these: those of keys that
        # have left and are in no sweep yet, and numbers of bits that stand nowhere, the lowest first.
        self._live = 0
        self._given = 0
        self._left: list[int] = []
        self._free: list[int] = []
        self._sweep: Iterator[None] = iter(())
        # What was first shown by the key of this bit, oldest first: these entries are that key's.
        self._firsts: dict[int, dict[Digest, None]] = {}
        # What keys have named as toolchains, and those in which a compiler of a key's job has run.
        self._named = Shares[Digest](MAX_TOOLCHAINS, MAX_NAMED_PER_KEY)
        self._proven = Shares[Digest](MAX_TOOLCHAINS, MAX_PROVEN_PER_KEY)
        for digest, user in toolchains:
            self._proven.use(user, digest)

    def note(self, user: str, digests: Iterable[Digest]) -> None:
        """This key has shown that it holds these."""
        bit = self._bits.get(user) or self._begin(user)
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
        """The key was revoked."""
        bit = self._bits.pop(user, 0)
        if bit:
            self._live &= ~bit
            self._left.append(bit)

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

    @property
    def bits_given(self) -> int:
        """How many bits the numbers may have."""
        return self._given

    def _begin(self, user: str) -> int:
        """The bit of a key that has none; what keys have left is cleared away by those that come."""
        if next(self._sweep, self) is self and len(self._left) >= _LEAST_LEFT:
            self._sweep = self._swept(self._left)
            self._left = []
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number = self._given
            self._given += 1
        bit = self._bits[user] = 1 << number
        self._live |= bit
        return bit

    def _swept(self, bits: list[int]) -> Iterator[None]:
        """Take these bits, which nobody has, out of all numbers, a piece at a time; then they are free."""
        room = _SWEPT_AT_ONCE
        for bit in bits:
            while bit in self._firsts:
                count = min(room, len(self._firsts[bit]))
                self._pass_on(bit, count)
                room -= count
                if not room:
                    yield
                    room = _SWEPT_AT_ONCE
        gone = sum(bits)
        # What comes behind this list has bits of keys that are here alone.
        rest = iter(list(self._holders))
        while piece := list(islice(rest, _SWEPT_AT_ONCE)):
            for digest in piece:
                held = self._holders.get(digest, 0)
                if held & gone:
                    self._holders[digest] = held & ~gone
            yield
        for bit in bits:
            heapq.heappush(self._free, bit.bit_length() - 1)

    def _forget_some(self) -> None:
        """Revoked keys are the first to lose theirs."""
        bit = max(self._firsts, key=lambda each: (not each & self._live, len(self._firsts[each])))
        self._pass_on(bit, 1 + len(self._firsts[bit]) // _FORGOTTEN)

    def _pass_on(self, bit: int, count: int) -> None:
        """The key of this bit loses so many of its entries: each becomes that of another key that is here and
        has shown the blob, if there is one."""
        firsts = self._firsts[bit]
        for digest in list(islice(firsts, count)):
            del firsts[digest]
            left = self._holders[digest] & self._live & ~bit
            if left:
                self._holders[digest] = left
                self._firsts.setdefault(left & -left, {})[digest] = None
            else:
                del self._holders[digest]
        if not firsts:
            del self._firsts[bit]
