"""The broker reserves memory on nodes, and finds a place for what was stopped for want of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.events import Origin
from broker.core.limits import AGED_S, MAX_CLOSURE_BYTES, MAX_STOPS, STARTUP_GRACE_S
from broker.scheduling.needs import MemoryClaim, believed
from tests.support.broker_world import Desk, JobFacts, blob, job
from zcc.lent import LentMemory
from zcc.messages import Beat, Bye, Failed, Fault, Finished, Refused, Run, Started
from zcc.traits import Traits

GIB = 1 << 30


@pytest.fixture
def desk() -> Desk:
    """A broker that is past its start."""
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def known(name: str) -> JobFacts:
    return replace(
        job(name, inputs=(), hint_s=0.0), traits=Traits(blob(name)[:16], 1 << 20, True, 2, 0, 0)
    )


def memory(limit: float, usable: float | None = None, pressure: float = 0.0) -> LentMemory:
    left = limit if usable is None else usable
    return LentMemory(int(limit * GIB), int(left * GIB), pressure)


def teach(
    desk: Desk, agent: Origin, node: Origin, ticket: int, facts: JobFacts, gib: float
) -> None:
    """The agent's key has compiled it, and it had so much memory."""
    desk.submit(agent, ticket, facts)
    (run,) = desk.runs(node)
    desk.done(node, run.lease, peak_bytes=int(gib * GIB))


def stop(desk: Desk, node: Origin, run: Run, gib: float) -> None:
    failed = Failed(run.lease, Fault.MEMORY.value, "more than it may", int(gib * GIB))
    desk.say(node, failed)


def test_jobs_that_would_not_fit_together_do_not_meet(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=8, memory=memory(8))
    for number in range(4):
        teach(desk, agent, node, number, known(f"x{number}"), 3.0)
    for number in range(4):
        desk.submit(agent, 10 + number, replace(known(f"x{number}"), name=f"again{number}"))
    runs = desk.runs(node)
    assert len(runs) == 2  # 3.6 GiB are reserved for each
    assert all(3.5 * GIB < run.memory_bytes < 3.7 * GIB for run in runs)
    desk.done(node, runs[0].lease, peak_bytes=3 * GIB)
    assert len(desk.runs(node)) == 1


def test_a_small_job_goes_where_a_large_one_has_to_wait(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=8, memory=memory(8))
    teach(desk, agent, node, 1, known("large"), 5.0)
    teach(desk, agent, node, 2, known("small"), 0.1)
    for number, name in enumerate(("large", "large", "small")):
        desk.submit(agent, 10 + number, replace(known(name), name=f"{name}{number}"))
    assert sorted(run.body for run in desk.runs(node)) == [b"job large0", b"job small2"]


def test_one_that_is_too_large_for_now_runs_alone(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4, memory=memory(4))
    teach(desk, agent, node, 1, known("x"), 3.9)
    desk.submit(agent, 2, replace(known("x"), name="again"))
    (run,) = desk.runs(node)
    desk.submit(agent, 3, known("other"))
    assert not desk.runs(node)
    desk.done(node, run.lease, peak_bytes=4 * GIB)
    assert len(desk.runs(node)) == 1


def test_a_node_under_pressure_is_given_nothing_more(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4, memory=memory(64))
    desk.submit(agent, 1, known("x"))
    (run,) = desk.runs(node)
    desk.say(node, Beat(0.0, memory=memory(64, pressure=30.0)))
    desk.submit(agent, 2, known("y"))
    assert not desk.runs(node)
    desk.say(node, Beat(0.0, memory=memory(64, pressure=1.0)))
    desk.pass_time(0.5, frozenset((agent, node)))
    assert len(desk.runs(node)) == 1
    desk.done(node, run.lease)


def test_a_job_that_was_stopped_gets_twice_as_much_elsewhere_and_has_lost_nothing(
    desk: Desk,
) -> None:
    agent = desk.client("a")
    small = desk.node("small", memory=memory(1))
    desk.submit(agent, 1, known("x"))
    (run,) = desk.runs(small)
    large = desk.node("large", memory=memory(8))
    stop(desk, small, run, 1.01)
    (again,) = desk.runs(large)
    assert again.memory_bytes == 2 * int(1.01 * GIB)
    (execution,) = desk.machine.farm.executions.values()
    assert (execution.losses, execution.lost_by) == (0, set())
    stop(desk, large, again, 2.5)  # it was not alone, say
    (third,) = desk.runs(large)
    assert third.memory_bytes == 2 * int(2.5 * GIB)
    desk.done(large, third.lease, peak_bytes=4 * GIB)
    assert desk.got(agent, Finished)
    for name in ("small", "large"):
        (node,) = [each for each in desk.machine.farm.nodes if each.session.name == name]
        assert (node.record.faults, node.reserved_bytes) == (0, 0)


def test_what_is_too_large_for_every_node_is_refused_at_once_next_time(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", memory=memory(1))
    desk.submit(agent, 1, known("x"))
    (run,) = desk.runs(node)
    stop(desk, node, run, 1.02)
    assert [each.reason for each in desk.got(agent, Refused)] == [
        "needs-memory: more than 1044 MiB, and no node gives a job more than 1024 MiB"
    ]
    desk.submit(agent, 2, replace(known("x"), name="edited"))
    assert not desk.runs(node)
    assert len(desk.got(agent, Refused)) == 2
    other = desk.client("b")
    desk.submit(other, 1, replace(known("x"), name="b"))
    assert len(desk.runs(node)) == 1, "what one key has seen refuses no other's job"
    desk.node("large", memory=memory(16))
    desk.submit(agent, 3, replace(known("x"), name="again"))
    assert len(desk.got(agent, Refused)) == 2


def test_a_refused_source_is_tried_again_in_the_end(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", memory=memory(1))
    desk.submit(agent, 1, known("x"))
    stop(desk, node, desk.runs(node)[0], 1.2)
    for number in range(2, 60):
        desk.submit(agent, number, replace(known("x"), name=f"x{number}"))
        if desk.runs(node):
            return
    pytest.fail("it may have become smaller since")


def test_a_node_that_stops_the_same_job_again_and_again_loses_it(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", memory=memory(64))
    desk.submit(agent, 1, known("x"))
    stops = 0
    while runs := desk.runs(node):
        stops += 1
        stop(desk, node, runs[0], 0.1)
    assert stops == MAX_STOPS + 1
    (refused,) = desk.got(agent, Refused)
    assert re.match("no-nodes|nodes-failed", refused.reason)


def test_a_node_says_of_no_job_that_it_needs_more_than_twice_what_it_has(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", memory=memory(2))
    desk.node("large", memory=memory(8))
    desk.submit(agent, 1, known("x"))
    runs = desk.runs(node)
    if runs:
        stop(desk, node, runs[0], 1000.0)
        assert not desk.got(agent, Refused)
        (execution,) = desk.machine.farm.executions.values()
        assert execution.least_bytes <= 4 * GIB


def test_for_a_large_job_that_has_waited_long_a_node_is_emptied(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4, memory=memory(4))
    teach(desk, agent, node, 1, known("large"), 3.0)
    teach(desk, agent, node, 2, known("small"), 1.0)
    here = frozenset((agent, node))
    for number in range(3):
        desk.submit(agent, 10 + number, replace(known("small"), name=f"s{number}"))
    running = desk.runs(node)
    desk.submit(agent, 20, replace(known("large"), name="waits"))
    for number in range(3, 40):
        desk.submit(agent, 10 + number * 10, replace(known("small"), name=f"s{number}"))
        running += desk.runs(node)
        done = running.pop(0)
        if done.body == b"job waits":
            return
        desk.done(node, done.lease, peak_bytes=GIB)
        running += desk.runs(node)
        desk.pass_time(AGED_S / 8, here)
        running += desk.runs(node)
    pytest.fail("small jobs have passed it over for ever")


def test_nodes_that_say_nothing_of_memory_are_given_jobs_by_slots(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4)
    for number in range(4):
        desk.submit(agent, number, known(f"x{number}"))
    assert len(desk.runs(node)) == 4


def test_one_keys_word_has_nobodys_source_refused(desk: Desk) -> None:
    agent, liar = desk.client("a"), desk.node("liar", memory=memory(8))
    teach(desk, agent, liar, 1, known("x"), 4096.0)
    honest = desk.node("honest", memory=memory(64))
    desk.submit(agent, 2, replace(known("x"), name="edited"))
    assert not desk.got(agent, Refused)
    assert len(desk.runs(honest) + desk.runs(liar)) == 1


def test_one_keys_word_draws_no_jobs_to_its_own_nodes(desk: Desk) -> None:
    agent, liar = desk.client("a"), desk.node("liar", memory=memory(1 << 20))
    names = [f"x{number}" for number in range(4)]
    for number, name in enumerate(names):
        teach(desk, agent, liar, number, known(name), 4096.0)
    honest = desk.node("honest", slots=4, memory=memory(64))
    for number, name in enumerate(names):
        desk.submit(agent, 10 + number, replace(known(name), name=f"again{number}"))
    runs = desk.runs(honest)
    assert len(runs) >= 2
    assert all(run.memory_bytes < GIB for run in runs)


def test_one_keys_word_on_a_job_that_it_stopped_does_not_end_it(desk: Desk) -> None:
    agent, liar = desk.client("a"), desk.node("liar", memory=memory(4096))
    desk.submit(agent, 1, known("x"))
    (run,) = desk.runs(liar)
    honest = desk.node("honest", memory=memory(64))
    stop(desk, liar, run, 9000.0)
    (run,) = desk.runs(honest)
    desk.done(honest, run.lease, peak_bytes=GIB // 2)
    assert desk.got(agent, Finished)
    assert not desk.got(agent, Refused)


def test_a_run_that_does_with_less_refutes_another_keys_word(desk: Desk) -> None:
    agent, liar = desk.client("a"), desk.node("liar", memory=memory(64))
    teach(desk, agent, liar, 1, known("x"), 63.0)
    desk.say(liar, Bye("leaves"))
    honest = desk.node("honest", slots=8, memory=memory(64))
    teach(desk, agent, honest, 2, replace(known("x"), name="alone"), 0.5)
    desk.submit(agent, 3, replace(known("x"), name="again"))
    (run,) = desk.runs(honest)
    assert run.memory_bytes < GIB


def test_what_only_one_key_can_hold_goes_there_when_another_has_tried(desk: Desk) -> None:
    agent = desk.client("a")
    large, small = desk.node("large", memory=memory(512)), desk.node("small", memory=memory(8))
    desk.submit(agent, 1, known("x"))
    while not desk.got(agent, Finished):
        runs, others = desk.runs(large), desk.runs(small)
        for run in others:
            stop(desk, small, run, 8.1)
        for run in runs:
            if run.memory_bytes < 40 * GIB:
                stop(desk, large, run, max(2.1, 2.0 * run.memory_bytes / GIB))
            else:
                desk.done(large, run.lease, peak_bytes=60 * GIB)
        assert runs or others
    desk.submit(agent, 2, replace(known("x"), name="edited"))
    (run,) = desk.runs(large)
    assert run.memory_bytes > 60 * GIB


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=3),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 100), min_size=2),
)
def test_what_is_believed_is_within_what_others_give_or_what_others_say(
    said: list[tuple[str, int]], gives: dict[str, int]
) -> None:
    words = [MemoryClaim(by, least, least) for by, least in dict(said).items()]

    def reach(key: str) -> float | None:
        return max((most for by, most in gives.items() if by != key), default=None)

    found = believed(words, reach)
    if found is not None and found.least_bytes > (most := reach(found.by) or 0):
        assert any(most < each.least_bytes for each in words if each.by != found.by)
    assert found is not None or all(each.least_bytes > (reach(each.by) or 0) for each in words)


def test_the_size_of_its_inputs_is_believed_up_to_what_projects_have(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=8, memory=memory(64))
    for ticket, closure_bytes in enumerate((MAX_CLOSURE_BYTES, 1 << 50)):
        facts = known(f"x{ticket}")
        assert facts.traits is not None
        traits = replace(facts.traits, closure_bytes=closure_bytes)
        desk.submit(agent, ticket, replace(facts, traits=traits))
    most, more = desk.runs(node)
    assert more.memory_bytes == most.memory_bytes < 4 * GIB


def test_who_has_a_nodes_memory_is_charged_for_the_slots_that_have_none(desk: Desk) -> None:
    agent, other = desk.client("a"), desk.client("b")
    node = desk.node("n", slots=8, memory=memory(8))
    teach(desk, agent, node, 1, known("large"), 6.0)
    teach(desk, other, node, 1, known("small"), 0.1)
    for number in range(2, 42):
        desk.submit(agent, number, replace(known("large"), name=f"large{number}"))
        desk.submit(other, number, replace(known("small"), name=f"small{number}"))
    done = Counter[str]()
    while done["user-b"] < 40:
        given = desk.runs(node)
        assert given, (done, desk.got(agent, Refused))
        for run in given:
            desk.say(node, Started(run.lease))
        desk.pass_time(1.0, frozenset((agent, other, node)))
        for run in given:
            gib = 6.0 if run.client == "user-a" else 0.1
            desk.done(node, run.lease, peak_bytes=int(gib * GIB))
        done += Counter(run.client for run in given)
    assert done["user-a"] <= 4  # without it 7
