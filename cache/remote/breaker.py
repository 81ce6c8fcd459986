"""When an engine that fails is asked again. Pure: `now` is monotonic seconds.

CLOSED --MOST_FAILURES in a row--> OPEN --its rest is over--> HALF_OPEN
HALF_OPEN: one request goes; it succeeds: CLOSED. It fails: OPEN, for twice as long
"""

from __future__ import annotations

from enum import Enum

# One lost connection is no reason to leave an engine alone; three in a row cost each look-up its patience.
MOST_FAILURES = 3
# A restart of Redis takes a second or two. Longer outages are probed less and less often.
FIRST_REST_S = 2.0
LONGEST_REST_S = 60.0
# A probe of which nothing is heard stands for itself no longer than that: another may go.
PROBE_S = 5.0


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Each request that `allows` lets through is followed by `succeeded` or, once or more, by `failed`."""

    def __init__(self) -> None:
        self.opened = 0  # how often it has
        self._failures = 0
        self._rest_s = 0.0
        self._rests_until = 0.0
        self._probing_until: float | None = None

    def state(self, now: float) -> BreakerState:
        if not self._rest_s:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._rests_until else BreakerState.HALF_OPEN

    def may_ask(self, now: float) -> bool:
        """Whether `allows` would say yes; nothing changes by the question."""
        if self.state(now) is BreakerState.HALF_OPEN:
            return self._probing_until is None or now >= self._probing_until
        return self.state(now) is BreakerState.CLOSED

    def allows(self, now: float) -> bool:
        """Whether a request may go now; of a half-open one that is the probe."""
        may = self.may_ask(now)
        if may and self._rest_s:
            self._probing_until = now + PROBE_S
        return may

    def succeeded(self) -> None:
        self._failures = 0
        self._rest_s = 0.0
        self._probing_until = None

    def failed(self, now: float) -> None:
        self._failures += 1
        state = self.state(now)
        if state is BreakerState.OPEN:
            return  # what was on its way when it opened says nothing new
        if state is BreakerState.HALF_OPEN or self._failures >= MOST_FAILURES:
            self._rest_s = min(LONGEST_REST_S, 2 * self._rest_s or FIRST_REST_S)
            self._rests_until = now + self._rest_s
            self._probing_until = None
            self.opened += 1
