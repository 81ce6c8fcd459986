"""What the agent's core knows of one call. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from zcc.agent.core.discrepancy import LocalRun, has_succeeded
from zcc.agent.core.effects import CancelJob, CompareResult, CountDiscrepancy, Effect, SubmitJob
from zcc.agent.core.events import PartFailed
from zcc.agent.core.forecast import Keys


class CallStage(Enum):
    ANALYSING = "analysing"
    REMOTE = "remote"
    BESIDE = "beside"
    WAITING = "waiting"
    LOCAL = "local"
    STOPPED = "stopped"  # a local one that has given up its slots, whether or not it goes on
    ANSWERED = "answered"


@dataclass(slots=True)
class PartState:
    """One source's job. `is_known`: its result is here; `is_recalled`: here or the farm had remembered it."""

    ticket: int
    is_moved: bool
    is_known: bool
    is_recalled: bool


@dataclass(slots=True)
class CallState:
    is_nested: bool
    is_strict: bool
    is_forbidden: bool
    stage: CallStage = CallStage.ANALYSING
    way: str = ""
    parts: list[PartState] = field(default_factory=list)
    failed: PartFailed | None = None  # there, which the compile here is to confirm
    is_fresh: bool = False
    is_checked: bool = False
    due_s: float = 0.0  # when it was submitted, was to begin on the farm, or has
    keys: Keys = ()
    can_race: bool = False
    is_raced: bool = False  # a compile here, beside the farm's, holds a slot
    began_s: float | None = None  # the local compile, where it tells how long such compiles take

    @property
    def open_tickets(self) -> list[int]:
        """Of the parts whose results are to come."""
        return [part.ticket for part in self.parts if not part.is_known]

    def submits(self) -> list[Effect]:
        return [SubmitJob(ticket, self.is_fresh) for ticket in self.open_tickets]

    def cancels(self, but: PartState | None = None) -> list[Effect]:
        """Call off what is under way on the farm."""
        if self.stage is not CallStage.REMOTE:
            return []
        return [
            CancelJob(part.ticket) for part in self.parts if not part.is_known and part is not but
        ]

    def compared(self, name: int, run: LocalRun | None) -> list[Effect]:
        """What the farm had against what the compile here, which has ended, has done."""
        if self.stage not in (CallStage.LOCAL, CallStage.STOPPED):
            return []
        if self.failed is None:
            return [CompareResult(name)] if self.is_checked else []
        if run is None or not has_succeeded(run):
            return []
        return [CountDiscrepancy(self.failed.ticket, self.failed.exit_status)]

    @property
    def may_come_here(self) -> bool:
        """Whether it may be compiled here for no other reason than that it ends sooner."""
        return not (self.is_strict or self.is_forbidden or self.is_checked)
