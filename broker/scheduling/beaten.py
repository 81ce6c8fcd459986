"""Runs that a second copy elsewhere has beaten, and whose own results may still be on their way. Pure.

The loser's lease is revoked, but its result may have been sent already. What two nodes make of one job must be
the same, so it is compared when it comes. Nobody is served from it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from broker.core.events import ResultArrived
from broker.core.jobs import Execution, Lease
from broker.core.limits import MAX_BEATEN_BODY_BYTES, MAX_BEATEN_KEPT
from broker.core.nodes import Node
from cache.digest import Digest


@dataclass(frozen=True, slots=True)
class Winner:
    """Who gave the result of this key's job; `body` as in Done. `loser` is the other node's session."""

    key: Digest
    user: str
    node: str
    node_key: str
    body: bytes
    loser: bytes


class Beaten:
    """The last MAX_BEATEN_KEPT of them, by their leases."""

    def __init__(self) -> None:
        self._winners: OrderedDict[bytes, Winner] = OrderedDict()

    def note(self, lease: Lease, execution: Execution, node: Node, event: ResultArrived) -> None:
        """This lease is over, as that node has given the result."""
        if len(event.body) > MAX_BEATEN_BODY_BYTES or execution.is_rerun:
            return
        name, key = node.session.name, node.session.user
        user = execution.lane.user
        winner = Winner(execution.key, user, name, key, event.body, lease.node)
        self._winners[lease.id] = winner
        if len(self._winners) > MAX_BEATEN_KEPT:
            self._winners.popitem(last=False)

    def payer_of(self, session: bytes, lease: bytes) -> str | None:
        """Whose job this session's lease was, if its result is to be compared."""
        winner = self._winners.get(lease)
        return None if winner is None or winner.loser != session else winner.user

    def take(self, session: bytes, lease: bytes) -> Winner | None:
        """Who has beaten this session's lease; to be asked once."""
        if self.payer_of(session, lease) is None:
            return None
        return self._winners.pop(lease)
