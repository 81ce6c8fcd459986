"""Whatever peers do, in whatever order: every request gets one answer, no key runs twice at once,
no slot is given twice, and the books agree (`validate`, after every event)."""

from __future__ import annotations

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.core import effects, events
from broker.core.events import Event, Origin
from broker.core.jobs import LEASE_RANDOM_BYTES, lease_prefix, private_key
from broker.core.limits import (
    HELLO_EVERY_S,
    MAX_FAILED_JOBS,
    OVERDUE_LOOK_S,
    RUN_LIMIT_S,
    STARTUP_GRACE_S,
)
from broker.core.nodes import SUSPICIOUS
from broker.trust.standing import TrialOutcome
from tests.support.broker_world import Desk, JobFacts, World, blob, job, nothing_known, session_id
from zcc.lent import LentMemory
from zcc.messages import (
    Absent,
    Beat,
    Bye,
    Cancel,
    Failed,
    Fault,
    Finished,
    Hello,
    Offer,
    PeerRole,
    Refused,
    Revoke,
    Run,
    Started,
    Want,
)

GIB = 1 << 30
AGENTS = ("a", "b", "c")
NODES = ("n", "m", "o")
JOBS = tuple(
    job(name, inputs, toolchain, machine_class)
    for name, inputs, toolchain, machine_class in (
        ("w", ("w.c", "common.h"), "gcc", b""),
        ("x", ("x.c", "common.h"), "gcc", b""),
        ("y", ("y.c",), "clang", b"fma"),
        ("z", (), "clang", b""),
        ("v", (), "gcc", b""),
    )
)
FAILURES = (*sorted(SUSPICIOUS, key=lambda fault: fault.value), Fault.INPUT, None)
names_of_agents = st.sampled_from(AGENTS)
names_of_nodes = st.sampled_from(NODES)


def origin(name: str, role: PeerRole, route: int) -> Origin:
    return Origin(f"{name}{route}".encode(), f"user-{name}", role)


class BrokerRules(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.desk = Desk()
        self.desk.on_send = self.note_sent
        self.routes = dict.fromkeys((*AGENTS, *NODES), 0)
        self.here: set[str] = set()
        self.ticket = 0
        self.open: dict[tuple[str, int], JobFacts] = {}
        self.leases: dict[str, dict[bytes, Run]] = {name: {} for name in NODES}
        self.tried: list[effects.TryNode] = []
        self.desk.on_try = self.note_try

    def note_try(self, due: effects.TryNode) -> list[events.Event]:
        self.tried.append(due)
        return []

    # --- what the broker says -------------------------------------------------------------------

    def note_sent(self, route: bytes, message: object) -> None:
        name = route[:1].decode()
        match message:
            case Finished(ticket) | Refused(ticket) if ticket:
                if route == self.origin(name).route:
                    assert self.open.pop((name, ticket), None), "an answer that nobody waits for"
            case Run():
                if route == self.origin(name).route:
                    self.leases[name][message.lease] = message
            case Revoke(lease):
                self.leases[name].pop(lease, None)
            case Bye():
                self.forget(name)
            case _:
                pass

    def forget(self, name: str) -> None:
        """The session is over for both sides: its requests are void."""
        self.here.discard(name)
        self.open = {at: facts for at, facts in self.open.items() if at[0] != name}

    def origin(self, name: str) -> Origin:
        return origin(name, PeerRole.CLIENT if name in AGENTS else PeerRole.NODE, self.routes[name])

    # --- what peers do --------------------------------------------------------------------------

    @rule(name=names_of_agents, is_moved=st.booleans())
    def agent_says_hello(self, name: str, is_moved: bool) -> None:
        self.routes[name] += is_moved
        self.here.add(name)
        at = self.origin(name)
        self.desk.sent[at.route].clear()
        self.desk.now += HELLO_EVERY_S
        self.desk.say(at, Hello(session_id(name), "client", "", name, "0", 0, (), ()))
        for (agent, ticket), facts in list(self.open.items()):
            if agent == name:
                self.desk.submit(at, ticket, facts)

    @rule(
        name=names_of_nodes,
        slots=st.integers(0, 3),
        is_moved=st.booleans(),
        fma=st.booleans(),
        claims=st.lists(
            st.tuples(st.sampled_from(JOBS), st.sampled_from((*AGENTS, ""))), max_size=2
        ),
    )
    def node_says_hello(
        self,
        name: str,
        slots: int,
        is_moved: bool,
        fma: bool,
        claims: list[tuple[JobFacts, str]],
    ) -> None:
        """It claims to run jobs besides those that it was given, by their own names or by an agent's."""
        self.routes[name] += is_moved
        self.here.add(name)
        classes = (b"fma",) if fma else ()
        for facts, agent in claims:
            key = private_key(facts.key, f"user-{agent}") if agent else facts.key
            lease = lease_prefix(key) + name.encode() * LEASE_RANDOM_BYTES
            self.leases[name].setdefault(lease, Run(lease, facts.key, "", 0, b""))
        leases = tuple(self.leases[name])
        self.desk.now += HELLO_EVERY_S  # sooner it would not be answered
        hello = Hello(session_id(name), "node", "", name, "0", slots, leases, classes)
        self.desk.say(self.origin(name), hello)

    @rule(
        name=names_of_nodes,
        slots=st.integers(0, 4),
        paused=st.sampled_from(("", "", "full")),
        memory=st.sampled_from(
            (None, LentMemory(GIB, GIB), LentMemory(GIB, 0), LentMemory(9 * GIB, GIB, 50.0))
        ),
    )
    def node_beats(self, name: str, slots: int, paused: str, memory: LentMemory | None) -> None:
        offer = Offer(slots, "proportional", "its owner is there")
        self.desk.say(self.origin(name), Beat(0.0, paused, offer, memory))

    @rule(name=names_of_agents, facts=st.sampled_from(JOBS), shows=st.booleans())
    def agent_submits(self, name: str, facts: JobFacts, shows: bool) -> None:
        self.ticket += 1
        if name in self.here:
            self.open[name, self.ticket] = facts
        self.desk.submit(self.origin(name), self.ticket, facts, shows=shows)

    @rule(data=st.data())
    def agent_cancels(self, data: st.DataObject) -> None:
        if self.open:
            name, ticket = data.draw(st.sampled_from(sorted(self.open)))
            del self.open[name, ticket]
            self.desk.say(self.origin(name), Cancel(ticket))

    @rule(data=st.data(), has_it=st.booleans())
    def agent_answers_a_want(self, data: st.DataObject, has_it: bool) -> None:
        name = data.draw(names_of_agents)
        wanted = sorted(
            digest
            for want in self.desk.got(self.origin(name), Want)
            if isinstance(want, Want)
            for digest, _ in want.blobs
        )
        if wanted:
            digest = data.draw(st.sampled_from(wanted))
            if has_it:
                self.desk.stored(digest)
            else:
                self.desk.say(self.origin(name), Absent(digest))

    @rule(
        data=st.data(), name=names_of_nodes, end=st.sampled_from(("start", "done", "bad", *Fault))
    )
    def node_speaks_of_a_lease(self, data: st.DataObject, name: str, end: str | Fault) -> None:
        if not self.leases[name]:
            return
        lease = data.draw(st.sampled_from(sorted(self.leases[name])))
        at = self.origin(name)
        if end == "start":
            self.desk.say(at, Started(lease))
            return
        if name in self.here:
            del self.leases[name][lease]
        if isinstance(end, Fault):
            used_bytes = 2 * GIB if end is Fault.MEMORY else 0
            self.desk.say(at, Failed(lease, end.value, "", used_bytes))
        else:
            self.desk.done(at, lease, is_complete=end == "done")

    @rule(name=names_of_nodes, digest=st.sampled_from(("common.h", "gcc", "w.c", "secret")))
    def node_wants(self, name: str, digest: str) -> None:
        wanted = ((blob(digest), 0),)
        here, gone = (wanted, ()) if blob(digest) in self.desk.store else ((), wanted)
        self.desk.happen(events.BlobsWanted(self.origin(name), here, gone))

    @rule(
        name=st.sampled_from((*AGENTS, *NODES)), way=st.sampled_from(("bye", "gone", "bad", "key"))
    )
    def peer_leaves(self, name: str, way: str) -> None:
        at = self.origin(name)
        self.forget(name)
        ends: dict[str, Event] = {
            "bye": events.MessageArrived(at, Bye("")),
            "gone": events.PeerUnreachable(at.route),
            "bad": events.PeerMisbehaved(at, "nonsense"),
            "key": events.KeyRevoked(at.user),
        }
        self.desk.happen(ends[way])

    @rule(name=names_of_nodes, seconds=st.sampled_from((0.5, 3.0)))
    def node_is_put_aside(self, name: str, seconds: float) -> None:
        self.desk.happen(events.NodeCondemned(f"user-{name}", seconds))

    @rule(data=st.data(), facts=st.sampled_from(JOBS), user=names_of_agents)
    def known_job_is_put(self, data: st.DataObject, facts: JobFacts, user: str) -> None:
        if not self.tried:
            return
        due = data.draw(st.sampled_from(self.tried))
        asked = events.RerunAsked(
            key=blob(f"trial {facts.name} {due.node} {self.desk.now}"),
            toolchain=facts.toolchain,
            inputs=facts.inputs,
            machine_class=facts.machine_class,
            most_outputs=1,
            client=f"user-{user}",
            avoid=frozenset(),
            body=b"job",
            job=facts.key,
            only=due.session,
        )
        self.desk.happen(asked)

    @rule(outcome=st.sampled_from(TrialOutcome), is_blamed=st.booleans())
    def trial_ends(self, outcome: TrialOutcome, is_blamed: bool) -> None:
        if self.tried:
            due = self.tried.pop()
            against = frozenset(("user-a",)) if is_blamed else frozenset()
            self.desk.happen(
                events.TrialEnded(due.session, due.node_key, due.node, outcome, against, 0)
            )

    @rule(name=names_of_agents)
    def upload_stalls(self, name: str) -> None:
        self.desk.happen(events.UploadStalled(self.origin(name).route))

    @rule(name=st.sampled_from(("common.h", "w.c", "clang")), way=st.sampled_from("esu"))
    def store_has_trouble(self, name: str, way: str) -> None:
        if way == "e":
            self.desk.store.discard(blob(name))  # evicted
        elif way == "s":
            self.desk.happen(*(events.BlobSpoiled(blob(name), f"user-{each}") for each in AGENTS))
        else:
            self.desk.happen(
                *(events.BlobUnstorable(blob(name), f"user-{each}") for each in AGENTS)
            )

    @rule(seconds=st.sampled_from((0.5, 2.0, 70.0)))
    def time_passes(self, seconds: float) -> None:
        """No lease outlives its limit, whatever its node says or does not say."""
        heard = frozenset(self.origin(name) for name in self.here)
        self.desk.pass_time(seconds, heard)
        leases = self.desk.machine.farm.leases.values()
        assert all(lease.limit_at > self.desk.now - 2 * OVERDUE_LOOK_S for lease in leases)

    def teardown(self) -> None:
        """Every request that stands is answered once nodes serve and agents supply."""
        if not hasattr(self, "desk"):
            return
        while self.tried:
            self.trial_ends(TrialOutcome.PASSED, False)
        self.desk.on_try = nothing_known
        for name in NODES:
            self.leases[name] = {}
            self.node_says_hello(name, 2, True, True, [])
        self.desk.pass_time(1.0)
        for _ in range(400):
            if not self.open:
                break
            for name in AGENTS:
                for want in self.desk.got(self.origin(name), Want):
                    assert isinstance(want, Want)
                    self.desk.stored(*(digest for digest, _ in want.blobs))
            for name in NODES:
                for lease in list(self.leases[name]):
                    del self.leases[name][lease]
                    self.desk.done(self.origin(name), lease)
            self.time_passes(0.5)
        assert not self.open, "requests without an answer"


TestBroker = BrokerRules.TestCase
TestBroker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    kinds=st.lists(st.sampled_from(("sound", "silent", "mute")), min_size=1, max_size=4),
    hints_s=st.lists(st.sampled_from((0.0, 0.1, 1.0, 5.0)), min_size=1, max_size=12),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_every_job_and_every_lease_ends_though_nodes_start_jobs_and_never_answer(
    kinds: list[str], hints_s: list[float], seed: int
) -> None:
    """Silent nodes say Started and no more, mute ones not even that; all of them beat."""
    world = World(seed)
    world.desk.validates_each = 20
    for number, kind in enumerate(kinds):
        node = world.node(f"{kind}{number}", 2)
        node.answers, node.starts = kind == "sound", kind != "mute"
    agent = world.agent("a")
    world.run(STARTUP_GRACE_S)
    for number, hint_s in enumerate(hints_s):
        agent.submit(job(f"j{number}", inputs=(), hint_s=hint_s))
    # Unknown jobs have five minutes on each node, and all may lie there one behind the other.
    world.run_until(lambda: not agent.waiting, at_most_s=10 * RUN_LIMIT_S)
    assert len(agent.finished) + len(agent.refused) == len(hints_s)
    assert not world.desk.machine.farm.leases
    if kinds == ["sound"] * len(kinds):
        assert not agent.refused


@given(
    faults=st.lists(st.sampled_from(FAILURES), min_size=1, max_size=30),
    nodes=st.integers(1, 3),
    is_lost=st.booleans(),
)
@example(faults=[Fault.INTERNAL] * 4 + [Fault.INPUT] * 6 + [Fault.INTERNAL], nodes=1, is_lost=True)
@settings(max_examples=60, deadline=None)
def test_no_key_alone_can_put_a_node_aside_or_keep_others_from_it(
    faults: list[Fault | None], nodes: int, is_lost: bool
) -> None:
    """One key's jobs fail on every node that gets them, in whatever way (None: the node goes down)."""
    desk = Desk()
    bad, good = desk.client("bad"), desk.client("good")
    names = [f"n{number}" for number in range(nodes)]
    origins = [desk.node(name, slots=2) for name in names]
    tried = 0
    for ticket, fault in enumerate(faults, 1):
        desk.submit(bad, ticket, job(f"bad{ticket}", inputs=()))
        while runs := [(at, run) for at in origins for run in desk.runs(at)]:
            for origin, run in runs:
                # An input's loss is nobody's fault before a node has failed the job with good ones.
                tried += fault is not Fault.INPUT or not is_lost
                if fault is None:
                    desk.happen(events.PeerUnreachable(origin.route))
                    name = origin.route.decode()
                    origins[names.index(name)] = desk.node(name, slots=2)
                else:
                    desk.say(origin, Failed(run.lease, fault.value, ""))
        if is_lost:
            desk.say(bad, Cancel(ticket))
    assert tried <= 2 * MAX_FAILED_JOBS, "a key whose jobs fail uses up the farm"
    assert len(list(desk.machine.farm.nodes.usable(desk.now))) == nodes
    desk.submit(good, 1, job("good", inputs=()))
    ((origin, run),) = [(at, run) for at in origins for run in desk.runs(at)]
    desk.done(origin, run.lease)
    assert len(desk.got(good, Finished)) == 1


@given(
    story=st.lists(
        st.tuples(st.sampled_from(FAILURES), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=80, deadline=None)
def test_whatever_one_keys_jobs_do_on_chosen_nodes_others_are_kept_from_none(
    story: list[tuple[Fault | None, int, bool]],
) -> None:
    """Its jobs fail on the node that they choose and succeed on the others, perhaps beside another key's."""
    desk = Desk()
    bad, good = desk.client("bad"), desk.client("good")
    names = ("n0", "n1", "n2")
    origins = [desk.node(name, slots=4) for name in names]
    for ticket, (fault, chosen, has_company) in enumerate(story, 1):
        if has_company:
            desk.submit(good, ticket, job(f"good{ticket}", inputs=()))
        desk.submit(bad, ticket, job(f"bad{ticket}", inputs=()))
        while runs := [(at, run) for at in range(3) for run in desk.runs(origins[at])]:
            for at, run in runs:
                if at != chosen or not run.body.startswith(b"job bad"):
                    desk.done(origins[at], run.lease)
                elif fault is None:
                    desk.happen(events.PeerUnreachable(origins[at].route))
                    origins[at] = desk.node(names[at], slots=4)
                else:
                    desk.say(origins[at], Failed(run.lease, fault.value, ""))
    assert len(desk.machine.farm.nodes.usable(desk.now)) == 3
    for number in range(40):
        desk.submit(good, 1000 + number, job(f"last{number}", inputs=()))
    assert all(desk.runs(origin) for origin in origins)
