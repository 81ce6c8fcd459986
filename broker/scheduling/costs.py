"""What jobs have cost in time and memory, by what they are known by (zcc/traits.py). Pure.

A row is what one key's runs of one source under one class of options have taken, with one toolchain. A key
with runs of its own goes by those. Others go by the middle of what all keys have seen, within FOREIGN of what
the regression of the toolchain says, and that within REGRESSED of its prior: nobody can have others' jobs taken
for more than FOREIGN * REGRESSED times what such jobs cost as a rule, nor for less than that part of it.

Of a job's memory a row holds what two keys' nodes have said last (`broker/scheduling/needs.py`). A run that
ends well with less than the other key's has called needed shows that this was wrong.

Of too many rows the key that has the most loses those that it has not used for the longest time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from broker.core.limits import (
    FOREIGN,
    MAX_COST_ROWS,
    MAX_COST_ROWS_PER_KEY,
    MAX_RECORDS,
    MAX_REGRESSIONS,
    REGRESSED,
)
from broker.core.shares import Shares
from broker.scheduling.needs import MemoryClaim
from broker.scheduling.regression import Regression, prior_of
from cache.digest import Digest, digest_of
from zcc.traits import Traits

ROW_BYTES = 16
MIN_COST_S, MAX_COST_S = 0.001, 3600.0
# Of one process that does nothing, and more than any node has.
MIN_PEAK_BYTES, MAX_PEAK_BYTES = 1 << 20, 1 << 42
# A row follows what it is told at this rate at least, and what it was clipped to.
MIN_ROW_RATE = 0.3
MAX_RESIDUAL = 1.0
# What the regression weighs against the runs of one's own, in runs: two runs of one source differ by a tenth of
# what two sources do.
_REGRESSION_WEIGHS = 0.1
# A peak is believed at once, and forgotten slowly.
_PEAK_FALLS = 0.2
# Of two runs of one source the one may do with so much less, in ln.
_LEAST_BELOW = 0.1
# A source that was refused so often for what it needs is tried again.
MAX_DOUBTS = 32
# Where there are others, a regression learns of one key half as much as of them all, or this many jobs.
_FREE_JOBS = 64
# Fewer jobs than that say nothing of how fast a node is.
TRUSTED_JOBS = 16


@dataclass(frozen=True, slots=True)
class Expected:
    """CPU seconds on the average slot, and bytes as of a source like it. `is_known`: the same key has run the
    same source, of which nodes have given these `words`."""

    cost_s: float
    usual_bytes: int
    is_known: bool = False
    words: tuple[MemoryClaim, ...] = ()

    @property
    def peak_bytes(self) -> int:
        return max((each.peak_bytes for each in self.words), default=self.usual_bytes)

    @property
    def least_bytes(self) -> int:
        return max((each.least_bytes for each in self.words), default=0)


@dataclass(slots=True)
class Seen:
    """One key's runs of one source; natural logarithms of seconds and bytes. By the nodes of the key `by` it
    cannot do with less than `ln_least`; for that it was refused `doubts` times. `other` is what another key's
    have said before: the key, and the same two."""

    ln_cost: float
    ln_peak: float
    count: int
    ln_least: float = 0.0
    doubts: int = 0
    by: str = ""
    other: tuple[str, float, float] | None = None

    @property
    def words(self) -> tuple[MemoryClaim, ...]:
        said = [(self.by, self.ln_peak, self.ln_least), *([self.other] if self.other else [])]
        return tuple(
            MemoryClaim(by, int(math.exp(peak)), int(math.exp(least))) for by, peak, least in said
        )

    def heard(self, by: str) -> bool:
        """A node of this key's says something; whether one of its own has done so before."""
        if by == self.by:
            return True
        before, self.other = self.other, (self.by, self.ln_peak, self.ln_least)
        self.by = by
        if before is not None and before[0] == by:
            _, self.ln_peak, self.ln_least = before
            return True
        self.ln_peak = self.ln_least = 0.0
        return False


@dataclass(frozen=True, slots=True)
class CostRow:
    """As it is written down; `seen` is None where it is to be forgotten."""

    name: bytes
    user: str
    seen: Seen | None


class Costs:
    def __init__(self) -> None:
        self._seen: dict[bytes, dict[str, Seen]] = {}
        self._order = Shares[tuple[bytes, str]](MAX_COST_ROWS, MAX_COST_ROWS_PER_KEY)
        self._shared = Regression()
        self._regressions: OrderedDict[Digest, Regression] = OrderedDict()
        self._learnt: OrderedDict[str, int] = OrderedDict()
        self._learnt_in_all = 0
        self._changed: dict[tuple[bytes, str], Seen | None] = {}

    def __len__(self) -> int:
        return len(self._order)

    def restore(
        self, rows: Iterable[CostRow], regressions: Mapping[bytes, Sequence[float]]
    ) -> None:
        """What was written down, used last comes last; the shared regression has an empty name."""
        for row in rows:
            if row.seen is not None:
                self._put(row.name, row.user, row.seen)
        self._changed.clear()
        for name, state in regressions.items():
            if name:
                self._regressions[Digest(name)] = Regression.of_state(state)
            else:
                self._shared = Regression.of_state(state)

    def regressions(self) -> dict[bytes, list[float]]:
        """As `restore` takes them."""
        found = {bytes(name): each.state() for name, each in self._regressions.items()}
        return {b"": self._shared.state(), **found}

    def take_changed(self) -> list[CostRow]:
        """What is to be written down since the last call."""
        changed, self._changed = self._changed, {}
        return [CostRow(name, user, seen) for (name, user), seen in changed.items()]

    def expect(self, user: str, toolchain: Digest, traits: Traits) -> Expected:
        """What this key's job will take."""
        name = _name_of(toolchain, traits)
        ln_cost, ln_peak = self._regressed(toolchain, traits)
        known = self._seen.get(name, {})
        own = known.get(user)
        if own is not None:
            self._order.use(user, (name, user))
            weight = own.count / (own.count + _REGRESSION_WEIGHS)
            ln_cost += weight * (own.ln_cost - ln_cost)
            return Expected(math.exp(ln_cost), int(math.exp(ln_peak)), True, own.words)
        if known:
            ln_foreign = math.log(FOREIGN)
            middle_cost = median(each.ln_cost for each in known.values())
            middle_peak = median(each.ln_peak for each in known.values())
            ln_cost = _within(middle_cost, ln_cost, ln_foreign)
            ln_peak = _within(middle_peak, ln_peak, ln_foreign)
        return Expected(math.exp(ln_cost), int(math.exp(ln_peak)))

    def ln_believed(self, user: str, toolchain: Digest, traits: Traits) -> float | None:
        """ln of the cost as it is believed now, if that is good enough to tell a node's speed by."""
        known = self._seen.get(_name_of(toolchain, traits), {}).get(user)
        if known is not None:
            return known.ln_cost
        regression = self._regressions.get(toolchain)
        if regression is None or regression.seen < TRUSTED_JOBS:
            return None
        return self._regressed(toolchain, traits)[0]

    def observe(
        self,
        user: str,
        toolchain: Digest,
        traits: Traits,
        ln_cost: float,
        peak_bytes: int,
        by: str = "",
    ) -> None:
        """A job has ended on a node of the key `by`: what it cost on the average slot, and the most memory that
        it had."""
        name = _name_of(toolchain, traits)
        ln_cost = min(max(ln_cost, math.log(MIN_COST_S)), math.log(MAX_COST_S))
        ln_peak = _ln_peak(peak_bytes)
        own = self._seen.get(name, {}).get(user)
        if own is None:
            # One source's second run tells a regression nothing new.
            self._learn(user, toolchain, traits, ln_cost, ln_peak)
            own = Seen(ln_cost, ln_peak, 1, ln_peak - _LEAST_BELOW, by=by)
        else:
            rate = max(MIN_ROW_RATE, 1.0 / (own.count + 1))
            own.ln_cost = _within(
                own.ln_cost + rate * (ln_cost - own.ln_cost), own.ln_cost, MAX_RESIDUAL
            )
            falls = _PEAK_FALLS if own.heard(by) else 1.0
            own.ln_peak = max(ln_peak, own.ln_peak + falls * (ln_peak - own.ln_peak))
            if own.other is not None and ln_peak < own.other[2]:
                own.other = None  # it has done with less
            own.ln_least = ln_peak - _LEAST_BELOW
            own.count += 1
        self._put(name, user, own)

    def needs_more(
        self, user: str, toolchain: Digest, traits: Traits, bytes_: int, by: str = ""
    ) -> None:
        """A node of the key `by` has stopped a job for want of memory: it needs so much, and perhaps twice
        that."""
        name = _name_of(toolchain, traits)
        own = self._seen.get(name, {}).get(user)
        if own is None:
            own = Seen(self._regressed(toolchain, traits)[0], 0.0, 1, by=by)
        own.heard(by)
        own.ln_least = max(own.ln_least, _ln_peak(bytes_))
        own.ln_peak = max(own.ln_peak, _ln_peak(2 * bytes_))
        self._put(name, user, own)

    def doubt(self, user: str, toolchain: Digest, traits: Traits) -> None:
        """A job is refused for what it needs. It may have changed: after some refusals it is tried again."""
        name = _name_of(toolchain, traits)
        own = self._seen.get(name, {}).get(user)
        if own is not None:
            own.doubts += 1
            if own.doubts >= MAX_DOUBTS:
                own.doubts, own.ln_least, own.other = 0, 0.0, None
                self._put(name, user, own)

    def _put(self, name: bytes, user: str, seen: Seen) -> None:
        self._seen.setdefault(name, {})[user] = seen
        self._changed[name, user] = seen
        for lost_name, lost_user in self._order.use(user, (name, user)):
            rows = self._seen[lost_name]
            del rows[lost_user]
            if not rows:
                del self._seen[lost_name]
            self._changed[lost_name, lost_user] = None

    def _learn(
        self, user: str, toolchain: Digest, traits: Traits, ln_cost: float, ln_peak: float
    ) -> None:
        learnt = self._learnt.pop(user, 0)
        others = self._learnt_in_all - learnt
        self._learnt[user] = learnt
        if others and learnt >= max(_FREE_JOBS, others // 2):
            return
        self._learnt[user] += 1
        self._learnt_in_all += 1
        if len(self._learnt) > MAX_RECORDS:
            self._learnt_in_all -= self._learnt.popitem(last=False)[1]
        regression = self._regressions.get(toolchain)
        if regression is None:
            regression = self._regressions[toolchain] = Regression(self._shared)
            if len(self._regressions) > MAX_REGRESSIONS:
                self._regressions.popitem(last=False)
        self._regressions.move_to_end(toolchain)
        regression.learn(traits, ln_cost, ln_peak)
        self._shared.learn(traits, ln_cost, ln_peak)

    def _regressed(self, toolchain: Digest, traits: Traits) -> tuple[float, float]:
        regression = self._regressions.get(toolchain, self._shared)
        (ln_cost, ln_peak), (prior_cost, prior_peak) = regression.predict(traits), prior_of(traits)
        ln_most = math.log(REGRESSED)
        return _within(ln_cost, prior_cost, ln_most), _within(ln_peak, prior_peak, ln_most)


def _name_of(toolchain: Digest, traits: Traits) -> bytes:
    return digest_of(toolchain + traits.name)[:ROW_BYTES]


def _ln_peak(peak_bytes: int) -> float:
    return math.log(min(max(peak_bytes, MIN_PEAK_BYTES), MAX_PEAK_BYTES))


def _within(value: float, middle: float, most: float) -> float:
    return min(max(value, middle - most), middle + most)
