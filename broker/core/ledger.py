"""Jobs taken in, waited for, leased, given back, finished or refused. Pure.

Every request (a session's ticket) ends in exactly one of: Finished, Refused, its Cancel, the end of its
session. An execution lives as long as anybody waits for it.
"""

from __future__ import annotations

from dataclasses import replace

from broker.core import admission
from broker.core.admission import NO_NODES, TOO_MANY, lane_of, new_execution, reason_to_refuse
from broker.core.effects import Deliver, DropPushes, RerunEnded
from broker.core.events import JobSubmitted, Recalled
from broker.core.farm import Farm
from broker.core.jobs import (
    AUDITOR,
    Ending,
    Execution,
    Lease,
    Phase,
    Suspicion,
    Waiter,
    new_lease_id,
    private_key,
)
from broker.core.limits import BUSY_AFTER_S, MAX_LOSSES
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.core.unservable import Unservable
from broker.core.uploads import Uploads
from broker.scheduling.memory import why_too_large
from broker.trust import opinions
from cache.digest import Digest, short
from zcc.messages import HAS_BEGUN_S, Busy, Finished, Refused, Revoke, Run


class Ledger:
    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self.uploads = Uploads(farm, self.refuse, self.complete)
        self.unservable = Unservable(farm, self.refuse, self.turn_back)

    # --- requests -----------------------------------------------------------------------------

    def submit(self, session: Session, event: JobSubmitted, now: float) -> None:
        """Take a request in: answer it, join the execution of its key, start one, or refuse.

        One whose inputs this key has not all shown learns nothing of what is remembered or runs.
        """
        farm = self._farm
        key = event.key
        if farm.holdings.unshown(session.user, event.inputs):
            key = private_key(event.key, session.user)
        elif event.recalled is not None and not self._is_distrusted(event.recalled, session, now):
            self._answer(session, event, event.recalled)
            if farm.watch is not None:
                farm.watch.answered(session, event, event.recalled)
            return
        execution = farm.executions.get(key)
        if reason := reason_to_refuse(farm, session, event, key, now):
            farm.send(session, Refused(event.ticket, reason))
            farm.audit("refuse", user=session.user, job=short(event.key), reason=reason)
            if farm.watch is not None:
                farm.watch.not_taken(session, event, reason)
            return
        if not farm.holdings.unshown(session.user, (event.toolchain,)):
            farm.holdings.name_toolchain(session.user, event.toolchain)
        shared, subject = execution is not None, event.subject
        waiter = Waiter(session.id, event.ticket, now, shared, session.user, session, subject)
        farm.open_request(session, event.ticket, key)
        farm.audit("submit", user=session.user, job=short(event.key), shared=int(waiter.shared))
        if execution is not None:
            execution.is_new |= event.is_fresh
            expected = admission.expectation(farm, session, event)
            farm.join(execution, session, waiter, lane_of(session, event), event.nice, expected)
            if execution.lease is not None:
                farm.decisions.joined(execution.lease.id, session.user)
            self._say_where(execution, session, event.ticket)
            if farm.watch is not None:
                farm.watch.joined(execution, waiter)
            return
        execution = new_execution(farm, session, event, key)
        if why := why_too_large(farm, execution, (), now):
            farm.close_request(session, event.ticket)
            farm.send(session, Refused(event.ticket, why))
            farm.audit("refuse", user=session.user, job=short(event.key), reason=why)
            if farm.watch is not None:
                farm.watch.not_taken(session, event, why)
            return
        execution.join(waiter)
        farm.add(execution)
        if farm.watch is not None:
            farm.watch.queued(execution)
        farm.unanswered[session.id, event.ticket] = session, key
        self._adopt_orphan_of(execution, now)

    def turn_away(self, session: Session, ticket: int) -> None:
        """This key has more waiting than there is room for, before anything is known of it."""
        self._farm.send(session, Refused(ticket, TOO_MANY))
        self._farm.audit("refuse", user=session.user, reason=TOO_MANY)
        if self._farm.watch is not None:
            self._farm.watch.not_taken(session, None, TOO_MANY)

    def cancel(self, session: Session, ticket: int) -> None:
        """Nobody waits for this ticket any more; an unknown one is settled already."""
        key = self._farm.close_request(session, ticket)
        execution = self._farm.executions.get(key) if key is not None else None
        if execution is None:
            return  # it had ended before the request of a session that is over was undone
        waiter = execution.waiters.get((session.id, ticket))
        self._farm.leave(execution, session, ticket)
        if not execution.waiters:
            self._abandon(execution)
        elif self._farm.watch is not None and waiter is not None:
            self._farm.watch.left(execution, waiter)

    def refuse(self, execution: Execution, reason: str, ending: Ending = Ending.UNTOLD) -> None:
        """No to everybody who waits: they compile locally."""
        farm = self._farm
        user = execution.lane.user
        farm.audit("refuse", user=user, job=short(execution.key), reason=reason)
        if farm.watch is not None:
            farm.watch.refused(execution, reason)
        for waiter in self.remove(execution, ending):
            session = farm.sessions.get(waiter.session)
            if session is not None:
                farm.close_request(session, waiter.ticket)
                farm.send(session, Refused(waiter.ticket, reason))
            elif waiter.session == AUDITOR:
                farm.emit(RerunEnded(execution.key, "", "", b"", reason, execution.fault))

    def turn_back(self, execution: Execution, user: str, reason: str) -> None:
        """No to this key, while others go on waiting."""
        farm = self._farm
        farm.audit("refuse", user=user, job=short(execution.key), reason=reason)
        for waiter in [each for each in execution.waiters.values() if each.claimant == user]:
            session = farm.sessions.get(waiter.session)
            if session is not None:  # else over, and not undone yet
                farm.send(session, Refused(waiter.ticket, reason))
                self.cancel(session, waiter.ticket)

    def complete(self, execution: Execution) -> None:
        """All its inputs are here, and were shown by all who wait for it."""
        if execution.is_private:
            self._open_up(execution)
        else:
            self._farm.set_phase(execution, Phase.READY)

    def answer(self, execution: Execution, recalled: Recalled, now: float) -> bool:
        """Its result is remembered, as was seen when its last input had been shown; unless it is none for one
        who waits."""
        farm = self._farm
        if any(self._is_distrusted(recalled, each, now) for each in farm.sources_of(execution)):
            return False
        farm.audit("hit", user=execution.lane.user, job=short(execution.key))
        if farm.watch is not None:
            farm.watch.recalled(execution, recalled)
        for waiter in self.remove(execution, Ending.RAN_ELSEWHERE):
            session = farm.sessions.get(waiter.session)
            if session is not None:
                farm.close_request(session, waiter.ticket)
                self._recall_for(session, waiter.ticket, execution.job, recalled)
        return True

    # --- leases -------------------------------------------------------------------------------

    def assign(self, execution: Execution, node: Node, finish_at: float, now: float) -> Lease:
        """Hand a ready job to a node."""
        lease = self._begin(execution, node, self._new_id(execution), finish_at, now)
        execution.lease = lease
        self._farm.pace.leased(execution, lease)
        self._farm.set_phase(execution, Phase.ASSIGNED)
        self._send_run(execution, lease, node)
        return lease

    def hedge(self, execution: Execution, node: Node, finish_at: float, now: float) -> Lease:
        """Hand a job to a second node beside the one that has it."""
        assert execution.lease is not None
        assert execution.hedge is None
        lease = self._begin(execution, node, self._new_id(execution), finish_at, now)
        execution.hedge = lease
        execution.hedges += 1
        self._farm.hedged.add(execution.key)
        self._send_run(execution, lease, node)
        return lease

    def adopt(self, execution: Execution, node: Node, lease_id: bytes, now: float) -> None:
        """A node runs this job already, since before our start."""
        farm = self._farm
        farm.nodes.drop_orphan(node, lease_id)
        self.uploads.forget(execution)
        wall_s = farm.model.wall_s(execution.cost_s, node.identity)
        lease = self._begin(execution, node, lease_id, now + wall_s, now)
        lease.is_adopted = True
        if farm.watch is not None:
            farm.watch.adopted(execution, lease)
        node.begin(lease, now)
        execution.lease = lease
        farm.pace.leased(execution, lease)
        farm.patience.began(lease, execution, wall_s, now)
        farm.set_phase(execution, Phase.STARTED)
        self.tell_start(execution, HAS_BEGUN_S)
        farm.is_dirty = True
        user = execution.lane.user
        farm.audit("adopt", user=user, job=short(execution.key), node=node.session.name)

    def start(self, lease: Lease, node: Node, now: float) -> None:
        """The node has everything and the compiler runs. Said again, it wins the node no time."""
        if lease.began_at is not None:
            return
        execution = self._farm.executions[lease.key]
        self._farm.decisions.begun(lease.id, now)
        if self._farm.watch is not None:
            self._farm.watch.started(lease)
        lease.measures = node.supplies.begun(execution.toolchain, lease.slot_at, now)
        node.begin(lease, now)
        if execution.toolchain not in node.toolchains:
            self._note_toolchain(node, execution.toolchain)
        wall_s = self._farm.model.wall_s(execution.cost_s, node.identity)
        self._farm.patience.began(lease, execution, wall_s, now)
        if lease is execution.lease:
            self._farm.set_phase(execution, Phase.STARTED)
            self.tell_start(execution, HAS_BEGUN_S)

    def revoke(self, node: Node, lease_id: bytes) -> None:
        """Take a lease off a node without an answer; its job is not touched."""
        self._farm.nodes.drop_orphan(node, lease_id)
        self._farm.seats.touch(node)
        node.note_ended(lease_id)
        self._farm.send(node.session, Revoke(lease_id))
        self._farm.is_dirty = True

    def end_lease(self, lease: Lease) -> Execution:
        """The lease is over. Where another node has the job too, that goes on; else its execution is the
        caller's to move on."""
        execution = self._farm.executions[lease.key]
        if lease is not execution.hedge:
            self._farm.pace.released(execution, lease)
            execution.lease = execution.hedge
            if execution.lease is not None:
                self._farm.pace.leased(execution, execution.lease)
                has_begun = execution.lease.began_at is not None
                self._farm.set_phase(execution, Phase.STARTED if has_begun else Phase.ASSIGNED)
        execution.hedge = None
        self._farm.hedged.discard(execution.key)
        del self._farm.leases[lease.id]
        self._farm.denials.ended(lease.node_key, lease.payer)
        node = self._farm.nodes.get(lease.node)
        if node is not None:
            node.give_up(lease, self._farm.now)
            if lease.had_to_fetch and lease.began_at is None:
                node.supplies.given_up(execution.toolchain, self._farm.now)
            self._farm.seats.touch(node)
            self._farm.emit(DropPushes(node.session.route, lease.id))
        return execution

    def charge(self, lease: Lease, now: float) -> None:
        """A lease ends without a result: who submitted the job has had the slot, begun or not."""
        farm, node = self._farm, self._farm.nodes.get(lease.node)
        execution = farm.executions[lease.key]
        if node is not None and lease is not execution.hedge:
            cost_s = lease.slots * farm.model.held_cost_s(lease.held_s(now), node.identity)
            farm.given_up(execution, cost_s)

    def give_back(
        self,
        lease: Lease,
        node: Node,
        now: float,
        *,
        is_counted: bool,
        may_return: bool = False,
        suspicion: Suspicion | None = None,
    ) -> None:
        """The node did not run it to an end: another one may, unless two have lost it.

        `is_counted`: whether it tells on the job (a node that is stopping does not). What fails while another
        node has the job too tells on the job only where that was the first to have it. Counted or not, it goes
        to another node, unless that is our own doing: it `may_return`.
        """
        self._farm.lease_ended(lease, "given-back")
        self.charge(lease, now)
        is_hedge = lease is self._farm.executions[lease.key].hedge
        execution = self.end_lease(lease)
        has_begun = execution.phase is Phase.STARTED
        if suspicion is not None and not execution.is_rerun:  # that is no member's word
            suspicion.note(execution)
        if is_counted:
            opinions.avoid(self._farm, execution, node, now)
            execution.losses += not is_hedge
        elif not may_return:
            opinions.note_left(execution, lease, node, now)
        if execution.lease is not None:
            return  # the other node goes on
        is_over = execution.losses >= MAX_LOSSES
        if is_over and not execution.is_doubted:
            self.refuse(execution, *opinions.verdict(execution))
        elif execution.is_rerun:
            self.refuse(execution, NO_NODES)
        elif is_over or not self.unservable.refuse(execution, now):
            self._farm.set_phase(execution, Phase.QUEUED, at_front=True)
            if has_begun:
                self.tell_start(execution, BUSY_AFTER_S)

    def reject(self, lease: Lease, node: Node, detail: str) -> None:
        """The node says that the job itself is wrong, and there is no other key's to be asked."""
        execution = self.end_lease(lease)
        if not execution.is_rerun:
            Suspicion(node.identity).note(execution)
        self.refuse(execution, opinions.wrong(detail), Ending.CALLED_WRONG)

    def tell_start(self, execution: Execution, expected_s: float) -> None:
        """Tell who waits when it begins: an agent may have a slot of its own that is free sooner."""
        for waiter in execution.waiters.values():
            if (session := self._farm.sessions.get(waiter.session)) is not None:
                self._farm.send(session, Busy(waiter.ticket, expected_s))

    def remove(self, execution: Execution, ending: Ending) -> list[Waiter]:
        """It is over, with whatever nodes have of it; who had waited for it."""
        while execution.lease is not None:
            node = self._farm.nodes.get(execution.lease.node)
            lease_id = execution.lease.id
            self._farm.lease_ended(execution.lease, "cancelled")
            self.end_lease(execution.lease)
            if node is not None:
                self._farm.send(node.session, Revoke(lease_id))
        self.uploads.forget(execution)
        self._farm.remove(execution)
        opinions.note_complaints(execution, ending)
        self._farm.blame.job_ended(execution.suspicions, ending, execution.lane.user)
        waiters, execution.waiters = list(execution.waiters.values()), {}
        return waiters

    # --- within -------------------------------------------------------------------------------

    def _note_toolchain(self, node: Node, toolchain: Digest) -> None:
        """A job runs on it there."""
        seats = self._farm.seats
        forgotten = node.note_toolchain(toolchain)
        if forgotten is not None:
            seats.lacks_toolchain(node, forgotten)
        seats.has_toolchain(node, toolchain)
        seats.stands.got_toolchain(node, toolchain)

    def _say_where(self, execution: Execution, session: Session, ticket: int) -> None:
        """The same to one who comes later than others."""
        if execution.phase is Phase.STARTED:
            self._farm.send(session, Busy(ticket, HAS_BEGUN_S))
        else:
            self._farm.unanswered[session.id, ticket] = session, execution.key

    def _new_id(self, execution: Execution) -> bytes:
        return new_lease_id(execution.key, self._farm.rng, self._farm.leases)

    def _send_run(self, execution: Execution, lease: Lease, node: Node) -> None:
        client = execution.client or execution.lane.user
        self._farm.send(
            node.session, Run(lease.id, execution.job, client, lease.memory_bytes, execution.body)
        )

    def _is_distrusted(self, recalled: Recalled, session: Session, now: float) -> bool:
        maker = (recalled.node_key, recalled.node)
        return self._farm.nodes.is_distrusted(maker, session.user, now)

    def _answer(self, session: Session, event: JobSubmitted, recalled: Recalled) -> None:
        """From the shared cache, before any scheduling."""
        self._farm.audit("hit", user=session.user, job=short(event.key))
        self._recall_for(session, event.ticket, event.key, recalled)

    def _recall_for(self, session: Session, ticket: int, key: Digest, recalled: Recalled) -> None:
        message = Finished(ticket, recalled.node, 0.0, True, True, recalled.body)
        self._farm.emit(Deliver(session.route, recalled.outputs, message, key))

    def _open_up(self, execution: Execution) -> None:
        """It has nothing to hide and nothing to learn any more: it becomes the execution of its key, or
        joins it."""
        farm = self._farm
        known = farm.executions.get(execution.job)
        waiters, execution.waiters = list(execution.waiters.values()), {}
        self.uploads.forget(execution)
        farm.remove(execution)
        if farm.watch is not None:
            farm.watch.opened(execution, is_merged=known is not None)
        execution.claims = {}
        execution.key, execution.phase = execution.job, Phase.QUEUED
        for waiter in waiters:
            session = farm.sessions.get(waiter.session)
            if session is None:
                continue  # over, and not undone yet
            farm.close_request(session, waiter.ticket)
            farm.open_request(session, waiter.ticket, execution.job)
            if known is not None:
                known.is_new |= execution.is_new
                waiter = replace(waiter, shared=True)
                lane, nice = execution.lane, execution.nice
                farm.join(known, session, waiter, lane, nice, execution.expected)
                if farm.watch is not None:
                    farm.watch.joined(known, waiter)
            else:
                execution.join(waiter)
        if execution.waiters:
            farm.add(execution, at_front=True)

    def _adopt_orphan_of(self, execution: Execution, now: float) -> None:
        found = self._farm.nodes.find_orphan(execution.key)
        if found is not None and self._farm.may_adopt(execution, found[0]):
            self.adopt(execution, *found, now)

    def _begin(
        self, execution: Execution, node: Node, lease_id: bytes, finish_at: float, now: float
    ) -> Lease:
        assert not execution.is_private
        may_fetch = frozenset((execution.toolchain, *execution.inputs))
        power = 1.0 / self._farm.model.wall_s(1.0, node.identity)
        keys = node.session.user, execution.lane.user
        lease = Lease(
            lease_id, execution.key, node.session.id, *keys, now, finish_at, may_fetch, power
        )
        self._farm.denials.leased(*keys)
        lease.memory_bytes = execution.memory_bytes
        lease.had_to_fetch = execution.toolchain not in node.toolchains
        self._farm.patience.assigned(lease, now)
        node.take(lease, now)
        if lease.had_to_fetch:
            size_bytes = execution.toolchain_bytes
            node.supplies.ordered(execution.toolchain, size_bytes, lease.slot_at, now)
        self._farm.leases[lease_id] = lease
        self._farm.seats.touch(node)
        return lease

    def _abandon(self, execution: Execution) -> None:
        if execution.lease is not None:
            self.charge(execution.lease, self._farm.now)
        self._farm.audit("abandon", user=execution.lane.user, job=short(execution.key))
        if self._farm.watch is not None:
            self._farm.watch.abandoned(execution)
        self.remove(execution, Ending.UNTOLD)
