"""Scans that let the agent's loop go on.

A first scan of a source with thousands of headers takes a second, in which all cache hits would wait. So it is
done in slices; one scan at a time, since the first of several should end soon, and its job be on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from zcc.compiler.scan.closure import Closure, NotScannable, ScanRequest
from zcc.compiler.scan.scanner import Answer, Scanner, Steps, bounded

# What a hit may wait for a scan: about what it waits for two other hits.
SLICE_S = 0.005


class Scans:
    """The scanner's answers, for the coroutines of one loop. `arrived` and `now()` as for `Disk.begin`."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._turn = asyncio.Lock()

    async def closure(
        self, request: ScanRequest, arrived: float, now: Callable[[], float]
    ) -> Answer:
        """What this compile can read. What is remembered is answered without waiting."""
        known = self._scanner.recall(request, now(), arrived)
        if known is None:
            async with self._turn:
                # The scan that it has waited for may have been the same.
                known = self._scanner.recall(request, now(), arrived)
                if known is None:
                    return await _in_slices(self._scanner.steps(request, now(), arrived), now)
        return known

    async def listed(
        self,
        request: ScanRequest,
        paths: Sequence[bytes],
        arrived: float,
        now: Callable[[], float],
    ) -> Closure | NotScannable:
        """As `Scanner.closure_from_listing`."""
        async with self._turn:
            steps = self._scanner.steps(request, now(), arrived, paths)
            return bounded(await _in_slices(steps, now))


async def _in_slices(steps: Steps, now: Callable[[], float]) -> Answer:
    begun = now()
    try:
        next(steps)
        while True:
            if now() - begun < SLICE_S:
                next(steps)
            else:
                await asyncio.sleep(0)
                begun = now()
                steps.send(begun)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
