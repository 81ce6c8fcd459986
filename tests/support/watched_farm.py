"""A farm that never was, as its watcher hears of it: events of some minutes, the same for the same seed. Pure.

Six nodes, four members, some builds one after the other and at a time. What a view has to show happens: a
build whose end waits for one file on a slow node, twins, hits, local compiles with their reasons, a node that
is quarantined and one whose owner is back, a toolchain on its way, a crash of a compiler, a lost run.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from zcc import events as said
from zcc.events import FarmEvent

# The source that holds up a build's end.
TAIL = "engine/render/shader_library.cpp"
# One that its compiler refuses.
BROKEN = "tools/cli/broken_main.cpp"
BEGAN_S = 1_790_000_000.0
MIB = 1 << 20
GIB = 1 << 30


@dataclass(slots=True)
class Machine:
    """A node of the story."""

    name: str
    slots: int
    speed: float = 1.0
    mode: str = "always"
    number: int = 0
    state: str = "ready"
    reason: str = ""
    lent: int = 0
    running: int = 0
    reserved: int = 0
    finished: int = 0
    faults: int = 0
    toolchains: tuple[int, ...] = (1, 2)


@dataclass(slots=True)
class Plan:
    """A build of the story: begins at a second, so many files, at most so many at once."""

    begin_s: float
    member: int
    name: str
    host: str
    files: list[tuple[str, int]]  # source, cost in ms
    at_once: int
    toolchain: int = 1
    hits: float = 0.0  # share that the farm remembers
    local_hits: int = 0
    local: tuple[tuple[str, int], ...] = ()
    missed: tuple[tuple[str, int], ...] = ()
    local_files: tuple[tuple[str, str, int], ...] = ()
    number: int = 0
    under_way: int = 0
    running: int = 0
    done: int = 0
    left: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    number: int
    plan: Plan
    file: str
    cost_ms: int
    queued_ms: int
    send_ms: int = 0
    is_ready: bool = True
    lease: int = 0
    node: Machine | None = None
    leased_ms: int = 0
    started_ms: int = 0
    twins: int = 0


class Story:
    """Plays plans on machines; `events` then holds what a watcher was told, in order."""

    def __init__(self, machines: list[Machine], members: list[str], seed: int = 1) -> None:
        self.rng = Random(seed)
        self.machines = machines
        self.members = members
        self.events: list[FarmEvent] = []
        self.now = 0
        self._next = itertools.count()
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._jobs = itertools.count(1)
        self._leases = itertools.count(1)
        self._builds = itertools.count(1)
        self._waiting: list[Job] = []
        self._running = 0
        self._live: dict[int, Job] = {}
        self._queue_said = False
        self._memory = {machine.name: machine.slots * 2 * GIB for machine in machines}

    # ---- the clock --------------------------------------------------------------------------------

    def at(self, ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (int(ms), next(self._next), act))

    def say(self, event: FarmEvent) -> None:
        self.events.append(event)

    def play(self, until_ms: int) -> list[FarmEvent]:
        """Let time pass until then; all events so far."""
        while self._due and self._due[0][0] <= until_ms:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = until_ms
        return self.events

    # ---- who and what -----------------------------------------------------------------------------

    def begin(self, farm: str = "main", *, pulses: bool = True) -> None:
        self.say(said.FarmShown(0, farm, "0.2.0", BEGAN_S))
        for number, name in enumerate(self.members, 1):
            self.say(said.MemberShown(0, number, f"k-{number:08d}", name, "client"))
        for number, machine in enumerate(self.machines, 1):
            member = len(self.members) + number
            self.say(said.MemberShown(0, member, f"k-{member:08d}", f"{machine.name}@farm", "node"))
        self.say(said.ToolchainShown(0, 1, "3f1c9a0be277", "gcc 12.2.0"))
        self.say(said.ToolchainShown(0, 2, "a90cc1d5e4f0", "clang 16.0.6"))
        for number, machine in enumerate(self.machines, 1):
            machine.number, machine.lent = number, machine.slots
            self.show(machine)
        if pulses:
            self.at(1000, self._pulse)

    def show(self, machine: Machine) -> None:
        limit = self._memory[machine.name]
        self.say(
            said.NodeShown(
                self.now, machine.number, len(self.members) + machine.number, machine.name,
                "0.2.0", machine.state, machine.mode, machine.reason, machine.lent, machine.slots,
                machine.speed, 1.1 + 0.05 * (machine.number % 4), 1.0 + 0.04 * machine.number,
                round(machine.running * 0.9 + 0.3, 2), limit,
                max(0, limit - GIB), machine.reserved, 2.5 if machine.name == "yew" else 0.0,
                machine.finished, machine.faults, machine.toolchains,
            )
        )  # fmt: skip

    def change(self, name: str, **what: object) -> None:
        """A node is another than it was: its fields by name."""
        machine = next(each for each in self.machines if each.name == name)
        for key, value in what.items():
            setattr(machine, key, value)
        self.show(machine)
        self._place()

    def add(self, plan: Plan) -> None:
        plan.left = list(plan.files)
        self.at(plan.begin_s * 1000, lambda: self._begin_build(plan))

    def _begin_build(self, plan: Plan) -> None:
        plan.number = next(self._builds)
        began = int(BEGAN_S * 1000) + self.now
        self.say(
            said.BuildShown(
                self.now, plan.number, plan.member, plan.name, plan.host, f"{plan.host}-{began}"
            )
        )
        if plan.local_hits or plan.local:
            self._count(plan, 0)
        self._submit(plan)

    def _count(self, plan: Plan, second: int) -> None:
        """A share of what the agent did by itself, in each of ten seconds."""
        share = [(word, count // 10 + (second < count % 10)) for word, count in plan.local]
        missed = [(word, count // 10 + (second < count % 10)) for word, count in plan.missed]
        hits = plan.local_hits // 10 + (second < plan.local_hits % 10)
        self.say(
            said.AgentCounted(
                self.now, plan.member, plan.number, hits, hits * 900,
                tuple(each for each in share if each[1]),
                tuple(each for each in missed if each[1]),
                plan.local_files[second : second + 1],
            )
        )  # fmt: skip
        if second < 9:
            self.at(self.now + 1000, lambda: self._count(plan, second + 1))

    # ---- jobs -------------------------------------------------------------------------------------

    def _submit(self, plan: Plan) -> None:
        while plan.left and plan.under_way < plan.at_once:
            file, cost = plan.left.pop(0)
            key = f"{self.rng.getrandbits(48):012x}"
            scan = 1 + self.rng.randrange(4)
            if self.rng.random() < plan.hits and file not in (TAIL, BROKEN):
                node = self.rng.choice(self.machines).name
                self.say(
                    said.HitServed(
                        self.now, 0, key, plan.member, plan.number, file, "c++", plan.toolchain, node,
                        self.rng.randrange(20_000, 900_000), scan,
                    )
                )  # fmt: skip
                plan.done += 1
                continue
            plan.under_way += 1
            job = Job(next(self._jobs), plan, file, cost, self.now)
            self._live[job.number] = job
            self.say(
                said.JobQueued(
                    self.now, job.number, key, plan.member, plan.number, file, "c++", plan.toolchain,
                    cost, self.rng.random() < 0.8, int(cost * 0.15) * MIB // 2 + 120 * MIB,
                    self.rng.randrange(80, 900), self.rng.randrange(2, 12) * MIB, scan, 0,
                    "",
                )
            )  # fmt: skip
            if self.rng.random() < 0.3:
                job.is_ready = False
                job.send_ms = self.rng.randrange(30, 700)
                self.say(said.JobSending(self.now, job.number, "inputs", self.rng.randrange(1, 40)))
                self.at(self.now + job.send_ms, partial(self._arrived, job))
            self._waiting.append(job)
        self._place()

    def _arrived(self, job: Job) -> None:
        job.is_ready = True
        self.say(said.JobSending(self.now, job.number, "", 0))
        self._place()

    def _place(self) -> None:
        while True:
            ready = [job for job in self._waiting if job.is_ready]
            idle = [
                machine for machine in self.machines
                if machine.running < machine.lent and machine.state in ("ready", "limited")
            ]  # fmt: skip
            if not ready or not idle:
                return
            # The story's mistake: the longest job waits for the slowest node.
            if not any(machine.name == "yew" for machine in idle):
                ready = [job for job in ready if job.file != TAIL]
            if not ready:
                return
            # Whose build has the fewest running is next.
            job = min(ready, key=lambda each: (each.plan.running, each.number))
            is_tail = job.file == TAIL
            best = max(
                idle,
                key=lambda machine: (
                    (-machine.speed if is_tail else machine.speed),
                    -machine.number,
                ),
            )
            self._lease(job, best, idle)

    def _lease(self, job: Job, machine: Machine, idle: list[Machine]) -> None:
        self._waiting.remove(job)
        job.node, job.lease, job.leased_ms = machine, next(self._leases), self.now
        machine.running += 1
        job.plan.running += 1
        machine.reserved += 300 * MIB
        self._running += 1
        slots = sum(each.lent for each in self.machines)
        free = sum(each.lent - each.running for each in idle) + 1
        fastest = max(each.speed for each in self.machines)
        self.say(
            said.JobLeased(
                self.now, job.number, job.lease, machine.number,
                "longest" if job.cost_ms > 2000 else "suits" if machine.speed >= 1 else "shortest",
                slots, free, round(1 / machine.speed, 3), round(1 / fastest, 3),
                int(job.cost_ms / machine.speed), 300 * MIB, False, False,
            )
        )  # fmt: skip
        fetch = self.rng.randrange(4, 90)
        lease = job.lease
        self.at(self.now + fetch, lambda: self._start(job, lease))

    def _start(self, job: Job, lease: int) -> None:
        if job.lease != lease or job.node is None:
            return
        job.started_ms = self.now
        self.say(said.RunStarted(self.now, job.number, lease))
        if self.rng.random() < 0.02:
            twin = self.rng.randrange(1, len(self.members) + 1)
            job.twins += 1
            self.say(said.JobJoined(self.now, job.number, twin, 0, job.file))
        wall = int(job.cost_ms / job.node.speed * self.rng.uniform(0.9, 1.15))
        self.at(self.now + wall + 12, lambda: self._finish(job, lease, wall))

    def _finish(self, job: Job, lease: int, wall: int) -> None:
        machine = job.node
        if job.lease != lease or machine is None:
            return
        failed = job.file == BROKEN
        peak = int(job.cost_ms * 0.12) * MIB + 90 * MIB
        self.say(
            said.JobFinished(
                self.now, job.number, lease, "failed" if failed else "ok", 1 if failed else 0,
                int(wall * 0.96), wall, peak, self.rng.randrange(30_000, 900_000),
                max(0, job.leased_ms - job.queued_ms - job.send_ms), job.send_ms,
                job.started_ms - job.leased_ms, self.now - job.started_ms - wall, job.twins,
            )
        )  # fmt: skip
        machine.finished += 1
        self._release(job)
        del self._live[job.number]
        job.plan.under_way -= 1
        job.plan.done += 1
        self._submit(job.plan)

    def _release(self, job: Job) -> None:
        assert job.node is not None
        job.node.running -= 1
        job.plan.running -= 1
        job.node.reserved -= 300 * MIB
        job.node = None
        self._running -= 1

    def lose(self, name: str, why: str, detail: str, count: int) -> None:
        """So many runs of a node end without a result, and their jobs wait again."""
        lost = 0
        for job in self._under_way(name)[:count]:
            self.say(said.LeaseLost(self.now, job.number, job.lease, why, detail, True))
            self._release(job)
            job.lease = 0
            job.started_ms = 0
            self._waiting.append(job)
            lost += 1
        machine = next(each for each in self.machines if each.name == name)
        machine.faults += lost

    def _under_way(self, name: str) -> list[Job]:
        return [
            job for job in self._live.values() if job.node is not None and job.node.name == name
        ]

    # ---- each second ------------------------------------------------------------------------------

    def _pulse(self) -> None:
        self.say(
            said.FarmPulse(
                self.now, len(self._waiting), self._running,
                sum(machine.lent for machine in self.machines), len(self.members),
                len(self.machines), 1, 21 * GIB + self.now * 1000, 50 * GIB, self.now // 4000,
            )
        )  # fmt: skip
        rows = tuple(self._rows())
        if rows or self._queue_said:
            self.say(said.QueueShown(self.now, rows, 0))
        self._queue_said = bool(rows)
        if self.now % 5000 == 0:
            for machine in self.machines:
                if machine.state != "gone":
                    self.show(machine)
        self.at(self.now + 1000, self._pulse)

    def _rows(self) -> Iterator[said.QueueRow]:
        plans = {id(job.plan): job.plan for job in self._waiting}
        for plan in sorted(plans.values(), key=lambda each: each.running):
            jobs = [job for job in self._waiting if job.plan is plan]
            sending = sum(not job.is_ready for job in jobs)
            why = "inputs" if sending == len(jobs) else "all-busy"
            oldest = self.now - min(job.queued_ms for job in jobs)
            yield said.QueueRow(
                plan.member, plan.number, 0, sending, 0, len(jobs) - sending, oldest, why
            )


def sources(rng: Random, folders: list[str], count: int, mean_ms: int) -> list[tuple[str, int]]:
    """Names and costs of a project's sources."""
    words = (
        "scan", "parse", "lower", "emit", "link", "fold", "graph", "value", "type", "block", "loop", "alias",
        "cost", "plan", "io",
    )  # fmt: skip
    found = []
    for index in range(count):
        name = f"{rng.choice(folders)}/{rng.choice(words)}_{rng.choice(words)}{index}.cpp"
        found.append((name, max(60, int(rng.lognormvariate(0, 0.7) * mean_ms))))
    return found


def six_nodes() -> list[Machine]:
    return [
        Machine("oak", 16, 1.3), Machine("elm", 16, 1.2), Machine("ash", 8, 1.0),
        Machine("fir", 8, 0.95), Machine("yew", 4, 0.35), Machine("bay", 6, 1.05, "idle"),
    ]  # fmt: skip


@functools.cache
def five_minutes(until_s: int = 300, *, seed: int = 1) -> list[FarmEvent]:
    """The story that most tests and all pictures tell: five minutes of six nodes and four members."""
    story = Story(six_nodes(), ["ann@hydra", "bob@lynx", "carol@puma", "ci@runner"], seed)
    story.begin()
    rng = Random(seed)
    engine = sources(rng, ["engine/core", "engine/render", "engine/audio"], 260, 2400)
    story.add(
        Plan(4, 1, "engine 14:05:09", "hydra", engine, 40, hits=0.12, local_hits=60,
             local=(("sooner-here", 6), ("not-a-compile", 4)), missed=(("changed", 130), ("first", 20)))
    )  # fmt: skip
    again = [*engine[:170], (TAIL, 12_500)]
    story.add(
        Plan(70, 1, "engine 14:06:15", "hydra", again, 30, hits=0.45, local_hits=240,
             local=(("time-macro", 7), ("sooner-here", 3), ("not-a-compile", 4)),
             missed=(("changed", 60), ("evicted", 6)),
             local_files=(("time-macro", "engine/core/version.cpp", 820),
                          ("time-macro", "engine/core/about.cpp", 640),
                          ("sooner-here", "engine/audio/beep.cpp", 90)))
    )  # fmt: skip
    llvm = sources(rng, ["llvm/lib/IR", "llvm/lib/CodeGen", "clang/lib/Sema"], 1150, 3600)
    story.add(
        Plan(30, 4, "nightly-4711", "runner", llvm, 60, toolchain=2, missed=(("first", 1150),))
    )
    tools = [*sources(rng, ["tools/cli"], 90, 1900), (BROKEN, 700)]
    story.add(Plan(120, 2, "tools 14:07:05", "lynx", tools, 12, hits=0.2, local_hits=30,
                   local=(("profile-use", 5),), missed=(("changed", 40),),
                   local_files=(("profile-use", "tools/cli/hot.cpp", 1200),)))  # fmt: skip
    game = sources(rng, ["game/src", "game/ai"], 900, 3600)
    story.add(Plan(235, 3, "game 14:09:00", "puma", game, 48, hits=0.3, local_hits=90,
                   local=(("sooner-here", 12),), missed=(("changed", 150),)))  # fmt: skip
    more = sources(rng, ["engine/core", "engine/net"], 620, 3400)
    story.add(Plan(262, 1, "engine 14:09:27", "hydra", more, 40, hits=0.25, local_hits=120,
                   missed=(("changed", 90), ("first", 10))))  # fmt: skip
    story.add(Plan(242, 4, "nightly-4712", "runner", llvm[:500], 60, toolchain=2, hits=0.35,
                   missed=(("first", 500),)))  # fmt: skip
    story.add(Plan(255, 2, "tools 14:09:20", "lynx", sources(rng, ["tools/cli"], 120, 2600), 12,
                   local_hits=20, missed=(("changed", 60),)))  # fmt: skip
    story.at(90_000, lambda: story.change("bay", state="limited", reason="its owner works", lent=2))
    story.at(62_000, lambda: _fall_out(story))
    story.at(200_000, lambda: story.change("fir", toolchains=(1,)))
    for step in range(1, 7):
        at = 200_000 + step * 1000
        story.at(at, partial(story.say, said.ToolchainMoving(at, 4, 2, step * 14 * MIB, 84 * MIB)))
    story.at(
        100_000, lambda: story.say(said.MemberJoined(100_000, "k-00000099", "dora@wolf", "client"))
    )
    story.at(
        160_000,
        lambda: story.say(
            said.PeerRefused(160_000, "k-00000098", "", "its key is not in the registry")
        ),
    )
    return story.play(until_s * 1000)


def _fall_out(story: Story) -> None:
    story.lose("ash", "sandbox", "cannot mount /proc: Operation not permitted", 5)
    story.change("ash", state="quarantined", reason="5 faults: sandbox")
    story.say(said.NodeSuspended(story.now, "ash", 600_000, 0))


HOSTILE = "<img src=x onerror=alert(1)>"


def two_copies() -> list[FarmEvent]:
    """A job that runs on oak (lease 105, from 20 ms on) and as a copy on ash (lease 107, from 40 ms on)."""
    story = Story(six_nodes(), ["mara@desk"])
    story.begin(pulses=False)
    numbers = {machine.name: machine.number for machine in story.machines}
    leased = partial(
        said.JobLeased, slots=8, idle=1, rate=1.0, fastest=1.0, memory_bytes=1, fetches=False
    )
    return [
        *story.events,
        said.BuildShown(1, 1, 1, "copied", "desk", "b1"),
        said.JobQueued(5, 15, "k", 1, 1, "slow.c", "c", 1, 9, True, 1, 1, 1, 1, 0, ""),
        leased(10, 15, 105, numbers["oak"], "soonest", expected_ms=10, is_copy=False),
        said.RunStarted(20, 15, 105),
        leased(30, 15, 107, numbers["ash"], "copy", expected_ms=30, is_copy=True),
        said.RunStarted(40, 15, 107),
    ]


def two_copies_end(winner: int) -> list[FarmEvent]:
    """Its end by the result of this lease; the other one is beaten."""
    return [
        said.LeaseLost(90, 15, 212 - winner, "beaten", "", False),
        said.JobFinished(90, 15, winner, "ok", 0, 50, 60, 1, 1, 1, 1, 1, 1, 1),
    ]


def hostile() -> list[FarmEvent]:
    """A farm of which every name is an attack on a page that shows it."""
    node = Machine(f"node{HOSTILE}", 2)
    story = Story([node], [f"eve{HOSTILE}"])
    story.begin(f"farm{HOSTILE}")
    files = [(f"src/{HOSTILE}{index}.cpp", 3000) for index in range(6)]
    story.add(
        Plan(1, 1, f"build{HOSTILE}", f"host{HOSTILE}", files, 4, local=((f"r{HOSTILE}", 2),),
             missed=((f"m{HOSTILE}", 2),), local_files=((f"r{HOSTILE}", f"local{HOSTILE}.cpp", 5),))
    )  # fmt: skip
    story.at(3000, lambda: story.change(node.name, state="limited", reason=f"because{HOSTILE}"))
    story.at(3500, lambda: story.say(said.NodeSuspended(3500, node.name, 60_000, 0)))
    story.at(3600, lambda: story.say(said.PeerRefused(3600, "k-1", HOSTILE, HOSTILE)))
    return story.play(5000)


def crowd(nodes: int = 200, slots: int = 25, seconds: int = 60, rate: int = 50) -> list[FarmEvent]:
    """Many slots, all busy, and `rate` jobs a second that begin and end: some four events each."""
    rng = Random(7)
    machines = [Machine(f"node{index:03d}", slots, rng.uniform(0.6, 1.4)) for index in range(nodes)]
    members = [f"user{index}@desk{index}" for index in range(10)]
    story = Story(machines, members, 7)
    story.begin()
    cost = int(nodes * slots / rate * 1000)
    for number in range(1, len(members) + 1):
        files = sources(
            rng, [f"project{number}/src"], nodes * slots // 5 + seconds * rate // 8, cost
        )
        plan = Plan(
            0.1, number, f"project{number}", f"desk{number}", files, nodes * slots // 10 + 8
        )
        story.add(plan)
    return story.play(seconds * 1000)


def later(events: list[FarmEvent], at_ms: int) -> list[FarmEvent]:
    """These events, as if they had happened so much later."""
    return [replace(event, at_ms=event.at_ms + at_ms) for event in events]
