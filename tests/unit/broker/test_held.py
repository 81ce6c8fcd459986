"""Jobs that wait outside of the books: each is taken once, and no key has more of them than its share."""

from __future__ import annotations

from dataclasses import replace

from broker.core.events import JobSubmitted, Origin
from broker.core.limits import MAX_HELD_BYTES, MAX_HELD_PER_KEY
from broker.transport.held import HeldJobs
from cache.digest import digest_of
from zcc.messages import PeerRole


def job(
    ticket: int = 1, user: str = "ann", route: bytes = b"r", body: bytes = b"job"
) -> JobSubmitted:
    origin = Origin(route, user, PeerRole.CLIENT)
    digest = digest_of(b"x")
    return JobSubmitted(origin, ticket, digest, 0.0, "", digest, (), b"", None, body)


def test_what_is_held_is_taken_once() -> None:
    held, one = HeldJobs(), job()
    held.put(one)
    assert not held.has_room(job())  # no ticket waits twice
    assert held.take(one)
    assert not held.take(one)
    assert held.has_room(job())
    assert len(held) == 0


def test_what_was_cancelled_is_not_taken_though_its_ticket_is_used_again() -> None:
    held, one, other = HeldJobs(), job(), job()
    held.put(one)
    assert held.cancel(b"r", 1)
    assert not held.cancel(b"r", 1)
    held.put(other)
    assert not held.take(one)
    assert held.take(other)


def test_a_route_is_forgotten_with_all_of_its_jobs_and_no_other_s() -> None:
    held, other = HeldJobs(), job(route=b"other")
    jobs = [job(1), job(2)]
    for each in (*jobs, other):
        held.put(each)
    held.forget(b"r")
    held.forget(b"r")
    assert not any(map(held.take, jobs))
    assert held.take(other)
    assert len(held) == 0


def test_a_key_has_its_share_and_takes_nobody_else_s() -> None:
    held = HeldJobs()
    for ticket in range(MAX_HELD_PER_KEY):
        assert held.has_room(job(ticket))
        held.put(job(ticket))
    assert not held.has_room(job(MAX_HELD_PER_KEY))
    assert not held.has_room(job(1, route=b"another of its agents"))
    assert held.has_room(job(1, "bob", b"another"))
    held.cancel(b"r", 7)
    assert held.has_room(job(7))


def test_all_together_have_a_bound_in_bytes() -> None:
    held, large = HeldJobs(), job(body=bytes(MAX_HELD_BYTES // 2))
    held.put(large)
    held.put(replace(large, ticket=2))
    assert not held.has_room(job(3))
    held.take(large)
    assert held.has_room(job(3))
