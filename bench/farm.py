"""How near to its bound does a whole farm build, beside icecream and distcc, when compiles only sleep?

    python bench/farm.py [--rows NAME,...] [--peers zcc,icecc,distcc] [--nodes K] [--slots M] [-j N]

A compile is real to the last program but one: a copy of gcc whose cc1 sleeps for as long as the source says
(bench/sleepers/compiler.py). So K nodes of M slots fit on a small machine, and what is left over the sleeping
is the farm's own: wrappers, transport, scheduling. Each node, client and broker is a network namespace.
Each source has 10 KB and a header of 290 KB, each object 100 KB; no result is remembered. A row is a set
of jobs; each peer has a new farm for it, and builds twice with `make -jN`:

    empty    jobs of no time at all: what the farm itself can do      far5, far50   the users' line has 5 or
    100ms, 500ms, 2s   jobs of one length                                           50 ms of latency one way
    mixed    log-normal, median 0.35 s, sigma 0.9                     thin          5 ms and 100 Mbit/s
    speeds   nodes of speed 1, 0.7, 0.5, 0.3                          slowed        a node falls to 0.15
    users    two users, half the jobs and half of N each              killed        a node is killed

`first` is the first build (the toolchain travels), `second` another one whose sources have all been changed;
both are wall time over the bound max(work / speed of all slots used, longest job / fastest node). In `slowed`
and `killed` it happens at a third of the second build, and the bound knows of it. `slowed` is also
compared with a build on the other nodes alone. CPU is in ms a job of the second build: `client` is launchers or
wrappers and the local daemon (not make), `broker` the scheduler, `node` all nodes together, cc1 included
(where the kernel counts in ticks, programs that end within one are missed: most of what icecc's nodes do).

Needs root and iproute2; icecc and distcc where installed. A machine that is busy, or has fewer processors than
`empty` keeps at work, shows that in the first four rows: compare rows of one run only. icecc has no `far`
rows, as its clients dial every node. distcc runs without its local fallback: what it loses is said.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # not installed: the tests' machines

from bench.sleepers.compiler import Project, make_compiler  # noqa: E402
from bench.sleepers.farms import FARMS, PeerFarm, Shape, started, why_not  # noqa: E402
from tests.support import machines  # noqa: E402

SLOWED_TO = 0.15
EVENT_AT = 1 / 3  # of the bound of a build without it
LONGEST_S = 600.0


def log_normal(count: int) -> list[float]:
    rng = random.Random(1)
    return [min(6.0, 0.35 * math.exp(rng.gauss(0.0, 0.9))) for _ in range(count)]


@dataclass(frozen=True)
class Row:
    """`jobs` are as many for each slot; `event` befalls the last node in the second build."""

    name: str
    jobs: float
    sleeps_s: Callable[[int], list[float]]
    speeds: tuple[float, ...] = ()
    users: int = 1
    latency_ms: float = 0.0
    mbit: float = 0.0
    event: str = ""


def equal(seconds: float) -> Callable[[int], list[float]]:
    return lambda count: [seconds] * count


ROWS = (
    Row("empty", 16, equal(0.0)),
    Row("100ms", 16, equal(0.1)),
    Row("500ms", 8, equal(0.5)),
    Row("2s", 3, equal(2.0)),
    Row("mixed", 10, log_normal),
    Row("speeds", 8, equal(0.5), speeds=(1.0, 0.7, 0.5, 0.3)),
    Row("slowed", 8, equal(0.5), event="slowed"),
    Row("killed", 8, equal(0.5), event="killed"),
    Row("users", 8, equal(0.5), users=2),
    Row("far5", 8, equal(0.5), latency_ms=5.0),
    Row("far50", 8, equal(0.5), latency_ms=50.0),
    Row("thin", 8, equal(0.5), latency_ms=5.0, mbit=100.0),
)


@dataclass(frozen=True)
class Build:
    """One build as it went; seconds. `ends_s` has the end of each user's."""

    ends_s: tuple[float, ...]
    client_s: float
    broker_s: float
    node_s: float
    missing: int

    @property
    def took_s(self) -> float:
        return max(self.ends_s)


def bound_s(sleeps_s: list[float], shape: Shape, jobs: int, event: str = "") -> float:
    """The least time in which this farm can do it, with so many jobs at a time: list scheduling's bound, where
    the work that is done before the event is taken off."""
    slots: list[float] = [
        speed for speed in sorted(shape.speeds, reverse=True) for _ in range(shape.slots)
    ]
    power = sum(slots[:jobs])
    work = math.fsum(sleeps_s)
    if event:
        at_s = EVENT_AT * work / power
        left = SLOWED_TO if event == "slowed" else 0.0
        speeds = (*shape.speeds[:-1], shape.speeds[-1] * left)
        after = sum(
            sorted((each for each in speeds for _ in range(shape.slots)), reverse=True)[:jobs]
        )
        return at_s + (work - at_s * power) / after
    return max(work / power, max(sleeps_s) / max(shape.speeds))


class Bench:
    """One farm that builds one row's projects."""

    def __init__(self, farm: PeerFarm, projects: list[Project], jobs: int) -> None:
        self._farm, self._projects = farm, projects
        self._jobs = max(1, jobs // len(projects))
        self._make_s = sum(self._run_make(at, "true")[1] for at in range(len(projects)))

    def build(self, event: Callable[[], None] | None = None, after_s: float = 0.0) -> Build:
        """All users begin at once."""
        for project in self._projects:
            project.edit()
        self._farm.meter.take(self._farm.pids())
        before = self._farm.meter.spent_s()
        outcomes: dict[int, tuple[float, float]] = {}

        def run(user: int) -> None:
            outcomes[user] = self._run_make(user, self._farm.cc())

        threads = [
            threading.Thread(target=run, args=(user,)) for user in range(len(self._projects))
        ]
        timer = threading.Timer(after_s, event) if event is not None else None
        for each in (*threads, *([timer] if timer else [])):
            each.start()
        for thread in threads:
            thread.join()
        if timer is not None:
            timer.cancel()
            timer.join()
        after = self._farm.meter.spent_s()
        client, broker, node = (max(0.0, after[name] - before[name]) for name in after)
        launchers_s = sum(spent_s for _, spent_s in outcomes.values()) - self._make_s
        missing = sum(len(project.missing()) for project in self._projects)
        ends_s = tuple(outcomes[user][0] for user in sorted(outcomes))
        return Build(ends_s, max(0.0, launchers_s) + client, broker, node, missing)

    def _run_make(self, user: int, cc: str) -> tuple[float, float]:
        """Wall and CPU seconds of make and of all that it waited for."""
        command = ["make", "-s", "-k", f"-j{self._jobs}", f"CC={cc}"]
        directory = self._projects[user].directory
        said = open(directory / "said", "wb")  # noqa: SIM115 (the process has it)
        begun = time.monotonic()
        process = subprocess.Popen(
            ["timeout", str(LONGEST_S), *self._farm.inside(user), *command],
            cwd=directory,
            env=self._farm.environment(user),
            stdout=said,
            stderr=said,
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        said.close()
        return time.monotonic() - begun, usage.ru_utime + usage.ru_stime


def measure(
    kind: type[PeerFarm], row: Row, options: argparse.Namespace, place: Path, driver: Path
) -> None:
    speeds = tuple(
        row.speeds[at % len(row.speeds)] if row.speeds else 1.0 for at in range(options.nodes)
    )
    shape = Shape(speeds, options.slots, row.users, row.latency_ms, row.mbit)
    jobs = options.j or options.nodes * options.slots
    sleeps_s = row.sleeps_s(round(row.jobs * options.nodes * options.slots))
    with started(kind, shape, place / "farm", driver) as farm:
        projects = projects_of(sleeps_s, row.users, place)
        bench = Bench(farm, projects, jobs)
        first = bench.build()
        event, at_s = None, 0.0
        if row.event:
            last = len(speeds) - 1
            slow: Callable[[], None] = lambda: farm.slow_down(last, SLOWED_TO)  # noqa: E731
            event = slow if row.event == "slowed" else (lambda: farm.kill_node(last))
            at_s = EVENT_AT * bound_s(sleeps_s, shape, jobs)
        second = bench.build(event, at_s)
    show(kind.name, row, (first, bound_s(sleeps_s, shape, jobs)),
         (second, bound_s(sleeps_s, shape, jobs, row.event)), len(sleeps_s))  # fmt: skip
    if row.event == "slowed":
        compare_without(
            kind, replace(shape, speeds=speeds[:-1]), sleeps_s, jobs, place, driver, second
        )


def compare_without(
    kind: type[PeerFarm], shape: Shape, sleeps_s: list[float], jobs: int, place: Path, driver: Path,
    slowed: Build,
) -> None:  # fmt: skip
    """The same on the farm without the node that was slowed."""
    with started(kind, shape, place / "without", driver) as farm:
        bench = Bench(farm, projects_of(sleeps_s, 1, place / "again"), jobs)
        bench.build()
        without = bench.build()
    ratio = slowed.took_s / without.took_s
    print(f"{'':8} {'':7} with the slowed node {ratio:.2f} of the time without it", flush=True)


def projects_of(sleeps_s: list[float], users: int, place: Path) -> list[Project]:
    place.mkdir(exist_ok=True)
    return [Project(place / f"user{user}", sleeps_s[user::users]) for user in range(users)]


def show(
    peer: str, row: Row, first: tuple[Build, float], second: tuple[Build, float], count: int
) -> None:
    """Over a bound of nothing only the rate says something."""
    ratios = [
        f"{build.took_s / bound:5.2f}" if bound else "    -" for build, bound in (first, second)
    ]
    build = second[0]
    spent = (1e3 * each / count for each in (build.client_s, build.broker_s, build.node_s))
    client, broker, node = (f"{each:7.1f}" for each in spent)
    lost = f"  {build.missing} objects missing" if build.missing else ""
    users = "  users end at " + ", ".join(f"{each:.1f}" for each in build.ends_s) + " s"
    print(
        f"{row.name:8} {peer:7} {ratios[0]} {ratios[1]}  {count / build.took_s:6.0f}"
        f" {client} {broker} {node}{lost}{users if len(build.ends_s) > 1 else ''}",
        flush=True,
    )


def options_given() -> argparse.Namespace:
    assert __doc__ is not None
    first, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="some of the rows, by commas; default all")
    parser.add_argument(
        "--peers", default="zcc,icecc,distcc", help="default all that are installed"
    )
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--slots", type=int, default=8, help="of each node")
    parser.add_argument("-j", type=int, default=0, help="jobs at a time; default one for each slot")
    return parser.parse_args()


def main() -> None:
    options = options_given()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the farm is to be ended, too
    reason = machines.why_not()
    if reason:
        sys.exit(f"bench/farm.py: {reason}")
    rows = [row for row in ROWS if not options.rows or row.name in options.rows.split(",")]
    unknown = set(filter(None, options.rows.split(","))) - {row.name for row in ROWS}
    if unknown:
        sys.exit(f"bench/farm.py: no row is called {', '.join(sorted(unknown))}; see --help")
    kinds = [kind for kind in FARMS if kind.name in options.peers.split(",")]
    for kind in kinds:
        if why_not(kind):
            print(f"without {kind.name}: {why_not(kind)}")
    print(
        f"{options.nodes} nodes of {options.slots} slots, -j{options.j or options.nodes * options.slots}"
    )
    print("row      peer    first second  jobs/s  client  broker    node (ms of CPU a job)")
    with tempfile.TemporaryDirectory(prefix="zcc-farm-") as directory:
        os.chmod(directory, 0o755)
        driver = make_compiler(Path(directory) / "gcc")
        for row in rows:
            for kind in kinds:
                if why_not(kind) or (row.latency_ms and not kind.has_far):
                    continue
                place = Path(directory) / f"{row.name}-{kind.name}"
                place.mkdir()
                measure(kind, row, options, place, driver)
                shutil.rmtree(place)


if __name__ == "__main__":
    main()
