"""A farm without sockets: the broker's real machine among small fake agents and nodes.

`Desk` plays the shell: it carries effects out at once, keeps a blob store that is a set, and puts what
is sent to a peer into its inbox. `World` adds agents and nodes with a virtual clock: the time jumps.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from broker.core import effects, events
from broker.core.effects import Effect
from broker.core.events import Event, Origin
from broker.core.jobs import AUDITOR, GRANTED, LEASED, Execution, Phase
from broker.core.limits import HELLO_EVERY_S
from broker.core.machine import Machine
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.core.uploads import scope_of
from broker.trust.standing import TrialOutcome
from cache.digest import Digest, digest_of
from zcc.lent import LentMemory
from zcc.messages import (
    Absent,
    Beat,
    Bye,
    Failed,
    Fault,
    Finished,
    Hello,
    Message,
    PeerRole,
    Refused,
    Revoke,
    Run,
    Settled,
    Started,
    Want,
    Welcome,
    Who,
)
from zcc.subject import Subject
from zcc.traits import Traits


def blob(name: str) -> Digest:
    return digest_of(name.encode())


def session_id(name: str) -> bytes:
    return digest_of(b"session " + name.encode())[:16]


@dataclass(frozen=True)
class JobFacts:
    """What a fake agent submits."""

    name: str
    inputs: tuple[Digest, ...]
    toolchain: Digest
    machine_class: bytes = b""
    hint_s: float = 1.0
    build: str = "build"
    traits: Traits | None = None
    subject: Subject | None = None

    @property
    def key(self) -> Digest:
        return blob(f"job {self.name}")


def job(
    name: str,
    inputs: tuple[str, ...] | None = None,
    toolchain: str = "gcc",
    machine_class: bytes = b"",
    hint_s: float = 1.0,
    build: str = "build",
) -> JobFacts:
    names = (f"{name}.c",) if inputs is None else inputs
    return JobFacts(name, tuple(map(blob, names)), blob(toolchain), machine_class, hint_s, build)


AnyMessage = TypeVar("AnyMessage", bound=Message)


class Desk:
    """The machine, and what a shell does for it."""

    def __init__(self, seed: int = 1, now: float = 100.0) -> None:
        self.now = now
        self.store: set[Digest] = {blob("gcc")}
        known = tuple((each, "") for each in self.store)
        self.machine = Machine("testfarm", random.Random(seed), now, known)
        self.recalls: dict[Digest, events.Recalled] = {}
        # Of toolchains' frames, in bytes; and what is to be sent to nodes.
        self.frame_bytes: dict[Digest, int] = {}
        self.on_offer: Callable[[effects.OfferBlobs], None] = lambda _: None
        self.effects: list[Effect] = []
        self.sent: defaultdict[bytes, list[Message]] = defaultdict(list)
        self.on_send: Callable[[bytes, Message], None] | None = None
        # The auditor: it knows no jobs, and asks for no reruns.
        self.on_try: Callable[[effects.TryNode], list[Event]] = nothing_known
        self.on_rerun_ended: Callable[[effects.RerunEnded], list[Event]] = lambda _: []
        # On large farms only each n-th state is validated; 0: none.
        self.validates_each = 1
        self._happened = 0

    def happen(self, *given: Event) -> list[Effect]:
        """Let events happen, then end the batch; the effects, in order."""
        seen: list[Effect] = []
        for event in given:
            self._handle(event, seen)
        self._handle(events.BatchEnded(), seen)
        while self.machine.farm.is_dirty:
            self._handle(events.BatchEnded(), seen)
        self.effects += seen
        self._happened += 1
        if self.validates_each and self._happened % self.validates_each == 0:
            validate(self.machine)
        return seen

    def pass_time(self, seconds: float, heard: frozenset[Origin] = frozenset()) -> list[Effect]:
        """Time passes in ticks; `heard` are who keeps talking."""
        seen = []
        for _ in range(max(1, round(seconds / 0.5))):
            self.now += 0.5
            talking = frozenset((each.route, each.user) for each in heard)
            seen += self.happen(events.Ticked(talking))
        return seen

    def say(self, origin: Origin, message: Message) -> list[Effect]:
        return self.happen(events.MessageArrived(origin, message))

    def hello(
        self,
        name: str,
        role: PeerRole,
        slots: int = 0,
        leases: tuple[bytes, ...] = (),
        classes: tuple[bytes, ...] = (),
        route: str = "",
        user: str = "",
        memory: LentMemory | None = None,
    ) -> Origin:
        origin = Origin((route or name).encode(), user or f"user-{name}", role)
        if self.machine.farm.sessions.get(session_id(name)) is not None:
            self.now += HELLO_EVERY_S  # sooner it would not be answered
        self.say(
            origin,
            Hello(
                session_id(name), role.value, "", name, "0", slots, leases, classes, memory=memory
            ),
        )
        return origin

    def client(self, name: str, **more: str) -> Origin:
        return self.hello(name, PeerRole.CLIENT, **more)  # type: ignore[arg-type]

    def node(self, name: str, slots: int = 2, **more: object) -> Origin:
        return self.hello(name, PeerRole.NODE, slots, **more)  # type: ignore[arg-type]

    def submit(
        self,
        origin: Origin,
        ticket: int,
        facts: JobFacts,
        recalled: events.Recalled | None = None,
        *,
        shows: bool = True,
        is_fresh: bool = False,
        nice: int = 0,
    ) -> list[Effect]:
        """`shows`: the agent proves that it holds the inputs, of which the store can check those it has."""
        here = tuple(digest for digest in facts.inputs if digest in self.store and shows)
        return self.happen(
            events.InputsShown(origin.user, here),
            events.JobSubmitted(
                origin=origin,
                ticket=ticket,
                key=facts.key,
                cost_hint_s=facts.hint_s,
                build=facts.build,
                toolchain=facts.toolchain,
                inputs=facts.inputs,
                machine_class=facts.machine_class,
                recalled=recalled,
                body=b"job " + facts.name.encode(),
                is_fresh=is_fresh,
                traits=facts.traits,
                nice=nice,
                subject=facts.subject,
            ),
        )

    def stored(self, *digests: Digest) -> list[Effect]:
        """All who were asked for these have sent them."""
        self.store.update(digests)
        return self.happen(
            *(
                events.BlobStored(digest, user)
                for digest in digests
                for user in self._senders(digest) or {""}
            )
        )

    def _senders(self, digest: Digest) -> set[str]:
        sessions = self.machine.farm.sessions
        return {
            session.user for session in sessions for _, wanted in session.asked if wanted == digest
        }

    def done(
        self,
        origin: Origin,
        lease: bytes,
        *,
        is_complete: bool = True,
        is_sound: bool = True,
        exit_status: int = 0,
        peak_bytes: int = 0,
        wall_s: float = 1.0,
        cpu_s: float | None = None,
        body: bytes = b"result",
    ) -> list[Effect]:
        return self.happen(
            events.ResultArrived(
                origin=origin,
                lease=lease,
                exit_status=exit_status,
                outputs=(blob("output"),),
                is_complete=is_complete,
                is_excused=False,
                is_sound=is_sound,
                size_bytes=1,
                cpu_s=wall_s if cpu_s is None else cpu_s,
                wall_s=wall_s,
                body=body,
                peak_bytes=peak_bytes,
            )
        )

    def runs(self, origin: Origin) -> list[Run]:
        """The Runs that a node was sent, taken out of its inbox."""
        inbox = self.sent[origin.route]
        found = [message for message in inbox if isinstance(message, Run)]
        self.sent[origin.route] = [each for each in inbox if not isinstance(each, Run)]
        return found

    def got(self, origin: Origin, kind: type[AnyMessage]) -> list[AnyMessage]:
        return [message for message in self.sent[origin.route] if isinstance(message, kind)]

    def _handle(self, event: Event, seen: list[Effect]) -> None:
        todo = [event]
        while todo:
            for effect in self.machine.handle(todo.pop(0), self.now):
                seen.append(effect)
                todo += self._perform(effect)

    def _perform(self, effect: Effect) -> list[Event]:
        match effect:
            case effects.Send(route, message) | effects.Deliver(route, _, message):
                self.sent[route].append(message)
                if self.on_send is not None:
                    self.on_send(route, message)
            case effects.FindMissing(key, digests, recalls):
                recalled = self.recalls.get(key) if recalls else None
                size_bytes = self.frame_bytes.get(digests[0], 0)
                missing = frozenset(digests) - self.store
                return [events.InputsChecked(key, missing, recalled, size_bytes)]
            case effects.OfferBlobs():
                self.on_offer(effect)
            case effects.TryNode():
                return self.on_try(effect)
            case effects.RerunEnded():
                return self.on_rerun_ended(effect)
            case effects.AskBlobs(route, digests):
                wanted = Want(tuple((digest, 0) for digest in digests))
                self.sent[route].append(wanted)
                if self.on_send is not None:
                    self.on_send(route, wanted)
            case _:
                pass
        return []


def nothing_known(due: effects.TryNode) -> list[Event]:
    nothing = TrialOutcome.NOTHING_KNOWN
    return [events.TrialEnded(due.session, due.node_key, due.node, nothing, frozenset(), 0)]


def unbegun(node: Node) -> int:
    """How many jobs a node has been given that it could give back; another node may run the same job."""
    return sum(lease.began_at is None for lease in node.leases.values())


def session_of(machine: Machine, session_id: bytes) -> Session | None:
    """Of those that stand, or that are over and not all undone."""
    return machine.farm.sessions.get(session_id) or machine.departures.get(session_id)


def validate_claims(machine: Machine, execution: Execution) -> None:
    """It waits in one lane of each key that waits for it."""
    requests = Counter(waiter.claimant for waiter in execution.waiters.values())
    assert requests == {user: claim.requests for user, claim in execution.claims.items()}
    assert all(claim.lane.user == user for user, claim in execution.claims.items())
    if (queue := machine.farm._queue_of(execution)) is not None:
        assert execution.lane.user in execution.claims
        users = sorted(lane.user for lane in queue._lanes_of[execution.key])
        assert users == sorted(execution.claims)


def validate(machine: Machine) -> None:
    """What holds between events, whatever happened."""
    farm = machine.farm
    leases = {}
    for node in farm.nodes:
        assert farm.sessions.get(node.session.id) is node.session
        assert node.slots <= node.all_slots
        # What runs, or what it says that it has, is let end where it lends less than before; the rest is given
        # back beat by beat.
        lends_less = node.slots < node.all_slots
        assert lends_less or node.held <= node.most_leases or not unbegun(node)
        assert node.idle_slots >= 0
        promised = sum(lease.memory_bytes for lease in node.leases.values())
        assert node.reserved_bytes == promised
        behind = {id for id, lease in node.leases.items() if lease.slot_at is None}
        assert behind == set(node.behind)
        assert not any(lease.began_at is not None for lease in node.behind.values())
        leases.update(node.leases)
    assert leases == farm.leases
    granted: dict[tuple[str, bytes], int] = {}
    for key, execution in farm.executions.items():
        assert execution.key == key
        assert execution.waiters, "an execution that nobody waits for"
        assert (execution.lease is not None) == (execution.phase in LEASED)
        assert (key in farm.queue) == (execution.phase is Phase.QUEUED)
        assert (key in farm.ready) == (execution.phase is Phase.READY)
        if execution.lease is not None:
            assert farm.leases[execution.lease.id] is execution.lease
        if execution.phase in GRANTED:
            place = (execution.lane.user, execution.lane.machine_class)
            granted[place] = granted.get(place, 0) + 1
        validate_claims(machine, execution)
        for at, waiter in execution.waiters.items():
            assert at == (waiter.session, waiter.ticket)
            if waiter.session == AUDITOR:
                continue
            session = session_of(machine, waiter.session)
            assert session is not None
            assert session.tickets[waiter.ticket] == key
        if execution.phase in (Phase.FETCHING, Phase.PARKED):
            assert execution.missing
            for digest in execution.missing:
                assert (scope_of(execution, digest), digest) in machine.uploads
        if execution.is_private:
            assert execution.phase not in (*LEASED, Phase.READY), (
                "a job that has not shown its inputs"
            )
            assert execution.lease is None
            waiting = [session_of(machine, session) for session, _ in execution.waiters]
            assert all(each and each.user == execution.lane.user for each in waiting)
    assert dict(farm.granted) == granted
    assert {lease.key for lease in farm.leases.values()} <= set(farm.executions)
    for lease in farm.leases.values():
        toolchain = farm.executions[lease.key].toolchain
        assert farm.holdings.is_toolchain(toolchain), "read out as a toolchain"
    hedged = {key for key, execution in farm.executions.items() if execution.hedge is not None}
    assert hedged == farm.hedged
    runs = Counter(lease.key for lease in farm.leases.values())
    assert all(count == 1 + (key in hedged) for key, count in runs.items()), "runs too often"
    for key in hedged:
        main, hedge = farm.executions[key].lease, farm.executions[key].hedge
        assert main is not None
        assert hedge is not None
        assert farm.leases[hedge.id] is hedge
        assert main.node != hedge.node
    for session in farm.sessions:
        for key in session.tickets.values():
            assert key in farm.executions
        for need in session.asked:
            assert need in machine.uploads
    for need, asked in machine.uploads._asked.items():
        assert asked.sources, "a blob is awaited from nobody"
        for user, session_id in asked.sources.items():
            source = session_of(machine, session_id)
            assert source is not None, "a blob is awaited from somebody who is gone"
            assert source.user == user
            assert need in source.asked
    assert farm.requests == Counter(
        session.user for session in (*farm.sessions, *machine.departures) for _ in session.tickets
    )
    assert farm.requests_of == Counter(
        (session.user, key)
        for session in (*farm.sessions, *machine.departures)
        for key in session.tickets.values()
    )
    open_turns = Counter(id(turn) for each in farm.executions.values() for turn in each.turns)
    charged = sum(
        count for queue in (farm.queue, farm.ready) for count, _ in queue._users._open.values()
    )
    assert charged == open_turns.total(), "a charge that nothing settles"
    uploads = machine.uploads
    of_key = Counter(user for asked in uploads._asked.values() for user in asked.sources)
    assert +uploads._of_key == uploads._of_key | of_key == of_key
    awaited = Counter(each.lane.user for each in farm.executions.values() for _ in each.missing)
    assert +uploads._awaited == awaited
    assert farm.total.jobs == len(farm.executions) == sum(t.jobs for t in farm.tallies.values())


@dataclass
class FakeAgent:
    """Submits jobs, uploads what is wanted, and counts the answers to each ticket."""

    world: World
    name: str
    is_alive: bool = True
    is_frozen: bool = False
    has_files: bool = True
    far_s: float = 0.0  # on top of the world's latency, each way
    next_ticket: int = 0
    waiting: dict[int, JobFacts] = field(default_factory=dict)
    finished: dict[int, Finished] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        return Origin(self.name.encode(), f"user-{self.name}", PeerRole.CLIENT)

    def hello(self) -> None:
        self.world.say(self, Hello(session_id(self.name), "client", "", self.name, "0", 0, (), ()))

    def submit(self, facts: JobFacts) -> int:
        self.next_ticket += 1
        self.waiting[self.next_ticket] = facts
        self.world.submit(self, self.next_ticket, facts)
        return self.next_ticket

    def take(self, message: Message) -> None:
        match message:
            case Welcome():
                for ticket, facts in list(self.waiting.items()):
                    self.world.submit(self, ticket, facts)
            case Who():
                self.hello()
            case Want(blobs):
                for digest, _ in blobs:
                    self.world.later(0.05, partial(self._upload, digest))
            case Finished() if message.ticket in self.waiting:
                del self.waiting[message.ticket]
                self.finished[message.ticket] = message
            case Refused(ticket, reason) if ticket in self.waiting:
                del self.waiting[ticket]
                self.refused[ticket] = reason
            case _:
                pass

    def _upload(self, digest: Digest) -> None:
        if not self.is_alive or self.is_frozen:
            return
        if self.has_files:
            self.world.desk.store.add(digest)
            self.world.tell(self, events.BlobStored(digest, self.origin.user))
        else:
            self.world.say(self, Absent(digest))


@dataclass
class FakeNode:
    """Runs at most `slots` jobs at a time, each as long as its cost over the node's speed.

    Without `starts` it keeps what it is sent and says nothing, without `answers` it says Started and no more;
    either way it beats. One that `denies` answers so large a share with exit status 1, all at once.
    """

    world: World
    name: str
    slots: int
    speed: float = 1.0
    fault_share: float = 0.0
    is_alive: bool = True
    is_frozen: bool = False
    starts: bool = True
    answers: bool = True
    denies: float = 0.0
    user: str = ""
    far_s: float = 0.0  # on top of the world's latency, each way
    waiting: dict[bytes, Run] = field(default_factory=dict)
    running: dict[bytes, Run] = field(default_factory=dict)
    unsettled: dict[bytes, Message | None] = field(default_factory=dict)
    took_s: dict[bytes, float] = field(default_factory=dict)
    denied: set[bytes] = field(default_factory=set)
    keys: dict[bytes, Digest] = field(default_factory=dict)
    ends_at: dict[bytes, float] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        return Origin(self.name.encode(), self.user or f"user-{self.name}", PeerRole.NODE)

    def slow_down(self, factor: float) -> None:
        """From now on it has this share of its speed, for what runs too."""
        self.speed *= factor
        now = self.world.now
        for lease in self.running:
            self.ends_at[lease] = now + (self.ends_at[lease] - now) / factor

    def hello(self) -> None:
        leases = (*self.waiting, *self.running, *self.unsettled)
        self.world.say(
            self, Hello(session_id(self.name), "node", "", self.name, "0", self.slots, leases, ())
        )

    def take(self, message: Message) -> None:
        match message:
            case Who():
                self.hello()
            case Welcome():
                for lease in list(self.unsettled):
                    self._report(lease)
            case Run():
                self.waiting[message.lease] = message
                self.keys[message.lease] = message.key
                self._fill()
            case Revoke(lease):
                self.waiting.pop(lease, None)
                if self.running.pop(lease, None) is not None:
                    self.world.note_stopped(message.lease)
                self.unsettled.pop(lease, None)
                self.took_s.pop(lease, None)
                self.ends_at.pop(lease, None)
                self._fill()
            case Settled(lease):
                self.unsettled.pop(lease, None)
                self.took_s.pop(lease, None)
            case _:
                pass

    def has_all_for(self, run: Run) -> bool:
        """Whether what this job reads is here."""
        return True

    def _fill(self) -> None:
        while self.starts and len(self.running) < self.slots:
            lease = next(
                (each for each, run in self.waiting.items() if self.has_all_for(run)), None
            )
            if lease is None:
                return
            run = self.waiting.pop(lease)
            self.running[lease] = run
            self.world.note_started(run, self)
            self.world.say(self, Started(lease))
            is_denied = self.denies > 0 and self.world.rng.random() < self.denies
            if is_denied:
                self.denied.add(lease)
            took_s = 0.0 if is_denied else self.world.cost_of(run.key) / self.speed
            self.took_s[lease] = took_s
            self.ends_at[lease] = self.world.now + took_s
            self.world.later(took_s, partial(self._end, lease))

    def _end(self, lease: bytes) -> None:
        if not self.is_alive or lease not in self.running or not self.answers:
            return
        left_s = self.ends_at[lease] - self.world.now
        if left_s > 1e-6:
            self.world.later(left_s, lambda: self._end(lease))
            self.took_s[lease] += left_s
            return
        if self.is_frozen:
            self.world.later(1.0, lambda: self._end(lease))
            return
        del self.running[lease]
        del self.ends_at[lease]
        self.world.note_stopped(lease)
        bad = self.world.rng.random() < self.fault_share
        self.unsettled[lease] = Failed(lease, Fault.SANDBOX.value, "fake") if bad else None
        self._report(lease)
        self._fill()

    def _report(self, lease: bytes) -> None:
        failed = self.unsettled[lease]
        if failed is not None:
            self.world.say(self, failed)
            return
        took_s = self.took_s[lease]
        status = int(lease in self.denied or self.keys[lease] in self.world.failing)
        body = b"failed" if status else b"ok"
        self.world.tell(
            self,
            events.ResultArrived(
                self.origin, lease, status, (), True, False, True, 0, took_s, took_s, body
            ),
        )


Peer = FakeAgent | FakeNode
AnyPeer = TypeVar("AnyPeer", bound=FakeAgent | FakeNode)


class World:
    """Everybody, one virtual clock, and a story of what happened."""

    LATENCY_S = 0.01
    TICK_S = 0.25

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.desk = Desk(seed)
        self.desk.on_send = self._deliver
        self.peers: dict[bytes, Peer] = {}
        self.story: list[tuple[float, str]] = []
        self.running: dict[bytes, Digest] = {}
        self._costs: dict[Digest, float] = {}
        self._truths: dict[Digest, float] = {}
        # Jobs whose compiler exits with a status of 1, wherever they run.
        self.failing: set[Digest] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._heard: set[tuple[bytes, str]] = set()
        self.later(self.TICK_S, self._tick)

    @property
    def now(self) -> float:
        return self.desk.now

    def agent(self, name: str, *, has_files: bool = True) -> FakeAgent:
        return self._join(FakeAgent(self, name, has_files=has_files))

    def node(self, name: str, slots: int, **more: float | str) -> FakeNode:
        return self._join(FakeNode(self, name, slots, **more))  # type: ignore[arg-type]

    def _join(self, peer: AnyPeer) -> AnyPeer:
        self.peers[peer.origin.route] = peer
        peer.hello()
        self._beat(peer)
        return peer

    def _beat(self, peer: Peer) -> None:
        if peer.is_alive:
            self.say(peer, Beat(0.0))
            self.later(1.0, lambda: self._beat(peer))

    def leave(self, peer: Peer) -> None:
        """Gone without a word."""
        peer.is_alive = False
        if isinstance(peer, FakeNode):
            for lease in peer.running:
                self.note_stopped(lease)

    def cost_of(self, key: Digest) -> float:
        return self._truths.get(key, self._costs.get(key, 1.0))

    def takes(self, facts: JobFacts, cost_s: float) -> None:
        """The job takes so long in truth, whatever was said of it."""
        self._truths[facts.key] = cost_s

    def submit(self, agent: FakeAgent, ticket: int, facts: JobFacts) -> None:
        self._costs[facts.key] = facts.hint_s
        here = tuple(digest for digest in facts.inputs if digest in self.desk.store)
        self.tell(agent, events.InputsShown(agent.origin.user, here))
        self.tell(
            agent,
            events.JobSubmitted(
                agent.origin, ticket, facts.key, facts.hint_s, facts.build, facts.toolchain,
                facts.inputs, facts.machine_class, None, facts.name.encode(), traits=facts.traits,
            ),
        )  # fmt: skip

    def say(self, peer: Peer, message: Message) -> None:
        self.tell(peer, events.MessageArrived(peer.origin, message))

    def tell(self, peer: Peer, event: Event) -> None:
        """An event reaches the broker a little later, unless the peer is dead or frozen."""
        if peer.is_alive and not peer.is_frozen:
            latency_s = self.LATENCY_S + peer.far_s
            self.later(latency_s, lambda: self._reach(peer, event))

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.now + delay_s, self._number, action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.desk.now, _, action = heapq.heappop(self._due)
            action()
        self.desk.now = end

    def run_until(self, is_over: Callable[[], bool], at_most_s: float = 600.0) -> None:
        end = self.now + at_most_s
        while not is_over():
            assert self.now < end, "the farm does not come to an end"
            self.run(self.TICK_S)

    def note_started(self, run: Run, node: FakeNode) -> None:
        self.running[run.lease] = run.key
        self.story.append((round(self.now, 6), f"{node.name} runs {run.body.decode()}"))

    def note_stopped(self, lease: bytes) -> None:
        self.running.pop(lease, None)

    def restart_broker(self) -> None:
        """A new broker with no memory but the blobs; nobody's messages are lost on purpose."""
        before, now = self.desk, self.now
        self.desk = Desk(self.rng.randrange(1 << 30), now)
        self.desk.store = before.store
        for toolchain in before.machine.farm.holdings.toolchains:
            self.desk.machine.farm.holdings.prove_toolchain("", toolchain)
        self.desk.on_send = self._deliver

    def _reach(self, peer: Peer, event: Event) -> None:
        self._heard.add((peer.origin.route, peer.origin.user))
        self.desk.happen(event)

    def _deliver(self, route: bytes, message: Message) -> None:
        peer = self.peers.get(route)
        if peer is None or isinstance(message, Beat | Bye):
            return

        def arrive() -> None:
            if peer.is_alive and not peer.is_frozen:
                peer.take(message)
            elif peer.is_frozen:
                self.later(0.5, arrive)

        self.later(self.LATENCY_S + peer.far_s, arrive)

    def _tick(self) -> None:
        self.later(self.TICK_S, self._tick)
        heard, self._heard = frozenset(self._heard), set()
        self.desk.happen(events.Ticked(heard))
