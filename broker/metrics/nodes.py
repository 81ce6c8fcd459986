"""The nodes in sums, taken a few at a time: a large farm's are no stretch of work for one turn. Pure.

No node has a series of its own. Who may read the page need be no member, and a node's name is often that of
somebody's machine, whose slots say when he is at it. Names are the nodes' choice too: one that comes with
another name each time would leave a series for each. Which node it is, `zcc nodes` tells members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from broker.core.farm import Farm
from broker.core.nodes import Node
from zcc import __version__
from zcc.exposition import Metric, gauge, gauges

# 1 ms.
NODES_AT_ONCE = 250
STATES = (
    "ready", "limited", "resting", "paused", "draining", "quarantined", "on-trial", "probed",
)  # fmt: skip


class NodeSums:
    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._left: Iterator[Node] = iter(list(farm.nodes))
        self._states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        self._all = self._lent = self._used = self._idle = 0
        self._assigned = self._running = 0
        self._short = self._other = 0

    def add_some(self) -> bool:
        """A few more of them; whether there may be others."""
        now, some = self._farm.now, list(islice(self._left, NODES_AT_ONCE))
        for node in some:
            self._add(node, now)
        return bool(some)

    def _add(self, node: Node, now: float) -> None:
        self._states[node.state(now)] += 1
        running = sum(lease.began_at is not None for lease in node.leases.values())
        self._running += running
        self._assigned += len(node.leases) - running
        self._all += node.all_slots
        self._used += max(min(node.held, node.width), running)
        if node.is_usable(now):
            self._lent += node.width
            self._idle += node.idle_slots
        self._short += node.is_short_of_memory
        self._other += node.session.version != __version__

    def metrics(self) -> Iterator[Metric]:
        yield gauges("zcc_farm_nodes", "nodes that are here, by state", "state", self._states)
        yield gauge(
            "zcc_farm_nodes_short_of_memory",
            "nodes that hold jobs and get no more for want of memory",
            self._short,
        )
        yield gauge(
            "zcc_farm_nodes_of_other_version",
            "nodes whose release is not the broker's",
            self._other,
        )
        yield gauge("zcc_farm_slots_all", "slots that the nodes here have", self._all)
        yield gauge("zcc_farm_slots_lent", "slots that take jobs now", self._lent)
        yield gauge("zcc_farm_slots_idle", "slots that take jobs now and have none", self._idle)
        yield gauge("zcc_farm_slots_used", "slots that have a job", self._used)
        runs = {"assigned": self._assigned, "running": self._running}
        text = "leases that nodes hold, by whether their compiler runs; second copies count"
        yield gauges("zcc_farm_held_leases", text, "state", runs)
