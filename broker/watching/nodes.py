"""The nodes as who watches has them, and the toolchains on their way there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core.nodes import Node
from broker.watching.asking import is_hidden
from broker.watching.limits import MAX_NODES_SHOWN_A_SECOND, NODE_SHOWN_EVERY_S
from broker.watching.numbers import Register, shown, without_paths
from cache.digest import Digest
from zcc.events import MAX_TOOLCHAINS, Row

if TYPE_CHECKING:
    from broker.core.farm import Farm


class NodesShown:
    """`say` is called with each row. What a node says of itself each second is looked at as often, not at
    once.
    """

    def __init__(self, farm: Farm, register: Register, say: Callable[[Row], None]) -> None:
        self._farm = farm
        self._register = register
        self._say = say
        self._last = 0
        self._nodes: dict[bytes, _ShownNode] = {}
        self._changed: dict[bytes, Node] = {}
        self._shipping: dict[tuple[bytes, Digest], int] = {}

    def number_of(self, session_id: bytes) -> int:
        """The number of the node with this session; 0: it has none."""
        known = self._nodes.get(session_id)
        return known.number if known is not None else 0

    def changed(self, node: Node) -> None:
        """It may be another than it was: looked at within a second."""
        self._changed[node.session.id] = node

    def left(self, node: Node, reason: str, at_ms: int) -> None:
        self._changed.pop(node.session.id, None)
        known = self._nodes.pop(node.session.id, None)
        if known is not None:
            word, _, _ = reason.partition(": ")  # what broke the protocol may be anything
            self._say(("node-left", at_ms, known.number, shown(word)))

    def look(self, at_ms: int) -> None:
        """A second has passed."""
        for session_id in list(self._changed)[:MAX_NODES_SHOWN_A_SECOND]:
            self.show(self._changed.pop(session_id), at_ms, is_new=False)
        self._show_shipping(at_ms)

    def _begin(self, node: Node) -> _ShownNode:
        self._last += 1
        known = self._nodes[node.session.id] = _ShownNode(self._last)
        return known

    def show(self, node: Node, at_ms: int, *, is_new: bool) -> None:
        if self._farm.nodes.get(node.session.id) is not node:
            return
        known = self._nodes.get(node.session.id)
        if known is None:
            known = self._begin(node)
            is_new = True
        row = self._row(node, known.number, at_ms)
        if is_new or known.is_news(row, self._farm.now):
            known.row, known.shown_at = row, self._farm.now
            self._say(row)

    def _row(self, node: Node, number: int, at_ms: int) -> Row:
        farm, now = self._farm, self._farm.now
        session, memory, model = node.session, node.memory, farm.model
        toolchains = sorted(node.toolchains)[:MAX_TOOLCHAINS]
        return (
            "node",
            at_ms,
            number,
            self._register.member(session.user, at_ms),
            shown(session.name),
            shown(session.version),
            node.state(now),
            shown(node.mode),
            without_paths(node.reason(now)),
            node.slots,
            node.all_slots,
            round(model.told_speed(node.identity), 3),
            round(model.spread(node.identity), 2),
            round(model.slowdown(node.identity), 2),
            round(node.load, 1),
            memory.limit_bytes if memory is not None else 0,
            memory.usable_bytes if memory is not None else 0,
            node.reserved_bytes - self._hidden_bytes(node),
            round(memory.pressure, 1) if memory is not None else 0.0,
            node.record.finished,
            node.record.faults,
            tuple(self._register.toolchain(each, "", at_ms) for each in toolchains),
            model.known_by(node.identity),
        )

    def _hidden_bytes(self, node: Node) -> int:
        """Reserved for what is told to nobody: it would show where that runs."""
        executions = self._farm.executions
        held = ((each.memory_bytes, executions.get(each.key)) for each in node.leases.values())
        return sum(size for size, job in held if job is not None and is_hidden(job))

    def all_rows(self, at_ms: int) -> list[Row]:
        """All nodes as they were said last, and those that were not said yet."""
        for node in self._farm.nodes:
            if node.session.id not in self._nodes:
                known = self._begin(node)
                known.row, known.shown_at = self._row(node, known.number, at_ms), self._farm.now
        return [known.row for known in self._nodes.values()]

    def _show_shipping(self, at_ms: int) -> None:
        """Toolchains on their way to nodes, and those that have come since."""
        coming: dict[tuple[bytes, Digest], int] = {}
        for node in list(self._farm.seats.awaiting.values())[:MAX_NODES_SHOWN_A_SECOND]:
            for toolchain, left_bytes, size_bytes in node.supplies.coming():
                coming[node.session.id, toolchain] = size_bytes
                self._ship(at_ms, node.session.id, toolchain, size_bytes - left_bytes, size_bytes)
        for (session_id, toolchain), size_bytes in self._shipping.items():
            if (session_id, toolchain) not in coming and session_id in self._nodes:
                self._ship(at_ms, session_id, toolchain, size_bytes, size_bytes)
        self._shipping = coming

    def _ship(
        self, at_ms: int, session_id: bytes, toolchain: Digest, done: int, total: int
    ) -> None:
        number = self._register.toolchain(toolchain, "", at_ms)
        node = self.number_of(session_id)
        self._say(("shipping", at_ms, node, number, max(0, done), total))


class _ShownNode:
    """A node's number, and what was said of it last."""

    __slots__ = ("number", "row", "shown_at")

    def __init__(self, number: int) -> None:
        self.number = number
        self.row: Row = ()
        self.shown_at = 0.0

    def is_news(self, row: Row, now: float) -> bool:
        """Whether it is worth saying: what it is at once, what it has in hand now and then."""
        before = self.row
        is_other = row[3:14] != before[3:14] or row[20:] != before[20:]
        return is_other or (now - self.shown_at >= NODE_SHOWN_EVERY_S and row[2:] != before[2:])
