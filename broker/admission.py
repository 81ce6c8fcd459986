"""What a job is in the books when it comes. Pure."""

from __future__ import annotations

from dataclasses import replace

from broker.events import JobSubmitted
from broker.farm import Farm
from broker.jobs import Execution
from broker.limits import MAX_BUILD_NAME, RESERVE_SHARE
from broker.model import Known
from broker.queue import Lane
from broker.sessions import Session
from cache.digest import Digest


def new_execution(farm: Farm, session: Session, event: JobSubmitted, key: Digest) -> Execution:
    """An execution for this first submitter, under this name; with what it is expected to take."""
    known = None
    if event.traits is not None:
        known = Known(session.user, event.toolchain, event.traits)
    expected = farm.model.expect(event.toolchain, event.cost_hint_s, len(event.inputs), known)
    return Execution(
        key=key,
        job=event.key,
        toolchain=event.toolchain,
        inputs=event.inputs,
        lane=Lane(session.user, event.build[:MAX_BUILD_NAME], event.machine_class),
        body=event.body,
        cost_class=expected.job,
        cost_s=expected.cost_s,
        cost_scale=expected.scale,
        known=known,
        memory_bytes=int(RESERVE_SHARE * expected.usual_bytes),
        usual_bytes=int(RESERVE_SHARE * expected.usual_bytes),
        words=tuple(
            replace(each, peak_bytes=int(RESERVE_SHARE * each.peak_bytes))
            for each in expected.words
        ),
        nice=event.nice,
        is_new=event.is_fresh or key == event.key,
        is_known=expected.is_known,
        most_outputs=event.most_outputs,
    )
