"""What the agent's core is told, and what it wants done. A call is one launcher's request."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from zcc.agent.core.discrepancy import LocalRun
from zcc.reasons import Reason


@dataclass(frozen=True, slots=True)
class CallArrived:
    """`is_strict`: the user has set ZCC_FALLBACK=never; `is_forbidden`: ZCC_FALLBACK=forbid."""

    call: int
    is_nested: bool
    is_strict: bool
    is_forbidden: bool = False


@dataclass(frozen=True, slots=True)
class CheckWanted:
    """Whatever result comes from elsewhere is not to be placed: the command runs here, to be compared."""

    call: int


@dataclass(frozen=True, slots=True)
class PartPrepared:
    """One source's job, by its ticket. `is_known`: this machine remembers its result; `is_moved`: it is to be
    compiled under neutral names."""

    ticket: int
    is_known: bool = False
    is_moved: bool = False


@dataclass(frozen=True, slots=True)
class CallPrepared:
    """Its jobs are written down, one for each source, and `way` says how their inputs were found (`way_of`).

    `is_fresh`: the user wants it compiled, whatever the farm remembers. `keys` name its compiles for the
    forecast; `can_race`: it can be compiled here beside, without touching its outputs.
    """

    call: int
    way: str
    parts: tuple[PartPrepared, ...]
    is_fresh: bool = False
    keys: tuple[Hashable, ...] = ()
    can_race: bool = False


@dataclass(frozen=True, slots=True)
class ResultRecalled:
    """Its job is written down, and this machine remembers the result."""

    call: int
    way: str


@dataclass(frozen=True, slots=True)
class CallIsLocal:
    """It has to run here. `slots`: that it takes."""

    call: int
    reason: Reason
    detail: str
    slots: int = 1


@dataclass(frozen=True, slots=True)
class CallClosed:
    """The launcher, or the compiler that it became, is gone. `run`: of a compile here that is to confirm a
    failure on the farm (`AgentMachine.awaited`)."""

    call: int
    run: LocalRun | None = None


@dataclass(frozen=True, slots=True)
class CallStopped:
    """Its compiler has been stopped (Ctrl-Z, a debugger) and may stand still for days."""

    call: int


@dataclass(frozen=True, slots=True)
class FarmOpened:
    """The broker has welcomed this session."""


@dataclass(frozen=True, slots=True)
class FarmClosed:
    """The broker is silent or unknown."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class JobRefused:
    """The farm will not run this job. `reason` is the broker's word, which this zcc may not have."""

    ticket: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PartTaken:
    """The compiler exited 0 on the farm, read what it would have read here, and all outputs came.

    `is_recalled`: it did so for an earlier request, and the farm remembered.
    """

    ticket: int
    is_recalled: bool = False


@dataclass(frozen=True, slots=True)
class PartUnproven:
    """`reason` is PROOF (a scanner bug; `detail` is the path) or what else spoilt the result."""

    ticket: int
    reason: Reason
    detail: str
    is_recalled: bool = False


@dataclass(frozen=True, slots=True)
class PartFailed:
    """The compiler exited non-zero on the farm: only the local run may tell the user so."""

    ticket: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class ResultConfirmed:
    """All that came for this part's call holds still."""

    ticket: int


@dataclass(frozen=True, slots=True)
class JobWaits:
    """The broker expects the job to begin in so many seconds; it does not run now."""

    ticket: int
    expected_s: float


@dataclass(frozen=True, slots=True)
class JobBegan:
    """A node runs the compiler."""

    ticket: int


@dataclass(frozen=True, slots=True)
class RaceWon:
    """The compile here, beside the farm's, has ended well, and its outputs can be placed."""

    call: int


@dataclass(frozen=True, slots=True)
class RaceLost:
    """The compile here, beside the farm's, has failed or is of no use."""

    call: int


@dataclass(frozen=True, slots=True)
class Looked:
    """Time has passed while slots are idle and jobs are away (`AgentMachine.look_again_s`)."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Time has passed; about once a second."""


# What comes from the farm for one ticket.
JobEvent = (
    JobRefused | PartTaken | PartUnproven | PartFailed | ResultConfirmed | JobWaits | JobBegan
)

Event = (
    CallArrived
    | CheckWanted
    | CallPrepared
    | ResultRecalled
    | CallIsLocal
    | CallClosed
    | CallStopped
    | FarmOpened
    | FarmClosed
    | JobEvent
    | RaceWon
    | RaceLost
    | Looked
    | TimePassed
)
