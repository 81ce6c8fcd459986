"""An admin takes a node away, and lets it work again."""

from __future__ import annotations

import pytest

from broker.core.limits import STARTUP_GRACE_S
from broker.core.nodes import DRAINED
from broker.core.roles import may_send
from tests.support.broker_world import Desk, job
from zcc.member_id import member_id
from zcc.messages import (
    AskNodes,
    Drain,
    Drained,
    Finished,
    NodeRow,
    Nodes,
    PeerRole,
    Refused,
    Revoke,
    Started,
)


@pytest.fixture
def desk() -> Desk:
    """A broker that is past its start."""
    desk = Desk()
    desk.machine.farm.started_at -= STARTUP_GRACE_S
    return desk


def drain(desk: Desk, user: str, name: str, *, is_drained: bool = True) -> int:
    """How many nodes it was said of."""
    admin = desk.hello("boss", PeerRole.ADMIN)
    desk.say(admin, Drain(member_id(user), name, is_drained))
    answer = desk.got(admin, Drained)[-1]
    assert isinstance(answer, Drained)
    return answer.count


def rows(desk: Desk) -> dict[str, NodeRow]:
    watcher = desk.hello("m", PeerRole.MONITOR)
    desk.say(watcher, AskNodes())
    nodes = desk.got(watcher, Nodes)[-1]
    assert isinstance(nodes, Nodes)
    return {row.name: row for row in nodes.rows}


def test_only_an_admin_may_drain() -> None:
    assert [role for role in PeerRole if may_send(role, Drain.KIND)] == [PeerRole.ADMIN]


def test_a_drained_node_ends_what_runs_and_the_rest_goes_to_others(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=2)
    for ticket in range(3):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    runs = desk.runs(node)
    assert len(runs) == 3
    desk.say(node, Started(runs[0].lease))
    other = desk.node("other", slots=4)
    assert drain(desk, node.user, "n") == 1
    assert {each.lease for each in desk.got(node, Revoke)} == {run.lease for run in runs[1:]}
    assert {run.key for run in desk.runs(other)} == {run.key for run in runs[1:]}
    row = rows(desk)["n"]
    assert (row.state, row.reason, row.slots, row.running) == ("draining", DRAINED, 0, 1)
    assert row.member == member_id(node.user)
    desk.done(node, runs[0].lease)
    assert len(desk.got(agent, Finished)) == 1
    assert desk.runs(node) == []
    desk.submit(agent, 9, job("later", inputs=()))
    assert desk.runs(node) == []
    assert all(each.losses == 0 for each in desk.machine.farm.executions.values())
    assert [each.record.faults for each in desk.machine.farm.nodes] == [0, 0]


def test_a_node_that_comes_again_is_still_drained_until_it_is_let_work(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n", slots=2)
    drain(desk, node.user, "n")
    again = desk.hello("n", PeerRole.NODE, 2, route="again", user=node.user)
    assert rows(desk)["n"].state == "draining"
    desk.submit(agent, 1, job("x", inputs=()))
    assert desk.runs(again) == []
    assert drain(desk, node.user, "n", is_drained=False) == 1
    assert rows(desk)["n"].state == "ready"
    desk.submit(agent, 2, job("y", inputs=()))
    assert len(desk.runs(again)) >= 1


def test_of_two_nodes_of_one_name_the_one_that_is_named_by_its_key_is_drained(desk: Desk) -> None:
    first = desk.hello("one", PeerRole.NODE, 2, user="key-one")
    desk.hello("two", PeerRole.NODE, 2, user="key-two")
    for each in desk.machine.farm.nodes:
        each.session.name = "oak"
    assert drain(desk, first.user, "oak") == 1
    assert [each.state(desk.now) for each in desk.machine.farm.nodes] == ["draining", "ready"]
    assert drain(desk, "key-three", "oak") == 0
    assert drain(desk, "key-two", "elm") == 0


def test_who_waits_for_a_farm_that_is_drained_is_told(desk: Desk) -> None:
    """As when the last node leaves: the agent compiles by itself."""
    agent, node = desk.client("a"), desk.node("n", slots=1)
    for ticket in range(2):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    drain(desk, node.user, "n")
    desk.pass_time(30, frozenset((agent, node)))
    assert {each.ticket for each in desk.got(agent, Refused) if isinstance(each, Refused)} == {0, 1}
