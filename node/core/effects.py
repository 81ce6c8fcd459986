"""What a node's core wants done. Imperative; the shell does them in order."""

from __future__ import annotations

from dataclasses import dataclass

from cache.digest import Digest
from zcc.messages import Done, Failed, Message


@dataclass(frozen=True, slots=True)
class SendToBroker:
    message: Message


@dataclass(frozen=True, slots=True)
class SendBehind:
    """Announce and push these blobs, then send the lease's last word."""

    outputs: tuple[Digest, ...]
    message: Done | Failed


@dataclass(frozen=True, slots=True)
class FetchInputs:
    """Ask the broker for these blobs; they end in the store of plain inputs."""

    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class FetchToolchain:
    digest: Digest


@dataclass(frozen=True, slots=True)
class InstallToolchain:
    """The toolchain's blob is here: verify, unpack it."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class SayState:
    """Tell the broker at once whether this node takes jobs, and how many, before anything that follows."""


@dataclass(frozen=True, slots=True)
class StartJob:
    lease: bytes


@dataclass(frozen=True, slots=True)
class StepBack:
    """Let this running job's processes give way to all others from now on."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class KillJob:
    """End the sandbox of this lease; its end is reported as an event all the same."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class ForgetLease:
    """Nobody will ask about this lease again: drop its job and outputs."""

    lease: bytes


@dataclass(frozen=True, slots=True)
class LeaveFarm:
    """All work is done and delivered: say Bye and end the process."""


Effect = (
    SendToBroker
    | SendBehind
    | FetchInputs
    | FetchToolchain
    | InstallToolchain
    | SayState
    | StartJob
    | StepBack
    | KillJob
    | ForgetLease
    | LeaveFarm
)
