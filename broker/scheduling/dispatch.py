"""Which jobs may upload, and which go to a node now. Pure.

**Grant first, upload after**: an agent is asked for a job's inputs only when a slot for it is free or
about to be. A job whose toolchain is still on its way is parked and holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from broker.core.effects import FindMissing
from broker.core.farm import Farm
from broker.core.jobs import GRANTED, Execution, Lease, Phase
from broker.core.ledger import Ledger
from broker.core.limits import (
    BUSY_AFTER_S,
    GRANT_AHEAD,
    LOOK_AT_NODES_S,
    PLACED_AT_ONCE,
    RECALL_GAIN_S,
    STARTUP_GRACE_S,
    TELL_EVERY_S,
    TOLD_A_TICK,
    TOLD_OF_SESSION,
)
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.scheduling.pace import Horizon
from broker.scheduling.placement import Choice, Chooser, is_too_far, takes_s
from broker.scheduling.queue import Lane, Line
from broker.trust import opinions
from cache.digest import Digest, short
from zcc.messages import Busy


class Dispatcher:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger
        self._chooser = Chooser(farm.seats, self._job_of)
        self._whose = ""  # whose turn it is
        self._told_all_at = -TELL_EVERY_S
        self._looked_at = farm.started_at
        self._owes_word = False
        # Whose requests are still to be told in this round, the next one last; and how many in this tick.
        self._to_tell: deque[tuple[Session, list[int]]] = deque()
        self._tells_left = TOLD_A_TICK

    def run(self, now: float) -> None:
        """Place what can be placed; does nothing when nothing has changed."""
        if not self._farm.is_dirty:
            return
        self._farm.is_dirty = False
        self._farm.seats.refresh(now)
        self._place(now)
        self._grant(now)
        self._tell_the_waiting(now)

    def tell_all(self, now: float) -> None:
        """The farm has shrunk: what agents were told about their start is void. They are told at once, or
        when it is time again, and by turns: a node may come and go as often as it likes."""
        self._owes_word = True
        self.tell_owed(now)

    def tell_owed(self, now: float) -> None:
        """Tell all whose start has changed since they were told, if it is time."""
        is_time = self._owes_word and now - self._told_all_at >= TELL_EVERY_S
        if is_time and not self._to_tell:
            self._owes_word, self._told_all_at = False, now
            for session in self._farm.sessions:
                if session.tickets:
                    self._to_tell.append((session, list(reversed(session.tickets))))
        while self._to_tell and self._tells_left > 0:
            session, tickets = self._to_tell.popleft()
            for _ in range(min(len(tickets), TOLD_OF_SESSION)):
                self._tells_left -= 1
                self._owe_word(session, tickets.pop())
            if tickets:
                self._to_tell.append((session, tickets))

    def _owe_word(self, session: Session, ticket: int) -> None:
        key = session.tickets.get(ticket)
        if key is not None:
            self._farm.unanswered[session.id, ticket] = session, key
            self._farm.is_dirty = True

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._recall_from_afar(now)
        self.recall(now)
        self._tells_left = TOLD_A_TICK
        self.tell_owed(now)
        if now - self._looked_at < LOOK_AT_NODES_S:
            return
        farm, passed_s, self._looked_at = self._farm, now - self._looked_at, now
        changed = set(farm.model.drift(now, passed_s))
        self._chooser.to_try.clear()
        for node in farm.nodes:
            if node.identity in changed:
                farm.seats.touch(node)
            if not node.held and node.is_usable(now) and farm.model.is_stale(node.identity, now):
                self._chooser.to_try[node.session.id] = node

    def recall(self, now: float) -> None:
        """Nothing waits here any more, and slots are idle: take jobs back that still wait at a node for one of
        its slots, where they would end sooner."""
        farm = self._farm
        if farm.queue or farm.ready or not farm.leases:
            return
        farm.seats.refresh(now)
        if not farm.seats.has_idle():
            return
        waiting = [lease for lease in farm.leases.values() if self._can_be_recalled(lease)]
        waiting.sort(key=lambda lease: -lease.expected_end)
        room: dict[Lane, int] = {}
        for lease in waiting:
            execution = farm.executions[lease.key]
            lane = execution.lane
            if lane not in room:
                _, room[lane] = farm.seats.slots(lane.user, lane.machine_class)
            seats = farm.seats.best(lane.user, lane.machine_class, now, is_ahead=False)
            node = farm.nodes.get(lease.node)
            if room[lane] <= 0 or not seats or node is None:
                continue
            has_it = execution.toolchain in seats[0].node.toolchains
            ends_at = self._ends_at(lease, execution, node, now, counts_silence=has_it)
            if now + RECALL_GAIN_S + takes_s(execution, seats[0], now) < ends_at:
                room[lane] -= 1
                self._take_back(lease, node, now)

    def _recall_from_afar(self, now: float) -> None:
        """Take jobs back that wait for a toolchain, where another node has it and they would end sooner there.
        The toolchain goes on to come."""
        farm = self._farm
        for node in list(farm.seats.awaiting.values()):
            for lease in list(node.leases.values()):
                execution = farm.executions[lease.key]
                toolchain = execution.toolchain
                if not node.supplies.is_asked(toolchain) or not self._can_be_recalled(lease):
                    continue
                arrival_s = node.supplies.arrival_s(toolchain, execution.toolchain_bytes, now)
                if is_too_far(execution, arrival_s) and farm.seats.holders_for(
                    execution, execution.lane, now
                ):
                    self._take_back(lease, node, now)

    def _take_back(self, lease: Lease, node: Node, now: float) -> None:
        self._farm.lease_ended(lease, "taken-back")
        self._ledger.revoke(node, lease.id)
        self._ledger.give_back(lease, node, now, is_counted=False, may_return=True)

    def _ends_at(
        self,
        lease: Lease,
        execution: Execution,
        node: Node,
        now: float,
        *,
        counts_silence: bool = True,
    ) -> float:
        """When the job is expected to end where it is, by what is known of its toolchain's way now. Without
        `counts_silence` by the bytes that are left: another node that lacks it would have to unpack it, too."""
        toolchain, size_bytes = execution.toolchain, execution.toolchain_bytes
        if lease.began_at is not None or toolchain in node.toolchains:
            return lease.expected_end
        expect = node.supplies.arrival_s if counts_silence else node.supplies.rest_s
        runs_s = self._farm.model.wall_s(execution.cost_s, node.identity)
        return max(lease.expected_end, now + expect(toolchain, size_bytes, now) + runs_s)

    def _can_be_recalled(self, lease: Lease) -> bool:
        execution = self._farm.executions[lease.key]
        if execution.phase is not Phase.ASSIGNED or execution.hedge is not None:
            return False
        # One that must avoid some nodes would be taken back for those, again and again; a rerun is given to no
        # second one, and one that is put to a node on trial is for that node.
        return not (execution.avoid or execution.is_rerun)

    def inputs_checked(self, execution: Execution, missing: frozenset[Digest], now: float) -> None:
        """The store has been searched: the job is ready, or waits for what it lacks or has not shown."""
        execution.ready_at = now
        holdings, toolchain = self._farm.holdings, execution.toolchain
        unshown = self._unshown(execution)
        if opinions.settle_doubt(execution, is_whole=not missing):
            self._ledger.refuse(execution, *opinions.verdict(execution))
            return
        if toolchain in missing or not holdings.is_toolchain(toolchain):
            self._farm.set_phase(execution, Phase.PARKED)
            self._ledger.uploads.need(execution, (toolchain,))
        elif missing or unshown:
            self._farm.set_phase(execution, Phase.FETCHING)
            self._ledger.uploads.need(execution, (*unshown, *sorted(missing)))
        else:
            self._ledger.complete(execution)

    def _unshown(self, execution: Execution) -> list[Digest]:
        if not execution.is_private:
            return []
        return self._farm.holdings.unshown(execution.lane.user, execution.inputs)

    def _grant(self, now: float) -> None:
        """Let jobs upload, as many as slots are idle or soon will be; counted for each user, so that
        one with a slow line does not hold up the others."""
        farm, queue = self._farm, self._farm.queue
        if not queue:
            return
        while (line := queue.first()) is not None:
            place = (line.lane.user, line.lane.machine_class)
            key = line.returned() or line.oldest()
            execution = farm.executions[key]
            slots, idle = farm.seats.slots(*place, execution.toolchain)
            if farm.granted[place] >= idle + ceil(slots * GRANT_AHEAD):
                queue.pass_over(line)
                continue
            farm.charge(execution, queue, line)
            farm.set_phase(execution, Phase.CHECKING)
            # What it has not shown is asked for in any case: nobody need look for that.
            unshown = set(self._unshown(execution))
            sought = [each for each in execution.inputs if each not in unshown]
            recalls = not (execution.is_new or execution.is_private)
            farm.emit(FindMissing(key, (execution.toolchain, *sought), recalls))
        queue.restore()

    def _place(self, now: float) -> None:
        farm, ready = self._farm, self._farm.ready
        if not ready:
            return
        left = PLACED_AT_ONCE
        while not farm.seats.is_full() and (line := ready.first()) is not None:
            if not left:
                farm.is_dirty = True  # the next batch goes on
                break
            self._whose = line.lane.user
            choice = self._chooser.choose(line, self._horizon_of(line, now), now)
            if choice is None:
                ready.pass_over(line)
                continue
            execution = farm.executions[choice.key]
            farm.charge(execution, ready, line)
            left -= 1
            self._send_to(execution, choice, now)
            farm.seats.refresh(now)
        ready.restore()

    def _job_of(self, key: Digest) -> Execution:
        """A job as the one whose turn it is expects it."""
        return self._farm.seen_by(self._farm.executions[key], self._whose)

    def _horizon_of(self, line: Line, now: float) -> Horizon:
        farm, lane = self._farm, line.lane
        share = 1.0 / max(1, len(farm.tallies))
        place = lane.user, lane.machine_class, farm.executions[line.oldest()].toolchain
        power = farm.seats.capacity(*place) * share
        slots, _ = farm.seats.slots(*place)
        return farm.pace.horizon(lane.user, lane.build, power, slots * share, now)

    def _send_to(self, execution: Execution, choice: Choice, now: float) -> None:
        node, watch = choice.seat.node, self._farm.watch
        room = watch.room_for(execution) if watch is not None else (0, 0)
        lease = self._ledger.assign(execution, node, choice.finish_at, now)
        if watch is not None:
            watch.leased(execution, lease, choice, room)
        self._farm.decisions.note(execution, lease, choice, now)
        if len(execution.waiters) > 1:
            for session in self._farm.sources_of(execution):
                self._farm.decisions.joined(lease.id, session.user)
        self._farm.audit(
            "dispatch",
            user=execution.lane.user,
            job=short(execution.key),
            node=node.session.name,
            reason=choice.reason,
            expected_s=round(choice.finish_at - now, 3),
        )

    def _tell_the_waiting(self, now: float) -> None:
        """Say Busy to those whose job will not start soon, so that they may compile it locally."""
        farm = self._farm
        if not farm.unanswered:
            return
        for (_, ticket), (session, key) in farm.unanswered.items():
            execution = farm.executions.get(key)
            if execution is None or execution.phase is Phase.STARTED:
                continue
            if ticket not in session.tickets or farm.sessions.get(session.id) is not session:
                continue
            expected_s = self._starts_in_s(execution, now)
            if expected_s > BUSY_AFTER_S:
                farm.send(session, Busy(ticket, expected_s))
        farm.unanswered = {}

    def _starts_in_s(self, execution: Execution, now: float) -> float:
        """When a slot is free for this job, as if all that waits went before it."""
        farm = self._farm
        if (lease := execution.lease) is not None:
            node = farm.nodes.get(lease.node)
            if node is None:
                return max(0.0, lease.expected_end - now)
            runs_s = farm.model.wall_s(execution.cost_s, node.identity)
            return max(0.0, self._ends_at(lease, execution, node, now) - runs_s - now)
        place = (execution.lane.user, execution.lane.machine_class)
        near_s = farm.seats.nearest_s(execution.toolchain, execution.toolchain_bytes, now)
        toolchain = execution.toolchain
        idle = farm.seats.slots(*place, toolchain)[1]
        if execution.phase in GRANTED and farm.granted[place] <= idle:
            return near_s  # a slot is idle, and waits for its inputs
        capacity = farm.seats.capacity("", b"", toolchain)
        ahead_s = max(0.0, farm.backlog_cost_s - execution.cost_s) + farm.pace.running_s(now)
        return near_s + ahead_s / capacity if capacity else STARTUP_GRACE_S
