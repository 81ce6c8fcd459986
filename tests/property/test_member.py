"""Whatever line and broker do, a member has one session again when both are well."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.core import events
from broker.core.limits import BAN_S
from tests.support.member_world import NAME, Conversation
from zcc.membership import FramesCame, KeyAnswered, Opened
from zcc.messages import LOST_AFTER_S, PROTOCOL, Bye, PeerRole

ROLES = (PeerRole.CLIENT, PeerRole.NODE)
# Any ban is over, any loss is seen, and Hello has been said since.
LONG_S = BAN_S + LOST_AFTER_S + 2.0


class MemberRules(RuleBasedStateMachine):
    @initialize(role=st.sampled_from(ROLES), first_answer_s=st.sampled_from((3.0, 1e9)))
    def start(self, role: PeerRole, first_answer_s: float) -> None:
        self.role = role
        self.talk = Conversation(role, first_answer_s=first_answer_s)

    @rule(seconds=st.sampled_from((0.5, 1.0, 3.0, 7.0)))
    def time_passes(self, seconds: float) -> None:
        self.talk.pass_time(seconds)

    @rule()
    def beat_comes_early(self) -> None:
        self.talk.beat()

    @rule()
    def line_is_cut(self) -> None:
        self.talk.cut()

    @rule()
    def line_is_mended(self) -> None:
        self.talk.mend()

    @rule()
    def line_was_slow(self) -> None:
        """It was never cut, but nothing came for a while."""
        self.talk.is_cut = False

    @rule()
    def broker_is_restarted(self) -> None:
        self.talk.start_broker(self.talk.desk.now)

    @rule()
    def broker_stops(self) -> None:
        self.talk.happen(events.StopRequested())

    @rule()
    def member_misbehaves(self) -> None:
        self.talk.happen(events.PeerMisbehaved(self.talk.origin, "nonsense"))

    @rule()
    def connection_is_gone(self) -> None:
        self.talk.happen(events.PeerUnreachable(self.talk.origin.route))

    @rule(is_admitted=st.booleans())
    def key_is_answered(self, is_admitted: bool) -> None:
        self.talk.tell(KeyAnswered(is_admitted))

    @rule()
    def key_is_revoked(self) -> None:
        self.talk.happen(events.KeyRevoked("user"))

    @rule(role=st.sampled_from(ROLES))
    def key_gets_a_role(self, role: PeerRole) -> None:
        """As when it has joined anew: its sessions end."""
        if role is not self.talk.enrolled:
            self.talk.happen(events.KeyRevoked("user", "another role"))
            self.talk.enrolled = role

    @rule(frames=st.sampled_from(([PROTOCOL, b"later", b"\x90"], [b"zcc/9", b"a", b""], [b"x"])))
    def broker_says_what_nobody_knows(self, frames: list[bytes]) -> None:
        self.talk.tell(FramesCame(frames))

    @invariant()
    def what_was_told_last_is_so(self) -> None:
        if hasattr(self, "talk"):
            is_open = bool(self.talk.told) and isinstance(self.talk.told[-1], Opened)
            assert is_open == self.talk.member.is_open
            assert not (is_open and self.talk.member.refusal)

    def teardown(self) -> None:
        if not hasattr(self, "talk"):
            return
        talk = self.talk
        talk.mend()
        talk.enrolled = self.role
        talk.tell(KeyAnswered(True))
        talk.pass_time(LONG_S)
        assert talk.member.is_open
        session = talk.desk.machine.farm.sessions.get(NAME)
        assert session is not None
        assert session.route == talk.origin.route
        assert len(talk.desk.machine.farm.sessions) == 1
        talk.leave()
        assert talk.said[-1] == Bye("over")
        assert not len(talk.desk.machine.farm.sessions)


TestMemberSession = MemberRules.TestCase
TestMemberSession.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
