"""A job's way through the broker: its execution, who waits for it, its lease. Pure data.

    QUEUED -> CHECKING -> READY -> ASSIGNED -> STARTED -> (finished)
                |   \\-> FETCHING -^       (inputs are on their way from an agent)
                \\-----> PARKED -> QUEUED  (the toolchain is)
    ASSIGNED, STARTED -> QUEUED            (the lease was lost)

One execution a key at a time, however many agents wait for it. One that takes too long may be given to a
second node beside (`broker/scheduling/stragglers.py`): that lease is its hedge, and the phase is the other
lease's.

A job of which its submitter has not shown all inputs (`broker/core/holdings.py`) is private: it has a name of
its own in the books, and knows nothing of what others run and hold. It waits for its turn and asks its
submitter for those inputs like any other; when they are here it becomes the execution of its key, or joins it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from broker.core.limits import TOOLCHAIN_BYTES
from broker.scheduling.model import CostClass, Expectation, Identity, Known
from broker.scheduling.needs import MemoryClaim
from broker.scheduling.queue import Lane, Turn
from cache.digest import Digest, digest_of

if TYPE_CHECKING:
    from broker.core.sessions import Session
    from zcc.subject import Subject

# A lease begins with so many bytes of the job's key, so that after a restart of the broker a lease that
# a node still holds is matched with a job that an agent submits again, from nothing but the two.
LEASE_KEY_BYTES = 12
LEASE_RANDOM_BYTES = 4
# An input in the books of a queued job: a reference in its tuple, and its part of the sets of what is
# missing.
INPUT_BYTES = 48


# In a set of nodes to be avoided: every node of the key, under whatever name it comes. No node is called so.
EVERY = "\0every"

# A step of niceness is a quarter more, or less: as the kernel's scheduler has it (sched_prio_to_weight).
NICE_STEP = 1.25
# Whom a rerun is for, in a session's place: the broker itself (broker/trust/reruns.py).
AUDITOR = b""


class Phase(Enum):
    QUEUED = "queued"
    CHECKING = "checking"
    PARKED = "parked"
    FETCHING = "fetching"
    READY = "ready"
    ASSIGNED = "assigned"
    STARTED = "started"


LEASED = frozenset((Phase.ASSIGNED, Phase.STARTED))
GRANTED = frozenset((Phase.CHECKING, Phase.FETCHING, Phase.READY))


@dataclass(frozen=True, slots=True)
class Waiter:
    """An agent's request for an execution. `session` is the session's id, `since` when it came, `claimant`
    the key whose turn it waits for. `agent` is the session itself, also when it is over, and `subject` what it
    calls the job: for who watches."""

    session: bytes
    ticket: int
    since: float
    shared: bool
    claimant: str = ""
    agent: Session | None = field(default=None, compare=False, repr=False)
    subject: Subject | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Claim:
    """What one key's requests for an execution have in common: it waits in this lane of the key's, so nice, and
    is there what that key expects of it. At `limit_at` it has waited too long for a run, whoever's turn has
    begun it."""

    lane: Lane
    expected: Expectation
    nice: int = 0
    requests: int = 0
    limit_at: float = math.inf


@dataclass(slots=True)
class Lease:
    """A job in the hands of a node. `node` is its session's id, `node_key` its key, `payer` the key whose turn
    it was; `expected_end` an estimate.

    `power` is how many seconds of cost its slot does in a second; `counted_end` what
    `broker/scheduling/pace.py` counts with.

    `memory_bytes` are reserved for it there, as much as so many `slots` have. `slot_at` is when one of the
    node's slots was idle for it; None while it waits behind others. `began_at` is when the node said that it
    runs; None before.
    `since` is its last step on the way: assigned, begun, outputs announced. From `straggles_at` on it takes
    unusually long, at `limit_at` it is taken away. At `claims_at` some key has waited too long for it.

    `had_to_fetch`: the node was not known to have its toolchain. It `measures` the node's line: it is the first
    that runs on what has come. `is_adopted`: the node says that it holds it,
    and no broker since our start handed it out. `number` is its name for who watches; 0: it has none.
    `ending` is how it has ended without a result, where that is counted.
    """

    id: bytes
    key: Digest
    node: bytes
    node_key: str
    payer: str
    assigned_at: float
    expected_end: float
    may_fetch: frozenset[Digest]
    power: float
    counted_end: float = 0.0
    is_adopted: bool = False
    had_to_fetch: bool = False
    measures: bool = False
    memory_bytes: int = 0
    slots: float = 1.0
    slot_at: float | None = None
    began_at: float | None = None
    since: float = 0.0
    straggles_at: float = math.inf
    limit_at: float = math.inf
    claims_at: float = math.inf
    has_announced: bool = False
    number: int = 0
    ending: str = ""

    def held_s(self, now: float) -> float:
        """How long it has had its slots, idle or not."""
        return max(0.0, now - self.slot_at) if self.slot_at is not None else 0.0


class Ending(Enum):
    """How a job that had failed somewhere ended. `RAN_AT_HOME`: on a node of the key that submitted it."""

    RAN_ELSEWHERE = "ran-elsewhere"
    RAN_AT_HOME = "ran-at-home"
    JOB_AT_FAULT = "job-at-fault"
    CALLED_WRONG = "called-wrong"
    UNTOLD = "untold"


@dataclass(slots=True, eq=False)
class Suspicion:
    """One failure of a node: of one lease, or of all that it held when it was lost.

    `keys` are whose jobs they were, so many `leases`. `jobs` of them have not ended yet, the others as
    `endings` say.
    `unanswered_s`: it did not answer in this time; 0 where it failed in another way. `shown_by` is the key of
    the node by whose word alone it failed at all; empty where it has said so itself, or was lost.
    """

    node: Identity
    unanswered_s: float = 0.0
    shown_by: str = ""
    keys: set[str] = field(default_factory=set)
    jobs: int = 0
    leases: int = 0
    endings: set[Ending] = field(default_factory=set)

    def note(self, execution: Execution) -> None:
        """This job was lost by it."""
        self.keys.add(execution.lane.user)
        self.jobs += 1
        self.leases += 1
        execution.suspicions.append(self)


@dataclass(slots=True)
class Execution:
    """`key` is its name in the books, `job` the job's key: another only while the execution is private, and for
    a rerun that nobody else is to wait for. It waits in a lane of each key that has submitted it, as
    the `claims` say, and is charged to that whose turn comes first: its `lane`, the first submitter's before.
    `is_new`: what is remembered is no answer. `toolchain_bytes` are what a node that lacks it is sent.

    `later` is to be asked for when what is `missing` is here.
    `missing` is what must arrive before it can go on; `avoid` are nodes that lost it, of them `left_by`
    let it go for nobody's fault and are avoided while others may run it. `suspicions` are those failures that
    a verdict of another node's would tell on them. `complaints` are of nodes that could not use
    its inputs since the store last lacked one; while it `is_doubted` they are re-read. `called_wrong`: what a
    node says is wrong with it. `most_outputs` is how many blobs a node may push for it, `declared` what it may
    write.
    `is_known`: what it costs was seen before. `hedges` is how often it was given to a second node,
    `overruns` how often it was taken away from one that did not answer in time.
    `client` is set for a rerun: whose job it was, so that no node can tell it from one. `is_trial`: it is
    put to a node that owes a proof. `fault` is what became of it on a node that gave no result. `known` is
    what it is known by, where its agent has said so. `memory_bytes` is what is reserved for it on a node,
    `least_bytes` what it is known not to do without, by what is believed of the `words` of nodes, else by
    `usual_bytes`; `stops` how often it was stopped for want of memory, and `told` what was said then.
    `turns` have been charged and are not settled. `unheard` are avoided until others have said what it
    needs. `nice` is its agent's word. For who watches it has a `number`, and has waited `sent_s` for what it
    lacked, last since `sending_at`.
    """

    key: Digest
    job: Digest
    toolchain: Digest
    inputs: tuple[Digest, ...]
    lane: Lane
    body: bytes
    cost_class: CostClass
    cost_s: float
    cost_scale: float
    toolchain_bytes: int = TOOLCHAIN_BYTES
    is_new: bool = True
    phase: Phase = Phase.QUEUED
    ready_at: float = 0.0
    missing: set[Digest] = field(default_factory=set)
    later: list[Digest] = field(default_factory=list)
    waiters: dict[tuple[bytes, int], Waiter] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    avoid: set[Identity] = field(default_factory=set)
    left_by: set[Identity] = field(default_factory=set)
    losses: int = 0
    complaints: list[Suspicion] = field(default_factory=list)
    is_doubted: bool = False
    called_wrong: str = ""
    suspicions: list[Suspicion] = field(default_factory=list)
    lease: Lease | None = None
    hedge: Lease | None = None
    is_known: bool = True
    hedges: int = 0
    overruns: int = 0
    most_outputs: int = 1
    declared: bytes = b""
    client: str = ""
    is_trial: bool = False
    fault: str = ""
    known: Known | None = None
    memory_bytes: int = 0
    least_bytes: int = 0
    usual_bytes: int = 0
    words: tuple[MemoryClaim, ...] = ()
    told: dict[str, MemoryClaim] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    unheard: set[Identity] = field(default_factory=set)
    stops: int = 0
    nice: int = 0
    number: int = 0
    sending_at: float = 0.0
    sent_s: float = 0.0

    @property
    def weight(self) -> float:
        """How many times the seconds of an ordinary job its build is given, among its user's."""
        return NICE_STEP**-self.nice

    @property
    def is_rerun(self) -> bool:
        return (AUDITOR, 0) in self.waiters

    @property
    def expected(self) -> Expectation:
        """What its payer expects."""
        return Expectation(
            self.cost_class,
            self.cost_scale,
            self.cost_s,
            self.usual_bytes,
            self.words,
            self.is_known,
            self.known,
        )

    def expect(self, expected: Expectation) -> None:
        """It is taken to be this from now on, but for what nodes that had it have said."""
        self.cost_class, self.cost_scale = expected.job, expected.scale
        self.cost_s, self.is_known = expected.cost_s, expected.is_known
        self.usual_bytes, self.known = expected.usual_bytes, expected.known
        words = {each.by: each for each in expected.words} | self.told
        self.words = tuple(words.values())

    def join(
        self,
        waiter: Waiter,
        lane: Lane | None = None,
        nice: int = 0,
        expected: Expectation | None = None,
    ) -> bool:
        """Somebody waits for it, from now on; in this lane, where it is not the execution's own. Of a key's
        lanes it is the one that is least nice. Whether that lane is new."""
        if lane is None:
            lane, nice = self.lane, self.nice
        claim = self.claims.get(lane.user)
        requests = claim.requests if claim is not None else 0
        has_moved = claim is None or nice < claim.nice
        if claim is None or nice < claim.nice:
            claim = Claim(lane, expected or self.expected, nice, requests)
            self.claims[lane.user] = claim
        claim.requests += (waiter.session, waiter.ticket) not in self.waiters
        if waiter.claimant != lane.user:
            waiter = replace(waiter, claimant=lane.user)
        self.waiters[waiter.session, waiter.ticket] = waiter
        return has_moved

    def leave(self, session: bytes, ticket: int) -> None:
        """This request is over."""
        waiter = self.waiters.pop((session, ticket), None)
        if waiter is None:
            return
        claim = self.claims[waiter.claimant]
        claim.requests -= 1
        if not claim.requests:
            del self.claims[waiter.claimant]

    def again(self, waiters: Sequence[Waiter], avoid: Identity) -> Execution:
        """The same job for these of those who have waited for it, as if they had just come: on no such node,
        nor on one that has lost it."""
        first = self.claims[waiters[0].claimant]
        expected = first.expected
        lost_by = set() if self.client else self.lost_by  # a rerun's are the audit's choice
        execution = Execution(
            key=self.key,
            job=self.job,
            toolchain=self.toolchain,
            inputs=self.inputs,
            lane=first.lane,
            body=self.body,
            cost_class=expected.job,
            cost_s=expected.cost_s,
            cost_scale=expected.scale,
            avoid={avoid, *lost_by},
            most_outputs=self.most_outputs,
            declared=self.declared,
            nice=first.nice,
            told=dict(self.told),
        )
        execution.expect(expected)
        for waiter in waiters:
            claim = self.claims[waiter.claimant]
            execution.join(waiter, claim.lane, claim.nice, claim.expected)
        return execution

    @property
    def lost_by(self) -> set[Identity]:
        """Those that it is to avoid whoever else there is."""
        return self.avoid - self.left_by

    def avoids(self, node: Identity) -> bool:
        return is_avoided(self.avoid, node)

    @property
    def is_private(self) -> bool:
        return self.key != self.job and not self.client

    @property
    def size_bytes(self) -> int:
        return size_of(self.body, self.inputs)


def is_avoided(avoid: Container[Identity], node: Identity) -> bool:
    """Whether this node is among them, by itself or as one of a key's."""
    return node in avoid or (node[0], EVERY) in avoid


def size_of(body: bytes, inputs: tuple[Digest, ...]) -> int:
    """About what a job takes in our memory."""
    return len(body) + INPUT_BYTES * len(inputs)


def private_key(job: Digest, user: str) -> Digest:
    """The name of a job of which this key has not shown all inputs."""
    return digest_of(job + user.encode())


def new_lease_id(key: Digest, rng: Random, taken: Container[bytes]) -> bytes:
    """A name for a lease of this job that no other has."""
    while True:
        lease = lease_prefix(key) + rng.randbytes(LEASE_RANDOM_BYTES)
        if lease not in taken:
            return lease


def lease_prefix(key: Digest) -> bytes:
    return key[:LEASE_KEY_BYTES]
