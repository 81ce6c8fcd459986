"""The nodes that are here, and what is remembered of those that were (`broker/trust/conduct.py`). Pure."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import ceil, inf

from broker.core.jobs import Lease, lease_prefix
from broker.core.limits import (
    ENDED_SHARE,
    MAX_PRESSURE,
    MAX_RECORDS_PER_KEY,
    MAX_TOOLCHAINS_OF_NODE,
    MAX_UNFIT,
    MIN_ENDED,
    PREFETCH,
    QUARANTINE_S,
    SMALL_JOB_BYTES,
)
from broker.core.sessions import Session
from broker.scheduling.model import Identity
from broker.scheduling.supplies import Supplies
from broker.trust.conduct import NodeRecord
from broker.trust.standing import TrialStage
from cache.digest import Digest
from zcc.lent import LentMemory
from zcc.messages import Fault

# Faults that make the node a suspect; the others are the job's, the agent's, or an honest "not now". A job that
# is over its time is too long for that node, whoever is slow.
SUSPICIOUS = frozenset((Fault.SANDBOX, Fault.TOOLCHAIN, Fault.INTERNAL, Fault.REFUSED))


# Why a node takes no jobs that an admin has taken away.
DRAINED = "an admin has drained it"


def most_leases(slots: int) -> int:
    """What a node of so many slots may hold: running plus prefetched."""
    return slots + max(1, ceil(slots * PREFETCH)) if slots else 0


def _architectures(machine_classes: frozenset[bytes]) -> set[bytes]:
    """What floating-point classes begin with (`x86_64+avx2`); a node of an older release says no other."""
    return {each.partition(b"+")[0] for each in machine_classes if b"+" in each}


@dataclass(slots=True)
class Node:
    """A node's session. `orphans` are leases of a broker before us, with the time they are given, which grows.
    `unwanted` are those that it is still to be told to give up, `behind` those of its leases for which no slot
    has been idle yet.

    `toolchains` are those that it has run jobs with and has not asked for since, `supplies` those on their way
    to it, `ended` the leases that it held last. By its own word it
    lends `slots` of `all_slots` now (`lends_less`: why not all), is `paused`, if that says why, cannot take
    toolchains that are `unfit`, each for its reason, and has `memory` for jobs (None: it does not say), of
    which `reserved_bytes` are promised. Until `kept_until` it is given no other job than `kept_for`.
    """

    session: Session
    record: NodeRecord
    slots: int
    machine_classes: frozenset[bytes]
    leases: dict[bytes, Lease] = field(default_factory=dict)
    orphans: dict[bytes, float] = field(default_factory=dict)
    unwanted: dict[bytes, None] = field(default_factory=dict)  # as a set that keeps the order
    behind: dict[bytes, Lease] = field(default_factory=dict)
    toolchains: set[Digest] = field(default_factory=set)
    ended: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    load: float = 0.0
    is_draining: bool = False
    paused: str = ""
    all_slots: int = 0
    mode: str = ""
    lends_less: str = ""
    unfit: dict[Digest, str] = field(default_factory=dict)
    memory: LentMemory | None = None
    reserved_bytes: int = 0  # of its leases
    kept_for: Digest | None = None
    kept_until: float = 0.0
    began_at: float = -inf  # a job, the last one
    supplies: Supplies = field(init=False)

    def __post_init__(self) -> None:
        self.supplies = Supplies(self.record.line)

    @property
    def identity(self) -> Identity:
        return self.session.user, self.session.name

    @property
    def held(self) -> int:
        return len(self.leases) + len(self.orphans)

    def take(self, lease: Lease, now: float) -> None:
        """It is given this lease."""
        if self.memory is not None:
            share = lease.memory_bytes / max(1, self.memory.usable_bytes)
            lease.slots = max(1.0, self.slots * min(share, 1.0))
        if self.held - len(self.behind) < self.slots:
            lease.slot_at = now
        else:
            self.behind[lease.id] = lease
        self.leases[lease.id] = lease
        self.reserved_bytes += lease.memory_bytes

    def give_up(self, lease: Lease, now: float) -> None:
        """It has this lease no more."""
        del self.leases[lease.id]
        self.reserved_bytes -= lease.memory_bytes
        self.note_ended(lease.id)
        if self.behind:
            self.behind.pop(lease.id, None)
            self.fill_slots(now)

    def begin(self, lease: Lease, now: float) -> None:
        """It runs this lease's job, whichever it was given before."""
        self.began_at = now
        if lease.slot_at is None:
            del self.behind[lease.id]
            lease.slot_at = now

    def fill_slots(self, now: float) -> None:
        """What it was given first has its idle slots from now on."""
        while self.behind and self.held - len(self.behind) < self.slots:
            lease = self.behind.pop(next(iter(self.behind)))
            lease.slot_at = now

    @property
    def width(self) -> int:
        """How many real jobs it is given at a time: as many as it lends, or one while it is probed, and none
        while known ones are put to it then."""
        standing = self.record.standing
        if self.record.is_drained:
            return 0
        if standing.stage is not TrialStage.PROBED:
            return self.slots
        return 0 if standing.asked or standing.has_probed else min(self.slots, 1)

    @property
    def is_probed(self) -> bool:
        return self.record.standing.stage is TrialStage.PROBED

    @property
    def idle_slots(self) -> int:
        return max(0, self.width - self.held)

    @property
    def is_short_of_memory(self) -> bool:
        """Whether it is given no more jobs beside those that it holds."""
        memory = self.memory
        if memory is None or not self.held:
            return False
        left_bytes = memory.usable_bytes - self.reserved_bytes
        return memory.pressure > MAX_PRESSURE or left_bytes < SMALL_JOB_BYTES

    def has_memory_for(
        self, job: Digest, need_bytes: int, least_bytes: int, now: float, *, alone: bool
    ) -> bool:
        """Whether such a job may begin there now. `alone`: also one that needs more than there is, on a node
        that holds nothing."""
        memory = self.memory
        if self.kept_for not in (None, job) and now < self.kept_until:
            return False
        if memory is None:
            return True
        if least_bytes > memory.limit_bytes:
            return False
        if not self.held and alone:
            return True
        has_room = self.reserved_bytes + need_bytes <= memory.usable_bytes
        return has_room and (memory.pressure <= MAX_PRESSURE or not self.held)

    @property
    def most_bytes(self) -> float:
        """The most that one job may ever have there."""
        return math.inf if self.memory is None else self.memory.limit_bytes

    @property
    def unleased_slots(self) -> int:
        """Idle by our own books: orphans are its word alone."""
        return max(0, self.width - len(self.leases))

    @property
    def most_leases(self) -> int:
        """Running plus prefetched."""
        if self.record.is_drained:
            return 0
        return min(self.slots, 1) if self.is_probed else most_leases(self.slots)

    @property
    def most_held(self) -> int:
        """Those that it may hold because it had more slots before."""
        return most_leases(max(self.slots, self.all_slots))

    def is_owed_revokes(self, now: float) -> bool:
        """Whether it holds leases that it is to give up by now."""
        return bool(self.unwanted) or any(
            until <= now for until in islice(self.orphans.values(), 1)
        )

    @property
    def spare(self) -> int:
        """Leases that it may be given now, prefetched ones included."""
        most = self.width if self.is_probed else self.most_leases
        return max(0, most - self.held)

    def leases_for(self, digests: Iterable[Digest]) -> dict[Digest, Lease]:
        """The lease that each of these may be fetched for; what is missing belongs to none. The newest comes
        first: what a node asks for is mostly that one's."""
        found: dict[Digest, Lease] = {}
        left = set(digests)
        for lease in reversed(self.leases.values()):
            if not left:
                break
            hit = left & lease.may_fetch
            found |= dict.fromkeys(hit, lease)
            left -= hit
        return found

    def note_ended(self, lease: bytes) -> None:
        """It does not hold this lease any more, and may not know that yet."""
        self.ended[lease] = None
        while len(self.ended) > max(MIN_ENDED, ENDED_SHARE * self.most_held):
            self.ended.popitem(last=False)

    def let_go(self) -> None:
        """It has left: of what it held nothing is kept, though a log of decisions may tell of it for long."""
        self.record.toolchains = self.toolchains.copy()
        self.leases.clear()
        self.behind.clear()
        self.ended.clear()
        self.unwanted.clear()

    def knows(self, lease: bytes) -> bool:
        """Whether it was given this lease, now or not long ago, or by a broker before us."""
        return lease in self.leases or lease in self.orphans or lease in self.ended

    def is_usable(self, now: float) -> bool:
        return self.record.standing.stage is not TrialStage.OWING and self.is_there(now)

    def is_there(self, now: float) -> bool:
        """Whether it could be given a job, if only a known one."""
        is_leaving = self.is_draining or self.record.is_drained
        return self.slots > 0 and not (is_leaving or self.paused) and now >= self.record.until

    def takes(
        self, user: str, machine_class: bytes, now: float, toolchain: Digest | None = None
    ) -> bool:
        """Whether such a job of this user's goes to it, when it has a slot and is usable at all."""
        return (
            self.serves(user, machine_class)
            and toolchain not in self.unfit
            and not self.record.is_aside_for(user, now)
        )

    def takes_now(self, user: str, machine_class: bytes, now: float) -> bool:
        """The same this moment: it does not rest."""
        is_resting = self.record.is_resting(now) or self.record.rests_for(user, now)
        return not is_resting and self.takes(user, machine_class, now)

    def note_toolchain(self, toolchain: Digest) -> Digest | None:
        """A job has begun with it. Returns one that is forgotten for it."""
        is_full = len(self.toolchains) >= MAX_TOOLCHAINS_OF_NODE
        forgotten = self.toolchains.pop() if is_full else None
        self.toolchains.add(toolchain)
        return forgotten

    def note_unfit(self, toolchain: Digest, reason: str) -> None:
        """It has no room for this toolchain."""
        self.unfit[toolchain] = reason
        if len(self.unfit) > MAX_UNFIT:
            del self.unfit[next(iter(self.unfit))]

    def serves(self, user: str, machine_class: bytes) -> bool:
        """Whether it may run such a job of this user's; a publisher's own node runs its own key's alone."""
        is_theirs = not self.session.is_own or user == self.session.user
        return is_theirs and (not machine_class or machine_class in self.machine_classes)

    def state(self, now: float) -> str:
        if self.is_draining or self.record.is_drained:
            return "draining"
        if self.why_none:
            return "paused"
        if now < self.record.until:
            return "quarantined"
        if not self.record.standing.is_trusted:
            return "probed" if self.is_probed else "on-trial"
        if self.record.is_resting(now):
            return "resting"
        return "limited" if self.unfit else "ready"

    @property
    def why_none(self) -> str:
        """Why it takes no job now, by its own word."""
        return self.paused or (not self.slots and self.lends_less) or ""

    def reason(self, now: float) -> str:
        """Why it is paused or limited, or lends less than all, by its own word; and why it is not trusted."""
        if self.record.is_drained:
            return DRAINED
        untrusted = self.record.standing.why(now, self.record.until)
        own = self.paused or untrusted or next(iter(self.unfit.values()), "")
        return own or self.lends_less


class Roster:
    """Nodes by session id."""

    def __init__(self, owing: Iterable[Identity] = ()) -> None:
        """`owing` owe a proof since before our start."""
        self._nodes: dict[bytes, Node] = {}
        # By key and name; what was used last comes last.
        self._records: dict[str, dict[str, NodeRecord]] = {}
        self._orphans: dict[bytes, tuple[Node, bytes]] = {}
        self._condemned: dict[str, tuple[float, float]] = {}  # keys: until when, and for how long
        self._kept: dict[str, dict[str, float]] = {}  # from nodes of a key: whose jobs, until when
        self._here: Counter[Identity] = Counter()  # sessions
        for user, name in owing:
            record = self._records.setdefault(user, {}).setdefault(name, NodeRecord())
            record.standing.owe(QUARANTINE_S)

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def get(self, session_id: bytes) -> Node | None:
        return self._nodes.get(session_id)

    def join(self, session: Session, slots: int, machine_classes: frozenset[bytes]) -> Node:
        """The node of this session, new or with what its new Hello says."""
        machine_classes |= _architectures(machine_classes)
        node = self._nodes.get(session.id)
        if node is None:
            record = self.record((session.user, session.name))
            record.sessions += 1
            self._here[session.user, session.name] += 1
            until, term_s = self._condemned.get(session.user, (0.0, 0.0))
            if record.until < until:
                record.condemn(until, term_s)
            for user, until in self._kept.get(session.user, {}).items():
                record.keep_from(user, until)
            node = Node(session, record, slots, machine_classes)
            node.toolchains.update(record.toolchains)
            self._nodes[session.id] = node
        node.slots = node.all_slots = slots
        node.machine_classes, node.is_draining = machine_classes, False
        node.paused = ""
        node.unfit.clear()
        return node

    def condemn(self, user: str, for_s: float, now: float) -> None:
        """Give no node of this key a job for so long, under whatever name it comes."""
        self._condemned[user] = now + for_s, for_s
        for record in self._records.get(user, {}).values():
            record.condemn(now + for_s, for_s)

    def keep_from(self, user: str, accuser: str, for_s: float, now: float) -> None:
        """Give no node of this key a job of the accuser's for so long, under whatever name it comes."""
        self._kept.setdefault(user, {})[accuser] = now + for_s
        for record in self._records.get(user, {}).values():
            record.keep_from(accuser, now + for_s)

    def is_distrusted(self, identity: Identity, user: str, now: float) -> bool:
        """Whether no result of this node's is given to this key: its jobs have shown that nodes of that key
        give wrong ones, or those of several keys have."""
        node_key, name = identity
        record = self._records.get(node_key, {}).get(name)
        return (
            now < self._condemned.get(node_key, (0.0, 0.0))[0]
            or now < self._kept.get(node_key, {}).get(user, 0.0)
            or (record is not None and user in record.standing.failed_for)
        )

    def leave(self, session_id: bytes) -> Node | None:
        node = self._nodes.pop(session_id, None)
        if node is not None:
            node.record.sessions -= 1
            self._here[node.identity] -= 1
            if not self._here[node.identity]:
                del self._here[node.identity]
            node.record.standing.gone()
            for lease in list(node.orphans):
                self.drop_orphan(node, lease)
        return node

    def usable(self, now: float) -> list[Node]:
        return [node for node in self._nodes.values() if node.is_usable(now)]

    def add_orphan(self, node: Node, lease: bytes, until: float) -> None:
        node.orphans[lease] = until
        self._orphans[lease_prefix(Digest(lease))] = (node, lease)

    def drop_orphan(self, node: Node, lease: bytes) -> None:
        node.orphans.pop(lease, None)
        prefix = lease_prefix(Digest(lease))
        if self._orphans.get(prefix) == (node, lease):
            del self._orphans[prefix]

    def find_orphan(self, key: Digest) -> tuple[Node, bytes] | None:
        """A lease for this key that a node holds since before our start."""
        return self._orphans.get(lease_prefix(key))

    def records_of(self, user: str) -> list[tuple[str, NodeRecord]]:
        """This key's nodes by a name of each, those that have left too."""
        by_name = self._records.get(user, {})
        return list({id(record): (name, record) for name, record in by_name.items()}.values())

    def owing(self) -> list[Identity]:
        """Who owes a proof, here or gone, of those that are remembered."""
        return [
            (user, name)
            for user, records in self._records.items()
            for name, record in records.items()
            if not record.standing.is_trusted
        ]

    def record(self, identity: Identity) -> NodeRecord:
        """What is remembered of this node, here or gone. Of a key's nodes that are gone it is not many.

        A new name goes on with what is known of a node of its key that is gone, the worst first, and shares it
        with the old one: a key has as many records as it has had nodes here at a time, under all names.
        """
        user, name = identity
        records = self._records.setdefault(user, {})
        if (record := records.pop(name, None)) is None:
            gone = [each for each in records.values() if not each.sessions]
            record = max(gone, key=NodeRecord.distrust, default=None) or NodeRecord()
            record.take_over(records.values())
        records[name] = record
        if len(records) > MAX_RECORDS_PER_KEY:
            left = next((each for each in records if (user, each) not in self._here), name)
            if left != name:
                del records[left]
        return record
