"""What happens on a farm, as the broker tells who watches it: each event, its fields, its bytes. Pure.

An event is a msgpack array: its NAME, then its fields in the order written here. `docs/reference/events.md`
says what each of them means, with units and bounds. A snapshot is a list of events, too: those that make the
farm's present state of an empty one (`zcc/watching/state.py`).

They grow as messages do (docs/reference/protocol.md): a new field stands behind all others and has a default,
an event of an unknown name is passed over.

Times are `_ms`: milliseconds, `at_ms` since the broker's own zero, of which `FarmShown.began_s` is the Unix
time. Members, builds, toolchains, nodes, jobs and leases go by numbers of this feed, from 1 on; 0 is none of
them. All text was made printable and cut by the broker, and is somebody's word all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import msgpack

from zcc.bounds import (
    MAX_SECONDS,
    Count,
    Length,
    Load,
    Name,
    Range,
    Rule,
    Size,
    SlotCount,
    Speed,
    fields_reader,
    hints_of,
    required_of,
    rule_of,
)
from zcc.errors import ProtocolError

# What is read of a batch, or of a snapshot; a broker makes none of more than 8 MiB.
MAX_EVENTS_BYTES = 32 << 20
MAX_EVENTS = 200_000
# What one batch holds before it is compressed: random names do not shrink, and no frame has more than 8 MiB.
MAX_BATCH_BYTES = 1 << 20
# Of one event: lists within it.
MAX_TOOLCHAINS = 64
MAX_REASONS = 16
MAX_FILES = 8
MAX_ROWS = 64
MAX_LINKS = 256
# And all of it: four times what a queue of the longest names has, with room for what later releases add.
MAX_EVENT_BYTES = 256 << 10

Number = Count
Millis = Annotated[int, Range(0, int(MAX_SECONDS * 1000))]
Ratio = Annotated[float, Range(0.0, 1e9)]
Seconds = Annotated[float, Range(0.0, 1e12)]
Nice = Annotated[int, Range(-20, 19)]
ExitStatus = Annotated[int, Range(-64, 255)]
Counts = Annotated[tuple[tuple[Name, Count], ...], Length(MAX_REASONS)]
Numbers = Annotated[tuple[Number, ...], Length(MAX_TOOLCHAINS)]


@dataclass(frozen=True, slots=True)
class FarmEvent:
    """The root of all events."""

    NAME: ClassVar[str] = ""
    at_ms: Count


# ---- who and what the numbers are ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FarmShown(FarmEvent):
    NAME: ClassVar[str] = "farm"
    farm: Name
    version: Name
    began_s: Seconds
    left_out: Count = 0


@dataclass(frozen=True, slots=True)
class MemberShown(FarmEvent):
    NAME: ClassVar[str] = "member"
    member: Number
    id: Name
    name: Name
    role: Name


@dataclass(frozen=True, slots=True)
class ToolchainShown(FarmEvent):
    NAME: ClassVar[str] = "toolchain"
    toolchain: Number
    digest: Name
    name: Name


@dataclass(frozen=True, slots=True)
class BuildShown(FarmEvent):
    NAME: ClassVar[str] = "build"
    build: Number
    member: Number
    name: Name
    host: Name
    id: Name


# ---- nodes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeShown(FarmEvent):
    """A node has come, or is another than it was."""

    NAME: ClassVar[str] = "node"
    node: Number
    member: Number
    name: Name
    version: Name
    state: Name
    mode: Name
    reason: Name
    slots: SlotCount
    all_slots: SlotCount
    speed: Speed
    spread: Ratio
    slowdown: Ratio
    load: Load
    memory_limit_bytes: Size
    memory_usable_bytes: Size
    memory_reserved_bytes: Size
    pressure: Load
    finished: Count
    faults: Count
    toolchains: Numbers
    known_by: Name = ""


@dataclass(frozen=True, slots=True)
class NodeLeft(FarmEvent):
    NAME: ClassVar[str] = "node-left"
    node: Number
    reason: Name


@dataclass(frozen=True, slots=True)
class NodeSuspended(FarmEvent):
    NAME: ClassVar[str] = "quarantine"
    name: Name
    for_ms: Millis
    member: Number


@dataclass(frozen=True, slots=True)
class ToolchainMoving(FarmEvent):
    NAME: ClassVar[str] = "shipping"
    node: Number
    toolchain: Number
    done_bytes: Size
    total_bytes: Size


@dataclass(frozen=True, slots=True)
class ToolchainUploaded(FarmEvent):
    """A toolchain comes from an agent."""

    NAME: ClassVar[str] = "uploading"
    member: Number
    toolchain: Number
    done_bytes: Size
    total_bytes: Size


@dataclass(frozen=True, slots=True)
class LinkRow:
    """What moved over a node's line, or over those of a member's agents; travels inside LinksShown."""

    node: Number
    member: Number
    received_bytes: Size
    sent_bytes: Size
    for_ms: Millis


@dataclass(frozen=True, slots=True)
class LinksShown(FarmEvent):
    NAME: ClassVar[str] = "links"
    links: Annotated[tuple[LinkRow, ...], Length(MAX_LINKS)]
    others_bytes: Size


# ---- jobs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobQueued(FarmEvent):
    NAME: ClassVar[str] = "queued"
    job: Number
    key: Name
    member: Number
    build: Number
    file: Name
    language: Name
    toolchain: Number
    cost_ms: Millis
    is_known: bool
    memory_bytes: Size
    inputs: Count
    input_bytes: Size
    scan_ms: Millis
    nice: Nice
    needs: Name


@dataclass(frozen=True, slots=True)
class JobJoined(FarmEvent):
    NAME: ClassVar[str] = "twin"
    job: Number
    member: Number
    build: Number
    file: Name


@dataclass(frozen=True, slots=True)
class RequestLeft(FarmEvent):
    """One of several who wait for a job waits no more."""

    NAME: ClassVar[str] = "left"
    job: Number
    member: Number
    build: Number


@dataclass(frozen=True, slots=True)
class JobSending(FarmEvent):
    NAME: ClassVar[str] = "sending"
    job: Number
    what: Name
    missing: Count


@dataclass(frozen=True, slots=True)
class JobLeased(FarmEvent):
    NAME: ClassVar[str] = "leased"
    job: Number
    lease: Number
    node: Number
    reason: Name
    slots: Count
    idle: Count
    rate: Ratio
    fastest: Ratio
    expected_ms: Millis
    memory_bytes: Size
    fetches: bool
    is_copy: bool


@dataclass(frozen=True, slots=True)
class RunStarted(FarmEvent):
    NAME: ClassVar[str] = "started"
    job: Number
    lease: Number


@dataclass(frozen=True, slots=True)
class LeaseLost(FarmEvent):
    NAME: ClassVar[str] = "unleased"
    job: Number
    lease: Number
    why: Name
    detail: Name
    is_fault: bool


@dataclass(frozen=True, slots=True)
class JobFinished(FarmEvent):
    NAME: ClassVar[str] = "finished"
    job: Number
    lease: Number
    outcome: Name
    status: ExitStatus
    cpu_ms: Millis
    wall_ms: Millis
    peak_bytes: Size
    output_bytes: Size
    queue_ms: Millis
    send_ms: Millis
    fetch_ms: Millis
    return_ms: Millis
    twins: Count


@dataclass(frozen=True, slots=True)
class HitServed(FarmEvent):
    NAME: ClassVar[str] = "hit"
    job: Number
    key: Name
    member: Number
    build: Number
    file: Name
    language: Name
    toolchain: Number
    node: Name
    output_bytes: Size
    scan_ms: Millis


@dataclass(frozen=True, slots=True)
class RequestRefused(FarmEvent):
    NAME: ClassVar[str] = "refused"
    job: Number
    member: Number
    build: Number
    file: Name
    reason: Name
    detail: Name


@dataclass(frozen=True, slots=True)
class JobAbandoned(FarmEvent):
    NAME: ClassVar[str] = "abandoned"
    job: Number
    why: Name


# ---- counts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentCounted(FarmEvent):
    NAME: ClassVar[str] = "counted"
    member: Number
    build: Number
    local_hits: Count
    saved_ms: Millis
    local: Counts
    missed: Counts
    files: Annotated[tuple[tuple[Name, Name, Millis], ...], Length(MAX_FILES)]


@dataclass(frozen=True, slots=True)
class QueueRow:
    """Jobs of one build that wait; travels inside QueueShown."""

    member: Number
    build: Number
    queued: Count
    sending: Count
    parked: Count
    ready: Count
    oldest_ms: Millis
    why: Name


@dataclass(frozen=True, slots=True)
class QueueShown(FarmEvent):
    NAME: ClassVar[str] = "queue"
    rows: Annotated[tuple[QueueRow, ...], Length(MAX_ROWS)]
    others: Count


@dataclass(frozen=True, slots=True)
class FarmPulse(FarmEvent):
    NAME: ClassVar[str] = "pulse"
    waiting: Count
    running: Count
    slots: Count
    agents: Count
    nodes: Count
    watchers: Count
    cache_bytes: Size
    cache_limit_bytes: Size
    evicted: Count


@dataclass(frozen=True, slots=True)
class TierShown(FarmEvent):
    """A tier behind the farm's store, where its numbers are others than they were."""

    NAME: ClassVar[str] = "tier"
    name: Name
    state: Name
    writes: Name
    hits: Count
    late: Count
    misses: Count
    errors: Count
    bad: Count
    wait_ms: Count
    written: Count
    waiting: Count
    lost: Count


# ---- members ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberJoined(FarmEvent):
    NAME: ClassVar[str] = "joined"
    id: Name
    name: Name
    role: Name


@dataclass(frozen=True, slots=True)
class PeerRefused(FarmEvent):
    NAME: ClassVar[str] = "turned-away"
    id: Name
    name: Name
    reason: Name


ALL_EVENTS: tuple[type[FarmEvent], ...] = (
    FarmShown, MemberShown, ToolchainShown, BuildShown, NodeShown, NodeLeft, NodeSuspended, ToolchainMoving,
    ToolchainUploaded, LinksShown,
    JobQueued, JobJoined, RequestLeft, JobSending, JobLeased, RunStarted, LeaseLost, JobFinished, HitServed,
    RequestRefused, JobAbandoned, AgentCounted, QueueShown, FarmPulse, TierShown, MemberJoined, PeerRefused,
)  # fmt: skip

# An event as it travels: its name, and its fields.
Row = tuple[Any, ...]


def row_of(event: FarmEvent) -> Row:
    """The event as it travels."""
    return (event.NAME, *(write(getattr(event, name)) for name, write in _WRITERS[event.NAME]))


def event_of(row: Sequence[Any]) -> FarmEvent | None:
    """The event that travelled so; None: it is of a name that is not known here.

    Raises:
        ProtocolError: it breaks its bounds.
    """
    if not row or type(row[0]) is not str:
        raise ProtocolError("an event without a name")
    reader = _READERS.get(row[0])
    if reader is None:
        return None
    kind, read = reader
    try:
        return kind(*read(list(row[1:])))
    except ValueError as error:
        raise ProtocolError(f"the event {row[0]}: {error}") from error


def pack_rows(rows: Sequence[Row]) -> bytes:
    """What a batch or a snapshot holds, before it is compressed (`cache/frame.py`)."""
    packed: bytes = msgpack.packb(rows, use_bin_type=True)
    return packed


def pack_pieces(rows: Sequence[Row], most_bytes: int) -> Iterator[bytes]:
    """The same in several, in order, where it is more than so many bytes; a longer row stands alone."""
    packed = pack_rows(rows)
    if len(packed) <= most_bytes or len(rows) == 1:
        yield packed
        return
    half = len(rows) // 2
    yield from pack_pieces(rows[:half], most_bytes)
    yield from pack_pieces(rows[half:], most_bytes)


def join_rows(packed: Sequence[bytes]) -> bytes:
    """What a batch holds, of rows that are packed already."""
    head: bytes = msgpack.Packer().pack_array_header(len(packed))
    return head + b"".join(packed)


def unpack_events(packed: bytes) -> list[FarmEvent]:
    """The events of a batch or a snapshot that are known here, in order.

    Raises:
        ProtocolError: they are none, or break their bounds.
    """
    if len(packed) > MAX_EVENTS_BYTES:
        raise ProtocolError(f"{len(packed)} bytes of events; at most {MAX_EVENTS_BYTES} are taken")
    try:
        return list(_events_in(packed))
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"a batch of events: {error}") from error


def _events_in(packed: bytes) -> Iterator[FarmEvent]:
    """One row is made at a time, and none that is long: lists of lists take 70 times their bytes."""
    rows = msgpack.Unpacker(max_buffer_size=MAX_EVENTS_BYTES)
    rows.feed(packed)
    count = rows.read_array_header()
    if count > MAX_EVENTS:
        raise ValueError(f"{count} events; at most {MAX_EVENTS} are taken")
    at = rows.tell()
    for _ in range(count):
        rows.skip()
        begin, at = at, rows.tell()
        if at - begin > MAX_EVENT_BYTES:
            raise ValueError(f"an event of {at - begin} bytes; at most {MAX_EVENT_BYTES} are taken")
        row = msgpack.unpackb(packed[begin:at], raw=False, strict_map_key=True, max_map_len=0)
        if type(row) is not list:
            raise ValueError("no list of rows")
        if (event := event_of(row)) is not None:
            yield event
    if at != len(packed):
        raise ValueError("more than a list of rows")


def as_document(event: FarmEvent) -> dict[str, Any]:
    """The event for JSON: `event` is its name, then its fields by their names."""
    told: dict[str, Any] = {"event": event.NAME}
    for field in fields(event):
        value = getattr(event, field.name)
        told[field.name] = [_plain(each) for each in value] if type(value) is tuple else value
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, (QueueRow, LinkRow)):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _rules(kind: type[FarmEvent]) -> dict[str, Rule]:
    return {name: rule_of(hint) for name, hint in hints_of(kind).items()}


_WRITERS = {
    kind.NAME: [(name, rule.write) for name, rule in _rules(kind).items()] for kind in ALL_EVENTS
}
_READERS = {
    kind.NAME: (kind, fields_reader(list(_rules(kind).values()), len(required_of(kind))))
    for kind in ALL_EVENTS
}
