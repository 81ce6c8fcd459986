"""How many connections a key may make and have, and which key may make none for a while. Pure.

A connection counts from its admission on. Until its first message says which one it is, it counts as admitted;
one that says nothing is shut, so that no admission counts for longer than that takes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from broker.core.allowance import Allowance
from broker.core.limits import (
    ADMISSIONS_BURST,
    ADMISSIONS_PER_S,
    BAN_S,
    MAX_BAN_S,
    MAX_RECORDS,
    SILENT_S,
)


@dataclass(slots=True)
class _Ban:
    until: float
    length_s: float


class Gate:
    def __init__(self, most_connections: int) -> None:
        self._most = most_connections
        self._admissions = Allowance(ADMISSIONS_BURST, ADMISSIONS_PER_S)
        self._silent: dict[str, deque[float]] = {}  # when admitted, of those that said nothing yet
        self._bans: OrderedDict[str, _Ban] = OrderedDict()

    def refusal(self, user: str, live: int, now: float) -> str:
        """Why this key, which has so many connections that have spoken, gets none now; empty: it gets one."""
        ban = self._bans.get(user)
        if ban is not None and now < ban.until:
            return f"it has broken the protocol, and is admitted again in {ban.until - now:.0f} s"
        if live + self._silent_of(user, now) >= self._most:
            return f"it has as many connections as a key may ({self._most})"
        if self._admissions.left(user, now) < 1:
            return f"it connects more often than {ADMISSIONS_PER_S:.0f} times a second"
        self._admissions.use(user, 1, now)
        self._silent.setdefault(user, deque()).append(now)
        return ""

    def is_banned(self, user: str, now: float) -> bool:
        ban = self._bans.get(user)
        return ban is not None and now < ban.until

    def spoke(self, user: str) -> None:
        """One of its connections has said something, and counts as live from now on."""
        silent = self._silent.get(user)
        if silent:
            silent.popleft()
            if not silent:
                del self._silent[user]

    def ban(self, user: str, now: float) -> None:
        """It is not admitted for a while, which is twice as long each time."""
        known = self._bans.pop(user, None)
        is_again = known is not None and now < known.until + MAX_BAN_S
        length_s = min(2 * known.length_s, MAX_BAN_S) if known is not None and is_again else BAN_S
        self._bans[user] = _Ban(now + length_s, length_s)
        if len(self._bans) > MAX_RECORDS:
            self._bans.popitem(last=False)

    def _silent_of(self, user: str, now: float) -> int:
        silent = self._silent.get(user, deque[float]())
        while silent and now - silent[0] > SILENT_S:
            silent.popleft()
        return len(silent)
