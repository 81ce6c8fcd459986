"""Question: what does a page of metrics cost the broker's loop, by the number of nodes, and what does the
counting cost that a page is made of?

    python bench/metrics.py [--nodes N,N,...] [--slots N] [--rounds R] [--jobs N]

`page` makes pages of the real core in this process, each node with half of its slots in use: the whole page's
time, and the longest step of it, which is what the loop stands still. `again` is a second reader's page within
the second. `counting` is the core with jobs that come, go to a node, start and end (bench/watching.py), counted
and not in turns, by process CPU.

Bounds: 20 ms for 1,000 nodes, 5 ms a step, 1% of a core at 500 jobs a second.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from bench.watching import SLICE_JOBS, Core
from broker.core import events
from broker.core.events import Origin
from broker.core.jobs import Lease
from broker.core.machine import Machine
from broker.metrics.page import Page
from broker.metrics.tally import FarmTally
from cache.digest import digest_of
from zcc.messages import Hello, PeerRole

PAGE_BOUND_S, STEP_BOUND_S, COUNTING_BOUND = 0.020, 0.005, 0.01
RATE = 500.0


def farm_of(nodes: int, slots: int) -> Machine:
    machine = Machine("farm", random.Random(1), 100.0)
    for at in range(nodes):
        origin = Origin(b"n%d" % at, f"node{at}", PeerRole.NODE)
        session = b"n%015d" % at
        hello = Hello(session, "node", "", f"n{at}", "0", slots, (), ())
        machine.handle(events.MessageArrived(origin, hello), 100.0)
        node = machine.farm.nodes.get(session)
        assert node is not None
        for number in range(slots // 2):
            lease_id = b"%08d%08d" % (at, number)
            key = digest_of(lease_id)
            lease = Lease(lease_id, key, session, "k", "u", 100.0, 200.0, frozenset(), 1.0)
            lease.began_at = 100.0 if number % 2 else None
            node.take(lease, 100.0)
    return machine


def page(nodes: int, slots: int, rounds: int) -> None:
    machine, tally = farm_of(nodes, slots), FarmTally()
    clock = [0.0]
    made = Page(machine.farm, tally, list, lambda: clock[0])
    wholes, longest, agains = [], [], []
    for _ in range(rounds):
        clock[0] += 10.0
        steps = []
        text = None
        while text is None:
            begun = time.perf_counter()
            text = made.text(is_open=False)
            steps.append(time.perf_counter() - begun)
        wholes.append(sum(steps))
        longest.append(max(steps))
        begun = time.perf_counter()
        made.text(is_open=False)
        agains.append(time.perf_counter() - begun)
    whole_s, step_s = statistics.median(wholes), statistics.median(longest)
    print(
        f"page    {nodes:6d} nodes of {slots} slots: {whole_s * 1e3:7.2f} ms"
        f" ({whole_s / PAGE_BOUND_S * 1000 / nodes:.2f} of the bound), longest step"
        f" {step_s * 1e3:.2f} ms ({step_s / STEP_BOUND_S:.2f}), worst {max(longest) * 1e3:.2f} ms;"
        f" again {statistics.median(agains) * 1e6:.1f} us"
    )


def counting(rounds: int, jobs: int) -> None:
    plain, counted = Core(RATE, 0), Core(RATE, 0)
    counted.machine.farm.tally = FarmTally()
    differences, plains = [], []
    for each in (plain, counted):
        each.cost_us(SLICE_JOBS)
    for _ in range(max(1, rounds * jobs // SLICE_JOBS)):
        plains.append(plain.cost_us(SLICE_JOBS))
        differences.append(counted.cost_us(SLICE_JOBS) - plains[-1])
    job_us, more_us = statistics.median(plains), statistics.median(differences)
    low, _, high = statistics.quantiles(differences, n=4)
    print(
        f"counting {more_us:+.2f} us (quartiles {low:+.1f}, {high:+.1f}) on {job_us:.1f} us a job:"
        f" {more_us / job_us:+.2%}, {more_us * RATE / 1e6 / COUNTING_BOUND:.2f} of the bound"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="100,1000,10000")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2_000)
    options = parser.parse_args()
    for count in map(int, options.nodes.split(",")):
        page(count, options.slots, 10 * options.rounds)
    counting(options.rounds, options.jobs)


if __name__ == "__main__":
    main()
