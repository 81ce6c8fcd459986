"""Messages that are too large to be read at once, in the order of their turns. Pure.

Each key has a line of its own, bounded in bytes, and the lines are served in turn by bytes (deficit round
robin): what one key sends is paid from its own share. A key may also have so many bytes a second read at once,
in the loop: that is the common case, and costs least.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
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
from zcc.messages import Message


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """`size_bytes` is what it takes to wait, `cost_bytes` what it is when it is unpacked."""

    origin: Origin
    message: Message
    size_bytes: int
    cost_bytes: int


@dataclass(slots=True)
class _Line:
    items: deque[Unread] = field(default_factory=deque)
    size_bytes: int = 0
    credit_bytes: int = 0

    @property
    def turns_to_save(self) -> int:
        """How many turns its next item has to wait."""
        lacking_bytes = self.items[0].cost_bytes - self.credit_bytes
        return max(0, -(-lacking_bytes // UNREAD_TURN_BYTES))


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
        line.items.append(item)
        line.size_bytes += item.size_bytes
        self._size_bytes += item.size_bytes

    def take(self) -> Unread | None:
        """The next item in turn; `finished` says when it has been read."""
        self._pass_turns()
        while self._lines:
            user, line = next(iter(self._lines.items()))
            if line.credit_bytes < line.items[0].cost_bytes:
                line.credit_bytes += UNREAD_TURN_BYTES
                self._lines.move_to_end(user)
                continue
            item = line.items.popleft()
            line.credit_bytes -= item.cost_bytes
            self._forget(line, item)
            if not line.items:
                del self._lines[user]
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

    def drop(self, user: str, is_void: Callable[[Unread], bool]) -> bool:
        """Forget items of this key's that nobody waits for; whether there were any."""
        line = self._lines.get(user)
        if line is None:
            return False
        void = [item for item in line.items if is_void(item)]
        for item in void:
            line.items.remove(item)
            self._forget(line, item)
        if not line.items:
            del self._lines[user]
        return bool(void)

    def _pass_turns(self) -> None:
        """Pass at once the rounds in which every line only saves: a high cost takes no time here."""
        turns = min((line.turns_to_save for line in self._lines.values()), default=0)
        if turns:
            for line in self._lines.values():
                line.credit_bytes += turns * UNREAD_TURN_BYTES

    def _forget(self, line: _Line, item: Unread) -> None:
        line.size_bytes -= item.size_bytes
        self._size_bytes -= item.size_bytes
