"""What happened on the farm, a sentence each: what `zcc top` lists as events. Pure.

A sentence is made before the state takes its event in: later the numbers may name others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zcc import events
from zcc.events import FarmEvent, FarmShown
from zcc.printable import printable
from zcc.watching.state import FarmState

MAX_LINES = 500
BAD, WARNING, NOTE = "bad", "warning", "note"


@dataclass(frozen=True, slots=True)
class EventLine:
    """`at_ms` is Unix time; `level` is bad, warning or note."""

    at_ms: int
    level: str
    text: str


class WatchedFarm:
    """A farm's state and the last lines of what happened there."""

    def __init__(self) -> None:
        self.state = FarmState()
        self.lines: deque[EventLine] = deque(maxlen=MAX_LINES)

    def take(self, batch: list[FarmEvent]) -> None:
        """A batch, or a snapshot, which begins with `farm`: that is the present, and nothing new."""
        is_present = bool(batch) and isinstance(batch[0], FarmShown)
        had_farm = self.state.farm is not None
        for event in batch:
            if not is_present:
                self._note(event)
            self.state.apply(event)
        if is_present and had_farm:
            at_ms = round(self.state.now_s * 1000)
            self.lines.append(EventLine(at_ms, NOTE, "the farm was told anew: a gap before this"))

    def _note(self, event: FarmEvent) -> None:
        teller = _TELLERS.get(type(event))
        told = teller(self.state, event) if teller is not None else None
        if told is not None:
            level, text = told
            at_ms = round(self.state.time_of(event) * 1000)
            self.lines.append(EventLine(at_ms, level, printable(text)))


_Told = tuple[str, str] | None


def _node(state: FarmState, event: events.NodeShown) -> _Told:
    known = state.nodes.get(event.node)
    because = f": {event.reason}" if event.reason else ""
    if known is None:
        return NOTE, f"node {event.name} came, {event.slots} of {event.all_slots} slots{because}"
    if known.shown.state != event.state:
        level = BAD if event.state == "quarantined" else NOTE
        return level, f"node {event.name} is {event.state}{because}"
    return None


def _node_left(state: FarmState, event: events.NodeLeft) -> _Told:
    known = state.nodes.get(event.node)
    name = known.shown.name if known is not None else "?"
    return NOTE if event.reason == "bye" else WARNING, f"node {name} left: {event.reason}"


def _suspended(state: FarmState, event: events.NodeSuspended) -> _Told:
    whose = f", for jobs of {_member(state, event.member)} alone" if event.member else ""
    minutes = max(1, round(event.for_ms / 60_000))
    return BAD, f"node {event.name} is in quarantine for {minutes} min{whose}"


def _build(state: FarmState, event: events.BuildShown) -> _Told:
    if event.build in state.builds:
        return None
    return NOTE, f"build {event.name or event.id} of {_member(state, event.member)} began"


def _lost(state: FarmState, event: events.LeaseLost) -> _Told:
    """Runs that are given back or taken back are many, and nothing is wrong with them."""
    if not event.is_fault:
        return None
    detail = f" ({event.detail})" if event.detail else ""
    return (
        WARNING,
        f"{_job(state, event.job, event.lease)} ended without a result: {event.why}{detail}",
    )


def _finished(state: FarmState, event: events.JobFinished) -> _Told:
    if event.outcome == "ok":
        return None
    if event.outcome == "failed":
        return NOTE, f"{_job(state, event.job, event.lease)} failed: exit status {event.status}"
    return WARNING, f"{_job(state, event.job, event.lease)}: {event.outcome}"


def _refused(state: FarmState, event: events.RequestRefused) -> _Told:
    what = event.file or f"a job of {_member(state, event.member)}"
    detail = f" ({event.detail})" if event.detail else ""
    return NOTE, f"{what} was not taken: {event.reason}{detail}"


def _joined(state: FarmState, event: events.MemberJoined) -> _Told:
    return NOTE, f"{event.name} joined as {event.role}"


def _turned_away(state: FarmState, event: events.PeerRefused) -> _Told:
    return WARNING, f"{event.name or event.id} was turned away: {event.reason}"


def _member(state: FarmState, number: int) -> str:
    known = state.members.get(number)
    return known.name if known is not None else "somebody"


def _job(state: FarmState, number: int, lease: int) -> str:
    """Its file, and where this lease of it is."""
    job = state.jobs.get(number)
    if job is None:
        return f"job {number}"
    run = next((run for run in job.runs if run.leased.lease == lease), None)
    where = f" on {run.node.shown.name}" if run is not None else ""
    return f"{job.file or f'job {number}'}{where}"


_TELLERS: dict[type[FarmEvent], Callable[[FarmState, Any], _Told]] = {
    events.NodeShown: _node,
    events.NodeLeft: _node_left,
    events.NodeSuspended: _suspended,
    events.BuildShown: _build,
    events.LeaseLost: _lost,
    events.JobFinished: _finished,
    events.RequestRefused: _refused,
    events.MemberJoined: _joined,
    events.PeerRefused: _turned_away,
}
