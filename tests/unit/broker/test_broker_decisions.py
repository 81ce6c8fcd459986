"""Why a job went to its node: what the broker says of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.core import events
from broker.core.decisions import Decisions
from broker.core.events import Origin
from broker.core.limits import MAX_WORD_BYTES
from broker.core.nodes import Node
from broker.core.sessions import Session
from broker.scheduling.stands import Stands
from broker.trust.conduct import NodeRecord
from tests.support.broker_world import Desk, blob, job
from zcc.lent import LentMemory
from zcc.messages import AskPlaced, Beat, Cancel, Failed, Fault, Offer, PeerRole, Placed, Started
from zcc.placed import MAX_CANDIDATES, Placement


@pytest.fixture
def desk() -> Desk:
    return Desk()


def asked(desk: Desk, origin: Origin, name: str = "") -> tuple[Placement, ...]:
    """What this member is told of a job; without a name: of its latest."""
    desk.say(origin, AskPlaced(blob(f"job {name}") if name else b""))
    answer = desk.got(origin, Placed)[-1]
    assert isinstance(answer, Placed)
    return answer.rows


def verdicts(placement: Placement) -> dict[str, str]:
    return {each.name: each.verdict for each in placement.candidates}


def hold(desk: Desk, agent: Origin, name: str, count: int) -> None:
    """Jobs that stay on their nodes."""
    for number in range(count):
        desk.submit(agent, 1000 + number, job(f"{name}{number}", inputs=()))


def run_to_end(desk: Desk, node: Origin) -> None:
    for run in desk.runs(node):
        desk.say(node, Started(run.lease))
        desk.done(node, run.lease)


def test_nodes_that_take_no_jobs_say_why(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("good")
    paused, bad = desk.node("paused"), desk.node("bad", 1)
    desk.say(paused, Beat(0.0, "its disk is full"))
    node = next(each for each in desk.machine.farm.nodes if each.session.name == "bad")
    node.record.put_aside(desk.now)
    desk.machine.farm.seats.touch(node)
    desk.pass_time(0.5, frozenset({agent, paused, bad}))
    desk.submit(agent, 1, job("x", inputs=()))
    (placement,) = asked(desk, agent, "x")
    assert placement.node == "good"
    assert verdicts(placement) == {"good": "chosen", "paused": "paused", "bad": "quarantined"}
    assert {each.why for each in placement.candidates if each.name == "paused"} == {
        "its disk is full"
    }


def test_a_full_node_is_told_from_one_with_room(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("small", 1)
    hold(desk, agent, "first", 1)
    desk.node("large", 4)
    desk.submit(agent, 1, job("x", inputs=()))
    (placement,) = asked(desk, agent, "x")
    assert verdicts(placement) == {"large": "chosen", "small": "full"}
    assert {each.name: (each.held, each.slots) for each in placement.candidates} == {
        "large": (0, 4),
        "small": (1, 1),
    }


def test_the_answer_is_of_the_moment_of_the_decision(desk: Desk) -> None:
    """What the nodes have become since does not show."""
    agent = desk.client("a")
    one = desk.node("one", 1)
    desk.submit(agent, 1, job("x", inputs=()))
    two = desk.node("two", 1)
    desk.submit(agent, 2, job("y", inputs=()))
    desk.say(one, Beat(0.0, "paused later"))
    run_to_end(desk, two)
    assert verdicts(asked(desk, agent, "x")[0]) == {"one": "chosen"}
    assert verdicts(asked(desk, agent, "y")[0]) == {"two": "chosen", "one": "full"}


def test_what_was_expected_and_what_came(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", 1)
    desk.submit(agent, 1, job("x", inputs=(), hint_s=3.0))
    (run,) = desk.runs(node)
    (now,) = asked(desk, agent, "x")
    assert (now.ending, now.begun_s, now.took_s) == ("", None, None)
    assert now.cost_s == pytest.approx(3.0)
    assert now.expected_s == pytest.approx(2.0 + 3.0)  # the toolchain is not there yet
    desk.now += 1.0
    desk.say(node, Started(run.lease))
    desk.now += 4.0
    desk.done(node, run.lease, exit_status=1)
    (over,) = asked(desk, agent, "x")
    assert (over.ending, over.detail, over.cpu_s) == ("finished", "exit status 1", 1.0)
    assert over.begun_s == pytest.approx(1.0)
    assert over.took_s == pytest.approx(5.0)


def test_a_job_that_was_lost_has_two_decisions_the_latest_first(desk: Desk) -> None:
    agent = desk.client("a")
    first = desk.node("first", 1)
    desk.submit(agent, 1, job("x", inputs=()))
    desk.node("second", 1)
    (run,) = desk.runs(first)
    desk.say(first, Failed(run.lease, Fault.SANDBOX.value, "no bubblewrap"))
    later, earlier = asked(desk, agent, "x")
    assert (later.node, later.reason, later.ending) == ("second", "longest", "")
    assert verdicts(later) == {"second": "chosen", "first": "lost-it"}
    assert (earlier.ending, earlier.detail) == ("sandbox", "no bubblewrap")


@pytest.mark.parametrize("ending", ["cancelled", "node-lost", "node-left"])
def test_how_a_lease_ended_without_a_result(desk: Desk, ending: str) -> None:
    agent, node = desk.client("a"), desk.node("n", 1)
    desk.submit(agent, 1, job("x", inputs=()))
    if ending == "cancelled":
        desk.say(agent, Cancel(1))
    elif ending == "node-lost":
        desk.happen(events.PeerUnreachable(node.route))
    else:
        desk.say(node, Beat(0.0))
        next(iter(desk.machine.farm.nodes)).is_draining = True
        desk.happen(events.PeerUnreachable(node.route))
    assert asked(desk, agent, "x")[0].ending == ending


def test_a_node_without_the_toolchain_is_told_so(desk: Desk) -> None:
    agent = desk.client("a")
    has = desk.node("has", 4)
    desk.submit(agent, 1, job("before", inputs=()))
    run_to_end(desk, has)
    desk.node("lacks", 4)
    desk.submit(agent, 2, job("x", inputs=()))
    placement = asked(desk, agent, "x")[0]
    assert verdicts(placement) == {"has": "chosen", "lacks": "lacks-toolchain"}


def test_a_node_without_the_memory_is_told_so(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("large", 4)
    desk.say(desk.node("small", 4), Beat(0.0, memory=LentMemory(8 << 30, 1 << 20, 0.0)))
    desk.say(desk.node("pressed", 4), Beat(0.0, memory=LentMemory(8 << 30, 8 << 30, 50.0)))
    desk.submit(agent, 1, job("x", inputs=()))
    placement = asked(desk, agent, "x")[0]
    assert verdicts(placement)["small"] == "memory"
    assert verdicts(placement)[placement.node] == "chosen"


def test_a_member_sees_its_own_jobs_and_an_admin_all(desk: Desk) -> None:
    one, two = desk.client("one"), desk.client("two")
    admin = desk.hello("admin", PeerRole.ADMIN)
    desk.node("n", 4)
    desk.submit(one, 1, job("x", inputs=()))
    desk.submit(two, 1, job("y", inputs=()))
    assert [each.job for each in asked(desk, one)] == [blob("job x")]
    assert asked(desk, two, "x") == ()
    assert [each.user for each in asked(desk, admin)] == [two.user, one.user]
    assert len(asked(desk, admin, "x")) == 1


def test_who_waits_for_anothers_run_may_know_of_it(desk: Desk) -> None:
    one, two = desk.client("one"), desk.client("two")
    desk.node("n", 4)
    desk.submit(one, 1, job("x", inputs=()))
    assert asked(desk, two, "x") == ()
    desk.submit(two, 1, job("x", inputs=()))
    assert len(asked(desk, two, "x")) == 1


@pytest.mark.parametrize("joins", ["before", "after"])
def test_who_shares_a_run_does_not_learn_whose_it_is(desk: Desk, joins: str) -> None:
    """Each member is told its own key, an admin that of who came first."""
    one, two, admin = desk.client("one"), desk.client("two"), desk.hello("admin", PeerRole.ADMIN)
    if joins == "after":
        desk.node("n", 4)
    for agent in (one, two):
        desk.submit(agent, 1, job("x", inputs=()))
    if joins == "before":
        desk.node("n", 4)
    for name in ("x", ""):
        users = [asked(desk, each, name)[0].user for each in (one, two, admin)]
        assert users == [one.user, two.user, one.user]


def test_who_had_joined_a_job_before_it_was_placed_may_know_of_it(desk: Desk) -> None:
    one, two = desk.client("one"), desk.client("two")
    desk.submit(one, 1, job("x", inputs=()))
    desk.submit(two, 1, job("x", inputs=()))
    desk.node("n", 4)
    assert len(asked(desk, two, "x")) == 1


def test_the_latest_come_without_candidates(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n", 4)
    hold(desk, agent, "x", 3)
    rows = asked(desk, agent)
    assert [each.job for each in rows] == [blob(f"job x{number}") for number in (2, 1, 0)]
    assert not any(each.candidates or each.is_whole for each in rows)


def test_of_a_large_farm_the_nearest_are_named_and_the_others_counted(desk: Desk) -> None:
    agent = desk.client("a")
    for number in range(MAX_CANDIDATES + 10):
        desk.node(f"n{number}", 1)
    desk.submit(agent, 1, job("x", inputs=()))
    (placement,) = asked(desk, agent, "x")
    assert len(placement.candidates) == MAX_CANDIDATES
    assert placement.candidates[0].verdict == "chosen"
    assert sum(count for _, count in placement.others) == 10


def test_the_log_is_bounded_and_says_when_it_has_forgotten(desk: Desk) -> None:
    farm = desk.machine.farm
    farm.seats.stands = Stands(most=3)
    farm.decisions = Decisions(farm.seats.stands, most=4)
    agent = desk.client("a")
    desk.node("n", 8)
    hold(desk, agent, "x", 6)
    assert len(farm.decisions) == 4
    assert asked(desk, agent, "x1") == ()
    assert not asked(desk, agent, "x2")[0].is_whole
    assert asked(desk, agent, "x5")[0].is_whole


def test_what_members_say_of_themselves_is_kept_in_few_bytes(desk: Desk) -> None:
    """4,096 letters of four bytes, a new word each time: 60,000 of them were a gigabyte."""
    farm, agent = desk.machine.farm, desk.client("a")
    node = desk.node("n", 4)
    word = chr(0x1F600) * 4090
    kept = []
    for number in range(5):
        desk.submit(agent, number, job(f"x{number}", inputs=()))
        (run,) = desk.runs(node)
        desk.say(node, Failed(run.lease, Fault.INTERNAL.value, word + str(number)))
        desk.say(node, Beat(0.0, word, Offer(1, why=word)))
        (here,) = farm.nodes
        kept += [here.paused, here.lends_less, asked(desk, agent, f"x{number}")[0].detail]
        desk.say(node, Beat(0.0))
    assert all(0 < len(each.encode()) <= MAX_WORD_BYTES for each in kept)


def test_what_nodes_that_have_left_were_is_bounded_in_bytes(desk: Desk) -> None:
    """A node comes and goes with 256 classes of its own each time; the log tells of the last ones."""
    farm, agent = desk.machine.farm, desk.client("a")
    farm.seats.stands = stands = Stands(most_bytes=500_000)
    desk.node("stays")
    for number in range(40):
        classes = tuple(b"%056d" % (256 * number + each) for each in range(256))
        node = desk.node(f"n{number}", 1, classes=classes)
        desk.submit(agent, number, job(f"x{number}", (), machine_class=classes[0]))
        assert desk.runs(node)
        desk.happen(events.PeerUnreachable(node.route))
    gone = {id(each.node): each.node for _, each, *_ in stands._undo if each is not None}
    assert sum(len(word) for node in gone.values() for word in node.machine_classes) < 300_000
    assert not any(node.leases for node in gone.values() if node.session.name != "stays")
    desk.submit(agent, 1000, job("last", inputs=()))
    assert asked(desk, agent, "last")[0].is_whole


def test_what_one_key_asks_takes_no_more_of_the_loop_than_its_share(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen decisions from long ago took 50 ms for each question, of which sixteen a second are allowed."""
    monkeypatch.setattr("broker.core.decisions.UNDONE_BURST", 200)
    monkeypatch.setattr("broker.core.decisions.UNDONE_PER_S", 50)
    farm = desk.machine.farm
    farm.decisions = Decisions(farm.seats.stands)
    greedy, other = desk.client("greedy"), desk.client("other")
    desk.node("n", 8)
    hold(desk, greedy, "x", 3)
    hold(desk, other, "y", 3)
    answers = [asked(desk, greedy, "x1")[0] for _ in range(100)]
    assert answers[0].is_whole
    assert sum(each.is_whole for each in answers) < 12
    assert all(each.node == "n" for each in answers)
    assert asked(desk, other, "y1")[0].is_whole
    desk.now += 4.0
    assert asked(desk, greedy, "x1")[0].is_whole


@dataclass
class Farmlet:
    """Some nodes, and how they stood at each mark."""

    stands: Stands
    nodes: list[Node]

    def picture(self) -> dict[str, tuple[int, int]]:
        known = self.stands.at(self.stands.mark)
        assert known is not None
        return {each.node.session.name: (each.slots, each.held) for each in known[0]}


def test_every_moment_that_is_kept_can_be_seen_again() -> None:
    nodes = [
        Node(
            Session(bytes([n]) * 16, b"r%d" % n, "u", PeerRole.NODE, f"n{n}", 0.0, False),
            NodeRecord(),
            n + 1,
            frozenset(),
        )
        for n in range(3)
    ]
    farmlet = Farmlet(Stands(most=100), nodes)
    seen: dict[int, dict[str, tuple[int, int]]] = {}
    for step in range(30):
        node = nodes[step % 3]
        if step % 7 == 6:
            farmlet.stands.gone(node)
        else:
            node.slots = step
            farmlet.stands.note(node, 0.0, 0.0)
        seen[farmlet.stands.mark] = farmlet.picture()
    for mark, picture in seen.items():
        known = farmlet.stands.at(mark)
        assert known is not None
        assert {each.node.session.name: (each.slots, each.held) for each in known[0]} == picture
