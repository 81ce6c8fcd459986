"""What nodes are called where several have one name. Pure."""

from __future__ import annotations

from collections import Counter

from zcc.watching.state import FarmState
from zcc.watching.views import NodeView


def node_names(state: FarmState) -> dict[int, str]:
    """By number: the name; behind it the key (`k-` and eight digits) where another node has the same name, and
    the number too where that one has the same key.
    """
    names = Counter(node.shown.name for node in state.nodes.values())
    keys = Counter((node.shown.name, node.shown.member) for node in state.nodes.values())
    return {number: _called(state, node, names, keys) for number, node in state.nodes.items()}


def key_of(state: FarmState, node: NodeView) -> str:
    """The node's key, as `zcc-broker keys` has it; empty: not known."""
    member = state.members.get(node.shown.member)
    return member.id if member is not None else ""


def _called(
    state: FarmState, node: NodeView, names: Counter[str], keys: Counter[tuple[str, int]]
) -> str:
    name = node.shown.name
    if names[name] == 1:
        return name
    key = key_of(state, node)
    if key and keys[name, node.shown.member] == 1:
        return f"{name} ({key})"
    return f"{name} ({f'{key} ' if key else ''}#{node.number})"
