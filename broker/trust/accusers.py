"""Whose jobs have shown that nodes of a key give wrong results, and what is concluded from it. Pure.

A member could bring a compiler that gives something else on one node, and so accuse whom he likes. So his jobs
count against a node key once a day, against MAX_ACCUSED keys at the most, and keep away from that key then.
What the jobs of SUSPECTING_KEYS members have shown keeps everybody's away, until known jobs of others have been
put to it; what those of CONDEMNING_KEYS have shown, for a day first.
"""

from __future__ import annotations

from collections import OrderedDict

from broker.core.events import NodeCondemned
from broker.core.limits import (
    CONDEMNED_S,
    CONDEMNING_KEYS,
    MAX_ACCUSED,
    MAX_QUARANTINE_S,
    SUSPECTING_KEYS,
)


class Accusers:
    def __init__(self) -> None:
        # By (node key, member): since when his word counts. Oldest first.
        self._since: OrderedDict[tuple[str, str], float] = OrderedDict()

    def shown(self, node_key: str, user: str, now: float) -> list[NodeCondemned]:
        """A job of this member's has shown that a node of this key gave a wrong result; what follows."""
        while self._since and next(iter(self._since.values())) <= now - CONDEMNED_S:
            self._since.popitem(last=False)
        accused = sum(by == user for _, by in self._since)
        if (node_key, user) in self._since or accused >= MAX_ACCUSED:
            return []
        self._since[node_key, user] = now
        follows = [NodeCondemned(node_key, CONDEMNED_S, user)]
        accusers = sum(of == node_key for of, _ in self._since)
        if accusers >= CONDEMNING_KEYS:
            follows.append(NodeCondemned(node_key, CONDEMNED_S))
        elif accusers >= SUSPECTING_KEYS:
            follows.append(NodeCondemned(node_key, MAX_QUARANTINE_S))
        return follows
