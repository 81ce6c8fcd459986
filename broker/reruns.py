"""Jobs that are run again to see whether a remembered result holds. Pure.

A rerun is an execution like any other, but nobody's: it waits for no uploads, is given to no node of the keys
that it avoids, counts on no member, and its result is not remembered. An agent that submits the same job
meanwhile is served by it. It is asked for while no job waits, so it delays none but by the slot that it holds.
"""

from __future__ import annotations

from broker.effects import RerunEnded
from broker.events import NodeCondemned, RerunAsked
from broker.farm import Farm
from broker.jobs import AUDITOR, EVERY, Execution, Phase, Waiter
from broker.ledger import Ledger
from broker.limits import RESERVE_SHARE
from broker.queue import Lane

BUSY = "runs-already"
NO_NODE = "no-other-node"
_BUILD = "audit"


class Reruns:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger

    def ask(self, event: RerunAsked, now: float) -> None:
        farm = self._farm
        avoid = {(key, EVERY) for key in event.avoid}
        reason = ""
        if event.key in farm.executions:
            reason = BUSY
        elif not any(
            node.is_usable(now)
            and node.takes("", event.machine_class, now, event.toolchain)
            and node.session.user not in event.avoid
            for node in farm.nodes
        ):
            reason = NO_NODE
        if reason:
            farm.emit(RerunEnded(event.key, "", "", b"", reason))
            return
        expected = farm.model.expect(event.toolchain, 0.0, len(event.inputs))
        execution = Execution(
            key=event.key,
            job=event.key,
            toolchain=event.toolchain,
            inputs=event.inputs,
            lane=Lane("", _BUILD, event.machine_class),
            body=event.body,
            cost_class=expected.job,
            cost_s=expected.cost_s,
            cost_scale=expected.scale,
            memory_bytes=int(RESERVE_SHARE * expected.usual_bytes),
            usual_bytes=int(RESERVE_SHARE * expected.usual_bytes),
            is_known=expected.is_known,
            avoid=avoid,
            most_outputs=event.most_outputs,
            client=event.client,
        )
        execution.join(Waiter(AUDITOR, 0, now, shared=False))
        farm.add(execution)
        execution.ready_at = now
        farm.set_phase(execution, Phase.READY)

    def condemn(self, event: NodeCondemned, now: float) -> None:
        """No node of this key is given jobs for a while."""
        farm = self._farm
        farm.nodes.condemn(event.node_key, now + event.for_s)
        for node in farm.nodes:
            if node.session.user == event.node_key:
                farm.seats.touch(node)
        farm.audit("quarantine", node_key=event.node_key, for_s=event.for_s, reason="audit")
        self._ledger.unservable.look(now)
