"""How long something took, counted in fixed buckets: cheap to add to, to sum up and to keep. Pure.

A bucket counts what took at most its bound and more than the one before. Each bound
is at most two thirds above the one before, from a fifth of a millisecond (few answers are faster) to ten
seconds; what took longer is counted behind the last. A percentile is the bound of the bucket that it falls
into, or the longest time where that is less: never too low, and at most two thirds too high.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

# Seconds.
BOUNDS_S = (
    *(0.0002, 0.0003, 0.0005, 0.0007),
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.007),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0),
)


@dataclass(slots=True)
class Histogram:
    """`counts` has one more entry than there are bounds. Times in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0
    max_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def add(self, took_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s
        self.max_s = max(self.max_s, took_s)

    def merge(self, other: Histogram) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    def percentile(self, share: float) -> float:
        """What `share` (0 to 1) of the times do not exceed; 0 where there are none."""
        wanted, seen = share * self.count, 0
        for at, count in enumerate(self.counts[:-1]):
            seen += count
            if count and seen >= wanted:
                return min(BOUNDS_S[at], self.max_s)
        return self.max_s

    def as_dict(self) -> dict[str, Any]:
        """Buckets that count something by their bound, `inf` the last; and what they say."""
        names = [*map(repr, BOUNDS_S), "inf"]
        return {
            "count": self.count,
            "sum_s": self.sum_s,
            "max_s": self.max_s,
            "p50_s": self.percentile(0.50),
            "p90_s": self.percentile(0.90),
            "p99_s": self.percentile(0.99),
            "buckets": {
                name: count for name, count in zip(names, self.counts, strict=True) if count
            },
        }


def histogram_from(document: object) -> Histogram:
    """What `as_dict` gave; a bucket of other bounds is counted in the next one of these."""
    found = Histogram()
    if not isinstance(document, dict):
        return found
    buckets = document.get("buckets")
    for name, count in buckets.items() if isinstance(buckets, dict) else ():
        try:
            found.counts[bisect_left(BOUNDS_S, float(name))] += int(count)
        except (ValueError, TypeError):
            continue
    for name in ("sum_s", "max_s"):
        value = document.get(name)
        if isinstance(value, (int, float)):
            setattr(found, name, float(value))
    return found
