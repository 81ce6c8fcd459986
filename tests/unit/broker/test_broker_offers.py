"""The broker follows what its nodes lend: how many slots, why no more, and that they leave."""

from __future__ import annotations

import pytest

from broker.core.events import Origin
from broker.core.limits import STARTUP_GRACE_S
from tests.support.broker_world import Desk, job, session_id
from zcc.messages import (
    AskNodes,
    Beat,
    Finished,
    Hello,
    NodeRow,
    Nodes,
    Offer,
    PeerRole,
    Refused,
    Revoke,
    Settled,
    Started,
)


@pytest.fixture
def desk() -> Desk:
    """A broker that is past its start."""
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def row_of(desk: Desk, name: str) -> NodeRow:
    watcher = desk.hello("m", PeerRole.MONITOR)
    desk.say(watcher, AskNodes())
    nodes = desk.got(watcher, Nodes)[-1]
    assert isinstance(nodes, Nodes)
    (row,) = [row for row in nodes.rows if row.name == name]
    return row


def lends(slots: int, why: str = "others leave less") -> Beat:
    return Beat(0.0, "", Offer(slots, "proportional", why))


def test_a_node_gets_as_many_jobs_as_it_lends_slots(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=8)
    desk.say(node, lends(2))
    for ticket in range(8):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    assert len(desk.runs(node)) == 3  # one ahead
    row = row_of(desk, "n")
    assert (row.state, row.slots, row.all_slots, row.mode) == ("ready", 2, 8, "proportional")
    assert row.reason == "others leave less"
    desk.say(node, lends(8, ""))
    assert len(desk.runs(node)) == 5
    assert row_of(desk, "n").reason == ""


def test_a_node_that_lends_less_keeps_what_runs_and_the_rest_goes_to_others(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=4)
    for ticket in range(5):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    runs = desk.runs(node)
    for run in runs[:2]:
        desk.say(node, Started(run.lease))
    other = desk.node("other", slots=4)
    desk.say(node, lends(0))
    assert {message.lease for message in desk.got(node, Revoke)} == {run.lease for run in runs[2:]}
    assert {run.key for run in desk.runs(other)} >= {run.key for run in runs[2:]}
    row = row_of(desk, "n")
    assert (row.state, row.running, row.slots) == ("paused", 2, 0)
    for run in runs[:2]:
        desk.done(node, run.lease)
    assert len(desk.got(agent, Finished)) == 2
    assert all(each.losses == 0 for each in desk.machine.farm.executions.values())
    assert [node.record.faults for node in desk.machine.farm.nodes] == [0, 0]


def test_when_all_nodes_lend_nothing_jobs_go_home(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    desk.say(node, Started(desk.runs(node)[0].lease))
    desk.say(node, lends(0))
    assert len(desk.got(agent, Refused)) == 3


def test_a_node_that_lends_less_when_it_comes_keeps_what_it_held() -> None:
    """A broker that has just started, and a node with more jobs than it lends now."""
    desk = Desk()
    agent = desk.client("a")
    leases = tuple(bytes(job(f"x{number}", inputs=()).key[:12]) + bytes(4) for number in range(3))
    for ticket in range(3):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    at = Origin(b"n", "user-n", PeerRole.NODE)
    offer = Offer(0, "idle", "somebody has typed")
    desk.say(at, Hello(session_id("n"), "node", "", "n", "0", 4, leases, (), "", offer))
    assert not desk.got(at, Revoke)
    row = row_of(desk, "n")
    assert (row.state, row.mode, row.reason) == ("paused", "idle", "somebody has typed")
    for lease in leases:
        desk.done(at, lease)
    assert len(desk.got(agent, Finished)) == 3


def test_nobody_lends_more_than_its_hello_has(desk: Desk) -> None:
    node = desk.node("n", slots=2)
    desk.say(node, lends(4000))
    assert row_of(desk, "n").slots == 2


def test_a_node_that_says_that_it_leaves_gets_no_jobs_and_is_not_blamed(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=1)
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    desk.say(node, Started(run.lease))
    desk.say(node, Beat(0.0, "", Offer(0, "dedicated", "", is_leaving=True)))
    assert row_of(desk, "n").state == "draining"
    desk.submit(agent, 2, job("y", inputs=()))
    assert desk.got(agent, Refused) == [Refused(2, "no-nodes")]
    desk.done(node, run.lease)
    assert desk.got(node, Settled) == [Settled(run.lease)]
    assert len(desk.got(agent, Finished)) == 1


def shares_of(desk: Desk, origin: Origin) -> list[int]:
    beats = [beat for beat in desk.got(origin, Beat) if isinstance(beat, Beat)]
    return [beat.offer.slots for beat in beats if beat.offer is not None]


def test_each_beat_tells_an_agent_its_users_share_of_the_slots() -> None:
    desk = Desk()
    agent, other, node = desk.client("a"), desk.client("b"), desk.node("n", slots=8)
    heard = frozenset((agent, other, node))
    desk.pass_time(1.0, heard=heard)
    assert shares_of(desk, agent) == [8]
    desk.submit(other, 1, job("x"))
    desk.pass_time(1.0, heard=heard)
    assert shares_of(desk, agent) == [8, 4]
    assert shares_of(desk, other) == [8, 8]  # nobody else is at work
    desk.say(node, Beat(0.0, offer=Offer(3)))
    desk.pass_time(1.0, heard=heard)
    assert shares_of(desk, agent) == [8, 4, 2]
    assert shares_of(desk, node) == []
