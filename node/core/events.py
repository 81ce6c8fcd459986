"""What a node's core is told. Past tense; every event happened before it is handled."""

from __future__ import annotations

from dataclasses import dataclass

from cache.digest import Digest
from zcc.lent import LentMemory
from zcc.messages import Fault, Offer


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The broker has taken this process's session."""


@dataclass(frozen=True, slots=True)
class SessionLost:
    """The broker is silent, or does not know us: what was under way to and from it is lost."""


@dataclass(frozen=True, slots=True)
class RunAsked:
    """A job of `client` came under a lease; `missing` are the inputs that the node's store lacks.
    `memory_bytes` are reserved for it."""

    lease: bytes
    toolchain: Digest
    missing: frozenset[Digest]
    is_toolchain_here: bool
    memory_bytes: int = 0
    client: bytes = b""


@dataclass(frozen=True, slots=True)
class RunRejected:
    """The job under this lease cannot be understood or has no place here."""

    lease: bytes
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class LeaseRevoked:
    lease: bytes


@dataclass(frozen=True, slots=True)
class BlobArrived:
    digest: Digest


@dataclass(frozen=True, slots=True)
class BlobFailed:
    """A blob that was asked for will not come, came damaged, or has no place here."""

    digest: Digest
    detail: str
    fault: Fault = Fault.INPUT


@dataclass(frozen=True, slots=True)
class ToolchainReady:
    """Unpacked; whether it works is for the first job that wants it to see."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class ToolchainFailed:
    digest: Digest
    detail: str
    fault: Fault = Fault.TOOLCHAIN


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The sandbox is gone. `body` is the packed result, its outputs are in the node's hands."""

    lease: bytes
    outputs: tuple[Digest, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class JobFaulted:
    """The sandbox is gone and there is no verdict."""

    lease: bytes
    fault: Fault
    detail: str
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobSpoiled:
    """What a started job reads is not what it must be: `missing` have to come anew, and its toolchain if that
    is not here any more. Of what it gave, if it ran, nothing is sent."""

    lease: bytes
    missing: frozenset[Digest]
    is_toolchain_here: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ToolchainGone:
    """It was here, and what is left of it is not it: nothing may start with it before it came anew."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class LeaseSettled:
    """The broker has taken this lease's last word."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """There is no room for jobs, and why; empty: there is some again."""

    reason: str


@dataclass(frozen=True, slots=True)
class OfferChanged:
    """The machine's owner leaves more to jobs than before, or less."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class MemoryChanged:
    """What jobs may have of memory, beside what others use."""

    memory: LentMemory | None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The owner wants his machine back: finish what runs, take nothing new."""


Event = (
    Welcomed
    | SessionLost
    | RunAsked
    | RunRejected
    | LeaseRevoked
    | BlobArrived
    | BlobFailed
    | ToolchainReady
    | ToolchainFailed
    | JobEnded
    | JobFaulted
    | JobSpoiled
    | ToolchainGone
    | LeaseSettled
    | RoomChanged
    | OfferChanged
    | MemoryChanged
    | StopAsked
)
