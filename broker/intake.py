"""Messages that are too large to be read at once, in the order of their turns. Pure.

Each key has a line of its own, bounded in bytes, and the lines are served in turn by bytes (deficit round
robin): what one key sends is paid from its own share. A key may also have so many bytes a second read at once,
in the loop: that is the common case, and costs least.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from broker.events import Origin
from broker.limits import (
    AT_ONCE_BURST_BYTES,
    AT_ONCE_BYTES_PER_S,
    MAX_RECORDS,
    MAX_UNREAD_BYTES,
    MAX_UNREAD_BYTES_PER_KEY,
    UNREAD_TURN_BYTES,
)
from zcc.messages import Message, Submit

# The ticket of what is no Submit; agents count up from nothing.
NO_TICKET = -1


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """`size_bytes` is what it takes to wait, `cost_bytes` what it is when it is unpacked."""

    origin: Origin
    message: Message
    size_bytes: int
    cost_bytes: int

    @property
    def ticket(self) -> int:
        return self.message.ticket if isinstance(self.message, Submit) else NO_TICKET


@dataclass(slots=True)
class _Line:
    """`items` by their numbers, oldest first; `places` are the numbers of each route's, by ticket."""

    items: OrderedDict[int, Unread] = field(default_factory=OrderedDict)
    places: dict[bytes, dict[int, dict[int, None]]] = field(default_factory=dict)
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

    def put(self, number: int, item: Unread) -> None:
        tickets = self.places.setdefault(item.origin.route, {})
        tickets.setdefault(item.ticket, {})[number] = None
        self.items[number] = item
        self.size_bytes += item.size_bytes

    def pop(self, number: int) -> Unread:
        item = self.items.pop(number)
        self.size_bytes -= item.size_bytes
        tickets = self.places[item.origin.route]
        del tickets[item.ticket][number]
        if not tickets[item.ticket]:
            del tickets[item.ticket]
        if not tickets:
            del self.places[item.origin.route]
        return item


@dataclass(slots=True)
class _Purse:
    """What a key may have read at once; it fills up as time passes."""

    bytes: float
    at: float


class Intake:
    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._purses: OrderedDict[str, _Purse] = OrderedDict()
        self._debts: OrderedDict[str, int] = OrderedDict()  # of keys without a line
        self._size_bytes = 0
        self._put = 0  # items ever: the last one's number
        self._served = ""

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def is_waiting(self, user: str) -> bool:
        """Whether something of this key's has not been read: what comes later waits behind it."""
        return user in self._lines or user == self._served

    def may_read_at_once(self, user: str, cost_bytes: int, now: float) -> bool:
        """Whether this is within the key's share; it is spent if so."""
        purse = self._purses.pop(user, None) or _Purse(AT_ONCE_BURST_BYTES, now)
        self._purses[user] = purse
        filled = purse.bytes + (now - purse.at) * AT_ONCE_BYTES_PER_S
        purse.bytes, purse.at = min(AT_ONCE_BURST_BYTES, filled), now
        if len(self._purses) > MAX_RECORDS:
            self._purses.popitem(last=False)
        if cost_bytes > purse.bytes:
            return False
        purse.bytes -= cost_bytes
        return True

    def has_room(self, user: str, size_bytes: int) -> bool:
        line = self._lines.get(user)
        held = 0 if line is None else line.size_bytes
        return (
            held + size_bytes <= MAX_UNREAD_BYTES_PER_KEY
            and self._size_bytes + size_bytes <= MAX_UNREAD_BYTES
        )

    def put(self, item: Unread) -> None:
        """Take an item into its key's line; there must be room for it."""
        user = item.origin.user
        line = self._lines.get(user)
        if line is None:
            line = self._lines[user] = _Line(credit_bytes=-self._debts.pop(user, 0))
        self._put += 1
        line.put(self._put, item)
        self._size_bytes += item.size_bytes

    def take(self) -> Unread | None:
        """The next item in turn; `finished` says when it has been read."""
        self._pass_turns()
        while self._lines:
            user, line = next(iter(self._lines.items()))
            if line.credit_bytes < line.first.cost_bytes:
                line.credit_bytes += UNREAD_TURN_BYTES
                self._lines.move_to_end(user)
                continue
            item = self._pop(user, next(iter(line.items)))
            line.credit_bytes -= item.cost_bytes
            self._served = user
            return item
        return None

    def finished(self) -> None:
        """What was taken last has been read."""
        self._served = ""

    def charge(self, user: str, cost_bytes: int) -> None:
        """What was read for this key beyond the costs that were known: it waits so many turns longer."""
        line = self._lines.get(user)
        if line is not None:
            line.credit_bytes -= cost_bytes
        elif cost_bytes:
            self._debts[user] = self._debts.pop(user, 0) + cost_bytes
            if len(self._debts) > MAX_RECORDS:
                self._debts.popitem(last=False)

    def drop(self, origin: Origin, ticket: int | None = None) -> bool:
        """Forget what came by this route, or under this ticket by it: nobody waits for that. Whether there was
        any. What else the key has waiting is not looked at: a key may say this of each of 100,000."""
        line = self._lines.get(origin.user)
        tickets = {} if line is None else line.places.get(origin.route, {})
        chosen = tickets.values() if ticket is None else [tickets.get(ticket, {})]
        void = [number for numbers in chosen for number in numbers]
        for number in void:
            self._pop(origin.user, number)
        return bool(void)

    def _pop(self, user: str, number: int) -> Unread:
        line = self._lines[user]
        item = line.pop(number)
        self._size_bytes -= item.size_bytes
        if not line.items:
            del self._lines[user]
        return item

    def _pass_turns(self) -> None:
        """Pass at once the rounds in which every line only saves: a high cost takes no time here."""
        turns = min((line.turns_to_save for line in self._lines.values()), default=0)
        if turns:
            for line in self._lines.values():
                line.credit_bytes += turns * UNREAD_TURN_BYTES
