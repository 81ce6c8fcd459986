"""A publisher's own node compiles its key's jobs and nobody else's, and no other key gains anything."""

from __future__ import annotations

import random

import pytest

from broker.core.effects import Audit, Effect, Remember, Send
from broker.core.events import Origin
from broker.core.limits import MAX_FAULTS, STARTUP_GRACE_S
from broker.core.roles import ALLOWED, SESSION_ROLES
from tests.support.broker_world import Desk, job, session_id
from zcc.messages import Done, Failed, Finished, Hello, PeerRole, Refused, Started, Submit, Want


@pytest.fixture
def desk() -> Desk:
    """A broker past its start-up grace."""
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


def publisher(desk: Desk, name: str = "ci", user: str = "ci-key") -> Origin:
    return desk.hello(name, PeerRole.PUBLISHER, user=user)


def own_node(desk: Desk, name: str = "own", user: str = "ci-key", slots: int = 2) -> Origin:
    """The publisher's key once more, saying that it is a node."""
    origin = Origin(name.encode(), user, PeerRole.PUBLISHER)
    desk.say(origin, Hello(session_id(name), "node", "", name, "0", slots, (), (b"",)))
    return origin


def refusals(desk: Desk, origin: Origin) -> list[str]:
    return [each.reason for each in desk.sent[origin.route] if isinstance(each, Refused)]


def remembered(effects: list[Effect]) -> list[Remember]:
    return [effect for effect in effects if isinstance(effect, Remember)]


def test_a_publisher_s_job_runs_on_its_own_node_and_is_remembered(desk: Desk) -> None:
    agent, node = publisher(desk), own_node(desk)
    desk.submit(agent, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    (record,) = remembered(desk.done(node, run.lease))
    assert (record.node_key, record.user) == ("ci-key", "ci-key")
    assert any(isinstance(each, Finished) for each in desk.sent[agent.route])


def test_nobody_else_s_job_goes_there(desk: Desk) -> None:
    node, other = own_node(desk), desk.client("other")
    desk.submit(other, 1, job("x", inputs=()))
    assert refusals(desk, other) == ["no-nodes"]
    second = publisher(desk, "second", user="another-ci-key")
    desk.submit(second, 1, job("y", inputs=()))
    assert refusals(desk, second) == ["no-nodes"]
    assert desk.runs(node) == []


def test_it_gets_no_window_for_others_uploads(desk: Desk) -> None:
    """Idle slots that a user cannot use must not make the broker ask for his sources."""
    own_node(desk, slots=8)
    farm_node, other = desk.node("n", slots=1), desk.client("other")
    for ticket in range(6):
        desk.submit(other, ticket, job(f"x{ticket}", inputs=()))
    assert len(desk.runs(farm_node)) == 2  # one, and one ahead


def test_a_publisher_s_jobs_go_to_the_farm_s_nodes_as_well(desk: Desk) -> None:
    agent, node = publisher(desk), desk.node("n")
    desk.submit(agent, 1, job("x", inputs=()))
    assert len(desk.runs(node)) == 1


def test_who_waits_for_the_same_job_gets_the_same_result(desk: Desk) -> None:
    agent, node, other = publisher(desk), own_node(desk), desk.client("other")
    desk.submit(agent, 1, job("x", inputs=()))
    desk.submit(other, 1, job("x", inputs=()))
    (run,) = desk.runs(node)
    assert len(remembered(desk.done(node, run.lease))) == 1
    assert any(isinstance(each, Finished) for each in desk.sent[other.route])


def test_when_its_node_leaves_its_jobs_are_refused(desk: Desk) -> None:
    agent, node = publisher(desk), own_node(desk, slots=1)
    for ticket in range(4):
        desk.submit(agent, ticket, job(f"x{ticket}", inputs=()))
    desk.pass_time(60.0, heard=frozenset((agent,)))
    assert refusals(desk, agent) == ["no-nodes"] * 4
    assert desk.machine.farm.sessions.find(node) is None


def test_a_lease_of_another_s_job_is_not_adopted_by_it(desk: Desk) -> None:
    """A restarted broker does not take a publisher's word for what it handed out, nor give it others' jobs."""
    other = desk.client("other")
    key = job("x").key
    forged = key[:12] + b"\1\2\3\4"
    origin = Origin(b"own", "ci-key", PeerRole.PUBLISHER)
    desk.say(origin, Hello(session_id("own"), "node", "", "own", "0", 2, (forged,), (b"",)))
    desk.node("n")
    desk.submit(other, 1, job("x", inputs=()))
    assert remembered(desk.done(origin, forged)) == []
    assert not any(isinstance(each, Finished) for each in desk.sent[other.route])


@pytest.mark.parametrize("role", [PeerRole.CLIENT, PeerRole.ADMIN, PeerRole.MONITOR])
def test_no_other_key_can_say_that_it_is_a_node(desk: Desk, role: PeerRole) -> None:
    origin = Origin(b"liar", "liar-key", role)
    effects = desk.say(origin, Hello(session_id("liar"), "node", "", "liar", "0", 4, (), (b"",)))
    assert refusals(desk, origin) == [f"role: this key is enrolled as {role.value}, not as node"]
    assert [each.what for each in effects if isinstance(each, Audit)] == ["refuse"]
    assert not any(
        isinstance(each, Send) and not isinstance(each.message, Refused) for each in effects
    )
    assert list(desk.machine.farm.nodes) == []


def test_a_client_cannot_say_that_it_is_a_publisher(desk: Desk) -> None:
    origin = Origin(b"liar", "liar-key", PeerRole.CLIENT)
    desk.say(origin, Hello(session_id("liar"), "publisher", "", "liar", "0", 0, (), ()))
    assert refusals(desk, origin) == ["role: this key is enrolled as client, not as publisher"]


def test_an_agent_s_session_cannot_turn_into_a_node_s(desk: Desk) -> None:
    agent = publisher(desk)
    desk.say(agent, Hello(session_id("ci"), "node", "", "ci", "0", 2, (), (b"",)))
    assert len(refusals(desk, agent)) == 1
    assert list(desk.machine.farm.nodes) == []


def test_only_a_node_s_session_has_results_to_give() -> None:
    """What a publisher's session may say is what its own role may; the shell asks by that."""
    results = {Started, Done, Failed, Want}
    assert results <= ALLOWED[PeerRole.PUBLISHER]
    assert {PeerRole.CLIENT, PeerRole.NODE} == set(SESSION_ROLES[PeerRole.PUBLISHER].values())
    assert not results & ALLOWED[PeerRole.CLIENT]
    assert Submit not in ALLOWED[PeerRole.NODE]


def test_whatever_comes_from_random_keys_only_a_publisher_or_node_is_remembered(desk: Desk) -> None:
    rng = random.Random(7)
    agent, node = publisher(desk), own_node(desk)
    strangers = [desk.client(f"c{at}") for at in range(3)]
    for at in range(30):
        desk.submit(rng.choice([agent, *strangers]), at, job(f"j{at}", inputs=()))
    held = {run.lease for run in desk.runs(node)}
    for lease in held:
        (record,) = remembered(desk.done(node, lease))
        assert record.user == "ci-key"
        assert remembered(desk.done(node, lease)) == []  # once


def test_what_its_own_node_makes_of_its_jobs_keeps_others_nodes_from_nobody_else(
    desk: Desk,
) -> None:
    """Two publishers' keys had any node put aside, for up to half an hour."""
    good, other = desk.node("good", slots=1), desk.client("other")
    for user in ("one-ci", "two-ci"):
        agent = publisher(desk, user, user=user)
        own = own_node(desk, f"{user}-node", user=user, slots=1)
        for ticket in range(4 * MAX_FAULTS):
            desk.submit(agent, ticket, job(f"{user} {ticket}", inputs=()))
            for run in desk.runs(good):
                desk.say(good, Failed(run.lease, "refused", "no such program"))
            for run in desk.runs(own):
                desk.done(own, run.lease)
        record = desk.machine.farm.nodes.record((good.user, "good"))
        assert record.is_aside_for(user, desk.now)
        assert record.faults == 0
    desk.submit(other, 1, job("y", inputs=()))
    assert len(desk.runs(good)) == 1
