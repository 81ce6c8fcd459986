"""What one key's nodes may take of the broker's time, and of the nodes that are idle for others."""

from __future__ import annotations

import pytest

from broker.core.effects import Effect, Send
from broker.core.events import Event
from broker.core.limits import GIVEN_BACK_A_BEAT, MAX_NODE_SLOTS, MAX_SLOTS, PLACED_AT_ONCE
from tests.support.broker_world import Desk, job, session_id
from zcc.messages import Beat, Failed, Fault, Message, Offer, Revoke, Run


def sent(seen: list[Effect], kind: type[Message]) -> int:
    return sum(isinstance(each, Send) and isinstance(each.message, kind) for each in seen)


def test_nodes_that_rest_for_a_key_hide_no_idle_node_behind_them() -> None:
    desk = Desk()
    farm = desk.machine.farm
    bad = [desk.node(f"bad{number}", 1, user="bad") for number in range(12)]
    honest, client = desk.node("honest", 4), desk.client("a")
    everybody = frozenset([*bad, honest, client])
    desk.pass_time(5, heard=everybody)
    for number in range(12):
        desk.submit(client, number, job(f"j{number}", inputs=()))
    for each in bad:
        for run in desk.runs(each):
            desk.say(each, Failed(run.lease, Fault.RESOURCES.value, "x"))
    while runs := desk.runs(honest):
        for run in runs:
            desk.done(honest, run.lease)
    desk.submit(client, 100, job("next", inputs=()))
    node = farm.nodes.get(session_id("honest"))
    assert node is not None
    assert len(node.leases) == 1


def test_a_node_that_lends_nothing_any_more_gives_its_leases_back_by_turns() -> None:
    desk = Desk()
    desk.validates_each = 0
    node, client = desk.node("n", MAX_SLOTS), desk.client("a")
    desk.pass_time(5, heard=frozenset((node, client)))
    for number in range(3 * GIVEN_BACK_A_BEAT):
        desk.submit(client, number, job(f"j{number}", inputs=()))
    here = desk.machine.farm.nodes.get(session_id("n"))
    assert here is not None
    assert here.slots == MAX_NODE_SLOTS
    assert len(here.leases) == 3 * GIVEN_BACK_A_BEAT
    for turn in range(1, 4):
        seen = desk.say(node, Beat(0.0, offer=Offer(0, "", "x", False)))
        assert sent(seen, Revoke) == GIVEN_BACK_A_BEAT, turn
    assert not here.leases


def test_what_is_given_back_is_paid_from_what_a_key_s_sessions_may_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.core.machine.HELLO_BURST", 20)
    monkeypatch.setattr("broker.core.machine.HELLO_PER_S", 0)
    desk = Desk()
    node, client = desk.node("n", 64), desk.client("a")
    desk.pass_time(5, heard=frozenset((node, client)))
    for number in range(64):
        desk.submit(client, number, job(f"j{number}", inputs=()))
    none = Beat(0.0, offer=Offer(0, "", "x", False))
    assert sum(sent(desk.say(node, none), Revoke) for _ in range(5)) <= 20


def test_other_peers_are_heard_between_placements(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.validates_each = 0
    node, client = desk.node("n", MAX_NODE_SLOTS), desk.client("a")
    desk.pass_time(5, heard=frozenset((node, client)))
    desk.say(node, Beat(0.0, offer=Offer(1, "", "x", False)))
    for number in range(2 * PLACED_AT_ONCE + 10):
        desk.submit(client, number, job(f"j{number}", inputs=()))
    placed: list[int] = []
    handle = desk.machine.handle

    def counted(event: Event, now: float) -> list[Effect]:
        seen = handle(event, now)
        placed.append(sent(seen, Run))
        return seen

    monkeypatch.setattr(desk.machine, "handle", counted)
    desk.say(node, Beat(0.0, offer=Offer(MAX_NODE_SLOTS, "", "", False)))
    assert max(placed) == PLACED_AT_ONCE
    here = desk.machine.farm.nodes.get(session_id("n"))
    assert here is not None
    assert len(here.leases) == 2 * PLACED_AT_ONCE + 10


@pytest.mark.parametrize(
    "failed",
    [
        Failed(b"", Fault.DEADLINE.value, "x"),
        Failed(b"", Fault.MEMORY.value, "x", 0),
    ],
)
def test_a_run_that_is_ended_for_a_limit_that_it_has_not_reached_is_of_no_use(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    node, client = desk.node("n", 1), desk.client("a")
    desk.pass_time(5, heard=frozenset((node, client)))
    desk.submit(client, 1, job("j", inputs=()))
    (run,) = desk.runs(node)
    noted: list[str] = []
    monkeypatch.setattr(desk.machine.farm.denials, "note_denial", lambda key, *_: noted.append(key))
    desk.say(node, Failed(run.lease, failed.fault, failed.detail, failed.used_bytes))
    assert noted == [node.user]
