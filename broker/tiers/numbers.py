"""What is counted of a tier. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from zcc.events import Row

# What of the counts of bad values is a lie of the tier's, or a result that is void by now.
BAD = ("forged", "damaged", "stale")


@dataclass(frozen=True, slots=True)
class TierNumbers:
    """Of one tier, since the broker's start. `state` is that of its breaker, `writes` that of the one for
    writes, or "read-only". `late` hits came when nobody waited any more; `seconds` are what requests
    took. `bad` counts values by why they were not taken, and "too_large" ones that were not written."""

    name: str
    state: str
    writes: str
    hits: int = 0
    late: int = 0
    misses: int = 0
    errors: int = 0
    seconds: float = 0.0
    bad: dict[str, int] = field(default_factory=dict)
    written: int = 0
    written_bytes: int = 0
    waiting: int = 0
    dropped: int = 0
    lost: int = 0

    def row(self) -> Row:
        """As watchers are told them: an event `tier` without its name and time."""
        bad, wait_ms = sum(self.bad.get(what, 0) for what in BAD), int(1000 * self.seconds)
        read = self.hits, self.late, self.misses, self.errors, bad, wait_ms
        lost = self.lost + self.dropped
        return self.name, self.state, self.writes, *read, self.written, self.waiting, lost
