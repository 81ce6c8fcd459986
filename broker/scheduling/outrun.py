"""How slow a node is at least, by runs of its that a second copy elsewhere has ended. Pure.

A node's rate is learnt from results. One whose runs all end elsewhere first gives none, and would be believed
as fast as before, or as the average slot where it is new. Such a run is a censored observation: the node needs
for this job the time that it had it, or more. What the job costs, the other node has shown:

    rate of the node >= time that it had run / max(expected cost, cost that the other node has shown)

A bound below what is believed says nothing. When LEAST_RUNS such runs have ended since the node's last result,
the node is rated by their median; of several keys' runs by the least median, and where several keys have jobs
on the farm, runs of two of them must have spoken, as in `broker/scheduling/lateness.py`. What the node's next
job takes there says all again.
"""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict, defaultdict, deque

from broker.core.farm import Farm
from broker.core.jobs import Execution, Lease
from broker.core.limits import MAX_RECORDS
from broker.core.nodes import Node
from broker.scheduling.lateness import LEAST_RUNS
from broker.scheduling.model import CHANGED, Identity

# No run is held to have taken more than so many times what the job costs: the slower a node is rated, the later
# its jobs have a second copy, and what never answers would be waited for ever longer.
MOST_TIMES = 8.0
# The last runs of a node of which it is known.
_KEPT = 16
_LEAST_COST_S = 1e-3


class Outrun:
    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        # Of each node whose run was it, and ln of the least rate. Used last comes last.
        self._rates: OrderedDict[Identity, deque[tuple[str, float]]] = OrderedDict()

    def ended(self, node: Node) -> None:
        """It has given a result: that says more."""
        self._rates.pop(node.identity, None)

    def beaten(
        self, lease: Lease, execution: Execution, winner: Node, wall_s: float, now: float
    ) -> None:
        """This lease of a job is over, since another node has done it in so many seconds."""
        farm, loser = self._farm, self._farm.nodes.get(lease.node)
        if loser is None or lease.began_at is None or lease.had_to_fetch or lease.is_adopted:
            return
        # Where the job was slow there, too, it may be the job: no node counts as slower than the average.
        shown_s = wall_s / min(1.0, farm.model.wall_s(1.0, winner.identity))
        cost_s = max(execution.cost_s, shown_s, _LEAST_COST_S)
        times = max(now - lease.began_at, _LEAST_COST_S) / cost_s
        ln_rate = math.log(min(times, MOST_TIMES))
        rates = self._rates.setdefault(loser.identity, deque(maxlen=_KEPT))
        rates.append((execution.lane.user, ln_rate))
        self._rates.move_to_end(loser.identity)
        if len(self._rates) > MAX_RECORDS:
            self._rates.popitem(last=False)
        self._rate(loser, rates, now)

    def _rate(self, node: Node, rates: deque[tuple[str, float]], now: float) -> None:
        farm, of_key = self._farm, defaultdict[str, list[float]](list)
        for user, ln_rate in rates:
            of_key[user].append(ln_rate)
        if len(rates) < LEAST_RUNS or len(of_key) < min(2, len(farm.tallies)):
            return
        ln_rate = min(map(statistics.median_low, of_key.values()))
        if farm.model.note_least_rate(node.identity, ln_rate, CHANGED, now):
            farm.seats.touch(node)
