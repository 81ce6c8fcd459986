"""Jobs that wait for a moment outside of the books: their results are looked for elsewhere. Pure.

Bounded for each key and in all; a job beyond it does not wait, and is placed as if nobody had been asked.
"""

from __future__ import annotations

from collections import Counter

from broker.core.events import JobSubmitted
from broker.core.limits import MAX_HELD_BYTES, MAX_HELD_PER_KEY


class HeldJobs:
    """By route and ticket. What is held is taken once, cancelled, or forgotten with its route."""

    def __init__(self) -> None:
        self._jobs: dict[bytes, dict[int, JobSubmitted]] = {}
        self._of_key = Counter[str]()
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._of_key.total()

    def has_room(self, job: JobSubmitted) -> bool:
        """Whether it may wait; no ticket waits twice."""
        is_free = job.ticket not in self._jobs.get(job.origin.route, {})
        is_few = self._of_key[job.origin.user] < MAX_HELD_PER_KEY
        return is_free and is_few and self._size_bytes + len(job.body) <= MAX_HELD_BYTES

    def put(self, job: JobSubmitted) -> None:
        self._jobs.setdefault(job.origin.route, {})[job.ticket] = job
        self._of_key[job.origin.user] += 1
        self._size_bytes += len(job.body)

    def take(self, job: JobSubmitted) -> bool:
        """It waits no more; False: it was cancelled, or forgotten, and another may have its ticket."""
        if self._jobs.get(job.origin.route, {}).get(job.ticket) is not job:
            return False
        return self.cancel(job.origin.route, job.ticket)

    def cancel(self, route: bytes, ticket: int) -> bool:
        """Nobody waits for this any more; whether it was held."""
        job = self._jobs.get(route, {}).pop(ticket, None)
        if job is None:
            return False
        if not self._jobs[route]:
            del self._jobs[route]
        self._let_go(job)
        return True

    def forget(self, route: bytes) -> None:
        """The session on this route is over, or begins anew."""
        for job in self._jobs.pop(route, {}).values():
            self._let_go(job)

    def _let_go(self, job: JobSubmitted) -> None:
        self._size_bytes -= len(job.body)
        self._of_key[job.origin.user] -= 1
        if not self._of_key[job.origin.user]:
            del self._of_key[job.origin.user]
