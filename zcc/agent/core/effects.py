"""What the agent's core wants done. Imperative; the shell does them in order."""

from __future__ import annotations

from dataclasses import dataclass

from zcc.reasons import Reason


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """`is_fresh`: the farm shall not answer from what it remembers."""

    ticket: int
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class CancelJob:
    ticket: int


@dataclass(frozen=True, slots=True)
class ConfirmResult:
    """All parts of this one's call have results, and this one's came last. If they hold at this moment,
    ResultConfirmed follows, else PartUnproven."""

    ticket: int


@dataclass(frozen=True, slots=True)
class VoidResult:
    """What came for this part is worth nothing. `was_recalled`: the farm had remembered it; `unproven`: a path
    that shows a bug of the scanner's."""

    ticket: int
    was_recalled: bool = False
    unproven: str = ""


@dataclass(frozen=True, slots=True)
class CompileInPlace:
    """Make this part's job anew, with the user's own paths and names; jobs like it are not moved any more."""

    ticket: int


@dataclass(frozen=True, slots=True)
class NoteRefusal:
    """The command has come to nothing on the farm. `is_clear`: once is enough to know that it will again."""

    call: int
    reason: Reason
    detail: str
    is_clear: bool = False


@dataclass(frozen=True, slots=True)
class ForgetRefusals:
    """The command's result was good."""

    call: int


@dataclass(frozen=True, slots=True)
class RunHere:
    """The call has a slot: let its launcher exec the compiler. `is_compared`: what that leaves is looked at
    when it ends."""

    call: int
    is_compared: bool = False


@dataclass(frozen=True, slots=True)
class RaceHere:
    """Compile this here beside the farm, outputs aside: RaceWon or RaceLost follows, unless it is stopped."""

    call: int


@dataclass(frozen=True, slots=True)
class StopRace:
    """The compile beside is of no use any more."""

    call: int


@dataclass(frozen=True, slots=True)
class PlaceResult:
    """Give the launcher the outputs."""

    call: int


@dataclass(frozen=True, slots=True)
class FailCall:
    """ZCC_FALLBACK=never or forbid: tell the user why this would have been a local compile."""

    call: int
    message: str


@dataclass(frozen=True, slots=True)
class CountOutcome:
    """`outcome` is local_hit, shared_hit, remote, local or failed; `reason` belongs to local, `way` to the
    first three."""

    call: int
    outcome: str
    reason: str = ""
    detail: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class CompareResult:
    """What came for this call is to be compared with what the compile here, which has ended, has written."""

    call: int


@dataclass(frozen=True, slots=True)
class CountDiscrepancy:
    """The compiler failed on the farm, with this status, and succeeded here: that is a bug."""

    ticket: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class ForgetCall:
    """Nothing will be asked of this call again."""

    call: int


# What is to be done with one ticket.
JobEffect = SubmitJob | CancelJob | ConfirmResult | VoidResult | CompileInPlace | CountDiscrepancy

Effect = (
    JobEffect
    | NoteRefusal
    | ForgetRefusals
    | RunHere
    | RaceHere
    | StopRace
    | PlaceResult
    | FailCall
    | CountOutcome
    | CompareResult
    | ForgetCall
)
