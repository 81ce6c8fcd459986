"""What one client, or one node, can do to what is told to watchers: nothing that others feel."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from broker.core import events
from broker.core.events import RerunAsked
from broker.core.limits import STARTUP_GRACE_S
from broker.core.machine import MISBEHAVED
from broker.watching import numbers, snapshot
from broker.watching.limits import (
    MAX_BUILDS_OF_KEY,
    MAX_SHOWN_JOBS,
    MAX_SHOWN_REQUESTS,
    MAX_SNAPSHOT_BYTES,
    SNAPSHOT_EVERY_S,
)
from broker.watching.recorder import Recorder
from cache.frame import compress
from tests.support.broker_world import Desk, blob, job
from tests.support.watched import Feed, present
from tests.unit.broker.test_watching import SUBJECT, heard, named
from zcc.events import (
    MAX_BATCH_BYTES,
    BuildShown,
    FarmEvent,
    JobFinished,
    JobLeased,
    LeaseLost,
    MemberShown,
    NodeLeft,
    PeerRefused,
    RequestRefused,
)
from zcc.messages import (
    MAX_SENT_BYTES,
    Beat,
    Bye,
    Cancel,
    Failed,
    Fault,
    Happened,
    LocalCounts,
    PeerRole,
    Snapshot,
    Started,
)
from zcc.subject import BuildCounts, BuildName
from zcc.watching.state import FarmState


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


@pytest.fixture
def feed(desk: Desk) -> Feed:
    return Feed(desk.machine.farm)


@pytest.mark.parametrize("seconds", [-1.0, 0.5, 1e9, float("inf"), float("nan")])
def test_no_time_breaks_the_bound_of_its_event(desk: Desk, feed: Feed, seconds: float) -> None:
    seer = feed.begin("seer")
    client, node = desk.client("c"), desk.node("n")
    desk.submit(client, 1, named("w"))
    (lease,) = desk.machine.farm.leases.values()
    lease.expected_end = lease.assigned_at + seconds
    watch = desk.machine.farm.watch
    assert watch is not None
    watch.adopted(desk.machine.farm.executions[lease.key], lease)
    told = [event for event in heard(feed, seer) if isinstance(event, JobLeased)]
    assert (told[-1].reason, len(desk.runs(node))) == ("adopted", 1)
    assert not feed.failures


def counts_of(*numbers: int, name: str = "x") -> LocalCounts:
    return LocalCounts(
        tuple(BuildCounts(BuildName(number, name), 1, 0, (), (), ()) for number in numbers)
    )


def test_no_key_takes_the_owners_off_others_jobs_by_builds_it_makes_up(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "MAX_NUMBERED", 200)
    old = feed.begin("old")
    victim, attacker = desk.client("victim"), desk.client("attacker")
    desk.node("n")
    desk.submit(victim, 1, named("w"))
    for number in range(700):
        desk.say(attacker, counts_of(number))
    heard(feed, old)
    desk.now += SNAPSHOT_EVERY_S
    desk.happen()
    new = feed.begin("new")
    heard(feed, new)
    for seer in (old, new):
        (shown,) = seer.state.jobs.values()
        assert shown.member is not None
        assert shown.member.name == "user-victim"
        assert shown.build is not None
        assert (shown.build.name, shown.build.shown.host) == ("hello 12:00:00", "victim")
        assert shown.build.id == "k-user-victim/victim-1700000000000"
        assert shown.toolchain is not None
        assert shown.toolchain.name == "gcc 12.2.0"
    assert len(new.state.builds) == MAX_BUILDS_OF_KEY + 1


def test_a_build_of_another_key_by_the_same_host_and_number_is_another(
    desk: Desk, feed: Feed
) -> None:
    seer = feed.begin("seer")
    victim = desk.client("victim")
    attacker = desk.hello("attacker", PeerRole.CLIENT)
    for session in desk.machine.farm.sessions:
        session.name = "host:1"  # as its Hello may say
    desk.node("n")
    desk.submit(victim, 1, named("w"))
    desk.say(attacker, counts_of(SUBJECT.build.number, name="mine"))
    told = heard(feed, seer)
    without = FarmState()  # a watcher that has not heard who they are
    for event in told:
        if not isinstance(event, MemberShown):
            without.apply(event)
    for state in (seer.state, without):
        assert len(state.known_builds) == 2
        (shown,) = state.jobs.values()
        assert shown.build is not None
        assert shown.build.name == "hello 12:00:00"
        assert not shown.build.counts


@pytest.mark.parametrize("kind", ["_members", "_toolchains", "_builds"])
def test_what_has_no_number_any_more_is_in_no_snapshot(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(numbers, "MAX_NUMBERED", 3)
    seer = feed.begin("seer")
    desk.node("n")
    for number in range(8):
        client = desk.client(f"c{number}")
        desk.submit(client, 1, replace(named(f"w{number}"), toolchain=blob(f"t{number}")))
    watch = desk.machine.farm.watch
    assert isinstance(watch, Recorder)
    known = getattr(watch.register, kind)
    assert sorted(known.said) == sorted(known._known.values())
    assert len(known.said) == 3
    # Who comes again is told anew, with its build.
    desk.submit(desk.client("c0"), 2, named("again"))
    told = heard(feed, seer)
    builds = [event for event in told if isinstance(event, BuildShown)]
    assert builds[-1].host == "c0"
    assert seer.state.builds[builds[-1].build].id == "k-user-c0/c0-1700000000000"
    assert sorted(known.said) == sorted(known._known.values())


def hard_name(seed: int, length: int = 256) -> str:
    """Letters that no compressor makes less of."""
    return "".join(random.Random(seed).choices([chr(code) for code in range(33, 127)], k=length))


def test_what_one_client_says_at_once_never_fills_a_frame(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    seer.read()
    desk.validates_each = 0
    client = desk.client("c")
    for number in range(12_000):
        subject = replace(SUBJECT, file=hard_name(number))
        desk.submit(client, number + 1, replace(job("w", ()), subject=subject))
    feed.tick()
    sizes = [len(each.body) for each in feed.inboxes[b"seer"] if isinstance(each, Happened)]
    assert sum(sizes) > 2 * MAX_BATCH_BYTES
    assert max(sizes) <= MAX_BATCH_BYTES
    assert len([each for each in seer.read() if isinstance(each, RequestRefused)]) == 12_000


def test_a_snapshot_has_a_bound_in_bytes_and_says_what_it_left_out(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(compress(random.Random(1).randbytes(MAX_SNAPSHOT_BYTES + 4096))) <= MAX_SENT_BYTES
    most_bytes, most_jobs = MAX_SNAPSHOT_BYTES // 24, MAX_SHOWN_JOBS // 16
    monkeypatch.setattr(snapshot, "MAX_SNAPSHOT_BYTES", most_bytes)
    monkeypatch.setattr(snapshot, "MAX_SHOWN_JOBS", most_jobs)
    feed.begin("old")
    desk.validates_each = 0
    client, other = desk.client("c"), desk.client("d")
    desk.node("n")
    for number in range(100):
        desk.submit(other, number + 1, named("twins"))
    for number in range(600):
        wild = replace(SUBJECT, file=hard_name(number), language=hard_name(-1 - number))
        wild = replace(wild, toolchain=hard_name(9_000 + number))
        facts = replace(job(f"w{number}", (f"{number}.c",)), toolchain=blob(f"t{number}"))
        desk.submit(client, number + 1, replace(facts, subject=wild))
    feed.tick()
    desk.now += SNAPSHOT_EVERY_S
    desk.happen()
    feed.tick()
    seer = feed.begin("new")
    (made,) = feed.inboxes[b"new"]
    assert isinstance(made, Snapshot)
    assert most_bytes - 4096 < len(made.body) < most_bytes + 4096
    seer.read()
    assert seer.state.farm is not None
    assert [node.shown.name for node in seer.state.nodes.values()] == ["n"]
    shown = seer.state.jobs
    (twins,) = [each for each in shown.values() if each.file == SUBJECT.file]
    assert len(twins.requests) == MAX_SHOWN_REQUESTS
    live = len(desk.machine.farm.executions)
    assert 0 < len(shown) < most_jobs < live
    assert seer.state.farm.left_out >= live - len(shown) + 100 - MAX_SHOWN_REQUESTS


SECRET = "[Errno 2] No such file: '/home/alice/secret-project/x.h' int hidden;"


def test_no_words_of_a_nodes_failure_are_told(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    client, nodes = desk.client("c"), [desk.node("n"), desk.node("m"), desk.node("o")]
    for ticket, fault in enumerate(Fault, start=1):
        desk.submit(client, ticket, named(f"w{fault.value}"))
        for node in nodes:
            for run in desk.runs(node):
                desk.say(node, Failed(run.lease, fault.value, SECRET))
        desk.pass_time(1.0, frozenset((client, *nodes)))
    desk.happen(events.PeerMisbehaved(nodes[0], f"Hello: expected a path, found {SECRET!r}"))
    desk.say(nodes[1], Bye(SECRET))
    desk.say(nodes[2], Beat(0.0, SECRET))
    desk.pass_time(1.0, frozenset((client, nodes[2])))
    told = heard(feed, seer)
    assert {event.why for event in told if isinstance(event, LeaseLost)} > {"sandbox", "refused"}
    refused = [event for event in told if isinstance(event, RequestRefused)]
    assert "job-refused" in {event.reason for event in refused}
    assert [event.reason for event in told if isinstance(event, PeerRefused)] == [MISBEHAVED]
    left = [event.reason for event in told if isinstance(event, NodeLeft)]
    assert left == ["protocol", "bye"]
    assert "secret" not in repr(told)
    assert "hidden" not in repr(told)
    late = feed.begin("late")
    assert "secret" not in repr(heard(feed, late))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("its disk is full: /var/lib/x y", "its disk is full: ..."),
        ("open('/home/a')", "open('..."),
        ("/etc", "..."),
        ("3/4 slots and/or more", "3/4 slots and/or more"),
    ],
)
def test_a_word_is_told_up_to_its_first_path(said: str, told: str) -> None:
    assert numbers.without_paths(said) == told


def audit(*avoid: str) -> RerunAsked:
    facts = named("w")
    return RerunAsked(facts.key, facts.toolchain, (), b"", 1, "user-a", frozenset(avoid), b"w")


def of_jobs(told: list[FarmEvent]) -> list[str]:
    return [event.NAME for event in told if hasattr(event, "job")]


def test_a_run_of_the_brokers_own_is_told_to_nobody(desk: Desk, feed: Feed) -> None:
    seer = feed.begin("seer")
    maker, other = desk.node("maker"), desk.node("other")
    desk.happen(audit(maker.user))
    (run,) = desk.runs(other)
    desk.now += SNAPSHOT_EVERY_S
    desk.pass_time(6.0, frozenset((maker, other)))
    late = feed.begin("late")
    feed.tick()
    late.read()
    assert not late.state.jobs
    assert late.state.farm is not None
    assert late.state.farm.left_out == 0
    (node,) = [each for each in desk.machine.farm.nodes if each.session.name == "other"]
    assert node.reserved_bytes > 0
    assert {each.shown.memory_reserved_bytes for each in late.state.nodes.values()} == {0}
    desk.say(other, Started(run.lease))
    desk.done(other, run.lease)
    desk.happen(audit(maker.user))
    (run,) = desk.runs(other)
    desk.say(other, Failed(run.lease, Fault.REFUSED.value, "no"))
    assert not desk.machine.farm.executions
    assert not of_jobs(heard(feed, seer))
    assert not of_jobs(late.read())
    assert not feed.failures


def test_a_run_of_the_brokers_own_is_told_while_somebody_waits_for_it(
    desk: Desk, feed: Feed
) -> None:
    seer = feed.begin("seer")
    maker, other = desk.node("maker"), desk.node("other")
    client, second = desk.client("c"), desk.client("d")
    desk.happen(audit(maker.user))
    (run,) = desk.runs(other)
    desk.say(other, Started(run.lease))
    desk.submit(client, 1, named("w"))
    assert of_jobs(heard(feed, seer)) == ["queued", "leased", "started"]
    (shown,) = seer.state.jobs.values()
    assert [each.member.name for each in shown.requests if each.member] == ["user-c"]
    desk.say(client, Cancel(1))
    assert of_jobs(heard(feed, seer)) == ["abandoned"]
    assert not seer.state.jobs
    desk.submit(client, 2, named("w"))
    desk.submit(second, 1, named("w"))
    late = feed.begin("late")
    told = heard(feed, seer)
    assert of_jobs(told) == ["queued", "leased", "started", "twin"]
    late.read()
    assert present(late.state) == present(seer.state)
    desk.done(other, run.lease)
    (finished,) = [event for event in heard(feed, seer) if isinstance(event, JobFinished)]
    assert finished.twins == 1
    assert not feed.failures
