"""Where there is room: nodes with idle slots, fastest first, and nodes that may be given a job ahead. Pure.

An index that changes when a node does, so that finding a place costs the same on a farm of four nodes and
of ten thousand. Nodes are kept by group, which is what a job can ask for: a machine class, and for a
publisher's own nodes the publisher. Heaps hold entries of the past, which are dropped when they come up.

The rate of a node is the wall time that it takes for one second of cost; the natural logarithm of it
without the farm's mean orders nodes as well and does not change with other nodes' speeds.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import islice

from broker.core.jobs import Execution
from broker.core.limits import CROWDING, FAST_SHARE, FASTEST_FOR_S, MAX_PLACES
from broker.core.nodes import Node
from broker.scheduling.model import Model
from broker.scheduling.queue import Lane
from broker.scheduling.stands import Stands
from broker.trust.denials import Denials
from cache.digest import Digest

Group = tuple[str, bytes]
# The farm's own nodes, for jobs of no machine class.
_ANY: Group = ("", b"")
# Nodes that are looked at beyond those wanted, where some do not take the job: they are aside for its key.
SEATS_TRIED = 8
# Beyond any logarithm of a rate, and any wait.
_AWAITING = 1e6
_Entry = tuple[float, int, int, Node]


@dataclass(slots=True)
class _Booked:
    """What a node counts for in its groups. The toolchains that are `afar` are on their way to it."""

    slots: int = 0
    idle: int = 0
    spare: int = 0
    power: float = 0.0  # seconds of cost in a second, without the farm's mean speed
    afar: tuple[Digest, ...] = ()
    version: int = 0
    number: int = 0
    groups: tuple[Group, ...] = ()


@dataclass(slots=True)
class _Afar:
    """Sums over the nodes of a group to which a toolchain is on its way, and not near."""

    nodes: int = 0
    slots: int = 0
    idle: int = 0
    power: float = 0.0


@dataclass(slots=True)
class _Room:
    """One group's nodes: sums over them, and who has room."""

    slots: int = 0
    idle: int = 0
    spare: int = 0
    power: float = 0.0
    afar: dict[Digest, _Afar] = field(default_factory=dict)
    idle_nodes: list[_Entry] = field(default_factory=list)
    ahead_nodes: list[_Entry] = field(default_factory=list)
    # Natural logarithms: the least rate, and that up to which a node counts as fast; good until then.
    fastest: float = 0.0
    fast: float = 0.0
    ranked_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Seat:
    """A place for one job. `wait_jobs`: so many jobs' times pass before it is free (0: it is idle)."""

    node: Node
    rate: float
    wait_jobs: float


class Seats:
    def __init__(self, model: Model, denials: Denials) -> None:
        self._model = model
        self._denials = denials
        # The farm's own nodes for any job: there from the start, since `is_full` asks the rooms that there are.
        self._rooms: dict[Group, _Room] = {_ANY: _Room()}
        self._booked: dict[bytes, tuple[Node, _Booked]] = {}
        # The rooms for a user and machine class; void once a group comes or goes.
        self._rooms_of: dict[Group, list[_Room]] = {}
        # How many nodes are in a group: a room is made for a group that has some.
        self._members: Counter[Group] = Counter()
        self._number = 0
        self._changed: dict[bytes, Node] = {}
        # Not usable when they came up: looked at again at the next tick.
        self._aside: dict[bytes, Node] = {}
        # Who has a toolchain, looked at last comes last; and whose toolchain is on its way, and not near.
        self._holders: dict[Digest, OrderedDict[bytes, Node]] = {}
        self.awaiting: dict[bytes, Node] = {}
        self.stands = Stands()

    def touch(self, node: Node) -> None:
        """This node has come, or is not as it was: its leases, slots, speed, whether it takes jobs."""
        self._changed[node.session.id] = node

    def drop(self, node: Node) -> None:
        """The node has left."""
        known = self._booked.pop(node.session.id, None)
        self._aside.pop(node.session.id, None)
        self._changed.pop(node.session.id, None)
        self.awaiting.pop(node.session.id, None)
        for toolchain in node.toolchains:
            self.lacks_toolchain(node, toolchain)
        self.stands.gone(node)
        if known is not None:
            self._count(known[1], -1)
            self._leave(known[1].groups)

    def has_toolchain(self, node: Node, toolchain: Digest) -> None:
        """A job runs on it there, or did before."""
        self._holders.setdefault(toolchain, OrderedDict())[node.session.id] = node

    def lacks_toolchain(self, node: Node, toolchain: Digest) -> None:
        holders = self._holders.get(toolchain)
        if holders is not None:
            holders.pop(node.session.id, None)
            if not holders:
                del self._holders[toolchain]

    def holders_of(self, toolchain: Digest) -> list[Node]:
        """Some of the nodes that have it; others the next time."""
        holders = self._holders.get(toolchain)
        if holders is None:
            return []
        found = list(islice(holders.values(), SEATS_TRIED))
        for node in found:
            holders.move_to_end(node.session.id)
        return found

    def holders_for(self, job: Execution, lane: Lane, now: float) -> list[Node]:
        """Of those the ones that this job may go to, now or when a slot is idle."""
        return [
            node
            for node in self.holders_of(job.toolchain)
            if node.is_usable(now)
            and self.takes_now(node, lane.user, lane.machine_class, now)
            and node.width
            and not job.avoids(node.identity)
            and job.toolchain not in node.unfit
            and job.least_bytes <= node.most_bytes
        ]

    def nearest_s(self, toolchain: Digest, size_bytes: int, now: float) -> float:
        """When the first node has it, of some to which it is on its way; 0 where one has it, or none asks."""
        if toolchain in self._holders:
            return 0.0
        nodes = islice(self.awaiting.values(), SEATS_TRIED)
        coming = (each.supplies for each in nodes if toolchain in each.supplies)
        return min((each.arrival_s(toolchain, size_bytes, now) for each in coming), default=0.0)

    def look_again(self) -> None:
        """Time has passed: a quarantine may be over, a toolchain near."""
        self._changed.update(self._aside)
        self._changed.update(self.awaiting)
        self._aside.clear()

    def refresh(self, now: float) -> None:
        """Take in what has changed; to be called before anything is asked."""
        if self._changed:
            changed, self._changed = self._changed, {}
            for node in changed.values():
                self._note(node, now)

    def slots(
        self, user: str, machine_class: bytes, toolchain: Digest | None = None
    ) -> tuple[int, int]:
        """All slots that such a job may have, and the idle ones of them. Where some node has its toolchain,
        those to which that is still on its way do not count."""
        slots = idle = 0
        for room in self._rooms_for(user, machine_class):
            slots += room.slots
            idle += room.idle
            if room.afar and (afar := self._afar(room, toolchain)) is not None:
                slots -= afar.slots
                idle -= afar.idle
        return slots, idle

    def capacity(self, user: str, machine_class: bytes, toolchain: Digest | None = None) -> float:
        """Seconds of cost that the nodes for such a job do in a second, all slots together; the same of them do
        not count."""
        power = 0.0
        for room in self._rooms_for(user, machine_class):
            power += room.power
            if room.afar and (afar := self._afar(room, toolchain)) is not None:
                power -= afar.power
        return power / self._model.mean_rate

    def _afar(self, room: _Room, toolchain: Digest | None) -> _Afar | None:
        return room.afar.get(toolchain) if toolchain in self._holders else None

    def fastest_rate(self, user: str, machine_class: bytes, now: float) -> float:
        """The rate of the fastest node that such a job may go to, as of late."""
        rooms = self._ranked(user, machine_class, now)
        ln_rate = min((room.fastest for room in rooms), default=0.0)
        return math.exp(ln_rate) * self._model.mean_rate

    def is_fast(self, seat: Seat, user: str, machine_class: bytes, now: float) -> bool:
        """Whether the seat's node is one of the fastest FAST_SHARE, or about as fast."""
        rooms = self._ranked(user, machine_class, now)
        ln_rate = max((room.fast for room in rooms), default=0.0)
        return self._model.ln_rate(seat.node.identity) <= ln_rate + CROWDING

    def is_full(self) -> bool:
        """Whether no node whatever may be given a job."""
        # Not all(...): a generator costs more than the look at two rooms, eight times a job.
        for room in self._rooms.values():  # noqa: SIM110
            if room.spare > 0:
                return False
        return True

    def has_idle(self) -> bool:
        """Whether any node has an idle slot."""
        return any(room.idle > 0 for room in self._rooms.values())

    def best(
        self, user: str, machine_class: bytes, now: float, *, is_ahead: bool, most: int = 1
    ) -> list[Seat]:
        """The fastest idle seats, best first; with `is_ahead` those that will soonest be idle."""
        found: list[tuple[_Entry, Seat]] = []
        for room in self._rooms_for(user, machine_class):
            heap = room.ahead_nodes if is_ahead else room.idle_nodes
            kept: list[_Entry] = []
            taken = 0
            while heap and taken < most:
                entry = heappop(heap)
                if not self._is_current(entry):
                    continue
                node = entry[3]
                if not node.is_usable(now):
                    self._aside[node.session.id] = node
                    continue
                kept.append(entry)
                # Whoever takes none of this key's jobs now is to hide nobody behind it.
                if self.takes_now(node, user, machine_class, now):
                    found.append((entry, self._seat(node, is_ahead)))
                    taken += 1
            for entry in kept:
                heappush(heap, entry)
        found.sort(key=lambda each: each[0][:2])
        return [seat for _, seat in found[:most]]

    def takes_now(self, node: Node, user: str, machine_class: bytes, now: float) -> bool:
        """Whether this node, if it is usable, may be given one more such job of this user's at this moment."""
        return node.takes_now(user, machine_class, now) and self._denials.allows(
            node.session.user, user, now
        )

    def seat_of(self, node: Node) -> Seat | None:
        """An idle slot of this very node; None: it has left."""
        known = self._booked.get(node.session.id)
        return self._seat(node, is_ahead=False) if known is not None and known[0] is node else None

    def _seat(self, node: Node, is_ahead: bool) -> Seat:
        rate = math.exp(self._model.ln_rate(node.identity)) * self._model.mean_rate
        wait_jobs = (node.held - node.width + 1) / node.width if is_ahead else 0.0
        return Seat(node, rate, wait_jobs)

    def _note(self, node: Node, now: float) -> None:
        known = self._booked.get(node.session.id)
        booked = known[1] if known is not None else self._book(node)
        self._count(booked, -1)
        groups = _groups_of(node)
        if groups != booked.groups:
            self._members.update(groups)
            self._rooms_of.clear()
            self._leave(booked.groups)
            booked.groups = groups
        self._fill(node, booked, now)
        self._count(booked, +1)
        booked.version += 1
        ln_rate = self._model.ln_rate(node.identity)
        self.stands.note(node, ln_rate, now)
        if booked.slots:
            for group in booked.groups:
                room = self._rooms.get(group)
                if room is not None:
                    self._enter(room, node, booked, ln_rate)

    def _book(self, node: Node) -> _Booked:
        self._number += 1
        booked = _Booked(number=self._number)
        self._booked[node.session.id] = (node, booked)
        return booked

    def _leave(self, groups: tuple[Group, ...]) -> None:
        """A node is in these no more; nothing is kept of a group without nodes."""
        self._members.subtract(groups)
        self._rooms_of.clear()
        for group in groups:
            if self._members[group] <= 0:
                del self._members[group]
                if group != _ANY:
                    self._rooms.pop(group, None)

    def _fill(self, node: Node, booked: _Booked, now: float) -> None:
        booked.afar = node.supplies.afar(now)
        if booked.afar:
            self.awaiting[node.session.id] = node
        else:
            self.awaiting.pop(node.session.id, None)
        if not node.is_usable(now):
            booked.slots = booked.idle = booked.spare = 0
            booked.power = 0.0
            self._aside[node.session.id] = node
            return
        booked.slots = node.width
        booked.idle = 0 if node.is_short_of_memory else node.idle_slots
        booked.spare = 0 if node.is_short_of_memory else node.spare
        booked.power = node.width * math.exp(-self._model.ln_rate(node.identity))

    def _count(self, booked: _Booked, sign: int) -> None:
        for group in booked.groups:
            room = self._rooms.get(group)
            if room is not None:
                _add(room, booked, sign)

    def _enter(self, room: _Room, node: Node, booked: _Booked, ln_rate: float) -> None:
        share = node.held / node.width
        if not booked.spare:
            return
        if booked.idle:
            key, heap = ln_rate + CROWDING * share, room.idle_nodes
        else:
            # The sooner one of its slots is free, the better.
            wait = (node.held - node.width + 1) / node.width
            key, heap = math.exp(ln_rate) * wait, room.ahead_nodes
        # It hides no node that needs to wait for nothing.
        key += _AWAITING * bool(booked.afar)
        heappush(heap, (key, booked.number, booked.version, node))
        if len(heap) > 2 * len(self._booked) + 64:
            heap[:] = [entry for entry in heap if self._is_current(entry)]
            heapify(heap)

    def _is_current(self, entry: _Entry) -> bool:
        known = self._booked.get(entry[3].session.id)
        return known is not None and known[0] is entry[3] and known[1].version == entry[2]

    def _ranked(self, user: str, machine_class: bytes, now: float) -> list[_Room]:
        """The rooms for such a job, with rates that are not older than FASTEST_FOR_S."""
        groups = self._groups_for(user, machine_class)
        for group in groups:
            room = self._room(group)
            if now >= room.ranked_until:
                room.ranked_until = now + FASTEST_FOR_S
                rates = sorted(
                    self._model.ln_rate(node.identity)
                    for node, booked in self._booked.values()
                    if booked.slots and group in booked.groups
                )
                room.fastest = rates[0] if rates else 0.0
                room.fast = rates[int(FAST_SHARE * (len(rates) - 1))] if rates else 0.0
        return [self._room(group) for group in groups]

    def _groups_for(self, user: str, machine_class: bytes) -> list[Group]:
        return [
            each for each in (("", machine_class), (user, machine_class)) if each in self._members
        ]

    def _rooms_for(self, user: str, machine_class: bytes) -> list[_Room]:
        place = user, machine_class
        rooms = self._rooms_of.get(place)
        if rooms is None:
            if len(self._rooms_of) >= MAX_PLACES:
                self._rooms_of.clear()
            rooms = [self._room(group) for group in self._groups_for(user, machine_class)]
            self._rooms_of[place] = rooms
        return rooms

    def _room(self, group: Group) -> _Room:
        """A group's room; made when it is first asked for."""
        room = self._rooms.get(group)
        if room is None:
            room = self._rooms[group] = _Room()
            for node, booked in self._booked.values():
                if group not in booked.groups:
                    continue
                _add(room, booked, +1)
                if booked.slots:
                    self._enter(room, node, booked, self._model.ln_rate(node.identity))
        return room


def _add(room: _Room, booked: _Booked, sign: int) -> None:
    room.slots += sign * booked.slots
    room.idle += sign * booked.idle
    room.spare += sign * booked.spare
    room.power += sign * booked.power
    for toolchain in booked.afar:
        afar = room.afar.setdefault(toolchain, _Afar())
        afar.nodes += sign
        afar.slots += sign * booked.slots
        afar.idle += sign * booked.idle
        afar.power += sign * booked.power
        if not afar.nodes:
            del room.afar[toolchain]


def _groups_of(node: Node) -> tuple[Group, ...]:
    owner = node.session.user if node.session.is_own else ""
    return tuple((owner, each) for each in sorted({b"", *node.machine_classes}))
