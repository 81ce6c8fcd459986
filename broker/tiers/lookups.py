"""Which tier is asked for which result, and until when. Pure: `now` is monotonic seconds.

    ask -> a line for each tier -> Batch -> found:  it is told, early or late
                       ^                -> missing: the next tier that may be asked, or told
                       \\---------------/

Owns the lines, the batches under way and each tier's breaker. Whoever has asked is told once: with the answer,
or at its deadline that there is none in time. What was not sent to a tier by then is not sent any more; what
was, and is found, is told late: it fills the near store, for the next who asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cache.digest import Digest
from cache.remote.breaker import Breaker

# A job waits for tiers no longer than this, nor than half of what its compile is expected to take: beyond it
# the compile is under way. It is also what a tier may take before it counts as one that fails.
MOST_WAIT_S = 0.2
_SHARE_OF_COMPILE = 0.5
# Look-ups at a time; beyond it a miss in the near store is a miss. A key takes some 500 bytes here.
MAX_LOOKUPS = 4_096


def patience_s(expected_s: float) -> float:
    """How long a job that is expected to take so long may wait for the tiers."""
    return min(MOST_WAIT_S, _SHARE_OF_COMPILE * expected_s)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Keys that one tier is asked for in one call."""

    tier: int
    keys: tuple[Digest, ...]
    began_at: float


@dataclass(frozen=True, slots=True)
class TierAnswer:
    """`tier` has it; None: none has, or none in time. `is_late`: whoever asked has gone on."""

    key: Digest
    tier: int | None
    is_late: bool = False


@dataclass(slots=True)
class _Lookup:
    """`tier` is the one whose turn it is, `is_sent` says whether it was asked."""

    until: float
    tier: int = 0
    is_sent: bool = False
    is_told: bool = False


@dataclass(slots=True)
class _Line:
    """A tier takes `at_once` keys in a batch, and `lanes` batches at a time. Of those under way it is noted
    when each is too slow (again)."""

    at_once: int
    lanes: int
    breaker: Breaker = field(default_factory=Breaker)
    waiting: deque[Digest] = field(default_factory=deque)
    under_way: dict[Batch, float] = field(default_factory=dict)


class TierLookups:
    """`sizes` are (at_once, lanes) of each tier, in the order in which they are asked."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self._lines = [_Line(at_once, lanes) for at_once, lanes in sizes]
        self._lookups: dict[Digest, _Lookup] = {}

    def __len__(self) -> int:
        return len(self._lookups)

    def __contains__(self, key: Digest) -> bool:
        return key in self._lookups

    def breaker(self, tier: int) -> Breaker:
        return self._lines[tier].breaker

    def ask(self, key: Digest, until: float, now: float) -> bool:
        """Look for this, or join who looks; False: nobody can be asked, which is a miss.

        Who joins is told with the others, at the latest when the first of them would be.
        """
        known = self._lookups.get(key)
        if known is not None:
            return not known.is_told
        if until <= now or len(self._lookups) >= MAX_LOOKUPS:
            return False
        lookup = self._lookups[key] = _Lookup(until)
        if self._put_into_line(key, lookup, 0, now):
            return True
        del self._lookups[key]
        return False

    def next_batches(self, now: float) -> tuple[list[Batch], list[TierAnswer]]:
        """What is to be sent now, each to be answered, or failed, once; and who waits for a tier in vain, as it
        has begun to rest."""
        batches, answers = list[Batch](), list[TierAnswer]()
        for tier, line in enumerate(self._lines):
            while line.waiting and len(line.under_way) < line.lanes:
                if not line.breaker.may_ask(now):
                    break
                keys = self._take(tier, line.at_once)
                if keys and line.breaker.allows(now):
                    batch = Batch(tier, keys, now)
                    line.under_way[batch] = now + MOST_WAIT_S
                    batches.append(batch)
            if line.waiting and not line.breaker.may_ask(now):
                for key in self._take(tier, len(line.waiting)):
                    answers += self._go_on(key, self._lookups[key], tier + 1, now)
        return batches, answers

    def answered(self, batch: Batch, found: Iterable[Digest], now: float) -> list[TierAnswer]:
        """The tier has said which of these it has, and they are good."""
        line = self._lines[batch.tier]
        del line.under_way[batch]
        if now - batch.began_at > MOST_WAIT_S:
            line.breaker.failed(now)  # an answer that is always late is worth as little as none
        else:
            line.breaker.succeeded()
        has, answers = set(found), []
        for key in batch.keys:
            lookup = self._lookups[key]
            if key in has:
                del self._lookups[key]
                answers.append(TierAnswer(key, batch.tier, lookup.is_told))
            else:
                answers += self._go_on(key, lookup, batch.tier + 1, now)
        return answers

    def failed(self, batch: Batch, now: float) -> list[TierAnswer]:
        """The tier could not say."""
        line = self._lines[batch.tier]
        del line.under_way[batch]
        line.breaker.failed(now)
        answers = []
        for key in batch.keys:
            answers += self._go_on(key, self._lookups[key], batch.tier + 1, now)
        return answers

    def expired(self, now: float) -> list[TierAnswer]:
        """Those whose time is up are told so; what hangs is held against its tier."""
        answers = []
        for key, lookup in list(self._lookups.items()):
            if not lookup.is_told and lookup.until <= now:
                lookup.is_told = True
                answers.append(TierAnswer(key, None))
                if not lookup.is_sent:
                    del self._lookups[key]  # its place in the line says nothing any more
        for line in self._lines:
            for batch, slow_at in line.under_way.items():
                if slow_at <= now:
                    line.under_way[batch] = now + MOST_WAIT_S
                    line.breaker.failed(now)
        return answers

    def _put_into_line(self, key: Digest, lookup: _Lookup, first: int, now: float) -> bool:
        """The first tier from there on that may be asked; whether there is one."""
        for tier in range(first, len(self._lines)):
            if self._lines[tier].breaker.may_ask(now):
                lookup.tier, lookup.is_sent = tier, False
                self._lines[tier].waiting.append(key)
                return True
        return False

    def _go_on(self, key: Digest, lookup: _Lookup, first: int, now: float) -> list[TierAnswer]:
        if not lookup.is_told and self._put_into_line(key, lookup, first, now):
            return []
        del self._lookups[key]
        return [] if lookup.is_told else [TierAnswer(key, None)]

    def _take(self, tier: int, most: int) -> tuple[Digest, ...]:
        """The next of the tier's line who are waited for still."""
        waiting, keys = self._lines[tier].waiting, list[Digest]()
        while waiting and len(keys) < most:
            key = waiting.popleft()
            lookup = self._lookups.get(key)
            if lookup is not None and lookup.tier == tier and not lookup.is_sent:
                lookup.is_sent = True
                keys.append(key)
        return tuple(keys)
