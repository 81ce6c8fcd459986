"""Who fails too often is put aside for a while, each time twice as long. Pure."""

from __future__ import annotations

from collections import deque


class Strikes:
    """`most` failures among the last `window` put aside, at first for `penalty_s`, at most for `most_s`.

    `until` is when that ends.
    """

    __slots__ = ("_first_s", "_most", "_most_s", "penalty_s", "recent", "until")

    def __init__(self, window: int, most: int, penalty_s: float, most_s: float) -> None:
        self.recent: deque[bool] = deque(maxlen=window)
        self.until = 0.0
        self.penalty_s = penalty_s
        self._most = most
        self._first_s = penalty_s
        self._most_s = most_s

    def note_good(self) -> None:
        self.recent.append(False)
        if len(self.recent) == self.recent.maxlen and not any(self.recent):
            self.penalty_s = self._first_s

    def note_bad(self, now: float) -> bool:
        """Count a failure; returns whether it was one too many."""
        self.recent.append(True)
        if sum(self.recent) < self._most:
            return False
        self.put_aside(now)
        return True

    def put_aside(self, now: float) -> None:
        self.recent.clear()
        self.until = now + self.penalty_s
        self.penalty_s = min(2 * self.penalty_s, self._most_s)
