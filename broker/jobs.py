"""A job's way through the broker: its execution, who waits for it, its lease. Pure data.

    QUEUED -> CHECKING -> READY -> ASSIGNED -> STARTED -> (finished)
                |   \\-> FETCHING -^       (inputs are on their way from an agent)
                \\-----> PARKED -> QUEUED  (the toolchain is)
    ASSIGNED, STARTED -> QUEUED            (the lease was lost)

One execution a key at a time, however many agents wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from broker.model import CostClass, Identity
from broker.queue import Lane
from cache.digest import Digest

# A lease begins with so many bytes of the job's key, so that after a restart of the broker a lease that
# a node still holds is matched with a job that an agent submits again, from nothing but the two.
LEASE_KEY_BYTES = 12
LEASE_RANDOM_BYTES = 4


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
    """An agent's request for an execution. `session` is the session's id, `since` when it came."""

    session: bytes
    ticket: int
    since: float
    shared: bool


@dataclass(slots=True)
class Lease:
    """A job in the hands of a node. `node` is its session's id; `expected_end` an estimate.

    `is_adopted`: the node says that it holds it, and no broker since our start handed it out.
    """

    id: bytes
    key: Digest
    node: bytes
    assigned_at: float
    expected_end: float
    may_fetch: frozenset[Digest]
    is_adopted: bool = False


@dataclass(slots=True, eq=False)
class Suspicion:
    """One failure of a node. `jobs` of it have not ended yet; `users` are whose jobs nobody else ran."""

    node: Identity
    jobs: int = 0
    has_run_elsewhere: bool = False
    is_jobs_fault: bool = False
    users: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Execution:
    """`user` and `build` are those of the first submitter: fairness is counted to them.

    `missing` is what must arrive before it can go on; `avoid` are nodes that lost it, `suspicions` those
    failures that a verdict of another node's would tell on them. `most_outputs` is how many blobs a node may
    push for it.
    """

    key: Digest
    toolchain: Digest
    inputs: tuple[Digest, ...]
    lane: Lane
    body: bytes
    cost_class: CostClass
    cost_s: float
    phase: Phase = Phase.QUEUED
    ready_at: float = 0.0
    missing: set[Digest] = field(default_factory=set)
    waiters: list[Waiter] = field(default_factory=list)
    avoid: set[Identity] = field(default_factory=set)
    losses: int = 0
    suspicions: list[Suspicion] = field(default_factory=list)
    lease: Lease | None = None
    most_outputs: int = 1


def lease_prefix(key: Digest) -> bytes:
    return key[:LEASE_KEY_BYTES]
