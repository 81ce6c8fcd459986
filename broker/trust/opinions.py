"""What nodes say against a job, and whether it is believed. Pure.

The nodes of one key are one voice: a job that one of them has lost goes to another key's, where there is one
that may run it. So no node key alone has others' jobs refused, under however many names.
"""

from __future__ import annotations

from broker.core.events import ResultArrived
from broker.core.farm import Farm
from broker.core.jobs import EVERY, Ending, Execution, Lease
from broker.core.limits import MAX_LOSSES, MAX_REASON
from broker.core.nodes import Node
from zcc.reasons import Reason

LOST_TWICE = Reason.NODES_FAILED
JOB_WRONG = Reason.JOB_REFUSED


def avoid(farm: Farm, execution: Execution, node: Node, now: float) -> None:
    """This node has lost the job: another key's are to have it, or another node where there is none."""
    user = node.session.user
    has_judge = farm.can_ask_another(execution, user, now)
    lost_by = (user, EVERY) if has_judge else node.identity
    execution.avoid.add(lost_by)
    execution.left_by.discard(lost_by)


def note_left(execution: Execution, lease: Lease, node: Node, now: float) -> None:
    """This node has let the job go, by what is nobody's fault: another node is to have it; another key's, if a
    second one of this key's has done so, or it had it for longer than such jobs take."""
    user = node.session.user
    is_key_done = now >= lease.straggles_at or any(key == user for key, _ in execution.left_by)
    left_by = (user, EVERY) if is_key_done else node.identity
    if left_by not in execution.avoid:
        execution.left_by.add(left_by)
        execution.avoid.add(left_by)


def relent(execution: Execution) -> bool:
    """No other may run it: those that have let it go for nobody's fault may. Whether there are any."""
    is_changed = bool(execution.left_by)
    execution.avoid -= execution.left_by
    execution.left_by.clear()
    return is_changed


def settle_doubt(execution: Execution, *, is_whole: bool) -> bool:
    """The inputs that a node could not use have been re-read. If one was not there, nobody who complained is a
    suspect. Returns whether the job is over."""
    execution.is_doubted = False
    if not is_whole:
        execution.complaints.clear()
    return execution.losses >= MAX_LOSSES


def wrong(detail: str) -> str:
    """What an agent reads of a job that is wrong in itself."""
    return f"{JOB_WRONG}: {detail}"[:MAX_REASON]


def verdict(execution: Execution) -> tuple[str, Ending]:
    """Why a job that nodes have lost is refused, and on whom that tells."""
    if len(execution.suspicions) + len(execution.complaints) < MAX_LOSSES:
        return LOST_TWICE, Ending.UNTOLD
    said = execution.called_wrong
    return wrong(said) if said else LOST_TWICE, Ending.JOB_AT_FAULT


def is_denial(event: ResultArrived) -> bool:
    """Whether nobody can use this result: its agent compiles by itself."""
    return event.exit_status != 0 or not event.is_sound


def note_use(farm: Farm, lease: Lease, node: Node, event: ResultArrived, now: float) -> None:
    """Whether this result is of use tells how many more of its key's jobs the node's key may have."""
    node_key = node.session.user
    if is_denial(event):
        farm.denials.note_denial(node_key, lease.payer, lease.expected_end, now)
    else:
        farm.denials.note_useful(node_key, lease.payer)


def ending_of_run(execution: Execution, node: Node) -> Ending:
    """A node has given a verdict. That of a publisher's own node is the publisher's word on his own job."""
    is_at_home = node.session.user == execution.lane.user
    return Ending.RAN_AT_HOME if is_at_home else Ending.RAN_ELSEWHERE


def note_complaints(execution: Execution, ending: Ending) -> None:
    """The job is over: who complained of its inputs is a suspect where that can be judged."""
    if ending in (Ending.RAN_ELSEWHERE, Ending.RAN_AT_HOME, Ending.JOB_AT_FAULT):
        for suspicion in execution.complaints:
            suspicion.note(execution)
