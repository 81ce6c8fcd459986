"""Which of the compiles that the farm has would end sooner on this machine. Pure.

Owns what is known of each: when it was submitted, when the broker expects it to begin (`Busy`), whether it has.

    ends there = begins there + compiles there + way back
    ends here  = now + compiles here

What has not begun there and would end sooner here is taken back: of several, the one that gains the most,
which is the one at the back of the farm's queue unless this machine is much faster. So the farm works on the
queue from the front and this machine from the back, and neither idles while anything waits.

What has begun there is let be, but for the tail of a build: where nothing else waits, and nothing has come
since something ended, a compile that is expected to end later there than here is done here too. So is, at any
time, one that is overdue. The first result counts. What is late is expected to be late for as long again (the
median remainder of a heavy-tailed time grows with its age): a node which stands still is not waited for, a
hiccup is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zcc.agent.core.forecast import Forecast, Keys

# What has to be gained, at the least and of the compile here: forecasts are no better than that, and what the
# farm compiles is remembered.
MIN_GAIN_S = 0.05
GAIN_SHARE = 0.1
# A compile is overdue beyond so many times what was expected, and a little.
OVERDUE = 1.5
OVERDUE_S = 0.25
# One that cannot be done beside is taken back only when it is later than that by far.
HOPELESS = 3.0
HOPELESS_S = 2.0
# A build tool starts the next compile within this time of the end of another, if it has any.
TAIL_S = 0.1


@dataclass(slots=True)
class Away:
    """One call's compile on the farm. `keys` as for the forecast; `can_race`: it can be done here beside."""

    keys: Keys
    submitted_s: float
    can_race: bool
    starts_s: float | None = None  # as the broker told
    begun_s: float | None = None
    is_beside: bool = False  # done here too


class Homeward:
    """All that is away, by the number of its call."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._away: dict[int, Away] = {}
        # Those of it that have not begun, in the order of their Submits.
        self._queued: dict[int, Away] = {}
        # When the last of these is expected to begin, as far as the broker has told.
        self._last_start_s = 0.0

    def __len__(self) -> int:
        return len(self._away)

    @property
    def has_queued(self) -> bool:
        return bool(self._queued)

    def sent(self, call: int, keys: Keys, can_race: bool, now: float) -> None:
        """It is submitted now, for the first time or again."""
        before = self._away.get(call)
        away = Away(keys, now, can_race, is_beside=before is not None and before.is_beside)
        if self._queued and self._last_start_s > now:
            away.starts_s = self._last_start_s  # it is behind those who wait
        self._away[call] = self._queued[call] = away

    def told(self, call: int, expected_s: float, now: float) -> None:
        """The broker expects it to begin then; it does not run now."""
        away = self._away.get(call)
        if away is not None:
            away.starts_s, away.begun_s = now + expected_s, None
            self._last_start_s = now + expected_s
            self._queued[call] = away

    def begun(self, call: int, now: float) -> None:
        away = self._away.get(call)
        if away is None or away.begun_s is not None:
            return
        if away.starts_s is None:
            self._forecast.began_there(now - away.submitted_s)
        away.begun_s = now
        self._queued.pop(call, None)

    def gone(self, call: int) -> None:
        """The farm has it no more."""
        self._away.pop(call, None)
        self._queued.pop(call, None)

    def is_beside(self, call: int) -> None:
        """It is done here too."""
        if call in self._away:
            self._away[call].is_beside = True

    def cannot_race(self, call: int) -> None:
        """It was tried, and came to nothing."""
        if call in self._away:
            self._away[call].is_beside = self._away[call].can_race = False

    def to_take(self, now: float) -> int | None:
        """What has not begun there and gains the most here."""
        return self._best(self._queued.items(), now)

    def is_better_here(self, call: int, now: float) -> bool:
        """Whether this one, which has not begun, gains enough."""
        away = self._queued.get(call)
        return away is not None and self._best([(call, away)], now) is not None

    def to_race(self, now: float, is_tail: bool) -> int | None:
        """What has begun there, and should be done here too; `take_back` instead where it cannot."""
        if self._queued:
            return None
        found = [
            (call, away)
            for call, away in self._away.items()
            if (is_tail and away.can_race) or self._is_late(away, now)
        ]
        return self._best(found, now)

    def can_race(self, call: int) -> bool:
        return self._away[call].can_race

    def ends_there_s(self, call: int, now: float) -> float:
        """When its result is expected."""
        return self._ends_s(self._away[call], now)

    def _best(self, candidates: Iterable[tuple[int, Away]], now: float) -> int | None:
        best, most = None, 0.0
        for call, away in candidates:
            if away.is_beside:
                continue
            here_s = self._forecast.here_s(away.keys)
            gain_s = self._ends_s(away, now) - now - here_s
            if gain_s > max(MIN_GAIN_S, GAIN_SHARE * here_s) and gain_s >= most:
                best, most = call, gain_s
        return best

    def _is_late(self, away: Away, now: float) -> bool:
        """Overdue; what can only be taken back has to be hopeless."""
        if away.begun_s is None:
            return False
        times, more_s = (OVERDUE, OVERDUE_S) if away.can_race else (HOPELESS, HOPELESS_S)
        return now - away.begun_s > times * self._forecast.there_s(away.keys) + more_s

    def _ends_s(self, away: Away, now: float) -> float:
        there_s, back_s = self._forecast.there_s(away.keys), self._forecast.back_s
        if away.begun_s is None:
            starts_s = away.starts_s or away.submitted_s + self._forecast.begins_s
            late_s = max(0.0, now - starts_s)
            return max(starts_s, now + late_s) + there_s + back_s
        elapsed_s = now - away.begun_s
        if elapsed_s > OVERDUE * there_s + OVERDUE_S:
            return now + elapsed_s + back_s
        return max(now, away.begun_s + there_s) + back_s
