"""The breaker of a tier, and what waits to be written to one."""

from __future__ import annotations

from cache.remote.behind import BoundedBacklog
from cache.remote.breaker import (
    FIRST_REST_S,
    LONGEST_REST_S,
    MOST_FAILURES,
    PROBE_S,
    Breaker,
    BreakerState,
)


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(MOST_FAILURES):
        breaker.failed(0.0)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(MOST_FAILURES - 1):
        breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert breaker.state(0.0) is BreakerState.OPEN
    assert not breaker.allows(FIRST_REST_S - 0.01)
    assert breaker.opened == 1


def test_failures_with_successes_between_them_do_not() -> None:
    breaker = Breaker()
    for _ in range(10 * MOST_FAILURES):
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.state(0.0) is BreakerState.CLOSED


def test_after_its_rest_one_probe_goes_and_no_second() -> None:
    breaker = opened()
    assert breaker.state(FIRST_REST_S) is BreakerState.HALF_OPEN
    assert breaker.may_ask(FIRST_REST_S)
    assert breaker.may_ask(FIRST_REST_S)
    assert breaker.allows(FIRST_REST_S)
    assert not breaker.allows(FIRST_REST_S + 0.1)
    breaker.succeeded()
    assert breaker.state(FIRST_REST_S + 0.1) is BreakerState.CLOSED
    assert breaker.allows(FIRST_REST_S + 0.1)


def test_a_probe_that_fails_doubles_the_rest_up_to_a_bound() -> None:
    breaker, now, rests = opened(), 0.0, []
    for _ in range(8):
        began = now
        while not breaker.allows(now):
            now += 1.0
        rests.append(now - began)
        breaker.failed(now)
    assert rests == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (rests[0], rests[-1]) == (FIRST_REST_S, LONGEST_REST_S)


def test_a_probe_of_which_nothing_is_heard_is_followed_by_another() -> None:
    breaker = opened()
    assert breaker.allows(FIRST_REST_S)
    assert not breaker.allows(FIRST_REST_S + PROBE_S - 0.1)
    assert breaker.allows(FIRST_REST_S + PROBE_S)


def test_what_was_on_its_way_when_it_opened_makes_its_rest_no_longer() -> None:
    breaker = opened()
    for _ in range(20):
        breaker.failed(0.5)
    assert breaker.allows(FIRST_REST_S)


def test_of_too_much_that_waits_the_oldest_goes() -> None:
    waiting = BoundedBacklog[str](10)
    for word, size in (("a", 4), ("b", 4), ("c", 4)):
        waiting.put(word, size)
    assert (len(waiting), waiting.size_bytes, waiting.dropped) == (2, 8, 1)
    assert waiting.take(5) == ["b", "c"]
    assert (len(waiting), waiting.size_bytes) == (0, 0)


def test_what_is_too_large_by_itself_pushes_nothing_out() -> None:
    waiting = BoundedBacklog[str](10)
    waiting.put("a", 10)
    waiting.put("huge", 11)
    assert waiting.take(1) == ["a"]
    assert waiting.dropped == 1
