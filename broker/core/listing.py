"""The nodes as `zcc nodes` shows them. Pure."""

from __future__ import annotations

from broker.core.farm import Farm
from broker.core.nodes import Node
from zcc.member_id import member_id
from zcc.messages import NodeRow, Nodes


def nodes_of(farm: Farm, now: float) -> Nodes:
    return Nodes(tuple(_row(farm, node, now) for node in farm.nodes))


def _row(farm: Farm, node: Node, now: float) -> NodeRow:
    return NodeRow(
        name=node.session.name,
        slots=node.width,
        running=max(min(node.held, node.width), _count_begun(node)),
        speed=farm.model.told_speed(node.identity),
        state=node.state(now),
        load=node.load,
        finished=node.record.finished,
        faults=node.record.faults,
        reason=node.reason(now),
        all_slots=node.all_slots,
        mode=node.mode,
        member=member_id(node.session.user),
    )


def _count_begun(node: Node) -> int:
    """Jobs that run there: more than its slots, when it had more of them before."""
    return sum(lease.began_at is not None for lease in node.leases.values())
