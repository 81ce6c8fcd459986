"""Question: of a warm C++ build, what share is it to show the broker that one holds the inputs?

A generated project with the standard library's headers is compiled on a farm on loopback by an agent of its
own, which has just started: it shows all inputs, of which the farm has every one. That is the dearest build
there is; later ones of the same agent show only what was edited (bench/holding.py). The bounds: 3% of the
client's CPU, 5% of the bytes that it sends and receives. The client's CPU is that of launchers and agent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: another bench's project

from bench.client import FILES, build, cpu_s, warm_up, write  # noqa: E402
from zcc.agent.launchers import control  # noqa: E402
from zcc.cli.up import LocalFarm  # noqa: E402

ROUNDS = 3
# An agent that counts what Showing spends, on whichever thread, and what its connection carries.
COUNTING = """
import atexit, json, sys, time
from zcc import link
from zcc.agent import main, showing

counts = {"cpu_s": 0.0, "shown_bytes": 0, "bytes": 0}


def timed(function):
    def call(*arguments):
        began = time.thread_time()
        try:
            return function(*arguments)
        finally:
            counts["cpu_s"] += time.thread_time() - began
    return call


def counted(pack):
    def call(shown):
        packed = pack(shown)
        counts["shown_bytes"] += len(packed)
        return packed
    return call


def carried(function):
    def call(self, frames):
        counts["bytes"] += sum(map(len, frames))
        return function(self, frames)
    return call


showing.pack_shown = timed(counted(showing.pack_shown))
showing.values_of = timed(showing.values_of)
showing._are_small = timed(showing._are_small)
link.DealerLink.send = carried(link.DealerLink.send)
link.DealerLink._deliver = carried(link.DealerLink._deliver)
atexit.register(lambda: open(sys.argv[1], "w").write(json.dumps(counts)))
main.main()
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="zcc-bench-") as directory:
        project = Path(directory) / "project"
        project.mkdir()
        farm = LocalFarm(directory)
        try:
            farm.start(nodes=1, slots=2)
            farm.environment["ZCC_CACHE"] = "off"
            warm_up(project, farm)
            rounds = [one_round(project, farm, Path(directory) / "counts") for _ in range(ROUNDS)]
        finally:
            farm.stop()
    print(f"{FILES} C++ files, {ROUNDS} rounds, the first build of an agent: median")
    for name, unit in (("client_ms", "ms"), ("showing_ms", "ms"), ("kb", "KB"), ("shown_kb", "KB")):
        print(f"{name:12} {statistics.median(each[name] for each in rounds):9.1f} {unit}")
    for part, whole in (("showing_ms", "client_ms"), ("shown_kb", "kb")):
        share = statistics.median(each[part] / each[whole] for each in rounds)
        print(f"{part} of {whole}: {share:.2%}")


def one_round(project: Path, farm: LocalFarm, counts: Path) -> dict[str, float]:
    """An agent's first build of what the farm has compiled before."""
    write(project, 0)
    empty_s = build(project, farm, "true")
    control.ask(farm.environment["ZCC_SOCKET"], {"op": "stop"})
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(counts)], env=farm.environment, cwd="/"
    ) as agent:
        while control.ask(farm.environment["ZCC_SOCKET"], {"op": "nodes"}) is None:
            time.sleep(0.05)
        before_s = cpu_s(agent.pid)
        launchers_s = build(project, farm, "zcc g++") - empty_s
        spent_s = cpu_s(agent.pid) - before_s
        control.ask(farm.environment["ZCC_SOCKET"], {"op": "stop"})
    told = json.loads(counts.read_text())
    return {
        "client_ms": 1e3 * (launchers_s + spent_s),
        "showing_ms": 1e3 * told["cpu_s"],
        "kb": told["bytes"] / 1e3,
        "shown_kb": told["shown_bytes"] / 1e3,
    }


if __name__ == "__main__":
    main()
