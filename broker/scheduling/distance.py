"""What a node's line gives, measured: bytes of toolchains over the seconds until a job runs on them. Pure.

    rate = (prior bytes + f * b + bytes under way) / (prior seconds + f * s + seconds under way)

b and s are of transfers on which a job has run. They fade with what is measured later, by e^(-bytes /
FADING_BYTES), and with time, by half in LINE_HALF_S; f is both. The bytes are those that the node has taken
(`Credit`), and the seconds go on until it has begun a job, and until that job's result where it took longer
than the node says. Whoever takes bytes in name only, or begins in name only, is so believed for one transfer.
"""

from __future__ import annotations

import math

from broker.core.limits import (
    FADING_BYTES,
    LEAST_LINE_BYTES_PER_S,
    LINE_BYTES_PER_S,
    LINE_HALF_S,
    LINE_PRIOR_BYTES,
)


class MeasuredLine:
    """One node's, across its sessions."""

    __slots__ = ("_at", "_bytes", "_bytes_under_way", "_seconds", "_seconds_under_way")

    def __init__(self) -> None:
        self._bytes = self._seconds = self._at = 0.0
        self._bytes_under_way = self._seconds_under_way = 0.0

    def bytes_per_s(self, now: float) -> float:
        if not (self._seconds or self._seconds_under_way):
            return LINE_BYTES_PER_S  # a farm that is new asks for it eight times a job
        fading = self._fading(now)
        size_bytes = LINE_PRIOR_BYTES + fading * self._bytes + self._bytes_under_way
        seconds = (
            LINE_PRIOR_BYTES / LINE_BYTES_PER_S + fading * self._seconds + self._seconds_under_way
        )
        return max(LEAST_LINE_BYTES_PER_S, size_bytes / seconds)

    def note(self, size_bytes: float, seconds: float) -> None:
        """So many bytes of a toolchain have come in this time; perhaps none."""
        self._bytes_under_way += size_bytes
        self._seconds_under_way += max(0.0, seconds)

    def proved(self, now: float) -> None:
        """A job runs on what came: it has come."""
        fading = self._fading(now)
        self._bytes = fading * self._bytes + self._bytes_under_way
        self._seconds = fading * self._seconds + self._seconds_under_way
        self._at = now
        self._bytes_under_way = self._seconds_under_way = 0.0

    def unproved(self, now: float, *, is_silent: bool) -> None:
        """No job has run on what came: that makes no node nearer, and may make it farther. `is_silent`: there
        was time to begin one, so that the node's word for the bytes is worth nothing."""
        size_bytes, seconds = self._bytes_under_way, self._seconds_under_way
        if is_silent:
            size_bytes = 0.0
        told = self.bytes_per_s(now)
        self._bytes_under_way = self._seconds_under_way = 0.0
        if is_silent or told < self.bytes_per_s(now):
            self.note(size_bytes, seconds)
            self.proved(now)

    def late(self, seconds: float) -> None:
        """What was proved took so much longer in truth."""
        self._seconds += seconds

    def _fading(self, now: float) -> float:
        halves = (now - self._at) / LINE_HALF_S
        return math.exp(-self._bytes_under_way / FADING_BYTES - math.log(2.0) * halves)
