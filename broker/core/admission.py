"""Whether a request is taken in, and what its job is in the books when it comes. Pure."""

from __future__ import annotations

from dataclasses import replace

from broker.core.events import JobSubmitted
from broker.core.farm import Farm, UserLoad
from broker.core.jobs import Execution, size_of
from broker.core.limits import (
    MAX_BUILD_NAME,
    MAX_CLOSURE_BYTES,
    MAX_JOB_BYTES,
    MAX_JOB_BYTES_PER_USER,
    MAX_JOBS,
    MAX_JOBS_PER_USER,
    MAX_REQUESTS_OF_JOB,
    RESERVE_SHARE,
)
from broker.core.sessions import Session
from broker.scheduling.model import Expectation, Identity, Known
from broker.scheduling.queue import Lane
from cache.digest import Digest
from zcc.reasons import Reason

NO_NODES = Reason.NO_NODES
FARM_FULL = Reason.FARM_FULL
TOO_MANY = Reason.TOO_MANY_QUEUED
JOBS_FAIL = Reason.JOBS_FAILED


def reason_to_refuse(
    farm: Farm, session: Session, event: JobSubmitted, key: Digest, now: float
) -> str:
    """Why this request is not taken in; empty: it is. `key`: its job's name in the books."""
    user = session.user
    if farm.blame.is_refused(user, now):
        return JOBS_FAIL
    execution = farm.executions.get(key)
    if execution is None and (reason := _reason_against_new(farm, user, event)):
        return reason
    has_begun = execution is not None and execution.lease is not None
    none = frozenset[Identity]()
    if not has_begun and not farm.is_servable(
        user, event.machine_class, event.toolchain, none, now
    ):
        return NO_NODES
    if farm.requests_of[user, key] >= MAX_REQUESTS_OF_JOB:
        return TOO_MANY
    return TOO_MANY if farm.requests[user] >= MAX_JOBS_PER_USER else ""


def _reason_against_new(farm: Farm, user: str, event: JobSubmitted) -> str:
    tally, size = farm.tallies.get(user, UserLoad()), size_of(event.body, event.inputs)
    if farm.total.jobs >= MAX_JOBS or farm.total.size_bytes + size > MAX_JOB_BYTES:
        return FARM_FULL
    if tally.jobs >= MAX_JOBS_PER_USER or tally.size_bytes + size > MAX_JOB_BYTES_PER_USER:
        return TOO_MANY
    return ""


def lane_of(session: Session, event: JobSubmitted) -> Lane:
    """Where it waits for its turn."""
    return Lane(session.user, event.build[:MAX_BUILD_NAME], event.machine_class)


def expectation(farm: Farm, session: Session, event: JobSubmitted) -> Expectation:
    """What the job is expected to take, by what this key says and knows of it: it goes for this key alone."""
    known = None
    if event.traits is not None:
        closure_bytes = min(event.traits.closure_bytes, MAX_CLOSURE_BYTES)
        traits = replace(event.traits, closure_bytes=closure_bytes)
        known = Known(session.user, event.toolchain, traits)
    expected = farm.model.expect(event.toolchain, event.cost_hint_s, len(event.inputs), known)
    return replace(
        expected,
        usual_bytes=int(RESERVE_SHARE * expected.usual_bytes),
        words=tuple(
            replace(each, peak_bytes=int(RESERVE_SHARE * each.peak_bytes))
            for each in expected.words
        ),
    )


def new_execution(farm: Farm, session: Session, event: JobSubmitted, key: Digest) -> Execution:
    """An execution for this first submitter, under this name; with what it is expected to take."""
    expected = expectation(farm, session, event)
    return Execution(
        key=key,
        job=event.key,
        toolchain=event.toolchain,
        inputs=event.inputs,
        lane=lane_of(session, event),
        body=event.body,
        cost_class=expected.job,
        cost_s=expected.cost_s,
        cost_scale=expected.scale,
        known=expected.known,
        memory_bytes=expected.usual_bytes,
        usual_bytes=expected.usual_bytes,
        words=expected.words,
        nice=event.nice,
        is_new=event.is_fresh or key == event.key,
        is_known=expected.is_known,
        most_outputs=event.most_outputs,
        declared=event.declared,
    )
