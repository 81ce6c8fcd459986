"""Why a job went to its node, and what came of it: the last decisions, for who asks. Pure.

Of a decision the few numbers are kept that it was made with. Who the candidates were, and what stood against
each, is worked out when somebody asks (`broker/scheduling/stands.py`). A restart forgets all of it.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from broker.core.allowance import Allowance
from broker.core.jobs import Execution, Lease, is_avoided
from broker.core.limits import MAX_DECISIONS, UNDONE_BURST, UNDONE_PER_S
from broker.core.nodes import most_leases
from broker.scheduling.model import Identity
from broker.scheduling.placement import Choice
from broker.scheduling.stands import Stand, Stands
from cache.digest import Digest
from zcc.bounds import MAX_SECONDS
from zcc.placed import MAX_CANDIDATES, MAX_PLACEMENTS, Candidate, Placement

CHOSEN = "chosen"


@dataclass(slots=True)
class Decision:
    """`users` are the keys that waited for the job; `session` and `name` are its node's; `mean_s` is the cost
    of a job of its line, on average.

    `mark` is of `Stands`. Times are the machine's; of what has not happened they are None.
    """

    job: Digest
    users: tuple[str, ...]
    machine_class: bytes
    toolchain: Digest
    toolchain_bytes: int
    avoid: frozenset[Identity]
    cost_s: float
    memory_bytes: int
    session: bytes
    name: str
    rate: float
    mean_s: float
    finish_at: float
    reason: str
    queued_s: float
    at: float
    mark: int
    begun_at: float | None = None
    ended_at: float | None = None
    ending: str = ""
    detail: str = ""
    cpu_s: float = 0.0

    def is_of(self, user: str | None) -> bool:
        """Whether this key may know of it; None: whoever may know all."""
        return user is None or user in self.users


class Decisions:
    """The last `most`, by lease."""

    def __init__(self, stands: Stands, most: int = MAX_DECISIONS) -> None:
        self._stands = stands
        self._most = most
        self._by_lease: OrderedDict[bytes, Decision] = OrderedDict()
        # The same by the first byte of the job's key.
        self._by_byte: defaultdict[int, dict[bytes, Decision]] = defaultdict(dict)
        self._undoing = Allowance(UNDONE_BURST, UNDONE_PER_S)

    def __len__(self) -> int:
        return len(self._by_lease)

    def note(self, execution: Execution, lease: Lease, choice: Choice, now: float) -> None:
        """A job is given to a node; to be called before the seats are refreshed."""
        first = next(iter(execution.waiters.values()), None)
        decision = Decision(
            job=execution.job,
            users=(execution.lane.user,),
            machine_class=execution.lane.machine_class,
            toolchain=execution.toolchain,
            toolchain_bytes=execution.toolchain_bytes,
            avoid=frozenset(execution.avoid),
            cost_s=execution.cost_s,
            memory_bytes=execution.memory_bytes,
            session=choice.seat.node.session.id,
            name=choice.seat.node.session.name,
            rate=choice.seat.rate,
            mean_s=choice.mean_s,
            finish_at=choice.finish_at,
            reason=choice.reason,
            queued_s=now - first.since if first is not None else 0.0,
            at=now,
            mark=self._stands.mark,
        )
        self._by_lease[lease.id] = self._by_byte[decision.job[0]][lease.id] = decision
        if len(self._by_lease) > self._most:
            oldest, gone = self._by_lease.popitem(last=False)
            del self._by_byte[gone.job[0]][oldest]

    def joined(self, lease: bytes, user: str) -> None:
        """Another key waits for the job that runs under this lease."""
        decision = self._by_lease.get(lease)
        if decision is not None and user not in decision.users:
            decision.users += (user,)

    def begun(self, lease: bytes, now: float) -> None:
        """The compiler runs."""
        decision = self._by_lease.get(lease)
        if decision is not None and decision.begun_at is None:
            decision.begun_at = now

    def ended(
        self, lease: bytes, ending: str, now: float, detail: str = "", cpu_s: float = 0.0
    ) -> None:
        """What became of it; who says it first knows best."""
        decision = self._by_lease.get(lease)
        if decision is not None and decision.ended_at is None:
            decision.ended_at, decision.ending, decision.detail = now, ending, detail
            decision.cpu_s = cpu_s

    def about(self, job: bytes, user: str | None, now: float) -> Iterator[Placement]:
        """The decisions on jobs whose key begins so, that this key may know, the latest first. Without any
        beginning they come without candidates, and so do those of who asks for too many."""
        asker, found = user or "", 0
        # Of 20,000 decisions all are looked through only for who names no job.
        decisions = self._by_byte[job[0]] if job else self._by_lease
        for decision in reversed(decisions.values()):
            if decision.job.startswith(job) and decision.is_of(user):
                tells_all = bool(job) and self._undoing.left(asker, now) > 0
                if tells_all:
                    self._undoing.use(asker, self._stands.work_for(decision.mark), now)
                # Who joined a run learns of it, and not whose it was before.
                named = decision.users[0] if user is None else user
                yield self._placement(decision, named, now, tells_all=tells_all)
                found += 1
                if found == MAX_PLACEMENTS:
                    return

    def _placement(
        self, decision: Decision, user: str, now: float, *, tells_all: bool
    ) -> Placement:
        known = self._stands.at(decision.mark) if tells_all else None
        rows = [] if known is None else _candidates(decision, *known, now)
        begun_at = decision.begun_at
        is_over = decision.ended_at is not None
        end = decision.ended_at if decision.ended_at is not None else now
        return Placement(
            job=decision.job,
            user=user,
            node=decision.name,
            reason=decision.reason,
            ago_s=_bounded(now - decision.at),
            queued_s=_bounded(decision.queued_s),
            cost_s=_bounded(decision.cost_s),
            expected_s=_bounded(decision.finish_at - decision.at),
            begun_s=None if begun_at is None else _bounded(begun_at - decision.at),
            took_s=_bounded(end - decision.at) if is_over else None,
            cpu_s=_bounded(decision.cpu_s),
            ending=decision.ending,
            detail=decision.detail,
            candidates=tuple(rows[:MAX_CANDIDATES]),
            others=tuple(sorted(Counter(each.verdict for each in rows[MAX_CANDIDATES:]).items())),
            is_whole=known is not None,
        )


def _candidates(
    decision: Decision, stands: Iterable[Stand], later: set[tuple[bytes, Digest]], now: float
) -> list[Candidate]:
    """The one that was chosen, then those that could have been, by their expected end, then the others."""
    stands = list(stands)
    chosen = next((each for each in stands if each.node.session.id == decision.session), None)
    if chosen is None:
        return []
    # What the model's rates were to be multiplied by.
    mean_rate = decision.rate / math.exp(chosen.ln_rate)
    rows = []
    for stand in stands:
        fetch_s = _fetch_s(decision, stand, later, now)
        end_s = _expected_s(decision, stand, mean_rate) + fetch_s
        verdict, why = _verdict(decision, stand, chosen, end_s, fetch_s)
        if stand is chosen:
            end_s = decision.finish_at - decision.at
        name = stand.node.session.name
        row = Candidate(name, verdict, why, _bounded(end_s), stand.held, stand.slots)
        rows.append((_ORDER.get(verdict, 1), end_s, name, row))
    return [row for *_, row in sorted(rows, key=lambda each: each[:3])]


# The one that was chosen first, those that could not have been last.
_ORDER = {
    CHOSEN: 0,
    "slower": 1,
    "lacks-toolchain": 1,
    "fuller": 1,
    "equal": 1,
    "full": 2,
    "memory": 2,
}
_ORDER |= dict.fromkeys(
    ("draining", "paused", "quarantined", "on-trial", "resting", "not-for-it", "aside", "unfit"), 3
)


def _fetch_s(
    decision: Decision, stand: Stand, later: set[tuple[bytes, Digest]], now: float
) -> float:
    """Seconds of the toolchain's way, whole, by what is known of the node's line now."""
    node, toolchain = stand.node, decision.toolchain
    if toolchain in node.toolchains and (node.session.id, toolchain) not in later:
        return 0.0
    return decision.toolchain_bytes / node.record.line.bytes_per_s(now)


def _expected_s(decision: Decision, stand: Stand, mean_rate: float) -> float:
    """Seconds from the decision to the job's end there, by what was believed then (as in
    `scheduling/placement.py`), once its toolchain is there."""
    rate = mean_rate * math.exp(stand.ln_rate)
    over = stand.held - stand.slots + 1
    wait_s = decision.mean_s * rate * over / stand.slots if over > 0 and stand.slots else 0.0
    return wait_s + decision.cost_s * rate


def _verdict(
    decision: Decision, stand: Stand, chosen: Stand, end_s: float, fetch_s: float
) -> tuple[str, str]:
    """What stood against a node, and its own words on that."""
    user = decision.users[0]
    if stand is chosen:
        return CHOSEN, ""
    if stand.state and stand.state not in ("ready", "limited"):
        return stand.state, stand.reason
    if not stand.node.serves(user, decision.machine_class):
        return "not-for-it", ""
    if is_avoided(decision.avoid, stand.identity):
        return "lost-it", ""
    if any(who == user and decision.at < until for who, until in stand.aside):
        return "aside", ""
    if decision.toolchain in stand.unfit:
        return "unfit", stand.node.unfit.get(decision.toolchain, "")
    # A job goes to a node without an idle slot only where no other has one.
    is_ahead = chosen.held >= chosen.slots
    if stand.held >= (most_leases(stand.slots) if is_ahead else stand.slots):
        return "full", ""
    if stand.left_bytes < decision.memory_bytes:
        return "memory", ""
    chosen_s = decision.finish_at - decision.at
    if fetch_s and end_s - fetch_s <= chosen_s < end_s:
        return "lacks-toolchain", ""
    if end_s > chosen_s:
        return "slower", ""
    is_fuller = stand.held * chosen.slots > chosen.held * stand.slots
    return ("fuller" if is_fuller else "equal"), ""


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_SECONDS)
