"""The broker's machine: events in, exact effects out."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from broker.core import effects, events
from broker.core.effects import (
    AskBlobs,
    Audit,
    CloseTraffic,
    Deliver,
    DropPushes,
    Effect,
    NoteToolchain,
    OfferBlobs,
    OpenTraffic,
    Send,
    TakePushes,
)
from broker.core.events import Event, Origin
from broker.core.jobs import INPUT_BYTES, LEASE_KEY_BYTES
from broker.core.limits import (
    ASK_OTHERS_S,
    BUSY_AFTER_S,
    HELLO_EVERY_S,
    LOST_AFTER_S,
    MAX_ASKED,
    MAX_FAILED_JOBS,
    MAX_FAULTS,
    ORPHAN_S,
    QUARANTINE_S,
    RESUBMIT_S,
    REVOKES_AT_ONCE,
    STARTUP_GRACE_S,
    TELL_EVERY_S,
    UNDECIDED_FAULTS,
)
from broker.core.machine import _HANDLERS, _MESSAGE_HANDLERS
from broker.core.roles import ALLOWED
from tests.support.broker_world import Desk, blob, job, session_id
from zcc import __version__
from zcc.messages import (
    HAS_BEGUN_S,
    Absent,
    Announce,
    AskNodes,
    AskVoided,
    Beat,
    Busy,
    Bye,
    Cancel,
    Chunk,
    Credit,
    Done,
    Enrol,
    Failed,
    Fault,
    Finished,
    Hello,
    Leave,
    Nodes,
    PeerRole,
    Refused,
    Rejoin,
    Revoke,
    Settled,
    Started,
    StorageGet,
    StoragePut,
    StorageRemove,
    Submit,
    Want,
    Watch,
    Welcome,
    Who,
)


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def bulk_and_control(effects: list[Effect]) -> list[Effect]:
    kinds = (Send, Deliver, AskBlobs, OfferBlobs, OpenTraffic, CloseTraffic)
    return [effect for effect in effects if isinstance(effect, kinds)]


def test_every_event_and_every_message_that_a_role_may_send_has_a_handler() -> None:
    assert set(_HANDLERS) == set(get_args(Event))
    decoded_by_the_shell = {Hello, Enrol, Submit, Done, Want, Chunk, Credit}
    decoded_by_the_shell |= {StorageGet, StoragePut, StorageRemove, Rejoin, Leave, AskVoided, Watch}
    assert set(_MESSAGE_HANDLERS) == set().union(*ALLOWED.values()) - decoded_by_the_shell


# --- sessions -----------------------------------------------------------------------------------


def test_hello_opens_a_session_and_is_welcomed(desk: Desk) -> None:
    origin = events.Origin(b"r", "user", PeerRole.CLIENT)
    hello = Hello(session_id("a"), "client", "testfarm", "a", "0", 0, (), ())
    assert bulk_and_control(desk.say(origin, hello)) == [
        OpenTraffic(b"r", PeerRole.CLIENT, "user"),
        Send(b"r", Welcome(session_id("a"), "testfarm", __version__, bytes(32))),
    ]


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello(session_id("a"), "node", "", "a", "0", 0, (), ()), "role:"),
        (Hello(session_id("a"), "client", "other", "a", "0", 0, (), ()), "farm:"),
        (Hello(b"short", "client", "", "a", "0", 0, (), ()), "session:"),
        (Hello(session_id("a"), "client", "", "a", "0", 1 << 20, (), ()), "slots:"),
    ],
)
def test_a_hello_that_cannot_stand_is_refused(desk: Desk, hello: Hello, reason: str) -> None:
    origin = events.Origin(b"r", "user", PeerRole.CLIENT)
    (answer,) = bulk_and_control(desk.say(origin, hello))
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Refused)
    assert answer.message.ticket == 0
    assert answer.message.reason.startswith(reason)


def test_every_line_in_the_audit_log_that_a_peer_brings_about_names_a_key(desk: Desk) -> None:
    """So that the lines of one key can be summed up."""
    agent, node = desk.client("a"), desk.node("n")
    desk.say(node, Beat(0.0, "no room"))
    desk.say(node, Beat(0.0))
    for ticket in (1, 2, 3):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    first, second = desk.runs(node)[:2]
    desk.done(node, first.lease)
    desk.say(node, Failed(second.lease, Fault.INTERNAL.value, "broken"))
    desk.say(agent, Cancel(3))
    desk.say(agent, Bye("done"))
    lines = {each.what: dict(each.fields) for each in desk.effects if isinstance(each, Audit)}
    expected = {
        "open",
        "pause",
        "submit",
        "dispatch",
        "result",
        "fault",
        "refuse",
        "abandon",
        "close",
    }
    assert expected <= set(lines)
    assert all(fields["user"] in (agent.user, node.user) for fields in lines.values())


def test_names_and_reasons_of_nodes_are_passed_on_without_control_characters(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n\x1b[2J\n")
    for ticket, fault in ((1, Fault.REFUSED), (2, Fault.UNFIT)):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        (run,) = desk.runs(node)
        desk.say(node, Failed(run.lease, fault.value, "it\x1b[2Jsays"))
    desk.say(agent, AskNodes())
    desk.say(node, Beat(0.0, "no\nroom"))
    desk.say(agent, AskNodes())
    unfit, paused = (each.rows[0] for each in desk.got(agent, Nodes) if isinstance(each, Nodes))
    assert (unfit.name, unfit.reason, paused.reason) == ("n?[2J?", "it?[2Jsays", "no?room")
    (refused, _) = desk.got(agent, Refused)
    assert refused == Refused(1, "job-refused: it?[2Jsays")


def test_another_key_cannot_take_over_a_session(desk: Desk) -> None:
    desk.client("a")
    thief = events.Origin(b"thief", "other user", PeerRole.CLIENT)
    desk.say(thief, Hello(session_id("a"), "client", "", "a", "0", 0, (), ()))
    assert desk.got(thief, Refused)
    assert not desk.got(thief, Welcome)


def test_a_routing_id_is_no_identity(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    impostor = events.Origin(agent.route, "other user", PeerRole.CLIENT)
    desk.say(impostor, Cancel(1))
    assert desk.machine.farm.executions


def test_who_is_asked_of_a_stranger_but_not_in_a_flood(desk: Desk) -> None:
    stranger = events.Origin(b"s", "user", PeerRole.NODE)
    assert bulk_and_control(desk.say(stranger, Beat(0.0))) == [Send(b"s", Who())]
    assert bulk_and_control(desk.happen(events.StrangerSpoke(stranger))) == []
    desk.pass_time(1.5)
    assert bulk_and_control(desk.say(stranger, Beat(0.0))) == [Send(b"s", Who())]


def test_a_hello_that_is_said_again_too_soon_is_not_answered(desk: Desk) -> None:
    agent = desk.client("a")
    hello = Hello(session_id("a"), "client", "", "a", "0", 0, (), ())
    for _ in range(20):
        assert desk.say(agent, hello) == []
    desk.now += HELLO_EVERY_S
    assert [each for each in desk.say(agent, hello) if isinstance(each, OpenTraffic)]


def test_a_session_moves_to_the_route_that_it_comes_back_on(desk: Desk) -> None:
    desk.client("a")
    desk.now += HELLO_EVERY_S
    again = events.Origin(b"new", "user-a", PeerRole.CLIENT)
    effects = desk.say(again, Hello(session_id("a"), "client", "", "a", "0", 0, (), ()))
    assert bulk_and_control(effects)[:2] == [
        CloseTraffic(b"a"),
        OpenTraffic(b"new", PeerRole.CLIENT, "user-a"),
    ]
    assert len(desk.machine.farm.sessions) == 1


def test_a_silent_peer_is_lost_and_a_talking_one_is_not(desk: Desk) -> None:
    desk.client("silent")
    talking = desk.client("talking")
    effects = desk.pass_time(LOST_AFTER_S + 1, heard=frozenset((talking,)))
    assert CloseTraffic(b"silent") in effects
    assert CloseTraffic(b"talking") not in effects


def test_a_session_does_not_live_by_what_another_key_says_on_its_route(desk: Desk) -> None:
    gone = desk.client("gone")
    another = replace(gone, user="another")
    assert CloseTraffic(b"gone") in desk.pass_time(LOST_AFTER_S + 1, heard=frozenset((another,)))


def test_a_pause_of_the_broker_itself_loses_nobody(desk: Desk) -> None:
    desk.client("a")
    desk.now += 60.0
    desk.happen(events.Ticked(frozenset()))
    assert len(desk.machine.farm.sessions) == 1


def test_everybody_is_sent_a_beat_each_second(desk: Desk) -> None:
    agent = desk.client("a")
    desk.pass_time(4.0, heard=frozenset((agent,)))
    assert len(desk.got(agent, Beat)) == 4


def test_a_misbehaving_peer_is_dropped_counted_and_ignored_for_a_while(desk: Desk) -> None:
    agent = desk.client("a")
    desk.happen(events.PeerMisbehaved(agent, "nonsense"))
    assert desk.got(agent, Bye) == [Bye("protocol: nonsense")]
    assert desk.machine.violations == 1
    assert desk.machine.is_banned(agent.route)
    assert not len(desk.machine.farm.sessions)
    desk.pass_time(11.0)
    assert not desk.machine.is_banned(agent.route)


def test_a_revoked_key_loses_all_its_sessions(desk: Desk) -> None:
    first = desk.client("a", user="shared")
    second = desk.client("b", user="shared")
    other = desk.client("c")
    desk.happen(events.KeyRevoked("shared"))
    assert desk.got(first, Bye) == desk.got(second, Bye) == [Bye("revoked")]
    assert not desk.got(other, Bye)


# --- grant first, upload after ------------------------------------------------------------------


def test_a_job_whose_inputs_are_here_runs_at_once(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    facts = job("x", inputs=())
    desk.submit(agent, 1, facts)
    (run,) = desk.runs(node)
    assert (run.key, run.body) == (facts.key, b"job x")
    assert run.lease[:LEASE_KEY_BYTES] == facts.key[:LEASE_KEY_BYTES]
    assert len(run.lease) == 16


def test_inputs_are_asked_for_and_then_the_job_runs(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    effects = desk.submit(agent, 1, job("x"))
    assert AskBlobs(agent.route, (blob("x.c"),)) in effects
    assert not desk.runs(node)
    desk.stored(blob("x.c"))
    assert len(desk.runs(node)) == 1


def test_nothing_is_asked_for_before_a_slot_is_near(desk: Desk) -> None:
    agent, _ = desk.client("a"), desk.node("n", slots=2)
    for ticket in range(20):
        desk.submit(agent, ticket + 1, job(f"x{ticket}"))
    asked = [digest for want in desk.got(agent, Want) for digest, _ in want.blobs]
    assert len(asked) == 3  # two idle slots, one soon


def test_a_blob_that_several_jobs_lack_is_asked_for_once(desk: Desk) -> None:
    one, two = desk.client("a"), desk.client("b", user="user-a")
    node = desk.node("n")
    desk.submit(one, 1, job("x", inputs=("common.h",)))
    effects = desk.submit(two, 1, job("y", inputs=("common.h",)))
    assert not [effect for effect in effects if isinstance(effect, AskBlobs)]
    desk.stored(blob("common.h"))
    assert len(desk.runs(node)) == 2


@pytest.mark.parametrize("way", ["absent", "lost", "stalled"])
def test_another_agent_is_asked_when_the_first_cannot_supply(desk: Desk, way: str) -> None:
    one, two = desk.client("a"), desk.client("b", user="user-a")
    desk.node("n")
    desk.submit(one, 1, job("x", inputs=("common.h",)))
    desk.submit(two, 1, job("y", inputs=("common.h",)))
    effects = {
        "absent": lambda: desk.say(one, Absent(blob("common.h"))),
        "lost": lambda: desk.say(one, Bye("")),
        "stalled": lambda: desk.happen(events.UploadStalled(one.route)),
    }[way]()
    assert AskBlobs(two.route, (blob("common.h"),)) in effects


def messages_to(desk: Desk, origin: Origin) -> list[object]:
    return [each for each in desk.sent[origin.route] if not isinstance(each, Welcome | Beat)]


def test_who_names_anothers_file_is_asked_for_it_as_for_one_that_nobody_has(desk: Desk) -> None:
    owner, node = desk.client("owner"), desk.node("n")
    desk.submit(owner, 1, job("x", inputs=("secret.c",)))
    desk.stored(blob("secret.c"))
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    saw = []
    for name in ("secret.c", "nobody-has-this.c"):
        thief = desk.client(f"thief of {name}")
        desk.submit(thief, 1, job(f"of {name}", inputs=(name,)), shows=False)
        assert messages_to(desk, thief) == [Want(((blob(name), 0),))]
        desk.say(thief, Absent(blob(name)))
        assert not desk.runs(node)
        saw.append(messages_to(desk, thief)[1:])
    assert saw[0] == saw[1] == [Refused(1, "input-absent")]


def test_who_names_a_file_that_is_on_its_way_from_another_sees_nothing_of_it(desk: Desk) -> None:
    owner, node = desk.client("owner"), desk.node("n")
    thief = desk.client("thief")
    desk.submit(owner, 1, job("x", inputs=("secret.c",)))
    desk.submit(thief, 1, job("y", inputs=("secret.c",)), shows=False)
    assert messages_to(desk, thief) == [Want(((blob("secret.c"), 0),))]
    desk.store.add(blob("secret.c"))
    desk.happen(events.BlobStored(blob("secret.c"), "user-owner"))
    assert len(desk.runs(node)) == 1
    assert messages_to(desk, thief) == [Want(((blob("secret.c"), 0),))]


def test_a_whole_job_of_anothers_is_neither_joined_nor_answered_from_memory(desk: Desk) -> None:
    owner, node, thief = desk.client("owner"), desk.node("n"), desk.client("thief")
    facts = job("x", inputs=("secret.c",))
    desk.submit(owner, 1, facts)
    desk.stored(blob("secret.c"))
    desk.submit(thief, 1, facts, shows=False)
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    desk.submit(thief, 2, facts, events.Recalled("n", (blob("x.o"),), b"result"), shows=False)
    desk.say(thief, Absent(blob("secret.c")))
    seen = messages_to(desk, thief)
    assert not [each for each in seen if isinstance(each, Finished)]
    assert [each.ticket for each in seen if isinstance(each, Refused)] == [1, 2]


def test_who_sends_the_files_of_a_job_that_runs_joins_it(desk: Desk) -> None:
    owner, node, other = desk.client("owner"), desk.node("n"), desk.client("other")
    facts = job("x", inputs=("x.c",))
    desk.submit(owner, 1, facts)
    desk.stored(blob("x.c"))
    (run,) = desk.runs(node)
    desk.submit(other, 1, facts, shows=False)
    desk.happen(events.BlobStored(blob("x.c"), "user-other"))
    assert not desk.runs(node)
    desk.done(node, run.lease)
    (finished,) = desk.got(other, Finished)
    assert isinstance(finished, Finished)
    assert finished.shared


def test_what_was_sent_once_need_not_be_shown_again(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4)
    desk.submit(agent, 1, job("x", inputs=("common.h",)))
    desk.stored(blob("common.h"))
    desk.submit(agent, 2, job("y", inputs=("common.h",)), shows=False)
    assert len(desk.runs(node)) == 2


def test_a_revoked_key_has_shown_nothing(desk: Desk) -> None:
    agent, _ = desk.client("a"), desk.node("n", slots=4)
    desk.submit(agent, 1, job("x", inputs=("common.h",)))
    desk.stored(blob("common.h"))
    desk.happen(events.KeyRevoked("user-a"))
    desk.sent[agent.route].clear()
    again = desk.client("a")
    desk.submit(again, 1, job("x", inputs=("common.h",)), shows=False)
    assert desk.got(again, Want)


def test_a_file_of_anothers_is_no_toolchain(desk: Desk) -> None:
    owner, node, thief = desk.client("owner"), desk.node("n"), desk.client("thief")
    desk.submit(owner, 1, job("x", inputs=("secret.c",)))
    desk.stored(blob("secret.c"))
    desk.runs(node)
    desk.submit(thief, 1, job("y", inputs=(), toolchain="secret.c"))
    assert messages_to(desk, thief) == [Want(((blob("secret.c"), 0),))]
    assert not desk.runs(node)


def test_a_toolchain_that_its_holder_has_sent_serves_everybody(desk: Desk) -> None:
    one, two, node = desk.client("a"), desk.client("b"), desk.node("n")
    desk.submit(one, 1, job("x", inputs=(), toolchain="clang"))
    desk.stored(blob("clang"))
    desk.submit(two, 1, job("y", inputs=(), toolchain="clang"))
    first, second = desk.runs(node)
    assert not desk.got(two, Want)
    assert NoteToolchain(blob("clang"), one.user) in desk.done(node, first.lease)
    assert not [each for each in desk.done(node, second.lease) if isinstance(each, NoteToolchain)]


def test_a_job_of_very_many_files_asks_for_some_at_a_time(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    names = tuple(f"{number}.h" for number in range(2 * MAX_ASKED + 10))
    desk.submit(agent, 1, job("x", inputs=names))
    for count in (MAX_ASKED, MAX_ASKED, 10):
        (want,) = desk.got(agent, Want)
        desk.sent[agent.route].clear()
        assert isinstance(want, Want)
        assert len(want.blobs) == count
        desk.stored(*(digest for digest, _ in want.blobs))
    assert len(desk.runs(node)) == 1


def test_what_is_remembered_answers_once_all_inputs_were_sent(desk: Desk) -> None:
    agent, _ = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x"))
    desk.recalls[job("x").key] = events.Recalled("n", (blob("x.o"),), b"result")
    effects = desk.stored(blob("x.c"))
    (finished,) = [each.message for each in effects if isinstance(each, Deliver)]
    assert isinstance(finished, Finished)
    assert finished.is_recalled


def test_who_wants_a_fresh_result_gets_one_though_others_would_take_the_old(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins a job that is about to be answered from memory, as its inputs have just been shown."""
    one, other, node = desk.client("a"), desk.client("b"), desk.node("n")
    looked_for: list[effects.FindMissing] = []
    perform = desk._perform

    def look_later(effect: effects.Effect) -> list[events.Event]:
        if isinstance(effect, effects.FindMissing) and effect.recalls:
            looked_for.append(effect)
            return []
        return perform(effect)

    monkeypatch.setattr(desk, "_perform", look_later)
    desk.submit(one, 1, job("x"))
    desk.stored(blob("x.c"))
    desk.submit(other, 1, job("x"), is_fresh=True)
    (effect,) = looked_for
    recalled = events.Recalled("n", (blob("x.o"),), b"result")
    desk.happen(events.InputsChecked(effect.key, frozenset(), recalled))
    assert not desk.got(one, Finished)
    assert not desk.got(other, Finished)
    assert len(desk.runs(node)) == 1


def test_a_job_whose_inputs_nobody_has_is_refused(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x"))
    desk.say(agent, Absent(blob("x.c")))
    assert desk.got(agent, Refused) == [Refused(1, "input-absent")]
    assert not desk.machine.farm.executions


def test_a_toolchain_on_its_way_holds_up_only_its_own_jobs(desk: Desk) -> None:
    slow, quick = desk.client("slow"), desk.client("quick")
    node = desk.node("n", slots=2)
    for ticket in range(10):
        desk.submit(slow, ticket + 1, job(f"s{ticket}", inputs=(), toolchain="clang"))
    assert desk.got(slow, Want) == [Want(((blob("clang"), 0),))]
    desk.submit(quick, 1, job("q", inputs=()))
    assert len(desk.runs(node)) == 1
    desk.stored(blob("clang"))
    assert len(desk.runs(node)) == 2  # one slot and one ahead


def test_the_brokers_full_disk_sends_the_jobs_home(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x"))
    desk.happen(events.BlobUnstorable(blob("x.c"), "user-a"))
    assert desk.got(agent, Refused) == [Refused(1, "broker-disk")]


def test_a_useless_upload_is_asked_for_anew(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x"))
    effects = desk.happen(events.BlobSpoiled(blob("x.c"), "user-a"))
    assert AskBlobs(agent.route, (blob("x.c"),)) in effects


def test_a_node_gets_the_blobs_of_its_leases_and_no_others(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=("x.c",)))
    desk.stored(blob("x.c"))
    effects = desk.happen(
        events.BlobsWanted(node, ((blob("x.c"), 0), (blob("gcc"), 7), (blob("secret"), 0)), ())
    )
    assert bulk_and_control(effects) == [
        Send(node.route, Absent(blob("secret"))),
        OfferBlobs(node.route, ((blob("x.c"), 0), (blob("gcc"), 7))),
    ]


def test_a_node_that_asks_for_a_toolchain_lacks_it_and_one_that_comes_back_has_it(
    desk: Desk,
) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1, user="n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    desk.done(node, run.lease)
    desk.say(node, Bye(""))
    again = Origin(b"n2", "n", PeerRole.NODE)
    hello = Hello(session_id("n2"), "node", "", "n", "0", 1, (), ())
    desk.say(again, hello)
    (known,) = desk.machine.farm.nodes
    assert known.toolchains == {blob("gcc")}
    desk.submit(agent, 2, job("y", inputs=()))
    (run,) = desk.runs(again)
    desk.happen(events.BlobsWanted(again, ((blob("gcc"), 0),), ()))
    assert not known.toolchains
    assert blob("gcc") in known.supplies
    assert known.leases[run.lease].had_to_fetch


def test_a_node_may_fetch_what_any_of_its_leases_names_and_another_node_may_not(desk: Desk) -> None:
    agent, node, other = desk.client("a"), desk.node("n", slots=2), desk.node("full", slots=0)
    for ticket, name in enumerate(("x", "y"), 1):
        desk.submit(agent, ticket, job(name, inputs=(f"{name}.c", "shared.h")))
    desk.stored(*map(blob, ("x.c", "y.c", "shared.h")))
    assert len(desk.runs(node)) == 2
    asked = [blob(name) for name in ("x.c", "y.c", "shared.h", "gcc", "secret")]
    fetchable = desk.machine.fetchable(node, asked)
    assert [digest in fetchable for digest in asked] == [True, True, True, True, False]
    assert not any(digest in desk.machine.fetchable(other, asked) for digest in asked)


def test_a_blob_that_the_store_has_lost_is_asked_for_again_for_the_node(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x"))
    desk.stored(blob("x.c"))
    desk.store.discard(blob("x.c"))
    effects = desk.happen(events.BlobsWanted(node, (), ((blob("x.c"), 9),)))
    assert bulk_and_control(effects) == [AskBlobs(agent.route, (blob("x.c"),))]
    effects = desk.stored(blob("x.c"))
    assert OfferBlobs(node.route, ((blob("x.c"), 9),)) in effects


# --- results, twins, cancels --------------------------------------------------------------------


def test_a_result_goes_to_its_agent_behind_its_outputs(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 7, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    assert bulk_and_control(desk.done(node, run.lease)) == [
        Deliver(agent.route, (blob("output"),), Finished(7, "n", 0.0, False, False, b"result")),
        Send(node.route, Settled(run.lease)),
    ]
    assert not desk.machine.farm.executions


def test_a_node_pushes_for_a_lease_that_it_holds_and_no_more_than_the_job_may_write(
    desk: Desk,
) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    outputs = (blob("output"),)
    assert desk.say(node, Announce(run.lease, outputs)) == [
        TakePushes(node.route, run.lease, outputs, True)
    ]
    desk.say(node, Announce(run.lease, (blob("output"), blob("junk"))))
    assert "of a job that writes at most 1" in desk.got(node, Bye)[-1].reason


def test_a_node_that_holds_no_lease_may_push_nothing(desk: Desk) -> None:
    node = desk.node("n")
    desk.say(node, Announce(b"a lease of none.", (blob("junk"),)))
    assert "does not hold" in desk.got(node, Bye)[-1].reason
    assert desk.machine.violations == 1


@pytest.mark.parametrize("way", ["revoked", "done"])
def test_what_a_node_pushes_for_a_lease_that_is_just_over_passes_by(desk: Desk, way: str) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    ended = desk.done(node, run.lease) if way == "done" else desk.say(agent, Cancel(1))
    assert DropPushes(node.route, run.lease) in ended
    outputs = (blob("output"),)
    assert desk.say(node, Announce(run.lease, outputs)) == [
        TakePushes(node.route, run.lease, outputs, False)
    ]
    assert not desk.got(node, Bye)


def test_a_node_that_comes_back_pushes_for_leases_of_a_broker_before_us(desk: Desk) -> None:
    lease = b"0123456789ab" + b"salt"
    node = desk.node("n", leases=(lease,))
    outputs = (blob("output"),)
    assert desk.say(node, Announce(lease, outputs)) == [
        TakePushes(node.route, lease, outputs, False)
    ]


def test_a_key_runs_once_for_all_who_submit_it(desk: Desk) -> None:
    one, two = desk.client("a"), desk.client("b")
    node = desk.node("n")
    desk.submit(one, 1, job("x", inputs=()))
    desk.submit(two, 5, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    assert [message.shared for message in desk.got(one, Finished)] == [False]
    assert [message.shared for message in desk.got(two, Finished)] == [True]


def test_a_job_that_all_have_cancelled_is_revoked_and_one_that_some_want_is_not(
    desk: Desk,
) -> None:
    one, two = desk.client("a"), desk.client("b")
    node = desk.node("n")
    desk.submit(one, 1, job("x", inputs=()))
    desk.submit(two, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.say(one, Cancel(1))
    assert not desk.got(node, Revoke)
    desk.say(two, Cancel(1))
    assert desk.got(node, Revoke) == [Revoke(run.lease)]
    assert bulk_and_control(desk.done(node, run.lease)) == [Send(node.route, Settled(run.lease))]


def test_a_ticket_submitted_again_is_the_same_request(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    assert len(desk.got(agent, Finished)) == 1


def test_a_ticket_for_two_jobs_is_a_violation(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    desk.submit(agent, 1, job("y", inputs=()))
    assert desk.machine.violations == 1


def test_requests_from_before_a_hello_are_void_unless_submitted_again(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4)
    desk.submit(agent, 1, job("kept", inputs=()))
    desk.submit(agent, 2, job("dropped", inputs=()))
    kept, dropped = desk.runs(node)
    desk.client("a")
    desk.submit(agent, 1, job("kept", inputs=()))
    desk.pass_time(RESUBMIT_S, heard=frozenset((agent, node)))
    assert desk.got(node, Revoke) == [Revoke(dropped.lease)]
    desk.done(node, kept.lease)
    assert [message.ticket for message in desk.got(agent, Finished)] == [1]


def test_a_lost_agents_jobs_are_taken_back(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.pass_time(LOST_AFTER_S + 1, heard=frozenset((node,)))
    assert desk.got(node, Revoke) == [Revoke(run.lease)]


# --- leases that are lost -----------------------------------------------------------------------


def test_a_lost_node_gives_its_jobs_back(desk: Desk) -> None:
    agent, first = desk.client("a"), desk.node("first")
    desk.submit(agent, 1, job("x", inputs=()))
    assert len(desk.runs(first)) == 1
    second = desk.node("second")
    desk.pass_time(LOST_AFTER_S + 1, heard=frozenset((agent, second)))
    assert len(desk.runs(second)) == 1


def test_a_job_that_fails_on_a_node_goes_to_another_and_then_home(desk: Desk) -> None:
    agent, one, two = desk.client("a"), desk.node("one"), desk.node("two")
    desk.node("three")
    desk.submit(agent, 1, job("x", inputs=()))
    tried = []
    for _ in range(2):
        node, run = next((n, r) for n in (one, two) for r in desk.runs(n))
        tried.append(node.route)
        desk.say(node, Failed(run.lease, Fault.SANDBOX.value, "no bwrap"))
        assert Settled(run.lease) in desk.got(node, Settled)
    assert len(set(tried)) == 2
    assert desk.got(agent, Refused) == [Refused(1, "nodes-failed")]


def test_a_result_without_its_outputs_is_a_fault(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.done(node, run.lease, is_complete=False)
    assert desk.got(node, Settled) == [Settled(run.lease)]
    assert desk.got(agent, Refused) == [Refused(1, "no-nodes")]


def test_a_stopping_node_hands_over_without_blame(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    other = desk.node("other")
    desk.say(node, Failed(run.lease, Fault.STOPPING.value, ""))
    assert len(desk.runs(other)) == 1
    assert not desk.runs(node)
    assert next(iter(desk.machine.farm.executions.values())).losses == 0


def fail_on(desk: Desk, bad: Origin, good: Origin, agent: Origin, count: int) -> None:
    """So many jobs of this agent's fail on one node and then succeed on another."""
    failed = 0
    ticket = 10_000 * len(agent.user) + len(desk.effects)
    while failed < count:
        ticket += 1
        desk.submit(agent, ticket, job(f"{agent.user} {ticket}", inputs=()))
        for run in desk.runs(bad):
            desk.say(bad, Failed(run.lease, Fault.SANDBOX.value, ""))
            failed += 1
        for run in desk.runs(good):
            desk.done(good, run.lease)


def states_of(desk: Desk) -> dict[str, str]:
    watcher = desk.hello("m", PeerRole.MONITOR)
    desk.say(watcher, AskNodes())
    nodes = desk.got(watcher, Nodes)[-1]
    assert isinstance(nodes, Nodes)
    return {row.name: row.state for row in nodes.rows}


def runs_of(desk: Desk, agent: Origin, node: Origin, others: list[Origin]) -> bool:
    """Whether some of this agent's next jobs go to the node."""
    for number in range(40):
        name = f"probe {agent.user} {number} {desk.now}"
        desk.submit(agent, 50_000 + number, job(name, inputs=()))
    found = bool(desk.runs(node))
    for number in range(40):
        desk.say(agent, Cancel(50_000 + number))
    for each in (node, *others):
        desk.runs(each)
    return found


def test_a_node_with_faults_of_one_keys_jobs_is_put_aside_for_that_key(desk: Desk) -> None:
    one, two = desk.client("one"), desk.client("two")
    bad, good = desk.node("bad", slots=8), desk.node("good", slots=8)
    alive = frozenset((one, two, bad, good))
    fail_on(desk, bad, good, one, MAX_FAULTS)
    assert states_of(desk) == {"bad": "ready", "good": "ready"}
    assert not runs_of(desk, one, bad, [good])
    assert runs_of(desk, two, bad, [good])
    desk.pass_time(QUARANTINE_S + 1, heard=alive)
    assert runs_of(desk, one, bad, [good])


def test_faults_that_no_one_key_explains_put_a_node_in_quarantine_for_a_while(desk: Desk) -> None:
    agents = [desk.client(name) for name in ("one", "two")]
    bad, good = desk.node("bad", slots=8), desk.node("good", slots=8)
    alive = frozenset((*agents, bad, good))
    for agent in agents:
        assert states_of(desk) == {"bad": "ready", "good": "ready"}
        fail_on(desk, bad, good, agent, MAX_FAULTS)
    assert states_of(desk) == {"bad": "quarantined", "good": "ready"}
    assert not runs_of(desk, desk.client("third"), bad, [good])
    desk.pass_time(QUARANTINE_S + 1, heard=alive)
    assert next(iter(desk.machine.farm.nodes)).is_usable(desk.now)


def test_a_job_that_is_over_its_time_is_nobodys_fault(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("one"), desk.node("two")]
    for ticket in range(2 * MAX_FAILED_JOBS):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        fail_everywhere(desk, nodes, Fault.DEADLINE)
    assert faults_of(desk) == {"one": 0, "two": 0}
    assert {each.reason for each in desk.got(agent, Refused)} == {"nodes-failed"}


def faults_of(desk: Desk) -> dict[str, int]:
    return {node.session.name: node.record.faults for node in desk.machine.farm.nodes}


def fail_everywhere(desk: Desk, nodes: list[Origin], fault: Fault = Fault.INTERNAL) -> None:
    """What the nodes have been given fails, on each that gets it."""
    while runs := [(node, run) for node in nodes for run in desk.runs(node)]:
        for node, run in runs:
            desk.say(node, Failed(run.lease, fault.value, "as always"))


def test_a_job_that_fails_on_two_nodes_tells_on_its_key_and_on_no_node(desk: Desk) -> None:
    bad, good = desk.client("bad"), desk.client("good")
    nodes = [desk.node("one"), desk.node("two")]
    for ticket in range(MAX_FAILED_JOBS):
        desk.submit(bad, ticket, job(f"x{ticket}", inputs=()))
        fail_everywhere(desk, nodes)
    assert faults_of(desk) == {"one": 0, "two": 0}
    reasons = [each.reason for each in desk.got(bad, Refused) if isinstance(each, Refused)]
    assert reasons == ["nodes-failed"] * MAX_FAILED_JOBS
    desk.submit(bad, 99, job("y", inputs=()))
    assert desk.got(bad, Refused)[-1] == Refused(99, "jobs-failed")
    desk.submit(good, 1, job("z", inputs=()))
    assert sum(len(desk.runs(node)) for node in nodes) == 1
    desk.pass_time(QUARANTINE_S + 1, heard=frozenset(each for each in (bad, good, *nodes)))
    desk.submit(bad, 100, job("y", inputs=()))
    assert desk.got(bad, Refused)[-1] == Refused(99, "jobs-failed")


def test_inputs_that_no_node_can_use_and_that_are_whole_tell_on_the_key(desk: Desk) -> None:
    """A job may name a directory that leads nowhere: each try has the broker re-read what it names."""
    bad, good, nodes = desk.client("a"), desk.client("b"), [desk.node("one"), desk.node("two")]
    for ticket in range(MAX_FAILED_JOBS):
        desk.submit(bad, ticket, job(f"x{ticket}", inputs=()))
        fail_everywhere(desk, nodes, Fault.INPUT)
    desk.submit(bad, 99, job("y", inputs=()))
    assert desk.got(bad, Refused)[-1] == Refused(99, "jobs-failed")
    assert faults_of(desk) == {"one": 0, "two": 0}
    desk.submit(good, 1, job("z", inputs=()))
    assert sum(len(desk.runs(node)) for node in nodes) == 1


def test_inputs_that_one_node_alone_cannot_use_and_that_are_whole_tell_on_it(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("liar"), desk.node("honest")]
    for ticket in range(2 * MAX_FAILED_JOBS):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        for node in (*nodes, *nodes):
            for run in desk.runs(node):
                if node is nodes[0]:
                    desk.say(node, Failed(run.lease, Fault.INPUT.value, "so it says"))
                else:
                    desk.done(node, run.lease)
    assert len(desk.got(agent, Finished)) == 2 * MAX_FAILED_JOBS
    assert not desk.got(agent, Refused)
    assert faults_of(desk) == {"liar": MAX_FAULTS, "honest": 0}
    assert not runs_of(desk, agent, nodes[0], nodes[1:])


def test_a_complaint_that_others_bear_out_is_not_the_jobs_fault(desk: Desk) -> None:
    """One node that lies, and one whose blob was evicted while it asked for it."""
    agent, liar, honest = desk.client("a"), desk.node("liar"), desk.node("honest")
    facts = job("x")
    desk.store.update(facts.inputs)
    desk.submit(agent, 1, facts)
    nodes = [liar, honest]
    for is_evicted in (False, True):
        ((node, run),) = ((node, run) for node in nodes for run in desk.runs(node))
        if is_evicted:
            desk.store.difference_update(facts.inputs)
        desk.say(node, Failed(run.lease, Fault.INPUT.value, "so it says"))
    assert desk.got(agent, Refused) == [Refused(1, "nodes-failed")]
    assert not desk.machine.farm.blame._keys


def test_two_nodes_of_one_key_are_one_voice_against_a_job(desk: Desk) -> None:
    """One node key had any client refused for half an hour, by two names that fail whatever they get."""
    agent, honest = desk.client("a"), desk.node("honest", slots=1)
    liars = [desk.node(f"liar{number}", slots=64, user="user-liar") for number in range(3)]
    faults = (Fault.INTERNAL, Fault.INPUT, Fault.REFUSED, Fault.RESOURCES, Fault.DEADLINE)
    for ticket in range(4 * MAX_FAILED_JOBS):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        for liar in liars:
            for run in desk.runs(liar):
                fault = faults[ticket % len(faults)]
                desk.say(liar, Failed(run.lease, fault.value, "so it says"))
        assert not any(desk.runs(liar) for liar in liars), ticket
        late = desk.node(f"late{ticket}", slots=64, user="user-liar")
        assert not desk.runs(late)
        liars.append(late)
        for run in desk.runs(honest):
            desk.done(honest, run.lease)
    assert len(desk.got(agent, Finished)) == 4 * MAX_FAILED_JOBS
    assert not desk.got(agent, Refused)


def test_nodes_of_one_key_try_a_job_in_turn_where_there_is_no_other(desk: Desk) -> None:
    agent = desk.client("a")
    nodes = [desk.node(name, slots=1, user="user-farm") for name in ("one", "two")]
    desk.submit(agent, 1, job("x", inputs=()))
    ((first, run),) = [(node, run) for node in nodes for run in desk.runs(node)]
    desk.say(first, Failed(run.lease, Fault.INTERNAL.value, ""))
    ((second, run),) = [(node, run) for node in nodes for run in desk.runs(node)]
    assert first != second
    desk.done(second, run.lease)
    assert len(desk.got(agent, Finished)) == 1


@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.REFUSED, Fault.INPUT])
def test_one_node_keys_word_keeps_a_clients_jobs_from_that_keys_nodes_alone(
    desk: Desk, fault: Fault
) -> None:
    """Its nodes alone offered a machine class, failed five of it, and had the client refused everywhere."""
    agent, honest = desk.client("a"), desk.node("honest")
    liars = [
        desk.hello(name, PeerRole.NODE, 8, user="user-liar", classes=(b"native",))
        for name in ("one", "two")
    ]
    for ticket in range(2 * MAX_FAILED_JOBS):
        facts = job(f"x{ticket}", inputs=(), machine_class=b"native")
        desk.submit(agent, ticket, facts)
        fail_everywhere(desk, liars, fault)
    reasons = [each.reason for each in desk.got(agent, Refused)]
    assert reasons[MAX_FAILED_JOBS:] == ["no-nodes"] * MAX_FAILED_JOBS
    desk.submit(agent, 99, job("y", inputs=()))
    assert len(desk.runs(honest)) == 1
    other = desk.client("b")
    desk.submit(other, 1, job("z", inputs=(), machine_class=b"native"))
    assert sum(len(desk.runs(liar)) for liar in liars) == 1


def test_inputs_that_the_store_had_rotten_do_not_tell_on_the_key(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("one"), desk.node("two")]
    for ticket in range(MAX_FAILED_JOBS):
        facts = job(f"x{ticket}")
        desk.store.update(facts.inputs)
        desk.submit(agent, ticket, facts)
        ((node, run),) = ((node, run) for node in nodes for run in desk.runs(node))
        desk.store.difference_update(facts.inputs)  # as the check finds
        desk.say(node, Failed(run.lease, Fault.INPUT.value, "rotten"))
        desk.stored(*facts.inputs)
        fail_everywhere(desk, nodes, Fault.INPUT)
    reasons = {each.reason for each in desk.got(agent, Refused) if isinstance(each, Refused)}
    assert reasons == {"nodes-failed"}
    desk.submit(agent, 99, job("y", inputs=()))
    assert desk.got(agent, Refused)[-1] != Refused(99, "jobs-failed")


def test_a_job_that_a_node_calls_wrong_is_tried_by_another_keys_and_nowhere_else(
    desk: Desk,
) -> None:
    agent, one = desk.client("a"), desk.node("one", user="user-one")
    desk.submit(agent, 1, job("x", inputs=()))
    twin, other = desk.node("twin", user="user-one"), desk.node("two")
    (run,) = desk.runs(one)
    desk.say(one, Failed(run.lease, Fault.REFUSED.value, "an empty name"))
    assert not desk.runs(twin)
    (run,) = desk.runs(other)
    desk.say(other, Failed(run.lease, Fault.REFUSED.value, "an empty word"))
    assert desk.got(agent, Refused) == [Refused(1, "job-refused: an empty word")]
    assert faults_of(desk) == {"one": 0, "two": 0, "twin": 0}


def test_a_job_that_one_node_alone_calls_wrong_tells_on_it(desk: Desk) -> None:
    """By that word alone a node had any client shut out, and each command kept to itself for an hour."""
    agent, liar, honest = desk.client("a"), desk.node("liar", slots=4), desk.node("honest")
    for ticket in range(3 * MAX_FAILED_JOBS):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        for run in desk.runs(liar):
            desk.say(liar, Failed(run.lease, Fault.REFUSED.value, "no"))
        for run in desk.runs(honest):
            desk.done(honest, run.lease)
    assert not desk.got(agent, Refused)
    assert len(desk.got(agent, Finished)) == 3 * MAX_FAILED_JOBS
    assert faults_of(desk) == {"liar": MAX_FAULTS, "honest": 0}


def test_a_job_that_a_node_calls_wrong_is_refused_where_no_other_keys_node_is(desk: Desk) -> None:
    agent, one = desk.client("a"), desk.node("one", user="user-one")
    desk.submit(agent, 1, job("x", inputs=()))
    twin = desk.node("twin", user="user-one")
    (run,) = desk.runs(one)
    desk.say(one, Failed(run.lease, Fault.REFUSED.value, "an empty name"))
    assert desk.got(agent, Refused) == [Refused(1, "job-refused: an empty name")]
    assert not desk.runs(twin)


def test_jobs_that_are_called_wrong_tell_on_their_keys_however_many_they_are(desk: Desk) -> None:
    nodes = [desk.node("one", slots=1), desk.node("two", slots=1)]
    for number in range(10):
        agent = desk.client(f"c{number}")
        desk.submit(agent, 1, job(f"x{number}", inputs=()))
        fail_everywhere(desk, nodes, Fault.REFUSED)
    assert faults_of(desk) == {"one": 0, "two": 0}
    assert states_of(desk) == {"one": "ready", "two": "ready"}
    agent = desk.client("c0")
    for ticket in range(2, MAX_FAILED_JOBS + 1):
        desk.submit(agent, ticket, job(f"y{ticket}", inputs=()))
        fail_everywhere(desk, nodes, Fault.REFUSED)
    desk.submit(agent, 99, job("z", inputs=()))
    assert desk.got(agent, Refused)[-1] == Refused(99, "jobs-failed")


def test_a_lost_node_failed_once_and_only_if_its_jobs_run_elsewhere(desk: Desk) -> None:
    agent, one = desk.client("a"), desk.node("one", slots=4)
    record = next(iter(desk.machine.farm.nodes)).record
    for ticket in range(4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    two = desk.node("two", slots=4)
    desk.happen(events.PeerUnreachable(one.route))
    for run in desk.runs(two):
        assert record.faults == 0
        desk.done(two, run.lease)
    assert record.faults == 1


def test_a_job_that_takes_nodes_down_is_no_fault_of_theirs(desk: Desk) -> None:
    agent, one = desk.client("a"), desk.node("one", slots=4)
    record = next(iter(desk.machine.farm.nodes)).record
    for name in ("killer", "other", "third"):
        desk.submit(agent, len(name), job(name, inputs=()))
    two = desk.node("two", slots=4)
    desk.happen(events.PeerUnreachable(one.route))
    for run in desk.runs(two):
        if run.key == job("killer").key:
            desk.say(two, Failed(run.lease, Fault.INTERNAL.value, ""))
        else:
            desk.done(two, run.lease)
    assert record.faults == 0


def test_nodes_are_put_aside_no_longer_for_what_nobody_has_judged(desk: Desk) -> None:
    """Two clients' jobs that no node can do had all of them put aside, for up to half an hour."""
    agents, nodes = [desk.client(name) for name in "ab"], [desk.node("one"), desk.node("two")]
    for ticket in range(40):
        for agent in agents:
            desk.submit(agent, ticket, job(f"{agent.user} {ticket}", inputs=()))
            fail_everywhere(desk, nodes)
        for node in desk.machine.farm.nodes:
            assert node.record.until <= desk.now + QUARANTINE_S
            node.record.standing.trust()  # as a trial shows, each time
        desk.pass_time(QUARANTINE_S + 1, frozenset((*agents, *nodes)))
    assert all(Refused(39, "jobs-failed") in desk.got(agent, Refused) for agent in agents)
    assert set(states_of(desk).values()) == {"ready"}


def test_a_single_node_that_fails_whoever_asks_is_put_aside(desk: Desk) -> None:
    node = desk.node("only", slots=4)
    for number in range(UNDECIDED_FAULTS + 1):
        assert faults_of(desk) == {"only": 0}
        desk.submit(desk.client(f"c{number}"), 1, job(f"x{number}", inputs=()))
        fail_everywhere(desk, [node])
    assert faults_of(desk) == {"only": 1}
    last = desk.client("last")
    desk.submit(last, 1, job("y", inputs=()))
    assert desk.got(last, Refused) == [Refused(1, "no-nodes")]


def test_who_takes_a_node_down_has_others_blame_neither_it_nor_themselves(desk: Desk) -> None:
    killer, victim = desk.client("killer"), desk.client("victim")
    for ticket in range(2 * MAX_FAILED_JOBS):
        node = desk.node("only", slots=4)
        desk.submit(killer, ticket, job(f"k{ticket}", inputs=()))
        desk.submit(victim, ticket, job(f"v{ticket}", inputs=()))
        assert len(desk.runs(node)) == 2
        desk.happen(events.PeerUnreachable(node.route))
    node = desk.node("only", slots=4)
    assert faults_of(desk) == {"only": 0}
    desk.submit(victim, 99, job("y", inputs=()))
    assert len(desk.runs(node)) == 1


def test_a_paused_node_gets_no_jobs_until_it_says_that_it_takes_them(desk: Desk) -> None:
    agent, node, other = desk.client("a"), desk.node("n", slots=4), desk.node("other", slots=1)
    desk.say(node, Beat(0.0, "its disk is full"))
    assert states_of(desk) == {"n": "paused", "other": "ready"}
    for ticket in range(4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    assert not desk.runs(node)
    desk.say(node, Beat(0.0))
    assert desk.runs(node)
    assert desk.runs(other)


def test_a_job_that_a_paused_node_gives_back_has_lost_nothing(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    other = desk.node("other")
    desk.say(node, Failed(run.lease, Fault.PAUSED.value, "its disk is full"))
    assert len(desk.runs(other)) == 1
    assert next(iter(desk.machine.farm.executions.values())).losses == 0
    assert states_of(desk) == {"n": "paused", "other": "ready"}


def test_when_all_nodes_are_paused_jobs_go_home(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    held = {run.key for run in desk.runs(node)}
    desk.say(node, Beat(0.0, "its disk is full"))
    assert len(desk.got(agent, Refused)) == 4 - len(held)


def test_a_node_without_room_for_a_toolchain_gets_other_jobs(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4)
    desk.store.add(blob("huge"))
    desk.machine.farm.holdings.prove_toolchain("", blob("huge"))
    desk.submit(agent, 1, job("x", inputs=(), toolchain="huge"))
    (run,) = desk.runs(node)
    desk.say(node, Failed(run.lease, Fault.UNFIT.value, "huge: 3 GB of 2"))
    assert desk.got(agent, Refused) == [Refused(1, "no-nodes")]
    desk.submit(agent, 2, job("y", inputs=(), toolchain="huge"))
    assert desk.got(agent, Refused)[-1] == Refused(2, "no-nodes")
    desk.submit(agent, 3, job("z", inputs=()))
    assert len(desk.runs(node)) == 1
    assert states_of(desk) == {"n": "limited"}
    assert faults_of(desk) == {"n": 0}


def test_without_nodes_a_job_is_refused_at_once(desk: Desk) -> None:
    agent = desk.client("a")
    desk.submit(agent, 1, job("x"))
    assert desk.got(agent, Refused) == [Refused(1, "no-nodes")]


def test_the_last_nodes_loss_sends_waiting_jobs_home(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(5):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    desk.say(node, Bye(""))
    assert sorted(message.ticket for message in desk.got(agent, Refused)) == [0, 1, 2, 3, 4]


def test_a_job_for_another_machine_class_is_refused_or_waits_for_its_node(desk: Desk) -> None:
    agent = desk.client("a")
    plain, special = desk.node("plain"), desk.node("special", slots=1, classes=(b"fma",))
    desk.submit(agent, 1, job("x", inputs=(), machine_class=b"avx512"))
    assert desk.got(agent, Refused) == [Refused(1, "no-nodes")]
    for ticket in (2, 3, 4, 5):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), machine_class=b"fma"))
    assert not desk.runs(plain)
    assert desk.runs(special)


def test_a_job_goes_to_machines_of_its_architecture(desk: Desk) -> None:
    """A node of before says its floating-point class alone."""
    agent = desk.client("a")
    other = desk.node("other", classes=(b"", b"aarch64"))
    own = desk.node("own", slots=1, classes=(b"", b"x86_64+avx2+fma", b"processor-0af3"))
    for ticket in range(3):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), machine_class=b"x86_64"))
    assert desk.runs(own)
    assert not desk.runs(other)
    desk.submit(agent, 9, job("y", inputs=(), machine_class=b"riscv64"))
    assert desk.got(agent, Refused) == [Refused(9, "no-nodes")]


def test_just_after_the_brokers_start_jobs_wait_for_nodes() -> None:
    desk = Desk()
    agent = desk.client("a")
    desk.submit(agent, 1, job("x", inputs=()))
    assert not desk.got(agent, Refused)
    node = desk.node("n")
    assert len(desk.runs(node)) == 1


def test_the_wait_for_nodes_after_a_start_ends() -> None:
    desk = Desk()
    agent = desk.client("a")
    desk.submit(agent, 1, job("x", inputs=()))
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    assert desk.got(agent, Refused) == [Refused(1, "no-nodes")]


# --- restarts -----------------------------------------------------------------------------------


def lease_for(name: str) -> bytes:
    return job(name).key[:LEASE_KEY_BYTES] + b"salt"


def test_a_lease_from_before_a_restart_is_adopted_when_its_job_comes_back(desk: Desk) -> None:
    node = desk.node("n", leases=(lease_for("x"),))
    agent = desk.client("a")
    desk.submit(agent, 1, job("x", inputs=()))
    assert not desk.runs(node)
    desk.done(node, lease_for("x"))
    assert len(desk.got(agent, Finished)) == 1


def test_a_lease_from_before_a_restart_is_adopted_when_its_node_comes_last() -> None:
    desk = Desk()
    agent = desk.client("a")
    desk.submit(agent, 1, job("x", inputs=()))
    node = desk.node("n", leases=(lease_for("x"),))
    assert not desk.runs(node)
    desk.done(node, lease_for("x"))
    assert len(desk.got(agent, Finished)) == 1


def test_a_lease_that_began_before_a_restart_wins_over_one_not_begun(desk: Desk) -> None:
    agent, fresh = desk.client("a"), desk.node("fresh")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(fresh)
    desk.node("old", leases=(lease_for("x"),))
    assert desk.got(fresh, Revoke) == [Revoke(run.lease)]


def test_an_old_lease_of_a_job_that_runs_elsewhere_is_revoked(desk: Desk) -> None:
    agent, fresh = desk.client("a"), desk.node("fresh")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(fresh)
    desk.say(fresh, Started(run.lease))
    old = desk.node("old", leases=(lease_for("x"),))
    assert desk.got(old, Revoke) == [Revoke(lease_for("x"))]


def test_an_orphan_that_nobody_asks_for_is_revoked_in_the_end(desk: Desk) -> None:
    node = desk.node("n", leases=(lease_for("x"),))
    desk.pass_time(ORPHAN_S + 1, heard=frozenset((node,)))
    assert desk.got(node, Revoke) == [Revoke(lease_for("x"))]


def test_the_result_of_an_orphan_that_nobody_wants_is_settled_and_dropped(desk: Desk) -> None:
    node = desk.node("n", leases=(lease_for("x"),))
    effects = desk.done(node, lease_for("x"))
    assert bulk_and_control(effects) == [Send(node.route, Settled(lease_for("x")))]


def test_a_hello_from_before_a_lease_was_settled_does_not_bring_it_back(desk: Desk) -> None:
    """We stood still; a result and a Hello that still lists its lease waited for us. A later job of that key
    would wait for the lease for ever."""
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    node = desk.node("n", leases=(run.lease,))
    assert desk.got(node, Revoke) == [Revoke(run.lease)]
    desk.submit(agent, 2, job("x", inputs=()))
    (again,) = desk.runs(node)
    assert again.lease != run.lease


def test_a_run_that_was_lost_with_the_connection_is_sent_again(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (lost,) = desk.runs(node)
    again = desk.node("n", route="new")
    (run,) = desk.runs(again)
    assert run.lease != lost.lease
    assert desk.got(again, Revoke) == [Revoke(lost.lease)]


# --- slots, fairness, limits --------------------------------------------------------------------


def test_a_node_gets_no_more_than_its_slots_and_a_little_ahead(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=8)
    for ticket in range(40):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    assert len(desk.runs(node)) == 10


def test_users_take_turns_whatever_they_have_queued(desk: Desk) -> None:
    greedy, modest = desk.client("greedy"), desk.client("modest")
    node = desk.node("n", slots=1)
    for ticket in range(50):
        desk.submit(greedy, ticket, job(f"g{ticket}", inputs=()))
    desk.submit(modest, 1, job("m", inputs=()))
    order = []
    while not desk.got(modest, Finished):
        for run in desk.runs(node):
            order.append(run.body)
            desk.done(node, run.lease)
    assert len(order) <= 6


def test_an_agent_over_its_limit_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.admission.MAX_JOBS_PER_USER", 3)
    agent = desk.client("a")
    desk.node("n")
    for ticket in range(5):
        desk.submit(agent, ticket, job(f"x{ticket}"))
    refused = desk.got(agent, Refused)
    assert refused == [Refused(3, "too-many-queued"), Refused(4, "too-many-queued")]


def test_a_full_farm_refuses(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.core.admission.MAX_JOB_BYTES", 8 + INPUT_BYTES)
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("1"))
    desk.submit(agent, 2, job("2"))
    assert desk.got(agent, Refused) == [Refused(2, "farm-full")]


def test_agents_are_told_of_a_long_wait(desk: Desk) -> None:
    agent, _ = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(10):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), hint_s=2.0))
    busy = desk.got(agent, Busy)
    assert busy
    assert all(isinstance(each, Busy) and each.expected_s > BUSY_AFTER_S for each in busy)
    assert max(each.expected_s for each in busy if isinstance(each, Busy)) <= 20.0


def test_agents_are_told_when_a_job_begins_and_when_it_has_lost_its_node(desk: Desk) -> None:
    agent, late, node = desk.client("a"), desk.client("late"), desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=()))
    assert not desk.got(agent, Busy)  # a slot is idle
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    assert desk.got(agent, Busy) == [Busy(1, HAS_BEGUN_S)]
    desk.submit(late, 7, job("x", inputs=()))
    assert desk.got(late, Busy) == [Busy(7, HAS_BEGUN_S)]
    desk.node("other", slots=1)
    desk.say(node, Bye("stopping"))
    for origin, ticket in ((agent, 1), (late, 7)):
        told = desk.got(origin, Busy)[1]
        assert isinstance(told, Busy)
        assert (told.ticket, told.expected_s > 0) == (ticket, True)


def test_a_job_that_a_node_has_ahead_of_its_slots_is_told_when_it_will_begin(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=(), hint_s=8.0))
    desk.submit(agent, 2, job("y", inputs=(), hint_s=8.0))
    assert len(desk.runs(node)) == 2
    (told,) = desk.got(agent, Busy)
    assert isinstance(told, Busy)
    assert told.ticket == 2
    assert 4.0 < told.expected_s < 9.0


def test_a_node_that_pauses_again_and_again_does_not_flood_those_who_wait(desk: Desk) -> None:
    agent, flapping = desk.client("a"), desk.node("flapping", slots=1)
    desk.node("steady", slots=1)
    for ticket in range(1, 21):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    desk.pass_time(TELL_EVERY_S)
    desk.sent[agent.route].clear()
    beats = [Beat(0.0, "no room"), Beat(0.0)] * 100
    desk.happen(*(events.MessageArrived(flapping, beat) for beat in beats))
    for beat in beats:
        desk.say(flapping, beat)
    told = [each.ticket for each in desk.got(agent, Busy) if isinstance(each, Busy)]
    assert len(told) == len(set(told)) >= 15
    desk.pass_time(TELL_EVERY_S, heard=frozenset((agent, flapping)))
    again = [each.ticket for each in desk.got(agent, Busy) if isinstance(each, Busy)]
    assert again[: len(told)] == told
    assert len(set(again[len(told) :])) == len(again) - len(told) >= 15


def test_stopping_says_bye_to_all(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.happen(events.StopRequested())
    assert desk.got(agent, Bye) == desk.got(node, Bye) == [Bye("stopping")]


def test_a_toolchain_that_one_key_sends_slowly_is_asked_of_each_other_key(desk: Desk) -> None:
    hostage, honest, node = desk.client("attacker"), desk.client("honest"), desk.node("n", slots=4)
    desk.submit(hostage, 1, job("x", inputs=(), toolchain="clang"))
    desk.submit(honest, 1, job("y", inputs=(), toolchain="clang"))
    assert not desk.got(honest, Want)
    desk.pass_time(ASK_OTHERS_S + 0.5, heard=frozenset((hostage, honest, node)))
    assert desk.got(honest, Want) == [Want(((blob("clang"), 0),))]
    desk.store.add(blob("clang"))
    desk.happen(events.BlobStored(blob("clang"), honest.user))
    assert len(desk.runs(node)) == 2


def test_who_joins_a_job_later_is_asked_for_what_its_first_agent_keeps_back(desk: Desk) -> None:
    first, twin, node = desk.client("attacker"), desk.client("honest"), desk.node("n")
    talking = frozenset((first, twin, node))
    for agent in (first, twin):
        desk.happen(events.InputsShown(agent.user, (blob("x.c"),)))
    desk.submit(first, 1, job("x"), shows=False)
    desk.pass_time(2 * ASK_OTHERS_S, heard=talking)
    desk.submit(twin, 1, job("x"), shows=False)
    desk.pass_time(2 * ASK_OTHERS_S, heard=talking)
    assert desk.got(twin, Want) == [Want(((blob("x.c"), 0),))]
    desk.store.add(blob("x.c"))
    desk.happen(events.BlobStored(blob("x.c"), twin.user))
    assert len(desk.runs(node)) == 1


def test_an_agent_on_a_slow_line_gets_through_where_it_is_the_only_one(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x"))
    desk.happen(events.UploadStalled(agent.route, is_moving=True))
    assert not desk.got(agent, Refused)
    desk.stored(blob("x.c"))
    assert len(desk.runs(node)) == 1


def test_a_slow_agent_is_passed_over_where_another_of_its_key_waits(desk: Desk) -> None:
    one, two = desk.client("a"), desk.client("b", user="user-a")
    desk.node("n")
    desk.submit(one, 1, job("x", inputs=("common.h",)))
    desk.submit(two, 1, job("y", inputs=("common.h",)))
    slow = events.UploadStalled(one.route, is_moving=True)
    assert AskBlobs(two.route, (blob("common.h"),)) in desk.happen(slow)


def test_when_the_last_of_those_asked_has_it_no_more_the_jobs_are_refused(desk: Desk) -> None:
    one, two, node = desk.client("a"), desk.client("b"), desk.node("n", slots=4)
    desk.submit(one, 1, job("x", inputs=(), toolchain="clang"))
    desk.submit(two, 1, job("y", inputs=(), toolchain="clang"))
    desk.pass_time(ASK_OTHERS_S + 0.5, heard=frozenset((one, two, node)))
    desk.say(one, Absent(blob("clang")))
    assert not desk.got(one, Refused)
    desk.say(two, Absent(blob("clang")))
    assert desk.got(one, Refused) == desk.got(two, Refused) == [Refused(1, "input-absent")]


def made_up(count: int) -> tuple[bytes, ...]:
    return tuple(blob(f"lease {number}")[:16] for number in range(count))


def test_a_node_that_lists_more_leases_than_its_slots_allow_is_dropped(desk: Desk) -> None:
    liar = desk.node("liar", slots=0, leases=made_up(100))
    assert desk.got(liar, Bye) == [Bye("protocol: 100 leases for 0 slots")]
    assert not desk.got(liar, Welcome)


def test_made_up_leases_are_taken_off_their_node_in_turns(desk: Desk) -> None:
    liar = desk.node("liar", slots=1024, leases=made_up(2048))
    assert len(desk.got(liar, Revoke)) == REVOKES_AT_ONCE
    desk.happen(events.Ticked(frozenset()))
    assert len(desk.got(liar, Revoke)) == 2 * REVOKES_AT_ONCE
    for _ in range(200):
        desk.happen(events.Ticked(frozenset()))
    surplus = 2048 - 1024 - 256  # the rest may be another broker's
    assert len(desk.got(liar, Revoke)) == surplus
    desk.now += ORPHAN_S
    for _ in range(200):
        desk.now += 0.1
        desk.happen(events.Ticked(frozenset(((liar.route, liar.user),))))
    assert len(desk.got(liar, Revoke)) == 2048


def test_a_node_of_its_own_is_told_what_to_give_up_while_liars_are(desk: Desk) -> None:
    for number in range(20):
        desk.node(f"liar{number}", slots=1000, leases=made_up(2000), user=f"liar{number}")
    honest = desk.node("honest", slots=8, leases=made_up(2010)[2000:])
    desk.now += ORPHAN_S
    heard = frozenset((each.route, each.user) for each in desk.machine.farm.sessions)
    for _ in range(4):
        desk.happen(events.Ticked(heard))
    assert len(desk.got(honest, Revoke)) == 10


def test_a_key_that_says_hello_too_often_is_not_answered_for_a_while(desk: Desk) -> None:
    leases = made_up(5000)
    for number in range(5):
        liar = desk.node("liar", slots=4096, leases=leases[number:])
    assert len(desk.got(liar, Welcome)) == 4
    other = desk.node("other")
    assert desk.got(other, Welcome)
    desk.now += 10.0
    assert desk.got(desk.node("liar", slots=4096), Welcome)


def test_a_client_with_ever_new_toolchains_fills_no_nodes_row(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.core.nodes.MAX_TOOLCHAINS_OF_NODE", 3)
    agent, node = desk.client("a"), desk.node("n")
    for number in range(10):
        facts = job(f"x{number}", inputs=(), toolchain=f"cc{number}")
        desk.submit(agent, number, facts)
        desk.stored(facts.toolchain)
        (run,) = desk.runs(node)
        desk.say(node, Started(run.lease))
        desk.done(node, run.lease)
    (row,) = desk.machine.farm.nodes
    assert len(row.toolchains) == 3
    assert facts.toolchain in row.toolchains
