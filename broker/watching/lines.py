"""Who waits, in order of service, and why: a look at the queue for who watches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from broker.core.jobs import Execution, Phase
from broker.scheduling.queue import Lane, Line
from zcc.events import MAX_ROWS

if TYPE_CHECKING:
    from broker.core.farm import Farm

Waits = Counter[tuple[str, str, bytes, Phase]]
QueueRowFields = tuple[int, int, int, int, int, int, int, str]


def queue_rows(
    farm: Farm, waits_for: Waits, whose: Callable[[Execution], tuple[int, int]]
) -> tuple[tuple[QueueRowFields, ...], int]:
    """A row for each build of which jobs wait, as QueueRow has it, and how many jobs are in none of them.

    `waits_for` counts the jobs of each lane by what they wait for.
    """
    if not waits_for:
        return (), 0
    lines: dict[Lane, Line] = {}
    for line in chain(farm.ready.by_turns(), farm.queue.by_turns()):
        lines.setdefault(line.lane, line)
        if len(lines) == MAX_ROWS:
            break
    rest = [Lane(*place[:3]) for place in waits_for]
    lanes = list(dict.fromkeys([*lines, *rest]))[:MAX_ROWS]
    rows = tuple(_row(farm, lane, lines.get(lane), waits_for, whose) for lane in lanes)
    return rows, max(0, sum(waits_for.values()) - sum(sum(row[2:6]) for row in rows))


def _row(
    farm: Farm,
    lane: Lane,
    line: Line | None,
    waits_for: Waits,
    whose: Callable[[Execution], tuple[int, int]],
) -> QueueRowFields:
    queued = waits_for[*lane, Phase.QUEUED] + waits_for[*lane, Phase.CHECKING]
    sending, parked = waits_for[*lane, Phase.FETCHING], waits_for[*lane, Phase.PARKED]
    ready = waits_for[*lane, Phase.READY]
    first = farm.executions.get(line.oldest()) if line is not None else None
    member = build = oldest_ms = 0
    if first is not None:
        member, build = whose(first)
        since = min((each.since for each in first.waiters.values()), default=farm.now)
        oldest_ms = max(0, int((farm.now - since) * 1000))
    why = _why(farm, lane, ready=ready, sending=sending, parked=parked)
    return member, build, queued, sending, parked, ready, oldest_ms, why


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
