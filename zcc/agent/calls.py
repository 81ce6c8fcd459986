"""One call of a launcher, as the shell has it, and what its results come to."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from zcc.agent.analysis.outcome import Here
from zcc.agent.history.builds import Build
from zcc.agent.launchers import wire
from zcc.agent.launchers.connection import Visitor
from zcc.agent.results.local_cache import CacheMode
from zcc.agent.results.part import Part, are_on_both_streams, as_spelled, joined, why_not_one
from zcc.agent.results.racing import Aside
from zcc.agent.results.restore import Files
from zcc.agent.results.verifying import Check
from zcc.errors import ZccError
from zcc.reasons import Reason
from zcc.variables import priority_of

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    visitor: Visitor
    request: wire.Request
    arrived_s: float
    build: Build
    cache_mode: CacheMode = CacheMode.ON
    arrived_ns: int = field(default_factory=time.time_ns)  # wall clock, as files' times
    age_s: float = 0.0  # of its launcher then, where somebody above has named the result
    parts: list[Part] = field(default_factory=list)
    ran_here_ns: int = 0  # wall clock, when the local compiler was let go
    check: Check | None = None  # of the result that came, against the run here
    aside: Aside | None = None  # what was compiled here beside the farm, and won

    @property
    def wants_fresh(self) -> bool:
        """Whether the farm shall not answer from what it remembers."""
        is_disputed = self.check is not None and self.check.is_disputed
        return is_disputed or not self.cache_mode.looks_up


def placed(call: Call) -> tuple[Files, bytes, bytes]:
    """Files, by their names in the command, standard output and standard error: of the compile here that won,
    else of what has come."""
    aside = call.aside
    if aside is None:
        return joined(call.parts)
    return as_spelled(call.parts[0].prepared, aside.files), aside.stdout, aside.stderr


def niceness_of(call: Call) -> int:
    """How much it gives way on the farm: ZCC_PRIORITY, else as on this machine."""
    said = priority_of(call.request.environment.get(b"ZCC_PRIORITY", b"").decode(errors="replace"))
    return call.visitor.caller.niceness() if said is None else said


def why_not_taken(call: Call) -> Here | None:
    """Why the results that have come do not make up what the command does."""
    if not call.visitor.caller.stands_in(call.request.cwd):
        return Here(Reason.WORKING_DIRECTORY, "it has another name by now, or none")
    if why := why_not_one(call.parts):
        return Here(Reason.SEVERAL_SOURCES, why)
    if are_on_both_streams(call.parts) and call.visitor.caller.merges_streams():
        return Here(Reason.MIXED_STREAMS, "standard output and error go to one place")
    return None


def failed(request: wire.Request, error: Exception) -> Here:
    """A bug of ours must not fail a build: the command runs here, and the log says why."""
    if isinstance(error, (ZccError, OSError)):
        return Here(Reason.ANALYSIS_FAILED, str(error))
    logger.error("analysing %r", request.argv, exc_info=error)
    return Here(Reason.INTERNAL_ERROR, repr(error))
