"""Jobs that no node may run any more, which are refused. Pure.

That is so for each key that waits for one: it is refused to those that have no node for it.

They are looked for when the farm has shrunk. What waits is looked at by turns, so much in a tick: nodes may
come, go and pause as often as they like, and 100,000 jobs may wait.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.admission import NO_NODES
from broker.core.farm import Farm
from broker.core.jobs import LEASED, Execution
from broker.core.limits import LOOKED_AT_A_TICK
from broker.scheduling.memory import why_too_large
from broker.scheduling.model import Identity
from broker.trust import opinions
from cache.digest import Digest

# What it takes to look at a job that waits, and to refuse one, in looks at one that does not wait: 0.2 us.
_WAITS = 8
_REFUSED = 64

_Need = tuple[str, bytes, Digest, frozenset[Identity]]


class Unservable:
    """`refuse` is called with those that are found, and why; `turn_back` where this key alone has no node."""

    def __init__(
        self,
        farm: Farm,
        refuse: Callable[[Execution, str], None],
        turn_back: Callable[[Execution, str, str], None],
    ) -> None:
        self._farm = farm
        self._refuse = refuse
        self._turn_back = turn_back
        self._todo: list[Digest] = []  # the next one comes last
        self._is_owed = False  # the farm has shrunk again since it was begun
        self._left = LOOKED_AT_A_TICK

    def refuse(self, execution: Execution, now: float) -> bool:
        """Say no to each key that has no node for this job, if any; whether that is everybody who waits."""
        return self._refuse_some(execution, {}, now)

    def look(self, now: float) -> None:
        """The farm has shrunk: go through all that waits, now as far as this tick allows."""
        self._is_owed = True
        self._go_on(now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._left = LOOKED_AT_A_TICK
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        executions, verdicts = self._farm.executions, dict[_Need, bool]()
        while self._left > 0 and (self._todo or self._is_owed):
            self._left -= 1
            if not self._todo:
                self._todo, self._is_owed = list(reversed(executions)), False
                continue
            execution = executions.get(self._todo.pop())
            if execution is None or execution.phase in LEASED:
                continue
            self._left -= _WAITS * len(execution.claims)
            self._refuse_some(execution, verdicts, now)

    def _refuse_some(self, execution: Execution, verdicts: dict[_Need, bool], now: float) -> bool:
        users, farm = list(execution.claims), self._farm
        whys = [self._why(farm.seen_by(execution, user), verdicts, now) for user in users]
        if all(whys) and opinions.relent(execution):
            whys = [self._why(farm.seen_by(execution, user), verdicts, now) for user in users]
        if all(whys):
            self._left -= _REFUSED
            self._refuse(execution, whys[0])
            return True
        for user, why in zip(users, whys, strict=True):
            if why:
                self._left -= _REFUSED
                self._turn_back(execution, user, why)
        return False

    def _why(self, execution: Execution, verdicts: dict[_Need, bool], now: float) -> str:
        """Why it is refused to the key that sees it so; empty: it is not."""
        lane, avoid = execution.lane, frozenset(execution.avoid)
        need = (lane.user, lane.machine_class, execution.toolchain, avoid)
        if need not in verdicts:
            verdicts[need] = self._farm.is_servable(*need, now)
            self._left -= 0 if verdicts[need] else len(self._farm.nodes)
        if not verdicts[need]:
            return NO_NODES
        self._left -= len(self._farm.nodes) * len(execution.words)
        return why_too_large(self._farm, execution, avoid, now)
