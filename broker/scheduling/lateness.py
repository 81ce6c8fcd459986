"""A node whose runs all take long has become slow: it is rated by what runs, before any of it ends. Pure.

A node's rate is learnt from runs that end there. Those on a node that has slowed down end late, and until then
it would be believed as fast as before, and be given the longest jobs. So a node of which a run straggles
(`broker/scheduling/patience.py`) is rated by what it runs: by the median of elapsed / expected, for each key's
runs by itself, and of these the least, so that no one key's jobs make a node slow for others. Where several
keys have jobs on the farm, runs of two must be late. It is held against the
same of other nodes: where they are as late, it is what was expected that was wrong. What ends there next says
more, and corrects it. When the runs that spoke are over without a result, or another key comes where one has
spoken alone, the rating from before comes back.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from broker.core.farm import Farm
from broker.core.jobs import Lease
from broker.core.nodes import Node
from broker.scheduling.model import CHANGED, Identity

# Of fewer runs nothing is said: one or two are late because of themselves.
LEAST_RUNS = 3
# So many others it is held against.
_OTHERS = 8


@dataclass(slots=True)
class _Said:
    """What runs on a node have said of it: those leases, of these keys."""

    leases: set[bytes] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class Lateness:
    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._said: dict[Identity, _Said] = {}

    def rate_anew(self, late: Iterable[Lease], now: float) -> list[Node]:
        """Rate the nodes of these runs, which straggle; those that are slower than was believed."""
        farm = self._farm
        slower = []
        for session_id in dict.fromkeys(lease.node for lease in late if lease.began_at is not None):
            node = farm.nodes.get(session_id)
            times = 1.0 if node is None else _times_slower(farm, node, now)
            if node is None or math.log(times) <= CHANGED:
                continue
            farm.model.note_slower(node.identity, times, now)
            farm.seats.touch(node)
            said = self._said.setdefault(node.identity, _Said())
            for lease in _begun(node):
                said.leases.add(lease.id)
                said.keys.add(farm.executions[lease.key].lane.user)
                assert lease.began_at is not None
                lease.expected_end += (times - 1.0) * (lease.expected_end - lease.began_at)
            slower.append(node)
        return slower

    def reconsider(self) -> None:
        """What was said by runs alone holds no longer than they do."""
        farm = self._farm
        for identity, said in list(self._said.items()):
            if farm.model.is_rated_by_runs(identity):
                is_one_keys = len(said.keys) < min(2, len(farm.tallies))
                if not is_one_keys and not said.leases.isdisjoint(farm.leases):
                    continue
                farm.model.take_back_slower(identity)
                for node in farm.nodes:
                    if node.identity == identity:
                        farm.seats.touch(node)
            del self._said[identity]


def _times_slower(farm: Farm, node: Node, now: float) -> float:
    """How many times slower it is than was believed, by what runs there and elsewhere; 1: nothing is said."""
    late_times = _times_late(farm, node, now, least_keys=min(2, len(farm.tallies)))
    if late_times is None or math.log(late_times) <= CHANGED:
        return 1.0
    others = _others(farm, node, now)
    return late_times / max(1.0, statistics.median_low(others)) if others else 1.0


def _begun(node: Node) -> list[Lease]:
    return [lease for lease in node.leases.values() if lease.began_at is not None]


def _others(farm: Farm, node: Node, now: float) -> list[float]:
    """The same of some other nodes that run enough."""
    found = (_times_late(farm, each, now) for each in farm.nodes if each is not node)
    return list(islice((each for each in found if each is not None), _OTHERS))


def _times_late(farm: Farm, node: Node, now: float, least_keys: int = 1) -> float | None:
    """How many times as long as expected its runs have run, 1 at least; None: there are too few, or of too few
    keys."""
    times: dict[str, list[float]] = defaultdict(list)
    for lease in node.leases.values():
        if lease.began_at is not None and not lease.has_announced:
            expected_s = max(lease.expected_end - lease.began_at, 1e-3)
            user = farm.executions[lease.key].lane.user
            times[user].append((now - lease.began_at) / expected_s)
    if sum(map(len, times.values())) < LEAST_RUNS or len(times) < least_keys:
        return None
    return max(1.0, min(map(statistics.median_low, times.values())))
