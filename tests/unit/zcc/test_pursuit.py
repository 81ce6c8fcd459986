"""Where a member looks for a broker that does not answer: bounded, in turn, never while a session stands."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from zcc.discovery.pursuit import (
    LOOK_AFTER_S,
    MAX_PAUSE_S,
    MAX_TRIES,
    TRY_S,
    DialEndpoint,
    Pursuit,
    RememberEndpoint,
    SeekBroker,
)

HOME, NEW, LIAR = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1", "tcp://10.0.0.3:1"


def lost(home: str = HOME) -> tuple[Pursuit, float]:
    """A member whose session stood at home, at the moment at which it is to look elsewhere."""
    pursuit = Pursuit(home, 0.0, Random(1))
    assert pursuit.beat(True, 1.0) is None
    now = 1.0
    while pursuit.beat(False, now) is None:
        now += 1.0
        assert now < 2 * LOOK_AFTER_S + 3
    assert now >= LOOK_AFTER_S
    return pursuit, now


def test_while_a_session_stands_nothing_is_looked_for() -> None:
    pursuit = Pursuit(HOME, 0.0, Random(1))
    assert {pursuit.beat(True, float(now)) for now in range(1000)} == {None}


def test_a_found_endpoint_is_remembered_only_after_a_session() -> None:
    pursuit, now = lost()
    assert pursuit.found([HOME], [NEW], now) == DialEndpoint(NEW)
    assert not pursuit.is_proven
    assert pursuit.beat(True, now + 1) == RememberEndpoint(NEW)
    assert pursuit.is_proven
    assert pursuit.beat(True, now + 2) is None


def test_a_lie_costs_one_try_and_then_home_is_dialled_again() -> None:
    pursuit, now = lost()
    assert pursuit.found([HOME], [LIAR, NEW], now) == DialEndpoint(LIAR)
    assert pursuit.beat(False, now + TRY_S / 2) is None
    assert pursuit.beat(False, now + TRY_S) == DialEndpoint(NEW)
    assert pursuit.beat(False, now + 2 * TRY_S) == DialEndpoint(HOME)
    assert pursuit.beat(False, now + 2 * TRY_S + 1) is None


def test_who_turns_us_away_has_had_his_try_at_once() -> None:
    pursuit, now = lost()
    pursuit.found([], [LIAR, NEW], now)
    assert pursuit.failed(now) == DialEndpoint(NEW)
    assert pursuit.failed(now) == DialEndpoint(HOME)
    assert pursuit.is_proven


def test_what_people_have_named_is_believed_when_it_says_no() -> None:
    pursuit, now = lost(NEW)
    assert pursuit.found([HOME], [], now) == DialEndpoint(HOME)
    assert pursuit.is_proven


def test_what_was_found_does_not_move_a_session_that_is_back_meanwhile() -> None:
    pursuit, now = lost()
    assert pursuit.beat(True, now + 1) is None
    assert pursuit.found([HOME], [NEW], now + 2) is None
    assert pursuit.dialled == HOME


def test_without_an_endpoint_dns_is_asked_at_once_and_its_order_kept() -> None:
    pursuit = Pursuit("", 0.0, Random(1))
    assert pursuit.beat(False, 0.0) == SeekBroker()
    assert pursuit.found([HOME, NEW], [], 0.1) == DialEndpoint(HOME)
    assert pursuit.beat(False, 0.1 + TRY_S) == DialEndpoint(NEW)
    # Nothing to remember: it is what DNS says.
    assert pursuit.beat(True, 1.0 + TRY_S) == RememberEndpoint(NEW)


@given(
    st.lists(st.lists(st.integers(1, 40), max_size=30), min_size=1, max_size=30), st.integers(0, 99)
)
def test_tries_are_bounded_whatever_is_announced(looks: list[list[int]], seed: int) -> None:
    """However many lies there are, home is dialled after each look, and most of the time."""
    pursuit = Pursuit(HOME, 0.0, Random(seed))
    now, dialled, at_home_s = 0.0, HOME, 0.0
    for announced in looks:
        while not isinstance(did := pursuit.beat(False, now), SeekBroker):
            dialled = did.endpoint if isinstance(did, DialEndpoint) else dialled
            at_home_s += dialled == HOME
            now += 1.0
            assert now < (len(looks) + 1) * (MAX_TRIES * TRY_S + 2 * MAX_PAUSE_S + 2 * LOOK_AFTER_S)
        assert dialled == HOME
        did = pursuit.found([HOME], [f"tcp://10.0.0.{n}:1" for n in announced], now)
        dialled = did.endpoint if isinstance(did, DialEndpoint) else dialled
        assert pursuit.dialled == dialled
    assert at_home_s >= LOOK_AFTER_S
