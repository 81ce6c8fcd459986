"""A node whose runs all take long has become slow: it is rated by what runs, before any of it ends. Pure.

A node's rate is learnt from runs that end there. Those on a node that has slowed down end late, and until then
it would be believed as fast as before, and be given the longest jobs. So a node of which a run straggles
(`broker/patience.py`) is rated by what it runs: by the median of elapsed / expected, for each key's runs by
itself, and of these the least, so that no one key's jobs make a node slow for others. It is held against the
same of other nodes: where they are as late, it is what was expected that was wrong. What ends there next says
more, and corrects it.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

from broker.farm import Farm
from broker.jobs import Lease
from broker.model import CHANGED
from broker.nodes import Node

# Of fewer runs nothing is said: one or two are late because of themselves.
LEAST_RUNS = 3
# So many others it is held against.
_OTHERS = 8


def rate_anew(farm: Farm, late: Iterable[Lease], now: float) -> list[Node]:
    """Rate the nodes of these runs, which straggle; those that are slower than was believed."""
    slower = []
    for session_id in dict.fromkeys(lease.node for lease in late if lease.began_at is not None):
        node = farm.nodes.get(session_id)
        if node is None:
            continue
        late_times = _times_late(farm, node, now)
        if late_times is None or math.log(late_times) <= CHANGED:
            continue
        others = _others(farm, node, now)
        times = late_times / max(1.0, statistics.median_low(others)) if others else 1.0
        if math.log(times) <= CHANGED:
            continue
        farm.model.note_slower(node.identity, times, now)
        farm.seats.touch(node)
        for lease in node.leases.values():
            if lease.began_at is not None:
                lease.expected_end += (times - 1.0) * (lease.expected_end - lease.began_at)
        slower.append(node)
    return slower


def _others(farm: Farm, node: Node, now: float) -> list[float]:
    """The same of some other nodes that run enough."""
    found = (_times_late(farm, each, now) for each in farm.nodes if each is not node)
    return list(islice((each for each in found if each is not None), _OTHERS))


def _times_late(farm: Farm, node: Node, now: float) -> float | None:
    """How many times as long as expected its runs have run, 1 at least; None: there are too few."""
    times: dict[str, list[float]] = defaultdict(list)
    for lease in node.leases.values():
        if lease.began_at is not None and not lease.has_announced:
            expected_s = max(lease.expected_end - lease.began_at, 1e-3)
            user = farm.executions[lease.key].lane.user
            times[user].append((now - lease.began_at) / expected_s)
    if sum(map(len, times.values())) < LEAST_RUNS:
        return None
    return max(1.0, min(map(statistics.median_low, times.values())))
