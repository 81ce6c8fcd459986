"""Runs that take too long: done a second time where a slot is idle, taken away when their time is over. Pure.

**Hedges** (Dean and Barroso, The Tail at Scale, 2013). A straggler (`broker/scheduling/patience.py`) is given
to a second node when nothing waits for the slot, and a fresh start there would end sooner than the first is
expected to. Half of the processes that have run for a time run for as long again (Harchol-Balter and Downey
1997): so as long as it has run, it is expected to run on. The first result that proves itself wins, the
other lease is revoked. At most HEDGE_SHARE of the slots, or one, are used so at a time.

**Limits.** A node that has not answered at its lease's limit loses it, and what it has not begun besides. It is
blamed for it only when another node then succeeds, in less than that (`broker/trust/blame.py`).
"""

from __future__ import annotations

import math

from broker.core.farm import Farm
from broker.core.jobs import Execution, Lease, Phase, Suspicion
from broker.core.ledger import Ledger
from broker.core.limits import (
    HEDGE_LOOK_S,
    HEDGE_SHARE,
    MAX_HEDGES_OF_JOB,
    MAX_OVERRUNS,
    OVERDUE_LOOK_S,
    START_LIMIT_S,
)
from broker.core.nodes import Node
from broker.scheduling.lateness import Lateness
from broker.scheduling.placement import Choice, may_go, takes_s
from broker.scheduling.seats import SEATS_TRIED, Seat
from broker.trust import opinions
from cache.digest import short

UNANSWERED = "unanswered"


class Stragglers:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger
        self._lateness = Lateness(farm)
        self._hedges_at = 0.0
        self._overdue_at = 0.0

    def look(self, now: float) -> None:
        """Time has passed: to be called a few times a second."""
        if now >= self._overdue_at:
            self._overdue_at = now + OVERDUE_LOOK_S
            self._take_away_overdue(now)
            self._turn_back_overdue(now)
        if now >= self._hedges_at:
            self._hedges_at = now + HEDGE_LOOK_S
            late = [each for each in self._farm.leases.values() if each.straggles_at <= now]
            self._lateness.reconsider()
            if late:
                for node in self._lateness.rate_anew(late, now):
                    self._take_back_unbegun(node, now)
                self._hedge(late, now)

    # --- limits -------------------------------------------------------------------------------

    def _take_away_overdue(self, now: float) -> None:
        farm = self._farm
        for lease in [each for each in farm.leases.values() if each.limit_at <= now]:
            node = farm.nodes.get(lease.node)
            if lease.id not in farm.leases or node is None:
                continue  # it went with another one
            if lease.began_at is None and _is_busy(node):
                lease.limit_at = now + START_LIMIT_S
                continue
            self._take_away(lease, node, now)

    def _turn_back_overdue(self, now: float) -> None:
        """Whoever has waited too long for a run that others still wait for, by what he expects of it, compiles
        it himself: nobody's word keeps him waiting, nor takes the run away from the others."""
        farm = self._farm
        for lease in [each for each in farm.leases.values() if each.claims_at <= now]:
            execution = farm.executions.get(lease.key)
            if execution is None or lease.id not in farm.leases:
                continue
            limits = {user: claim.limit_at for user, claim in execution.claims.items()}
            lease.claims_at = min((at for at in limits.values() if at > now), default=math.inf)
            if lease.has_announced:
                continue
            for user in [user for user, limit_at in limits.items() if limit_at <= now]:
                self._ledger.turn_back(execution, user, opinions.LOST_TWICE)

    def _take_away(self, lease: Lease, node: Node, now: float) -> None:
        farm, execution = self._farm, self._farm.executions[lease.key]
        user = execution.lane.user
        farm.audit(
            UNANSWERED,
            user=user,
            job=short(lease.key),
            node=node.session.name,
            after_s=round(now - lease.since, 1),
        )
        if not execution.is_rerun and node.record.note_unanswered(user, now):
            farm.audit("rest", user=user, node=node.session.name)
        self._give_to_another(execution, lease, node, now)
        self._take_back_unbegun(node, now)

    def _take_back_unbegun(self, node: Node, now: float) -> None:
        for other in list(node.leases.values()):
            if other.began_at is None:
                self._ledger.revoke(node, other.id)
                self._ledger.give_back(other, node, now, is_counted=False)

    def _give_to_another(self, execution: Execution, lease: Lease, node: Node, now: float) -> None:
        """The job goes to no node that had it so. It has lost nothing but the time, and is given up only when
        it was over its limit on several nodes."""
        has_begun = lease.began_at is not None
        execution.overruns += has_begun
        opinions.avoid(self._farm, execution, node, now)
        execution.fault = UNANSWERED
        suspicion = None
        if has_begun or node.began_at < lease.assigned_at:
            suspicion = Suspicion(node.identity, now - lease.since)
        self._farm.lease_ended(lease, UNANSWERED)
        self._ledger.revoke(node, lease.id)
        if execution.overruns < MAX_OVERRUNS or execution.hedge is not None:
            self._ledger.give_back(lease, node, now, is_counted=False, suspicion=suspicion)
            return
        if suspicion is not None and not execution.is_rerun:
            suspicion.note(execution)
        self._ledger.charge(lease, now)
        self._ledger.refuse(execution, opinions.LOST_TWICE)

    # --- hedges -------------------------------------------------------------------------------

    def _hedge(self, late: list[Lease], now: float) -> None:
        farm = self._farm
        if farm.queue or farm.ready:
            return
        farm.seats.refresh(now)
        late.sort(key=lambda lease: lease.straggles_at)
        for lease in late:
            execution = farm.executions[lease.key]
            if lease is execution.lease and self._may_be_hedged(execution):
                seat = self._seat_for(execution, lease, now)
                if seat is not None:
                    self._start(execution, lease, seat, now)
                    farm.seats.refresh(now)

    def _may_be_hedged(self, execution: Execution) -> bool:
        farm, lane = self._farm, execution.lane
        if execution.is_rerun or execution.hedge or execution.hedges >= MAX_HEDGES_OF_JOB:
            return False
        slots, idle = farm.seats.slots(lane.user, lane.machine_class)
        # Jobs whose inputs are on their way have been promised a slot.
        return idle > farm.granted.total() and len(farm.hedged) < max(1, int(HEDGE_SHARE * slots))

    def _seat_for(self, execution: Execution, lease: Lease, now: float) -> Seat | None:
        """The idle seat where a fresh start ends first; None where that is no sooner than the first's end."""
        # For whoever expects it to take least: nobody's jobs delay the second copies of others'.
        claims = execution.claims.values()
        least = min(claims, key=lambda each: each.expected.cost_s, default=None)
        if least is not None and least.expected.cost_s < execution.cost_s:
            execution = self._farm.seen_by(execution, least.lane.user)
        lane, first = execution.lane, self._farm.nodes.get(lease.node)
        found = self._farm.seats.best(
            lane.user, lane.machine_class, now, is_ahead=False, most=SEATS_TRIED
        )
        fitting = [
            seat
            for seat in found
            if may_go(execution, seat, now)
            and first is not None
            and seat.node.identity != first.identity
            # What has not begun waits for its toolchain, mostly: another one that lacks it helps nobody.
            and (execution.phase is Phase.STARTED or execution.toolchain in seat.node.toolchains)
        ]
        seat = min(fitting, key=lambda each: takes_s(execution, each, now), default=None)
        if seat is None or takes_s(execution, seat, now) >= now - lease.since:
            return None
        return seat

    def _start(self, execution: Execution, lease: Lease, seat: Seat, now: float) -> None:
        takes, watch = takes_s(execution, seat, now), self._farm.watch
        room = watch.room_for(execution) if watch is not None else (0, 0)
        first = self._farm.nodes.get(lease.node)
        copy = self._ledger.hedge(execution, seat.node, now + takes, now)
        choice = Choice(execution.key, seat, now + takes, "hedge", execution.cost_s)
        self._farm.decisions.note(execution, copy, choice, now)
        if watch is not None:
            watch.leased(execution, copy, choice, room)
        self._farm.audit(
            "dispatch",
            user=execution.lane.user,
            job=short(execution.key),
            node=seat.node.session.name,
            reason="hedge",
            beside=first.session.name if first is not None else "",
            expected_s=round(takes, 3),
        )


def _is_busy(node: Node) -> bool:
    """Whether all its slots are in use by what has begun."""
    begun = sum(lease.began_at is not None for lease in node.leases.values())
    return begun + len(node.orphans) >= node.slots
