"""The farm as it is, in events that make it of an empty one: what a watcher begins with. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from broker.core.farm import Farm
from broker.core.jobs import Execution, Phase
from broker.watching.limits import MAX_SHOWN_JOBS
from broker.watching.recorder import Recorder
from zcc import __version__
from zcc.events import Row


def snapshot_rows(farm: Farm, recorder: Recorder, began_s: float) -> list[Row]:
    """All nodes, and as many jobs as a snapshot has, those that nodes have first. `began_s`: the Unix time of
    the broker's zero.

    To be made when all that was recorded before is in a batch: it is the state behind that.
    """
    at_ms = recorder.at_ms
    nodes = recorder.nodes.all_rows(at_ms)
    executions = list(farm.executions.values())
    leased = [each for each in executions if each.lease is not None]
    waiting = (each for each in executions if each.lease is None)
    jobs: list[Row] = []
    for execution in islice(chain(leased, waiting), MAX_SHOWN_JOBS):
        jobs += _rows_of(recorder, execution)
    # Last, since the others have introduced what they name.
    named = list(recorder.register.said.values())
    first: Row = ("farm", at_ms, farm.name, __version__, began_s)
    return [first, *named, *nodes, *jobs, recorder.pulse_row()]


def _rows_of(recorder: Recorder, execution: Execution) -> Iterator[Row]:
    waiters = iter(execution.waiters.values())
    first = next(waiters, None)
    if first is None:
        return  # it is being ended
    yield recorder.queued_row(execution, first, recorder.ms_at(first.since))
    for waiter in waiters:
        yield recorder.joined_row(execution, waiter, recorder.ms_at(waiter.since))
    if execution.phase in (Phase.FETCHING, Phase.PARKED):
        yield recorder.sending_row(execution, recorder.ms_at(execution.sending_at))
    for lease in (execution.lease, execution.hedge):
        if lease is not None:
            yield recorder.leased_row(execution, lease, recorder.ms_at(lease.assigned_at))
            if lease.began_at is not None:
                yield recorder.started_row(execution, lease, recorder.ms_at(lease.began_at))
