"""What the broker's machine asks of its shell. Pure; names are imperatives."""

from __future__ import annotations

from dataclasses import dataclass

from broker.scheduling.beaten import Winner
from broker.scheduling.model import Identity
from cache.digest import Digest
from zcc.messages import Finished, Message, PeerRole


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message now, ahead of all bulk."""

    route: bytes
    message: Message


@dataclass(frozen=True, slots=True)
class OpenTraffic:
    """A session stands on this route: forget what was under way there, credits start anew."""

    route: bytes
    role: PeerRole
    user: str


@dataclass(frozen=True, slots=True)
class CloseTraffic:
    """The session on this route is over."""

    route: bytes


@dataclass(frozen=True, slots=True)
class AskBlobs:
    """Say Want to an agent, each blob from where its upload broke off."""

    route: bytes
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class OfferBlobs:
    """Send blobs of the store to a node, each from an offset, under the node's credit."""

    route: bytes
    blobs: tuple[tuple[Digest, int], ...]


@dataclass(frozen=True, slots=True)
class TakePushes:
    """A node will push these under a lease. `is_wanted`: else the lease is over, and they pass by."""

    route: bytes
    lease: bytes
    outputs: tuple[Digest, ...]
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class DropPushes:
    """The lease is over: what the node pushed for it is not kept."""

    route: bytes
    lease: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send outputs to an agent, under its credit, and behind them the message that names them.

    `key` is set for a remembered result: it can be looked up again.
    """

    route: bytes
    outputs: tuple[Digest, ...]
    message: Finished
    key: Digest | None = None


@dataclass(frozen=True, slots=True)
class FindMissing:
    """Look which of these the store lacks, and for the job's result if `recalls`; answer with InputsChecked.
    The job's toolchain comes first."""

    key: Digest
    digests: tuple[Digest, ...]
    recalls: bool = False


@dataclass(frozen=True, slots=True)
class VerifyBlobs:
    """A node could not use these: re-read them and drop what is rotten."""

    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a result in the shared cache. `node_key` and `user` are public keys; `size_bytes` is that of the
    outputs, `job` the job's bytes as in Submit."""

    key: Digest
    body: bytes
    outputs: tuple[Digest, ...]
    size_bytes: int
    toolchain: Digest
    node: str
    node_key: str
    user: str
    job: bytes


@dataclass(frozen=True, slots=True)
class RerunEnded:
    """A rerun's result, as in Done; or `reason` says why there is none, and `fault` what its node said."""

    key: Digest
    node: str
    node_key: str
    body: bytes
    reason: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class TryNode:
    """The quarantine of this node is over: put known jobs to it, and say what came of them with TrialEnded.
    `owner` is whose jobs alone it may run; empty: everybody's."""

    session: bytes
    node_key: str
    node: str
    owner: str


@dataclass(frozen=True, slots=True)
class NoteOwing:
    """Write down the nodes that owe a proof, by key and name, for the next broker."""

    nodes: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Another node has given a result for a job that was done twice: `body`, as in Done. Hold it against the
    winner's."""

    winner: Winner
    node: str
    node_key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class NoteToolchain:
    """Write down that this blob is a toolchain in which a job of this key's has run, for the next broker."""

    digest: Digest
    user: str


@dataclass(frozen=True, slots=True)
class Audit:
    """Write a line to the audit log: no secrets, no source text."""

    what: str
    fields: tuple[tuple[str, str | int | float], ...]


Effect = (
    Send
    | OpenTraffic
    | CloseTraffic
    | AskBlobs
    | OfferBlobs
    | TakePushes
    | DropPushes
    | Deliver
    | FindMissing
    | VerifyBlobs
    | Remember
    | NoteToolchain
    | RerunEnded
    | TryNode
    | NoteOwing
    | Compare
    | Audit
)
