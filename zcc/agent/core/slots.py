"""Who may run a compiler on this machine now. Pure.

One slot a processor by default, and one for each command but those of `weight.py`. Links and local compiles
wait in the order of their arrival, so `make -j200` does not swamp the machine. A call from inside another call
(a wrapper script, ccache, an LTO link) never waits: the outer one may hold the slot that it would wait for.
"""

from __future__ import annotations

from collections import OrderedDict


class Slots:
    """A counter with a queue. Calls are named by their numbers.

    A call that takes several waits until so many are free, and whoever came later waits behind it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._holders: dict[int, int] = {}
        self._waiting: OrderedDict[int, int] = OrderedDict()

    @property
    def holders(self) -> int:
        return len(self._holders)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def has_idle(self) -> bool:
        """Whether one more would have a slot at once."""
        return self.used < self.limit and not self._waiting

    def take(self, call: int, is_nested: bool = False, count: int = 1) -> bool:
        """Whether the call has its slots now; if not it waits for `release` to name it."""
        count = min(count, self.limit)
        if is_nested or (self.used + count <= self.limit and not self._waiting):
            self._hold(call, count)
            return True
        self._waiting[call] = count
        return False

    def release(self, call: int) -> list[int]:
        """The call has ended or gone: the calls that have their slots from now on."""
        self._waiting.pop(call, None)
        self.used -= self._holders.pop(call, 0)
        granted = []
        while self._waiting:
            following, count = next(iter(self._waiting.items()))
            if self.used + count > self.limit:
                break
            del self._waiting[following]
            self._hold(following, count)
            granted.append(following)
        return granted

    def _hold(self, call: int, count: int) -> None:
        self._holders[call] = count
        self.used += count
