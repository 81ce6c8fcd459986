"""Other rules for where a job goes, in the place of the broker's own: for bench/policies.py and its test.

Each takes the place of `Chooser` in the machine that runs in production, so that all else is equal: what is
learnt of speeds and costs, uploads in advance, jobs that wait at a node for a slot, the turns of users. What is
left out is the taking back of jobs that have not begun, which none of the originals has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from broker.core.jobs import Execution
from broker.core.machine import Machine
from broker.core.nodes import Node
from broker.scheduling.pace import Horizon
from broker.scheduling.placement import Choice, Chooser, takes_s
from broker.scheduling.queue import Line
from broker.scheduling.seats import Seat
from cache.digest import Digest


class Baseline:
    """Chooses among all nodes with room, by a rule; jobs in the order of their arrival."""

    def __init__(self, machine: Machine) -> None:
        self._farm = machine.farm
        # Nodes that `Chooser` would try again: it is filled, and none of these rules does.
        self.to_try: dict[bytes, Node] = {}

    def choose(self, line: Line, horizon: Horizon, now: float) -> Choice | None:
        """As `Chooser.choose`."""
        key = self._job(line)
        job = self._farm.executions[key]
        nodes = [
            node
            for node in self._farm.nodes
            if node.is_usable(now)
            and node.takes(line.lane.user, line.lane.machine_class, now)
            and node.spare
            and node.identity not in job.avoid
        ]
        # None of them gives a node a job ahead while another one has an idle slot.
        nodes = [node for node in nodes if node.idle_slots] or nodes
        if not nodes:
            return None
        node = self._node(nodes, job, line, now)
        seat = self._seat(node)
        return Choice(
            key, seat, self._end(seat, job, line, now), type(self).__name__, self._mean_s(line)
        )

    def _job(self, line: Line) -> Digest:
        return line.returned() or line.oldest()

    def _node(self, nodes: list[Node], job: Execution, line: Line, now: float) -> Node:
        raise NotImplementedError

    def _seat(self, node: Node) -> Seat:
        rate = self._farm.model.wall_s(1.0, node.identity)
        return Seat(node, rate, max(0, node.held - node.slots + 1) / node.slots)

    def _end(self, seat: Seat, job: Execution, line: Line, now: float) -> float:
        return now + seat.wait_jobs * self._mean_s(line) * seat.rate + takes_s(job, seat, now)

    def _mean_s(self, line: Line) -> float:
        return line.waiting_s / len(line)


class Fastest(Baseline):
    """icecream's FASTEST (scheduler/compileserver.cpp, 1.4): the measured speed, less up to half of it the
    fuller the node is. Speeds are the machine's own here, and not object bytes over time."""

    def _node(self, nodes: list[Node], job: Execution, line: Line, now: float) -> Node:
        model = self._farm.model

        def score(node: Node) -> float:
            return (1.0 - 0.5 * node.held / node.most_leases) / model.wall_s(1.0, node.identity)

        return max(nodes, key=score)


class RoundRobin(Baseline):
    """The next node after the one before, as icecream's ROUND_ROBIN and distcc's list of hosts."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._turn: Iterator[int] = itertools.count()

    def _node(self, nodes: list[Node], job: Execution, line: Line, now: float) -> Node:
        order = [node.identity for node in self._farm.nodes]
        first = next(self._turn)
        return min(nodes, key=lambda node: (order.index(node.identity) - first) % len(order))


class LeastBusy(Baseline):
    """The node that holds the fewest jobs for its slots."""

    def _node(self, nodes: list[Node], job: Execution, line: Line, now: float) -> Node:
        return min(nodes, key=lambda node: node.held / node.slots)


class LongestFirst(Baseline):
    """The longest job that waits, to the node where it ends first (Graham's list, for any speeds)."""

    def _job(self, line: Line) -> Digest:
        return line.returned() or line.longest()

    def _node(self, nodes: list[Node], job: Execution, line: Line, now: float) -> Node:
        return min(nodes, key=lambda node: self._end(self._seat(node), job, line, now))


POLICIES: dict[str, Callable[[Machine], Baseline] | None] = {
    "production": None,
    "fastest": Fastest,
    "round robin": RoundRobin,
    "least busy": LeastBusy,
    "longest first": LongestFirst,
}


def follow(machine: Machine, policy: str) -> None:
    """Have this machine choose by that policy from now on."""
    made = POLICIES[policy]
    if made is None:
        return
    dispatcher = machine._dispatcher
    assert isinstance(dispatcher._chooser, Chooser)
    dispatcher._chooser = made(machine)  # type: ignore[assignment]
    dispatcher.recall = lambda now: None  # type: ignore[method-assign]
