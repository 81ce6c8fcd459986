"""A member's real session before the broker's real machine, with a line between them that can be cut.

Time is virtual and moves in steps of half a second. What is said goes through the codec and arrives at once.
"""

from __future__ import annotations

import math
from collections import deque

from broker.core import events
from broker.core.events import Origin
from tests.support.broker_world import Desk, session_id
from zcc import codec
from zcc.membership import (
    BeatDue,
    FramesCame,
    LeaveAsked,
    Lost,
    MemberEffect,
    MemberEvent,
    MemberSession,
    Opened,
    PassOver,
    Say,
    Suspended,
    Take,
)
from zcc.messages import Beat, Hello, Message, PeerRole

STEP_S = 0.5
NAME = session_id("member")


class Conversation:
    """`enrolled` is what the broker has the member's key for, `role` what the member says that it is."""

    def __init__(
        self,
        role: PeerRole = PeerRole.CLIENT,
        enrolled: PeerRole | None = None,
        farm: str = "testfarm",
        first_answer_s: float = math.inf,
    ) -> None:
        self.enrolled = enrolled or role
        self.is_cut = False
        # A connection's number: the broker knows the member under another route on each.
        self.connection = 1
        self.told: list[Opened | Suspended | Lost] = []
        self.said: list[Message] = []
        self.taken: list[Message] = []
        self._coming: deque[tuple[bytes, list[bytes]]] = deque()
        self.start_broker(100.0)
        hello = Hello(NAME, role.value, farm, "member", "0", 2, (), ())
        self.member = MemberSession(hello, self.desk.now, first_answer_s)

    # ---- the line ------------------------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        return Origin(f"route{self.connection}".encode(), "user", self.enrolled)

    def start_broker(self, now: float) -> None:
        """A broker that knows no session, in the place of the one that was."""
        self.desk = Desk(now=now)
        self.desk.on_send = lambda route, message: self._coming.append(
            (route, codec.encode(message))
        )
        self.connection += 1

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self.is_cut = True

    def mend(self) -> None:
        """The member's link has dialled again."""
        self.is_cut = False
        self.connection += 1

    # ---- what happens --------------------------------------------------------------------------

    def tell(self, event: MemberEvent) -> None:
        """Something happens to the member; all that follows happens as well."""
        self._perform(self.member.handle(event, self.desk.now))
        self._arrive()

    def beat(self) -> None:
        self.tell(BeatDue())

    def leave(self) -> None:
        self.tell(LeaveAsked("over"))

    def happen(self, event: events.Event) -> None:
        """Something happens to the broker."""
        self.desk.happen(event)
        self._arrive()

    def pass_time(self, seconds: float) -> None:
        for step in range(round(seconds / STEP_S)):
            self.desk.pass_time(STEP_S)
            self._arrive()
            if step % 2:
                self.beat()

    def _arrive(self) -> None:
        while self._coming:
            route, frames = self._coming.popleft()
            if route == self.origin.route and not self.is_cut:
                self._perform(self.member.handle(FramesCame(frames), self.desk.now))

    def _perform(self, effects: list[MemberEffect]) -> None:
        for effect in effects:
            match effect:
                case Say(message):
                    assert not isinstance(message, Beat) or self.member.is_open
                    assert not isinstance(message, Hello) or not self.member.is_open
                    self.say(message)
                case Take(message):
                    self.taken.append(message)
                case Opened() | Suspended() | Lost():
                    self._note(effect)
                case PassOver():
                    pass

    def _note(self, told: Opened | Suspended | Lost) -> None:
        """It opens when it is not open, and is suspended when it is."""
        was_open = bool(self.told) and isinstance(self.told[-1], Opened)
        assert not (was_open and isinstance(told, Opened))
        assert was_open or not isinstance(told, Suspended)
        assert self.member.is_open == isinstance(told, Opened)
        self.told.append(told)

    def say(self, message: Message) -> None:
        """The member, or who uses its connection, says this. As the broker's shell reads it."""
        self.said.append(message)
        if not self.is_cut and not self.desk.machine.is_banned(self.origin.route):
            self.desk.say(self.origin, codec.decode(codec.encode(message)))
