"""What the agent's core wants done. Imperative; the shell does them in order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """`is_fresh`: the farm shall not answer from what it remembers."""

    call: int
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class CancelJob:
    call: int


@dataclass(frozen=True, slots=True)
class RunHere:
    """The call has a slot: let its launcher exec the compiler."""

    call: int


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
class ForgetCall:
    """Nothing will be asked of this call again."""

    call: int


Effect = (
    SubmitJob
    | CancelJob
    | RunHere
    | RaceHere
    | StopRace
    | PlaceResult
    | FailCall
    | CountOutcome
    | ForgetCall
)
