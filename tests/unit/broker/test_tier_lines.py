"""Which tier is asked for which result, and until when."""

from __future__ import annotations

import pytest

from broker.tiers.lookups import (
    MAX_LOOKUPS,
    MOST_WAIT_S,
    Batch,
    TierAnswer,
    TierLookups,
    patience_s,
)
from cache.digest import digest_of
from cache.remote.breaker import FIRST_REST_S, MOST_FAILURES, BreakerState

ONE, TWO, THREE = (digest_of(b"%d" % at) for at in (1, 2, 3))


def batches(lookups: TierLookups, now: float) -> list[Batch]:
    found, answers = lookups.next_batches(now)
    assert answers == []
    return found


def only(lookups: TierLookups, now: float) -> Batch:
    (batch,) = batches(lookups, now)
    return batch


def opened(lookups: TierLookups, tier: int, now: float) -> TierLookups:
    for _ in range(MOST_FAILURES):
        lookups.breaker(tier).failed(now)
    return lookups


@pytest.mark.parametrize(
    ("expected_s", "waits_s"), [(0.0, 0.0), (0.1, 0.05), (0.4, 0.2), (60.0, 0.2)]
)
def test_a_job_waits_for_half_its_compile_and_never_for_long(
    expected_s: float, waits_s: float
) -> None:
    assert patience_s(expected_s) == waits_s


def test_what_waits_goes_in_one_batch() -> None:
    lookups = TierLookups([(8, 1)])
    assert lookups.ask(ONE, 0.2, 0.0)
    assert lookups.ask(TWO, 0.2, 0.0)
    batch = only(lookups, 0.0)
    assert batch.keys == (ONE, TWO)
    assert lookups.answered(batch, {TWO}, 0.01) == [TierAnswer(ONE, None), TierAnswer(TWO, 0)]
    assert len(lookups) == 0


def test_no_more_batches_than_lanes_and_no_more_keys_than_fit() -> None:
    lookups = TierLookups([(1, 2)])
    for key in (ONE, TWO, THREE):
        lookups.ask(key, 0.2, 0.0)
    first, second = batches(lookups, 0.0)
    assert (first.keys, second.keys) == ((ONE,), (TWO,))
    assert batches(lookups, 0.0) == []
    lookups.answered(second, (), 0.01)
    assert only(lookups, 0.01).keys == (THREE,)


def test_who_asks_for_the_same_joins() -> None:
    lookups = TierLookups([(8, 1)])
    assert lookups.ask(ONE, 0.2, 0.0)
    assert lookups.ask(ONE, 0.3, 0.1)
    assert only(lookups, 0.1).keys == (ONE,)
    assert lookups.ask(ONE, 0.4, 0.15)
    assert lookups.expired(0.2) == [TierAnswer(ONE, None)]
    assert not lookups.ask(ONE, 0.5, 0.3)  # it is on its way still, and late


def test_a_miss_goes_to_the_next_tier() -> None:
    lookups = TierLookups([(8, 1), (8, 1)])
    lookups.ask(ONE, 0.2, 0.0)
    lookups.ask(TWO, 0.2, 0.0)
    near = only(lookups, 0.0)
    assert lookups.answered(near, {ONE}, 0.05) == [TierAnswer(ONE, 0)]
    far = only(lookups, 0.05)
    assert (far.tier, far.keys) == (1, (TWO,))
    assert lookups.answered(far, {TWO}, 0.1) == [TierAnswer(TWO, 1)]


def test_a_failure_goes_to_the_next_tier() -> None:
    lookups = TierLookups([(8, 1), (8, 1)])
    lookups.ask(ONE, 0.2, 0.0)
    assert lookups.failed(only(lookups, 0.0), 0.01) == []
    assert lookups.failed(only(lookups, 0.01), 0.02) == [TierAnswer(ONE, None)]


def test_a_tier_that_rests_is_passed_over_at_once() -> None:
    lookups = opened(TierLookups([(8, 1), (8, 1)]), 0, 0.0)
    assert lookups.ask(ONE, 0.2, 0.0)
    assert only(lookups, 0.0).tier == 1
    opened(lookups, 1, 0.0)
    assert not lookups.ask(TWO, 0.2, 0.0)


def test_at_its_deadline_who_asked_is_told_and_an_answer_is_late() -> None:
    lookups = TierLookups([(8, 1)])
    lookups.ask(ONE, 0.1, 0.0)
    batch = only(lookups, 0.0)
    assert lookups.expired(0.099) == []
    assert lookups.expired(0.1) == [TierAnswer(ONE, None)]
    assert lookups.expired(0.15) == []
    assert lookups.answered(batch, {ONE}, 0.5) == [TierAnswer(ONE, 0, is_late=True)]
    assert len(lookups) == 0


def test_what_was_not_sent_by_its_deadline_never_is() -> None:
    lookups = TierLookups([(1, 1)])
    lookups.ask(ONE, 1.0, 0.0)
    lookups.ask(TWO, 0.1, 0.0)
    first = only(lookups, 0.0)
    assert lookups.expired(0.1) == [TierAnswer(TWO, None)]
    assert lookups.answered(first, (), 0.15) == [TierAnswer(ONE, None)]
    assert batches(lookups, 0.15) == []


def test_a_late_miss_is_asked_of_nobody_else() -> None:
    lookups = TierLookups([(1, 1), (1, 1)])
    lookups.ask(ONE, 0.1, 0.0)
    batch = only(lookups, 0.0)
    lookups.expired(0.1)
    assert lookups.answered(batch, (), 0.15) == []
    assert batches(lookups, 0.15) == []
    assert len(lookups) == 0


def test_what_hangs_opens_the_breaker_while_it_hangs() -> None:
    lookups = TierLookups([(1, 1)])
    lookups.ask(ONE, 0.2, 0.0)
    lookups.ask(TWO, 9.0, 0.0)
    only(lookups, 0.0)
    now = 0.0
    for _ in range(MOST_FAILURES):
        now += MOST_WAIT_S
        lookups.expired(now)
    assert lookups.breaker(0).state(now) is BreakerState.OPEN
    # Who waits behind it waits no longer.
    assert lookups.next_batches(now) == ([], [TierAnswer(TWO, None)])


def test_a_tier_that_is_always_late_is_one_that_fails() -> None:
    lookups, now = TierLookups([(1, 1)]), 0.0
    for _ in range(MOST_FAILURES):
        lookups.ask(ONE, now + 9.0, now)
        batch = only(lookups, now)
        now += 2 * MOST_WAIT_S
        lookups.answered(batch, {ONE}, now)
    assert not lookups.ask(ONE, now + 9.0, now)


def test_of_a_tier_that_may_be_back_one_batch_is_asked_and_closes_it() -> None:
    lookups = opened(TierLookups([(1, 4)]), 0, 0.0)
    now = FIRST_REST_S
    assert lookups.ask(ONE, now + 0.2, now)
    assert lookups.ask(TWO, now + 0.2, now)
    found, answers = lookups.next_batches(now)
    assert [batch.keys for batch in found] == [(ONE,)]
    assert answers == [TierAnswer(TWO, None)]  # it waits for no probe
    lookups.answered(found[0], (), now + 0.01)
    assert lookups.breaker(0).state(now + 0.01) is BreakerState.CLOSED


def test_there_is_a_bound() -> None:
    lookups = TierLookups([(8, 1)])
    for at in range(MAX_LOOKUPS):
        assert lookups.ask(digest_of(b"%d" % at), 0.2, 0.0)
    assert not lookups.ask(digest_of(b"one more"), 0.2, 0.0)


def test_who_has_no_time_does_not_ask() -> None:
    assert not TierLookups([(8, 1)]).ask(ONE, 0.0, 0.0)
