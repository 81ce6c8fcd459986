"""What a node does with its leases: events in, effects out. Pure.

A lease goes one way:

    fetching -> ready -> running -> ended -> (settled: forgotten)

`fetching` waits for inputs and toolchain, `ready` for a slot, `ended` for the broker's Settled. A revoked
lease is forgotten at once, except that a running sandbox keeps its slot until it is really gone.

A toolchain is unpacked while a lease waits for it, a few at a time. Those that have come wait for their turn:
next is the one of the client whose last turn is longest ago. One that nobody wants any more by then stays
packed.

While the node is paused (its disk is short) or lends no slot it says so, and gives back what does not run. When
it lends fewer than before it says so, starts nothing beyond them, and lets what runs end; the broker takes back
what has not begun.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import assert_never

from cache.digest import Digest
from node.core.effects import (
    Effect,
    FetchInputs,
    FetchToolchain,
    ForgetLease,
    InstallToolchain,
    KillJob,
    LeaveFarm,
    SayState,
    SendBehind,
    SendToBroker,
    StartJob,
    StepBack,
)
from node.core.events import (
    BlobArrived,
    BlobFailed,
    Event,
    JobEnded,
    JobFaulted,
    JobSpoiled,
    LeaseRevoked,
    LeaseSettled,
    MemoryChanged,
    OfferChanged,
    RoomChanged,
    RunAsked,
    RunRejected,
    SessionLost,
    StopAsked,
    ToolchainFailed,
    ToolchainGone,
    ToolchainReady,
    Welcomed,
)
from zcc.lent import LentMemory
from zcc.messages import Done, Failed, Fault, Offer, Started

# A broker that leases more than this to one node is broken; what is beyond is refused.
MAX_LEASES = 4096
# A job whose files rot as often as that while it runs is another node's: this disk, or memory, is broken.
MAX_SPOILED = 3
MAX_DETAIL = 1000  # characters
# Toolchains that are unpacked at a time; each keeps a core and the disk busy for seconds.
MAX_INSTALLING = 2
# Clients of which it is remembered when they last had one unpacked.
MAX_CLIENTS = 1024


class LeaseStage(Enum):
    FETCHING = "fetching"
    READY = "ready"
    RUNNING = "running"
    ENDED = "ended"
    REVOKED = "revoked"  # still running, nobody waits for it


@dataclass(slots=True)
class NodeLease:
    toolchain: Digest
    missing: set[Digest]
    needs_toolchain: bool
    stage: LeaseStage = LeaseStage.FETCHING
    last_word: Done | Failed | None = None
    outputs: tuple[Digest, ...] = ()
    spoiled: int = 0
    memory_bytes: int = 0
    client: bytes = b""


@dataclass(slots=True)
class NodeMachine:
    """The state of one node. `slots` compiles run at a time at most; now those of `lent`, all without it."""

    slots: int
    lent: Offer | None = None
    leases: OrderedDict[bytes, NodeLease] = field(default_factory=OrderedDict)
    has_session: bool = False  # a broker listens
    is_stopping: bool = False
    paused: str = ""  # why no jobs are taken
    memory: LentMemory | None = None
    _ready: deque[bytes] = field(default_factory=deque)
    _wanted: set[Digest] = field(default_factory=set)
    # Toolchains that are here, to be unpacked.
    _packed: deque[Digest] = field(default_factory=deque)
    _installing: set[Digest] = field(default_factory=set)
    # Clients in the order of their last turn to have one unpacked.
    _turns: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    @property
    def offer(self) -> Offer:
        """What a broker is told of how much this node lends."""
        lent = self.lent or Offer(self.slots)
        if self.is_stopping:
            return replace(lent, slots=0, why="it ends what runs, and leaves", is_leaving=True)
        return lent

    @property
    def running(self) -> int:
        """Sandboxes alive now."""
        occupied = (LeaseStage.RUNNING, LeaseStage.REVOKED)
        return sum(lease.stage in occupied for lease in self.leases.values())

    def open_leases(self) -> tuple[bytes, ...]:
        """The leases to tell a broker in Hello: held, running, or ended and not settled."""
        return tuple(
            name for name, lease in self.leases.items() if lease.stage is not LeaseStage.REVOKED
        )

    def handle(self, event: Event) -> list[Effect]:
        match event:
            case RunAsked():
                effects = self._take(event)
            case RunRejected(lease, fault, detail):
                effects = [SendToBroker(Failed(lease, fault.value, detail))]
            case LeaseRevoked(name):
                effects = self._revoke(name)
            case BlobArrived(digest):
                effects = self._arrived(digest)
            case BlobFailed(digest, detail, fault):
                effects = self._blob_failed(digest, fault, detail)
            case ToolchainReady(digest):
                effects = self._toolchain_ready(digest)
            case ToolchainFailed(digest, detail, fault):
                effects = self._toolchain_failed(digest, fault, detail)
            case JobEnded() | JobFaulted():
                effects = self._job_ended(event)
            case JobSpoiled():
                effects = self._begin_anew(event)
            case ToolchainGone(digest):
                effects = self._toolchain_gone(digest)
            case LeaseSettled(name):
                effects = self._forget(name)
            case Welcomed():
                self.has_session = True
                effects = self._resume()
            case SessionLost():
                self.has_session = False
                self._wanted.clear()
                effects = []
            case MemoryChanged(memory):
                self.memory = memory
                effects = []
            case RoomChanged() | OfferChanged() | StopAsked():
                effects = self._open_or_close(event)
            case _:
                assert_never(event)
        return effects + self._install() + self._fill_slots() + self._leave_when_done()

    def validate(self) -> None:
        """What holds between events; tests call it after each."""
        assert 0 <= self.running <= self.slots
        assert len(self._installing) <= MAX_INSTALLING
        for name in self._ready:
            assert name not in self.leases or self.leases[name].stage is not LeaseStage.FETCHING
        for lease in self.leases.values():
            assert (lease.last_word is None) == (lease.stage is not LeaseStage.ENDED)
            assert lease.stage is LeaseStage.FETCHING or not lease.missing

    def _take(self, event: RunAsked) -> list[Effect]:
        if event.lease in self.leases:
            return []  # said twice by a broker that saw us come back; the first still stands
        if self.is_stopping:
            return [SendToBroker(Failed(event.lease, Fault.STOPPING.value, "the node is leaving"))]
        why_none = self.paused or (self.offer.why if not self.offer.slots else "")
        if why_none:
            return [SendToBroker(Failed(event.lease, Fault.PAUSED.value, why_none))]
        if len(self.leases) >= MAX_LEASES:
            return [SendToBroker(Failed(event.lease, Fault.RESOURCES.value, "too many leases"))]
        needs_toolchain = not event.is_toolchain_here
        lease = NodeLease(
            event.toolchain,
            set(event.missing),
            needs_toolchain,
            memory_bytes=event.memory_bytes,
            client=event.client,
        )
        self.leases[event.lease] = lease
        effects = self._fetch(lease)
        self._promote()
        return effects

    def _fetch(self, lease: NodeLease) -> list[Effect]:
        effects: list[Effect] = []
        toolchain = lease.toolchain
        is_here = toolchain in self._packed or toolchain in self._installing
        if lease.needs_toolchain and not is_here and toolchain not in self._wanted:
            self._wanted.add(toolchain)
            effects.append(FetchToolchain(toolchain))
        fresh = lease.missing - self._wanted
        if fresh:
            self._wanted |= fresh
            effects.append(FetchInputs(tuple(sorted(fresh))))
        return effects

    def _promote(self) -> None:
        for name, lease in self.leases.items():
            if (
                lease.stage is LeaseStage.FETCHING
                and not lease.missing
                and not lease.needs_toolchain
            ):
                lease.stage = LeaseStage.READY
                self._ready.append(name)

    def _fill_slots(self) -> list[Effect]:
        effects: list[Effect] = []
        free = (self.lent.slots if self.lent is not None else self.slots) - self.running
        waiting: list[bytes] = []
        while free > 0 and self._ready:
            name = self._ready.popleft()
            lease = self.leases.get(name)
            if lease is None or lease.stage is not LeaseStage.READY:
                continue
            if not self._has_memory_for(lease):
                waiting.append(name)
                continue
            lease.stage = LeaseStage.RUNNING
            effects += [SendToBroker(Started(name)), StartJob(name)]
            free -= 1
        self._ready.extendleft(reversed(waiting))
        return effects

    def _has_memory_for(self, lease: NodeLease) -> bool:
        """Whether it may begin beside those that run; one that needs more than there is runs alone."""
        if self.memory is None or not self.running:
            return True
        occupied = (LeaseStage.RUNNING, LeaseStage.REVOKED)
        reserved_bytes = sum(
            each.memory_bytes for each in self.leases.values() if each.stage in occupied
        )
        return reserved_bytes + lease.memory_bytes <= self.memory.usable_bytes

    def _arrived(self, digest: Digest) -> list[Effect]:
        self._wanted.discard(digest)
        for lease in self.leases.values():
            lease.missing.discard(digest)
        is_here = digest in self._packed or digest in self._installing
        if not is_here and self._is_awaited(digest):
            self._packed.append(digest)
        self._promote()
        return []

    def _is_awaited(self, toolchain: Digest) -> bool:
        return any(
            lease.needs_toolchain and lease.toolchain == toolchain for lease in self.leases.values()
        )

    def _install(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._packed and len(self._installing) < MAX_INSTALLING:
            clients: dict[Digest, set[bytes]] = {}
            for lease in self.leases.values():
                if lease.needs_toolchain:
                    clients.setdefault(lease.toolchain, set()).add(lease.client)
            self._packed = deque(each for each in self._packed if each in clients)
            if not self._packed:
                break
            last_turns = {client: at for at, client in enumerate(self._turns, 1)}
            digest = min(
                self._packed,
                key=lambda each: min(last_turns.get(client, 0) for client in clients[each]),
            )
            self._packed.remove(digest)
            self._take_turn(clients[digest])
            self._installing.add(digest)
            effects.append(InstallToolchain(digest))
        return effects

    def _take_turn(self, clients: set[bytes]) -> None:
        for client in clients:
            self._turns[client] = None
            self._turns.move_to_end(client)
        while len(self._turns) > MAX_CLIENTS:
            self._turns.popitem(last=False)

    def _blob_failed(self, digest: Digest, fault: Fault, detail: str) -> list[Effect]:
        self._wanted.discard(digest)
        hit = [
            name
            for name, lease in self.leases.items()
            if digest in lease.missing or (lease.needs_toolchain and lease.toolchain == digest)
        ]
        return [effect for name in hit for effect in self._fail(name, fault, detail)]

    def _toolchain_ready(self, digest: Digest) -> list[Effect]:
        self._installing.discard(digest)
        for lease in self.leases.values():
            if lease.toolchain == digest:
                lease.needs_toolchain = False
        self._promote()
        return []

    def _toolchain_failed(self, digest: Digest, fault: Fault, detail: str) -> list[Effect]:
        self._installing.discard(digest)
        hit = [
            name
            for name, lease in self.leases.items()
            if lease.needs_toolchain and lease.toolchain == digest
        ]
        return [effect for name in hit for effect in self._fail(name, fault, detail)]

    def _begin_anew(self, event: JobSpoiled) -> list[Effect]:
        """A job has run on rotten files, or could not start for want of them."""
        lease = self.leases.get(event.lease)
        if lease is None or lease.stage is not LeaseStage.RUNNING:
            return self._forget(event.lease)
        lease.spoiled += 1
        if lease.spoiled > MAX_SPOILED:
            return self._fail(event.lease, Fault.INTERNAL, event.detail)
        if self.is_stopping:
            return self._fail(event.lease, Fault.STOPPING, "the node is leaving")
        lease.stage = LeaseStage.FETCHING
        lease.missing = set(event.missing)
        lease.needs_toolchain = not event.is_toolchain_here
        effects = self._fetch(lease)
        self._promote()
        return effects

    def _toolchain_gone(self, digest: Digest) -> list[Effect]:
        effects: list[Effect] = []
        for name, lease in self.leases.items():
            if lease.toolchain == digest and lease.stage in (LeaseStage.FETCHING, LeaseStage.READY):
                if lease.stage is LeaseStage.READY:
                    self._ready.remove(name)
                lease.stage = LeaseStage.FETCHING
                lease.needs_toolchain = True
                effects += self._fetch(lease)
        return effects

    def _open_or_close(self, event: RoomChanged | OfferChanged | StopAsked) -> list[Effect]:
        """How many jobs are taken from now on, if any."""
        match event:
            case RoomChanged(reason):
                return self._pause(reason)
            case OfferChanged(offer):
                return self._lend(offer)
            case StopAsked():
                return self._stop()
            case _:
                assert_never(event)

    def _pause(self, reason: str) -> list[Effect]:
        if reason == self.paused:
            return []
        self.paused = reason
        effects: list[Effect] = [SayState()]
        if reason:
            effects += self._give_back(Fault.PAUSED, reason)
        return effects

    def _lend(self, offer: Offer) -> list[Effect]:
        if offer == self.lent:
            return []
        self.lent = offer
        running = [name for name, lease in self.leases.items() if lease.stage is LeaseStage.RUNNING]
        effects: list[Effect] = [SayState(), *(StepBack(name) for name in running[offer.slots :])]
        if not offer.slots:
            effects += self._give_back(Fault.PAUSED, offer.why)
        return effects

    def _stop(self) -> list[Effect]:
        if self.is_stopping:
            return []
        self.is_stopping = True
        return [SayState(), *self._give_back(Fault.STOPPING, "the node is leaving")]

    def _give_back(self, fault: Fault, detail: str) -> list[Effect]:
        """All that has not begun."""
        waits = (LeaseStage.FETCHING, LeaseStage.READY)
        hit = [name for name, lease in self.leases.items() if lease.stage in waits]
        return [effect for name in hit for effect in self._fail(name, fault, detail)]

    def _fail(self, name: bytes, fault: Fault, detail: str) -> list[Effect]:
        """Give a lease that does not run back, with the reason."""
        return self._end(name, Failed(name, fault.value, detail[:MAX_DETAIL]), ())

    def _job_ended(self, event: JobEnded | JobFaulted) -> list[Effect]:
        if isinstance(event, JobEnded):
            return self._end(event.lease, Done(event.lease, event.body), event.outputs)
        detail = event.detail[:MAX_DETAIL]
        failed = Failed(event.lease, event.fault.value, detail, event.used_bytes)
        return self._end(event.lease, failed, ())

    def _end(
        self, name: bytes, last_word: Done | Failed, outputs: tuple[Digest, ...]
    ) -> list[Effect]:
        lease = self.leases.get(name)
        if lease is None or lease.stage is LeaseStage.REVOKED:
            return self._forget(name)
        lease.stage = LeaseStage.ENDED
        lease.missing.clear()
        lease.needs_toolchain = False
        lease.last_word = last_word
        lease.outputs = outputs
        return [SendBehind(outputs, last_word)]

    def _revoke(self, name: bytes) -> list[Effect]:
        lease = self.leases.get(name)
        if lease is None:
            return []
        if lease.stage is LeaseStage.RUNNING:
            lease.stage = LeaseStage.REVOKED
            return [KillJob(name)]
        if lease.stage is LeaseStage.REVOKED:
            return []
        return self._forget(name)

    def _forget(self, name: bytes) -> list[Effect]:
        return [ForgetLease(name)] if self.leases.pop(name, None) is not None else []

    def _resume(self) -> list[Effect]:
        """A session stands (again): ask anew for what was under way, say last words again."""
        effects: list[Effect] = []
        for lease in self.leases.values():
            if lease.stage is LeaseStage.FETCHING:
                effects += self._fetch(lease)
            elif lease.last_word is not None:
                effects.append(SendBehind(lease.outputs, lease.last_word))
        return effects

    def _leave_when_done(self) -> list[Effect]:
        """Once all is settled; without a broker, once nothing runs: nobody takes what has ended."""
        is_done = not self.leases if self.has_session else not self.running
        return [LeaveFarm()] if self.is_stopping and is_done else []
