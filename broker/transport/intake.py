"""Messages that are too large to be read at once, in the order of their turns. Pure.

Each payer has a line of its own, bounded in bytes, and the lines are served in turn by bytes (deficit round
robin). A payer may also have so many bytes a second read at once, in the loop: that is the common case, and
costs least.

A key pays for the jobs that it submits. It also pays for the results of its jobs, from a line beside, whichever
nodes send them. So a node is not at fault for what its leases make it send, and a key's results do not wait
behind another's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from broker.core.allowance import Allowance
from broker.core.events import Origin
from broker.core.limits import (
    AT_ONCE_BURST_BYTES,
    AT_ONCE_BYTES_PER_S,
    MAX_RECORDS,
    MAX_UNREAD_BYTES,
    MAX_UNREAD_BYTES_PER_KEY,
    UNREAD_TURN_BYTES,
)
from zcc.messages import Done, Submit

# What names a message on its route: an agent's ticket, or a lease.
Ticket = int | bytes


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """`size_bytes` is what it takes to wait, `cost_bytes` what it is when it is unpacked."""

    payer: str
    origin: Origin
    message: Submit | Done
    size_bytes: int
    cost_bytes: int

    @property
    def ticket(self) -> Ticket:
        return self.message.lease if isinstance(self.message, Done) else self.message.ticket


@dataclass(slots=True)
class _Line:
    """`items` by their numbers, oldest first."""

    items: OrderedDict[int, Unread] = field(default_factory=OrderedDict)
    size_bytes: int = 0
    credit_bytes: int = 0

    @property
    def turns_to_save(self) -> int:
        """How many turns its next item has to wait."""
        lacking_bytes = self.first.cost_bytes - self.credit_bytes
        return max(0, -(-lacking_bytes // UNREAD_TURN_BYTES))

    @property
    def first(self) -> Unread:
        return self.items[next(iter(self.items))]


class Intake:
    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        # The numbers of each route's items, by ticket.
        self._places: dict[bytes, dict[Ticket, dict[int, Unread]]] = {}
        self._at_once = Allowance(AT_ONCE_BURST_BYTES, AT_ONCE_BYTES_PER_S)
        self._debts: OrderedDict[str, int] = OrderedDict()  # of payers without a line
        self._size_bytes = 0
        self._put = 0  # items ever: the last one's number
        self._served = ""

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def is_waiting(self, payer: str) -> bool:
        """Whether something of this payer's has not been read: what comes later waits behind it."""
        return payer in self._lines or payer == self._served

    def holds(self, route: bytes, ticket: Ticket | None = None) -> bool:
        """Whether anything waits that came by this route, or came so under this ticket."""
        tickets = self._places.get(route, {})
        return bool(tickets) if ticket is None else ticket in tickets

    def may_read_at_once(self, payer: str, cost_bytes: int, now: float) -> bool:
        """Whether this is within the payer's share; it is spent if so."""
        if cost_bytes > self._at_once.left(payer, now):
            return False
        self._at_once.use(payer, cost_bytes, now)
        return True

    def spend(self, payer: str, cost_bytes: int, now: float) -> None:
        """What was read at once for this payer has cost more than was known: it is in debt for a while."""
        self._at_once.use(payer, cost_bytes, now)

    def make_room(self, payer: str, size_bytes: int) -> tuple[bool, list[Unread]]:
        """Whether so many bytes may wait for this payer, and what was dropped for them.

        When all have too much waiting, whoever has most loses its newest items. So nobody fills the room that
        others need.
        """
        line = self._lines.get(payer)
        held_bytes = size_bytes + (0 if line is None else line.size_bytes)
        if held_bytes > MAX_UNREAD_BYTES_PER_KEY:
            return False, []
        lost: list[Unread] = []
        while self._size_bytes + size_bytes > MAX_UNREAD_BYTES:
            most = max(self._lines, key=lambda each: self._lines[each].size_bytes, default=payer)
            if most == payer or self._lines[most].size_bytes < held_bytes:
                return False, lost
            lost.append(self._pop(most, next(reversed(self._lines[most].items))))
        return True, lost

    def put(self, item: Unread) -> None:
        """Take an item into its payer's line; there must be room for it."""
        line = self._lines.get(item.payer)
        if line is None:
            line = _Line(credit_bytes=-self._debts.pop(item.payer, 0))
            self._lines[item.payer] = line
        self._put += 1
        line.items[self._put] = item
        line.size_bytes += item.size_bytes
        tickets = self._places.setdefault(item.origin.route, {})
        tickets.setdefault(item.ticket, {})[self._put] = item
        self._size_bytes += item.size_bytes

    def take(self) -> Unread | None:
        """The next item in turn; `finished` says when it has been read."""
        self._pass_turns()
        while self._lines:
            payer, line = next(iter(self._lines.items()))
            if line.credit_bytes < line.first.cost_bytes:
                line.credit_bytes += UNREAD_TURN_BYTES
                self._lines.move_to_end(payer)
                continue
            item = self._pop(payer, next(iter(line.items)))
            line.credit_bytes -= item.cost_bytes
            self._served = payer
            return item
        return None

    def finished(self) -> None:
        """What was taken last has been read."""
        self._served = ""

    def charge(self, payer: str, cost_bytes: int) -> None:
        """What was read for this payer beyond the costs that were known: it waits so many turns longer."""
        line = self._lines.get(payer)
        if line is not None:
            line.credit_bytes -= cost_bytes
        elif cost_bytes:
            self._debts[payer] = self._debts.pop(payer, 0) + cost_bytes
            if len(self._debts) > MAX_RECORDS:
                self._debts.popitem(last=False)

    def drop(self, origin: Origin, ticket: Ticket | None = None) -> bool:
        """Forget what this key sent by this route, or under this ticket by it: nobody waits for that. Whether
        there was any. What else waits is not looked at: a key may say this of each of 100,000."""
        tickets = self._places.get(origin.route, {})
        chosen = list(tickets.values()) if ticket is None else [tickets.get(ticket, {})]
        void = [
            (number, item)
            for items in chosen
            for number, item in items.items()
            if item.origin.user == origin.user
        ]
        for number, item in void:
            self._pop(item.payer, number)
        return bool(void)

    def drop_route(self, route: bytes) -> None:
        """Forget all that came by this route: its session is over."""
        for items in list(self._places.get(route, {}).values()):
            for number, item in list(items.items()):
                self._pop(item.payer, number)

    def _pop(self, payer: str, number: int) -> Unread:
        line = self._lines[payer]
        item = line.items.pop(number)
        line.size_bytes -= item.size_bytes
        self._size_bytes -= item.size_bytes
        if not line.items:
            del self._lines[payer]
        tickets = self._places[item.origin.route]
        del tickets[item.ticket][number]
        if not tickets[item.ticket]:
            del tickets[item.ticket]
        if not tickets:
            del self._places[item.origin.route]
        return item

    def _pass_turns(self) -> None:
        """Pass at once the rounds in which every line only saves: a high cost takes no time here."""
        turns = min((line.turns_to_save for line in self._lines.values()), default=0)
        if turns:
            for line in self._lines.values():
                line.credit_bytes += turns * UNREAD_TURN_BYTES
