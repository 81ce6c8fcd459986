"""How many of its slots a node lends, by its mode and by what the machine's owner does. Pure.

Knows the rules alone; `node/owner.py` measures, `node/orders.py` is told the mode. With P processors, of which
others than the node's jobs use U (smoothed), S slots, and

    left = P - U

    dedicated      S
    proportional   min(S, left), rounded: the n-th slot is lent from left = n - 0.4 on, and kept down to n - 0.6
    idle           S while nobody has been active for `idle_after_s`, else 0; active is who types at a terminal,
                   or whose processes use more than a tenth of the processors, and more than half of one
    off            0

U follows what is measured with a time constant of 5 s on its way up and of 30 s on its way down: the owner's
compile has its processors soon, and the second that he pauses for brings no jobs back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from zcc.messages import Offer

RISE_S = 5.0
FALL_S = 30.0
IDLE_AFTER_S = 300.0
# Of a processor: what a slot needs to be lent, or kept. Between them nothing changes.
_LEND_SHORT = 0.4
_KEEP_SHORT = 0.6
_ACTIVE_SHARE = 0.1
_ACTIVE_LEAST = 0.5


class LendingMode(Enum):
    """When a node takes jobs: its operator's word."""

    DEDICATED = "dedicated"
    PROPORTIONAL = "proportional"
    IDLE = "idle"
    OFF = "off"

    @property
    def needs_looking(self) -> bool:
        """Whether it depends on what the owner does."""
        return self in (LendingMode.PROPORTIONAL, LendingMode.IDLE)


MODES = tuple(mode.value for mode in LendingMode)


@dataclass(frozen=True, slots=True)
class Look:
    """What the machine's owner was seen to do: `used` processors since the last look, `input_age_s` seconds
    since he typed (infinite: never)."""

    used: float
    input_age_s: float


class Lending:
    """The offer of one node, kept up by what is seen; times are monotonic seconds."""

    def __init__(self, slots: int, processors: int, idle_after_s: float = IDLE_AFTER_S) -> None:
        self.mode = LendingMode.DEDICATED
        self._slots = slots
        self._processors = processors
        self._idle_after_s = idle_after_s
        self._used = 0.0
        self._seen_at: float | None = None
        self._active_at = -math.inf
        self._is_typing = False
        self._lent = slots

    def choose(self, mode: LendingMode) -> None:
        """Go by this mode from now on; what was seen under another says nothing."""
        if mode is not self.mode:
            self.mode = mode
            self._seen_at = None
            self._active_at = -math.inf
            self._lent = self._slots

    def choose_idle_after(self, idle_after_s: float) -> None:
        """For so long nobody must have worked here, from now on."""
        self._idle_after_s = idle_after_s

    def see(self, look: Look, now: float) -> None:
        """Take in a look at the machine."""
        if self._seen_at is None:
            self._used = look.used
        else:
            constant_s = RISE_S if look.used > self._used else FALL_S
            self._used += (look.used - self._used) * -math.expm1((self._seen_at - now) / constant_s)
        self._seen_at = now
        self._is_typing = look.input_age_s < self._idle_after_s
        if self._used > max(_ACTIVE_LEAST, _ACTIVE_SHARE * self._processors):
            self._active_at = now
        self._active_at = max(self._active_at, now - look.input_age_s)
        left = self._processors - self._used
        while self._lent > 0 and left < self._lent - _KEEP_SHORT:
            self._lent -= 1
        while self._lent < self._slots and left >= self._lent + 1 - _LEND_SHORT:
            self._lent += 1

    def offer(self, now: float) -> Offer:
        """What the node lends now, and why no more."""
        slots, why = self._decide(now)
        return Offer(slots, self.mode.value, why if slots < self._slots else "")

    def _decide(self, now: float) -> tuple[int, str]:
        match self.mode:
            case LendingMode.DEDICATED:
                return self._slots, ""
            case LendingMode.OFF:
                return 0, "its mode is off: zcc-node mode dedicated"
            case _ if self._seen_at is None:
                return 0, "it looks first what else this machine does"
            case LendingMode.PROPORTIONAL:
                # In whole processors: the words are the same for as long as the number is.
                return self._lent, f"others leave {self._lent} of {self._processors} processors"
            case _:
                return self._when_idle(now)

    def _when_idle(self, now: float) -> tuple[int, str]:
        if now - self._active_at >= self._idle_after_s:
            return self._slots, ""
        doing = "somebody has typed at" if self._is_typing else "others use"
        return 0, f"{doing} this machine: free after {self._idle_after_s:g} s without"
