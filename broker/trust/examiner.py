"""Puts known jobs to nodes that are back from quarantine, and says what came of them.

A known job's remembered result comes from a node of another key. Where the one on trial makes something else of
it, or fails it, another node does the job too: a third key's, else one of the key that made the result, else,
where there is nobody, the node on trial itself. So a job that does not repeat itself says nothing of anybody. A
node is wrong only when jobs of two keys say so: who has a job of his own remembered keeps no node from others.

Nobody is served by these runs, and nobody who submits the same job waits for them.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from broker.audit import AuditLog
from broker.core.effects import RerunEnded, TryNode
from broker.core.events import Event, TrialEnded
from broker.core.limits import CONVICTING_KEYS, KNOWN_JOBS, MAX_FINDINGS, MAX_KNOWN_JOBS
from broker.core.nodes import SUSPICIOUS
from broker.results.kept import KeptJobs
from broker.results.shared_cache import SharedResults
from broker.scheduling.stragglers import UNANSWERED
from broker.trust.reruns import NOT_FOR_IT
from broker.trust.standing import TrialOutcome
from broker.trust.verdicts import Told, differences
from cache.digest import Digest, digest_of, short
from cache.errors import CacheError
from cache.frame import decompress
from cache.record import Record
from zcc.errors import JobError
from zcc.job import MAX_RESULT_BYTES, decode_result
from zcc.messages import Fault

logger = logging.getLogger(__name__)

# What a node says, or does not say, of a known job that counts as a wrong answer, if others can do it.
_WRONG = frozenset(
    (*(fault.value for fault in SUSPICIOUS), Fault.INPUT.value, Fault.DEADLINE.value, UNANSWERED)
)
# What says that this job cannot be put to it, or that the fault is our own.
_NOTHING = frozenset((Fault.UNFIT.value, "broker"))
_NAME_BYTES = 16


class _Asked(Enum):
    """Who does the job now."""

    SUSPECT = "suspect"
    THIRD = "third"  # a node of a third key
    MAKER = "maker"  # or one of the key whose result is remembered
    AGAIN = "again"  # or the suspect once more


@dataclass(slots=True)
class _Question:
    """A known job that is put to a node. `said` is what it made of it; None where it failed, by `fault`."""

    record: Record
    maker: Told
    asked: _Asked = _Asked.SUSPECT
    said: Told | None = None
    fault: str = ""


@dataclass(slots=True)
class _Trial:
    """`left` are the known jobs to come, `right` counts those done right by whose they were, `against` has the
    keys whose jobs were done wrong."""

    node: TryNode
    left: deque[Record]
    put: int = 0
    right: Counter[str] = field(default_factory=Counter)
    against: set[str] = field(default_factory=set)

    @property
    def is_convicted(self) -> bool:
        """A node that runs its owner's jobs alone is kept from nobody else by them."""
        return len(self.against) >= (1 if self.node.owner else CONVICTING_KEYS)

    @property
    def good(self) -> int:
        """Jobs done right, of keys that have nothing against it."""
        return sum(count for user, count in self.right.items() if user not in self.against)


class Examiner:
    """`gather(node_key, owner)` has known jobs looked for in a thread. `look_into(record, told, node)` has it
    found out whether a remembered result was wrong, as this node's says."""

    def __init__(
        self,
        gather: Callable[[str, str], Future[deque[Record]]],
        jobs: KeptJobs,
        results: SharedResults,
        happen: Callable[[Event], None],
        log: AuditLog,
        look_into: Callable[[Record, Told, str], None],
    ) -> None:
        self._gather = gather
        self._jobs = jobs
        self._results = results
        self._happen = happen
        self._log = log
        self._look_into = look_into
        self._sought: dict[str, tuple[TryNode, Future[deque[Record]]]] = {}  # by node key
        # By the names that their runs have in the core's books.
        self._under_way: OrderedDict[Digest, tuple[_Trial, _Question]] = OrderedDict()

    def seek(self, effect: TryNode) -> None:
        """This node is to be tried: look for known jobs. Another one of its key is not, any more."""
        if effect.node_key in self._sought:
            self._sought[effect.node_key][1].cancel()
        self._sought[effect.node_key] = effect, self._gather(effect.node_key, effect.owner)

    def tick(self) -> None:
        """Begin with those for whom known jobs have been looked for."""
        ready = [key for key, (_, found) in self._sought.items() if found.done()]
        for effect, found in map(self._sought.pop, ready):
            failure = found.exception()
            if failure is not None:
                logger.error("known jobs cannot be looked for", exc_info=failure)
            self._go_on(_Trial(effect, deque() if failure is not None else found.result()))

    def ended(self, effect: RerunEnded) -> None:
        """The core says what came of a run."""
        trial, question = self._under_way.pop(effect.key, (None, None))
        if trial is None or question is None:
            return
        told = _told(effect)
        if question.asked is _Asked.SUSPECT:
            self._answered(trial, question, told, effect)
        elif question.asked is _Asked.AGAIN:
            self._repeated(trial, question, told, effect)
        else:
            self._judge(trial, question, told, effect)

    # --- the node on trial ----------------------------------------------------------------------

    def _go_on(self, trial: _Trial) -> None:
        """Put the next known job to it, or say what came of all."""
        while not trial.is_convicted and trial.good < KNOWN_JOBS and trial.put < MAX_KNOWN_JOBS:
            record = self._next(trial)
            if record is None:
                break
            try:
                result = decode_result(decompress(record.body, MAX_RESULT_BYTES))
            except (CacheError, JobError):
                continue
            question = _Question(record, Told(record.source.node_key, result))
            if self._put(trial, question):
                trial.put += 1
                return
        self._end(trial, _outcome(trial))

    def _next(self, trial: _Trial) -> Record | None:
        """A key that has said it is wrong is not heard twice. What is not remembered any more is not known."""
        while trial.left:
            record = trial.left.popleft()
            kept = self._results.record_of(record.key)
            if record.source.user not in trial.against and kept == record:
                return record
        return None

    def _answered(
        self, trial: _Trial, question: _Question, told: Told | None, effect: RerunEnded
    ) -> None:
        if told is not None:
            if not differences(question.maker.result, told.result):
                self._right(trial, question, "equal")
                return
            question.said = told
        elif effect.fault in _WRONG:
            question.fault = effect.fault
        elif effect.fault in _NOTHING or effect.reason == NOT_FOR_IT:
            self._go_on(trial)
            return
        else:  # it has left, pauses, or is short of something now
            self._end(trial, TrialOutcome.UNTRIED)
            return
        question.asked = _Asked.THIRD
        self._ask_others(trial, question)

    def _put(self, trial: _Trial, question: _Question) -> bool:
        """Have the job run by whom it is the turn of; False: it cannot be."""
        suspect, maker = trial.node.node_key, question.maker.node_key
        is_suspects = question.asked in (_Asked.SUSPECT, _Asked.AGAIN)
        avoid = {suspect, maker} if question.asked is _Asked.THIRD else {suspect}
        name = digest_of(question.record.key + secrets.token_bytes(_NAME_BYTES))
        asked = self._jobs.asked_again(
            question.record,
            frozenset() if is_suspects else frozenset(avoid),
            name=name,
            only=trial.node.session if is_suspects else b"",
        )
        if isinstance(asked, str):
            return False
        self._under_way[name] = trial, question
        self._happen(asked)
        return True

    # --- who judges -----------------------------------------------------------------------------

    def _ask_others(self, trial: _Trial, question: _Question) -> None:
        if not self._put(trial, question):
            self._says_nothing(trial, question, "inputs-gone")

    def _judge(
        self, trial: _Trial, question: _Question, told: Told | None, effect: RerunEnded
    ) -> None:
        """Another node has done the job, or could not."""
        said, maker = question.said, question.maker
        if told is None or told.result.lookups.flaw or told.result.lookups.undeclared:
            is_third = question.asked is _Asked.THIRD
            question.asked = _Asked.MAKER if is_third else _Asked.AGAIN
            self._ask_others(trial, question)
        elif not differences(maker.result, told.result):
            # Of the two who dispute it, one has repeated itself.
            self._wrong(trial, question, effect.node, is_sure=told.node_key != maker.node_key)
        elif (
            said is None or differences(said.result, told.result) or told.node_key == maker.node_key
        ):
            self._says_nothing(trial, question, "unstable")
        else:
            self._results.distrust(question.record.key)
            self._right(trial, question, "maker-at-fault", effect.node)
            self._look_into(question.record, told, effect.node)

    def _repeated(
        self, trial: _Trial, question: _Question, told: Told | None, effect: RerunEnded
    ) -> None:
        """Nobody else can do the job now. Does the node repeat itself, at least?"""
        said = question.said
        if told is None and effect.fault not in _WRONG:
            self._end(trial, TrialOutcome.UNTRIED)
        elif told is None or (said is not None and not differences(said.result, told.result)):
            self._wrong(trial, question, "", is_sure=False)
        else:
            self._says_nothing(trial, question, "unstable")

    def _says_nothing(self, trial: _Trial, question: _Question, verdict: str) -> None:
        self._tell(trial, question, verdict, "")
        self._go_on(trial)

    def _right(self, trial: _Trial, question: _Question, verdict: str, judge: str = "") -> None:
        trial.right[question.record.source.user] += 1
        self._tell(trial, question, verdict, judge)
        self._go_on(trial)

    def _wrong(self, trial: _Trial, question: _Question, judge: str, *, is_sure: bool) -> None:
        """`is_sure`: a third key's node says so; else the remembered result is forgotten, as one that two nodes
        dispute always is."""
        trial.against.add(question.record.source.user)
        if not is_sure and question.said is not None:
            self._results.distrust(question.record.key)
        self._tell(trial, question, "wrong" if is_sure else "disputed", judge)
        self._go_on(trial)

    # --- what comes of it -----------------------------------------------------------------------

    def _tell(self, trial: _Trial, question: _Question, verdict: str, judge: str) -> None:
        node, source, said = trial.node, question.record.source, question.said
        what = question.fault
        if said is not None:
            what = ", ".join(differences(question.maker.result, said.result)[:MAX_FINDINGS])
        name, job = node.node, short(question.record.key)
        fields = (("job", job), ("user", source.user), ("node", name), ("maker", source.node))
        self._log.write(
            "trial-job", (*fields, ("judge", judge), ("verdict", verdict), ("what", what))
        )
        if verdict in ("wrong", "disputed"):
            logger.error("%s does the known job %s wrong: %s", name, job, what)

    def _end(self, trial: _Trial, outcome: TrialOutcome) -> None:
        node = trial.node
        against = frozenset(trial.against)
        logger.info("%s was tried with %d known jobs: %s", node.node, trial.put, outcome.value)
        self._happen(
            TrialEnded(node.session, node.node_key, node.node, outcome, against, trial.good)
        )


def _outcome(trial: _Trial) -> TrialOutcome:
    if trial.is_convicted:
        return TrialOutcome.FAILED
    if trial.good >= KNOWN_JOBS or (trial.good and not trial.against):
        return TrialOutcome.PASSED
    return TrialOutcome.NOTHING_KNOWN


def _told(effect: RerunEnded) -> Told | None:
    """The result that a run has given, if it has."""
    if effect.reason:
        return None
    try:
        return Told(effect.node_key, decode_result(decompress(effect.body, MAX_RESULT_BYTES)))
    except (CacheError, JobError):
        return None
