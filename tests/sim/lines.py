"""Farms of which the nodes have different lines to the broker, and a toolchain that has to come over them.

A line gives its bytes in a second to what was asked for over it, in pieces that the node takes with a Credit
each; then the node unpacks. Times of builds are over a lower bound, which no schedule can reach that has to
send the toolchain first:

    the least T with   sum over nodes of slots * speed * (T - arrival) >= work,   and   T >= the longest job
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from broker.core import effects, events
from broker.core.jobs import Execution
from broker.core.limits import STARTUP_GRACE_S
from broker.core.machine import Machine
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.scheduling.placement import Chooser, takes_s
from broker.scheduling.queue import Line as Queued
from broker.scheduling.seats import Seat
from broker.scheduling.supplies import Supplies
from cache.digest import Digest
from tests.support.broker_world import FakeAgent, FakeNode, JobFacts, World, blob, job
from zcc.messages import CREDIT_BYTES, Message, Run, Started

MBIT = 1e6 / 8
TOOLCHAIN_BYTES = 60_000_000
# A receiver says Credit for a quarter of its window.
PIECE_BYTES = CREDIT_BYTES // 4
UNPACKING_S = 0.5
FLAT_S = 2.0
_STEP_S = 0.05


@dataclass
class LinedNode(FakeNode):
    """A node that fetches the toolchains which it lacks. One that `takes_at_once` says that it has what it was
    sent as soon as it has been sent, one that `begins_at_once` that it runs what it cannot run yet."""

    bytes_per_s: float = 1000 * MBIT
    unpacking_s: float = UNPACKING_S
    takes_at_once: bool = False
    begins_at_once: bool = False
    toolchains: set[Digest] = field(default_factory=set)
    wanted: set[Digest] = field(default_factory=set)
    left_bytes: dict[Digest, int] = field(default_factory=dict)
    is_sending: bool = False

    def has_all_for(self, run: Run) -> bool:
        return self.farm.toolchain_of[run.key] in self.toolchains

    @property
    def farm(self) -> LinedWorld:
        assert isinstance(self.world, LinedWorld)
        return self.world

    def take(self, message: Message) -> None:
        super().take(message)
        if not isinstance(message, Run):
            return
        toolchain = self.farm.toolchain_of[message.key]
        if toolchain not in self.toolchains | self.wanted:
            self.wanted.add(toolchain)
            self.world.tell(self, events.BlobsWanted(self.origin, ((toolchain, 0),), ()))
        if self.begins_at_once and message.lease in self.waiting:
            self.world.say(self, Started(message.lease))

    def send(self, blobs: tuple[tuple[Digest, int], ...]) -> None:
        """The broker sends these, from an offset on."""
        for digest, offset in blobs:
            self.left_bytes[digest] = self.farm.desk.frame_bytes[digest] - offset
        if self.takes_at_once:
            amount_bytes, left = sum(self.left_bytes.values()), dict.fromkeys(self.left_bytes, 0)
            self.world.tell(self, events.BlobsTaken(self.origin, amount_bytes, tuple(left.items())))
        if not self.is_sending:
            self._send_piece()

    def _send_piece(self) -> None:
        self.is_sending = bool(self.left_bytes)
        if not self.left_bytes:
            return
        digest = next(iter(self.left_bytes))
        size_bytes = min(PIECE_BYTES, self.left_bytes[digest])
        self.world.later(size_bytes / self.bytes_per_s, lambda: self._sent(digest, size_bytes))

    def _sent(self, digest: Digest, size_bytes: int) -> None:
        left_bytes = self.left_bytes.pop(digest) - size_bytes
        if left_bytes:
            self.left_bytes[digest] = left_bytes  # the others come first
        else:
            self.world.later(self.unpacking_s, lambda: self._unpacked(digest))
        # The rest is less than a grant, and is not told of.
        if size_bytes == PIECE_BYTES and not self.takes_at_once:
            left = tuple({digest: left_bytes, **self.left_bytes}.items())
            self.world.tell(self, events.BlobsTaken(self.origin, size_bytes, left))
        self._send_piece()

    def _unpacked(self, digest: Digest) -> None:
        self.toolchains.add(digest)
        self._fill()


class LinedWorld(World):
    """`toolchain_of` a job's key."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.toolchain_of: dict[Digest, Digest] = {}
        self.desk.frame_bytes[blob("gcc")] = TOOLCHAIN_BYTES
        self.desk.on_offer = self._offer

    def submit(self, agent: FakeAgent, ticket: int, facts: JobFacts) -> None:
        self.toolchain_of[facts.key] = facts.toolchain
        super().submit(agent, ticket, facts)

    def lined(
        self,
        name: str,
        slots: int,
        mbit: float,
        *,
        takes_at_once: bool = False,
        begins_at_once: bool = False,
    ) -> LinedNode:
        return self._join(
            LinedNode(
                self, name, slots, bytes_per_s=mbit * MBIT,
                takes_at_once=takes_at_once, begins_at_once=begins_at_once,
            )
        )  # fmt: skip

    def _offer(self, effect: effects.OfferBlobs) -> None:
        node = self.peers[effect.route]
        assert isinstance(node, LinedNode)
        node.send(effect.blobs)


class _FlatSupplies(Supplies):
    """Every node that lacks a toolchain is as far away."""

    __slots__ = ()

    def arrival_s(self, toolchain: Digest, size_bytes: int, now: float) -> float:
        return FLAT_S

    def afar(self, now: float) -> tuple[Digest, ...]:
        return ()


class _FlatChooser(Chooser):
    def _nearest(self, line: Queued, job: Execution, seats: list[Seat], now: float) -> Seat:
        return min(seats, key=lambda each: takes_s(job, each, now))


def count_flat(machine: Machine) -> None:
    """Have this machine take FLAT_S for each toolchain's way, to the nodes that come now: the rule before."""
    machine._dispatcher._chooser = _FlatChooser(machine.farm.seats, machine._dispatcher._job_of)
    join = machine.farm.nodes.join

    def join_flat(session: Session, slots: int, machine_classes: frozenset[bytes]) -> Node:
        node = join(session, slots, machine_classes)
        node.supplies = _FlatSupplies(node.record.line)
        return node

    machine.farm.nodes.join = join_flat  # type: ignore[method-assign]


@dataclass(frozen=True)
class Farm:
    """`warm` nodes have the toolchain, and have run jobs with it; `cold` ones have not. Each has its line, in
    Mbit/s. A build has `jobs` for each slot, of `cost_s` in the median, and keeps `window` for each slot here.
    Where it `is_shared`, another user's build keeps the farm full meanwhile, and the bound is twice as high."""

    name: str
    warm: tuple[int, ...]
    cold: tuple[int, ...]
    jobs: int = 6
    cost_s: float = 2.0
    sigma: float = 0.5
    slots: int = 4
    window: float = 2.0
    builds: int = 3
    is_shared: bool = False


FARMS = (
    Farm("nobody has it", (), (1000,) * 4 + (100,) * 4 + (10,) * 4),
    Farm("one slow node is cold", (1000,) * 7, (10,)),
    Farm("half are cold, slow", (1000,) * 4, (10,) * 4),
    Farm("half are cold, fast", (1000,) * 4, (1000,) * 4),
    Farm("half are cold, mixed", (1000,) * 6, (1000, 1000, 100, 100, 10, 10)),
    Farm("half are cold, mixed, few jobs here", (1000,) * 6, (1000, 1000, 100, 100, 10, 10), window=0.75),
    Farm("half are cold, mixed, a short build", (1000,) * 6, (1000, 1000, 100, 100, 10, 10), jobs=1),
    Farm("a slow one is cold, of two users", (1000,) * 7, (10,), jobs=1, builds=2, is_shared=True),
    Farm("half are cold, mixed, of two users", (1000,) * 6, (1000, 1000, 100, 100, 10, 10), jobs=1,
    is_shared=True), Farm("sixteen, mostly slow", (1000,) * 4, (100,) * 4 + (10,) * 8),
)  # fmt: skip


@dataclass(frozen=True)
class Times:
    """Of one build: `took_s` and its lower bound, in seconds; and the longest time that a job was here beyond
    what it costs."""

    took_s: float
    bound_s: float
    waited_s: float

    @property
    def ratio(self) -> float:
        return self.took_s / self.bound_s


def run(
    farm: Farm, seed: int, *, is_flat: bool = False, has_cold: bool = True
) -> tuple[LinedWorld, list[Times]]:
    """The builds of one farm, one after the other; without the cold nodes, of the same jobs."""
    world = LinedWorld(seed)
    world.desk.validates_each = 50
    agent = world.agent("a")
    warm = [world.lined(f"warm{n}", farm.slots, mbit) for n, mbit in enumerate(farm.warm)]
    world.run(STARTUP_GRACE_S + 1.0)
    for node in warm:
        node.toolchains.add(blob("gcc"))
    build(world, agent, [job(f"before{n}", hint_s=0.5) for n in range(8 * len(warm))], 1000)
    if is_flat:
        count_flat(world.desk.machine)
    slots = farm.slots * (len(farm.warm) + len(farm.cold))
    if farm.is_shared:
        keep_busy(world, world.agent("other"), 2 * slots)
        world.run(1.0)
    nodes = list(warm)

    def come() -> None:
        for number, mbit in enumerate(farm.cold if has_cold else ()):
            nodes.append(world.lined(f"cold{number}", farm.slots, mbit))

    # Where others keep the farm full, while jobs wait: else it is theirs that take the new slots.
    if farm.is_shared:
        world.later(0.5, come)
    else:
        come()
        world.run(1.0)
    rng = random.Random(seed)
    found = []
    for number in range(farm.builds):
        name = f"b{number}"
        costs = [
            farm.cost_s * math.exp(rng.gauss(0.0, farm.sigma)) for _ in range(farm.jobs * slots)
        ]
        times = 1 + farm.is_shared
        bound_s = least_s(times * costs, farm.slots, list(map(_ready_s, nodes)))
        todo = [job(f"{name}-{n}", hint_s=cost, build=name) for n, cost in enumerate(costs)]
        took_s, waited_s = build(world, agent, todo, round(farm.window * slots))
        found.append(Times(took_s, bound_s, waited_s))
    return world, found


def _ready_s(node: LinedNode) -> float:
    """When the node has the toolchain, if it is asked for now at the latest."""
    toolchain = blob("gcc")
    if toolchain in node.toolchains:
        return 0.0
    has_come = toolchain in node.wanted and toolchain not in node.left_bytes
    left_bytes = 0 if has_come else node.left_bytes.get(toolchain, TOOLCHAIN_BYTES)
    return left_bytes / node.bytes_per_s + UNPACKING_S


def build(world: World, agent: FakeAgent, todo: list[JobFacts], window: int) -> tuple[float, float]:
    """How long a `make -jN` takes that keeps so many jobs here, and the longest that one of them waits."""
    begun, left = world.now, list(reversed(todo))
    came: dict[int, tuple[float, float]] = {}
    waited_s = 0.0
    while left or agent.waiting:
        while left and len(agent.waiting) < window:
            facts = left.pop()
            came[agent.submit(facts)] = world.now, facts.hint_s
        world.run(_STEP_S)
        for ticket in came.keys() - agent.waiting.keys():
            at, cost_s = came.pop(ticket)
            waited_s = max(waited_s, world.now - at - cost_s)
        assert world.now - begun < 3600.0, "the build does not come to an end"
    return world.now - begun, waited_s


def keep_busy(world: World, agent: FakeAgent, window: int) -> None:
    """Another build that has no end."""
    while len(agent.waiting) < window:
        cost_s = 2.0 * math.exp(world.rng.gauss(0.0, 0.5))
        agent.submit(job(f"other{agent.next_ticket}", hint_s=cost_s, build="other"))
    world.later(_STEP_S, lambda: keep_busy(world, agent, window))


def least_s(costs: list[float], slots: int, ready_s: list[float]) -> float:
    """Seconds that any schedule needs on nodes that are ready after so long, all of the mean speed."""
    soonest = sorted(ready_s)
    # Each number of nodes gives a time, of which the least is right: those that are ready later add nothing.
    least = min(
        (sum(costs) / slots + sum(soonest[:count])) / count for count in range(1, len(soonest) + 1)
    )
    return max(least, soonest[0] + max(costs))
