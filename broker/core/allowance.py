"""What each key may use of something that is scarce: so much at once, and so much a second. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.limits import MAX_RECORDS


@dataclass(slots=True)
class _Left:
    amount: float
    at: float


class Allowance:
    """Use is noted after the fact, so what is left may fall below zero; then it takes longer to come back."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left: dict[str, _Left] = {}  # who used some last comes last

    def left(self, user: str, now: float) -> float:
        left = self._left.get(user)
        if left is None:
            return self._burst
        return min(self._burst, left.amount + max(0.0, now - left.at) * self._per_s)

    def use(self, user: str, amount: float, now: float) -> None:
        left = self.left(user, now) - amount
        self._left.pop(user, None)
        self._left[user] = _Left(left, now)
        if len(self._left) > MAX_RECORDS:
            del self._left[next(iter(self._left))]
