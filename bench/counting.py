"""What does keeping account of a call cost the agent, beside reading the result of a hit?

The bound in the same run is `Recall.find`: record and object (100 KB) from the store, decompressed, checked.
`hit` is all that is counted and remembered of an unchanged compile. `miss` is what the agent's loop does for
one that differs from the last of its output (500 headers), `thread` the work behind it: fingerprint,
comparison, SQLite. CPU in microseconds, median and spread of the rounds; ratios are to the hit's reading.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable

from cache.digest import digest_of
from cache.frame import compress
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.core.effects import CountOutcome
from zcc.agent.history.builds import Build
from zcc.agent.history.recorder import Account
from zcc.agent.launchers.wire import Environment, Request
from zcc.agent.results.local_cache import CacheMode, Recall
from zcc.agent.results.part import Part
from zcc.compiler.disk.disk import Disk
from zcc.compiler.scan.closure import Closure
from zcc.compiler.toolchain.index import Toolchain
from zcc.job import (
    FileInput,
    Job,
    Lookups,
    Manifest,
    OutputFile,
    Result,
    Usage,
    encode_job,
    job_key,
)

ROUNDS = 9
CALLS = 400
HEADERS = 500
OBJECT = random.Random(1).randbytes(100_000)

REQUEST = Request((b"gcc",), b"/usr/bin/gcc", b"/", Environment(), 0o22, None, False, False, False)
HIT = CountOutcome(1, "local_hit", way="scanned")
REMOTE = CountOutcome(1, "remote", way="scanned")


def job(number: int) -> Job:
    files = [
        FileInput(b"/usr/include/c++/12/bits/detail/header%03d.h" % at, digest_of(b"%d" % at))
        for at in range(HEADERS)
    ]
    argv = (b"g++", b"-g", b"-O2", b"-DN=%d" % number, b"-c", b"x.cc", b"-o", b"x.o")
    return Job(
        digest_of(b"gcc"), b"/usr/bin/g++", argv, b"/", (), Manifest(tuple(files)), (b"/x.o",)
    )


def part(of: Job) -> Part:
    toolchain = Toolchain.__new__(Toolchain)  # nobody looks into it
    encoded = encode_job(of)
    closure = Closure(of.manifest, 0, {})
    return Part(Prepared(of, job_key(encoded), encoded, closure, None, b"/x.cc", "b", toolchain), 1)


def cost_us(work: Callable[[int], object], clock: Callable[[], float]) -> float:
    start = clock()
    for at in range(CALLS):
        work(at)
    return (clock() - start) / CALLS * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-counting-") as directory:
        recall = Recall(os.path.join(directory, "cache"), 1 << 30, 1 << 24)
        account = Account(directory, lambda _: b"/")
        parts = [part(job(number)) for number in range(CALLS)]
        output = OutputFile(b"/x.o", digest_of(OBJECT), len(OBJECT), 0o666)
        result = Result(0, b"", b"", (output,), Usage(1.0, 1.0, 1), Lookups(), "node")
        first = parts[0].prepared
        disk = Disk()
        disk.begin(0.0, None)
        recall.remember(first, result, {output.digest: compress(OBJECT)}, disk)
        recall.wait_written()

        def call(outcome: CountOutcome, of: Part) -> None:
            build: Build = account.stats.enter(b"/")
            account.settled(build, REQUEST, (of,), CacheMode.ON, outcome, 0.001)
            account.left(build, REQUEST, (of,))

        rows: dict[str, list[float]] = {"reading": [], "hit": [], "miss": [], "thread": []}
        for _ in range(ROUNDS):
            rows["reading"].append(cost_us(lambda _: recall.find(first, disk), time.thread_time))
            call(REMOTE, parts[0])
            account.wait_written()
            rows["hit"].append(cost_us(lambda _: call(HIT, parts[0]), time.thread_time))
            begun = time.process_time()
            loop_us = cost_us(lambda at: call(REMOTE, parts[at]), time.thread_time)
            account.wait_written()
            rows["miss"].append(loop_us)
            rows["thread"].append((time.process_time() - begun) / CALLS * 1e6 - loop_us)
        bound = statistics.median(rows["reading"])
        for name, taken in rows.items():
            middle = statistics.median(taken)
            spread = f"{min(taken):.1f}..{max(taken):.1f}"
            print(
                f"{name:8} {middle:8.1f} us  ({spread})  {middle / bound:6.3f} of a hit's reading"
            )
        account.close({})
        recall.close()


if __name__ == "__main__":
    main()
