"""Commands whose results were refused: what came to nothing for one cause twice running is not sent again.

A refusal costs two compiles, one on the farm and one here, and most have a cause that the next run has too: a
file that no scan can see, an output that names a temporary file. A command whose job the farm calls wrong stays
here at once: its user's key answers for each that is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from zcc.agent.analysis.outcome import Here
from zcc.agent.launchers.wire import Request
from zcc.reasons import Reason

ENOUGH = 2
# The source may be another by then.
TRY_AGAIN_S = 3600.0
MAX_COMMANDS = 10_000


@dataclass(slots=True)
class _Refusal:
    why: Here
    count: int
    last_s: float


class Refusals:
    """By command: its words and where it runs."""

    def __init__(self) -> None:
        self._refusals: OrderedDict[tuple[tuple[bytes, ...], bytes], _Refusal] = OrderedDict()

    def why_here(self, request: Request, now: float) -> Here | None:
        """Why this command is not to be sent; None: send it."""
        refusal = self._refusals.get((request.argv, request.cwd))
        if refusal is None or refusal.count < ENOUGH:
            return None
        return refusal.why if now - refusal.last_s < TRY_AGAIN_S else None

    def refused(
        self, request: Request, reason: Reason, detail: str, now: float, is_clear: bool = False
    ) -> None:
        """Its result was of no use; `is_clear`: once is enough to know."""
        key, why = (request.argv, request.cwd), Here(reason, detail)
        before = self._refusals.pop(key, None)
        count = before.count + 1 if before is not None and before.why == why else 1
        self._refusals[key] = _Refusal(why, ENOUGH if is_clear else count, now)
        if len(self._refusals) > MAX_COMMANDS:
            self._refusals.popitem(last=False)

    def taken(self, request: Request) -> None:
        """Its result was good."""
        self._refusals.pop((request.argv, request.cwd), None)
