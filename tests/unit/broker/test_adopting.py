"""Which jobs a node may say that it runs already: none by which it could fetch what nobody showed."""

from __future__ import annotations

import pytest

from broker.core import events
from broker.core.effects import OfferBlobs
from broker.core.events import Origin
from broker.core.jobs import lease_prefix, private_key
from broker.core.limits import CLAIMS_S
from cache.digest import Digest
from tests.support.broker_world import Desk, JobFacts, blob
from zcc.messages import PeerRole, Revoke, Started

SECRET = blob("another's source")


@pytest.fixture
def desk() -> Desk:
    """The farm has the secret: the one who holds it has sent it."""
    desk = Desk()
    desk.store.add(SECRET)
    desk.happen(events.InputsShown(desk.client("victim").user, (SECRET,)))
    return desk


def lease_for(key: Digest) -> bytes:
    return lease_prefix(key) + b"salt"


def fetched(desk: Desk, node: Origin) -> bool:
    """Whether the node gets the secret when it asks for it."""
    effects = desk.happen(events.BlobsWanted(node, ((SECRET, 0),), ()))
    return any(isinstance(each, OfferBlobs) for each in effects)


INPUT = JobFacts("steal", (SECRET,), blob("gcc"))
TOOLCHAIN = JobFacts("steal", (), SECRET)


@pytest.mark.parametrize("comes_first", ["job", "node"])
@pytest.mark.parametrize("facts", [INPUT, TOOLCHAIN], ids=["input", "toolchain"])
def test_a_node_and_a_client_together_read_nothing_that_they_know_the_digest_of(
    desk: Desk, facts: JobFacts, comes_first: str
) -> None:
    """The client names it and shows nothing; the node says that it runs that job already."""
    helper = desk.client("helper")
    claims = (lease_for(facts.key), lease_for(private_key(facts.key, helper.user)))
    if comes_first == "job":
        desk.submit(helper, 1, facts, shows=False)
    node = desk.hello("accomplice", PeerRole.NODE, 4, leases=claims)
    if comes_first == "node":
        desk.submit(helper, 1, facts, shows=False)
    assert not fetched(desk, node)
    assert not desk.machine.farm.leases


def test_a_claim_of_a_job_that_was_not_shown_is_given_up(desk: Desk) -> None:
    """The job itself waits for its agent, as before."""
    helper = desk.client("helper")
    desk.submit(helper, 1, INPUT, shows=False)
    lease = lease_for(private_key(INPUT.key, helper.user))
    node = desk.node("accomplice", slots=4, leases=(lease,))
    assert desk.got(node, Revoke) == [Revoke(lease)]
    desk.stored(SECRET)
    assert [run.key for run in desk.runs(node)] == [INPUT.key]


def test_a_node_chooses_no_job_by_a_lease_that_it_makes_up(desk: Desk) -> None:
    """What it adopts is remembered for nobody and so never audited: it could forge just these, for ever."""
    desk.pass_time(CLAIMS_S + 1)
    honest = desk.node("honest", slots=4)
    facts = JobFacts("known", (), blob("gcc"))
    liar = desk.node("liar", slots=4, leases=(lease_for(facts.key),))
    assert desk.got(liar, Revoke) == [Revoke(lease_for(facts.key))]
    desk.submit(desk.client("victim"), 1, facts)
    assert len([*desk.runs(honest), *desk.runs(liar)]) == 1
    assert not any(lease.is_adopted for lease in desk.machine.farm.leases.values())


def test_nor_by_one_that_another_key_was_given(desk: Desk) -> None:
    desk.pass_time(CLAIMS_S + 1)
    facts = JobFacts("known", (), blob("gcc"))
    honest = desk.node("honest")
    desk.submit(desk.client("victim"), 1, facts)
    (run,) = desk.runs(honest)
    desk.happen(events.PeerUnreachable(honest.route))
    liar = desk.node("liar", leases=(run.lease,))
    assert desk.got(liar, Revoke) == [Revoke(run.lease)]


def test_what_was_lost_with_its_node_goes_on_when_that_is_back(desk: Desk) -> None:
    desk.pass_time(CLAIMS_S + 1)
    facts = JobFacts("known", (), blob("gcc"))
    honest = desk.node("honest")
    victim = desk.client("victim")
    desk.submit(victim, 1, facts)
    (run,) = desk.runs(honest)
    desk.say(honest, Started(run.lease))
    desk.happen(events.PeerUnreachable(honest.route))
    back = desk.node("honest", leases=(run.lease,), route="new")
    desk.submit(victim, 2, facts)
    assert not desk.got(back, Revoke)
    assert desk.machine.farm.leases[run.lease].is_adopted


def test_what_was_lost_long_ago_does_not(desk: Desk) -> None:
    facts = JobFacts("known", (), blob("gcc"))
    honest = desk.node("honest")
    desk.submit(desk.client("victim"), 1, facts)
    (run,) = desk.runs(honest)
    desk.happen(events.PeerUnreachable(honest.route))
    desk.now += CLAIMS_S + 1
    back = desk.node("honest", leases=(run.lease,), route="new")
    assert desk.got(back, Revoke) == [Revoke(run.lease)]
