"""A state's present in events again: what a recording begins each of its files with. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from zcc.events import FarmEvent, JobJoined, JobSending, RunStarted
from zcc.watching.state import FarmState
from zcc.watching.views import JobView, RequestView, RunView


def present_events(state: FarmState) -> Iterator[FarmEvent]:
    """Events that make this present of an empty state, as a snapshot's do; nothing where nothing is known
    yet.
    """
    if state.farm is None:
        return
    began_s = state.farm.began_s
    yield replace(state.farm, at_ms=max(0, int((state.now_s - began_s) * 1000)))
    yield from state.members.values()
    yield from state.toolchains.values()
    for number, build in state.builds.items():
        yield replace(build.shown, build=number)
    for node in state.nodes.values():
        yield node.shown
    numbers = _Numbers(state)
    for job in state.jobs.values():
        yield from _events_of(job, numbers, began_s)
    yield from state.shipping.values()
    if state.queue is not None:
        yield state.queue
    if state.pulse is not None:
        yield state.pulse


class _Numbers:
    """Of a request: its member's and its build's, which have others in each feed."""

    def __init__(self, state: FarmState) -> None:
        self._builds = {id(each): number for number, each in state.builds.items()}

    def of(self, request: RequestView) -> tuple[int, int]:
        return request.member_number, self._builds.get(id(request.build), 0)


def _events_of(job: JobView, numbers: _Numbers, began_s: float) -> Iterator[FarmEvent]:
    first, *others = job.requests or [RequestView(None, None, "")]
    member, build = numbers.of(first)
    yield replace(job.queued, member=member, build=build)
    for request in others:
        yield JobJoined(job.queued.at_ms, job.number, *numbers.of(request), request.file)
    if job.sending:
        at_ms = max(0, round((job.sending_s - began_s) * 1000))
        yield JobSending(at_ms, job.number, job.sending, job.missing)
    for run in job.runs:
        if not run.ending:
            yield from _events_of_run(run, began_s)


def _events_of_run(run: RunView, began_s: float) -> Iterator[FarmEvent]:
    yield run.leased
    if run.started_s is not None:
        at_ms = max(0, round((run.started_s - began_s) * 1000))
        yield RunStarted(at_ms, run.job.number, run.leased.lease)
