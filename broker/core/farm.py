"""Everything that the broker's machine remembers, in one place. Pure.

Changes of an execution's phase go through `set_phase`, which keeps the counts that belong to it; what
a change means for others (agents, nodes, uploads) is the business of `uploads`, `ledger`, `dispatch`.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from broker.core.decisions import Decisions
from broker.core.effects import Audit, Effect, NoteToolchain, Send
from broker.core.events import Origin
from broker.core.holdings import Holdings
from broker.core.jobs import (
    EVERY,
    GRANTED,
    LEASED,
    Claim,
    Execution,
    Lease,
    Phase,
    Waiter,
    is_avoided,
    lease_prefix,
)
from broker.core.limits import RUN_LIMIT_S, STARTUP_GRACE_S
from broker.core.nodes import Node, Roster
from broker.core.onlookers import FarmCounts, FarmWatch
from broker.core.sessions import Session, Sessions
from broker.scheduling.beaten import Beaten
from broker.scheduling.costs import MAX_COST_S
from broker.scheduling.model import Expectation, Identity, Model
from broker.scheduling.needs import believed
from broker.scheduling.pace import Pace
from broker.scheduling.patience import Patience
from broker.scheduling.queue import Lane, Line, Queue
from broker.scheduling.seats import Seats
from broker.trust.blame import Blame
from broker.trust.denials import Denials
from cache.digest import Digest
from zcc.messages import Message


@dataclass(slots=True)
class UserLoad:
    """What one user has at the broker."""

    jobs: int = 0
    size_bytes: int = 0


class Farm:
    def __init__(
        self,
        name: str,
        rng: random.Random,
        started_at: float,
        toolchains: Iterable[tuple[Digest, str]] = (),
        run_limit_s: float = RUN_LIMIT_S,
        owing: Iterable[Identity] = (),
    ) -> None:
        self.name = name
        self.rng = rng
        self.started_at = self.now = started_at
        self.sessions = Sessions()
        self.nodes = Roster(owing)
        self.blame = Blame(self.nodes)
        self.holdings = Holdings(toolchains)
        self.model = Model()
        self.denials = Denials()
        self.seats = Seats(self.model, self.denials)
        self.pace = Pace()
        self.decisions = Decisions(self.seats.stands)
        self.patience = Patience(run_limit_s)
        self.executions: dict[Digest, Execution] = {}
        # The same by what a lease of theirs begins with: leases from before our start are matched so.
        self.by_prefix: dict[bytes, Execution] = {}
        self.leases: dict[bytes, Lease] = {}
        # Executions that two nodes have.
        self.hedged: set[Digest] = set()
        self.beaten = Beaten()
        self.queue = Queue()
        self.ready = Queue()
        self.tallies: dict[str, UserLoad] = {}
        # Open requests by key, those included that joined another's job.
        self.requests: Counter[str] = Counter()
        self.requests_of: Counter[tuple[str, Digest]] = Counter()  # by key and job
        self.total = UserLoad()
        # Granted and not yet leased, by (user, machine class): what the grant window bounds.
        self.granted: Counter[tuple[str, bytes]] = Counter()
        self.backlog_cost_s = 0.0
        # Requests that have had no word yet on when they start, by session and ticket.
        self.unanswered: dict[tuple[bytes, int], tuple[Session, Digest]] = {}
        self.is_dirty = False
        # What is told to who watches; None: nobody does.
        self.watch: FarmWatch | None = None
        # What is counted for metrics; None: nobody wants any.
        self.tally: FarmCounts | None = None
        self._out: list[Effect] = []

    @property
    def is_counting(self) -> bool:
        """Whether somebody wants to know what agents do by themselves."""
        return self.watch is not None or self.tally is not None

    def emit(self, effect: Effect) -> None:
        self._out.append(effect)

    def send(self, session: Session, message: Message) -> None:
        self._out.append(Send(session.route, message))

    def audit(self, what: str, **fields: str | int | float) -> None:
        self._out.append(Audit(what, tuple(fields.items())))

    def lease_ended(
        self, lease: Lease, ending: str, detail: str = "", *, is_fault: bool = False
    ) -> None:
        """It has ended without a result, and how; who says it first knows best."""
        self.decisions.ended(lease.id, ending, self.now, detail)
        if self.watch is not None:
            self.watch.unleased(lease, ending, is_fault=is_fault)
        if self.tally is not None:
            self.tally.lease_ended(lease, ending, is_fault=is_fault)

    def proved_toolchain(self, user: str, digest: Digest) -> None:
        """A compiler in it has run for this key: the next broker is to know, too."""
        if self.holdings.prove_toolchain(user, digest):
            self.emit(NoteToolchain(digest, user))

    def take_effects(self) -> list[Effect]:
        effects, self._out = self._out, []
        return effects

    def open_request(self, session: Session, ticket: int, key: Digest) -> None:
        """This session waits for the execution of this name."""
        session.tickets[ticket] = key
        self.requests[session.user] += 1
        self.requests_of[session.user, key] += 1

    def close_request(self, session: Session, ticket: int) -> Digest | None:
        """It waits no more; for what it did."""
        key = session.tickets.pop(ticket, None)
        if key is not None:
            self.requests[session.user] -= 1
            if not self.requests[session.user]:
                del self.requests[session.user]
            self.requests_of[session.user, key] -= 1
            if not self.requests_of[session.user, key]:
                del self.requests_of[session.user, key]
        return key

    def node_at(self, origin: Origin) -> Node | None:
        session = self.sessions.find(origin)
        return self.nodes.get(session.id) if session is not None else None

    def leased(self, origin: Origin, lease_id: bytes) -> Execution | None:
        """What this node holds under this lease."""
        node = self.node_at(origin)
        lease = node.leases.get(lease_id) if node is not None else None
        return self.executions[lease.key] if lease is not None else None

    def add(self, execution: Execution, *, at_front: bool = False) -> None:
        """Take in an execution, as queued; `at_front` where it has waited for its turn already."""
        self.executions[execution.key] = execution
        self.by_prefix[lease_prefix(execution.key)] = execution
        self._count(execution, self.total, +1)
        self._count(execution, self.tallies.setdefault(execution.lane.user, UserLoad()), +1)
        self.backlog_cost_s += execution.cost_s
        self.pace.added(execution)
        _push(self.queue, execution, at_front=at_front)
        self.is_dirty = True

    def remove(self, execution: Execution) -> None:
        """Forget an execution, whatever its phase; its lease must have been ended."""
        assert execution.lease is None
        assert execution.hedge is None
        if self.watch is not None:
            self.watch.removed(execution)
        self._leave_phase(execution)
        if execution.phase not in LEASED:
            self.backlog_cost_s -= execution.cost_s
        self.pace.removed(execution)
        del self.executions[execution.key]
        self.by_prefix.pop(lease_prefix(execution.key), None)
        self.given_up(execution)
        self._count(execution, self.total, -1)
        self._uncount(execution)
        self.is_dirty = True

    def join(
        self,
        execution: Execution,
        session: Session,
        waiter: Waiter,
        lane: Lane,
        nice: int,
        expected: Expectation,
    ) -> None:
        """One more request for it: it waits in this lane, too, and is there what its key expects. Not in a
        publisher's: that could lead it to nodes that others have not asked for."""
        if session.is_own:
            lane, nice = execution.lane, execution.nice
        has_moved = execution.join(waiter, lane, nice, expected)
        if has_moved and execution.lease is not None:
            self.patience.joined(execution.lease, execution, execution.claims[lane.user], self.now)
        queue = self._queue_of(execution)
        if queue is not None and has_moved:
            queue.remove_from(execution.key, lane.user)
            queue.push_too(execution.key, lane, expected.cost_s)
            self.is_dirty = True

    def leave(self, execution: Execution, session: Session, ticket: int) -> None:
        """This request is over, and others wait for it or it is to be removed."""
        before = set(execution.claims)
        execution.leave(session.id, ticket)
        queue = self._queue_of(execution)
        if queue is None or not execution.claims:
            return
        for user in before - execution.claims.keys():
            self._serve_a_claim(execution)
            queue.remove_from(execution.key, user)
            self.is_dirty = True

    def serve(self, execution: Execution, user: str) -> None:
        """It is this key's turn, of those that wait for it: it is charged to them, and taken to be what they
        expect. Not while it waits for what it lacks."""
        claim = execution.claims[user]
        if execution.lane == claim.lane:
            return
        phase, lane = execution.phase, execution.lane
        self.pace.removed(execution)
        self._uncount(execution)
        if phase in GRANTED:
            self._grant(lane, -1)
            self._grant(claim.lane, +1)
        if phase not in LEASED:
            self.backlog_cost_s += claim.expected.cost_s - execution.cost_s
        self._turn_to(execution, claim)
        self._count(execution, self.tallies.setdefault(user, UserLoad()), +1)
        self.pace.added(execution)

    def seen_by(self, execution: Execution, user: str) -> Execution:
        """What it is if it is served as this key's: to be looked at."""
        claim = execution.claims.get(user)
        if claim is None or claim.lane == execution.lane:
            return execution
        seen = copy.copy(execution)
        self._turn_to(seen, claim)
        return seen

    def _turn_to(self, execution: Execution, claim: Claim) -> None:
        execution.lane, execution.nice = claim.lane, claim.nice
        execution.expect(claim.expected)
        self.weigh(execution, self.now)

    def weigh(self, execution: Execution, now: float) -> None:
        """Settle what memory it is given, by what nodes have said of it and which of them are here."""
        lane = execution.lane

        def reach(key: str) -> float | None:
            avoid = {*execution.lost_by, (key, EVERY)}
            return self.most_bytes(lane.user, lane.machine_class, execution.toolchain, avoid, now)

        word = believed(execution.words, reach)
        execution.least_bytes = word.least_bytes if word is not None else 0
        execution.memory_bytes = word.peak_bytes if word is not None else execution.usual_bytes

    def _serve_a_claim(self, execution: Execution) -> None:
        """Whoever has given it up is not charged for it."""
        if execution.claims and execution.lane.user not in execution.claims:
            self.serve(execution, next(iter(execution.claims)))

    def _queue_of(self, execution: Execution) -> Queue | None:
        """Where it waits for its turn."""
        if execution.phase is Phase.QUEUED:
            return self.queue
        return self.ready if execution.phase is Phase.READY else None

    def _count(self, execution: Execution, tally: UserLoad, sign: int) -> None:
        tally.jobs += sign
        tally.size_bytes += sign * execution.size_bytes

    def _uncount(self, execution: Execution) -> None:
        user = execution.lane.user
        self._count(execution, self.tallies[user], -1)
        if not self.tallies[user].jobs:
            del self.tallies[user]

    def _grant(self, lane: Lane, count: int) -> None:
        place = (lane.user, lane.machine_class)
        self.granted[place] += count
        if not self.granted[place]:
            del self.granted[place]

    def set_phase(self, execution: Execution, phase: Phase, *, at_front: bool = False) -> None:
        """Move an execution on; `at_front` for one that is given back to the queue."""
        self._leave_phase(execution)
        before = execution.phase
        was_leased, is_leased = before in LEASED, phase in LEASED
        self.backlog_cost_s += execution.cost_s * (was_leased - is_leased)
        execution.phase = phase
        if phase in GRANTED:
            self._grant(execution.lane, +1)
        if (queue := self._queue_of(execution)) is not None:
            self._serve_a_claim(execution)
            _push(queue, execution, at_front=at_front)
        # Started is no news for placement: it changes neither a slot nor the queue.
        self.is_dirty |= phase is not Phase.STARTED
        if self.watch is not None:
            self.watch.phase_changed(execution, before)

    def _leave_phase(self, execution: Execution) -> None:
        if execution.phase in GRANTED:
            self._grant(execution.lane, -1)
        if (queue := self._queue_of(execution)) is not None:
            queue.remove(execution.key)

    def charge(self, execution: Execution, queue: Queue, line: Line) -> None:
        """It has its turn in this line, which is charged what is expected."""
        self.serve(execution, line.lane.user)
        execution.turns.append(queue.charge(line, execution.cost_s, execution.weight))

    def served(self, execution: Execution, cost_s: float) -> None:
        """It has cost so much: whoever was charged what was expected is owed the rest, or owes it."""
        cost_s = min(max(0.0, cost_s), MAX_COST_S)
        for turn in execution.turns:
            turn.settle(cost_s)
        execution.turns.clear()

    def given_up(self, execution: Execution, held_cost_s: float = 0.0) -> None:
        """It has no result: what was charged for it stands, or what it held meanwhile if that is more."""
        for turn in execution.turns:
            turn.settle(max(turn.cost_s, min(held_cost_s, MAX_COST_S)))
        execution.turns.clear()

    def sources_of(self, execution: Execution) -> list[Session]:
        """The agents that can supply this execution's inputs, first submitter first."""
        found = {session: self.sessions.get(session) for session, _ in execution.waiters}
        return [session for session in found.values() if session is not None]

    def most_bytes(
        self,
        user: str,
        machine_class: bytes,
        toolchain: Digest,
        avoid: Collection[Identity],
        now: float,
    ) -> float | None:
        """The most memory that one job may ever have, on the nodes that may run such a one; None: nobody knows
        yet, since nodes are still to come back."""
        if now < self.started_at + STARTUP_GRACE_S:
            return None
        return max(
            (
                node.most_bytes
                for node in self.nodes
                if node.takes(user, machine_class, now, toolchain)
                and not is_avoided(avoid, node.identity)
            ),
            default=None,
        )

    def is_servable(
        self,
        user: str,
        machine_class: bytes,
        toolchain: Digest,
        avoid: frozenset[Identity] | set[Identity],
        now: float,
    ) -> bool:
        """Whether some node may run such a job of this user's, now or when it has a free slot."""
        if now < self.started_at + STARTUP_GRACE_S:
            return True
        return any(
            node.is_usable(now)
            and node.takes(user, machine_class, now, toolchain)
            and not is_avoided(avoid, node.identity)
            for node in self.nodes
        )

    def may_adopt(self, execution: Execution, node: Node) -> bool:
        """Whether this node may say that it runs the job already. A lease may fetch all that its job names, so
        nobody has one who could not be handed out: what its submitter has not shown to hold, or what no holder
        has named as a toolchain, is not read out so. Whoever names the lease of a rerun chooses the judge of a
        result, and we have handed out every rerun ourselves. A node that owes a proof is given none."""
        return (
            not (execution.is_private or execution.is_rerun)
            and node.record.standing.is_trusted
            and self.holdings.is_toolchain(execution.toolchain)
            and node.serves(execution.lane.user, b"")
            and not execution.avoids(node.identity)
        )

    def can_ask_another(self, execution: Execution, key: str, now: float) -> bool:
        """Whether a node of another key than this may run the job, now or when it has a free slot."""
        lane = execution.lane
        return any(
            node.session.user != key
            and node.is_usable(now)
            and node.takes(lane.user, lane.machine_class, now, execution.toolchain)
            and execution.least_bytes <= node.most_bytes
            and not is_avoided(execution.lost_by, node.identity)
            for node in self.nodes
        )


def _push(queue: Queue, execution: Execution, *, at_front: bool) -> None:
    """It waits in a lane of each key that wants it."""
    first, *others = execution.claims.values()
    queue.push(execution.key, first.lane, first.expected.cost_s, at_front=at_front)
    for claim in others:
        queue.push_too(execution.key, claim.lane, claim.expected.cost_s, at_front=at_front)
