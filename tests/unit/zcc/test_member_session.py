"""A member's session: what the broker's real machine makes of it, and what becomes of it."""

from __future__ import annotations

import math

import pytest

from broker.core import events
from broker.core.limits import BAN_S, HELLO_EVERY_S
from tests.support.broker_world import job
from tests.support.member_world import NAME, Conversation
from zcc import codec
from zcc.errors import ProtocolError
from zcc.holding import HOLDING_KEY_BYTES
from zcc.membership import (
    REVOKED,
    BeatDue,
    BrokerMisspoke,
    FramesCame,
    KeyAnswered,
    LeaveAsked,
    Lost,
    MemberSession,
    MemberStage,
    Opened,
    PassOver,
    Say,
    Suspended,
    Take,
)
from zcc.messages import (
    LOST_AFTER_S,
    PROTOCOL,
    Beat,
    Bye,
    Hello,
    Message,
    PeerRole,
    Refused,
    Settled,
    Welcome,
    Who,
)
from zcc.reasons import Reason

SILENT = Lost(Reason.BROKER_SILENT)


def kinds(told: list[Opened | Suspended | Lost]) -> list[type]:
    return [type(each) for each in told]


# ---- with the broker's machine -----------------------------------------------------------------


@pytest.mark.parametrize("role", [PeerRole.CLIENT, PeerRole.NODE, PeerRole.PUBLISHER])
def test_a_member_that_says_hello_is_welcomed_and_beats(role: PeerRole) -> None:
    talk = Conversation(role)
    talk.beat()
    (opened,) = talk.told
    assert isinstance(opened, Opened)
    assert (opened.welcome.session, opened.welcome.farm) == (NAME, "testfarm")
    talk.pass_time(30.0)
    assert talk.told == [opened]
    assert {type(each) for each in talk.said} == {Hello, Beat}
    assert talk.desk.machine.farm.sessions.get(NAME) is not None


def test_a_broker_that_was_restarted_is_told_who_speaks_with_the_next_beat() -> None:
    talk = Conversation()
    talk.beat()
    talk.start_broker(talk.desk.now)
    talk.beat()
    assert kinds(talk.told) == [Opened, Suspended, Opened]
    assert [type(each) for each in talk.said] == [Hello, Beat, Hello]


def test_a_member_that_dials_again_goes_on_with_its_session() -> None:
    """Its requests stand, as it is one session on another connection."""
    talk = Conversation()
    talk.beat()
    talk.desk.node("other")
    talk.desk.submit(talk.origin, 7, job("w"))
    talk.cut()
    talk.pass_time(2.0)
    talk.mend()
    talk.pass_time(1.0)
    assert kinds(talk.told) == [Opened, Suspended, Opened]
    session = talk.desk.machine.farm.sessions.on_route(talk.origin.route)
    assert session is not None
    assert list(session.tickets) == [7]


def test_both_sides_take_a_long_silence_for_the_end_and_begin_anew() -> None:
    talk = Conversation()
    talk.beat()
    talk.cut()
    talk.pass_time(LOST_AFTER_S + 2.0)
    assert talk.told[1:] == [SILENT]
    assert not len(talk.desk.machine.farm.sessions)
    talk.mend()
    talk.pass_time(1.0)
    assert kinds(talk.told) == [Opened, Lost, Opened]


def test_a_member_of_another_role_is_refused_once_and_let_in_when_its_key_has_it() -> None:
    talk = Conversation(PeerRole.NODE, enrolled=PeerRole.CLIENT)
    talk.pass_time(10.0)
    why = "role: this key is enrolled as client, not as node"
    assert talk.told == [Lost(Reason.SESSION_REFUSED, why)]
    assert talk.member.refusal == why
    assert len(talk.said) == 10
    talk.enrolled = PeerRole.NODE
    talk.pass_time(1.0)
    assert kinds(talk.told) == [Lost, Opened]
    assert talk.member.refusal == ""


def test_a_member_of_another_farm_is_told_which_one_it_has_reached() -> None:
    talk = Conversation(farm="another")
    talk.beat()
    assert talk.told == [Lost(Reason.SESSION_REFUSED, "farm: this is testfarm, not another")]


def test_a_member_that_is_banned_says_hello_until_it_is_heard_again() -> None:
    talk = Conversation()
    talk.beat()
    talk.happen(events.PeerMisbehaved(talk.origin, "nonsense"))
    assert talk.told[1:] == [Lost(Reason.BROKER_STOPPED, "protocol: nonsense")]
    talk.said.clear()
    talk.pass_time(BAN_S - 1.0)
    assert not talk.member.is_open
    assert {type(each) for each in talk.said} == {Hello}
    talk.pass_time(2.0)
    assert talk.member.is_open


def test_a_member_whose_key_is_revoked_is_told_so() -> None:
    talk = Conversation()
    talk.beat()
    talk.happen(events.KeyRevoked("user"))
    assert talk.told[1:] == [Lost(Reason.KEY_REVOKED, REVOKED)]
    assert talk.member.refusal == REVOKED


def test_a_broker_that_stops_says_so() -> None:
    talk = Conversation()
    talk.beat()
    talk.happen(events.StopRequested())
    assert talk.told[1:] == [Lost(Reason.BROKER_STOPPED, "stopping")]


def test_a_member_that_leaves_has_no_session_and_says_nothing_more() -> None:
    talk = Conversation()
    talk.beat()
    talk.leave()
    assert not len(talk.desk.machine.farm.sessions)
    talk.pass_time(10.0)
    assert talk.said[1:] == [Bye("over")]
    assert talk.member.stage is MemberStage.LEFT


def test_hellos_that_come_too_soon_open_one_session() -> None:
    talk = Conversation()
    talk.beat()
    for _ in range(5):
        talk.say(talk.member.hello)
        talk.pass_time(HELLO_EVERY_S)
    assert kinds(talk.told) == [Opened]
    assert len(talk.desk.machine.farm.sessions) == 1


# ---- by itself ---------------------------------------------------------------------------------

HELLO = Hello(NAME, "client", "", "member", "0", 0, (), ())
WELCOME = Welcome(NAME, "testfarm", "0", bytes(HOLDING_KEY_BYTES))


def came(message: Message) -> FramesCame:
    return FramesCame(codec.encode(message))


def dialling(first_answer_s: float = math.inf) -> MemberSession:
    return MemberSession(HELLO, 0.0, first_answer_s)


def opened() -> MemberSession:
    member = dialling()
    assert member.handle(came(WELCOME), 0.0) == [Opened(WELCOME)]
    return member


def test_a_broker_that_never_spoke_is_lost_when_patience_ends_and_dialled_all_the_same() -> None:
    member = dialling(first_answer_s=3.0)
    assert member.handle(BeatDue(), 3.0) == [Say(HELLO)]
    assert member.is_awaited
    assert member.handle(BeatDue(), 3.1) == [SILENT, Say(HELLO)]
    assert not member.is_awaited
    assert member.handle(BeatDue(), 90.0) == [Say(HELLO)]


def test_a_member_without_that_patience_dials_for_ever() -> None:
    assert dialling().handle(BeatDue(), 1e9) == [Say(HELLO)]


def test_part_of_a_message_is_a_sign_of_life() -> None:
    member = opened()
    assert member.handle(BeatDue(is_receiving=True), LOST_AFTER_S) == [Say(Beat(0.0))]
    assert member.handle(BeatDue(), 2 * LOST_AFTER_S) == [Say(Beat(0.0))]
    assert member.handle(BeatDue(), 2 * LOST_AFTER_S + 1) == [SILENT, Say(HELLO)]


def test_a_broker_that_asks_who_and_then_is_silent_is_lost() -> None:
    member = opened()
    assert member.handle(came(Who()), 1.0) == [Suspended(), Say(HELLO)]
    assert member.handle(came(Who()), 1.5) == [Say(HELLO)]
    assert member.is_awaited
    assert member.handle(BeatDue(), 7.0) == [SILENT, Say(HELLO)]


def test_a_second_welcome_changes_nothing() -> None:
    assert opened().handle(came(WELCOME), 1.0) == []


@pytest.mark.parametrize("message", [Beat(0.0), Refused(7, "no-nodes"), Settled(bytes(16))])
def test_what_is_not_about_the_session_is_handed_over(message: Message) -> None:
    assert opened().handle(came(message), 1.0) == [Take(message)]


def test_what_a_later_broker_says_is_passed_over() -> None:
    assert opened().handle(FramesCame([PROTOCOL, b"later", b"\x90"]), 1.0) == [PassOver(b"later")]


def test_what_is_no_message_ends_the_session() -> None:
    member = opened()
    (lost,) = member.handle(FramesCame([PROTOCOL, b"beat", b"nonsense"]), 1.0)
    assert isinstance(lost, Lost)
    assert lost.reason is Reason.PROTOCOL_ERROR
    assert member.refusal == ""
    wrong = BrokerMisspoke(ProtocolError("a chunk that nobody asked for"))
    assert opened().handle(wrong, 1.0) == [
        Lost(Reason.PROTOCOL_ERROR, "a chunk that nobody asked for")
    ]


def test_a_broker_of_another_protocol_is_a_refusal() -> None:
    member = opened()
    (lost,) = member.handle(FramesCame([b"zcc/9", b"bye", b"\x91\xa0"]), 1.0)
    assert isinstance(lost, Lost)
    assert "zcc/9 is spoken there" in lost.detail
    assert member.refusal == lost.detail


def test_a_loss_is_told_again_only_with_another_reason() -> None:
    member = opened()
    assert member.handle(came(Bye("stopping")), 1.0) == [Lost(Reason.BROKER_STOPPED, "stopping")]
    assert member.handle(came(Bye("stopping")), 2.0) == []
    assert member.handle(BeatDue(), 2.5 + LOST_AFTER_S) == [Say(HELLO)]
    assert member.handle(came(Refused(0, "no")), 13.0) == [Lost(Reason.SESSION_REFUSED, "no")]
    assert member.handle(came(Refused(0, "no")), 14.0) == []
    assert member.handle(came(WELCOME), 15.0) == [Opened(WELCOME)]
    assert member.handle(came(Refused(0, "no")), 16.0) == [Lost(Reason.SESSION_REFUSED, "no")]


def test_a_key_that_is_turned_away_is_refused_until_it_is_taken() -> None:
    member = dialling()
    assert member.handle(KeyAnswered(False), 1.0) == [Lost(Reason.KEY_REVOKED, REVOKED)]
    assert member.refusal == REVOKED
    assert member.handle(KeyAnswered(False), 31.0) == []
    assert member.handle(KeyAnswered(True), 61.0) == []
    assert member.refusal == ""
    assert not member.is_open
    assert member.handle(BeatDue(), 61.0) == [Say(HELLO)]


def test_who_has_left_is_moved_by_nothing() -> None:
    member = opened()
    assert member.handle(LeaveAsked("over"), 1.0) == [Say(Bye("over"))]
    for event in (came(WELCOME), came(Who()), BeatDue(), KeyAnswered(False), LeaveAsked("over")):
        assert member.handle(event, 99.0) == []
