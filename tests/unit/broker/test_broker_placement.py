"""Where jobs go, in what order, and what is learnt from them."""

from __future__ import annotations

import math

import pytest

from broker.core.jobs import NICE_STEP, Execution, Lease
from broker.core.limits import (
    AGED_S,
    FAULT_WINDOW,
    LEAST_PASSED,
    LINE_BYTES_PER_S,
    MAX_FAULTS,
    MAX_LANES,
    MAX_QUARANTINE_S,
    QUARANTINE_S,
    TOOLCHAIN_BYTES,
)
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.scheduling.model import Model, cost_class
from broker.scheduling.pace import Horizon
from broker.scheduling.placement import Chooser
from broker.scheduling.queue import Lane, Line, Queue
from broker.scheduling.seats import Seats
from broker.scheduling.turns import Turns
from broker.trust.conduct import NodeRecord
from broker.trust.denials import Denials
from broker.trust.strikes import Failings, Strikes
from cache.digest import Digest, digest_of
from zcc.messages import PeerRole

GCC = digest_of(b"gcc")
NOW = 100.0


def node(name: str, slots: int = 1, *, has_toolchain: bool = True) -> Node:
    session = Session(name.encode() * 16, name.encode(), name, PeerRole.NODE, name, 0.0)
    return Node(
        session, NodeRecord(), slots, frozenset(), toolchains={GCC} if has_toolchain else set()
    )


def lease(of: Node, name: str = "") -> None:
    """The node holds one more job."""
    held = name.encode() or b"held %d" % of.held
    of.leases[held] = Lease(
        held, digest_of(held), of.session.id, "n", "u", NOW, NOW + 1, frozenset(), 1.0
    )


def model_with(**speeds: float) -> Model:
    """A model that has seen each node run jobs of cost 1 at this speed."""
    model = Model()
    job = cost_class(GCC, 1.0, 0)
    for _ in range(400):
        for name, speed in speeds.items():
            model.observe((name, name), job, 1.0, 1 / speed, 1 / speed)
    return model


class Shop:
    """Nodes and one line of jobs."""

    def __init__(self, model: Model, *nodes: Node, jobs: dict[str, float]) -> None:
        self.seats = Seats(model, Denials())
        self.lane = Lane("u", "b", b"")
        self.line = Line(self.lane)
        self.jobs: dict[Digest, Execution] = {}
        for each in nodes:
            self.seats.touch(each)
        for name, cost_s in jobs.items():
            self.add(name, cost_s)
        self.chooser = Chooser(self.seats, self.jobs.__getitem__)

    def add(self, name: str, cost_s: float, *, at_front: bool = False) -> Execution:
        made = Execution(
            key=key(name),
            job=key(name),
            toolchain=GCC,
            inputs=(),
            lane=self.lane,
            body=b"",
            cost_class=cost_class(GCC, cost_s, 0),
            cost_s=cost_s,
            cost_scale=1.0,
            ready_at=NOW,
        )
        self.jobs[made.key] = made
        self.line.push(made.key, cost_s, at_front=at_front)
        return made

    def choose(self, horizon: Horizon, now: float = NOW) -> tuple[str, str, str] | None:
        """The job, the node, and why."""
        self.seats.refresh(now)
        choice = self.chooser.choose(self.line, horizon, now)
        if choice is None:
            return None
        (name,) = [each for each in "abcdefgh" if key(each) == choice.key]
        return name, choice.seat.node.session.name, choice.reason


def goes_on(seconds: float, at_most_s: float = math.inf) -> Horizon:
    return Horizon(seconds, goes_on=True, at_most_s=at_most_s)


def tail(seconds: float, idle_s: float = 0.0) -> Horizon:
    return Horizon(seconds, goes_on=False, idle_s=idle_s)


def test_the_fastest_idle_node_takes_the_longest_job_while_a_build_goes_on() -> None:
    model = model_with(slow=0.5, fast=2.0)
    shop = Shop(model, node("slow"), node("fast"), jobs={"a": 1.0, "b": 9.0, "c": 3.0})
    assert shop.choose(goes_on(1.0)) == ("b", "fast", "longest")


def test_a_slow_node_takes_the_longest_job_that_suits_it_or_else_the_shortest() -> None:
    model = model_with(slow=0.5, middle=1.0, fast=2.0)
    jobs = {"a": 1.0, "b": 9.0, "c": 3.0}
    shop = Shop(model, node("slow"), jobs=jobs)
    shop.seats.touch(busy := node("fast"))
    lease(busy)
    assert shop.choose(goes_on(7.0)) == ("c", "slow", "suits")
    assert shop.choose(goes_on(0.1)) == ("a", "slow", "shortest")


def test_an_overlong_job_waits_for_a_better_slot_but_no_longer_than_that_can_gain() -> None:
    model = model_with(slow=0.2, fast=5.0)
    slow, fast = node("slow"), node("fast")
    lease(fast)
    lease(fast, "ahead")
    shop = Shop(model, slow, fast, jobs={"a": 1.0})
    assert shop.choose(goes_on(0.1, at_most_s=2.0)) is None
    assert shop.choose(goes_on(0.1, at_most_s=2.0), NOW + 1.0) is None
    assert shop.choose(goes_on(0.1, at_most_s=2.0), NOW + 6.0) == ("a", "slow", "waited-enough")


def test_in_the_tail_a_slow_slot_stays_idle_unless_the_job_ends_with_the_others() -> None:
    model = model_with(slow=0.5, fast=2.0)
    slow, fast = node("slow"), node("fast")
    lease(fast)
    lease(fast, "ahead")
    shop = Shop(model, slow, fast, jobs={"a": 2.0})
    assert shop.choose(tail(1.0)) is None
    assert shop.choose(tail(1.0, idle_s=10.0)) == ("a", "slow", "suits")


def test_when_nobody_is_idle_a_job_goes_ahead_to_where_a_slot_is_free_soonest() -> None:
    model = model_with(slow=0.5, fast=2.0)
    slow, fast = node("slow"), node("fast")
    lease(slow)
    lease(fast)
    shop = Shop(model, slow, fast, jobs={"a": 1.0, "b": 2.0})
    assert shop.choose(goes_on(1.0)) == ("b", "fast", "ahead")
    lease(fast, "ahead")
    shop.seats.touch(fast)
    assert shop.choose(goes_on(1.0)) == ("a", "slow", "ahead")
    lease(slow, "ahead")
    shop.seats.touch(slow)
    assert shop.choose(goes_on(1.0)) is None


@pytest.mark.parametrize("idle_speed", [5.0, 1.0, 0.1])
def test_an_idle_slot_that_takes_none_of_the_jobs_hides_no_other(idle_speed: float) -> None:
    """Nor does the line wait for longer where that slot would be too slow for it."""
    unfit, full = node("unfit"), node("full")
    unfit.note_unfit(GCC, "no room")
    lease(full)
    model = model_with(unfit=idle_speed, full=1.0)
    shop = Shop(model, unfit, full, jobs={"a": 1.0})
    assert shop.choose(goes_on(5.0, at_most_s=1.5)) == ("a", "full", "ahead")


def test_what_was_given_back_and_what_has_waited_long_go_first() -> None:
    shop = Shop(Model(), node("n"), jobs={"a": 1.0, "b": 9.0})
    assert shop.choose(goes_on(1.0), NOW + AGED_S + 1) == ("a", "n", "waited-long")
    shop.add("c", 2.0, at_front=True)
    assert shop.choose(goes_on(1.0)) == ("c", "n", "given-back")


def test_where_no_slot_is_idle_what_has_waited_long_goes_ahead_first() -> None:
    full = node("n")
    lease(full)
    shop = Shop(Model(), full, jobs={"a": 1.0, "b": 9.0})
    assert shop.choose(goes_on(100.0), NOW + AGED_S - 1) == ("b", "n", "ahead")
    shop = Shop(Model(), full, jobs={"a": 1.0, "b": 9.0})
    assert shop.choose(goes_on(100.0), NOW + AGED_S + 1) == ("a", "n", "ahead")


def test_a_slow_slot_takes_what_has_waited_long_later() -> None:
    """It would end sooner on a fast one that is soon free."""
    model = model_with(slow=0.2, fast=1.0)
    fast = node("fast")
    lease(fast)
    lease(fast, "ahead")
    shop = Shop(model, node("slow"), fast, jobs={"a": 50.0, "b": 1.0})
    assert shop.choose(goes_on(20.0), NOW + 2 * AGED_S) != ("a", "slow", "waited-long")
    shop = Shop(model, node("slow"), fast, jobs={"a": 50.0, "b": 1.0})
    assert shop.choose(goes_on(20.0), NOW + 6 * AGED_S) == ("a", "slow", "waited-long")


def test_a_node_that_has_the_toolchain_is_preferred_where_its_transfer_would_take_longer() -> None:
    nodes = node("without", 4, has_toolchain=False), node("with", 4)
    lease(nodes[1])  # less idle, so that it would come second
    shop = Shop(Model(), *nodes, jobs={"a": 1.0})
    assert shop.choose(goes_on(1.0)) == ("a", "with", "longest")
    shop = Shop(Model(), node("without", has_toolchain=False), jobs={"a": 1.0})
    shop.seats.refresh(NOW)
    choice = shop.chooser.choose(shop.line, goes_on(1.0), NOW)
    assert choice is not None
    assert choice.finish_at == pytest.approx(NOW + TOOLCHAIN_BYTES / LINE_BYTES_PER_S + 1.0)


def test_avoided_nodes_and_those_without_room_for_the_toolchain_are_passed_by() -> None:
    nodes = [node(f"n{number}") for number in range(20)]
    shop = Shop(Model(), *nodes, jobs={"a": 1.0})
    for each in nodes[:10]:
        shop.jobs[key("a")].avoid.add(each.identity)
    for each in nodes[10:19]:
        each.note_unfit(GCC, "no room")
    assert shop.choose(goes_on(1.0)) == ("a", "n19", "longest")
    shop.jobs[key("a")].avoid.add(nodes[19].identity)
    assert shop.choose(goes_on(1.0)) is None
    shop.add("b", 0.5)
    assert shop.choose(goes_on(1.0)) == ("b", "n0", "in-its-place")


def test_equal_nodes_share_the_work() -> None:
    nodes = [node(f"n{number}", 4) for number in range(3)]
    shop = Shop(Model(), *nodes, jobs=dict.fromkeys("abcdef", 1.0))
    given = []
    for _ in range(6):
        chosen = shop.choose(goes_on(1.0))
        assert chosen is not None
        given.append(chosen[1])
        (taken,) = [each for each in nodes if each.session.name == chosen[1]]
        lease(taken)
        shop.seats.touch(taken)
    assert sorted(given) == ["n0", "n0", "n1", "n1", "n2", "n2"]


def test_a_node_in_quarantine_has_no_seat_until_that_is_over() -> None:
    resting = node("n")
    resting.record.until = NOW + 10
    shop = Shop(Model(), resting, jobs={"a": 1.0})
    assert shop.choose(goes_on(1.0)) is None
    assert shop.seats.slots("u", b"") == (0, 0)
    shop.seats.look_again()
    assert shop.choose(goes_on(1.0), NOW + 11) == ("a", "n", "longest")


def test_seats_are_counted_before_anybody_has_asked_for_one() -> None:
    seats = Seats(Model(), Denials())
    assert seats.is_full()
    seats.touch(node("n"))
    seats.refresh(NOW)
    assert not seats.is_full()


def test_nothing_is_kept_of_a_machine_class_that_no_node_has_any_more() -> None:
    seats, other = Seats(Model(), Denials()), node("other")
    for number in range(5):
        other.machine_classes = frozenset((b"class %d" % number,))
        seats.touch(other)
        seats.refresh(NOW)
        assert seats.slots("u", b"class %d" % number) == (1, 1)
        assert seats.slots("u", b"class %d" % (number - 1)) == (0, 0)
    assert len(seats._rooms) == 2
    seats.drop(other)
    assert len(seats._rooms) == 1
    assert not seats._members


def test_the_fastest_node_is_looked_for_among_those_that_the_job_may_go_to() -> None:
    seats = Seats(model_with(slow=0.5, fast=2.0), Denials())
    slow, fast = node("slow"), node("fast")
    slow.machine_classes = frozenset((b"fma",))
    for each in (slow, fast):
        seats.touch(each)
    seats.refresh(NOW)
    assert seats.fastest_rate("u", b"", NOW) < seats.fastest_rate("u", b"fma", NOW)
    (seat,) = seats.best("u", b"fma", NOW, is_ahead=False)
    assert seats.is_fast(seat, "u", b"fma", NOW)
    assert not seats.is_fast(seat, "u", b"", NOW)


def test_seats_of_a_machine_class_and_of_a_publishers_own_nodes_are_for_those_alone() -> None:
    fitting = node("fma")
    fitting.machine_classes = frozenset((b"fma",))
    own = node("own")
    own.session.is_own = True
    seats = Seats(Model(), Denials())
    for each in (fitting, own, node("plain")):
        seats.touch(each)
    seats.refresh(NOW)
    assert seats.slots("u", b"") == (2, 2)
    assert seats.slots("u", b"fma") == (1, 1)
    assert seats.slots("own", b"") == (3, 3)
    names = [
        seat.node.session.name for seat in seats.best("u", b"fma", NOW, is_ahead=False, most=9)
    ]
    assert names == ["fma"]
    seats.drop(fitting)
    assert seats.slots("u", b"fma") == (0, 0)


def test_speeds_are_learnt_and_their_geometric_mean_stays_one() -> None:
    model = model_with(slow=0.5, middle=1.0, fast=2.0)
    speeds = [model.speed((name, name)) for name in ("slow", "middle", "fast")]
    assert math.prod(speeds) == pytest.approx(1.0)
    assert speeds[2] / speeds[0] == pytest.approx(4.0, rel=0.3)


def test_costs_are_learnt_and_outliers_do_not_upset_them() -> None:
    model, job = Model(), cost_class(GCC, 0.0, 100)
    for _ in range(30):
        model.observe(("n", "n"), job, 1.0, 4.0, 4.0)
    assert model.cost_s(job, 0.0) == pytest.approx(4.0, rel=0.2)
    model.observe(("n", "n"), job, 1.0, 3600.0, 3600.0)
    assert model.cost_s(job, 0.0) < 8.0


def test_nonsense_from_a_node_does_no_harm() -> None:
    model, job = Model(), cost_class(GCC, 0.0, 1)
    for value in (0.0, -5.0, 1e17):
        model.observe(("n", "n"), job, 1.0, value, value)
    assert 0 < model.cost_s(job, 0.0) < 1e5


def key(name: str) -> Digest:
    return digest_of(name.encode())


def served(queue: Queue, count: int) -> list[Digest]:
    """The oldest of the line whose turn it is, so many times."""
    taken = []
    for _ in range(count):
        line = queue.first()
        assert line is not None
        taken.append(line.oldest())
        turn = queue.charge(line, line.cost_s(taken[-1]))
        turn.settle(turn.cost_s)
        queue.remove(taken[-1])
    return taken


def test_the_queue_takes_turns_between_users_and_between_their_builds() -> None:
    queue = Queue()
    for user, build, name in (
        ("u", "b1", "1"), ("u", "b1", "2"), ("u", "b2", "3"), ("v", "b", "4"),
    ):  # fmt: skip
        queue.push(key(name), Lane(user, build, b""), 1.0)
    assert served(queue, 4) == [key(name) for name in ("1", "4", "3", "2")]
    assert queue.first() is None


def test_turns_are_counted_in_seconds_and_not_in_jobs() -> None:
    queue = Queue()
    for number in range(4):
        queue.push(key(f"long {number}"), Lane("long", "b", b""), 9.0)
    for number in range(20):
        queue.push(key(f"short {number}"), Lane("short", "b", b""), 1.0)
    first = served(queue, 20)
    assert sum(each in {key(f"long {number}") for number in range(4)} for each in first) == 2


def test_who_comes_late_starts_where_the_others_stand() -> None:
    queue = Queue()
    for number in range(10):
        queue.push(key(f"old {number}"), Lane("old", "b", b""), 1.0)
    served(queue, 5)
    for number in range(5):
        queue.push(key(f"new {number}"), Lane("new", "b", b""), 1.0)
    names = {key(f"new {number}") for number in range(5)}
    assert sum(each in names for each in served(queue, 4)) == 2


def test_who_leaves_and_comes_back_has_not_been_forgiven() -> None:
    turns: Turns[str] = Turns()
    turns.add("greedy")
    turns.add("patient")
    turns.charge("greedy", 50.0)
    turns.charge("patient", 1.0)
    turns.remove("greedy")
    turns.add("greedy")
    assert turns.first() == "patient"
    turns.charge("patient", 10.0)
    assert turns.first() == "patient"


def test_turns_keep_no_trace_of_each_time_that_one_came_and_left() -> None:
    turns: Turns[str] = Turns()
    turns.add("patient")
    turns.add("greedy")
    turns.charge("greedy", 1e6)
    for _ in range(10_000):
        turns.remove("greedy")
        turns.add("greedy")
        assert turns.first() == "patient"
    assert len(turns._heap) < 100


def test_a_line_that_is_passed_over_keeps_its_turn() -> None:
    queue = Queue()
    queue.push(key("1"), Lane("u", "b", b""), 1.0)
    queue.push(key("2"), Lane("v", "b", b""), 1.0)
    line = queue.first()
    assert line is not None
    queue.pass_over(line)
    second = queue.first()
    assert second is not None
    assert second.lane.user == "v"
    queue.pass_over(second)
    assert queue.first() is None
    queue.restore()
    assert queue.first() is line


def test_builds_beyond_the_bound_are_served_as_one() -> None:
    queue = Queue()
    for number in range(3 * MAX_LANES):
        queue.push(key(f"{number}"), Lane("u", f"b{number}", b""), 1.0)
    assert len({id(queue._lines[lane]) for lane in queue._lines}) == MAX_LANES + 1
    assert len(set(served(queue, 3 * MAX_LANES))) == 3 * MAX_LANES


def test_what_is_given_back_goes_first() -> None:
    queue = Queue()
    lane = Lane("u", "b", b"")
    queue.push(key("1"), lane, 1.0)
    queue.push(key("2"), lane, 1.0, at_front=True)
    line = queue.first()
    assert line is not None
    assert list(line.in_order()) == [key("2"), key("1")]
    assert line.returned() == key("2")
    assert len(queue) == 2


@pytest.mark.parametrize(
    ("said_by", "is_refused", "accuser"),
    [
        (["a", "a", "a", "a", "a"], False, "a"),
        (["a", "b", "a", "b", "a", "b", "c", "c"], True, ""),
        (["ab", "ab", "ab", "ab", "ab"], True, ""),
        (["ab", "ab", "a", "a", "a", "a"], False, ""),
        (["ab", "ab", "b", "b", "b", "b", "b"], False, "b"),
    ],
)
def test_a_key_whose_jobs_fail_is_refused_when_no_one_accuser_explains_it(
    said_by: list[str], is_refused: bool, accuser: str
) -> None:
    failings = Failings(20, 5, 30.0, 1800.0)
    found = [failings.note_failed(frozenset(keys), 1.0) for keys in said_by]
    assert found == ["" for _ in said_by[1:]] + [accuser]
    assert (failings.until > 1.0) == is_refused


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


def turns(nices: dict[tuple[str, str], int], rounds: int) -> dict[tuple[str, str], int]:
    """How many jobs of one second each build is given, of users and builds with these nicenesses."""
    queue, served = Queue(), dict.fromkeys(nices, 0)
    for user, build in nices:
        for number in range(rounds):
            queue.push(key(f"{user}{build}{number}"), Lane(user, build, b""), 1.0)
    for _ in range(rounds):
        line = queue.first()
        assert line is not None
        name = line.lane.user, line.lane.build
        served[name] += 1
        queue.charge(line, 1.0, NICE_STEP ** -nices[name])
        queue.remove(line.oldest())
    return served


def test_a_nice_build_gives_way_to_its_user_s_others_by_its_weight() -> None:
    served = turns({("u", "first"): 0, ("u", "later"): 10}, 1_000)
    assert served["u", "first"] / served["u", "later"] == pytest.approx(NICE_STEP**10, rel=0.05)


def test_a_nice_build_gives_way_to_other_users_and_no_word_takes_anything_from_them() -> None:
    served = turns({("u", "nice"): 10, ("v", "b"): 0}, 1_000)
    assert served["v", "b"] / served["u", "nice"] == pytest.approx(NICE_STEP**10, rel=0.05)
    served = turns({("u", "urgent"): -20, ("v", "b"): 0}, 1_000)
    assert abs(served["v", "b"] - served["u", "urgent"]) <= 2


def test_what_a_job_has_cost_beyond_its_prediction_is_charged_when_it_ends() -> None:
    queue, lanes = Queue(), [Lane("u", "b", b""), Lane("v", "b", b"")]
    for lane in lanes:
        for number in range(40):
            queue.push(key(f"{lane.user}{number}"), lane, 1.0)
    served = {"u": 0, "v": 0}
    for _ in range(40):
        line = queue.first()
        assert line is not None
        served[line.lane.user] += 1
        turn = queue.charge(line, 1.0)
        queue.remove(line.oldest())
        turn.settle(3.0 if line.lane.user == "u" else 1.0)
    assert served["v"] == pytest.approx(3 * served["u"], abs=3)


def test_a_job_is_overtaken_by_so_many_others_at_the_most() -> None:
    line = Line(Lane("u", "b", b""))
    short = key("short")
    line.push(short, 0.1, at_front=False)
    overtaken = 0
    while not line.is_passed_over(short):
        for number in range(8):
            line.push(key(f"long{overtaken}{number}"), 9.0, at_front=False)
        for _ in range(8):
            line.remove(line.longest())
            overtaken += 1
    assert overtaken == LEAST_PASSED
