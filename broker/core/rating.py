"""Whether an agent that owes blobs brings them. Pure.

Goes by what it brings altogether, since its blobs share one line. What it is asked for besides renews nothing,
and neither does a byte now and then.
"""

from __future__ import annotations

from enum import Enum

from broker.core.limits import (
    BLOB_COUNTS_BYTES,
    LEAST_UPLOAD_BYTES,
    STILL_ROUNDS,
    STILL_UPLOAD_BYTES,
    UPLOAD_RATED_S,
)


class UploadPace(Enum):
    GOOD = "good"
    SLOW = "slow"
    STILL = "still"


class Rating:
    """Rounds of UPLOAD_RATED_S, from the time on at which it began to owe something."""

    __slots__ = ("_began_at", "_brought_bytes", "_still_rounds")

    def __init__(self, now: float) -> None:
        self.begin(now)

    def begin(self, now: float) -> None:
        """It owes nothing now."""
        self._began_at = now
        self._brought_bytes = self._still_rounds = 0

    def note(self, size_bytes: int, *, is_last: bool) -> None:
        """It has brought so much, and with it a whole blob."""
        self._brought_bytes += max(size_bytes, BLOB_COUNTS_BYTES if is_last else 0)

    def judge(self, now: float) -> UploadPace:
        """What the round that has ended says, once; nothing bad while it lasts."""
        if now - self._began_at < UPLOAD_RATED_S:
            return UploadPace.GOOD
        brought_bytes, self._brought_bytes, self._began_at = self._brought_bytes, 0, now
        is_still = brought_bytes < STILL_UPLOAD_BYTES
        self._still_rounds = self._still_rounds + 1 if is_still else 0
        if self._still_rounds >= STILL_ROUNDS:
            return UploadPace.STILL
        return UploadPace.SLOW if brought_bytes < LEAST_UPLOAD_BYTES else UploadPace.GOOD
