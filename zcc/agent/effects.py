"""What the agent's core wants done. Imperative; the shell does them in order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SubmitJob:
    call: int


@dataclass(frozen=True, slots=True)
class CancelJob:
    call: int


@dataclass(frozen=True, slots=True)
class RunHere:
    """The call has a slot: let its launcher exec the compiler."""

    call: int


@dataclass(frozen=True, slots=True)
class PlaceResult:
    """Give the launcher the outputs."""

    call: int


@dataclass(frozen=True, slots=True)
class FailCall:
    """ZCC_FALLBACK=never: tell the user why this would have been a local compile."""

    call: int
    message: str


@dataclass(frozen=True, slots=True)
class CountOutcome:
    """`outcome` is remote, local or failed; `reason` belongs to local; `way` to remote."""

    outcome: str
    reason: str = ""
    detail: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class ForgetCall:
    """Nothing will be asked of this call again."""

    call: int


Effect = SubmitJob | CancelJob | RunHere | PlaceResult | FailCall | CountOutcome | ForgetCall
