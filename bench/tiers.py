"""Question: how many hits a second has a broker from a Redis tier, at which CPU, against hits on its own disk?

A broker's results and tiers as `serve` has them, in this process, without sockets of members. Results of one
object each (20 KB compressed, as a C++ file's with -g) are put into Redis, and forgotten on the disk; then all
are asked for, so many at a time, and read. The same then from the disk, where they are now. CPU is this
process's (the loop and the tier's threads) and the loop's alone; redis-server's own is not counted. The bound
of a tier's hit is the disk's, as each is put there and read from there. A busy machine makes no misses of them:
nobody's patience ends here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from broker.core.effects import Remember
from broker.results.shared_cache import SharedResults
from broker.results.tombstones import Tombstones
from broker.tiers import lookups
from broker.tiers.opening import open_tiers
from broker.tiers.settings import TierSettings
from broker.transport.traffic import Traffic
from cache.digest import Digest, digest_of
from cache.stores import DiskStore

RESULTS = 1_000
AT_A_TIME = 32
ROUNDS = 5
OBJECT_BYTES = 20 << 10
START_S = 10.0
PATIENCE_S = 60.0
GCC = digest_of(b"gcc")

Ask = Callable[[Digest], Awaitable[object]]


class Bench:
    def __init__(self, directory: str, url: str) -> None:
        store = DiskStore(directory, "farm", 1 << 40)
        self.store = store
        tombstones = Tombstones(directory)
        self.tiers = open_tiers(directory, [TierSettings(url, "redis")], store, tombstones)
        self.traffic = Traffic(store.blobs, lambda *_: True, lambda _: None)
        self.results = SharedResults(
            store, self.traffic, lambda _: None, tombstones.add, self.tiers
        )
        self.keys: list[Digest] = []

    def fill(self) -> None:
        assert self.tiers is not None
        for at in range(RESULTS):
            key = digest_of(b"job %d" % at)
            blob = self.store.blobs.put(os.urandom(OBJECT_BYTES))
            remembered = Remember(
                key, os.urandom(600), (blob,), OBJECT_BYTES, GCC, "n", "k", "u", b""
            )
            self.results.remember(remembered)
            self.keys.append(key)
        assert self.tiers.wait_written(60), "Redis takes nothing"

    def evict(self) -> None:
        self.results.write_down()
        assert self.results._writer.wait_written()
        self.store.index.remove_all()
        for entry in list(self.store.blobs.entries()):
            self.store.blobs.remove(entry.key)
            self.traffic.forget(entry.key)

    async def near(self, key: Digest) -> None:
        self.read(key)

    async def far(self, key: Digest) -> None:
        assert self.results.recall(key) is None
        told = asyncio.get_running_loop().create_future()
        assert self.results.seek(key, 2 * PATIENCE_S, told.set_result)
        assert await told
        self.read(key)

    def read(self, key: Digest) -> None:
        recalled = self.results.recall(key)
        assert recalled is not None
        assert self.traffic.read(recalled.outputs[0], 0, 1 << 20) is not None

    async def measure(self, ask: Ask) -> tuple[float, float, float]:
        """Hits a second; ms of CPU a hit, of this process and of the loop."""
        waiting = iter(self.keys)

        async def work() -> None:
            for key in waiting:
                await ask(key)

        wall, all_cpu, loop_cpu = time.perf_counter(), time.process_time(), time.thread_time()
        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
        all_cpu, loop_cpu = time.process_time() - all_cpu, time.thread_time() - loop_cpu
        wall = time.perf_counter() - wall
        return RESULTS / wall, 1e3 * all_cpu / RESULTS, 1e3 * loop_cpu / RESULTS


async def run(directory: str, url: str) -> None:
    bench = Bench(directory, url)
    bench.fill()
    rows: dict[str, list[tuple[float, float, float]]] = {"disk": [], "redis": []}
    for _ in range(ROUNDS):
        bench.evict()
        rows["redis"].append(await bench.measure(bench.far))
        bench.results.write_down()
        assert bench.results._writer.wait_written()
        rows["disk"].append(await bench.measure(bench.near))
    bench.results.close()
    print(f"{RESULTS} results of {OBJECT_BYTES >> 10} KB, {AT_A_TIME} at a time; median (min-max)")
    for name, found in rows.items():
        hits, cpu, loop = (_spread([row[at] for row in found]) for at in range(3))
        print(f"{name:6} hits/s {hits}   CPU ms/hit {cpu}   of the loop {loop}")
    ratios = [
        [far[at] / near[at] for far, near in zip(rows["redis"], rows["disk"], strict=True)]
        for at in range(3)
    ]
    hits, cpu, loop = map(_spread, ratios)
    print(f"redis / disk: hits/s {hits}   CPU {cpu}   of the loop {loop}")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def main() -> None:
    lookups.MOST_WAIT_S = PATIENCE_S
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="zcc-bench-tiers-") as directory:
        path = os.path.join(directory, "redis.sock")
        words = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
            deadline = time.monotonic() + START_S
            while not os.path.exists(path) and time.monotonic() < deadline:
                time.sleep(0.05)
            try:
                asyncio.run(run(os.path.join(directory, "state"), f"unix://{path}?db=0"))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
