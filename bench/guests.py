"""What do jobs take from the owner of a machine, by the way in which they give way?

The owner computes on all processors, beside twice as many jobs that never pause, each in a session of its own
as in a sandbox. Printed is what the owner gets of what he gets alone in the same round, the median and the
spread of all rounds, and how late he wakes up; then what it costs a job to be started so.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from node.sandbox.priority import LOWEST, lower, lower_session

ROUNDS = 5
BUSY_S = 2.0
WAKE_S = 0.002
WAKES = 400
STARTS = 2000
PROCESSORS = len(os.sched_getaffinity(0))
BURN = "while True: pass"
COUNT = (
    "import time, sys\nend = time.monotonic() + float(sys.argv[1])\n"
    "while time.monotonic() < end: pass\nprint(time.process_time())"
)


def nothing(_: int) -> None:
    pass


def nice_alone(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, LOWEST)


def idle_alone(pid: int) -> None:
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def session_too(act: Callable[[int], None]) -> Callable[[int], None]:
    def both(pid: int) -> None:
        act(pid)
        while not lower_session(pid, LOWEST):
            time.sleep(0.05)

    return both


def as_jobs(pid: int) -> None:
    lower(pid, LOWEST)


WAYS: dict[str, Callable[[int], None]] = {
    "as any process": nothing,
    "nice 19": nice_alone,
    "idle": idle_alone,
    "batch, nice 19, session (jobs)": session_too(as_jobs),
    "idle, session": session_too(idle_alone),
}


def owner() -> tuple[float, float]:
    """Processors that the owner gets, and the 99th percentile of his delays in ms."""
    command = [sys.executable, "-c", COUNT, str(BUSY_S)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(PROCESSORS)]
    seconds = sum(float(worker.communicate()[0]) for worker in workers)
    late = []
    for _ in range(WAKES):
        before = time.perf_counter()
        time.sleep(WAKE_S)
        late.append(time.perf_counter() - before - WAKE_S)
    return seconds / BUSY_S, 1000 * sorted(late)[int(0.99 * WAKES)]


def beside(act: Callable[[int], None]) -> tuple[float, float]:
    command = [sys.executable, "-c", BURN]
    jobs = [subprocess.Popen(command, start_new_session=True) for _ in range(2 * PROCESSORS)]
    try:
        for job in jobs:
            act(job.pid)
        return owner()
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def main() -> None:
    grouped = Path("/proc/self/autogroup")
    groups = "by sessions" if grouped.exists() and grouped.read_text().strip() else "by nothing"
    print(f"{PROCESSORS} processors, processes are grouped {groups}")
    shares: dict[str, list[float]] = {name: [] for name in WAYS}
    delays: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        alone, _ = owner()
        for name, act in WAYS.items():
            share, delay_ms = beside(act)
            shares[name].append(share / alone)
            delays[name].append(delay_ms)
    for name, found in shares.items():
        median, late = statistics.median(found), statistics.median(delays[name])
        spread = f"{min(found):.2f} to {max(found):.2f}"
        print(f"{name:32} the owner gets {median:.2f} ({spread}), wakes {late:.1f} ms late (p99)")
    sleeper = subprocess.Popen(["sleep", "600"])
    begun = time.perf_counter()
    for _ in range(STARTS):
        lower(sleeper.pid, LOWEST)
    print(f"a job's start: {1e6 * (time.perf_counter() - begun) / STARTS:.1f} us more")
    sleeper.kill()
    sleeper.wait()


if __name__ == "__main__":
    main()
