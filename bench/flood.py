"""Question: how long do others wait while one key floods the broker with jobs that are large when unpacked?

A broker in a process of its own. One client sends 568 Submits of some 23 KB that unpack to 3 MiB each; another
submits ordinary jobs one after the other all the while, and measures each round trip to the answer (there is no
node, so every job is refused). The bound is the same client's round trips before the flood.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import zmq

from broker.membership.registry import Registry
from broker.state import broker_keys
from cache.digest import digest_of
from cache.frame import compress
from zcc import codec
from zcc.job import FileInput, Job, Manifest, encode_job, job_key
from zcc.keys import new_key_pair
from zcc.link import DealerLink
from zcc.messages import Hello, PeerRole, Refused, Submit, Welcome

FLOOD = 568
LARGE_INPUTS = 32_000
ORDINARY_INPUTS = 500
QUIET = 200
WAIT_S = 120.0
# The broker refuses nothing for want of nodes in the first seconds after its start.
GRACE_S = 4.0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-flood-") as state:
        keys = broker_keys(state)
        read, write = os.pipe()
        words = [sys.executable, "-m", "broker.main", "serve", "--listen", "tcp://127.0.0.1:0"]
        words += ["--state", state, "--ready-fd", str(write), "--log-level", "error"]
        broker = subprocess.Popen(words, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as ready:
            endpoint = ready.readline().strip()
        try:
            asyncio.run(measure(state, endpoint, keys.public))
        finally:
            broker.terminate()
            broker.wait()


@dataclass
class Client:
    link: DealerLink = field(init=False)
    answers: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, frames: list[bytes]) -> None:
        message = codec.decode(frames)
        if isinstance(message, Welcome | Refused):
            self.answers += 1
            self.heard.set()

    async def ask(self, message: Hello | Submit) -> float:
        """Seconds to the answer."""
        self.heard.clear()
        began_s = time.perf_counter()
        while not self.link.send(codec.encode(message)):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT_S):
            await self.heard.wait()
        return time.perf_counter() - began_s


async def joined(state: str, endpoint: str, public: str, context: zmq.Context) -> Client:  # type: ignore[type-arg]
    registry, pair, client = Registry(state), new_key_pair(), Client()
    registry.add(pair.public, PeerRole.CLIENT, "bench", time.time())
    registry.close()
    client.link = DealerLink(context, endpoint, public, pair, client.take)
    await client.ask(Hello(os.urandom(16), "client", "", "bench", "0", 0, (), ()))
    return client


def submit(ticket: int, inputs: int) -> Submit:
    digest = digest_of(b"%d" % ticket)
    long = b"/project/with/a/path/that/is/as/long/as/paths/are/%d" % ticket
    files = tuple(FileInput(long + b"/%06d.h" % at, digest) for at in range(inputs))
    job = Job(
        digest, b"/usr/bin/g++", (b"g++", b"-c", b"x.cc"), b"/p", (), Manifest(files), (b"/p/x.o",)
    )
    encoded = encode_job(job)
    return Submit(ticket, job_key(encoded), 0.0, "b", False, b"", None, 0, compress(encoded))


async def measure(state: str, endpoint: str, public: str) -> None:
    # Before anybody joins: who is silent for five seconds is lost.
    ordinary = [submit(ticket, ORDINARY_INPUTS) for ticket in range(1, QUIET + 1)]
    flood = [codec.encode(submit(ticket, LARGE_INPUTS)) for ticket in range(1, FLOOD + 1)]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    await asyncio.sleep(GRACE_S)
    flooder, other = [await joined(state, endpoint, public, context) for _ in range(2)]
    quiet = [await other.ask(each) for each in ordinary]
    flooder.answers, began_s = 0, time.perf_counter()
    for frames in flood:
        while not flooder.link.send(frames):
            await asyncio.sleep(0.001)
    busy: list[float] = []
    while flooder.answers < FLOOD and time.perf_counter() - began_s < WAIT_S:
        busy.append(await other.ask(ordinary[len(busy) % QUIET]))
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - began_s
    size = sum(map(len, flood[0]))
    print(f"{FLOOD} Submits of {size} bytes; answered: {flooder.answers} in {took_s:.1f} s")
    show("before the flood", quiet)
    show("during the flood", busy)
    for client in (flooder, other):
        client.link.close()
    context.term()


def show(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    print(
        f"{name}: {len(times)} round trips, median {1e3 * statistics.median(times):.1f} ms,"
        f" 99th percentile {1e3 * p99:.1f} ms, longest {1e3 * ordered[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
