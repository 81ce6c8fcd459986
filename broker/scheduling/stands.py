"""How each node stood at a moment of late: the present, and what has been changed since. Pure.

A decision keeps a mark, which is a number. Asked for it, the changes since then are undone one by one: so a
decision costs nothing for the nodes that it passed over, and a farm's nodes are looked at for who asks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from broker.core.limits import (
    CHANGE_BYTES,
    ENTRY_BYTES,
    MAX_CHANGES,
    MAX_CHANGES_BYTES,
    MAX_PRESSURE,
)
from broker.core.nodes import Node
from broker.scheduling.model import Identity
from cache.digest import Digest


class Stand(NamedTuple):
    """What of a node a choice depends on. `ln_rate` is the model's, without the farm's mean; `aside` are users
    whose jobs avoid it, each until a time. `left_bytes` of memory are promised to nobody (infinite where the
    node does not say); of a node under pressure none are."""

    node: Node
    slots: int
    held: int
    ln_rate: float
    state: str
    reason: str
    unfit: frozenset[Digest]
    aside: tuple[tuple[str, float], ...]
    left_bytes: float

    @property
    def identity(self) -> Identity:
        return self.node.identity


def _left_bytes(node: Node) -> float:
    memory = node.memory
    if memory is None:
        return math.inf
    is_pressed = memory.pressure > MAX_PRESSURE and node.held
    return 0.0 if is_pressed else memory.usable_bytes - node.reserved_bytes


# A node that is looked at takes as long as so many changes that are undone.
NODE_COUNTS = 16

_Change = tuple[bytes, Stand | None, Digest | None, int]
_NOTHING: frozenset[Digest] = frozenset()


class Stands:
    """Of the nodes that are here, by session."""

    def __init__(self, most: int = MAX_CHANGES, most_bytes: int = MAX_CHANGES_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._now: dict[bytes, Stand] = {}
        # The stand before each change, or the toolchain that the node has got; and what it takes.
        self._undo: deque[_Change] = deque()
        self._size_bytes = 0
        self._count = 0

    @property
    def mark(self) -> int:
        """The present, to be asked for later."""
        return self._count

    def note(self, node: Node, ln_rate: float, now: float) -> None:
        """The node may have changed."""
        stand = Stand(
            node,
            node.width,
            node.held,
            ln_rate,
            "" if node.is_usable(now) else node.state(now),
            node.why_none,
            frozenset(node.unfit) if node.unfit else _NOTHING,
            node.record.aside(),
            _left_bytes(node),
        )
        session = node.session.id
        before = self._now.get(session)
        if before != stand:
            self._change(session, before, None)
            self._now[session] = stand

    def gone(self, node: Node) -> None:
        before = self._now.pop(node.session.id, None)
        if before is not None:
            words = (*node.machine_classes, *node.toolchains, *node.unfit)
            size_bytes = sum(len(word) + ENTRY_BYTES for word in words)
            self._change(node.session.id, before, None, size_bytes)

    def got_toolchain(self, node: Node, toolchain: Digest) -> None:
        """It lacked this one before."""
        self._change(node.session.id, None, toolchain)

    def work_for(self, mark: int) -> int:
        """What it takes to see how it was then, in changes that are undone; 0: it is too long ago."""
        steps = self._count - mark
        return steps + NODE_COUNTS * len(self._now) if steps <= len(self._undo) else 0

    def at(self, mark: int) -> tuple[list[Stand], set[tuple[bytes, Digest]]] | None:
        """How the nodes stood at this mark, and which toolchains (by session) came to them only later; None
        when that is too long ago."""
        steps = self._count - mark
        if steps > len(self._undo):
            return None
        stands, later = dict(self._now), set()
        for session, before, toolchain, _ in reversed(list(self._undo)[len(self._undo) - steps :]):
            if toolchain is not None:
                later.add((session, toolchain))
            elif before is None:
                stands.pop(session, None)
            else:
                stands[session] = before
        return list(stands.values()), later

    def _change(
        self, session: bytes, before: Stand | None, toolchain: Digest | None, more_bytes: int = 0
    ) -> None:
        """`more_bytes`: what is kept for this change alone."""
        size_bytes = CHANGE_BYTES + more_bytes + (len(before.reason) if before is not None else 0)
        self._undo.append((session, before, toolchain, size_bytes))
        self._count += 1
        self._size_bytes += size_bytes
        while len(self._undo) > self._most or self._size_bytes > self._most_bytes:
            self._size_bytes -= self._undo.popleft()[-1]
