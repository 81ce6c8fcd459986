"""How many slots a node lends, by its mode and by what the machine's owner does."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.core.lending import FALL_S, IDLE_AFTER_S, RISE_S, Lending, LendingMode, Look

NEVER = math.inf


class Machine:
    """A machine of so many processors, looked at each second."""

    def __init__(self, mode: LendingMode, slots: int = 8, processors: int = 8) -> None:
        self.now = 1000.0
        self.lending = Lending(slots, processors)
        self.lending.choose(mode)

    def see(self, used: float, for_s: float = 1.0, input_age_s: float = NEVER) -> list[int]:
        """The slots lent after each second."""
        lent = []
        for _ in range(int(for_s)):
            self.now += 1.0
            self.lending.see(Look(used, input_age_s), self.now)
            lent.append(self.slots)
        return lent

    @property
    def slots(self) -> int:
        return self.lending.offer(self.now).slots

    @property
    def why(self) -> str:
        return self.lending.offer(self.now).why


def test_a_dedicated_node_lends_all_whoever_works() -> None:
    machine = Machine(LendingMode.DEDICATED)
    assert machine.see(8.0, for_s=60)[-1] == 8
    assert machine.why == ""


def test_a_node_that_is_off_lends_nothing_and_says_how_it_would() -> None:
    machine = Machine(LendingMode.OFF)
    assert machine.slots == 0
    assert "zcc-node mode dedicated" in machine.why


@pytest.mark.parametrize("mode", [LendingMode.PROPORTIONAL, LendingMode.IDLE])
def test_before_the_first_look_nothing_is_lent(mode: LendingMode) -> None:
    machine = Machine(mode)
    assert machine.slots == 0
    assert "looks first" in machine.why
    assert machine.see(0.0) == [8]
    assert machine.why == ""


@pytest.mark.parametrize(("used", "lent"), [(0.3, 8), (1.0, 7), (4.0, 4), (7.9, 0), (8.0, 0)])
def test_a_proportional_node_lends_what_others_leave(used: float, lent: int) -> None:
    machine = Machine(LendingMode.PROPORTIONAL)
    assert machine.see(used, for_s=60)[-1] == lent


def test_fewer_slots_than_processors_are_lent_until_the_processors_are_used() -> None:
    machine = Machine(LendingMode.PROPORTIONAL, slots=2)
    assert machine.see(5.0, for_s=60)[-1] == 2
    assert machine.see(7.0, for_s=60)[-1] == 1
    assert machine.why == "others leave 1 of 8 processors"


def test_the_owner_has_his_processors_soon_and_a_pause_of_his_brings_no_jobs_back() -> None:
    machine = Machine(LendingMode.PROPORTIONAL)
    machine.see(0.0, for_s=10)
    rising = machine.see(8.0, for_s=60)
    assert rising[math.ceil(RISE_S)] <= 4  # more than half of it after one time constant
    assert rising[-1] == 0
    assert machine.see(0.0, for_s=2)[-1] == 0
    falling = machine.see(0.0, for_s=240)
    assert falling[math.ceil(FALL_S)] <= 6
    assert falling[-1] == 8
    assert falling == sorted(falling)


def test_a_use_between_two_numbers_does_not_flap() -> None:
    machine = Machine(LendingMode.PROPORTIONAL)
    machine.see(2.5, for_s=60)
    lent = [slots for turn in range(300) for slots in machine.see(2.3 + 0.4 * (turn % 2))]
    assert sum(before != after for before, after in pairwise(lent)) <= 1


@given(st.lists(st.floats(0.0, 8.0), min_size=1, max_size=60), st.integers(1, 12))
def test_the_slots_are_never_negative_nor_more_than_there_are(
    uses: list[float], slots: int
) -> None:
    machine = Machine(LendingMode.PROPORTIONAL, slots=slots)
    for used in uses:
        (lent,) = machine.see(used)
        assert 0 <= lent <= slots
        assert (lent == slots) == (machine.why == "")


def test_an_idle_node_waits_until_nobody_has_worked_for_a_while() -> None:
    machine = Machine(LendingMode.IDLE)
    assert machine.see(0.0, for_s=5)[-1] == 8
    machine.see(3.0, for_s=10)
    assert machine.slots == 0
    assert machine.why == "others use this machine: free after 300 s without"
    still = machine.see(0.0, for_s=IDLE_AFTER_S - FALL_S)
    assert set(still) == {0}
    assert machine.see(0.0, for_s=3 * FALL_S)[-1] == 8


def test_an_idle_node_gives_way_to_who_types() -> None:
    machine = Machine(LendingMode.IDLE)
    machine.see(0.0)
    assert machine.see(0.0, input_age_s=3.0) == [0]
    assert machine.why == "somebody has typed at this machine: free after 300 s without"
    assert machine.see(0.0, input_age_s=299.0) == [0]
    assert machine.see(0.0, input_age_s=300.0) == [0]  # 299 s ago it was 299 s
    machine.now += 300
    assert machine.see(0.0, input_age_s=602.0) == [8]


def test_the_small_use_of_a_machine_at_rest_is_nobodys_work() -> None:
    machine = Machine(LendingMode.IDLE, slots=2, processors=2)
    assert set(machine.see(0.4, for_s=60)) == {2}


def test_another_mode_starts_with_a_look_of_its_own() -> None:
    machine = Machine(LendingMode.IDLE)
    machine.see(8.0, for_s=60)
    machine.lending.choose(LendingMode.DEDICATED)
    assert machine.slots == 8
    machine.lending.choose(LendingMode.PROPORTIONAL)
    assert machine.slots == 0
    assert machine.see(0.0) == [8]
