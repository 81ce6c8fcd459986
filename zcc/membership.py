"""A member's session with the broker: whether it stands, what keeps it, how it is lost. Pure.

    dialling --Welcome--> open --Who--> suspended --Welcome--> open
        |                  |                |
        +------------------+----------------+-- silence, Bye, Refused, a wrong word --> lost --Welcome--> open

Agent, node, ccache's helper and who watches are members. Each owns a socket, a clock and this machine, and
gives it what happens: frames that came, a beat that is due each BEAT_S, what the broker says of the key.
`handle` answers with what to do, in order. While no session stands, Hello is said again with each beat. The
process keeps its session's name for good, so the broker knows it when it is back (docs/reference/protocol.md,
Sessions).

What a member holds, submits or lends is not known here: `Take` hands over each message that is not about
the session.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from zcc import codec
from zcc.errors import OtherProtocolError, ProtocolError, UnknownKindError
from zcc.messages import LOST_AFTER_S, Beat, Bye, Hello, Message, Refused, Welcome, Who
from zcc.reasons import Reason

# What people read of a key that the broker does not take.
REVOKED = "this key was revoked, or the broker has lost it"


# ---- what happens to a member ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FramesCame:
    """One message of the broker's, as it came."""

    frames: list[bytes]


@dataclass(frozen=True, slots=True)
class BeatDue:
    """BEAT_S have passed. `is_receiving`: part of a message has come meanwhile, on a slow line."""

    is_receiving: bool = False


@dataclass(frozen=True, slots=True)
class KeyAnswered:
    """The handshake of a connection has ended: the broker has taken our key, or has turned it away."""

    is_admitted: bool


@dataclass(frozen=True, slots=True)
class BrokerMisspoke:
    """A message that was handed over by `Take` is none that a broker may send now."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """The member ends; nothing that happens later counts."""

    reason: str


MemberEvent = FramesCame | BeatDue | KeyAnswered | BrokerMisspoke | LeaveAsked


# ---- what the member has to do, and what has become of its session -----------------------------


@dataclass(frozen=True, slots=True)
class Say:
    """Send this, if there is a connection. A node puts what it holds and lends into its Hello and Beat."""

    message: Hello | Beat | Bye


@dataclass(frozen=True, slots=True)
class Take:
    """A message that is not about the session. What is wrong with it is to come back as BrokerMisspoke."""

    message: Message


@dataclass(frozen=True, slots=True)
class PassOver:
    """The broker is of a later release, and has said what this one does not know."""

    kind: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A session stands: credit is fresh on both sides, and what waits for an answer is said again."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Suspended:
    """What was under way is void, but the broker is there: Hello follows, and a Welcome to that."""


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no farm for now, and why. `detail` is the broker's own word, or what is wrong with one.

    Told again while it lasts only when the reason is another.
    """

    reason: Reason
    detail: str = ""


MemberEffect = Say | Take | PassOver | Opened | Suspended | Lost


class MemberStage(Enum):
    DIALLING = "dialling"
    OPEN = "open"
    SUSPENDED = "suspended"
    LOST = "lost"
    LEFT = "left"


@dataclass(slots=True)
class MemberSession:
    """One process's session. `hello` is what it says of itself; times are a monotonic clock's seconds.

    `first_answer_s`: a broker that has said nothing for so long from `begun_s` on is lost; without it the
    member dials for as long as it lives. A session that stood is lost after LOST_AFTER_S of silence.
    """

    hello: Hello
    begun_s: float
    first_answer_s: float = math.inf
    # Why the broker would not have this member; empty when it has not said no.
    refusal: str = field(default="", init=False)
    stage: MemberStage = field(default=MemberStage.DIALLING, init=False)
    _heard_s: float = field(init=False)
    _told: Lost | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._heard_s = self.begun_s + self.first_answer_s - LOST_AFTER_S

    @property
    def is_open(self) -> bool:
        return self.stage is MemberStage.OPEN

    @property
    def is_awaited(self) -> bool:
        """Whether the broker may yet welcome it: it has just begun, or has been asked who it is."""
        return self.stage in (MemberStage.DIALLING, MemberStage.SUSPENDED)

    def handle(self, event: MemberEvent, now: float) -> list[MemberEffect]:
        if self.stage is MemberStage.LEFT:
            return []
        match event:
            case FramesCame(frames):
                self._heard_s = now
                return self._read(frames)
            case BeatDue(is_receiving):
                return self._beat(is_receiving, now)
            case KeyAnswered(True):
                self.refusal = ""
                return []
            case KeyAnswered():
                return self._turned_away()
            case BrokerMisspoke(error):
                return self._misspoke(error)
            case LeaveAsked(reason):
                self.stage = MemberStage.LEFT
                return [Say(Bye(reason))]
            case _:
                assert_never(event)

    def _read(self, frames: list[bytes]) -> list[MemberEffect]:
        try:
            message = codec.decode(frames)
        except UnknownKindError as error:
            return [PassOver(error.kind)]
        except ProtocolError as error:
            return self._misspoke(error)
        match message:
            case Welcome():
                return self._welcomed(message)
            case Who():
                return [*self._suspend(), Say(self.hello)]
            case Refused(0, reason):
                self.refusal = reason
                return self._lose(Reason.SESSION_REFUSED, reason)
            case Bye("revoked"):
                return self._turned_away()
            case Bye(reason):
                return self._lose(Reason.BROKER_STOPPED, reason)
            case _:
                return [Take(message)]

    def _beat(self, is_receiving: bool, now: float) -> list[MemberEffect]:
        if is_receiving:
            self._heard_s = now
        lost: list[MemberEffect] = []
        if self.stage is not MemberStage.LOST and now - self._heard_s > LOST_AFTER_S:
            lost = self._lose(Reason.BROKER_SILENT)
        return [*lost, Say(Beat(0.0) if self.is_open else self.hello)]

    def _welcomed(self, welcome: Welcome) -> list[MemberEffect]:
        if self.is_open:
            return []  # to an earlier Hello of several
        self.stage = MemberStage.OPEN
        self.refusal = ""
        return [Opened(welcome)]

    def _suspend(self) -> list[MemberEffect]:
        if not self.is_open:
            return []
        self.stage = MemberStage.SUSPENDED
        return [Suspended()]

    def _turned_away(self) -> list[MemberEffect]:
        self.refusal = REVOKED
        return self._lose(Reason.KEY_REVOKED, REVOKED)

    def _misspoke(self, error: ProtocolError) -> list[MemberEffect]:
        if isinstance(error, OtherProtocolError):
            self.refusal = str(error)
        return self._lose(Reason.PROTOCOL_ERROR, str(error))

    def _lose(self, reason: Reason, detail: str = "") -> list[MemberEffect]:
        lost = Lost(reason, detail)
        if self.stage is MemberStage.LOST and self._told == lost:
            return []
        self.stage, self._told = MemberStage.LOST, lost
        return [lost]
