"""Jobs that are run again to see whether a remembered result holds, or whether a node is well. Pure.

A rerun is an execution like any other, but nobody's: it waits for no uploads, is given to no node of the keys
that it avoids, counts on no member, and its result is not remembered. An agent that submits the same job
meanwhile is served by it. It is asked for while no job waits, so it delays none but by the slot that it holds.
"""

from __future__ import annotations

from broker.core.effects import RerunEnded
from broker.core.events import NodeCondemned, RerunAsked
from broker.core.farm import Farm
from broker.core.jobs import AUDITOR, EVERY, Execution, Phase, Waiter
from broker.core.ledger import Ledger
from broker.core.limits import RESERVE_SHARE
from broker.scheduling.placement import Choice, takes_s
from broker.scheduling.queue import Lane
from cache.digest import short

BUSY = "runs-already"
NO_NODE = "no-other-node"
# Of a node on trial: it is not there, or holds something; and it must not or cannot be given this job.
NOT_THERE = "not-there"
NOT_FOR_IT = "not-for-it"
TRIAL = "trial"
_BUILD = "audit"


class Reruns:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger

    def ask(self, event: RerunAsked, now: float) -> None:
        """Run a job again: on any node, in its turn, or at once on the one that it is put to."""
        farm = self._farm
        execution = self._execution(event, now)
        if event.key in farm.executions:
            reason = BUSY
        elif event.only:
            reason = self._reason_against(event, execution, now)
        else:
            reason = "" if self._has_judge(event, now) else NO_NODE
        if reason:
            farm.emit(RerunEnded(event.key, "", "", b"", reason))
            return
        farm.add(execution)
        if farm.watch is not None:
            farm.watch.queued(execution)
        execution.ready_at = now
        farm.set_phase(execution, Phase.READY)
        if event.only:
            self._put_to(execution, event.only, now)

    def _has_judge(self, event: RerunAsked, now: float) -> bool:
        """Whether a trusted node of another key may run it."""
        return any(
            node.is_usable(now)
            and node.record.standing.is_trusted
            and node.takes("", event.machine_class, now, event.toolchain)
            and node.session.user not in event.avoid
            for node in self._farm.nodes
        )

    def _reason_against(self, event: RerunAsked, execution: Execution, now: float) -> str:
        """Why the job cannot be put to this node: it is given no files that it could not be given anyway."""
        node = self._farm.nodes.get(event.only)
        if node is None or not node.is_there(now) or node.held:
            return NOT_THERE
        is_fit = (
            node.serves(event.client, event.machine_class)
            and self._farm.holdings.is_toolchain(event.toolchain)
            and event.toolchain not in node.unfit
            and execution.least_bytes <= node.most_bytes
        )
        return "" if is_fit else NOT_FOR_IT

    def _put_to(self, execution: Execution, session: bytes, now: float) -> None:
        farm, node = self._farm, self._farm.nodes.get(session)
        assert node is not None
        farm.seats.touch(node)
        farm.seats.refresh(now)
        seat = farm.seats.seat_of(node)
        assert seat is not None
        choice = Choice(
            execution.key, seat, now + takes_s(execution, seat, now), TRIAL, execution.cost_s
        )
        lease = self._ledger.assign(execution, node, choice.finish_at, now)
        farm.decisions.note(execution, lease, choice, now)
        if farm.watch is not None:
            farm.watch.leased(execution, lease, choice, (1, 1))
        name, job = node.session.name, short(execution.job)
        farm.audit("dispatch", user=execution.client, job=job, node=name, reason=TRIAL)

    def _execution(self, event: RerunAsked, now: float) -> Execution:
        expected = self._farm.model.expect(event.toolchain, 0.0, len(event.inputs))
        avoid = {(key, EVERY) for key in event.avoid}
        if not event.only:
            nodes = self._farm.nodes
            # No suspect is a judge.
            avoid |= {node.identity for node in nodes if not node.record.standing.is_trusted}
        execution = Execution(
            key=event.key,
            job=event.job or event.key,
            toolchain=event.toolchain,
            inputs=event.inputs,
            lane=Lane("", _BUILD, event.machine_class),
            body=event.body,
            cost_class=expected.job,
            cost_s=expected.cost_s,
            cost_scale=expected.scale,
            memory_bytes=int(RESERVE_SHARE * expected.usual_bytes),
            usual_bytes=int(RESERVE_SHARE * expected.usual_bytes),
            # What a node is tried with is short: its result says so.
            is_known=expected.is_known or bool(event.only),
            avoid=avoid,
            most_outputs=event.most_outputs,
            declared=event.declared,
            client=event.client,
            is_trial=bool(event.only),
        )
        execution.join(Waiter(AUDITOR, 0, now, shared=False))
        return execution

    def condemn(self, event: NodeCondemned, now: float) -> None:
        """No node of this key is given jobs for a while, or none of one member's."""
        farm = self._farm
        if event.user:
            farm.nodes.keep_from(event.node_key, event.user, event.for_s, now)
        else:
            farm.nodes.condemn(event.node_key, event.for_s, now)
        for node in farm.nodes:
            if node.session.user == event.node_key:
                farm.seats.touch(node)
        user, node_key, for_s = event.user, event.node_key, event.for_s
        farm.audit("quarantine", node_key=node_key, for_s=for_s, user=user, reason="audit")
        self._ledger.unservable.look(now)
