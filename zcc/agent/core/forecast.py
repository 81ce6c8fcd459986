"""How long a compile will take here and on the farm, learnt from those that have ended. Pure.

    cost    seconds of CPU on the farm, by source and command line: what the last compile of it took;
            of one that is not known, the median of the last ones
    here    cost * slowdown here     (wall clock of a compile on this machine)
    there   cost * slowdown there    (wall clock of the compiler on a node)
    trip    what a remote compile takes beside the compiler and the wait for a slot: Submit to Started, and the
            way back

The slowdowns are learnt in logarithms as in `broker/scheduling/model.py`; trips are medians, as the first jobs
of a build carry a toolchain's way with them.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence

# Sources whose costs are remembered: some 200 bytes each.
MAX_COSTS = 20_000
# What a compile is taken to cost before any has ended: about the median C++ compile.
DEFAULT_COST_S = 1.0
MIN_COST_S = 0.001
# Before any has been measured, of a broker in the same building.
DEFAULT_TRIP_S = 0.05
# One observation never moves a slowdown by more than this (in ln), nor by more than this share of it.
MAX_RESIDUAL = 0.5
MIN_RATE = 0.1
# Of so many the median is taken.
RECENT = 31
# A trip is known when so many have been measured.
ENOUGH_TRIPS = 5

Keys = Sequence[Hashable]


class Forecast:
    """`keys` name the compiles of one call, which are one after the other here."""

    def __init__(self) -> None:
        self._costs: OrderedDict[Hashable, float] = OrderedDict()
        self._recent = _Median(DEFAULT_COST_S)
        self._here = _Slowdown()
        self._there = _Slowdown()
        self._begins = _Median(DEFAULT_TRIP_S / 2)
        self._trips = _Median(DEFAULT_TRIP_S)

    def cost_s(self, keys: Keys) -> float:
        """Seconds of CPU; 0 where nothing is known of one of these."""
        known = [self._costs.get(key, 0.0) for key in keys]
        return sum(known) if all(known) else 0.0

    def here_s(self, keys: Keys) -> float:
        """Seconds from the start of the compiler on this machine to its end."""
        return self._expected_s(keys) * self._here.factor

    def there_s(self, keys: Keys) -> float:
        """The same on a node. Several sources are compiled side by side there."""
        known = (self._costs.get(key, self._recent.value) for key in keys)
        return max(known, default=self._recent.value) * self._there.factor

    @property
    def begins_s(self) -> float:
        """From Submit to Started, on a farm that has an idle slot."""
        return self._begins.value

    @property
    def back_s(self) -> float:
        """From the end of the compiler on a node to its result here."""
        return max(0.0, self._trips.value - self._begins.value)

    @property
    def trip_s(self) -> float:
        """What the farm adds to a compile at the least; 0 while that is not known."""
        return self._trips.value if self._trips.count >= ENOUGH_TRIPS else 0.0

    def began_there(self, after_s: float) -> None:
        """A job that had not been told to wait has begun so long after its Submit."""
        self._begins.add(after_s)

    def ran_there(self, key: Hashable, cpu_s: float, wall_s: float, trip_s: float) -> None:
        """A node has compiled this."""
        self._know(key, cpu_s)
        self._there.learn(wall_s, cpu_s)
        self._trips.add(max(0.0, trip_s))

    def ran_here(self, keys: Keys, wall_s: float) -> None:
        """This machine has compiled these, one after the other."""
        if cost_s := self.cost_s(keys):
            self._here.learn(wall_s, cost_s)
        elif len(keys) == 1:
            self._know(keys[0], wall_s / self._here.factor)

    def _expected_s(self, keys: Keys) -> float:
        return sum(self._costs.get(key, self._recent.value) for key in keys)

    def _know(self, key: Hashable, cost_s: float) -> None:
        self._costs[key] = max(cost_s, MIN_COST_S)
        self._costs.move_to_end(key)
        self._recent.add(self._costs[key])
        if len(self._costs) > MAX_COSTS:
            self._costs.popitem(last=False)


class _Slowdown:
    def __init__(self) -> None:
        self._ln = 0.0
        self._seen = 0

    @property
    def factor(self) -> float:
        return math.exp(self._ln)

    def learn(self, wall_s: float, cost_s: float) -> None:
        observed = math.log(max(wall_s, MIN_COST_S) / max(cost_s, MIN_COST_S))
        residual = min(max(observed - self._ln, -MAX_RESIDUAL), MAX_RESIDUAL)
        self._ln += residual * max(MIN_RATE, 1.0 / (self._seen + 1))
        self._seen += 1


class _Median:
    """Of the last RECENT values; `default` while there is none."""

    def __init__(self, default: float) -> None:
        self.value = default
        self._values: deque[float] = deque(maxlen=RECENT)

    @property
    def count(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        self._values.append(value)
        self.value = sorted(self._values)[len(self._values) // 2]
