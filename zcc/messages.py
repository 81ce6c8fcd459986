"""Every message that travels between agent, broker and node. Pure.

A message is at most four frames: `zcc/2`, the kind, a msgpack array with the fields in the order
written here, and for the kinds that have a `body` one frame of raw bytes. Each field's type carries its
bounds (zcc/bounds.py). `docs/reference/protocol.md` tells the conversations; `broker/core/roles.py` says who
may send what.

A new field stands behind all others of its class, behind a `body` too, and has a default that means what was
before (docs/reference/protocol.md, How the protocol grows).

Bulk data travels only as `Chunk`s, under a byte credit that the receiver grants with `Credit`.
Inputs are pulled (`Want`), outputs are pushed before the message that names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar

from cache.digest import DIGEST_SIZE, Digest
from zcc import reasons
from zcc.bounds import Count, Id, Length, Load, Name, Range, Reason, Seconds, Size, SlotCount, Speed
from zcc.holding import HOLDING_KEY_BYTES, SHOWN_ROW_BYTES
from zcc.lent import LentMemory
from zcc.placed import MAX_PLACEMENTS, Placement
from zcc.subject import BuildCounts, Subject
from zcc.traits import Traits

PROTOCOL = b"zcc/2"
# A chunk is large enough that its header does not matter, small enough that a control message never
# waits long behind one: 256 KiB take 2 ms at 1 Gbit/s.
CHUNK_BYTES = 256 << 10
# What a receiver lets a sender have under way before it says Credit again.
CREDIT_BYTES = 4 << 20
# Every member beats this often; five missed beats are longer than any pause of a healthy process's loop
# and shorter than a user's patience.
BEAT_S = 1.0
LOST_AFTER_S = 5.0
# What Busy says of a job whose compiler runs.
HAS_BEGUN_S = 0.0
# Who sends a long message over a slow line can say nothing else meanwhile: he is heard when so much of it has
# come since the last look. Heartbeats that a peer's libzmq may send are 41 bytes each.
RECEIVING_BYTES = 1 << 10
# Pieces of one value of ccache's that may be on their way to the broker, or asked of it, at a time.
STORAGE_WINDOW = 8
# Reasons of `Refused` that tell of the job and not of the farm: it is not worth while to send it again.
WRONG_JOB = frozenset((reasons.Reason.UNREADABLE, reasons.Reason.JOB_REFUSED))
# A kind's name; who sends a longer one says no kind of any release.
MAX_KIND_BYTES = 64
# The most that any frame may hold (a compressed job or result); libzmq drops the peer beyond it.
MAX_FRAME_BYTES = 8 << 20
# As libzmq counts, CURVE's 33 bytes around it are a part of it: what may be sent.
MAX_SENT_BYTES = MAX_FRAME_BYTES - 33
# Leases that one node may hold, and a little: a broker that leases more is broken.
MAX_LEASES = 8192
# A machine class is some forty characters, and a machine has three; the broker's bound is
# broker/core/limits.py's.
MAX_MACHINE_CLASSES = 1024
# What one Want asks for: all inputs that a job may have.
MAX_WANTED = 32_768
# Outputs of one result: as many as a job may declare, and dumps (`Result.outputs`).
MAX_ANNOUNCED = 256 + 1024
# How a Refused begins that a Rejoin may mend: the key is a member's, under another role than the token's.
OTHER_ROLE = "this key has another role here"
# What an agent is told at once of results that are void: beyond it the farm begins a new list.
MAX_VOIDED = 16_384
# Nodes on one farm: as many as the broker takes sessions.
MAX_NODES = 20_000
# Builds of which an agent tells in one message: those that one user makes on one machine in a second.
MAX_COUNTED_BUILDS = 4
# A feed of events is named so (docs/reference/events.md).
FEED_BYTES = 8
# What one Submit shows: all inputs that a job may have.
MAX_SHOWN_BYTES = SHOWN_ROW_BYTES * 32_768

Frame = Annotated[bytes, Length(MAX_FRAME_BYTES)]
Piece = Annotated[bytes, Length(CHUNK_BYTES)]
Leases = Annotated[tuple[Id, ...], Length(MAX_LEASES)]
MachineClass = Annotated[bytes, Length(256)]
Nice = Annotated[int, Range(-20, 19)]


class PeerRole(Enum):
    """What a key may do on the farm."""

    CLIENT = "client"
    NODE = "node"
    PUBLISHER = "publisher"  # a client that may also run nodes, for jobs of its own
    ADMIN = "admin"
    MONITOR = "monitor"
    JOINER = "joiner"  # a join token's own key: it may enrol one other key and nothing else


class Fault(Enum):
    """Why a node could not give a verdict on a job: never the compiler's own non-zero exit."""

    SANDBOX = "sandbox"
    TOOLCHAIN = "toolchain"
    INPUT = "input"
    DEADLINE = "deadline"
    RESOURCES = "resources"
    MEMORY = "memory"  # stopped for want of it: it may run where there is more
    STOPPING = "stopping"
    PAUSED = "paused"  # an honest "not now" of a node that says so in its beats as well
    UNFIT = "unfit"  # this toolchain does not fit in what the node keeps of them; other jobs are welcome
    REFUSED = "refused"  # the job itself is wrong: whoever submitted it is at fault, and no node
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Message:
    """The root of all messages."""

    KIND: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class Enrol(Message):
    """Joiner -> broker: register this public key (Z85) under the join token's target role."""

    KIND: ClassVar[bytes] = b"enrol"
    public_key: Name
    label: Name


@dataclass(frozen=True, slots=True)
class Enrolled(Message):
    KIND: ClassVar[bytes] = b"enrolled"
    farm: Name
    role: Name


@dataclass(frozen=True, slots=True)
class Rejoin(Message):
    """Member -> broker, over a connection made with its own key: take this join token's role from now on.

    `secret` is the joiner's secret key, which the broker itself has made. `Enrol` proves the token and not the
    key that it names, so that it changes nothing of a key which is a member's already.
    """

    KIND: ClassVar[bytes] = b"rejoin"
    secret: Name
    label: Name


@dataclass(frozen=True, slots=True)
class Leave(Message):
    """Member -> broker: revoke my key for good. Answered with Bye("left")."""

    KIND: ClassVar[bytes] = b"leave"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node lends now; travels inside Hello and Beat. `slots` of those in its Hello, and in `why` what
    keeps it from lending all of them. `mode` is its operator's word for when it lends (docs/guide/nodes.md).
    Who `is_leaving` ends what it has, and takes nothing more."""

    slots: SlotCount
    mode: Name = ""
    why: Reason = ""
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Any -> broker, first of a session and again whenever the broker says `Who`.

    `session` is 16 random bytes chosen by the peer's process; a routing id is never an identity.
    `leases` are those that a node still runs or whose `Done` has not been settled.
    `slots` are all that a node may ever lend. `machine_classes` are the values of `Job.machine_class` that it
    can serve. `paused`, `offer` and `memory` as in Beat.
    """

    KIND: ClassVar[bytes] = b"hello"
    session: Id
    role: Name
    farm: Name
    name: Name
    version: Name
    slots: SlotCount
    leases: Leases
    machine_classes: Annotated[tuple[MachineClass, ...], Length(MAX_MACHINE_CLASSES)]
    paused: Reason = ""
    offer: Offer | None = None
    memory: LentMemory | None = None


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Broker -> peer: the session stands. Both sides start with CREDIT_BYTES of credit.

    `holding_key` is what an agent shows with that it holds a file (zcc/holding.py); it is new with each
    start of the broker, and empty for who submits no jobs.
    """

    KIND: ClassVar[bytes] = b"welcome"
    session: Id
    farm: Name
    version: Name
    holding_key: Annotated[bytes, Length(HOLDING_KEY_BYTES)]


@dataclass(frozen=True, slots=True)
class Who(Message):
    """Broker -> peer: I do not know this session (I was restarted, or you were away): say Hello."""

    KIND: ClassVar[bytes] = b"who"


@dataclass(frozen=True, slots=True)
class Beat(Message):
    """Both ways, about once a second: the process's own loop lives. `load`: a node's load average.

    `paused`: why a node takes no jobs for now (its disk is short, say); empty when it does. `offer`: how many
    it takes at a time; None: all that its Hello has. To an agent: how many of its user's jobs can run so.
    `memory`: what a node's jobs may have; None: nobody knows. `is_watched`, to an agent: somebody watches the
    farm or collects its metrics, so that `LocalCounts` are of use.
    """

    KIND: ClassVar[bytes] = b"beat"
    load: Load
    paused: Reason = ""
    offer: Offer | None = None
    memory: LentMemory | None = None
    is_watched: bool = False


@dataclass(frozen=True, slots=True)
class Bye(Message):
    KIND: ClassVar[bytes] = b"bye"
    reason: Reason


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Broker -> agent or any peer: no, and why. Ticket 0 means the session itself."""

    KIND: ClassVar[bytes] = b"refused"
    ticket: Count
    reason: Reason


@dataclass(frozen=True, slots=True)
class Unknown(Message):
    """Broker -> peer: I do not know this kind of message, and have passed yours over: I am of an older release.

    An answer to a question, where one is due. Nobody answers it.
    """

    KIND: ClassVar[bytes] = b"unknown"
    kind: Annotated[bytes, Length(MAX_KIND_BYTES)]


@dataclass(frozen=True, slots=True)
class Submit(Message):
    """Agent -> broker. `body` is the job's canonical bytes as one zstd frame; `key` their digest.

    `ticket` is the agent's number for this request, unique in its session. `cost_hint_s` is the CPU
    time to expect (0 when unknown), `build` tells the user's builds apart. `is_fresh`: do not answer from
    what is remembered, and look whether that is whole. `shown` are the inputs that this session has
    not shown before, as zcc/holding.py packs them. `traits` are what its cost depends on. `nice`: how
    much it gives way to other jobs, -20 to 19 as nice(2) has it; below 0 to its own key's alone. `subject`:
    what who watches the farm is shown of it; None: the user keeps that to himself.
    """

    KIND: ClassVar[bytes] = b"submit"
    ticket: Count
    key: Digest
    cost_hint_s: Seconds
    build: Name
    is_fresh: bool
    shown: Annotated[bytes, Length(MAX_SHOWN_BYTES)]
    traits: Traits | None
    nice: Nice
    body: Frame
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Agent -> broker: nobody waits for this ticket any more."""

    KIND: ClassVar[bytes] = b"cancel"
    ticket: Count


@dataclass(frozen=True, slots=True)
class Revoke(Message):
    """Broker -> node: stop this lease, whatever its state; no answer is expected."""

    KIND: ClassVar[bytes] = b"revoke"
    lease: Id


@dataclass(frozen=True, slots=True)
class Want(Message):
    """Receiver -> sender: send me these blobs, each from this offset of its zstd frame on."""

    KIND: ClassVar[bytes] = b"want"
    blobs: Annotated[tuple[tuple[Digest, Size], ...], Length(MAX_WANTED)]


@dataclass(frozen=True, slots=True)
class Absent(Message):
    """Sender -> receiver: I cannot supply this blob (the file has changed or is gone)."""

    KIND: ClassVar[bytes] = b"absent"
    digest: Digest


@dataclass(frozen=True, slots=True)
class Chunk(Message):
    """`body` is the frame's bytes from `offset`; `total` is the whole frame's length.

    The chunk with `offset + len(body) == total` is the last.
    """

    KIND: ClassVar[bytes] = b"chunk"
    digest: Digest
    offset: Size
    total: Size
    body: Piece


@dataclass(frozen=True, slots=True)
class Credit(Message):
    """Receiver -> sender: that many more body bytes may come."""

    KIND: ClassVar[bytes] = b"credit"
    amount_bytes: Size


@dataclass(frozen=True, slots=True)
class Run(Message):
    """Broker -> node: run this job under this lease (16 bytes). `body` as in Submit.

    `client` names the key that submitted the job: input trees of different clients stay apart. `memory_bytes`
    is what is reserved for it there (0: nobody knows what it needs).
    """

    KIND: ClassVar[bytes] = b"run"
    lease: Id
    key: Digest
    client: Name
    memory_bytes: Size
    body: Frame


@dataclass(frozen=True, slots=True)
class Started(Message):
    """Node -> broker: inputs and toolchain are here and the compiler runs."""

    KIND: ClassVar[bytes] = b"started"
    lease: Id


@dataclass(frozen=True, slots=True)
class Announce(Message):
    """Node -> broker: these blobs will be pushed, for the Done of this lease; what is not announced may not."""

    KIND: ClassVar[bytes] = b"announce"
    lease: Id
    outputs: Annotated[tuple[Digest, ...], Length(MAX_ANNOUNCED)]


@dataclass(frozen=True, slots=True)
class Done(Message):
    """Node -> broker: `body` is the result as one zstd frame; its outputs were pushed before."""

    KIND: ClassVar[bytes] = b"done"
    lease: Id
    body: Frame


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """Node -> broker: no verdict. `fault` is a Fault's value, `used_bytes` the most memory that the job had."""

    KIND: ClassVar[bytes] = b"failed"
    lease: Id
    fault: Name
    detail: Reason
    used_bytes: Size = 0


@dataclass(frozen=True, slots=True)
class Settled(Message):
    """Broker -> node: the lease's Done or Failed is taken; forget it."""

    KIND: ClassVar[bytes] = b"settled"
    lease: Id


@dataclass(frozen=True, slots=True)
class Finished(Message):
    """Broker -> agent: the ticket's result. `body` as in Done; its outputs were pushed before.

    `queued_s` is how long the job waited at the broker, `shared` whether another's run served it,
    `is_recalled` whether that run is over since before: its look-ups have to be checked all the same.
    """

    KIND: ClassVar[bytes] = b"finished"
    ticket: Count
    node: Name
    queued_s: Seconds
    shared: bool
    is_recalled: bool
    body: Frame


@dataclass(frozen=True, slots=True)
class Busy(Message):
    """Broker -> agent: the job is queued and will start in about so many seconds. HAS_BEGUN_S: it has begun."""

    KIND: ClassVar[bytes] = b"busy"
    ticket: Count
    expected_s: Seconds


@dataclass(frozen=True, slots=True)
class AskNodes(Message):
    KIND: ClassVar[bytes] = b"ask-nodes"


@dataclass(frozen=True, slots=True)
class NodeRow(Message):
    """One node as `zcc nodes` shows it; travels inside Nodes. `reason`: why it is not ready, or lends less.

    `slots` are those that it lends now, of `all_slots`; `member` is its key (`zcc.member_id`).
    """

    name: Name
    slots: SlotCount
    running: Count
    speed: Speed
    state: Name
    load: Load
    finished: Count
    faults: Count
    reason: Reason = ""
    all_slots: SlotCount = 0
    mode: Name = ""
    member: Name = ""


@dataclass(frozen=True, slots=True)
class Nodes(Message):
    KIND: ClassVar[bytes] = b"nodes"
    rows: Annotated[tuple[NodeRow, ...], Length(MAX_NODES)]


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Admin -> broker: give the nodes of this key (`zcc.member_id`) and name no more jobs, or jobs again."""

    KIND: ClassVar[bytes] = b"drain"
    member: Name
    name: Name
    is_drained: bool


@dataclass(frozen=True, slots=True)
class Drained(Message):
    """Broker -> who said Drain: it is so for `count` nodes that are here; 0: there is none, and nothing is
    done."""

    KIND: ClassVar[bytes] = b"drained"
    count: Count


@dataclass(frozen=True, slots=True)
class AskPlaced(Message):
    """Agent's key or admin -> broker: where did the jobs go whose key begins so, and why? An empty beginning
    asks for the latest, without candidates. A member is told of its own jobs, an admin of all."""

    KIND: ClassVar[bytes] = b"ask-placed"
    job: Annotated[bytes, Length(DIGEST_SIZE)]


@dataclass(frozen=True, slots=True)
class Placed(Message):
    """Broker -> who asked: the decisions, the latest first."""

    KIND: ClassVar[bytes] = b"placed"
    rows: Annotated[tuple[Placement, ...], Length(MAX_PLACEMENTS)]


@dataclass(frozen=True, slots=True)
class AskVoided(Message):
    """Agent -> broker, after each Welcome and before all else: which results has the farm taken back?

    `list_id` and `number` are `list_id` and `last` of the last Voided of this broker that it has acted on;
    empty and 0 when there was none. From then on it is told what comes.
    """

    KIND: ClassVar[bytes] = b"ask-voided"
    list_id: Id
    number: Count


@dataclass(frozen=True, slots=True)
class Voided(Message):
    """Broker -> agent: what stands in this list behind the number `since`, up to `last`: results of these jobs,
    and all by nodes of these names. `list_id` tells the list's first `last` lines from any others: it is
    another with each line (`broker/results/voided.py`). An agent that has acted on these lines already has
    nothing to do; one that has acted on another number than `since`, or for which `since` is `last`, forgets
    all."""

    KIND: ClassVar[bytes] = b"voided"
    list_id: Id
    since: Count
    last: Count
    keys: Annotated[tuple[Digest, ...], Length(MAX_VOIDED)]
    nodes: Annotated[tuple[Name, ...], Length(MAX_VOIDED)]


@dataclass(frozen=True, slots=True)
class StorageGet(Message):
    """Agent's key -> broker: a piece of the value of this key in ccache's storage, from `offset` on."""

    KIND: ClassVar[bytes] = b"storage-get"
    ticket: Count
    key: Id
    offset: Size


@dataclass(frozen=True, slots=True)
class StoragePut(Message):
    """Agent's key -> broker: the bytes of a new value from `offset`, at most CHUNK_BYTES, in order.

    `digest` and `total` are of the whole value. Without `is_overwriting` a value that is there stays.
    """

    KIND: ClassVar[bytes] = b"storage-put"
    ticket: Count
    key: Id
    is_overwriting: bool
    digest: Digest
    offset: Size
    total: Size
    body: Piece


@dataclass(frozen=True, slots=True)
class StorageRemove(Message):
    KIND: ClassVar[bytes] = b"storage-remove"
    ticket: Count
    key: Id


@dataclass(frozen=True, slots=True)
class StorageValue(Message):
    """Broker -> peer: a piece of a value, for one StorageGet. `digest` and `total` are of the whole."""

    KIND: ClassVar[bytes] = b"storage-value"
    ticket: Count
    digest: Digest
    offset: Size
    total: Size
    body: Piece


@dataclass(frozen=True, slots=True)
class StorageMore(Message):
    """Broker -> peer: one StoragePut, not the last of its value, is taken: another may come."""

    KIND: ClassVar[bytes] = b"storage-more"
    ticket: Count


@dataclass(frozen=True, slots=True)
class StorageEnd(Message):
    """Broker -> peer: the ticket is over: stored or removed, or else not there or not done, and why."""

    KIND: ClassVar[bytes] = b"storage-end"
    ticket: Count
    is_done: bool
    reason: Reason


@dataclass(frozen=True, slots=True)
class Watch(Message):
    """Monitor or admin -> broker: tell me what happens, from batch `since` of this feed on; a snapshot first
    where that is not to be had. An empty feed: from now on."""

    KIND: ClassVar[bytes] = b"watch"
    feed: Annotated[bytes, Length(FEED_BYTES)]
    since: Count


@dataclass(frozen=True, slots=True)
class Snapshot(Message):
    """Broker -> watcher: the farm as it is, before batch `number`. `body` is one zstd frame of events
    (zcc/events.py) that make it of an empty farm."""

    KIND: ClassVar[bytes] = b"snapshot"
    feed: Annotated[bytes, Length(FEED_BYTES)]
    number: Count
    body: Frame


@dataclass(frozen=True, slots=True)
class Happened(Message):
    """Broker -> watcher: batch `number` of this feed. `body` as in Snapshot."""

    KIND: ClassVar[bytes] = b"happened"
    feed: Annotated[bytes, Length(FEED_BYTES)]
    number: Count
    body: Frame


@dataclass(frozen=True, slots=True)
class LocalCounts(Message):
    """Agent -> broker, each second while it `is_watched` and there is something to tell: what never reaches the
    broker."""

    KIND: ClassVar[bytes] = b"local-counts"
    builds: Annotated[tuple[BuildCounts, ...], Length(MAX_COUNTED_BUILDS)]


ALL: tuple[type[Message], ...] = (
    Enrol, Enrolled, Rejoin, Leave, Hello, Welcome, Who, Beat, Bye, Refused, Unknown, Submit, Cancel, Revoke,
    Want, Absent, Chunk, Credit, Run, Started, Announce, Done, Failed, Settled, Finished, Busy, AskNodes, Nodes,
    AskPlaced, Placed, AskVoided, Voided, StorageGet, StoragePut, StorageRemove, StorageValue, StorageMore,
    StorageEnd, Watch, Snapshot, Happened, LocalCounts, Drain, Drained,
)  # fmt: skip
