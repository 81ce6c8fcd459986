"""What one key may have open, and what becomes of it when its sessions end: it is undone by turns."""

from __future__ import annotations

from itertools import pairwise

import pytest

from broker.core import events
from broker.core.effects import AskBlobs
from broker.core.limits import UNDONE_AT_ONCE
from cache.digest import Digest
from tests.support.broker_world import Desk, JobFacts, blob, job, session_id, validate
from zcc.messages import Finished, Hello, Refused, Revoke, Welcome


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    # So that there is much to be undone of one job, too.
    monkeypatch.setattr("broker.core.admission.MAX_REQUESTS_OF_JOB", 10_000)
    desk = Desk()
    desk.validates_each = 0  # 10,000 requests are looked through each time
    return desk


def open_requests(desk: Desk) -> int:
    return desk.machine.farm.requests.total()


def asked_of(desk: Desk) -> list[Digest]:
    return [each for said in desk.effects if isinstance(said, AskBlobs) for each in said.digests]


def test_requests_that_join_a_job_count_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions a key has: one job could be waited for a million times."""
    monkeypatch.setattr("broker.core.admission.MAX_JOBS_PER_USER", 5)
    one, two = desk.client("one", user="k"), desk.client("two", user="k")
    other = desk.client("other")
    node = desk.node("n")
    for ticket in range(1, 5):
        desk.submit(one, ticket, job("x", inputs=()))
    desk.submit(two, 1, job("x", inputs=()))
    desk.submit(two, 2, job("x", inputs=()))
    desk.submit(other, 1, job("x", inputs=()))
    assert desk.got(two, Refused) == [Refused(2, "too-many-queued")]
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    assert [len(desk.got(each, Finished)) for each in (one, two, other)] == [4, 1, 1]
    assert not open_requests(desk)
    validate(desk.machine)


def end_by_turns(desk: Desk) -> list[int]:
    """What is still open after each batch."""
    left = []
    while open_requests(desk):
        desk.machine.handle(events.BatchEnded(), desk.now)
        validate(desk.machine)
        left.append(open_requests(desk))
    return left


@pytest.mark.parametrize("jobs", [1, 1_000], ids=["one job", "many jobs"])
def test_a_session_with_many_requests_ends_by_turns(desk: Desk, jobs: int) -> None:
    """One job under 10,000 tickets held up everybody for 15 s."""
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(1_000):
        desk.submit(agent, ticket, job(f"x{ticket % jobs}", inputs=()))
    runs = desk.runs(node)
    desk.machine.handle(events.PeerUnreachable(agent.route), desk.now)
    left = [1_000, open_requests(desk), *end_by_turns(desk)]
    steps = [before - after for before, after in pairwise(left)]
    assert all(0 < step <= UNDONE_AT_ONCE for step in steps)
    assert not desk.machine.farm.executions
    desk.happen()
    assert not desk.machine.farm.leases
    assert runs


def test_a_session_of_its_name_begins_when_the_last_one_is_undone(desk: Desk) -> None:
    """An agent says Hello again each second until it is welcomed; its tickets may be those of before."""
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(1_000):
        desk.submit(agent, ticket, job("x", inputs=()))
    desk.machine.handle(events.PeerUnreachable(agent.route), desk.now)
    desk.sent[agent.route].clear()
    words = Hello(session_id("a"), "client", "", "a", "0", 0, (), ())
    hello = events.MessageArrived(agent, words)
    desk.machine.handle(hello, desk.now)
    assert desk.machine.farm.sessions.get(session_id("a")) is None
    end_by_turns(desk)
    desk.happen(hello)
    assert len(desk.got(agent, Welcome)) == 1
    desk.runs(node)
    desk.submit(agent, 7, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.done(node, run.lease)
    assert [each.ticket for each in desk.got(agent, Finished)] == [7]


def test_who_waits_for_the_same_job_is_answered_meanwhile(desk: Desk) -> None:
    gone, other, node = desk.client("gone"), desk.client("other"), desk.node("n")
    for ticket in range(1_000):
        desk.submit(gone, ticket, job("x", inputs=()))
    desk.submit(other, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.machine.handle(events.PeerUnreachable(gone.route), desk.now)
    assert open_requests(desk) > 1
    desk.done(node, run.lease)
    end_by_turns(desk)
    assert len(desk.got(other, Finished)) == 1
    assert not desk.got(node, Revoke)


def test_a_job_that_is_shown_when_nobody_waits_any_more_is_over(desk: Desk) -> None:
    """Its last input comes from another of the key's agents, while its requests are being undone."""
    gone, other = desk.client("gone", user="k"), desk.client("other", user="k")
    desk.node("n", slots=8)
    for ticket in range(1_000):
        desk.submit(gone, ticket, job("x"), shows=False)
    desk.submit(other, 1, JobFacts("y", (blob("x.c"),), blob("gcc")), shows=False)
    desk.machine.handle(events.PeerUnreachable(gone.route), desk.now)
    assert open_requests(desk) > 1
    desk.machine.handle(events.BlobStored(blob("x.c"), "k"), desk.now)
    assert job("x").key not in desk.machine.farm.executions
    desk.happen()
    validate(desk.machine)
    assert open_requests(desk) == 1


def test_what_one_key_is_asked_for_at_a_time_is_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each blob that is awaited takes a kilobyte: 600 jobs of 1,000 inputs took 750 MiB. All come in the end,
    each of them once."""
    monkeypatch.setattr("broker.core.uploads.MAX_ASKED_OF_KEY", 20)
    agent, node = desk.client("a"), desk.node("n", slots=16)
    jobs = [job(f"x{n}", tuple(f"{n % 5} {each}" for each in range(8))) for n in range(10)]
    for ticket, facts in enumerate(jobs):
        desk.submit(agent, ticket, facts, shows=False)
    session = desk.machine.farm.sessions.get(session_id("a"))
    assert session is not None
    most = 0
    while session.asked:
        most = max(most, len(session.asked))
        desk.stored(next(iter(session.asked))[1])
        validate(desk.machine)
    assert most <= 20 + len(jobs)
    asked = asked_of(desk)
    assert len(asked) == len(set(asked)) == 40
    assert len(desk.runs(node)) == len(jobs)


def test_what_a_session_was_asked_for_is_asked_of_others_by_turns(desk: Desk) -> None:
    """It ends with 3,000 blobs on their way, which another of its key's agents has too."""
    one, two = desk.client("one", user="k"), desk.client("two", user="k")
    desk.node("n", slots=16)
    for ticket in range(4):
        facts = job(f"x{ticket}", tuple(f"{ticket} {each}" for each in range(800)))
        for agent in (one, two):
            desk.submit(agent, ticket, facts, shows=False)
    asked = len(asked_of(desk))
    desk.effects.clear()
    desk.machine.handle(events.PeerUnreachable(one.route), desk.now)
    turns = 0
    while list(desk.machine.departures):
        turns += 1
        effects = desk.machine.handle(events.BatchEnded(), desk.now)
        desk.effects += effects
        anew = [each for each in effects if isinstance(each, AskBlobs)]
        assert sum(len(each.digests) for each in anew) <= UNDONE_AT_ONCE
        validate(desk.machine)
    assert turns > 5
    assert {each.route for each in desk.effects if isinstance(each, AskBlobs)} == {two.route}
    assert len(set(asked_of(desk))) >= asked - UNDONE_AT_ONCE
