"""Which endpoint a member dials while it has no session: the broker may have moved. Pure.

    at home --no session for LOOK_AFTER_S--> looking --endpoints--> trying each for TRY_S --> at home again
       ^                                        |                       |
       +------------- nothing found ------------+         a session: this is home now

Home is where a session stood last, else the first endpoint there is. What is announced proves nothing: whoever
listens there and is not the broker has cost one try. While a session stands nothing is looked for or tried. So
a member changes its endpoint only from one that does not answer, and comes back from one that does not either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

# Without a session. Members that lost the same broker do not all ask at once: up to twice as long, by lot.
LOOK_AFTER_S = 4.0
# A handshake takes three round trips at the most, and Hello follows with the next beat.
TRY_S = 4.0
MAX_TRIES = 8
# Between one look in vain and the next.
PAUSE_S = 10.0
MAX_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class SeekBroker:
    """Find out which endpoints there may be; `Pursuit.found` is to be told, of none too."""


@dataclass(frozen=True, slots=True)
class DialEndpoint:
    endpoint: str


@dataclass(frozen=True, slots=True)
class RememberEndpoint:
    """The broker has welcomed us at this endpoint, which is not where we began."""

    endpoint: str


PursuitEffect = SeekBroker | DialEndpoint | RememberEndpoint


@dataclass(slots=True)
class Pursuit:
    """`home` is dialled already; empty: there is none yet. Times are a monotonic clock's seconds."""

    home: str
    now: float
    rng: Random
    dialled: str = field(init=False)
    _remembered: str = field(init=False)
    # Who refuses our key there is believed: the broker has proved that it is there, or people have said so.
    _proven: set[str] = field(init=False)
    _tries: deque[str] = field(default_factory=deque, init=False)
    _tried_s: float = field(init=False)
    _look_s: float = field(init=False)
    _pause_s: float = field(default=PAUSE_S, init=False)
    _is_looking: bool = field(default=False, init=False)
    _has_session: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.dialled = self._remembered = self.home
        self._proven = {self.home}
        self._tried_s = self.now
        self._look_s = self._later(self.now) if self.home else self.now

    @property
    def is_proven(self) -> bool:
        """Whether what is said of our key at the endpoint that is dialled is to be believed."""
        return self.dialled in self._proven

    def beat(self, has_session: bool, now: float) -> PursuitEffect | None:
        """A second has passed, and this is how it stands."""
        if has_session:
            return self._settle()
        if self._has_session:
            self._has_session = False
            self._look_s = self._later(now)
        if self.dialled != self.home or self._tries:
            return self._next(now) if now >= self._tried_s + TRY_S else None
        if self._is_looking or now < self._look_s:
            return None
        self._is_looking = True
        return SeekBroker()

    def found(
        self, known: Iterable[str], announced: Iterable[str], now: float
    ) -> PursuitEffect | None:
        """What a look has brought: endpoints that people or DNS have named, and that somebody announces."""
        self._is_looking = False
        if self._has_session:
            return None
        known = list(known)
        self._proven.update(known)
        if not self.home and known:
            self.home = self._remembered = known[0]
        others = dict.fromkeys(each for each in (*known, *announced) if each != self.dialled)
        self._tries = deque(list(others)[:MAX_TRIES])
        self._look_s = now + len(self._tries) * TRY_S + self._pause_s * (1 + self.rng.random())
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        return self._next(now) if self._tries else None

    def failed(self, now: float) -> PursuitEffect | None:
        """Whoever listens at the endpoint that is tried will not have us."""
        return self._next(now)

    def _settle(self) -> RememberEndpoint | None:
        self._has_session = True
        self._tries.clear()
        self._pause_s = PAUSE_S
        self.home = self.dialled
        self._proven.add(self.home)
        if self._remembered == self.home:
            return None
        self._remembered = self.home
        return RememberEndpoint(self.home)

    def _next(self, now: float) -> DialEndpoint | None:
        """The next try; after the last, home."""
        endpoint = self._tries.popleft() if self._tries else self.home
        if not endpoint or endpoint == self.dialled:
            return None
        self.dialled, self._tried_s = endpoint, now
        return DialEndpoint(endpoint)

    def _later(self, now: float) -> float:
        return now + LOOK_AFTER_S * (1 + self.rng.random())
