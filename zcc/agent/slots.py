"""Who may run a compiler on this machine now. Pure.

One slot a processor by default; links and local compiles wait in the order of their arrival, so
`make -j200` does not swamp the machine. A call from inside another call (a wrapper script, ccache, an LTO
link) never waits: the outer one may hold the slot that it would wait for.
"""

from __future__ import annotations

from collections import OrderedDict


class Slots:
    """A counter with a queue. Calls are named by their numbers."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._holders: set[int] = set()
        self._waiting: OrderedDict[int, None] = OrderedDict()

    @property
    def used(self) -> int:
        return len(self._holders)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, call: int, is_nested: bool = False) -> bool:
        """Whether the call has a slot now; if not it waits for `release` to name it."""
        if is_nested or (len(self._holders) < self.limit and not self._waiting):
            self._holders.add(call)
            return True
        self._waiting[call] = None
        return False

    def release(self, call: int) -> list[int]:
        """The call has ended or gone: the calls that have a slot from now on."""
        self._waiting.pop(call, None)
        self._holders.discard(call)
        granted = []
        while self._waiting and len(self._holders) < self.limit:
            following, _ = self._waiting.popitem(last=False)
            self._holders.add(following)
            granted.append(following)
        return granted
