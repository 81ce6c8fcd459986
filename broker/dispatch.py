"""Which jobs may upload, and which go to a node now. Pure.

**Grant first, upload after**: an agent is asked for a job's inputs only when a slot for it is free or
about to be. A job whose toolchain is still on its way is parked and holds up nobody else.
"""

from __future__ import annotations

from itertools import islice
from math import ceil

from broker.effects import FindMissing
from broker.farm import Farm
from broker.jobs import LEASED, Execution, Phase
from broker.ledger import Ledger
from broker.limits import BUSY_AFTER_S, GRANT_AHEAD, LOOK_AHEAD, STARTUP_GRACE_S
from broker.nodes import Node
from broker.placement import Choice, Need, choose_node, seat_of
from cache.digest import Digest, short
from zcc.messages import Busy


class Dispatcher:
    def __init__(self, farm: Farm, ledger: Ledger) -> None:
        self._farm = farm
        self._ledger = ledger

    def run(self, now: float) -> None:
        """Place what can be placed; does nothing when nothing has changed."""
        if not self._farm.is_dirty:
            return
        self._farm.is_dirty = False
        nodes = self._farm.nodes.usable(now)
        self._place(nodes, now)
        self._grant(nodes, now)
        self._tell_the_waiting(nodes)

    def tell_all(self) -> None:
        """The farm has shrunk: what agents were told about their start is void."""
        farm = self._farm
        for session in farm.sessions:
            farm.unanswered += [(session, at, key) for at, key in session.tickets.items()]

    def inputs_checked(self, execution: Execution, missing: frozenset[Digest], now: float) -> None:
        """The store has been searched: the job is ready, or waits for what it lacks or has not shown."""
        execution.ready_at = now
        holdings, toolchain = self._farm.holdings, execution.toolchain
        unshown = self._unshown(execution)
        if toolchain in missing or not holdings.is_toolchain(toolchain):
            self._farm.set_phase(execution, Phase.PARKED)
            self._ledger.uploads.need(execution, (toolchain,))
        elif missing or unshown:
            self._farm.set_phase(execution, Phase.FETCHING)
            self._ledger.uploads.need(execution, (*unshown, *sorted(missing)))
        else:
            self._ledger.complete(execution)

    def _unshown(self, execution: Execution) -> list[Digest]:
        if not execution.is_private:
            return []
        return self._farm.holdings.unshown(execution.lane.user, execution.inputs)

    def _grant(self, nodes: list[Node], now: float) -> None:
        """Let jobs upload, as many as slots are idle or soon will be; counted for each user, so that
        one with a slow line does not hold up the others."""
        farm = self._farm
        windows: dict[tuple[str, bytes], int] = {}
        has_granted = True
        while has_granted:
            has_granted = False
            for key in farm.queue.heads():
                execution = farm.executions[key]
                place = (execution.lane.user, execution.lane.machine_class)
                if place not in windows:
                    windows[place] = _window(nodes, *place, now)
                if farm.granted[place] >= windows[place]:
                    continue
                farm.queue.turn(key)
                farm.set_phase(execution, Phase.CHECKING)
                # What it has not shown is asked for in any case: nobody need look for that.
                unshown = set(self._unshown(execution))
                sought = [each for each in execution.inputs if each not in unshown]
                recalls = not (execution.is_new or execution.is_private)
                farm.emit(FindMissing(key, (execution.toolchain, *sought), recalls))
                has_granted = True

    def _place(self, nodes: list[Node], now: float) -> None:
        farm = self._farm
        if not farm.ready:
            return
        idle = sum(node.idle_slots for node in nodes)
        # A publisher's own idle slots are no reason for others' jobs to wait.
        own = sum(node.idle_slots for node in nodes if node.session.is_own)
        may_prefetch = len(farm.queue) + len(farm.ready) > idle - own
        room = sum(node.spare for node in nodes) if may_prefetch else idle
        if not room:
            return
        seats = [seat_of(node, now, farm.model) for node in nodes]
        waits = 0
        for key in list(islice(farm.ready.in_order(), room + LOOK_AHEAD)):
            if not room or waits > LOOK_AHEAD:
                break
            execution = farm.executions[key]
            need = _need_of(execution, now)
            choice = choose_node(need, seats, now, may_prefetch=may_prefetch)
            if choice.seat is None:
                waits += 1
                continue
            room -= 1
            farm.ready.turn(key)
            self._send_to(execution, choice.seat.node, choice, now)

    def _send_to(self, execution: Execution, node: Node, choice: Choice, now: float) -> None:
        self._ledger.assign(execution, node, choice.finish_at, now)
        self._farm.audit(
            "dispatch",
            job=short(execution.key),
            node=node.session.name,
            reason=choice.reason,
            expected_s=round(choice.finish_at - now, 3),
        )

    def _tell_the_waiting(self, nodes: list[Node]) -> None:
        """Say Busy to those whose job will not start soon, so that they may compile it locally."""
        farm = self._farm
        if not farm.unanswered:
            return
        capacity = sum(node.slots * farm.model.speed(node.identity) for node in nodes)
        for session, ticket, key in farm.unanswered:
            execution = farm.executions.get(key)
            if execution is None or execution.phase in LEASED or ticket not in session.tickets:
                continue
            ahead_s = max(0.0, farm.backlog_cost_s - execution.cost_s)
            expected_s = ahead_s / capacity if capacity else STARTUP_GRACE_S
            if expected_s > BUSY_AFTER_S and farm.sessions.get(session.id) is session:
                farm.send(session, Busy(ticket, expected_s))
        farm.unanswered = []


def _window(nodes: list[Node], user: str, machine_class: bytes, now: float) -> int:
    fitting = [node for node in nodes if node.takes(user, machine_class, now)]
    slots = sum(node.slots for node in fitting)
    return sum(node.idle_slots for node in fitting) + ceil(slots * GRANT_AHEAD)


def _need_of(execution: Execution, now: float) -> Need:
    return Need(
        toolchain=execution.toolchain,
        machine_class=execution.lane.machine_class,
        cost_s=execution.cost_s,
        avoid=frozenset(execution.avoid),
        waited_s=now - execution.ready_at,
        user=execution.lane.user,
    )
