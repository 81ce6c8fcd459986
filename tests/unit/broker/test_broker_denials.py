"""Results that nobody can use: what they cost the nodes that give them, and nobody else."""

from __future__ import annotations

import random

import pytest

from broker.core.effects import Deliver
from broker.core.events import Origin
from broker.core.limits import (
    MAX_DENIAL_S,
    MAX_RECORDS,
    MAX_RECORDS_PER_KEY,
    SPARE_PLACES,
    STARTUP_GRACE_S,
    USEFUL_REPAYS,
)
from broker.core.nodes import Node, most_leases
from broker.trust.denials import Denials
from tests.support.broker_world import Desk, job
from zcc.messages import Bye, Refused

SLOTS = 16


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def node_of(desk: Desk, name: str) -> Node:
    return next(node for node in desk.machine.farm.nodes if node.session.name == name)


def submit(desk: Desk, agent: Origin, jobs: int) -> None:
    for _ in range(jobs):
        ticket = len(desk.effects)
        desk.submit(agent, ticket, job(f"{agent.user} {ticket}", inputs=()))


def deny(desk: Desk, node: Origin, *, is_sound: bool = True) -> int:
    """It says no at once to whatever it is given; to how many jobs."""
    denied = 0
    while given := desk.runs(node):
        for run in given:
            denied += 1
            desk.done(node, run.lease, exit_status=int(is_sound), is_sound=is_sound)
    return denied


def use(desk: Desk, node: Origin) -> int:
    """It does what it was given, once; how many jobs."""
    given = desk.runs(node)
    for run in given:
        desk.done(node, run.lease)
    return len(given)


def answers(desk: Desk) -> list[str]:
    return [each.message.node for each in desk.effects if isinstance(each, Deliver)]


@pytest.mark.parametrize("is_sound", [True, False])
def test_a_node_that_denies_all_is_given_one_job_at_a_time(desk: Desk, is_sound: bool) -> None:
    """It was always free, and had nearly all jobs of the farm."""
    agent, liar = desk.client("a"), desk.node("liar", slots=SLOTS)
    submit(desk, agent, 200)
    begun = deny(desk, liar, is_sound=is_sound)
    assert begun <= most_leases(SLOTS) + SPARE_PLACES
    everybody, later = frozenset((agent, liar)), 0
    for _ in range(40):
        desk.pass_time(0.5, everybody)
        later += deny(desk, liar, is_sound=is_sound)
    assert 3 <= later <= 20  # jobs of a second
    assert len(answers(desk)) == begun + later, "each is delivered, and none runs again"
    assert node_of(desk, "liar").state(desk.now) == "ready"
    assert node_of(desk, "liar").record.faults == 0
    assert not desk.got(agent, Refused)


def test_it_has_all_its_places_back_when_what_it_gives_is_of_use(desk: Desk) -> None:
    """Whose header is broken has all compiles fail, until it is mended."""
    agent, node = desk.client("a"), desk.node("n", slots=SLOTS)
    submit(desk, agent, 200)
    deny(desk, node)
    had: list[int] = []
    while len(had) < 5:
        desk.pass_time(0.5, frozenset((agent, node)))
        if given := use(desk, node):
            had.append(given)
    assert had[:3] == [1, 1 + USEFUL_REPAYS, (1 + USEFUL_REPAYS) ** 2]
    assert had[-1] >= SLOTS


def test_whose_jobs_fail_has_nobody_elses_kept_from_a_node(desk: Desk) -> None:
    broken, sound, node = desk.client("broken"), desk.client("sound"), desk.node("n", slots=SLOTS)
    submit(desk, broken, 200)
    deny(desk, node)
    submit(desk, sound, SLOTS)
    assert use(desk, node) == SLOTS


@pytest.mark.parametrize("is_new", [True, False])
def test_more_nodes_of_the_key_have_no_more_places(desk: Desk, is_new: bool) -> None:
    """It said no to a few jobs under each name, and had most of the farm's."""
    agent, liar = desk.client("a"), desk.node("liar", slots=SLOTS, user="liar")
    submit(desk, agent, 200)
    deny(desk, liar)
    if is_new:
        desk.say(liar, Bye("x"))
    others = [desk.node(f"liar{number}", slots=SLOTS, user="liar") for number in range(5)]
    desk.pass_time(2.0, frozenset((agent, liar, *others)))
    assert sum(deny(desk, other) for other in others) <= 4


def test_idle_nodes_that_may_have_no_job_hide_no_other(desk: Desk) -> None:
    agent = desk.client("a")
    liars = [desk.node(f"liar{number}", slots=SLOTS, user="liar") for number in range(20)]
    submit(desk, agent, 600)
    for liar in liars:
        deny(desk, liar)
    honest = desk.node("honest", slots=2)
    desk.pass_time(0.5, frozenset((agent, honest, *liars)))
    assert use(desk, honest) >= 2


def test_a_key_of_which_nothing_was_of_use_waits_no_longer_than_so() -> None:
    """A job may be expected to take a quarter of an hour, and fail at once."""
    denials = Denials()
    for _ in range(2 * SPARE_PLACES):
        denials.note_denial("n", "u", 900.0, 0.0)
    assert not denials.allows("n", "u", MAX_DENIAL_S - 0.1)
    assert denials.allows("n", "u", MAX_DENIAL_S)


def test_of_few_pairs_it_is_known_and_of_none_that_owes_nothing() -> None:
    denials = Denials()
    denials.note_denial("n", "u", 1.0, 0.0)
    denials.note_useful("n", "u")
    assert not denials._debts
    for number in range(2 * MAX_RECORDS):
        denials.note_denial("n", f"u{number}", 1.0, 0.0)
    assert len(denials._debts) == MAX_RECORDS
    denials.leased("n", "u")
    denials.ended("n", "u")
    assert not denials._held


@pytest.mark.parametrize("slots", [1, 8, 64])
def test_where_half_of_all_compiles_fail_no_slot_is_idle_for_it(slots: int) -> None:
    rng, denials = random.Random(1), Denials()
    for _ in range(slots):
        denials.leased("n", "u")
    refused = 0
    for at in range(10_000):
        if rng.random() < 0.5:
            denials.note_denial("n", "u", float(at), float(at))
        else:
            denials.note_useful("n", "u")
        denials.ended("n", "u")
        refused += not denials.allows("n", "u", float(at))
        denials.leased("n", "u")
    assert refused < 200


def test_a_key_under_many_names_is_remembered_as_the_nodes_that_it_has(desk: Desk) -> None:
    roster = desk.machine.farm.nodes
    for number in range(2 * MAX_RECORDS_PER_KEY):
        desk.say(desk.node(f"n{number}", user="many"), Bye("x"))
    stays, other = desk.node("stays", user="many"), desk.node("other", user="many")
    assert len(roster._records["many"]) == MAX_RECORDS_PER_KEY
    assert len(roster.records_of("many")) == 2
    assert node_of(desk, "stays").record is roster.record((stays.user, "stays"))
    assert node_of(desk, "other").record is not node_of(desk, "stays").record
    assert other.user == stays.user
