"""Question: what do ten watchers cost the broker at 500 jobs a second, and what does the watching cost that
nobody does?

    python bench/watching.py [--watchers N] [--rate R] [--rounds R] [--jobs N] [--core-only]

`core` is the broker's pure core in this process, with jobs that come, go to a node, start and end: by process
CPU, rounds with watchers and without in turns, so that what the machine does meanwhile falls on both. Watched,
now and then a batch is made, compressed, and written into a message for each watcher.
`nobody` compares a core whose feed has ended with one that was never watched: the difference is noise.

`broker` is the real program with CURVE on loopback (bench/relay.py), the same in turns: CPU of all its threads
by the scheduler's nanoseconds (schedstat of proc(5)), over the same number of jobs. Watchers are in a process
of their own, and read all.

Each round with watchers is held against the one without before it, and what is told is the median of the
quotients: other load slows both alike.

Bound: 1% of what the broker spends on these jobs anyway. A core's share at that rate is told, too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import zmq

from bench import relay
from broker.core import effects, events
from broker.core.events import Origin
from broker.core.machine import Machine
from broker.state import broker_keys
from broker.watching.feed import Watching
from cache.digest import digest_of
from cache.frame import compress
from zcc import codec
from zcc.farm import Access
from zcc.keys import KeyPair
from zcc.messages import Beat, Hello, Message, PeerRole, Run, Started, Watch
from zcc.subject import BuildName, Subject
from zcc.watching.session import WatchSession

BOUND = 0.01
NODES, SLOTS = 20, 16
# Of each core in turns: short, so that what the machine does meanwhile falls on all. A batch is in each.
SLICE_JOBS = 100
TICK_S = 0.1


@dataclass
class Core:
    """The broker's machine with fake members; virtual time goes on as jobs come."""

    rate: float
    watchers: int

    def __post_init__(self) -> None:
        self.now = self.next_batch = 100.0
        toolchain = digest_of(b"gcc")
        self.machine = Machine("farm", random.Random(1), self.now, ((toolchain, ""),))
        self.toolchain = toolchain
        self.number = 0
        self.runs: list[tuple[Origin, Run]] = []
        self.sent_bytes = 0
        self.watching = Watching(
            self.machine.farm,
            lambda user: (user, user, "client"),
            self._offer,
            compress,
            lambda: os.urandom(8),
            1.7e9,
            print,
        )
        self.nodes = {}
        for at in range(NODES):
            origin = Origin(b"n%d" % at, f"node{at}", PeerRole.NODE)
            self.nodes[origin.route] = origin
            session = b"n%015d" % at
            self._happen(
                events.MessageArrived(
                    origin, Hello(session, "node", "", f"n{at}", "0", SLOTS, (), ())
                )
            )
        self.agent = Origin(b"a", "agent", PeerRole.CLIENT)
        hello = Hello(b"a" * 16, "client", "", "host:1", "0", 0, (), ())
        self._happen(events.MessageArrived(self.agent, hello))
        self.now += 5.0
        self._tick()
        for at in range(self.watchers):
            self.watching.watch(b"w%d" % at, f"w{at}", Watch(b"", 0))

    def _offer(self, route: bytes, make: Callable[[], Message | None]) -> bool:
        message = make()
        if message is not None:
            self.sent_bytes += sum(map(len, codec.encode(message)))
        return True

    def _tick(self) -> None:
        heard = frozenset((each.route, each.user) for each in self.nodes.values())
        self._happen(events.Ticked(heard | {(self.agent.route, self.agent.user)}))
        if self.now >= self.next_batch:
            self.next_batch = self.now + self.watching.period_s - TICK_S / 2
            self.watching.tick(self.now)

    def _happen(self, event: events.Event) -> None:
        todo = [event]
        while todo:
            for effect in self.machine.handle(todo.pop(), self.now):
                if isinstance(effect, effects.FindMissing):
                    todo.append(events.InputsChecked(effect.key, frozenset()))
                elif isinstance(effect, effects.Send) and isinstance(effect.message, Run):
                    self.runs.append((self.nodes[effect.route], effect.message))

    def job(self) -> None:
        """One comes, and one that runs ends."""
        self.number += 1
        key = digest_of(b"%d" % self.number)
        name = f"src/module{self.number % 97}/source{self.number}.cc"
        subject = Subject(BuildName(1, "project 12:00:00"), name, "c++", "gcc 12.2.0", 3)
        self._happen(
            events.JobSubmitted(
                self.agent,
                self.number,
                key,
                1.0,
                "b",
                self.toolchain,
                (),
                b"",
                None,
                b"body",
                subject=subject,
            )
        )
        self._happen(events.BatchEnded())
        runs, self.runs = self.runs, []
        for node, run in runs:
            self._happen(events.MessageArrived(node, Started(run.lease)))
        for node, run in runs:
            self._happen(
                events.ResultArrived(
                    node, run.lease, 0, (), True, False, True, 20_000, 0.9, 1.0, b"r", 1 << 28
                )
            )
        before = int(self.now / TICK_S)
        self.now += 1.0 / self.rate
        if int(self.now / TICK_S) != before:
            self._tick()
            if int(self.now) != int(self.now - TICK_S):
                for node in self.nodes.values():
                    beat = Beat(random.random())
                    self._happen(events.MessageArrived(node, beat))

    def cost_us(self, jobs: int) -> float:
        begun = time.process_time()
        for _ in range(jobs):
            self.job()
        return (time.process_time() - begun) / jobs * 1e6


def core(options: argparse.Namespace) -> None:
    never, watched = Core(options.rate, 0), Core(options.rate, options.watchers)
    ended = Core(options.rate, 1)
    ended.watching.forget(b"w0")
    ended.now += 60.0
    ended._tick()
    assert ended.machine.farm.watch is None
    cores = {"never": never, "watched": watched, "ended": ended}
    for each in cores.values():
        each.cost_us(SLICE_JOBS)
    costs: dict[str, list[float]] = {name: [] for name in cores}
    for _ in range(max(1, options.rounds * options.jobs // SLICE_JOBS)):
        for name, each in cores.items():
            costs[name].append(each.cost_us(SLICE_JOBS))
    plain = statistics.median(costs["never"])
    more, idle = (more_than(costs["never"], costs[which]) for which in ("watched", "ended"))
    low, _, high = statistics.quantiles(costs["never"], n=4)
    print(
        f"core    {plain:.1f} us a job (quartiles {low:.1f}, {high:.1f}); {options.watchers} watchers"
        f" {more:+.1%}, {more * plain:+.1f} us, so {more * plain * options.rate / 1e6:.2%} of a core at"
        f" {options.rate:.0f} jobs/s"
    )
    seconds = watched.number / options.rate
    per_watcher = watched.sent_bytes / seconds / options.watchers / 1e3
    print(f"        {per_watcher:.1f} KB a second to each watcher")
    print(f"nobody  {idle:+.2%}")


def more_than(without: list[float], with_them: list[float]) -> float:
    """By what share the one is more than the other before it, in the median."""
    pairs = zip(without, with_them, strict=True)
    return statistics.median(each / before for before, each in pairs) - 1.0


def spent_s(pid: int) -> float:
    """CPU seconds of all threads that a process has, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


# --- the real broker ------------------------------------------------------------------------------


async def _watch(endpoint: str, public: str, pairs: tuple[KeyPair, ...], pipe: Connection) -> None:
    """As many watchers as are asked for, until another number is."""
    context: Any = zmq.Context()
    heard = [0]

    def take(_: object) -> None:
        heard[0] += 1

    sessions: list[WatchSession] = []
    while True:
        wanted = await asyncio.to_thread(pipe.recv)
        while len(sessions) > wanted:
            sessions.pop().close()
        for pair in pairs[len(sessions) : wanted]:
            access = Access(endpoint, public, "", "monitor", pair)
            sessions.append(WatchSession(context, access, take))
        while not all(each.feed for each in sessions):
            await asyncio.sleep(0.05)
        pipe.send(heard[0])


def watch_process(endpoint: str, public: str, pairs: tuple[KeyPair, ...], pipe: Connection) -> None:
    asyncio.run(_watch(endpoint, public, pairs, pipe))


def broker(options: argparse.Namespace, state: str) -> None:
    public = broker_keys(state).public
    agents = relay.enrolled(state, PeerRole.CLIENT, options.agents)
    nodes = relay.enrolled(state, PeerRole.NODE, options.nodes)
    monitors = relay.enrolled(state, PeerRole.MONITOR, options.watchers)
    program, endpoint = relay.start_broker(state)
    farm = relay.Farm(endpoint, public, agents, nodes)
    spawning = get_context("spawn")
    pipes, processes = {}, []
    rounds, jobs = options.rounds, options.jobs
    options.rounds = 2 * rounds
    options.jobs *= 2 * rounds
    try:
        time.sleep(relay.GRACE_S)
        for which in ("nodes", "agents"):
            pipes[which], other = spawning.Pipe()
            process = spawning.Process(
                target=relay.run_process, args=(which, farm, options, other), daemon=True
            )
            process.start()
            processes.append(process)
            relay.expect(pipes[which], ("joined", "ready"))
        watch, other = spawning.Pipe()
        process = spawning.Process(
            target=watch_process, args=(endpoint, public, monitors, other), daemon=True
        )
        process.start()
        processes.append(process)
        costs: dict[int, list[float]] = {0: [], options.watchers: []}
        rates: list[float] = []
        for at in range(options.rounds):
            count = options.watchers if at % 2 else 0
            watch.send(count)
            relay.answer(watch)
            if not count:
                time.sleep(12.0 if at else 1.0)  # until the feed has ended
            before_s = spent_s(program.pid)
            took_s, _, _ = relay.one_round(options, program.pid, pipes["agents"], at)
            costs[count].append((spent_s(program.pid) - before_s) / jobs * 1e3)
            rates.append(jobs / took_s)
        heard = 0
        watch.send(0)
        heard = relay.answer(watch)
    finally:
        for process in processes:
            process.terminate()
            process.join()
        program.terminate()
        program.wait()
    plain, more = statistics.median(costs[0]), more_than(costs[0], costs[options.watchers])
    core_share, rate = more * plain * options.rate / 1e3, statistics.median(rates)
    print(
        f"broker  {plain:.3f} ms a job ({min(costs[0]):.3f}-{max(costs[0]):.3f}); {options.watchers} watchers"
        f" {more:+.2%} of the broker's own, {more / options.watchers:.2%} each: {more / BOUND:.2f} of the"
        f" bound; {core_share:.2%} of a core at {options.rate:.0f} jobs/s ({rate:.0f} were done);"
        f" {heard} messages heard"
    )


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--watchers", type=int, default=10)
    parser.add_argument("--rate", type=float, default=500.0, help="jobs a second")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind")
    parser.add_argument("--jobs", type=int, default=3_000, help="of each round")
    parser.add_argument("--core-only", action="store_true")
    options = parser.parse_args()
    core(options)
    if options.core_only:
        return
    more = {"nodes": 8, "agents": 4, "slots": 8, "window": 0, "source": 5_000, "object": 5_000}
    more |= {"headers": 20, "seed": 1}
    for name, value in more.items():
        setattr(options, name, value)
    with tempfile.TemporaryDirectory(prefix="zcc-bench-watching-") as state:
        broker(options, state)


if __name__ == "__main__":
    main()
