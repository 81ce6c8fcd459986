"""What jobs cost and how fast nodes are, learnt from finished jobs. Pure.

    ln(CPU time) = ln(cost of the job) - ln(speed of the node) + noise
    wall time    = CPU time * slowdown of the node

A job that comes with traits has the cost that `broker/scheduling/costs.py` knows of its source, or makes of
its traits. One without, or of which the agent alone knows what it took last, has that of its class.

Each finished job moves both estimates by the clipped residual `r = ln observed - ln predicted`, where
predicted is what is believed when it ends, at rates that shrink with the number of observations.

Only the quotient of the two shows, so that both may be off by a factor. What is kept goes by that of the first
nodes, so that what is learnt of one node changes nothing that is believed of others. What is told is over the
mean of all nodes, so that a cost is seconds on the farm's average slot: the geometric mean, in which a key's
nodes count as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from broker.core.limits import DEFAULT_PEAK_BYTES, MAX_RECORDS_PER_KEY, MOST_SLOWDOWN
from broker.scheduling.costs import Costs
from broker.scheduling.needs import MemoryClaim
from cache.digest import Digest
from zcc.traits import Traits

# What an unseen job is taken to cost, in seconds: about the median C++ compile.
DEFAULT_COST_S = 1.0
# One observation never moves an estimate by more than this (in ln): outliers are common.
MAX_RESIDUAL = 0.5
# A node is new for so many jobs.
NEW_JOBS = 8
# Below these the rates do not shrink: machines and sources change.
MIN_SPEED_RATE = 0.02
MIN_COST_RATE = 0.05
# So much of how far a node's jobs are off is the last one's.
SPREAD_RATE = 0.1
# What was seen of a node longer ago than that may not hold any more: it drifts to the mean by half in each
# HALF_LIFE_S. Where its next job differs by so much (in ln), the node has changed.
STALE_S = 60.0
HALF_LIFE_S = 1800.0
CHANGED = 0.7
# `seen` of a node of which the next job says all.
_FORGOTTEN = -1
# No node is rated further from the others than that (in ln), whatever it says.
MAX_RATING = math.log(64.0)
MIN_COST_S = 0.001
MAX_COST_S = 3600.0
# Cost classes remembered; beyond it the oldest is forgotten.
MAX_CLASSES = 10_000

# Classes from here on go by the number of inputs, those below by the power of two of the hint.
_BY_INPUTS = 1000

Identity = tuple[str, str]
CostClass = tuple[Digest, int]


@dataclass(slots=True)
class Speed:
    ln_speed: float = 0.0
    ln_slowdown: float = 0.0
    seen: int = 0
    seen_at: float = 0.0
    ln_spread: float = 0.0
    # How much of its slowdown was seen on runs that did not end there, since its last result.
    ln_noted: float = 0.0
    # What it was before it was rated by what runs there: (ln_slowdown, seen, ln_noted).
    before: tuple[float, int, float] | None = None

    def slow_down(self, step: float) -> None:
        self.ln_slowdown = _bounded_rating(self.ln_slowdown + step)


class _Voices:
    """The mean of ratings, in which each key has one voice: the mean of those of its nodes. A key may have many
    names, and would move what everybody else is held against."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}
        self._total = 0.0

    @property
    def mean(self) -> float:
        return self._total / len(self._sums) if self._sums else 0.0

    def change(self, key: str, by: float, nodes: int) -> None:
        """A key's ratings change by so much in all, and so do its nodes in number."""
        rating, count = self._sums.pop(key, (0.0, 0))
        self._total -= rating / count if count else 0.0
        rating, count = rating + by, count + nodes
        if count:
            self._sums[key] = rating, count
            self._total += rating / count


@dataclass(slots=True)
class Cost:
    ln_cost: float
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What a job is known by: the key that submitted it, its toolchain, and its traits."""

    user: str
    toolchain: Digest
    traits: Traits


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a job will take: seconds of CPU on the average slot, and bytes of memory, by a source like it and by
    what nodes have said of this one. `scale` is its class's.

    `is_known`: by what the same source has taken before, as the agent or the broker knows. `known` is what it
    is known by.
    """

    job: CostClass
    scale: float
    cost_s: float
    usual_bytes: int
    words: tuple[MemoryClaim, ...] = ()
    is_known: bool = False
    known: Known | None = None


def cost_class(toolchain: Digest, cost_hint_s: float, inputs: int) -> CostClass:
    """Jobs that are predicted together: by the agent's hint in powers of two, else by inputs."""
    if cost_hint_s > 0:
        return toolchain, round(math.log2(_bounded(cost_hint_s)))
    return toolchain, _BY_INPUTS + inputs.bit_length()


def scale_of(job: CostClass, cost_hint_s: float) -> float:
    """How a job's cost is expected to be to the middle of its class: as its hint is."""
    return _bounded(cost_hint_s) / 2.0 ** job[1] if cost_hint_s > 0 else 1.0


class Model:
    def __init__(self) -> None:
        self._speeds: dict[Identity, Speed] = {}
        self._costs: dict[CostClass, Cost] = {}
        self._voices = _Voices()
        self.costs = Costs()

    def speed(self, node: Identity) -> float:
        """How much faster than the farm's average slot; 1 for a node not seen yet."""
        return math.exp(self._ln_speed(node) - self._voices.mean)

    def told_speed(self, node: Identity) -> float:
        """The same for people. A node that has given no result since its runs were seen to take long is as slow
        as those: nothing tells its processor from what keeps it waiting."""
        known = self._speeds.get(node)
        return self.speed(node) / (1.0 if known is None else math.exp(known.ln_noted))

    def known_by(self, node: Identity) -> str:
        """What that goes by: `results`, `runs` that did not end there, or nothing."""
        known = self._speeds.get(node)
        if known is None:
            return ""
        return "runs" if known.ln_noted > 0.0 else "results"

    def slowdown(self, node: Identity) -> float:
        """Wall time over CPU time."""
        known = self._speeds.get(node)
        return 1.0 if known is None else math.exp(known.ln_slowdown)

    def spread(self, node: Identity) -> float:
        """By what factor its jobs' times differ from what is expected, on average: 1, not at all."""
        known = self._speeds.get(node)
        return 1.0 if known is None else math.exp(known.ln_spread)

    def cost_s(self, job: CostClass, cost_hint_s: float) -> float:
        """CPU seconds to expect on the average slot."""
        known = self._costs.get(job)
        if known is not None:
            return math.exp(known.ln_cost) / self.mean_rate * scale_of(job, cost_hint_s)
        return _bounded(cost_hint_s) if cost_hint_s > 0 else DEFAULT_COST_S

    def expect(
        self, toolchain: Digest, cost_hint_s: float, inputs: int, known: Known | None = None
    ) -> Expectation:
        """What such a job will take; `known` where it came with traits."""
        job = cost_class(toolchain, cost_hint_s, inputs)
        scale, cost_s = scale_of(job, cost_hint_s), self.cost_s(job, cost_hint_s)
        if known is None:
            return Expectation(job, scale, cost_s, DEFAULT_PEAK_BYTES, (), cost_hint_s > 0)
        found = self.costs.expect(known.user, known.toolchain, known.traits)
        if found.is_known or cost_hint_s <= 0:
            cost_s = _bounded(found.cost_s / self.mean_rate)
        is_known = found.is_known or cost_hint_s > 0
        return Expectation(job, scale, cost_s, found.usual_bytes, found.words, is_known, known)

    def ln_rate(self, node: Identity) -> float:
        """ln of the wall time for a second of cost, without the farm's mean: it orders nodes all the same."""
        known = self._speeds.get(node)
        return -self._ln_speed(node) + (0.0 if known is None else known.ln_slowdown)

    @property
    def mean_rate(self) -> float:
        """What `exp(ln_rate)` is to be multiplied by."""
        return math.exp(self._voices.mean)

    def wall_s(self, cost_s: float, node: Identity) -> float:
        """Seconds that a job of this cost takes on that node, once started."""
        return cost_s / self.speed(node) * self.slowdown(node)

    def held_cost_s(self, wall_s: float, node: Identity) -> float:
        """What it is worth that a job held a slot for so long, whatever it did there. Jobs that wait make a
        node look slow, so that this excuses no more than MOST_SLOWDOWN."""
        return wall_s * self.speed(node) / min(max(self.slowdown(node), 1.0), MOST_SLOWDOWN)

    def observe(
        self,
        node: Identity,
        job: CostClass,
        scale: float,
        cpu_s: float,
        wall_s: float,
        known: Known | None = None,
        peak_bytes: int = 0,
        now: float = 0.0,
    ) -> None:
        """Learn from a finished job; `scale` is that of its hint. A node that was not seen for STALE_S and is
        not as it was is taken to have changed: its jobs before count no more.

        It is held against what is believed now, not when it was placed: hundreds of jobs were placed by
        one belief, and each would correct it once more.
        """
        cpu_s, wall_s = _bounded(cpu_s), _bounded(wall_s)
        speed = self._speeds.get(node) or self._begin(node, now)
        # What the middle of its class would have cost on a slot of speed 1, by this job.
        ln_observed = math.log(cpu_s / scale) + speed.ln_speed
        of_class = self._costs.get(job)
        residual = 0.0 if of_class is None else ln_observed - of_class.ln_cost
        self._learn_cost(job, ln_observed, _clip(residual))
        if known is not None:
            ln_cost = ln_observed + math.log(scale)
            residual = self._learn_known(known, ln_cost, peak_bytes, residual, node[0])
        ln_slowdown = math.log(wall_s / cpu_s) - speed.ln_slowdown
        if now - speed.seen_at > STALE_S:
            is_other = abs(residual) + abs(ln_slowdown) > CHANGED
            speed.seen = _FORGOTTEN if is_other else min(speed.seen, NEW_JOBS)
        speed.seen_at, speed.before, speed.ln_noted = now, None, 0.0
        rate = max(MIN_SPEED_RATE, 1.0 / (speed.seen + 2))
        # Of a node of which little is known, the first jobs say the most.
        is_new = speed.seen < NEW_JOBS
        is_off = _clip(abs(residual + ln_slowdown))
        speed.ln_spread += max(rate, SPREAD_RATE) * (is_off - speed.ln_spread)
        if not is_new:
            residual = _clip(residual)
        self._speed_up(node, speed, -rate * residual)
        speed.slow_down(rate * (ln_slowdown if is_new else _clip(ln_slowdown)))
        speed.seen += 1

    def note_slower(self, node: Identity, times: float, now: float) -> None:
        """What runs there takes so many times as long as believed. What ends there next says more."""
        speed = self._speeds.get(node) or self._begin(node, now)
        speed.before = speed.before or (speed.ln_slowdown, speed.seen, speed.ln_noted)
        speed.slow_down(math.log(times))
        speed.ln_noted += math.log(times)
        speed.seen = _FORGOTTEN

    def note_least_rate(self, node: Identity, ln_rate: float, at_least: float, now: float) -> bool:
        """Its jobs take so many seconds for a second of cost at least (in ln), as others have shown of them.
        That counts where it is `at_least` (in ln) more than was believed, and stays when the runs that said so
        are over. Whether it did count."""
        speed = self._speeds.get(node) or self._begin(node, now)
        slowdown, _, noted = speed.before or (speed.ln_slowdown, speed.seen, speed.ln_noted)
        ln_slowdown = _bounded_rating(ln_rate + speed.ln_speed - self._voices.mean)
        if ln_slowdown - slowdown <= at_least:
            return False
        ln_noted = noted + ln_slowdown - slowdown
        if speed.before is not None:
            speed.before = ln_slowdown, _FORGOTTEN, ln_noted
        if ln_slowdown > speed.ln_slowdown:
            speed.ln_slowdown, speed.ln_noted = ln_slowdown, ln_noted
        speed.seen, speed.seen_at = _FORGOTTEN, now
        return True

    def is_rated_by_runs(self, node: Identity) -> bool:
        """Whether nothing has ended there since it was noted to be slower."""
        known = self._speeds.get(node)
        return known is not None and known.before is not None

    def take_back_slower(self, node: Identity) -> None:
        """What was noted so is void."""
        known = self._speeds.get(node)
        if known is not None and known.before is not None:
            known.ln_slowdown, known.seen, known.ln_noted = known.before
            known.before = None

    def is_stale(self, node: Identity, now: float) -> bool:
        """Whether it is slower than most by what was seen so long ago that it should be tried again."""
        known = self._speeds.get(node)
        if known is None or now - known.seen_at <= STALE_S:
            return False
        return known.ln_slowdown - known.ln_speed > CHANGED / 2 - self._voices.mean

    def drift(self, now: float, seconds: float) -> list[Identity]:
        """So many seconds have passed: what has not been seen of late is believed less. Whose rates changed."""
        changed = []
        mean, part = self._voices.mean, -math.expm1(-math.log(2.0) * seconds / HALF_LIFE_S)
        for node, speed in self._speeds.items():
            if now - speed.seen_at <= STALE_S:
                continue
            self._speed_up(node, speed, -part * (speed.ln_speed - mean))
            speed.slow_down(-part * speed.ln_slowdown)
            speed.ln_noted -= part * speed.ln_noted
            changed.append(node)
        return changed

    def forget(self, node: Identity) -> None:
        known = self._speeds.pop(node, None)
        if known is not None:
            self._voices.change(node[0], -known.ln_speed, -1)

    def _begin(self, node: Identity, now: float) -> Speed:
        """A node that is not known yet: of a key that has too many, the first is forgotten."""
        of_key = [each for each in self._speeds if each[0] == node[0]]
        if len(of_key) >= MAX_RECORDS_PER_KEY:
            self.forget(of_key[0])
        speed = self._speeds[node] = Speed(self._voices.mean, seen_at=now)
        self._voices.change(node[0], speed.ln_speed, +1)
        return speed

    def _ln_speed(self, node: Identity) -> float:
        known = self._speeds.get(node)
        return self._voices.mean if known is None else known.ln_speed

    def _speed_up(self, node: Identity, speed: Speed, step: float) -> None:
        before, speed.ln_speed = speed.ln_speed, _bounded_rating(speed.ln_speed + step)
        self._voices.change(node[0], speed.ln_speed - before, 0)

    def _learn_known(
        self, known: Known, ln_cost: float, peak_bytes: int, residual: float, by: str
    ) -> float:
        """The residual by what is known of this very source, where that is more than its class says."""
        what = (known.user, known.toolchain, known.traits)
        believed = self.costs.ln_believed(*what)
        self.costs.observe(*what, ln_cost, peak_bytes, by)
        return residual if believed is None else ln_cost - believed

    def _learn_cost(self, job: CostClass, ln_observed: float, residual: float) -> None:
        known = self._costs.get(job)
        if known is None:
            if len(self._costs) >= MAX_CLASSES:
                del self._costs[next(iter(self._costs))]
            self._costs[job] = Cost(_bounded_ln(ln_observed), 1)
            return
        rate = max(MIN_COST_RATE, 1.0 / (known.seen + 1))
        known.ln_cost = _bounded_ln(known.ln_cost + rate * residual)
        known.seen += 1


def _clip(residual: float) -> float:
    return min(max(residual, -MAX_RESIDUAL), MAX_RESIDUAL)


def _bounded_rating(rating: float) -> float:
    return min(max(rating, -MAX_RATING), MAX_RATING)


def _bounded(seconds: float) -> float:
    return min(max(seconds, MIN_COST_S), MAX_COST_S)


def _bounded_ln(ln_seconds: float) -> float:
    return min(max(ln_seconds, math.log(MIN_COST_S)), math.log(MAX_COST_S))
