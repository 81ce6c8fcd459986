"""Reruns in the broker's core: another node runs it, nobody waits for it, nothing of it is remembered."""

from __future__ import annotations

import pytest

from broker.core.effects import Effect, Remember, RerunEnded
from broker.core.events import NodeCondemned, RerunAsked
from broker.core.jobs import LEASE_KEY_BYTES
from broker.core.limits import STARTUP_GRACE_S
from broker.trust.reruns import BUSY, NO_NODE, NOT_FOR_IT, NOT_THERE
from cache.digest import Digest
from tests.support.broker_world import Desk, blob, job, session_id
from zcc.messages import Bye, Cancel, Failed, Fault, Finished, Refused, Revoke, Started


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.pass_time(STARTUP_GRACE_S + 0.5)
    return desk


FACTS = job("x", inputs=())


def lease_of(name: str) -> bytes:
    """A lease that a node makes up for this job."""
    return job(name).key[:LEASE_KEY_BYTES] + b"mine"


def put_to(name: str, client: str = "user-a", toolchain: Digest = FACTS.toolchain) -> RerunAsked:
    """This job is put to a node on trial, under another name."""
    return RerunAsked(
        blob("trial"),
        toolchain,
        (),
        b"",
        1,
        client,
        frozenset(),
        b"job x",
        job=FACTS.key,
        only=session_id(name),
    )


def untrust(desk: Desk, name: str, *, is_probed: bool = False) -> None:
    """This node owes a proof, and its quarantine is over."""
    node = next(each for each in desk.machine.farm.nodes if each.session.name == name)
    node.record.standing.owe(1.0)
    if is_probed:
        node.record.standing.nothing_known(frozenset(), desk.now)
        node.record.standing.again_at = desk.now + 1e6
    desk.machine.farm.seats.touch(node)


def asked(*avoid: str) -> RerunAsked:
    return RerunAsked(FACTS.key, FACTS.toolchain, (), b"", 1, "user-a", frozenset(avoid), b"job x")


def ended(effects: list[Effect]) -> list[RerunEnded]:
    return [effect for effect in effects if isinstance(effect, RerunEnded)]


def test_a_rerun_goes_to_another_keys_node_under_its_clients_name(desk: Desk) -> None:
    maker, other = desk.node("maker"), desk.node("other")
    assert not ended(desk.happen(asked(maker.user)))
    assert not desk.runs(maker)
    (run,) = desk.runs(other)
    assert (run.key, run.client, run.body) == (FACTS.key, "user-a", b"job x")
    effects = desk.done(other, run.lease)
    assert ended(effects) == [RerunEnded(FACTS.key, "other", other.user, b"result", "")]
    assert not any(isinstance(effect, Remember) for effect in effects)
    assert not desk.machine.farm.executions


def test_a_rerun_without_another_node_is_none(desk: Desk) -> None:
    maker = desk.node("maker")
    desk.node("twin", user=maker.user)
    assert ended(desk.happen(asked(maker.user))) == [RerunEnded(FACTS.key, "", "", b"", NO_NODE)]


def test_a_job_that_runs_already_is_not_run_again(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("n")
    desk.submit(agent, 1, FACTS)
    assert ended(desk.happen(asked())) == [RerunEnded(FACTS.key, "", "", b"", BUSY)]


def test_who_submits_the_job_meanwhile_is_served_by_the_rerun(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.happen(asked())
    (run,) = desk.runs(node)
    desk.submit(agent, 1, FACTS)
    assert not desk.runs(node)
    effects = desk.done(node, run.lease)
    assert len(ended(effects)) == 1
    assert desk.got(agent, Finished)


def test_who_leaves_a_rerun_does_not_end_it(desk: Desk) -> None:
    agent, node = desk.client("a"), desk.node("n")
    desk.happen(asked())
    (run,) = desk.runs(node)
    desk.submit(agent, 1, FACTS)
    desk.say(agent, Cancel(1))
    assert len(ended(desk.done(node, run.lease))) == 1


def test_a_rerun_whose_node_is_lost_is_not_tried_again(desk: Desk) -> None:
    node = desk.node("n")
    desk.node("another")
    desk.happen(asked("user-another"))
    desk.runs(node)
    (end,) = ended(desk.say(node, Bye("stopped")))
    assert end.reason
    assert not desk.machine.farm.executions


def test_a_condemned_key_gets_no_jobs_under_any_name(desk: Desk) -> None:
    agent, bad = desk.client("a"), desk.node("bad")
    desk.happen(NodeCondemned(bad.user, 100.0))
    later = desk.node("later", user=bad.user)
    desk.submit(agent, 1, FACTS)
    assert desk.got(agent, Refused)
    good = desk.node("good")
    desk.submit(agent, 2, FACTS)
    assert len(desk.runs(good)) == 1
    assert not desk.runs(bad)
    assert not desk.runs(later)


def test_the_farm_is_idle_when_half_of_its_slots_are_and_nobody_waits(desk: Desk) -> None:
    agent = desk.client("a")
    assert not desk.machine.is_idle(desk.now)
    desk.node("n", slots=2)
    assert desk.machine.is_idle(desk.now)
    desk.submit(agent, 1, job("y", inputs=()))
    assert desk.machine.is_idle(desk.now)
    desk.submit(agent, 2, job("z", inputs=()))
    assert not desk.machine.is_idle(desk.now)
    desk.submit(agent, 3, job("w", inputs=(blob("missing").hex(),)))
    assert not desk.machine.has_room(desk.now)


def test_leases_by_a_nodes_own_word_alone_do_not_put_off_audits(desk: Desk) -> None:
    desk.node("honest", slots=2)
    claims = tuple(lease_of(f"claim {number}") for number in range(8))
    forger = desk.node("forger", slots=8, leases=claims)
    assert desk.machine.is_idle(desk.now)
    assert not desk.got(forger, Revoke)


def test_no_node_adopts_a_rerun(desk: Desk) -> None:
    """Neither the maker of the result nor anybody else chooses who runs it again."""
    maker, other = desk.node("maker"), desk.node("other")
    desk.happen(asked(maker.user))
    (run,) = desk.runs(other)
    for name in ("maker", "late", "stranger"):
        user = "" if name == "stranger" else maker.user
        claimant = desk.node(name, user=user, leases=(lease_of("x"),))
        assert desk.got(claimant, Revoke) == [Revoke(lease_of("x"))]
    assert not desk.got(other, Revoke)
    assert len(ended(desk.done(other, run.lease))) == 1


def test_a_node_that_a_job_avoids_does_not_adopt_it(desk: Desk) -> None:
    agent, bad = desk.client("a"), desk.node("bad")
    desk.node("good", slots=1)
    desk.submit(agent, 1, FACTS)
    (execution,) = desk.machine.farm.executions.values()
    execution.avoid.add((bad.user, "bad"))
    desk.node("bad", leases=(lease_of("x"),))
    assert desk.got(bad, Revoke)[-1] == Revoke(lease_of("x"))
    assert lease_of("x") not in desk.machine.farm.leases


def test_a_job_that_must_not_go_to_the_faster_node_is_not_taken_back_for_it(desk: Desk) -> None:
    """The maker has the toolchain, and would end it sooner."""
    agent, maker = desk.client("a"), desk.node("maker")
    desk.submit(agent, 1, job("warm", inputs=()))
    (run,) = desk.runs(maker)
    desk.done(maker, run.lease)
    other = desk.node("other")
    desk.happen(asked(maker.user))
    (again,) = desk.runs(other)
    assert not ended(desk.pass_time(3.0, frozenset((maker, other, agent))))
    assert len(ended(desk.done(other, again.lease))) == 1


def test_a_known_job_goes_to_the_node_on_trial_and_stays_there(desk: Desk) -> None:
    """Another one is idle, has the toolchain, and would end it sooner."""
    agent, other = desk.client("a"), desk.node("other", slots=8)
    desk.submit(agent, 1, job("warm", inputs=()))
    (run,) = desk.runs(other)
    desk.say(other, Started(run.lease))
    desk.done(other, run.lease)
    suspect = desk.node("suspect")
    untrust(desk, "suspect")
    assert not ended(desk.happen(put_to("suspect")))
    (run,) = desk.runs(suspect)
    assert (run.key, run.client) == (FACTS.key, "user-a")
    assert not ended(desk.pass_time(20.0, frozenset((agent, other, suspect))))
    assert not desk.runs(other)
    assert not desk.got(suspect, Revoke)
    effects = desk.done(suspect, run.lease)
    assert ended(effects) == [RerunEnded(blob("trial"), "suspect", suspect.user, b"result", "")]
    assert not any(isinstance(effect, Remember) for effect in effects)


def test_who_submits_a_job_that_is_put_to_a_node_on_trial_has_it_done_elsewhere(desk: Desk) -> None:
    agent, suspect, other = desk.client("a"), desk.node("suspect"), desk.node("other")
    untrust(desk, "suspect")
    desk.happen(put_to("suspect"))
    (trial,) = desk.runs(suspect)
    desk.submit(agent, 1, FACTS)
    (run,) = desk.runs(other)
    assert len(ended(desk.done(suspect, trial.lease))) == 1
    assert not desk.got(agent, Finished)
    desk.done(other, run.lease)
    assert len(desk.got(agent, Finished)) == 1


def test_what_a_node_says_of_a_known_job_is_told_and_counts_on_nobody(desk: Desk) -> None:
    suspect = desk.node("suspect")
    untrust(desk, "suspect")
    desk.happen(put_to("suspect"))
    (run,) = desk.runs(suspect)
    (end,) = ended(desk.say(suspect, Failed(run.lease, Fault.SANDBOX.value, "")))
    assert end.fault == Fault.SANDBOX.value
    (node,) = desk.machine.farm.nodes
    assert node.record.faults == 0
    assert not desk.machine.farm.blame._keys


def test_a_known_job_is_put_to_no_node_that_could_not_be_given_it_anyway(desk: Desk) -> None:
    desk.node("suspect")
    untrust(desk, "suspect")
    (node,) = desk.machine.farm.nodes
    node.session.is_own = True  # a publisher's, for its own key's jobs alone
    (end,) = ended(desk.happen(put_to("suspect")))
    assert end.reason == NOT_FOR_IT
    assert not ended(desk.happen(put_to("suspect", client=node.session.user)))


def test_a_known_job_is_put_to_no_node_that_has_no_room_for_its_toolchain(desk: Desk) -> None:
    desk.node("suspect")
    untrust(desk, "suspect")
    (node,) = desk.machine.farm.nodes
    node.note_unfit(FACTS.toolchain, "no room")
    (end,) = ended(desk.happen(put_to("suspect")))
    assert end.reason == NOT_FOR_IT
    (end,) = ended(desk.happen(put_to("suspect", toolchain=blob("clang"))))
    assert end.reason == NOT_FOR_IT, "that is no toolchain, as far as is known"
    desk.machine.farm.holdings.prove_toolchain("", blob("clang"))
    assert not ended(desk.happen(put_to("suspect", toolchain=blob("clang"))))


def test_a_known_job_is_put_to_no_node_that_is_away_or_holds_something(desk: Desk) -> None:
    suspect = desk.node("suspect")
    assert ended(desk.happen(put_to("nobody")))[0].reason == NOT_THERE
    agent = desk.client("a")
    desk.submit(agent, 1, job("y", inputs=()))
    desk.runs(suspect)
    assert ended(desk.happen(put_to("suspect")))[0].reason == NOT_THERE


@pytest.mark.parametrize("is_probed", [False, True])
def test_no_suspect_is_a_judge(desk: Desk, is_probed: bool) -> None:
    agent, busy = desk.client("a"), desk.node("busy", slots=1)
    for ticket in (1, 2):
        desk.submit(agent, ticket, job(f"taken {ticket}", inputs=()))
    assert len(desk.runs(busy)) == 2
    suspect = desk.node("suspect", slots=8)
    untrust(desk, "suspect", is_probed=is_probed)
    assert ended(desk.happen(asked("user-busy")))[0].reason == NO_NODE
    assert not ended(desk.happen(asked("user-maker")))
    assert not desk.runs(suspect), "it waits for the other one"


def test_a_lease_by_a_nodes_own_word_is_no_job_once_it_owes_a_proof(desk: Desk) -> None:
    agent = desk.client("a")
    desk.node("suspect", leases=(lease_of("x"),))
    desk.node("other")
    desk.happen(NodeCondemned("user-suspect", 5.0))
    desk.submit(agent, 1, FACTS)
    assert lease_of("x") not in desk.machine.farm.leases
