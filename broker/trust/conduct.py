"""What is known of a node, which is a key and a name, across its sessions: its faults, what follows. Pure.

Only the farm's own faults count against a node, never a compiler's verdict: MAX_FAULTS in the last
FAULT_WINDOW jobs put it in quarantine, each time twice as long. What is a fault is `broker/trust/blame.py`'s
affair.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from math import inf

from broker.core.limits import (
    FAULT_WINDOW,
    MAX_ASIDE,
    MAX_FAULTS,
    MAX_QUARANTINE_S,
    MAX_REST_S,
    QUARANTINE_S,
    REST_S,
    UNDECIDED_FAULTS,
)
from broker.scheduling.distance import MeasuredLine
from broker.trust.standing import Standing, TrialStage
from broker.trust.strikes import Strikes
from cache.digest import Digest


class NodeRecord(Strikes):
    """What is known of a node (a key and a name) across its sessions. `until` is when it is taken by all again.

    Of its last jobs `outcomes` has the keys of those that failed here alone, and of the node whose word alone
    says so; nothing for verdicts;
    `undecided` those of the failures since its last verdict that no other node judged, `beaten` those of the
    runs since then that a second copy ended sooner, `unanswered` those that had no answer. `sessions` are
    those that it has now. `is_drained`: an admin has it given no jobs. `standing` is whether it owes a proof.
    `line` is what its line gives, `toolchains` are those that it had when it left.
    """

    __slots__ = (
        "_aside",
        "_rest",
        "_rests",
        "beaten",
        "faults",
        "finished",
        "is_drained",
        "line",
        "outcomes",
        "sessions",
        "standing",
        "toolchains",
        "unanswered",
        "undecided",
    )

    def __init__(self) -> None:
        super().__init__(FAULT_WINDOW, MAX_FAULTS, QUARANTINE_S, MAX_QUARANTINE_S)
        self.sessions = 0
        self.is_drained = False
        self.finished = 0
        self.faults = 0
        self.outcomes: deque[frozenset[str]] = deque(maxlen=FAULT_WINDOW)
        self.undecided: deque[frozenset[str]] = deque(maxlen=FAULT_WINDOW)
        self.beaten: list[tuple[str, str, float]] = []  # whose, by whose node, and begun when
        self.unanswered: deque[frozenset[str]] = deque(maxlen=FAULT_WINDOW)
        self.standing = Standing()
        self.line = MeasuredLine()
        self.toolchains: set[Digest] = set()
        self._aside: OrderedDict[str, Strikes] = OrderedDict()
        self._rest = _new_rest()
        self._rests: OrderedDict[str, Strikes] = OrderedDict()

    def put_aside(self, now: float) -> None:
        """Quarantine: it is given no job, and owes a proof when that is over."""
        super().put_aside(now)
        self.standing.owe(self.until - now)

    def condemn(self, until: float, term_s: float) -> None:
        """The same until then, at least."""
        self.until = max(self.until, until)
        self.standing.owe(term_s)

    def fail_trial(self, now: float) -> None:
        """Known jobs came out wrong: quarantine again, twice as long, or as long as a longer one was."""
        term_s, self.standing.failed = self.standing.term_s, self.standing.failed + 1
        self.faults += 1
        self.put_aside(now)
        self.condemn(now + term_s, max(term_s, self.standing.term_s))

    def take_over(self, others: Iterable[NodeRecord]) -> None:
        """This name is new, and one of the same key that owes a proof may have taken it: it owes the same."""
        owing = [each for each in others if not each.standing.is_trusted]
        if owing and self.standing.is_trusted:
            worst = max(owing, key=lambda each: each.until)
            self.until, self.penalty_s = worst.until, worst.penalty_s
            standing = worst.standing
            self.standing = Standing(
                TrialStage.OWING, standing.term_s, standing.failed, failed_for=standing.failed_for
            )

    def distrust(self) -> tuple[bool, float]:
        """How much speaks against it, beside others of its key."""
        return not self.standing.is_trusted, self.until

    def is_resting(self, now: float) -> bool:
        """Whether it is given nothing for a moment, which is no reason to refuse what waits for it."""
        return now < self._rest.until

    def rests_for(self, user: str, now: float) -> bool:
        """The same for this key's jobs."""
        rest = self._rests.get(user)
        return rest is not None and now < rest.until

    def note_short(self, user: str, now: float) -> None:
        """A job of this key's ran out of something here: the key's jobs leave the node alone for a moment. That
        is no reason for others to: what a job may have is its own."""
        rest = self._rests.get(user)
        if rest is None:
            rest = self._rests[user] = _new_rest()
            if len(self._rests) > MAX_ASIDE:
                self._rests.popitem(last=False)
        rest.note_bad(now)

    def note_unanswered(self, user: str, now: float) -> bool:
        """The same for a job that had no answer; and everybody's jobs do when no one key explains it. Whether
        the latter begins."""
        self.note_short(user, now)
        self.unanswered.append(frozenset((user,)))
        return bool(unexplained(self.unanswered)) and self._rest.note_bad(now)

    def is_aside_for(self, user: str, now: float) -> bool:
        """Whether this key's jobs avoid it."""
        strikes = self._aside.get(user)
        return user in self.standing.failed_for or (strikes is not None and now < strikes.until)

    def aside(self) -> tuple[tuple[str, float], ...]:
        """Whose jobs avoid it, or have, each until when."""
        known = tuple((user, each.until) for user, each in self._aside.items())
        return known + tuple((user, inf) for user in sorted(self.standing.failed_for))

    def note_success(self, user: str) -> None:
        """A verdict on a job of this key's."""
        self.finished += 1
        self.undecided.clear()
        self.beaten.clear()
        self.unanswered.clear()
        self.outcomes.append(frozenset())
        self.note_good()
        self._rest.note_good()
        for known in (self._aside, self._rests):
            if user in known:
                known[user].note_good()
        self.standing.note_probe()

    def note_fault(self, keys: frozenset[str], now: float) -> bool:
        """Count a fault with jobs of these keys; returns whether it puts the node aside for everybody."""
        self.faults += 1
        self.outcomes.append(keys)
        if unexplained(self.outcomes) < MAX_FAULTS:
            return False
        self.outcomes.clear()
        self.put_aside(now)
        return True

    def note_fault_of(self, user: str, shown_by: str, now: float) -> float | None:
        """Count it for this key, where it is so for one node key's word alone; returns until when the node is
        aside for its jobs, if that begins now."""
        strikes = self._strikes_for(user)
        return strikes.until if strikes.note_bad(now, shown_by) else None

    def put_aside_for(self, user: str, now: float) -> float:
        """Keep this key's jobs from it; returns until when."""
        strikes = self._strikes_for(user)
        strikes.put_aside(now)
        return strikes.until

    def keep_from(self, user: str, until: float) -> None:
        """Keep this key's jobs from it until then, at least."""
        strikes = self._strikes_for(user)
        strikes.until = max(strikes.until, until)

    def _strikes_for(self, user: str) -> Strikes:
        strikes = self._aside.get(user)
        if strikes is None:
            strikes = Strikes(FAULT_WINDOW, MAX_FAULTS, QUARANTINE_S, MAX_QUARANTINE_S)
            self._aside[user] = strikes
            if len(self._aside) > MAX_ASIDE:
                self._aside.popitem(last=False)
        return strikes

    def note_undecided(self, keys: frozenset[str], now: float) -> bool:
        """A failure that no other node has judged; returns whether it puts the node aside for everybody. Never
        for longer: whether it is a bad node, its trial shows."""
        self.undecided.append(keys)
        if unexplained(self.undecided) < UNDECIDED_FAULTS:
            return False
        self.undecided.clear()
        self.faults += 1
        self.condemn(now + QUARANTINE_S, QUARANTINE_S)
        return True


def _new_rest() -> Strikes:
    return Strikes(1, 1, REST_S, MAX_REST_S)


def unexplained(outcomes: Iterable[frozenset[str]]) -> int:
    """How many of these failures are left whichever one key's jobs are taken away."""
    failures = [keys for keys in outcomes if keys]
    by_key = Counter(key for keys in failures for key in keys)
    return len(failures) - max(by_key.values(), default=0)
