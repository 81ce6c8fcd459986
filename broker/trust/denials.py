"""How many of a key's jobs the nodes of another may have, where most results are to no use to it. Pure.

A compiler's own exit status is no fault, and its agent runs the job again at home. But a node that gave one at
once, whatever it gets, would be the first that is free, and have most jobs. So a result that nobody can use
takes one place away from the nodes of its key, and one that can be used gives USEFUL_REPAYS back:

    places = held of this key's when they began to owe + SPARE_PLACES - owed      1 at least

With the last place alone they are given one job at a time, the next not before such a one should have ended.
Where half of all compiles fail by themselves nothing is ever owed for long.

It is between the two keys: whose jobs fail has nobody else's kept from a node. Nothing has to be proved, so no
other node does a job again, and none is put aside.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from broker.core.limits import MAX_DENIAL_S, MAX_RECORDS, SPARE_PLACES, USEFUL_REPAYS

# The key of the nodes, and the key whose jobs they are.
_Pair = tuple[str, str]


@dataclass(slots=True)
class _Debt:
    """`most` places are left where nothing is owed; with the last one, none until then."""

    most: int
    owed: int = 0
    until: float = 0.0

    @property
    def places(self) -> int:
        return self.most - self.owed


class Denials:
    def __init__(self) -> None:
        self._held: Counter[_Pair] = Counter()  # leases
        self._debts: OrderedDict[_Pair, _Debt] = OrderedDict()  # changed last comes last

    def leased(self, node_key: str, user: str) -> None:
        """A node of this key is given a job of this user's."""
        self._held[node_key, user] += 1

    def ended(self, node_key: str, user: str) -> None:
        """It has it no more."""
        pair = node_key, user
        self._held[pair] -= 1
        if not self._held[pair]:
            del self._held[pair]

    def note_useful(self, node_key: str, user: str) -> None:
        """A result that can be used."""
        pair = node_key, user
        debt = self._debts.get(pair)
        if debt is not None:
            debt.owed -= USEFUL_REPAYS
            if debt.owed <= 0:
                del self._debts[pair]

    def note_denial(self, node_key: str, user: str, expected_end: float, now: float) -> None:
        """One that cannot, while its lease is held, which was expected to end then."""
        pair = node_key, user
        debt = self._debts.get(pair)
        if debt is None:
            debt = self._debts[pair] = _Debt(self._held[pair] + SPARE_PLACES)
            if len(self._debts) > MAX_RECORDS:
                self._debts.popitem(last=False)
        self._debts.move_to_end(pair)
        debt.owed = min(debt.owed + 1, debt.most - 1)
        if debt.places == 1:
            debt.until = min(expected_end, now + MAX_DENIAL_S)

    def allows(self, node_key: str, user: str, now: float) -> bool:
        """Whether a node of this key may be given one more job of this user's."""
        pair = node_key, user
        debt = self._debts.get(pair)
        if debt is None:
            return True
        held = self._held[pair]
        return held < debt.places and (debt.places > 1 or now >= debt.until)
