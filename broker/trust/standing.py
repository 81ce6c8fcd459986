"""Whether a node is taken by all, or owes a proof since it was in quarantine. Pure.

    TRUSTED -> OWING                   (it is put in quarantine)
    OWING   -> TRUSTED                 (its answers to known jobs are right)
            -> OWING                   (they are not: quarantine again)
            -> PROBED                  (no known job can be put to it)
    PROBED  -> TRUSTED                 (the same; or PROBES real jobs had a verdict, and nothing is known still)
            -> OWING                   (it has left, or is put in quarantine again)

A known job is one whose result nodes of another key have given. Who owes a proof is given no job but such, when
its quarantine is over (`broker/trust/trials.py`); who is probed is given one real job at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from broker.core.limits import ASK_PROOF_AGAIN_S, MAX_QUARANTINE_S, PROBES


class TrialStage(Enum):
    TRUSTED = "trusted"
    OWING = "owing"
    PROBED = "probed"


class TrialOutcome(Enum):
    """What came of a trial. `UNTRIED`: the node was not there to answer, or said that it cannot now. `PROBED`:
    nothing is known, and real jobs have shown enough."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING_KNOWN = "nothing-known"
    UNTRIED = "untried"
    PROBED = "probed"


@dataclass(slots=True)
class Standing:
    """`term_s` is how long its last quarantine was, `failed` how many trials it failed since it was trusted.

    `asked` is the session that known jobs are put to now, `until` when that is given up; empty: none. From
    `again_at` on they may be put to it. `failed_for` are keys whose known jobs it did wrong, where no other
    key's could say so too: it is aside for them, however long. `probes` are real jobs that had a verdict there
    while it is probed.
    """

    stage: TrialStage = TrialStage.TRUSTED
    term_s: float = 0.0
    failed: int = 0
    asked: bytes = b""
    until: float = 0.0
    again_at: float = 0.0
    _again_s: float = ASK_PROOF_AGAIN_S
    failed_for: frozenset[str] = frozenset()
    probes: int = 0

    @property
    def is_trusted(self) -> bool:
        return self.stage is TrialStage.TRUSTED

    def owe(self, term_s: float) -> None:
        """It is put in quarantine, for so many seconds."""
        self.stage = TrialStage.OWING
        self.term_s = term_s
        self.again_at, self._again_s = 0.0, ASK_PROOF_AGAIN_S
        self.asked, self.probes = b"", 0  # whatever is found out now is of before

    def trust(self) -> None:
        self.stage = TrialStage.TRUSTED
        self.failed, self.probes = 0, 0
        self.failed_for = frozenset()

    def nothing_known(self, against: frozenset[str], now: float) -> None:
        """No known job is left that could be put to it; those of the keys `against` it did wrong."""
        if self.has_probed and not against:
            self.trust()
            return
        self.stage = TrialStage.PROBED
        self.probes = 0 if against else self.probes
        self.failed_for = against
        self.failed += bool(against)
        self._later(now)  # what others compile meanwhile will be known

    def untried(self, now: float) -> None:
        """It was not there to answer: again in a while, each time twice as long."""
        self.probes = 0
        self._later(now)

    def gone(self) -> None:
        """It has left: what it is given when it is back, a known job says."""
        if self.stage is TrialStage.PROBED:
            self.stage, self.probes = TrialStage.OWING, 0
            if not self.failed_for:
                self.again_at, self._again_s = 0.0, ASK_PROOF_AGAIN_S

    @property
    def has_probed(self) -> bool:
        """Whether real jobs have shown enough: known ones are looked for once more, since others may have done
        some meanwhile, and until then it is given none."""
        return self.probes >= PROBES

    def note_probe(self) -> None:
        """A job had a verdict there. Where a known one speaks against it, no other speaks for it."""
        if self.stage is TrialStage.PROBED and not self.failed_for:
            self.probes += 1
            if self.has_probed:
                self.again_at = 0.0

    def why(self, now: float, until: float) -> str:
        """What people read of it; `until` is when its quarantine ends."""
        if self.is_trusted:
            return ""
        failed = "it did known jobs wrong when it was tried last: look at it; " * bool(self.failed)
        if now < until:
            return f"{failed}it is tried with known jobs in {until - now:.0f} s" if failed else ""
        if self.stage is TrialStage.PROBED:
            return f"{failed}it gets one job at a time, as no known one can be put to it"
        return f"{failed}its quarantine is over, and known jobs are put to it first"

    def _later(self, now: float) -> None:
        self.again_at = now + self._again_s
        self._again_s = min(2 * self._again_s, MAX_QUARANTINE_S)
