"""A job that several keys have submitted: each waits for it in a line of its own."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from broker.core.events import Origin, Ticked
from broker.core.limits import (
    LEAST_RUN_LIMIT_S,
    MAX_FAILED_JOBS,
    MAX_REQUESTS_OF_JOB,
    STARTUP_GRACE_S,
)
from broker.scheduling.queue import Lane, Queue
from cache.digest import Digest
from tests.support.broker_world import Desk, JobFacts, blob, job
from zcc.messages import (
    Busy,
    Bye,
    Cancel,
    Failed,
    Finished,
    PeerRole,
    Refused,
    Revoke,
    Started,
)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def twin(number: int, build: str = "build") -> JobFacts:
    return job(f"twin{number}", inputs=(), build=build)


def crowd(desk: Desk, count: int, twins: int, nice: int = 0) -> tuple[Origin, Origin]:
    """A node of one slot; a key that has submitted so many jobs, and these twins behind them, which
    are shorter."""
    greedy, node = desk.client("greedy"), desk.node("n", slots=1)
    for number in range(count):
        desk.submit(greedy, number, job(f"junk{number}", inputs=(), hint_s=2.0), nice=nice)
    for number in range(twins):
        desk.submit(greedy, count + number, twin(number), nice=nice)
    return greedy, node


def work(desk: Desk, node: Origin, count: int) -> list[tuple[Digest, str]]:
    """The node does so many jobs; which, and for whom."""
    done = []
    given = desk.runs(node)
    for _ in range(count):
        run = given.pop(0)
        desk.say(node, Started(run.lease))
        desk.now += 1.0
        desk.done(node, run.lease)
        done.append((run.key, run.client))
        given += desk.runs(node)
    return done


def test_who_comes_second_waits_in_his_own_line_and_is_charged(desk: Desk) -> None:
    _, node = crowd(desk, 50, 5)
    victim = desk.client("victim")
    for number in range(5):
        desk.submit(victim, number, twin(number))
    done = work(desk, node, 14)
    twins = {twin(number).key for number in range(5)}
    assert {key for key, _ in done} > twins
    assert {client for key, client in done if key in twins} == {"user-victim"}


def test_who_is_less_nice_does_not_wait_with_who_is_nicer(desk: Desk) -> None:
    _, node = crowd(desk, 10, 5, nice=19)
    victim, third = desk.client("victim"), desk.client("third")
    for number in range(40):
        desk.submit(third, number, job(f"other{number}", inputs=()))
    for number in range(5):
        desk.submit(victim, number, twin(number))
    done = work(desk, node, 16)
    assert {key for key, _ in done} > {twin(number).key for number in range(5)}


def test_of_one_keys_builds_the_least_nice_one_counts(desk: Desk) -> None:
    greedy, node = crowd(desk, 40, 1, nice=19)
    desk.submit(greedy, 100, twin(0, build="urgent"))
    assert twin(0).key in [key for key, _ in work(desk, node, 6)]


def test_who_has_given_it_up_is_not_charged(desk: Desk) -> None:
    greedy, node = crowd(desk, 10, 1)
    victim = desk.client("victim")
    desk.submit(victim, 1, twin(0))
    desk.say(greedy, Cancel(10))
    farm = desk.machine.farm
    assert farm.executions[twin(0).key].lane.user == "user-victim"
    assert (twin(0).key, "user-victim") in work(desk, node, 6)


def test_who_has_given_it_up_has_no_line_for_it_left(desk: Desk) -> None:
    _, node = crowd(desk, 30, 1)
    victim = desk.client("victim")
    desk.submit(victim, 1, twin(0))
    desk.say(victim, Cancel(1))
    assert "user-victim" not in desk.machine.farm.tallies
    assert (twin(0).key, "user-greedy") in work(desk, node, 31)


def test_a_publisher_that_joins_has_nobodys_job_done_on_its_own_node(desk: Desk) -> None:
    greedy, node = crowd(desk, 5, 1)
    ci = desk.hello("ci", PeerRole.PUBLISHER, user="ci-key")
    desk.submit(ci, 1, twin(0))
    assert desk.machine.farm.executions[twin(0).key].claims.keys() == {"user-greedy"}
    desk.say(greedy, Cancel(5))
    assert desk.machine.farm.executions[twin(0).key].claims.keys() == {"user-greedy"}
    assert (twin(0).key, "user-greedy") in work(desk, node, 6)


def test_a_job_leaves_all_its_lines_at_once() -> None:
    rng = random.Random(1)
    queue, users = Queue(), [f"u{number}" for number in range(5)]
    for number in range(200):
        first, *others = rng.sample(users, rng.randint(1, 4))
        queue.push(blob(str(number)), Lane(first, "b", b""), 1.0)
        for user in others:
            queue.push_too(blob(str(number)), Lane(user, "b", b""), 1.0)
        if len(others) > 1:
            queue.remove_from(blob(str(number)), others[0])
    seen = set()
    while (line := queue.first()) is not None:
        key = line.oldest()
        queue.charge(line, 1.0)
        queue.remove(key)
        assert key not in seen
        seen.add(key)
    assert len(seen) == 200
    assert not len(queue)


def test_whoever_joins_and_cancels_jobs_that_fail_tell_on_a_key(desk: Desk) -> None:
    first, second = desk.client("first"), desk.client("second")
    nodes = [desk.node(f"n{number}", 1) for number in range(3)]
    for number in range(MAX_FAILED_JOBS + 1):
        facts = job(f"bad{number}", inputs=())
        desk.submit(first, number, facts)
        desk.submit(second, number, facts)
        for turn in range(2):
            desk.happen(Ticked(frozenset()))
            for node in nodes:
                for run in desk.runs(node):
                    if not turn:
                        desk.say(first, Cancel(number))
                    desk.say(node, Started(run.lease))
                    desk.say(node, Failed(run.lease, "sandbox", ""))
    reasons = Counter(
        each.reason for each in desk.got(second, Refused) if isinstance(each, Refused)
    )
    assert reasons == {"nodes-failed": MAX_FAILED_JOBS, "jobs-failed": 1}


def test_a_key_has_so_many_requests_for_one_job_and_no_more(desk: Desk) -> None:
    many, other, node = desk.client("many"), desk.client("other"), desk.node("n", 1)
    facts = job("popular", inputs=())
    for ticket in range(MAX_REQUESTS_OF_JOB + 5):
        desk.submit(many, ticket, facts)
    refused = [each for each in desk.got(many, Refused) if isinstance(each, Refused)]
    assert [each.reason for each in refused] == ["too-many-queued"] * 5
    desk.submit(other, 1, facts)
    assert not desk.got(other, Refused)
    desk.sent[many.route].clear()
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    assert len(desk.got(many, Busy)) == MAX_REQUESTS_OF_JOB
    desk.done(node, run.lease)
    assert not desk.machine.farm.requests_of


def everybody(desk: Desk) -> frozenset[Origin]:
    sessions = desk.machine.farm.sessions
    return frozenset(Origin(each.route, each.user, each.role) for each in sessions)


def reasons(desk: Desk, agent: Origin) -> list[str]:
    return [each.reason for each in desk.got(agent, Refused) if isinstance(each, Refused)]


@pytest.mark.parametrize("is_begun", [True, False])
def test_nobodys_short_word_takes_a_run_from_who_expects_it_to_take_longer(
    desk: Desk, is_begun: bool
) -> None:
    """Whose turn it was said a second, and all lost the run after a minute."""
    hasty, patient, node = desk.client("hasty"), desk.client("patient"), desk.node("n", slots=1)
    desk.submit(hasty, 1, job("x", inputs=(), hint_s=1.0))
    (run,) = desk.runs(node)
    if is_begun:
        desk.say(node, Started(run.lease))
    desk.submit(patient, 1, job("x", inputs=(), hint_s=50.0))
    if not is_begun:
        desk.say(node, Started(run.lease))
    desk.pass_time(LEAST_RUN_LIMIT_S + 2.0, everybody(desk))
    assert reasons(desk, hasty) == ["nodes-failed"]
    assert not desk.got(node, Revoke)
    assert not reasons(desk, patient)
    desk.pass_time(9 * LEAST_RUN_LIMIT_S, everybody(desk))
    assert desk.got(node, Revoke) == [Revoke(run.lease)]


def test_who_comes_late_gives_a_silent_node_no_more_time(desk: Desk) -> None:
    first, late, node = desk.client("first"), desk.client("late"), desk.node("n", slots=1)
    desk.submit(first, 1, job("x", inputs=(), hint_s=1.0))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    desk.pass_time(LEAST_RUN_LIMIT_S - 10.0, everybody(desk))
    desk.submit(late, 1, job("x", inputs=(), hint_s=1.0))
    desk.pass_time(12.0, everybody(desk))
    assert desk.got(node, Revoke) == [Revoke(run.lease)]


@pytest.mark.parametrize("is_leased", [True, False])
def test_who_has_no_node_left_is_told_so_and_nobody_else(desk: Desk, is_leased: bool) -> None:
    """All were, where it was the payer who had none."""
    payer, other = desk.client("payer"), desk.client("other")
    first, second = desk.node("first", slots=1), desk.node("second", slots=1)
    desk.machine.farm.nodes.record(("user-second", "second")).keep_from("user-payer", 1e9)
    if not is_leased:  # both are busy
        for ticket in (10, 11, 12, 13, 14, 15):
            desk.submit(other, ticket, job(f"busy{ticket}", inputs=()))
    desk.submit(payer, 1, twin(0))
    desk.submit(other, 1, twin(0))
    if is_leased:
        (run,) = desk.runs(first)
        desk.say(first, Failed(run.lease, "sandbox", ""))
    else:
        desk.say(first, Bye(""))
    assert reasons(desk, payer) == ["no-nodes"]
    assert not reasons(desk, other)
    for _ in range(10):
        for run in desk.runs(second):
            desk.done(second, run.lease)
    assert [each.ticket for each in desk.got(other, Finished)].count(1) == 1


def test_who_has_no_node_at_all_joins_no_job_that_waits(desk: Desk) -> None:
    """He would wait for others' turns, and for nothing when they have gone."""
    node, other, outcast = desk.node("n", slots=1), desk.client("other"), desk.client("outcast")
    desk.machine.farm.nodes.record((node.user, "n")).keep_from("user-outcast", 1e9)
    for number in range(5):
        desk.submit(other, number, twin(number))
    desk.submit(outcast, 1, twin(4))
    assert reasons(desk, outcast) == ["no-nodes"]
    desk.submit(outcast, 2, twin(0))
    assert reasons(desk, outcast) == ["no-nodes"], "this one is on its way"
