"""Runs that take too long: a second copy where a slot is idle, and a limit for what is never answered."""

from __future__ import annotations

import math
import random

import pytest

from broker.core import effects
from broker.core.events import Origin
from broker.core.limits import (
    ANSWER_LIMIT_S,
    BEATEN_S,
    HEDGE_SHARE,
    LEAST_RUN_LIMIT_S,
    MAX_BEATEN,
    MAX_OVERRUNS,
    MAX_REST_S,
    REST_S,
    RUN_LIMIT_S,
    START_LIMIT_S,
    STARTUP_GRACE_S,
    UNKNOWN_RUN_LIMIT_S,
)
from broker.scheduling.model import cost_class
from broker.scheduling.patience import Patience
from broker.trust.conduct import NodeRecord
from tests.support.broker_world import Desk, blob, job
from zcc.messages import (
    Announce,
    Beat,
    Cancel,
    Failed,
    Fault,
    Finished,
    Refused,
    Revoke,
    Run,
    Settled,
    Started,
    Want,
)

# A job of one second, whose toolchain takes two to fetch, has a second copy after this, and not much later.
HEDGED_AFTER_S = 4.0


@pytest.fixture
def desk() -> Desk:
    """A broker that is past its start."""
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def wait(desk: Desk, seconds: float) -> None:
    """Time passes, and everybody keeps beating."""
    sessions = desk.machine.farm.sessions
    desk.pass_time(
        seconds, frozenset(Origin(each.route, each.user, each.role) for each in sessions)
    )


def start(desk: Desk, *nodes: Origin) -> dict[Origin, Run]:
    """The nodes say that they run what they were given, at most one job each."""
    found = {}
    for node in nodes:
        for run in desk.runs(node):
            found[node] = run
            desk.say(node, Started(run.lease))
    return found


def doubled(desk: Desk, agent: Origin) -> tuple[tuple[Origin, Run], tuple[Origin, Run]]:
    """A job that two nodes run, the first of which came late."""
    nodes = [desk.node("n"), desk.node("m")]
    desk.submit(agent, 1, job("x", inputs=()))
    ((first, run),) = start(desk, *nodes).items()
    wait(desk, HEDGED_AFTER_S)
    ((second, copy),) = start(desk, *(each for each in nodes if each != first)).items()
    assert copy.key == run.key
    assert copy.lease != run.lease
    return (first, run), (second, copy)


def faults_of(desk: Desk, node: Origin) -> int:
    (record,) = [
        each.record for each in desk.machine.farm.nodes if each.session.route == node.route
    ]
    return record.faults


def without_hedges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.scheduling.stragglers.MAX_HEDGES_OF_JOB", 0)


# --- hedges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("winner", [0, 1])
def test_a_run_that_takes_long_is_done_twice_and_the_first_result_wins(
    desk: Desk, winner: int
) -> None:
    agent = desk.client("a")
    runs = doubled(desk, agent)
    node, run = runs[winner]
    other, copy = runs[1 - winner]
    desk.done(node, run.lease)
    assert len(desk.got(agent, Finished)) == 1
    assert desk.got(other, Revoke) == [Revoke(copy.lease)]
    assert not desk.machine.farm.leases
    assert faults_of(desk, node) == faults_of(desk, other) == 0


def test_what_takes_no_longer_than_it_should_runs_once(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("n"), desk.node("m")]
    desk.submit(agent, 1, job("x", inputs=(), hint_s=60.0))
    (first,) = start(desk, *nodes)
    wait(desk, 60.0)
    assert not start(desk, *nodes)
    assert desk.machine.farm.executions
    assert first in nodes


def test_a_second_copy_waits_until_no_job_wants_the_slot(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("n", slots=1), desk.node("m", slots=1)]
    desk.submit(agent, 1, job("x", inputs=()))
    start(desk, *nodes)
    desk.submit(agent, 2, job("y"))  # its source is on its way, and the other slot is for it
    wait(desk, HEDGED_AFTER_S)
    assert not start(desk, *nodes)
    desk.say(agent, Cancel(2))
    wait(desk, 1.0)
    assert len(start(desk, *nodes)) == 1


def test_few_slots_are_used_for_second_copies(desk: Desk) -> None:
    agent, nodes = desk.client("a"), [desk.node("n", slots=20), desk.node("m", slots=20)]
    for ticket in range(20):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    for node in nodes:
        for run in desk.runs(node):
            desk.say(node, Started(run.lease))
    wait(desk, HEDGED_AFTER_S)
    copies = [run for node in nodes for run in desk.runs(node)]
    assert len(copies) == int(HEDGE_SHARE * 40)


def test_a_second_copy_goes_to_no_node_that_would_end_it_later(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=(), hint_s=1.0))
    node = desk.node("m", slots=1)
    slow = next(each for each in desk.machine.farm.nodes if each.session.name == "m")
    desk.machine.farm.model.observe(slow.identity, cost_class(blob("gcc"), 1.0, 0), 1.0, 1.0, 50.0)
    desk.machine.farm.model.observe(slow.identity, cost_class(blob("gcc"), 1.0, 0), 1.0, 1.0, 5e4)
    assert desk.machine.farm.model.wall_s(1.0, slow.identity) > 1.2
    wait(desk, 2.5)
    assert not desk.runs(node)


def test_a_second_copy_that_fails_is_no_loss_of_the_job_and_its_nodes_fault(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.say(second, Failed(copy.lease, Fault.SANDBOX.value, ""))
    (execution,) = desk.machine.farm.executions.values()
    assert (execution.losses, execution.hedge) == (0, None)
    desk.done(first, run.lease)
    assert len(desk.got(agent, Finished)) == 1
    assert (faults_of(desk, first), faults_of(desk, second)) == (0, 1)


def test_the_second_copy_goes_on_when_the_first_fails(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.say(first, Failed(run.lease, Fault.INTERNAL.value, ""))
    assert not desk.got(agent, Refused)
    desk.done(second, copy.lease)
    assert len(desk.got(agent, Finished)) == 1
    assert (faults_of(desk, first), faults_of(desk, second)) == (1, 0)


def test_a_job_that_fails_on_both_nodes_goes_home(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.say(first, Failed(run.lease, Fault.INTERNAL.value, ""))
    desk.say(second, Failed(copy.lease, Fault.INTERNAL.value, ""))
    assert [each.reason for each in desk.got(agent, Refused)] == ["nodes-failed"]
    assert (faults_of(desk, first), faults_of(desk, second)) == (0, 0)


def test_a_result_that_proves_nothing_does_not_win(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.done(second, copy.lease, is_sound=False)
    assert not desk.got(agent, Finished)
    assert not desk.got(first, Revoke)
    desk.done(first, run.lease)
    assert len(desk.got(agent, Finished)) == 1


def test_the_losers_result_is_compared_when_it_was_under_way(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.done(second, copy.lease)
    assert desk.machine.payer_of(first, run.lease) == agent.user
    assert desk.machine.payer_of(second, run.lease) is None
    seen = desk.done(first, run.lease)
    (compared,) = [each for each in seen if isinstance(each, effects.Compare)]
    assert (compared.winner.key, compared.winner.node) == (run.key, "m")
    assert compared.node == first.route.decode()
    assert desk.got(first, Settled) == [Settled(run.lease)]
    assert len(desk.got(agent, Finished)) == 1
    assert not any(isinstance(each, effects.Compare) for each in desk.done(first, run.lease))


def test_both_copies_are_revoked_when_nobody_wants_the_job(desk: Desk) -> None:
    agent = desk.client("a")
    (first, run), (second, copy) = doubled(desk, agent)
    desk.say(agent, Cancel(1))
    assert desk.got(first, Revoke) == [Revoke(run.lease)]
    assert desk.got(second, Revoke) == [Revoke(copy.lease)]


def test_a_node_that_never_answers_is_to_blame_though_second_copies_end_its_jobs(
    desk: Desk,
) -> None:
    agent, silent = desk.client("a"), desk.node("silent", slots=4)
    good = [desk.node(name, slots=1) for name in ("good", "too")]
    begun = desk.now
    tickets = iter(range(1, 1000))

    def are_busy() -> None:
        """Else no job would go to the silent one, once it is known to be slow."""
        for each in good:
            desk.say(each, Beat(0.0, paused="busy"))

    def are_beaten(until: int, *winners: Origin) -> None:
        """Second copies on these nodes, in turns, end its jobs until it has so many faults."""
        since = desk.now
        while faults_of(desk, silent) < until:
            are_busy()
            ticket = next(tickets)
            assert desk.now - since < 6 * BEATEN_S, "it is never blamed"
            desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
            start(desk, silent)
            for node in winners:
                desk.say(node, Beat(0.0))
            while desk.machine.farm.executions:
                wait(desk, HEDGED_AFTER_S)
                for node in winners:
                    for run in start(desk, node).values():
                        desk.done(node, run.lease)

    def is_aside() -> bool:
        are_busy()
        ticket = next(tickets)
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
        gets = bool(desk.runs(silent))
        desk.say(agent, Cancel(ticket))
        return not gets

    are_beaten(2 * MAX_BEATEN, good[0])
    assert desk.now - begun >= BEATEN_S  # else it may be slow, and no more
    assert not is_aside()  # one node's word alone
    are_beaten(3 * MAX_BEATEN, good[1])
    assert is_aside()
    assert faults_of(desk, good[0]) == faults_of(desk, good[1]) == 0


# --- limits -------------------------------------------------------------------------------------


def test_a_node_that_starts_a_job_and_never_answers_loses_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent, silent = desk.client("a"), desk.node("silent")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = start(desk, silent).values()
    good = desk.node("good")
    wait(desk, LEAST_RUN_LIMIT_S - 2.0)
    desk.say(silent, Started(run.lease))  # said again it wins no time
    assert not desk.runs(good)
    wait(desk, 4.0)
    (again,) = start(desk, good).values()
    assert desk.got(silent, Revoke) == [Revoke(run.lease)]
    assert next(iter(desk.machine.farm.executions.values())).losses == 0
    assert faults_of(desk, silent) == 0
    # What it says now comes too late, and changes nothing.
    desk.done(silent, run.lease)
    assert desk.got(silent, Settled) == [Settled(run.lease)]
    assert not desk.got(agent, Finished)
    desk.done(good, again.lease)
    assert len(desk.got(agent, Finished)) == 1
    assert faults_of(desk, silent) == 1


def test_a_node_is_not_to_blame_where_the_job_does_take_so_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent, first = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    start(desk, first)
    second = desk.node("m")
    wait(desk, LEAST_RUN_LIMIT_S + 2.0)
    (again,) = start(desk, second).values()
    wait(desk, 1.5 * LEAST_RUN_LIMIT_S)  # it has four times as long there
    desk.done(second, again.lease, wall_s=1.5 * LEAST_RUN_LIMIT_S)
    assert len(desk.got(agent, Finished)) == 1
    assert faults_of(desk, first) == 0


def test_a_job_that_is_over_its_limit_everywhere_goes_home(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent = desk.client("a")
    nodes = [desk.node(f"n{number}") for number in range(MAX_OVERRUNS + 1)]
    desk.submit(agent, 1, job("x", inputs=()))
    tried = []
    while not desk.got(agent, Refused):
        tried += list(start(desk, *nodes))
        wait(desk, 10.0)
    assert len(tried) == len(set(tried)) == MAX_OVERRUNS


def test_a_node_that_never_starts_what_it_was_given_loses_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent, silent = desk.client("a"), desk.node("silent")
    desk.submit(agent, 1, job("x", inputs=()))
    assert len(desk.runs(silent)) == 1
    good = desk.node("good")
    wait(desk, START_LIMIT_S + 2.0)
    (run,) = start(desk, good).values()
    desk.done(good, run.lease)
    assert faults_of(desk, silent) == 1


def test_what_waits_at_a_node_behind_its_running_jobs_is_not_overdue(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in (1, 2):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), hint_s=300.0))
    first, second = desk.runs(node)
    desk.say(node, Started(first.lease))
    wait(desk, 2 * START_LIMIT_S)
    assert not desk.got(node, Revoke)
    desk.done(node, first.lease)
    desk.say(node, Started(second.lease))
    desk.done(node, second.lease)
    assert len(desk.got(agent, Finished)) == 2


def test_with_a_run_a_silent_node_loses_what_it_has_not_begun(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent, silent = desk.client("a"), desk.node("silent", slots=1)
    for ticket in (1, 2):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    run, _ = desk.runs(silent)
    desk.say(silent, Started(run.lease))
    busy = desk.node("busy", slots=2)
    for ticket in (3, 4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), hint_s=900.0))
    for each in desk.runs(busy):
        desk.say(busy, Started(each.lease))
    wait(desk, LEAST_RUN_LIMIT_S + 2.0)
    assert len(desk.got(silent, Revoke)) == 2


def test_a_node_that_announces_its_outputs_has_time_to_send_them_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hedges(monkeypatch)
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = start(desk, node).values()
    wait(desk, LEAST_RUN_LIMIT_S - 5.0)
    for _ in range(2):
        desk.say(node, Announce(run.lease, (blob("output"),)))
        wait(desk, ANSWER_LIMIT_S / 2)
    wait(desk, 4.0)
    assert desk.got(node, Revoke) == [Revoke(run.lease)]


def test_who_announces_nothing_has_no_time_to_send_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent node had five minutes for one by it."""
    without_hedges(monkeypatch)
    agent, node = desk.client("a"), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = start(desk, node).values()
    desk.say(node, Announce(run.lease, ()))
    wait(desk, LEAST_RUN_LIMIT_S + 2.0)
    assert desk.got(node, Revoke) == [Revoke(run.lease)]


def test_the_last_nodes_silence_sends_its_jobs_home(desk: Desk) -> None:
    agent, silent = desk.client("a"), desk.node("silent")
    desk.submit(agent, 1, job("x", inputs=()))
    start(desk, silent)
    wait(desk, LEAST_RUN_LIMIT_S + 2.0)
    assert [each.reason for each in desk.got(agent, Refused)] == ["no-nodes"]


def test_a_long_queue_takes_nothing_from_the_time_of_a_run(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(8):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=(), hint_s=100.0))
    runs: list[Run] = []
    for _ in range(8):
        runs += desk.runs(node)
        run = runs.pop(0)
        desk.say(node, Started(run.lease))
        wait(desk, 100.0)
        desk.done(node, run.lease, wall_s=100.0)
    assert len(desk.got(agent, Finished)) == 8


@pytest.mark.parametrize(
    ("predicted_s", "overruns", "is_known", "limit_s"),
    [
        (1.0, 0, True, LEAST_RUN_LIMIT_S),
        (1.0, 1, True, 4 * LEAST_RUN_LIMIT_S),
        (1.0, 0, False, UNKNOWN_RUN_LIMIT_S),
        (20.0, 0, True, 200.0),
        (600.0, 0, True, RUN_LIMIT_S),
        (1.0, 5, True, RUN_LIMIT_S),
    ],
)
def test_the_limit_of_a_run_goes_by_what_is_predicted(
    predicted_s: float, overruns: int, is_known: bool, limit_s: float
) -> None:
    assert Patience().run_limit_s(predicted_s, overruns, is_known=is_known) == limit_s


# --- nodes that rest ----------------------------------------------------------------------------


def test_a_node_that_runs_short_is_left_alone_for_a_moment_by_that_key_and_its_jobs_wait(
    desk: Desk,
) -> None:
    one, two, node = desk.client("one"), desk.client("two"), desk.node("n")
    desk.submit(one, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.say(node, Failed(run.lease, Fault.RESOURCES.value, "no memory"))
    desk.submit(one, 2, job("y", inputs=()))
    assert not desk.runs(node)
    desk.submit(two, 1, job("z", inputs=()))
    assert len(desk.runs(node)) == 1
    wait(desk, REST_S + 1.0)
    assert len(desk.runs(node)) == 1
    assert {each.ticket for each in desk.got(one, Refused)} == {1}


def test_rests_grow_until_a_job_succeeds_and_are_everybodys_when_no_key_explains_them() -> None:
    record, now = NodeRecord(), 100.0
    for rest_s in (REST_S, 2 * REST_S, 4 * REST_S, MAX_REST_S, MAX_REST_S):
        assert not record.note_unanswered("one", now)
        assert record.rests_for("one", now + rest_s - 0.1)
        assert not record.rests_for("one", now + rest_s)
        assert not record.is_resting(now)
        assert not record.rests_for("two", now)
        now += rest_s
    assert record.note_unanswered("two", now)
    assert record.is_resting(now + REST_S - 0.1)
    record.note_success("one")
    assert not record.note_unanswered("one", now)
    assert not record.rests_for("one", now + REST_S)


def test_jobs_that_run_out_of_something_rest_a_node_for_their_keys_alone() -> None:
    record = NodeRecord()
    for user in ("one", "two", "three"):
        record.note_short(user, 100.0)
    assert not record.is_resting(100.0)
    assert record.rests_for("two", 100.0)
    assert not record.rests_for("four", 100.0)


# --- the 95th percentile ------------------------------------------------------------------------


def test_the_slowest_twentieth_of_a_class_counts_as_slow() -> None:
    rng, patience = random.Random(1), Patience()
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    (lease,) = desk.machine.farm.leases.values()
    execution = desk.machine.farm.executions[lease.key]
    lease.began_at = 0.0
    ratios = [math.exp(rng.gauss(0.0, 0.6)) for _ in range(2_000)]
    for ratio in ratios:
        patience.ended(lease, execution, 1.0, ratio)
    limit = patience.straggles_after_s(execution, 1.0)
    slower = sum(math.exp(rng.gauss(0.0, 0.6)) > limit for _ in range(4_000)) / 4_000
    assert 0.02 < slower < 0.09
    assert desk.got(agent, Want) == []


def test_what_one_keys_jobs_take_delays_nobody_elses_second_copies(desk: Desk) -> None:
    """With 240 jobs a member had all other runs of his class wait half a minute for theirs."""
    patience, agents = Patience(), [desk.client("a"), desk.client("b")]
    desk.node("n", slots=8)
    for agent in agents:
        desk.submit(agent, 1, job(agent.user, inputs=()))
    one, two = [desk.machine.farm.executions[job(agent.user).key] for agent in agents]
    assert one.lease is not None
    one.lease.began_at = 0.0
    assert one.cost_class == two.cost_class
    was = patience.straggles_after_s(two, 1.0)
    for _ in range(100):
        patience.ended(one.lease, one, 1.0, 50.0)
    assert patience.straggles_after_s(one, 1.0) > 10 * was
    assert patience.straggles_after_s(two, 1.0) == was
