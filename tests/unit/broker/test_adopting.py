"""Which jobs a node may say that it runs already: none by which it could fetch what nobody showed."""

from __future__ import annotations

import pytest

from broker.core import events
from broker.core.effects import OfferBlobs
from broker.core.events import Origin
from broker.core.jobs import lease_prefix, private_key
from cache.digest import Digest
from tests.support.broker_world import Desk, JobFacts, blob
from zcc.messages import PeerRole, Revoke

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
