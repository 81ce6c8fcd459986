"""How long a node may take for a run: when it is done a second time elsewhere, and when it is taken away. Pure.

    straggles after   max(p95, 1.5 * predicted + 0.25 s)
    limit             min(--run-limit, max(60 s, 10 * predicted) * 4 ** times it was over its limit)

p95 is the 95th percentile of taken / predicted among the runs of the job's class that were its key's, times
predicted: what one member's jobs take delays nobody else's. It is found without keeping them by stochastic
approximation (Robbins and Monro 1951) on the logarithm. A job of which
nothing is known has 300 s for 60. Predicted is the wall time on its node, as believed when the run begins.

Each key that waits for a run expects something of its own, and has its own limit: what one says of a job
takes no run away from another, and keeps no other waiting. The lease ends at the latest of these limits, by
when the run began. A run straggles when it does for any of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from broker.core.jobs import Claim, Execution, Lease
from broker.core.limits import (
    ANSWER_LIMIT_S,
    LEAST_RUN_LIMIT_S,
    LEAST_SEEN_SHARE,
    LIMIT_GROWTH,
    LIMIT_TIMES,
    MAX_RECORDS,
    MOST_PROCESSORS,
    RUN_BESIDE_S,
    RUN_LIMIT_S,
    START_LIMIT_S,
    STRAGGLES_AFTER,
    STRAGGLES_AFTER_S,
    TOLD_BEYOND_S,
    UNKNOWN_RUN_LIMIT_S,
)
from broker.scheduling.model import MAX_CLASSES, CostClass

Key = TypeVar("Key", bound=Hashable)

QUANTILE = 0.95
# Where nothing is known: ln(taken / predicted) scatters by 0.55.
_FIRST_LN_RATIO = 0.9
# Steps shrink as 1 / (seen + 4), to the least.
_FIRST_SEEN = 4
_LEAST_STEP = 0.05


@dataclass(slots=True)
class _Tail:
    """An estimate of the 95th percentile of ln(taken / predicted)."""

    ln_ratio: float
    seen: int = _FIRST_SEEN

    def note(self, ln_ratio: float) -> None:
        step = max(_LEAST_STEP, 1.0 / self.seen)
        self.ln_ratio += step * (QUANTILE - (ln_ratio <= self.ln_ratio))
        self.seen += 1


class Patience:
    """`most_run_s` bounds the limit of every run."""

    def __init__(self, most_run_s: float = RUN_LIMIT_S) -> None:
        self._most_run_s = most_run_s
        # By whose jobs they were, and by their class too. Used last comes last.
        self._keys: OrderedDict[str, _Tail] = OrderedDict()
        self._classes: OrderedDict[tuple[str, CostClass], _Tail] = OrderedDict()

    def assigned(self, lease: Lease, now: float) -> None:
        """A node is sent the job, which is expected to end as the lease says."""
        lease.since = now
        lease.straggles_at = now + _at_least_s(lease.expected_end - now)
        lease.limit_at = now + START_LIMIT_S

    def began(self, lease: Lease, execution: Execution, predicted_s: float, now: float) -> None:
        """The node says that it runs, which is expected to take so many seconds there."""
        lease.began_at = lease.since = now
        lease.expected_end = now + predicted_s
        lease.straggles_at = now + self.straggles_after_s(execution, predicted_s)
        lease.limit_at = now + self.run_limit_s(
            predicted_s, execution.overruns, is_known=execution.is_known
        )
        payer = execution.lane.user
        if payer in execution.claims:
            execution.claims[payer].limit_at = lease.claims_at = lease.limit_at
        for user, claim in execution.claims.items():
            if user != payer:
                self.joined(lease, execution, claim, now)

    def joined(self, lease: Lease, execution: Execution, claim: Claim, now: float) -> None:
        """This key waits for the run too, which another one's turn has begun. Who comes late gives the node no
        more time than who was there when it began."""
        if lease.began_at is None:
            return
        expected, user = claim.expected, claim.lane.user
        predicted_s = expected.cost_s / lease.power
        limit_s = self.run_limit_s(predicted_s, execution.overruns, is_known=expected.is_known)
        claim.limit_at = now + limit_s
        lease.claims_at = min(lease.claims_at, claim.limit_at)
        if not lease.has_announced:
            lease.limit_at = max(lease.limit_at, lease.began_at + limit_s)
            straggles_s = self._straggles_after_s(user, expected.job, predicted_s)
            lease.straggles_at = min(lease.straggles_at, now + straggles_s)

    def announced(self, lease: Lease, now: float) -> None:
        """The node says what it has made, which is now on its way. To be believed once."""
        if not lease.has_announced:
            lease.has_announced = True
            lease.straggles_at += now - lease.since
            lease.since = now
            lease.limit_at = now + ANSWER_LIMIT_S

    def ended(self, lease: Lease, execution: Execution, predicted_s: float, now: float) -> None:
        """The node has given its result."""
        if lease.began_at is None or lease.is_adopted:
            return
        taken_s = max(now - lease.began_at, 1e-3)
        ln_ratio = math.log(taken_s / max(predicted_s, 1e-3))
        user = execution.lane.user
        whole = _tail_of(self._keys, user, _FIRST_LN_RATIO, MAX_RECORDS)
        place = user, execution.cost_class
        tail = _tail_of(self._classes, place, whole.ln_ratio, MAX_CLASSES)
        whole.note(ln_ratio)
        tail.note(ln_ratio)

    def straggles_after_s(self, execution: Execution, predicted_s: float) -> float:
        """A run of its key's in this class that takes longer is one of the slowest twentieth, and later than
        predicted."""
        return self._straggles_after_s(execution.lane.user, execution.cost_class, predicted_s)

    def _straggles_after_s(self, user: str, job: CostClass, predicted_s: float) -> float:
        tail = self._classes.get((user, job)) or self._keys.get(user)
        ln_ratio = _FIRST_LN_RATIO if tail is None else tail.ln_ratio
        return max(math.exp(ln_ratio) * predicted_s, _at_least_s(predicted_s))

    def run_limit_s(self, predicted_s: float, overruns: int, *, is_known: bool) -> float:
        """How long a run may take before it is taken away from a node that says nothing."""
        least_s = LEAST_RUN_LIMIT_S if is_known else UNKNOWN_RUN_LIMIT_S
        limit_s = max(least_s, LIMIT_TIMES * predicted_s) * LIMIT_GROWTH**overruns
        return min(limit_s, self._most_run_s)


def _tail_of(tails: OrderedDict[Key, _Tail], key: Key, ln_ratio: float, most: int) -> _Tail:
    """What is known of these runs, from now on; at first as of those that they are some of."""
    tail = tails.get(key)
    if tail is None:
        tail = tails[key] = _Tail(ln_ratio)
        if len(tails) > most:
            tails.popitem(last=False)
    tails.move_to_end(key)
    return tail


def held_to(lease: Lease, cpu_s: float, wall_s: float, now: float) -> tuple[float, float]:
    """What a node says that a job took, held to the time that it had the job: a key is charged for it, and its
    next jobs are expected to take as long."""
    most_s = now - lease.assigned_at + TOLD_BEYOND_S
    return min(cpu_s, MOST_PROCESSORS * most_s), min(wall_s, most_s)


def seen_wall_s(lease: Lease, told_s: float, predicted_s: float, now: float) -> float:
    """What a run has taken as far as its node's speed goes by it: what the node says, but no less than half of
    the time by our own clock, since others' slots wait for the faster node. Where it may have waited for its
    toolchain, that time alone makes no node slower than it is believed to be."""
    since = lease.slot_at if lease.slot_at is not None else lease.assigned_at
    least_s = LEAST_SEEN_SHARE * (now - since)
    return max(told_s, min(least_s, predicted_s) if lease.had_to_fetch else least_s)


def unexplained_s(lease: Lease, wall_s: float, now: float) -> float:
    """How much longer a run took, until its outputs were announced, than its node says that it ran: what it had
    begun in name only waited for its toolchain."""
    if lease.began_at is None:
        return 0.0
    taken_s = (lease.since if lease.has_announced else now) - lease.began_at
    beside_s = taken_s - wall_s
    return beside_s if beside_s > RUN_BESIDE_S else 0.0


def _at_least_s(predicted_s: float) -> float:
    return STRAGGLES_AFTER * predicted_s + STRAGGLES_AFTER_S
