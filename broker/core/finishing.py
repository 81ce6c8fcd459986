"""Results of nodes: who gets them, what is remembered, and what they tell of jobs and nodes. Pure.

Leases and requests are the ledger's.
"""

from __future__ import annotations

from broker.core.effects import Deliver, Remember, RerunEnded
from broker.core.events import ResultArrived
from broker.core.farm import Farm
from broker.core.jobs import AUDITOR, EVERY, Ending, Execution, Lease, Waiter
from broker.core.ledger import Ledger
from broker.core.limits import BUSY_AFTER_S, LEAST_CPU_SHARE
from broker.core.nodes import Node
from broker.scheduling.outrun import Outrun
from broker.scheduling.patience import held_to, seen_wall_s, unexplained_s
from broker.trust import opinions
from broker.trust.blame import excuse
from cache.digest import short
from zcc.messages import Finished


class Finishing:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger
        self._outrun = Outrun(farm)

    def finish(self, lease: Lease, node: Node, event: ResultArrived, now: float) -> None:
        """A result: to everybody who waits."""
        farm = self._farm
        predicted_s = farm.model.wall_s(farm.executions[lease.key].cost_s, node.identity)
        execution = self._ledger.end_lease(lease)
        if execution.lease is not None:
            if not event.is_sound:
                farm.lease_ended(lease, "unproven")
                return  # it proves nothing: another node may yet
            self._beat(execution.lease, execution, node, event, now)
        farm.patience.ended(lease, execution, predicted_s, now)
        cpu_s, wall_s = held_to(lease, event.cpu_s, event.wall_s, now)
        unbegun_s = lease.held_s(lease.began_at if lease.began_at is not None else now - wall_s)
        seen_s = seen_wall_s(lease, wall_s, predicted_s, now)
        cpu_s = max(cpu_s, LEAST_CPU_SHARE * seen_s)
        if lease.measures:
            node.record.line.late(unexplained_s(lease, wall_s, now))
        excuse(execution.suspicions, farm.model, node.identity, seen_s)
        if not opinions.is_denial(event):  # which says nothing of speeds
            self._outrun.ended(node)
            is_others = opinions.ending_of_run(execution, node) is Ending.RAN_ELSEWHERE
            if execution.lease is not None and is_others and not execution.is_rerun:
                self._outrun.beaten(execution.lease, execution, node, seen_s, now)
        is_kept = event.exit_status == 0 and event.is_sound and not lease.is_adopted
        is_kept &= not farm.nodes.is_distrusted(node.identity, execution.lane.user, now)
        if is_kept:
            farm.proved_toolchain(execution.lane.user, execution.toolchain)
        if is_kept and not execution.is_rerun:
            self._remember(execution, node, event)
        if not lease.is_adopted:  # else nobody knows how long it had it
            farm.served(
                execution,
                max(
                    cpu_s * farm.model.speed(node.identity),
                    lease.slots * farm.model.held_cost_s(wall_s + unbegun_s, node.identity),
                ),
            )
            if not opinions.is_denial(event):  # which takes what its node likes
                what = execution.cost_class, execution.cost_scale, cpu_s, seen_s
                known, peak = execution.known, event.peak_bytes
                farm.model.observe(node.identity, *what, known, peak, now)
        farm.seats.touch(node)
        if farm.watch is not None:
            farm.watch.finished(execution, lease, event, (cpu_s, wall_s))
        if farm.tally is not None:
            farm.tally.ran(event, cpu_s, wall_s)
        waiters = self._ledger.remove(execution, opinions.ending_of_run(execution, node))
        self._serve(execution, waiters, lease, node, event, now)

    def _serve(
        self,
        execution: Execution,
        waiters: list[Waiter],
        lease: Lease,
        node: Node,
        event: ResultArrived,
        now: float,
    ) -> None:
        """The result goes to these; for whoever takes none of this node's it is done once more."""
        farm, name, key = self._farm, node.session.name, node.session.user
        not_served = []
        for waiter in waiters:
            session = farm.sessions.get(waiter.session)
            if waiter.session == AUDITOR:
                farm.emit(RerunEnded(execution.key, name, key, event.body, ""))
            if session is None:
                continue
            if farm.nodes.is_distrusted(node.identity, session.user, now):
                not_served.append(waiter)
                continue
            farm.close_request(session, waiter.ticket)
            queued_s = max(0.0, lease.assigned_at - waiter.since)
            message = Finished(waiter.ticket, name, queued_s, waiter.shared, False, event.body)
            farm.emit(Deliver(session.route, event.outputs, message))
        if not_served:
            self._run_again(execution.again(not_served, (key, EVERY)), now)

    def _beat(
        self, lease: Lease, execution: Execution, node: Node, event: ResultArrived, now: float
    ) -> None:
        """This lease of a job comes too late: another node has given the result."""
        farm = self._farm
        if (other := farm.nodes.get(lease.node)) is None:
            return
        user = execution.lane.user
        is_told = opinions.ending_of_run(execution, node) is Ending.RAN_ELSEWHERE
        if lease.began_at is not None and is_told and not execution.is_rerun:
            farm.blame.beaten(other.identity, user, node.session.user, lease.began_at, now)
        farm.beaten.note(lease, execution, node, event)
        farm.lease_ended(lease, "beaten")
        farm.audit("beaten", user=user, job=short(execution.key), node=other.session.name)

    def _run_again(self, execution: Execution, now: float) -> None:
        """Who waits for it takes nothing from the node that has done it."""
        self._farm.weigh(execution, now)
        self._farm.add(execution, at_front=True)
        if self._farm.watch is not None:
            self._farm.watch.queued(execution)
        if not self._ledger.unservable.refuse(execution, now):
            self._ledger.tell_start(execution, BUSY_AFTER_S)

    def _remember(self, execution: Execution, node: Node, event: ResultArrived) -> None:
        """The result of a job that we handed out, from the node that held its lease: nothing else gets into
        the shared cache."""
        self._farm.emit(
            Remember(
                key=execution.key,
                body=event.body,
                outputs=event.outputs,
                size_bytes=event.size_bytes,
                toolchain=execution.toolchain,
                node=node.session.name,
                node_key=node.session.user,
                user=execution.lane.user,
                job=execution.body,
            )
        )
