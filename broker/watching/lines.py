"""Who waits, in order of service, and why, and how much there is: a look at the farm for who watches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from broker.core.jobs import Execution, Phase
from broker.scheduling.queue import Lane, Line
from zcc.events import MAX_ROWS, Row
from zcc.messages import PeerRole

if TYPE_CHECKING:
    from broker.core.farm import Farm

Waits = Counter[tuple[str, str, bytes, Phase]]
QueueRowFields = tuple[int, int, int, int, int, int, int, str]


def queue_rows(
    farm: Farm, waits_for: Waits, whose: Callable[[Execution], tuple[int, int]]
) -> tuple[tuple[QueueRowFields, ...], int]:
    """A row for each build of which jobs wait, as QueueRow has it, and how many jobs are in none of them.

    `waits_for` counts the jobs that wait for what they lack, by lane and phase. A job that several keys wait
    for is in a row of each.
    """
    if not (waits_for or farm.queue or farm.ready):
        return (), 0
    ready = {line.lane: line for line in islice(farm.ready.by_turns(), MAX_ROWS)}
    queued = {line.lane: line for line in islice(farm.queue.by_turns(), MAX_ROWS)}
    rest = (Lane(*place[:3]) for place in waits_for)
    lanes = list(dict.fromkeys([*ready, *queued, *rest]))[:MAX_ROWS]
    rows = tuple(
        _row(farm, lane, ready.get(lane), queued.get(lane), waits_for, whose) for lane in lanes
    )
    waiting = len(farm.queue) + len(farm.ready) + sum(waits_for.values())
    return rows, max(0, waiting - sum(sum(row[2:6]) for row in rows))


def _row(
    farm: Farm,
    lane: Lane,
    ready: Line | None,
    queued: Line | None,
    waits_for: Waits,
    whose: Callable[[Execution], tuple[int, int]],
) -> QueueRowFields:
    sending, parked = waits_for[*lane, Phase.FETCHING], waits_for[*lane, Phase.PARKED]
    line = ready or queued
    first = farm.executions.get(line.oldest()) if line is not None else None
    member = build = oldest_ms = 0
    if first is not None:
        member, build = whose(first)
        since = min((each.since for each in first.waiters.values()), default=farm.now)
        oldest_ms = max(0, int((farm.now - since) * 1000))
    ready_jobs, queued_jobs = len(ready or ()), len(queued or ())
    why = _why(farm, lane, ready=ready_jobs, sending=sending, parked=parked)
    return member, build, queued_jobs, sending, parked, ready_jobs, oldest_ms, why


def _why(farm: Farm, lane: Lane, *, ready: int, sending: int, parked: int) -> str:
    """What the next job of a lane waits for."""
    slots, idle = farm.seats.slots(lane.user, lane.machine_class)
    if slots <= 0:
        return "no-node-fits"
    if ready:
        return "waits-for-faster" if idle > 0 else "all-busy"
    if sending:
        return "inputs"
    if parked:
        return "toolchain"
    return "others-first" if idle > 0 else "all-busy"


def pulse_row(farm: Farm, at_ms: int, watchers: int, store: tuple[int, int, int]) -> Row:
    """How much waits and runs, and who is here."""
    running = len(farm.leases) - len(farm.hedged)
    slots = sum(node.slots for node in farm.nodes) if len(farm.nodes) < 1000 else 0
    if not slots:
        slots, _ = farm.seats.slots("", b"")
    agents = sum(1 for each in farm.sessions if each.role is PeerRole.CLIENT)
    counts = agents, len(farm.nodes), watchers
    waiting = max(0, farm.total.jobs - running)
    return "pulse", at_ms, waiting, running, slots, *counts, *store
