"""What the broker's machine is told. Pure; names are in the past tense.

The shell has checked already that the peer's key is registered and that its role may send this kind
of message, and has decoded (and hashed) what is too large to be the machine's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.trust.standing import TrialOutcome
from cache.digest import Digest
from zcc.messages import Message, PeerRole
from zcc.subject import Subject
from zcc.traits import Traits


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from. `user` (a public key) is proven, `route` is the peer's choice."""

    route: bytes
    user: str
    role: PeerRole


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """Hello, Beat, Bye, Cancel, Absent, Started, Announce, Failed, AskNodes, AskPlaced or
    LocalCounts."""

    origin: Origin
    message: Message


@dataclass(frozen=True, slots=True)
class StrangerSpoke:
    """A peer without a session sent something other than Hello."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the shared cache holds for a key, whole: `body` as in Done. A node of `node_key` has made
    it; `size_bytes` is what it takes there."""

    node: str
    outputs: tuple[Digest, ...]
    body: bytes
    node_key: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A Submit whose body is a canonical job with this key.

    `inputs` are the digests of its files (without the toolchain), nothing twice; `most_outputs` is how many
    files it may give back, `declared` which (`broker/transport/heads.py`). `recalled` is its
    result, where that is remembered and the agent takes a remembered one. `traits` are its agent's word, and
    so is `subject`, which is for who watches.
    """

    origin: Origin
    ticket: int
    key: Digest
    cost_hint_s: float
    build: str
    toolchain: Digest
    inputs: tuple[Digest, ...]
    machine_class: bytes
    recalled: Recalled | None
    body: bytes
    most_outputs: int = 1
    declared: bytes = b""
    is_fresh: bool = False
    traits: Traits | None = None
    nice: int = 0
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class SubmitUnread:
    """A Submit beyond what its key may have waiting to be read."""

    origin: Origin
    ticket: int


@dataclass(frozen=True, slots=True)
class InputsShown:
    """A key has proved that it holds these blobs, which the store holds too."""

    user: str
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class RerunAsked:
    """A remembered job shall be run again, by no node of these keys. All that it reads is in the store.

    `client` is the key that had submitted it. `job` is its key; as `key` it has another name in the books where
    nobody who submits it meanwhile is to be served by it. `only` is the session of a node on trial, which
    alone is to run it, now.
    """

    key: Digest
    toolchain: Digest
    inputs: tuple[Digest, ...]
    machine_class: bytes
    most_outputs: int
    client: str
    avoid: frozenset[str]
    body: bytes
    job: Digest | None = None
    only: bytes = b""
    declared: bytes = b""


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """What came of known jobs that were put to a node (its session, key and name) which owes a proof.
    `against` are the keys whose jobs it did wrong, `right` is how many it did right."""

    session: bytes
    node_key: str
    node: str
    outcome: TrialOutcome
    against: frozenset[str]
    right: int


@dataclass(frozen=True, slots=True)
class NodeCondemned:
    """An audit has found that this key's nodes give wrong results: they get no jobs, or none of `user`'s."""

    node_key: str
    for_s: float
    user: str = ""


@dataclass(frozen=True, slots=True)
class InputsChecked:
    """The answer to `FindMissing`: what the store lacks now, and the job's result if it is remembered.
    `toolchain_bytes` is what the toolchain's frame has there; 0: it is not known."""

    key: Digest
    missing: frozenset[Digest]
    recalled: Recalled | None = None
    toolchain_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlobsWanted:
    """A node's Want, split by what the store holds; each with the offset to go on from."""

    origin: Origin
    present: tuple[tuple[Digest, int], ...]
    missing: tuple[tuple[Digest, int], ...]


@dataclass(frozen=True, slots=True)
class BlobsTaken:
    """A node has taken so many bytes, by its Credit. So many are `left` of each blob of more than one chunk
    that is on its way to it."""

    origin: Origin
    amount_bytes: int
    left: tuple[tuple[Digest, int], ...]


@dataclass(frozen=True, slots=True)
class BlobStored:
    """A blob has arrived whole and is what its digest says. `user` has sent it; empty where a node did."""

    digest: Digest
    user: str = ""


@dataclass(frozen=True, slots=True)
class BlobSpoiled:
    """What this key had sent of a blob was useless, by nobody's fault: it must be asked for anew."""

    digest: Digest
    user: str


@dataclass(frozen=True, slots=True)
class BlobUnstorable:
    """The broker's own disk refused a blob that this key has sent."""

    digest: Digest
    user: str


@dataclass(frozen=True, slots=True)
class UploadStalled:
    """A peer that owes blobs sends none of them, or (`is_moving`) slowly."""

    route: bytes
    is_moving: bool = False


@dataclass(frozen=True, slots=True)
class ResultArrived:
    """A Done whose body is a result. `is_complete`: all outputs that it names were pushed.

    `is_excused`: what lacks is our own disk's fault, not the node's. `is_sound`: the node's log of
    look-ups is complete, and neither it nor the outputs name what the job did not declare; the job's output is
    there, where the command went well. `size_bytes` is that of the outputs
    as they were pushed, `peak_bytes` the most memory that the job had.
    """

    origin: Origin
    lease: bytes
    exit_status: int
    outputs: tuple[Digest, ...]
    is_complete: bool
    is_excused: bool
    is_sound: bool
    size_bytes: int
    cpu_s: float
    wall_s: float
    body: bytes
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ResultUnread:
    """A Done that nobody could read, or need read: its lease ends, and the node is not to blame."""

    origin: Origin
    lease: bytes
    detail: str


@dataclass(frozen=True, slots=True)
class PeerUnreachable:
    """A send failed: the peer is gone or has stopped reading."""

    route: bytes


@dataclass(frozen=True, slots=True)
class PeerMisbehaved:
    """A peer sent what no correct peer sends."""

    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """The sessions of this key are over, for this `reason`: it is `revoked`, or has another role now."""

    user: str
    reason: str = "revoked"


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed (a few times a second). `heard` are who sent anything since, by route and user."""

    heard: frozenset[tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """The messages at hand have been handled: now is the time to place jobs."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    pass


Event = (
    MessageArrived
    | StrangerSpoke
    | JobSubmitted
    | SubmitUnread
    | InputsShown
    | RerunAsked
    | TrialEnded
    | NodeCondemned
    | InputsChecked
    | BlobsWanted
    | BlobsTaken
    | BlobStored
    | BlobSpoiled
    | BlobUnstorable
    | UploadStalled
    | ResultArrived
    | ResultUnread
    | PeerUnreachable
    | PeerMisbehaved
    | KeyRevoked
    | Ticked
    | BatchEnded
    | StopRequested
)
