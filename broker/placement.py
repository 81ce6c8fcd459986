"""Where a job goes, and why. Pure.

A job is placed (in mind) on the node where it finishes first; it is sent when that node can take it
now. Otherwise it waits rather than take a slow node, but never longer than the slow node would need.
Jobs that are considered later see the slots of those before them as taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heapreplace

from broker.limits import OVERRUN, TOOLCHAIN_FETCH_S
from broker.model import Identity, Model
from broker.nodes import Node
from cache.digest import Digest


@dataclass(frozen=True, slots=True)
class Need:
    """What placement must know of a job. `waited_s`: how long it could have been running."""

    toolchain: Digest
    machine_class: bytes
    cost_s: float
    avoid: frozenset[Identity] = frozenset()
    waited_s: float = 0.0
    user: str = ""


@dataclass(slots=True)
class Seat:
    """A node as placement sees it: when each of its slots will be free (a heap), and its room.

    `rate` is the wall time that it takes for one second of cost.
    """

    node: Node
    identity: Identity
    rate: float
    free_at: list[float]
    idle: int
    spare: int


@dataclass(frozen=True, slots=True)
class Choice:
    """`seat` is None when the job has to wait; `finish_at` is then where it would have gone."""

    seat: Seat | None
    finish_at: float
    reason: str


def seat_of(node: Node, now: float, model: Model) -> Seat:
    """This node's slots as expected from its leases.

    What is over its time, or was given out before our start, is taken to end soon.
    """
    identity = node.identity
    rate = model.wall_s(1.0, identity)
    soon = now + OVERRUN * rate
    expected = [lease.expected_end for lease in node.leases.values()]
    ends = sorted(end if end > now else soon for end in expected) + [soon] * len(node.orphans)
    free_at = ends[: node.slots] + [now] * (node.slots - len(ends))
    heapify(free_at)
    for _ in ends[node.slots :]:
        heapreplace(free_at, free_at[0] + rate)
    return Seat(node, identity, rate, free_at, node.idle_slots, node.spare)


def choose_node(need: Need, seats: Iterable[Seat], now: float, *, may_prefetch: bool) -> Choice:
    """The seat to take, already marked as taken, or None and why not."""
    best: tuple[float, float] | None = None
    best_seat: Seat | None = None
    idle: tuple[float, float] | None = None
    idle_seat: Seat | None = None
    for seat in seats:
        node = seat.node
        if (
            not node.takes(need.user, need.machine_class, now, need.toolchain)
            or seat.identity in need.avoid
        ):
            continue
        rank = (_finish_at(need, seat, now), -seat.idle / node.slots)
        if best is None or rank < best:
            best, best_seat = rank, seat
        if seat.idle and (idle is None or rank < idle):
            idle, idle_seat = rank, seat
    if best is None or best_seat is None:
        return Choice(None, now, "no-node-fits")
    if best_seat.idle:
        return _take(best_seat, best[0], "earliest-finish")
    if idle is not None and idle_seat is not None and need.waited_s > idle[0] - now:
        return _take(idle_seat, idle[0], "waited-enough")
    if may_prefetch and best_seat.spare:
        return _take(best_seat, best[0], "prefetch")
    heapreplace(best_seat.free_at, best[0])
    return Choice(None, best[0], "waits-for-faster" if idle is not None else "all-busy")


def _finish_at(need: Need, seat: Seat, now: float) -> float:
    fetch_s = 0.0 if need.toolchain in seat.node.toolchains else TOOLCHAIN_FETCH_S
    return max(now + fetch_s, seat.free_at[0]) + need.cost_s * seat.rate


def _take(seat: Seat, finish_at: float, reason: str) -> Choice:
    if seat.idle:
        seat.idle -= 1
    seat.spare -= 1
    heapreplace(seat.free_at, finish_at)
    return Choice(seat, finish_at, reason)
