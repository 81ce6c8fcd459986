"""Question: what does a job cost a node beside the compiler itself, and how many can one node do?

    python bench/node.py [--jobs N] [--rounds R] [--slots S] [--window W] [--headers H] [--profile FILE]

A real node with its sandboxes, on loopback with CURVE, before a broker that only hands out jobs: it keeps
`--window` of them with the node (0: one for each slot). Each job compiles a C file of its own with nothing in
it, as a real agent made it of `zcc gcc -c`; the node fetches the source, compiles, and pushes the object.
`--headers`: each job names so many of 1.05 times as many headers of 10 KB beside, as those of a project do: the
compiler reads none of them, but the node makes its tree of them, and sees to it that they are what they were.

CPU is from /proc, in ms a job. `compiler`: the same command run plainly, as many at a time, in the same run.
`sandbox`: what the node has waited for (bubblewrap, the sandbox's first process, the compiler in it) less that.
`node`: its own process, `loop` its first thread, `sockets` libzmq's (CURVE, TCP), `others` its workers.
`beyond the compiler` is node and sandbox together, and its bound the goal of 4 ms. `kernel` are the threads of
the kernel's own, of the whole machine: namespaces are taken down by them. Jobs a second are by the wall clock.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import zmq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: the relay bench

from bench.relay import cpu_by_part  # noqa: E402
from cache.digest import Digest, digest_of  # noqa: E402
from cache.frame import compress, decompress  # noqa: E402
from zcc import codec  # noqa: E402
from zcc.farm import Access, save_access  # noqa: E402
from zcc.holding import HOLDING_KEY_BYTES  # noqa: E402
from zcc.job import (  # noqa: E402
    MAX_JOB_BYTES,
    MAX_RESULT_BYTES,
    FileInput,
    Job,
    decode_job,
    decode_result,
    encode_job,
    job_key,
)
from zcc.keys import new_key_pair  # noqa: E402
from zcc.link import Pumped, bounded_socket  # noqa: E402
from zcc.messages import (  # noqa: E402
    Beat,
    Chunk,
    Credit,
    Done,
    Failed,
    Hello,
    Message,
    Refused,
    Run,
    Settled,
    Submit,
    Want,
    Welcome,
)
from zcc.transfer import Receiver, Sender  # noqa: E402

BIN = Path(sys.executable).parent
GOAL_MS = 4.0
WARM_UP_JOBS = 40
HEADERS_SHARE = 1.05
HEADER_BYTES = 10_000
LONGEST_S = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
_NO_NODES = "no-nodes"


@dataclass
class Peer:
    """A session with an agent or a node."""

    route: bytes
    sender: Sender = field(default_factory=Sender)
    receiver: Receiver = field(default_factory=lambda: Receiver(takes_pushes=True))


class FakeBroker(Pumped):
    """One socket; `take(peer, message)` is told what concerns jobs. Blobs come and go by `frames`."""

    def __init__(self, take: Callable[[Peer, Message], None]) -> None:
        self.keys = new_key_pair()
        self.frames: dict[Digest, bytes] = {}
        self.take = take
        self._peers: dict[bytes, Peer] = {}
        context = zmq.Context[zmq.Socket[bytes]]()
        socket = bounded_socket(context, zmq.ROUTER, "tcp://127.0.0.1")
        socket.curve_server = True
        socket.curve_publickey = self.keys.public.encode()
        socket.curve_secretkey = self.keys.secret.encode()
        socket.bind("tcp://127.0.0.1:*")
        self.endpoint = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        super().__init__(socket)

    def access(self, directory: Path, role: str) -> None:
        """Leave in this directory what makes a member of the farm."""
        directory.mkdir(mode=0o700)
        save_access(
            str(directory), Access(self.endpoint, self.keys.public, "farm", role, new_key_pair())
        )

    def say(self, peer: Peer, message: Message) -> None:
        self._hand_over([peer.route, *codec.encode(message)])
        self._look_again()

    def beat(self) -> None:
        for peer in self._peers.values():
            self.say(peer, Beat(0.0))

    def want(self, peer: Peer, digests: set[Digest]) -> None:
        for digest in digests:
            peer.receiver.expect(digest)
            self.frames[digest] = b""
        self.say(peer, Want(tuple((digest, 0) for digest in digests)))

    def _deliver(self, frames: list[zmq.Frame]) -> None:
        route, *rest = (frame.bytes for frame in frames)
        message = codec.decode(rest)
        if isinstance(message, Hello):
            self._peers[route] = Peer(route)
            self.say(
                self._peers[route],
                Welcome(message.session, "farm", "0", os.urandom(HOLDING_KEY_BYTES)),
            )
        peer = self._peers[route]
        match message:
            case Want(blobs):
                for digest, offset in blobs:
                    peer.sender.offer(digest, offset)
            case Credit(amount_bytes):
                peer.sender.add_credit(amount_bytes)
            case Chunk():
                piece = peer.receiver.take(message)
                if message.digest in self.frames:
                    self.frames[message.digest] += piece.data
                grant = peer.receiver.consumed(len(piece.data))
                if grant is not None:
                    self.say(peer, grant)
                self.take(peer, message)
            case _:
                self.take(peer, message)
        for each in peer.sender.pump(self._read):
            self.say(peer, each)

    def _read(self, digest: Digest, offset: int, length: int) -> tuple[bytes, int]:
        frame = self.frames[digest]
        return frame[offset : offset + length], len(frame)


class Recording:
    """Takes the first job that an agent submits, with all its blobs, and refuses it."""

    def __init__(self) -> None:
        self.broker = FakeBroker(self._take)
        self.job: Job | None = None
        self.is_whole = asyncio.Event()
        self._left: set[Digest] = set()
        self._ticket = 0

    def _take(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Submit):
            self._ticket = message.ticket
            self.job = decode_job(decompress(message.body, MAX_JOB_BYTES))
            self._left = {self.job.toolchain, *(file.digest for file in self.job.manifest.files)}
            self.broker.want(peer, self._left)
        elif isinstance(message, Chunk) and message.offset + len(message.body) == message.total:
            self._left.discard(message.digest)
            if not self._left:
                self.broker.say(peer, Refused(self._ticket, _NO_NODES))
                self.is_whole.set()


class Handing:
    """Hands a node jobs, and a new one for each that is done."""

    def __init__(self, broker: FakeBroker, job: Job, headers: int = 0) -> None:
        self._broker = broker
        self._job = job
        self._headers = headers
        self._pool = [self._header(at) for at in range(int(HEADERS_SHARE * headers))]
        self._random = random.Random(1)
        broker.take = self._take
        self._node: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        self._bodies: Iterator[tuple[Digest, bytes]] = iter(())
        self._left = 0
        self._count = 0
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def round(self, jobs: int, window: int) -> float:
        """Seconds for so many jobs."""
        node = await self._node
        # Made before, so that the broker costs the wall clock little.
        self._bodies = iter([self._make() for _ in range(jobs)])
        self._left = jobs
        self._over = asyncio.get_running_loop().create_future()
        begun = time.monotonic()
        for _ in range(min(window, jobs)):
            self._next(node)
        async with asyncio.timeout(LONGEST_S):
            why = await self._over
        if why:
            raise SystemExit(why)
        return time.monotonic() - begun

    def _header(self, number: int) -> FileInput:
        content = b"/* header %d */\n" % number * (HEADER_BYTES // 16)
        digest = digest_of(content)
        self._broker.frames[digest] = compress(content)
        return FileInput(b"%s/include/%d/h%d.h" % (self._job.cwd, number % 20, number), digest)

    def _make(self) -> tuple[Digest, bytes]:
        """A job like the recorded one, of a source and an object of its own."""
        self._count += 1
        name = b"e%d.c" % self._count
        content = b"/* %d */\n" % self._count
        digest = digest_of(content)
        self._broker.frames[digest] = compress(content)
        job = self._job
        source = job.cwd + b"/e.c"
        files = [
            FileInput(job.cwd + b"/" + name, digest) if file.path == source else file
            for file in job.manifest.files
        ]
        files += self._random.sample(self._pool, self._headers)
        manifest = replace(job.manifest, files=tuple(sorted(files, key=lambda file: file.path)))
        words = tuple(name if word == b"e.c" else word for word in job.argv)
        encoded = encode_job(replace(job, argv=words, manifest=manifest))
        return job_key(encoded), compress(encoded)

    def _next(self, node: Peer) -> None:
        made = next(self._bodies, None)
        if made is not None:
            self._broker.say(node, Run(os.urandom(16), made[0], "client", 0, made[1]))

    def _take(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Hello) and not self._node.done():
            self._node.set_result(peer)
        elif isinstance(message, Failed):
            self._end(f"the node failed a job: {message.fault}: {message.detail}")
        elif isinstance(message, Done):
            result = decode_result(decompress(message.body, MAX_RESULT_BYTES))
            if result.exit_status or len(result.outputs) != 1 or result.lookups.flaw:
                self._end(f"not what was asked for: {result}")
            self._broker.say(peer, Settled(message.lease))
            self._left -= 1
            if self._left:
                self._next(peer)
            else:
                self._end("")

    def _end(self, why: str) -> None:
        if not self._over.done():
            self._over.set_result(why)


async def record(place: Path) -> tuple[FakeBroker, Job]:
    """The job of `zcc gcc -c -o e.o e.c`, as the agent makes it."""
    recording = Recording()
    own, project = place / "client", place / "project"
    recording.broker.access(own, "client")
    project.mkdir()
    (project / "e.c").write_text("")
    environment = os.environ | {
        "ZCC_CONFIG_DIR": str(own), "ZCC_STATE_DIR": str(own), "ZCC_SOCKET": str(own / "agent.sock"),
    }  # fmt: skip
    command = [str(BIN / "zcc"), "gcc", "-c", "-o", "e.o", "e.c"]
    os.chdir(project)  # for what is run plainly too
    child = await asyncio.create_subprocess_exec(*command, cwd=project, env=environment)
    async with asyncio.timeout(LONGEST_S):
        await recording.is_whole.wait()
        await child.wait()
    stop = await asyncio.create_subprocess_exec(str(BIN / "zcc"), "agent", "stop", env=environment)
    await stop.wait()
    assert recording.job is not None
    return recording.broker, recording.job


def plain_cpu_s(place: Path, job: Job, jobs: int, at_a_time: int) -> float:
    """CPU seconds of one compile, run plainly."""
    spent_s, running = 0.0, set[int]()
    for number in range(jobs):
        if len(running) == at_a_time:
            spent_s += waited_s(running)
        own = os.fsencode(place / f"project/{number % at_a_time}.o")
        words = [own if word in job.outputs else word for word in job.argv]
        running.add(os.posix_spawn(job.executable, words, dict(job.environment)))
    while running:
        spent_s += waited_s(running)
    return spent_s / jobs


def waited_s(running: set[int]) -> float:
    """CPU seconds of the first of these processes to end, which is waited for."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_pid in running, "the node has ended"
    _, status, usage = os.wait4(ended.si_pid, 0)
    assert status == 0, "the plain compile has failed"
    running.discard(ended.si_pid)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds so far."""

    user: float
    system: float
    children: float
    kernel: float
    parts: dict[str, float]

    def since(self, other: Spent, jobs: int) -> dict[str, float]:
        """ms a job."""
        row = {name: self.parts[name] - other.parts[name] for name in self.parts}
        for name in ("user", "system", "children", "kernel"):
            row[name] = getattr(self, name) - getattr(other, name)
        return {name: 1e3 * value / jobs for name, value in row.items()}


def spent_by(pid: int) -> Spent:
    own = stat_of(f"/proc/{pid}/stat")
    kernel = 0.0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                other = stat_of(f"/proc/{name}/stat")
            except OSError:
                continue
            if other[3 - 2] == 2:
                kernel += (other[13 - 2] + other[14 - 2]) / _TICKS
    user, system, children_user, children_system = (each / _TICKS for each in own[13 - 2 : 17 - 2])
    return Spent(user, system, children_user + children_system, kernel, cpu_by_part(pid))


def stat_of(path: str) -> list[int]:
    """Fields of proc_pid_stat(5) from the third on, numbers but for the first."""
    with open(path) as file:
        words = file.read().rpartition(")")[2].split()
    return [0, *map(int, words[1:])]


async def measure(options: argparse.Namespace, place: Path) -> None:
    broker, job = await record(place)
    handing = Handing(broker, job, options.headers)
    state = place / "node"
    broker.access(state, "node")
    # Root's node becomes another, who has to come through.
    place.chmod(0o711)
    words = [
        "serve",
        "--state",
        str(state),
        "--slots",
        str(options.slots),
        "--user",
        "any",
        "--nice",
        "0",
    ]
    node = subprocess.Popen([str(BIN / "zcc-node"), *words, "--log", "warning"])
    profiler: subprocess.Popen[bytes] | None = None
    beating = asyncio.create_task(beat(broker))
    window = options.window or options.slots
    rounds = []
    try:
        await handing.round(WARM_UP_JOBS, window)
        if options.profile:
            command = [str(BIN / "py-spy"), "record", "-p", str(node.pid), "-o", options.profile]
            profiler = subprocess.Popen([*command, "-f", "raw", "-r", "500", "-g", "-F"])
        for _ in range(options.rounds):
            plain_s = await asyncio.to_thread(plain_cpu_s, place, job, options.jobs, options.slots)
            before = spent_by(node.pid)
            took_s = await handing.round(options.jobs, window)
            row = spent_by(node.pid).since(before, options.jobs)
            row["compiler"], row["rate"] = 1e3 * plain_s, options.jobs / took_s
            rounds.append(row)
    finally:
        beating.cancel()
        if profiler is not None:
            profiler.send_signal(2)
            profiler.wait()
        node.kill()
        node.wait()
        broker.close()
    show(options, rounds)


async def beat(broker: FakeBroker) -> None:
    while True:
        await asyncio.sleep(1.0)
        broker.beat()


def show(options: argparse.Namespace, rounds: list[dict[str, float]]) -> None:
    for row in rounds:
        row["sandbox"] = row["children"] - row["compiler"]
        row["node"] = row["user"] + row["system"]
        row["beyond"] = row["sandbox"] + row["node"]
    print(f"{options.rounds} x {options.jobs} jobs, {options.slots} slots; medians (least-most)")

    def told(name: str) -> str:
        values = [row[name] for row in rounds]
        return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"

    print(f"compiler             {told('compiler')} ms of CPU a job")
    print(f"beyond the compiler  {told('beyond')}, the goal is {GOAL_MS}")
    print(f"  sandbox            {told('sandbox')}")
    print(f"  node               {told('node')}: user {told('user')}, system {told('system')}")
    print(f"    loop {told('loop')}, sockets {told('sockets')}, others {told('others')}")
    print(f"kernel               {told('kernel')}")
    print(f"jobs/s               {told('rate')}")


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=400, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--window", type=int, default=0, help="0: one for each slot")
    parser.add_argument("--headers", type=int, default=0, help="that each job names beside")
    parser.add_argument("--profile", default="", help="py-spy's stacks of the node, by its file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zcc-bench-node-") as place:
        asyncio.run(measure(options, Path(place)))


if __name__ == "__main__":
    main()
