"""How often a key may say what nothing else bounds. Pure.

Submits are read within their key's share, and chunks come under credit. Of the rest no honest member says so
much that it is felt: who does floods the loop, over whichever number of connections.
"""

from __future__ import annotations

from broker.core.allowance import Allowance
from broker.core.limits import (
    ASKS_BURST,
    ASKS_PER_S,
    BEATS_PER_CONNECTION_S,
    COUNTS_BURST,
    COUNTS_PER_S,
    FLOOD_BURST_S,
    HELLOS_PER_CONNECTION_S,
    JOINS_BURST,
    JOINS_PER_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    STORAGE_BURST,
    STORAGE_PER_S,
)
from zcc.messages import (
    AskNodes,
    AskPlaced,
    AskVoided,
    Beat,
    Chunk,
    Drain,
    Enrol,
    Hello,
    Leave,
    LocalCounts,
    Message,
    Rejoin,
    StorageGet,
    StoragePut,
    StorageRemove,
    Watch,
)


class Manners:
    """`most_connections`: of one key."""

    def __init__(self, most_connections: int) -> None:
        beats, hellos = (
            each * most_connections for each in (BEATS_PER_CONNECTION_S, HELLOS_PER_CONNECTION_S)
        )
        self._of_kind: dict[type[Message], Allowance] = {
            Beat: Allowance(FLOOD_BURST_S * beats, beats),
            Hello: Allowance(FLOOD_BURST_S * hellos, hellos),
            LocalCounts: Allowance(FLOOD_BURST_S * beats, beats),
        }
        self._of_kind |= dict.fromkeys(
            (AskNodes, AskPlaced, Watch, Drain), Allowance(ASKS_BURST, ASKS_PER_S)
        )
        self._of_kind[AskVoided] = Allowance(FLOOD_BURST_S * hellos, hellos)  # one for each Welcome
        joins, storage = (
            Allowance(JOINS_BURST, JOINS_PER_S),
            Allowance(STORAGE_BURST, STORAGE_PER_S),
        )
        self._of_kind |= dict.fromkeys((Enrol, Rejoin, Leave), joins)
        self._of_kind |= dict.fromkeys((StorageGet, StoragePut, StorageRemove), storage)
        self._of_all = Allowance(MESSAGES_BURST, MESSAGES_PER_S)
        self._counts = Allowance(COUNTS_BURST, COUNTS_PER_S)

    def allows(self, user: str, kind: type[Message], now: float) -> bool:
        """Whether one more message of this kind is what an honest key may say; it is counted."""
        if kind is Chunk:
            return True
        allowance = self._of_kind.get(kind, self._of_all)
        if allowance.left(user, now) < 1:
            return False
        allowance.use(user, 1, now)
        return True

    def takes_counts(self, route: bytes, now: float) -> bool:
        """Whether one more LocalCounts of the session on this route is worth reading; it is counted."""
        name = route.hex()
        if self._counts.left(name, now) < 1:
            return False
        self._counts.use(name, 1, now)
        return True
