"""Where a job goes, and why. Pure.

It is a slot that looks for a job: the fastest idle one, for the line whose turn it is; where no idle one
may have any of that line's jobs, one that is soon idle. Of that line's jobs it takes the longest that suits
it (`broker/scheduling/pace.py`). So no slot idles while a build goes on, long jobs run on fast nodes, and
nothing long is left for a slow one at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from broker.core.jobs import Execution
from broker.core.limits import (
    AGED_S,
    KEPT_FOR_S,
    MAX_SESSIONS,
    NEAR_S,
    PROBE_COST_S,
    RECALL_GAIN_S,
)
from broker.core.nodes import Node
from broker.scheduling.pace import Horizon
from broker.scheduling.queue import Lane, Line
from broker.scheduling.seats import SEATS_TRIED, Seat, Seats
from cache.digest import Digest


@dataclass(frozen=True, slots=True)
class Choice:
    """A job and the seat that it goes to; when it will be finished, and why it is this one.

    `mean_s` is the cost of a job of its line, on average.
    """

    key: Digest
    seat: Seat
    finish_at: float
    reason: str
    mean_s: float


class Chooser:
    """Chooses for one pass; `job_of` gives the execution of a key."""

    def __init__(self, seats: Seats, job_of: Callable[[Digest], Execution]) -> None:
        self._seats = seats
        self._job_of = job_of
        # Idle nodes whose rating is old, by session.
        self.to_try: dict[bytes, Node] = {}
        # Of this choice: toolchains that no seat has or will have soon, though another node has them.
        self._far: set[Digest] = set()
        self._goes_on = False

    def choose(self, line: Line, horizon: Horizon, now: float) -> Choice | None:
        """A job of this line and its seat; None when they have to wait."""
        if self.to_try and (probe := self._probe(line, horizon, now)) is not None:
            return probe
        lane, self._goes_on = line.lane, horizon.goes_on
        for is_ahead in (False, True):
            self._far.clear()
            found = self._seats.best(lane.user, lane.machine_class, now, is_ahead=is_ahead)
            if not found:
                continue
            picked = self._pick(line, found[0], horizon, now)
            if picked is not None:
                choice = self._place(line, picked, found[0], is_ahead, now)
                if choice is not None:
                    return choice
            elif is_ahead or self._has_one_for_shortest(line, found[0], now):
                # It waits anyway, for a faster slot than any that is idle.
                return self._probe(line, horizon, now, math.inf)
            # An idle seat that takes none of its jobs hides no other: the line would wait for ever where other
            # lines' jobs, to which that seat is none, go ahead to all the others.
        return None

    def _has_one_for_shortest(self, line: Line, seat: Seat, now: float) -> bool:
        """Whether any idle seat may have the job that the line waits with."""
        job = self._job_of(line.shortest())
        return self._better_for(line, job, seat, is_ahead=False, now=now) is not None

    def _place(
        self, line: Line, picked: tuple[Digest, str], seat: Seat, is_ahead: bool, now: float
    ) -> Choice | None:
        """The job that was picked goes to this seat or one like it, or another job of its line does."""
        key, reason = picked
        better = self._better_for(line, self._job_of(key), seat, is_ahead, now)
        if better is None:
            return self._elsewhere(line, key, seat, is_ahead, now)
        line.passed_since = None
        return self._conclude(key, better, line, "ahead" if is_ahead else reason, now)

    def _probe(
        self, line: Line, horizon: Horizon, now: float, most_s: float = PROBE_COST_S
    ) -> Choice | None:
        """The shortest job goes to a node that nobody has tried for long, if that holds up nothing."""
        key = line.shortest()
        if horizon.jobs < 2 or not horizon.goes_on or line.cost_s(key) > most_s:
            return None
        lane = line.lane
        for session_id, node in list(self.to_try.items()):
            seat = self._seats.seat_of(node)
            if seat is None or node.held or not node.is_usable(now):
                del self.to_try[session_id]
            elif self._seats.takes_now(node, lane.user, lane.machine_class, now) and may_go(
                self._job_of(key), seat, now, alone=True
            ):
                del self.to_try[session_id]
                return self._conclude(key, seat, line, "probe", now)
        return None

    def _pick(
        self, line: Line, seat: Seat, horizon: Horizon, now: float
    ) -> tuple[Digest, str] | None:
        """The job of this line that the seat should take, and why."""
        if (returned := line.returned()) is not None:
            return returned, "given-back"
        oldest, lane = line.oldest(), line.lane
        if self._is_due(oldest, line, seat, horizon, now):
            return oldest, "waited-long"
        if horizon.goes_on and self._seats.is_fast(seat, lane.user, lane.machine_class, now):
            return line.longest(), "longest"
        wait_s = seat.wait_jobs * line.waiting_s / len(line)
        horizon_s = horizon.seconds if seat.wait_jobs else max(horizon.seconds, horizon.idle_s)
        key = line.longest_within(horizon_s / seat.rate - wait_s)
        if key is not None:
            return key, "suits"
        if horizon.goes_on and line.shortest_s * seat.rate <= horizon.at_most_s:
            return line.shortest(), "shortest"
        return None if seat.wait_jobs else self._worth_it(line, seat, now)

    def _is_due(self, oldest: Digest, line: Line, seat: Seat, horizon: Horizon, now: float) -> bool:
        """Whether it has waited so long that it goes next; on a slow slot that is later, by as much as the slot
        is slower than the fastest."""
        fastest = self._seats.fastest_rate(line.lane.user, line.lane.machine_class, now)
        waited_s = now - self._job_of(oldest).ready_at
        is_old = waited_s > AGED_S * max(1.0, seat.rate / fastest)
        # Where no slot is idle, in the tail too: others may never leave one idle.
        if seat.wait_jobs:
            return is_old
        return is_old or (
            horizon.goes_on
            and line.is_passed_over(oldest)
            and line.cost_s(oldest) * seat.rate
            <= max(horizon.seconds, min(line.shortest_s * seat.rate, horizon.at_most_s))
        )

    def _worth_it(self, line: Line, seat: Seat, now: float) -> tuple[Digest, str] | None:
        """On an idle slot that is too slow the shortest job waits for a faster one, for no longer than that can
        gain."""
        fastest = self._seats.fastest_rate(line.lane.user, line.lane.machine_class, now)
        if line.passed_since is None:
            line.passed_since = now
        gain_s = line.shortest_s * (seat.rate - fastest)
        if now - line.passed_since >= gain_s:
            return line.shortest(), "waited-enough"
        return None

    def _better_for(
        self, line: Line, job: Execution, seat: Seat, is_ahead: bool, now: float
    ) -> Seat | None:
        """This seat, or one that has the toolchain; None when the job must not go to any that has room."""
        if job.toolchain in seat.node.toolchains and may_go(job, seat, now):
            return seat
        if job.toolchain in self._far:
            return None
        lane = line.lane
        # A few as a rule, and all where those are not for this job.
        for most in (SEATS_TRIED, MAX_SESSIONS):
            found = self._seats.best(
                lane.user, lane.machine_class, now, is_ahead=is_ahead, most=most
            )
            fitting = [each for each in found if may_go(job, each, now)]
            if fitting:
                return self._nearest(line, job, fitting, now)
        # One that no node has the memory for now runs alone on one that could have it.
        empty = [each for each in found if may_go(job, each, now, alone=True)]
        return max(empty, key=lambda each: each.node.most_bytes, default=None)

    def _nearest(self, line: Line, job: Execution, seats: list[Seat], now: float) -> Seat | None:
        """The one where it ends first. Where that has to wait for the toolchain and another node has it, the
        job waits for a slot there. One job is enough to have a toolchain sent: it does so while more of its
        build come, or where it loses nothing by it."""
        seat = min(seats, key=lambda each: takes_s(job, each, now))
        if late_s(job, seat, now) <= NEAR_S:
            return seat
        holders = self._seats.holders_for(job, line.lane, now)
        if not holders:
            return seat
        for holder in holders:
            ready = self._seats.seat_of(holder) if holder.idle_slots else None
            if ready is not None and may_go(job, ready, now):
                return ready
        fresh = [each for each in seats if job.toolchain not in each.node.supplies]
        if not fresh:
            self._far.add(job.toolchain)
            return None
        seat = min(fresh, key=lambda each: takes_s(job, each, now))
        is_worth_it = self._goes_on or not is_too_far(job, late_s(job, seat, now))
        return seat if is_worth_it and line.returned() != job.key else None

    def _keep_one_for(self, lane: Lane, job: Execution, is_ahead: bool, now: float) -> None:
        """Give a node's memory to this job alone as it comes free: the one that holds least now. One without an
        idle slot, only where there is none with one."""
        for is_full in (False, True)[: 1 + is_ahead]:
            seats = self._seats.best(
                lane.user, lane.machine_class, now, is_ahead=is_full, most=MAX_SESSIONS
            )
            could = [
                seat.node
                for seat in seats
                if not job.avoids(seat.node.identity)
                and job.toolchain not in seat.node.unfit
                and job.least_bytes <= seat.node.most_bytes
                and (seat.node.kept_for in (None, job.key) or now >= seat.node.kept_until)
            ]
            if could:
                node = min(could, key=lambda each: (each.kept_for != job.key, each.reserved_bytes))
                node.kept_for, node.kept_until = job.key, now + KEPT_FOR_S
                return

    def _elsewhere(
        self, line: Line, picked: Digest, seat: Seat, is_ahead: bool, now: float
    ) -> Choice | None:
        """The job that was picked has failed on all the nodes that have room, or they have no memory for it:
        another one may go there. For one that has waited long a node is emptied."""
        job = self._job_of(picked)
        if now - job.ready_at > AGED_S and job.toolchain not in self._far:
            self._keep_one_for(line.lane, job, is_ahead, now)
        for key in islice(line.in_order(), SEATS_TRIED):
            better = self._better_for(line, self._job_of(key), seat, is_ahead, now)
            if better is not None:
                return self._conclude(key, better, line, "in-its-place", now)
        return None

    def _conclude(self, key: Digest, seat: Seat, line: Line, reason: str, now: float) -> Choice:
        mean_s = line.waiting_s / len(line)
        wait_s = seat.wait_jobs * mean_s * seat.rate
        finish_at = now + wait_s + takes_s(self._job_of(key), seat, now)
        return Choice(key, seat, finish_at, reason, mean_s)


def takes_s(job: Execution, seat: Seat, now: float) -> float:
    """Seconds from when the slot is idle to the job's end there, the rest of its toolchain's way included."""
    return late_s(job, seat, now) + job.cost_s * seat.rate


def late_s(job: Execution, seat: Seat, now: float) -> float:
    """How much later than the slot the toolchain is there, where jobs before this one take as long as it."""
    node = seat.node
    if job.toolchain in node.toolchains:
        return 0.0
    arrival_s = node.supplies.arrival_s(job.toolchain, job.toolchain_bytes, now)
    return max(0.0, arrival_s - seat.wait_jobs * job.cost_s * seat.rate)


def is_too_far(job: Execution, late_s: float) -> bool:
    """Whether a job that would wait so long for its toolchain ends sooner on a node that has it, even where it
    waits there for one as long as itself."""
    return late_s > job.cost_s + RECALL_GAIN_S


def may_go(job: Execution, seat: Seat, now: float, *, alone: bool = False) -> bool:
    """Whether nothing is known that speaks against this job at this seat; `alone`: with all its memory."""
    node = seat.node
    return (
        not job.avoids(node.identity)
        and job.toolchain not in node.unfit
        and node.has_memory_for(job.key, job.memory_bytes, job.least_bytes, now, alone=alone)
    )
