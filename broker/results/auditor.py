"""Runs remembered results again on other nodes and compares: by itself while the farm idles, or when asked.

Owns the choice of what is run again, its pace, and what follows from a verdict. A result is compared with what
another key's node makes of the same job; where they differ a third one says who is wrong. Everything is run
through the core like any job (`broker/trust/reruns.py`).
"""

from __future__ import annotations

import logging
import os
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from broker.audit import AuditLog
from broker.core.effects import Compare, Remember, RerunEnded, TryNode
from broker.core.events import Event
from broker.core.limits import (
    AUDIT_PAUSE_S,
    AUDIT_REST,
    AUDITS_AT_ONCE,
    MAX_AUDITS_QUEUED_PER_KEY,
    MAX_FINDINGS,
    MAX_LOSSES,
    REPEATS,
)
from broker.core.machine import Machine
from broker.core.shares import Lines
from broker.results.inquiry import Finding, Report, read_inquiry, write_report
from broker.results.kept import KeptJobs
from broker.results.shared_cache import SharedResults
from broker.trust.accusers import Accusers
from broker.trust.answers import Answers
from broker.trust.examiner import Examiner
from broker.trust.reruns import BUSY, NO_NODE
from broker.trust.verdicts import Told, Verdict, differences, judge
from cache.digest import Digest, short
from cache.errors import CacheError
from cache.frame import decompress
from cache.record import Record
from zcc.errors import JobError
from zcc.job import MAX_RESULT_BYTES, Result, decode_result

logger = logging.getLogger(__name__)

DIRECTORY = "audit"


@dataclass(slots=True)
class _Audit:
    """One result under audit; `other` is what the first rerun gave, `third` the second one. `is_asked`: for an
    inquiry. Whose turn it is to give it once more `turns` says, `repeats` how often that was the same."""

    record: Record
    maker: Told
    is_asked: bool
    begun_at: float
    other: Told | None = None
    other_node: str = ""
    losses: int = 0
    verdict: Verdict | None = None
    third: Told | None = None
    turns: int = 0
    repeats: int = 0
    is_repeat: bool = False  # nobody is left but the one that has run it again already
    avoid: set[str] = field(default_factory=set)


class Auditor:
    """`share` of the results are run again while the farm idles; 0: none, but when asked."""

    def __init__(
        self,
        state_dir: str,
        limit_bytes: int,
        share: float,
        results: SharedResults,
        machine: Machine,
        happen: Callable[[Event], None],
        log: AuditLog,
        has_blob: Callable[[Digest], bool],
    ) -> None:
        self._directory = os.path.join(state_dir, DIRECTORY)
        self._jobs = KeptJobs(self._directory, limit_bytes, has_blob)
        self.share = share
        self._results = results
        self._machine = machine
        self._happen = happen
        self._log = log
        self._rng = random.SystemRandom()
        # By whose jobs gave them: nobody's results keep those of others from being looked at.
        self._chosen = Lines[Digest](MAX_AUDITS_QUEUED_PER_KEY)
        self._asked: deque[Digest] = deque()
        # Results of jobs that were done twice, which differ: the other node's, its name, and the remembered one
        # where it is not any more.
        self._differing: OrderedDict[Digest, tuple[Told, str, Record | None]] = OrderedDict()
        self._under_way: OrderedDict[Digest, _Audit] = OrderedDict()
        # One of before our start was another broker's to answer.
        self._inquiry = read_inquiry(self._directory)
        self._report = Report("", is_over=True)
        self._executor = ThreadPoolExecutor(1, "audit")
        self._gathering: Future[tuple[int, list[Digest]]] | None = None
        self._next_at = 0.0
        self._accusers = Accusers()
        answers = Answers(self._jobs, results, self._rng)
        self._examiner = Examiner(
            lambda *whose: self._executor.submit(answers.known, *whose),
            self._jobs,
            results,
            happen,
            log,
            self._look_into,
        )

    def close(self) -> None:
        self._jobs.close()
        self._executor.shutdown(cancel_futures=True)

    def remembered(self, effect: Remember) -> None:
        """A result was remembered: keep its job, and choose at random whether it is run again. Nobody
        can know which, so nobody can lie in the others."""
        self._jobs.keep(effect.key, effect.job)
        if self._rng.random() < self.share:
            self._chosen.put(effect.user, effect.key)

    def write_down(self) -> None:
        """Have the jobs that came since the last call written, behind the loop's back."""
        self._jobs.write_down()

    def tick(self, now: float) -> None:
        """Go on, where the farm has nothing better to do. To be called about twice a second."""
        self._examiner.tick()
        self._look_for_inquiry()
        self._begin_inquiry()
        while self._asked and len(self._under_way) < AUDITS_AT_ONCE and self._machine.has_room(now):
            self._begin(self._asked.popleft(), True, now)
        self._report_progress()
        if self._differing and self._machine.has_room(now):
            self._begin_differing(now)
        is_time = now >= self._next_at and not self._under_way
        if self._chosen and is_time and self._machine.is_idle(now):
            self._begin(self._chosen.take(), False, now)

    def compare(self, effect: Compare) -> None:
        """A job was done twice, since the first node took long: what the two gave must be the same. A
        difference is looked into as that of an audit is, with a third node."""
        winner = effect.winner
        try:
            first, second = _decoded(winner.body), _decoded(effect.body)
        except (CacheError, JobError):
            return
        what = differences(first, second)
        verdict = "differs" if what else "equal"
        fields = (("job", short(winner.key)), ("node", winner.node), ("other", effect.node))
        self._log.write("hedge", (*fields, ("verdict", verdict)))
        if not what:
            return
        logger.error(
            "%s and %s give different results for the job %s: %s",
            winner.node,
            effect.node,
            short(winner.key),
            ", ".join(what[:MAX_FINDINGS]),
        )
        self._note_differing(winner.key, Told(effect.node_key, second), effect.node, None)

    def _look_into(self, record: Record, told: Told, node: str) -> None:
        """A trial has shown that this result may be wrong, which is served no more."""
        self._note_differing(record.key, told, node, record)

    def _note_differing(self, key: Digest, told: Told, node: str, record: Record | None) -> None:
        self._differing[key] = told, node, record
        if len(self._differing) > MAX_FINDINGS:
            self._differing.popitem(last=False)

    def _begin_differing(self, now: float) -> None:
        """By now the winner's result is remembered, and its job is written down; if not, it serves nobody."""
        key, (other, other_node, gone) = self._differing.popitem(last=False)
        record = gone or self._results.record_of(key)
        if record is None or key in self._under_way:
            return
        try:
            maker = Told(record.source.node_key, _decoded(record.body))
        except (CacheError, JobError):
            return
        audit = _Audit(record, maker, False, now, avoid={maker.node_key, other.node_key})
        audit.other, audit.other_node = other, other_node
        self._under_way[key] = audit
        self._ask(key, audit)

    # --- what is asked --------------------------------------------------------------------------

    def _look_for_inquiry(self) -> None:
        inquiry = read_inquiry(self._directory)
        if inquiry is None or inquiry == self._inquiry:
            return
        self._inquiry = inquiry
        self._gathering = self._executor.submit(self._gather, inquiry.node)

    def _gather(self, node: str) -> tuple[int, list[Digest]]:
        """How many results there are, and those that can be run again. In a thread: it reads the index."""
        keys = self._results.keys_of(node)
        return len(keys), [key for key in keys if self._jobs.has(key)]

    def _begin_inquiry(self) -> None:
        if self._gathering is None or not self._gathering.done() or self._inquiry is None:
            return
        results, there = self._gathering.result()
        self._gathering = None
        # A share of what can be run again at all, but one at least.
        count = min(len(there), max(1, round(self._inquiry.share * len(there))))
        self._asked = deque(self._rng.sample(there, count))
        self._report = Report(self._inquiry.id, asked=count, results=results, jobs_kept=len(there))
        logger.info("an audit of %d results was asked for", count)

    def _report_progress(self) -> None:
        if self._report.is_over:
            return
        asked = sum(audit.is_asked for audit in self._under_way.values())
        self._report.is_over = not self._asked and not asked
        self._report.left = len(self._asked) + asked
        write_report(self._directory, self._report)

    # --- one audit ------------------------------------------------------------------------------

    def _begin(self, key: Digest, is_asked: bool, now: float) -> None:
        record = self._results.record_of(key)
        if record is None or key in self._under_way:
            self._skip("forgotten", is_asked)
            return
        try:
            maker = Told(record.source.node_key, _decoded(record.body))
        except (CacheError, JobError):
            self._skip("damaged", is_asked)
            return
        audit = _Audit(record, maker, is_asked, now, avoid={record.source.node_key})
        self._under_way[key] = audit
        self._ask(key, audit)

    def _ask(self, key: Digest, audit: _Audit) -> None:
        asked = self._jobs.asked_again(audit.record, frozenset(audit.avoid))
        if isinstance(asked, str):
            self._end(key, asked)
        else:
            self._happen(asked)

    def ended(self, effect: RerunEnded, now: float) -> None:
        """The core says what came of a rerun."""
        key = effect.key
        audit = self._under_way.get(key)
        if audit is None:
            self._examiner.ended(effect)
            return
        self._next_at = now + max(AUDIT_PAUSE_S, AUDIT_REST * (now - audit.begun_at))
        if effect.reason:
            self._without_result(key, audit, effect.reason)
            return
        try:
            result = _decoded(effect.body)
        except (CacheError, JobError):
            self._end(key, "damaged")
            return
        if effect.node_key in audit.avoid:
            self._end(key, "same-node")
        elif result.lookups.flaw:
            self._results.distrust(
                key
            )  # it says nothing of anybody, but the remembered one has no other word
            self._end(key, "unproven")
        elif audit.other is None:
            audit.other, audit.other_node = Told(effect.node_key, result), effect.node
            if judge(audit.maker, audit.other, None) is Verdict.EQUAL:
                self._conclude(key, audit, Verdict.EQUAL)
            else:
                audit.avoid.add(effect.node_key)
                self._ask(key, audit)
        elif audit.verdict is None:
            self._judge(key, audit, Told(effect.node_key, result))
        else:
            self._repeated(key, audit, Told(effect.node_key, result), now)

    def _judge(self, key: Digest, audit: _Audit, third: Told) -> None:
        """Two of three agree, perhaps; then those two have to repeat it before it is held against the third."""
        assert audit.other is not None
        verdict = judge(audit.maker, audit.other, third)
        if verdict is Verdict.OTHER_AT_FAULT and audit.other.result.lookups.undeclared:
            # It claims no proof, so nobody was ever to be served by it.
            audit.other = None
            self._end(key, "unproven")
            return
        if verdict not in (Verdict.MAKER_AT_FAULT, Verdict.OTHER_AT_FAULT):
            self._conclude(key, audit, verdict)
            return
        if verdict is Verdict.MAKER_AT_FAULT:
            self._results.distrust(key)
        audit.verdict, audit.third, audit.losses = verdict, third, 0
        self._ask_once_more(key, audit)

    def _ask_once_more(self, key: Digest, audit: _Audit) -> None:
        """One of the two that agree, in turns."""
        assert audit.other is not None
        assert audit.third is not None
        is_makers = audit.verdict is Verdict.OTHER_AT_FAULT
        agreeing = (audit.maker if is_makers else audit.other, audit.third)
        node_key = agreeing[audit.turns % 2].node_key
        audit.turns += 1
        audit.avoid = {node.session.user for node in self._machine.farm.nodes} - {node_key}
        self._ask(key, audit)

    def _repeated(self, key: Digest, audit: _Audit, told: Told, now: float) -> None:
        assert audit.third is not None
        if differences(told.result, audit.third.result):
            self._conclude(key, audit, Verdict.UNSTABLE)
            return
        audit.repeats += 1
        if audit.repeats < REPEATS:
            self._ask_once_more(key, audit)
            return
        assert audit.verdict is not None
        self._conclude(key, audit, audit.verdict, now)

    def _without_result(self, key: Digest, audit: _Audit, reason: str) -> None:
        if audit.verdict is not None:
            audit.losses += 1
            if audit.losses < MAX_LOSSES:
                self._ask_once_more(key, audit)
            else:
                self._conclude(key, audit, Verdict.DISPUTED)
        elif reason not in (BUSY, NO_NODE) and audit.losses < MAX_LOSSES:
            audit.losses += 1  # the node that had it was lost, or is full: that says nothing
            self._ask(key, audit)
        elif audit.other is None:
            self._end(key, reason)
        elif not audit.is_repeat:
            # No third node: does the second one repeat itself, at least?
            audit.is_repeat = True
            audit.avoid.discard(audit.other.node_key)
            self._ask(key, audit)
        else:
            self._conclude(key, audit, Verdict.DISPUTED)

    def _end(self, key: Digest, reason: str) -> None:
        """There is no verdict."""
        audit = self._under_way[key]
        if audit.other is not None:
            self._conclude(key, audit, Verdict.DISPUTED)
            return
        del self._under_way[key]
        self._skip(reason, audit.is_asked)

    def _skip(self, reason: str, is_asked: bool) -> None:
        if is_asked:
            skipped = self._report.skipped
            skipped[reason] = skipped.get(reason, 0) + 1

    def _conclude(self, key: Digest, audit: _Audit, verdict: Verdict, now: float = 0.0) -> None:
        """There is a verdict; `now` is wanted where somebody is at fault."""
        del self._under_way[key]
        other, source = audit.other, audit.record.source
        assert other is not None
        if audit.is_asked:
            verdicts = self._report.verdicts
            verdicts[verdict.value] = verdicts.get(verdict.value, 0) + 1
        self._log.write(
            "audit",
            (
                ("job", short(key)),
                ("node", source.node),
                ("other", audit.other_node),
                ("verdict", verdict.value),
            ),
        )
        if verdict is Verdict.EQUAL:
            return
        what = differences(audit.maker.result, other.result)
        odd_key, odd = "", ""
        if verdict is Verdict.MAKER_AT_FAULT:
            odd_key, odd = source.node_key, source.node
        elif verdict is Verdict.OTHER_AT_FAULT:
            odd_key, odd = other.node_key, audit.other_node
        if verdict in (Verdict.MAKER_AT_FAULT, Verdict.DISPUTED):
            self._results.distrust(key)
        finding = Finding(
            key.hex(),
            verdict.value,
            source.node,
            audit.other_node,
            what[:MAX_FINDINGS],
            odd,
            odd_key,
        )
        if len(self._report.findings) < MAX_FINDINGS and audit.is_asked:
            self._report.findings.append(finding)
        if verdict is Verdict.UNSTABLE:
            logger.info("the job %s does not repeat itself: %s", short(key), ", ".join(what))
            return
        logger.error("%s", finding.sentence())
        self._log.write("audit-differs", (("job", short(key)), ("what", ", ".join(what)[:500])))
        if odd_key:
            for condemned in self._accusers.shown(odd_key, source.user, now):
                whose = f"no jobs of {condemned.user}" if condemned.user else "no jobs"
                logger.error("%s gets %s for %.0f s", odd, whose, condemned.for_s)
                self._happen(condemned)

    def try_node(self, effect: TryNode) -> None:
        """Put known jobs to a node that is back from quarantine, whatever share is audited."""
        self._examiner.seek(effect)


def _decoded(body: bytes) -> Result:
    return decode_result(decompress(body, MAX_RESULT_BYTES))
