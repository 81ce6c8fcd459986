"""What has happened on the farm since the broker's start, counted. Pure.

The core has one only where metrics are wanted (`Farm.tally`). Most of it is read off what the core asks of its
shell; where that does not say enough the core tells it. Every label is one of a fixed set: what a member may
say freely (names, files, a node's own words) is no label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from broker.core.effects import Audit, Deliver, Effect, Remember, Send
from broker.core.onlookers import harmless
from zcc.messages import LocalCounts, Refused
from zcc.reasons import Kind, reason_of

if TYPE_CHECKING:
    from broker.core.events import ResultArrived
    from broker.core.jobs import Lease

# Seconds: half a decade each, from a look-up to the longest run that a farm allows.
BOUNDS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
OTHER = "other"
# One agent's word for one second cannot be more than that.
MOST_LOCAL_A_MESSAGE = 100_000
# How a job came to its lease, by the reason that the log of decisions gives; all others are first ones.
_KINDS = {"hedge": "copy", "trial": "trial"}


class Times:
    """How often something took how long, in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class FarmTally:
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.requests: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.leases: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.quarantines: Counter[str] = Counter()
        self.local_runs: Counter[str] = Counter()
        self.queued, self.ran_s = Times(), Times()
        self.cpu_s = 0.0
        self.abandoned = self.kept = self.kept_bytes = 0

    @harmless
    def note(self, performed: Sequence[Effect]) -> None:
        """What the core asks for, in whatever order."""
        for effect in performed:
            noted = _NOTED.get(type(effect))
            if noted is not None:
                noted(self, effect)

    @harmless
    def ran(self, event: ResultArrived, cpu_s: float, wall_s: float) -> None:
        """A result has come; both times are held to what the node can have had."""
        outcome = "ok" if event.is_sound else "unproven"
        self.runs[outcome if event.exit_status == 0 else "failed"] += 1
        self.cpu_s += cpu_s
        self.ran_s.add(wall_s)

    @harmless
    def lease_ended(self, lease: Lease, ending: str, *, is_fault: bool) -> None:
        """It has ended without a result; who says it first knows best."""
        if not lease.ending:
            lease.ending = ending
            (self.faults if is_fault else self.lost)[ending] += 1

    @harmless
    def counted(self, message: LocalCounts) -> None:
        """What an agent did by itself, by its own word."""
        left = MOST_LOCAL_A_MESSAGE
        for build in message.builds:
            hits = min(build.local_hits, left)
            left -= hits
            self.hits["local"] += hits
            for code, count in build.local:
                runs = min(count, left)
                left -= runs
                reason = reason_of(code)
                is_run = reason is not None and reason.kind is not Kind.MISS
                self.local_runs[reason.kind.value if reason and is_run else OTHER] += runs

    def refused(self, reason: str) -> None:
        """A request is refused; what stands behind the reason's code is for people."""
        self.requests["refused"] += 1
        found = reason_of(reason.partition(":")[0])
        self.refusals[OTHER if found is None else found.value] += 1

    def _note_sent(self, effect: Send) -> None:
        message = effect.message
        if type(message) is Refused and message.ticket:  # a Hello has none
            self.refused(message.reason)

    def _note_kept(self, effect: Remember) -> None:
        self.kept += 1
        self.kept_bytes += effect.size_bytes

    def _note_answer(self, effect: Deliver) -> None:
        message = effect.message
        if message.is_recalled or message.shared:
            self.requests["hit"] += 1
            self.hits["shared" if message.is_recalled else "twin"] += 1
        else:
            self.requests["compiled"] += 1
        if not message.is_recalled:
            self.queued.add(message.queued_s)

    def _note_audit(self, effect: Audit) -> None:
        if effect.what == "dispatch":
            reason = dict(effect.fields).get("reason", "")
            self.leases[_KINDS.get(str(reason), "first")] += 1
        elif effect.what == "quarantine":
            self.quarantines[str(dict(effect.fields).get("reason", "faults"))] += 1
        elif effect.what == "abandon":
            self.abandoned += 1


_NOTED: dict[type[Effect], Callable[[FarmTally, Any], None]] = {
    Audit: FarmTally._note_audit,
    Send: FarmTally._note_sent,
    Deliver: FarmTally._note_answer,
    Remember: FarmTally._note_kept,
}
