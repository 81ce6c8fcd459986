"""Question: what does a job cost the broker, all of its threads together, and how many can it relay?

    python bench/relay.py [--jobs N] [--nodes N] [--agents K] [--slots S] [--window W] [--rounds R]
                           [--source BYTES] [--object BYTES] [--headers N] [--seed S] [--rate R]

The real broker program, with real sockets and CURVE on loopback. Agents and nodes are fake ones in two
processes of their own; they speak the real messages by zcc's classes. Each job has one new source, which its
agent shows and is asked for, and `--headers` inputs that the farm has and its agent has shown before. A node
fetches the source, pretends to compile, and pushes one new object. Sizes are of uncompressed bytes, which
pack to half or less. Agents keep `--window` jobs outstanding together, or submit `--rate` of them a second.

CPU is from /proc, in ms a job: `loop` is the broker's first thread, `sockets` libzmq's (CURVE, TCP), `others`
its remaining threads that live, `worker` its child processes. The bound is the goal of 0.6 ms with a source
of 50 KB and an object of 20 KB. MB relayed are the frames that came in and went out again. The state lies in
TMPDIR: on ext4 a new file takes 15 to 200 us, on tmpfs the figures are steadier. Times of the same run: from
Submit to Run, the upload of the source included, and from Done to Finished.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import zmq

from broker.membership.registry import Registry
from broker.state import broker_keys
from cache.digest import Digest, digest_of
from cache.frame import compress
from zcc import codec
from zcc.holding import pack_shown, shown_by
from zcc.job import (
    FileInput,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    encode_job,
    encode_result,
    job_key,
)
from zcc.keys import KeyPair, new_key_pair
from zcc.link import DealerLink
from zcc.messages import (
    Announce,
    Beat,
    Chunk,
    Credit,
    Done,
    Finished,
    Hello,
    Message,
    PeerRole,
    Refused,
    Run,
    Started,
    Submit,
    Want,
    Welcome,
)
from zcc.transfer import Receiver, Sender

GOAL_MS = 0.6
HEADER_BYTES = 6_000
# Before the measured ones: the headers travel, threads and files are there.
WARM_UP_JOBS = 50
# The broker refuses nothing for want of nodes in the first seconds after its start.
GRACE_S = 4.0
LONGEST_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")
# Texts are drawn from so many words of so many bytes, as sources and objects repeat themselves.
_WORDS, _WORD_BYTES = 1_024, 16


@dataclass(frozen=True, slots=True)
class Blob:
    digest: Digest
    frame: bytes
    plain: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """One job, with all that its agent and its node say of it."""

    key: Digest
    body: bytes
    source: Blob
    output: Blob
    result: bytes


class Project:
    """The same in both processes: everything is drawn from the seed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._draw = random.Random(options.seed)
        self._words = [self._draw.randbytes(_WORD_BYTES) for _ in range(_WORDS)]
        self.toolchain = self._blob(10_000)
        self.headers = [self._blob(HEADER_BYTES) for _ in range(options.headers)]
        self._inputs = tuple(
            FileInput(b"/usr/include/c++/12/bits/header%06d.h" % at, header.digest)
            for at, header in enumerate(self.headers)
        )
        self.works = [self._work(at) for at in range(WARM_UP_JOBS + options.jobs)]

    def _blob(self, size: int) -> Blob:
        plain = b"".join(self._draw.choices(self._words, k=size // _WORD_BYTES + 1))[:size]
        return Blob(digest_of(plain), compress(plain), plain)

    def _work(self, number: int) -> Work:
        source, output = self._blob(self._options.source), self._blob(self._options.object)
        path = b"/home/user/project/src/source%06d" % number
        files = (FileInput(path + b".cc", source.digest), *self._inputs)
        job = Job(
            self.toolchain.digest,
            b"/usr/bin/g++",
            (b"g++", b"-g", b"-O2", b"-Isrc", b"-c", path + b".cc", b"-o", path + b".o"),
            b"/home/user/project",
            ((b"LANG", b"C.UTF-8"),),
            Manifest(files),
            (path + b".o", path + b".d"),
        )
        written = OutputFile(path + b".o", output.digest, len(output.plain), 0o666)
        result = Result(0, b"", b"", (written,), Usage(0.5, 0.5, 1 << 26), Lookups(), "node")
        encoded = encode_job(job)
        packed = compress(encode_result(result))
        return Work(job_key(encoded), compress(encoded), source, output, packed)


@dataclass
class Member:
    """One fake agent or node: its link, its two ends of bulk, and what it has to say now and then."""

    take: Callable[[Member, Message], None]
    frames: dict[Digest, bytes]
    takes_pushes: bool
    link: DealerLink = field(init=False)
    sender: Sender = field(default_factory=Sender)
    receiver: Receiver = field(init=False)
    welcome: Welcome | None = None

    def __post_init__(self) -> None:
        self.receiver = Receiver(takes_pushes=self.takes_pushes)

    def send(self, message: Message) -> None:
        if not self.link.send(codec.encode(message)):
            raise SystemExit(f"the broker does not take a {type(message).__name__}")

    def heard(self, frames: list[bytes]) -> None:
        message = codec.decode(frames)
        match message:
            case Welcome():
                self.welcome = message
            case Credit(amount_bytes):
                self.sender.add_credit(amount_bytes)
                self.pump()
            case Chunk():
                self._take_chunk(message)
            case _:
                self.take(self, message)

    def offer(self, digest: Digest, offset: int = 0) -> None:
        self.sender.offer(digest, offset)

    def pump(self) -> None:
        for message in self.sender.pump(self._read):
            self.send(message)

    def _read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int]:
        frame = self.frames[digest]
        return frame[offset : offset + length], len(frame)

    def _take_chunk(self, chunk: Chunk) -> None:
        piece = self.receiver.take(chunk)
        grant = self.receiver.consumed(len(piece.data))
        if grant is not None:
            self.send(grant)
        if piece.is_last:
            self.take(self, chunk)

    async def join(self, context: Any, farm: Farm, pair: KeyPair, hello: Hello) -> None:
        self.link = DealerLink(context, farm.endpoint, farm.public, pair, self.heard)
        while not self.link.send(codec.encode(hello)):
            await asyncio.sleep(0.01)
        while self.welcome is None:
            await asyncio.sleep(0.01)

    async def beat(self) -> None:
        while True:
            self.link.send(codec.encode(Beat(0.0)))
            await asyncio.sleep(1.0)


@dataclass(frozen=True, slots=True)
class Farm:
    endpoint: str
    public: str
    agents: tuple[KeyPair, ...]
    nodes: tuple[KeyPair, ...]


# --- the nodes ------------------------------------------------------------------------------------


class Nodes:
    """All nodes, in one process: each gives a result as soon as it has the source."""

    def __init__(self, project: Project) -> None:
        self._works = {work.key: work for work in project.works}
        # A node keeps headers and toolchain: only the source is fetched.
        self._waiting: dict[Digest, tuple[bytes, Work]] = {}
        self.run_at: dict[Digest, float] = {}
        self.done_at: dict[Digest, float] = {}
        self.frames = {work.output.digest: work.output.frame for work in project.works}

    def take(self, node: Member, message: Message) -> None:
        if isinstance(message, Run):
            work = self._works[message.key]
            self.run_at[work.key] = time.monotonic()
            self._waiting[work.source.digest] = (message.lease, work)
            node.receiver.expect(work.source.digest)
            node.send(Want(((work.source.digest, 0),)))
        elif isinstance(message, Chunk):
            lease, work = self._waiting.pop(message.digest)
            node.send(Started(lease))
            node.send(Announce(lease, (work.output.digest,)))
            node.offer(work.output.digest)
            node.sender.after(Done(lease, work.result))
            self.done_at[work.key] = time.monotonic()
            node.pump()


async def run_nodes(farm: Farm, options: argparse.Namespace, pipe: Connection) -> None:
    nodes = Nodes(Project(options))
    context: Any = zmq.Context()
    beats = []
    for at, pair in enumerate(farm.nodes):
        member = Member(nodes.take, nodes.frames, takes_pushes=False)
        hello = Hello(os.urandom(16), "node", "", f"n{at}", "0", options.slots, (), (b"",))
        await member.join(context, farm, pair, hello)
        beats.append(asyncio.create_task(member.beat()))
    pipe.send("joined")
    await asyncio.to_thread(pipe.recv)
    pipe.send((nodes.run_at, nodes.done_at))


# --- the agents -----------------------------------------------------------------------------------


class Agents:
    """All agents, in one process: they submit the next job when one is answered."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.members: list[Member] = []
        self._is_paced = False
        self._todo: deque[Work] = deque()
        self._tickets: dict[int, Work] = {}
        self._has_shown: set[int] = set()
        self._left = 0
        self._over = asyncio.Event()
        self.submitted_at: dict[Digest, float] = {}
        self.finished_at: dict[Digest, float] = {}
        blobs = [project.toolchain, *project.headers, *(work.source for work in project.works)]
        self.frames = {blob.digest: blob.frame for blob in blobs}

    async def carry_out(self, works: list[Work], window: int, rate: float) -> None:
        self._todo.extend(works)
        self._is_paced = rate > 0
        self._left = len(works)
        self._over.clear()
        begun = time.monotonic()
        for at in range(len(works) if rate else min(window, len(works))):
            if rate:
                await asyncio.sleep(max(0.0, begun + at / rate - time.monotonic()))
            self._submit(self.members[at % len(self.members)])
        async with asyncio.timeout(LONGEST_S):
            await self._over.wait()

    def take(self, agent: Member, message: Message) -> None:
        if isinstance(message, Want):
            for digest, offset in message.blobs:
                agent.offer(digest, offset)
            agent.pump()
        elif isinstance(message, Finished):
            self.finished_at[self._tickets.pop(message.ticket).key] = time.monotonic()
            self._left -= 1
            if not self._left:
                self._over.set()
            elif self._todo and not self._is_paced:
                self._submit(agent)
        elif isinstance(message, Refused):
            raise SystemExit(f"the broker refuses a job: {message.reason}")

    def _submit(self, agent: Member) -> None:
        work = self._todo.popleft()
        assert agent.welcome is not None
        key = agent.welcome.holding_key
        blobs = [work.source]
        if id(agent) not in self._has_shown:
            self._has_shown.add(id(agent))
            blobs += self.project.headers
        shown = {blob.digest: shown_by([blob.plain], key) for blob in blobs}
        ticket = len(self.submitted_at) + 1
        self._tickets[ticket] = work
        self.submitted_at[work.key] = time.monotonic()
        agent.send(
            Submit(ticket, work.key, 0.5, "build", False, pack_shown(shown), None, 0, work.body)
        )


async def run_agents(farm: Farm, options: argparse.Namespace, pipe: Connection) -> None:
    agents = Agents(Project(options))
    context: Any = zmq.Context()
    beats = []
    for at, pair in enumerate(farm.agents):
        member = Member(agents.take, agents.frames, takes_pushes=True)
        hello = Hello(os.urandom(16), "client", "", f"a{at}", "0", 0, (), ())
        await member.join(context, farm, pair, hello)
        agents.members.append(member)
        beats.append(asyncio.create_task(member.beat()))
    works = agents.project.works
    window = options.window or options.nodes * options.slots
    await agents.carry_out(works[:WARM_UP_JOBS], window, 0.0)
    for round_number in range(options.rounds):
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        share = options.jobs // options.rounds
        start = WARM_UP_JOBS + round_number * share
        await agents.carry_out(works[start : start + share], window, options.rate)
    pipe.send((agents.submitted_at, agents.finished_at))


def run_process(which: str, farm: Farm, options: argparse.Namespace, pipe: Connection) -> None:
    asyncio.run((run_nodes if which == "nodes" else run_agents)(farm, options, pipe))


# --- the measurement ------------------------------------------------------------------------------


def cpu_by_part(pid: int) -> dict[str, float]:
    """CPU seconds of the broker's threads and of its children (proc(5))."""
    parts = dict.fromkeys(("loop", "sockets", "others", "worker"), 0.0)
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, spent_s = _stat(task / "stat")
        if task.name == str(pid):
            parts["loop"] += spent_s
        else:
            parts["sockets" if name.startswith("ZMQ") else "others"] += spent_s
        for child in (task / "children").read_text().split():
            parts["worker"] += _stat(Path(f"/proc/{child}/stat"))[1]
    return parts


def _stat(path: Path) -> tuple[str, float]:
    before, _, after = path.read_text().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS


def process_cpu_s(pid: int) -> float:
    """Of all its threads, those that have ended too."""
    return _stat(Path(f"/proc/{pid}/stat"))[1]


def start_broker(state: str) -> tuple[subprocess.Popen[bytes], str]:
    read, write = os.pipe()
    words = [sys.executable, "-m", "broker.main", "serve", "--listen", "tcp://127.0.0.1:0"]
    words += ["--state", state, "--ready-fd", str(write), "--log-level", "warning"]
    broker = subprocess.Popen(words, pass_fds=(write,))
    os.close(write)
    with os.fdopen(read) as ready:
        return broker, ready.readline().strip()


def enrolled(state: str, role: PeerRole, count: int) -> tuple[KeyPair, ...]:
    registry = Registry(state)
    pairs = tuple(new_key_pair() for _ in range(count))
    for at, pair in enumerate(pairs):
        registry.add(pair.public, role, f"{role.value}{at}", time.time())
    registry.close()
    return pairs


def measure(options: argparse.Namespace, state: str) -> None:
    public = broker_keys(state).public
    agents = enrolled(state, PeerRole.CLIENT, options.agents)
    nodes = enrolled(state, PeerRole.NODE, options.nodes)
    broker, endpoint = start_broker(state)
    farm = Farm(endpoint, public, agents, nodes)
    spawning = get_context("spawn")
    pipes, processes = {}, []
    try:
        time.sleep(GRACE_S)
        for which in ("nodes", "agents"):
            pipes[which], other = spawning.Pipe()
            process = spawning.Process(
                target=run_process, args=(which, farm, options, other), daemon=True
            )
            process.start()
            other.close()
            processes.append(process)
            expect(pipes[which], ("joined", "ready"))
        rounds = [
            one_round(options, broker.pid, pipes["agents"], at) for at in range(options.rounds)
        ]
        submitted_at, finished_at = answer(pipes["agents"])
        pipes["nodes"].send("over")
        run_at, done_at = answer(pipes["nodes"])
    finally:
        for process in processes:
            process.terminate()
            process.join()
        broker.terminate()
        broker.wait()
    show(options, rounds)
    keys = list(submitted_at)[WARM_UP_JOBS:]
    show_times("Submit to Run", [run_at[key] - submitted_at[key] for key in keys])
    show_times("Done to Finished", [finished_at[key] - done_at[key] for key in keys])


def one_round(
    options: argparse.Namespace, pid: int, agents: Connection, at: int
) -> tuple[float, float, dict[str, float]]:
    """Seconds, CPU seconds and those by part."""
    before, whole_before, begun = cpu_by_part(pid), process_cpu_s(pid), time.monotonic()
    agents.send("go")
    if at < options.rounds - 1:
        expect(agents, ("ready",))
    elif not agents.poll(LONGEST_S):
        raise SystemExit("the agents do not come to an end")
    took_s = time.monotonic() - begun
    after, whole_after = cpu_by_part(pid), process_cpu_s(pid)
    parts = {name: after[name] - before[name] for name in after}
    spent_s = whole_after - whole_before + parts["worker"]
    return took_s, spent_s, parts


def answer(pipe: Connection) -> Any:
    if not pipe.poll(LONGEST_S):
        raise SystemExit("a process of the bench does not answer")
    return pipe.recv()


def expect(pipe: Connection, words: tuple[str, ...]) -> None:
    said = answer(pipe)
    if said not in words:
        raise SystemExit(f"expected {words}, found {said!r:.80}")


def show(options: argparse.Namespace, rounds: list[tuple[float, float, dict[str, float]]]) -> None:
    jobs = options.jobs // options.rounds
    project = Project(argparse.Namespace(**{**vars(options), "jobs": 1}))
    work = project.works[0]
    relayed = len(work.source.frame) + len(work.output.frame)
    costs = [1e3 * spent_s / jobs for _, spent_s, _ in rounds]
    cost_ms = statistics.median(costs)
    rate = statistics.median(jobs / took_s for took_s, _, _ in rounds)
    print(
        f"{options.rounds} x {jobs} jobs, {options.agents} agents, {options.nodes} nodes of"
        f" {options.slots}, {options.headers} headers; frames of {len(work.source.frame)} and"
        f" {len(work.output.frame)} bytes, job of {len(work.body)}"
    )
    print(
        f"broker  {cost_ms:.3f} ms of CPU a job ({min(costs):.3f}-{max(costs):.3f}),"
        f" {cost_ms / GOAL_MS:.2f} of the goal; so {1e3 / cost_ms:.0f} jobs/s and"
        f" {relayed / cost_ms / 1e3:.1f} MB/s on a core"
    )
    parts = {
        name: statistics.median(1e3 * each[name] / jobs for _, _, each in rounds)
        for name in rounds[0][2]
    }
    print("  ".join(f"{name} {value:.3f}" for name, value in parts.items()))
    print(f"wall    {rate:.0f} jobs/s, {rate * relayed / 1e6:.1f} MB/s relayed")


def show_times(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    print(
        f"{name}: p50 {1e3 * statistics.median(ordered):.1f} ms,"
        f" p99 {1e3 * ordered[int(0.99 * (len(ordered) - 1))]:.1f} ms"
    )


def options_given() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=3_000, help="of all rounds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--window", type=int, default=0, help="0: one for each slot")
    parser.add_argument("--rate", type=float, default=0.0, help="jobs a second; 0: by --window")
    parser.add_argument("--source", type=int, default=50_000)
    parser.add_argument("--object", type=int, default=20_000)
    parser.add_argument("--headers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = options_given()
    with tempfile.TemporaryDirectory(prefix="zcc-bench-broker-") as state:
        measure(options, state)


if __name__ == "__main__":
    main()
