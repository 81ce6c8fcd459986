"""Where jobs go, in what order, and what is learnt from them."""

from __future__ import annotations

import math

import pytest

from broker.limits import (
    FAULT_WINDOW,
    MAX_FAULTS,
    MAX_QUARANTINE_S,
    QUARANTINE_S,
    TOOLCHAIN_FETCH_S,
)
from broker.model import Model, cost_class
from broker.nodes import Node, Record
from broker.placement import Need, choose_node, seat_of
from broker.queue import Lane, Queue
from broker.sessions import Session
from broker.strikes import Strikes
from cache.digest import Digest, digest_of
from zcc.messages import Role

GCC = digest_of(b"gcc")


def node(name: str, slots: int = 1, *, has_toolchain: bool = True) -> Node:
    session = Session(name.encode() * 16, name.encode(), name, Role.NODE, name, 0.0)
    return Node(session, Record(), slots, frozenset(), toolchains={GCC} if has_toolchain else set())


def model_with(**speeds: float) -> Model:
    """A model that has seen each node run jobs of cost 1 at this speed."""
    model = Model()
    job = cost_class(GCC, 1.0, 0)
    for _ in range(400):
        for name, speed in speeds.items():
            model.observe((name, name), job, model.cost_s(job, 1.0), 1 / speed, 1 / speed)
    return model


def test_the_node_that_finishes_first_is_taken() -> None:
    model = model_with(slow=0.5, fast=2.0)
    seats = [seat_of(node(name), 0.0, model) for name in ("slow", "fast")]
    choice = choose_node(Need(GCC, b"", 1.0), seats, 0.0, may_prefetch=False)
    assert choice.seat is seats[1]
    assert choice.reason == "earliest-finish"


def test_a_node_without_the_toolchain_counts_its_transfer() -> None:
    model = Model()
    seats = [seat_of(node("without", has_toolchain=False), 0.0, model)]
    alone = choose_node(Need(GCC, b"", 1.0), seats, 0.0, may_prefetch=False)
    assert alone.finish_at == pytest.approx(TOOLCHAIN_FETCH_S + 1.0)


def test_a_job_waits_for_a_fast_node_rather_than_take_a_slow_one_but_not_for_ever() -> None:
    model = model_with(slow=0.2, fast=5.0)

    def seats() -> list:  # type: ignore[type-arg]
        busy = seat_of(node("fast"), 0.0, model)
        busy.idle, busy.free_at = 0, [0.3]
        return [seat_of(node("slow"), 0.0, model), busy]

    waits = choose_node(Need(GCC, b"", 1.0), seats(), 0.0, may_prefetch=False)
    assert (waits.seat, waits.reason) == (None, "waits-for-faster")
    patient = Need(GCC, b"", 1.0, waited_s=60.0)
    taken = choose_node(patient, seats(), 0.0, may_prefetch=False)
    assert taken.reason == "waited-enough"
    ahead = choose_node(Need(GCC, b"", 1.0), seats(), 0.0, may_prefetch=True)
    assert ahead.reason == "prefetch"


def test_jobs_that_wait_for_a_fast_node_count_for_those_behind_them() -> None:
    model = model_with(slow=0.5, fast=2.0)
    busy = seat_of(node("fast"), 0.0, model)
    busy.idle, busy.free_at = 0, [0.5]
    seats = [seat_of(node("slow"), 0.0, model), busy]
    reasons = [
        choose_node(Need(GCC, b"", 1.0), seats, 0.0, may_prefetch=False).reason for _ in range(4)
    ]
    assert reasons[0] == "waits-for-faster"
    assert "earliest-finish" in reasons


def test_avoided_nodes_and_other_machine_classes_do_not_fit() -> None:
    seat = seat_of(node("n"), 0.0, Model())
    avoiding = Need(GCC, b"", 1.0, avoid=frozenset((("n", "n"),)))
    foreign = Need(GCC, b"fma", 1.0)
    for need in (avoiding, foreign):
        choice = choose_node(need, [seat], 0.0, may_prefetch=True)
        assert (choice.seat, choice.reason) == (None, "no-node-fits")


def test_speeds_are_learnt_and_their_geometric_mean_stays_one() -> None:
    model = model_with(slow=0.5, middle=1.0, fast=2.0)
    speeds = [model.speed((name, name)) for name in ("slow", "middle", "fast")]
    assert math.prod(speeds) == pytest.approx(1.0)
    assert speeds[2] / speeds[0] == pytest.approx(4.0, rel=0.3)


def test_costs_are_learnt_and_outliers_do_not_upset_them() -> None:
    model, job = Model(), cost_class(GCC, 0.0, 100)
    for _ in range(30):
        model.observe(("n", "n"), job, model.cost_s(job, 0.0), 4.0, 4.0)
    assert model.cost_s(job, 0.0) == pytest.approx(4.0, rel=0.2)
    model.observe(("n", "n"), job, model.cost_s(job, 0.0), 3600.0, 3600.0)
    assert model.cost_s(job, 0.0) < 8.0


def test_nonsense_from_a_node_does_no_harm() -> None:
    model, job = Model(), cost_class(GCC, 0.0, 1)
    for value in (0.0, -5.0, 1e17):
        model.observe(("n", "n"), job, model.cost_s(job, 0.0), value, value)
    assert 0 < model.cost_s(job, 0.0) < 1e5


def key(name: str) -> Digest:
    return digest_of(name.encode())


def test_the_queue_takes_turns_between_users_and_between_their_builds() -> None:
    queue = Queue()
    for user, build, name in (
        ("u", "b1", "1"), ("u", "b1", "2"), ("u", "b2", "3"), ("v", "b", "4"),
    ):  # fmt: skip
        queue.push(key(name), Lane(user, build, b""))
    assert list(queue.in_order()) == [key(name) for name in ("1", "4", "3", "2")]


def test_who_had_a_turn_goes_behind_the_others() -> None:
    queue = Queue()
    for name, user in (("1", "u"), ("2", "u"), ("3", "v")):
        queue.push(key(name), Lane(user, "b", b""))
    queue.turn(key("1"))
    queue.remove(key("1"))
    assert queue.heads() == [key("3"), key("2")]


def test_what_is_given_back_goes_first() -> None:
    queue = Queue()
    lane = Lane("u", "b", b"")
    queue.push(key("1"), lane)
    queue.push(key("2"), lane, at_front=True)
    assert list(queue.in_order()) == [key("2"), key("1")]
    assert len(queue) == 2


def test_quarantine_doubles_up_to_its_limit_and_is_forgiven() -> None:
    strikes = Strikes(FAULT_WINDOW, MAX_FAULTS, QUARANTINE_S, MAX_QUARANTINE_S)
    expected = QUARANTINE_S
    for _ in range(9):
        assert [strikes.note_bad(0.0) for _ in range(3)] == [False, False, True]
        assert strikes.until == expected
        expected = min(2 * expected, MAX_QUARANTINE_S)
    for _ in range(10):
        strikes.note_good()
    assert strikes.penalty_s == QUARANTINE_S
