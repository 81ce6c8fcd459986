"""What a machine with idle slots takes from the farm: never slower than alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.support.agent_world import prepared, prove
from zcc.agent.core.call_state import CallStage
from zcc.agent.core.effects import (
    CancelJob,
    ConfirmResult,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    PlaceResult,
    RaceHere,
    RunHere,
    StopRace,
    SubmitJob,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CheckWanted,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobRefused,
    JobWaits,
    Looked,
    PartFailed,
    PartTaken,
    PartUnproven,
    RaceLost,
    RaceWon,
    ResultConfirmed,
    TimePassed,
)
from zcc.agent.core.forecast import ENOUGH_TRIPS, Forecast
from zcc.agent.core.homeward import Homeward
from zcc.agent.core.machine import AgentMachine
from zcc.agent.core.slots import Slots
from zcc.reasons import Reason


def machine(slots: int = 1, *, is_sharing: bool = True) -> AgentMachine:
    made = AgentMachine(Slots(slots), remote_timeout_s=100.0, is_sharing=is_sharing)
    made.handle(FarmOpened(), 0.0)
    return made


def submit(
    agent: AgentMachine, *calls: int, at: float = 0.0, can_race: bool = True, **arrived: bool
) -> list[Effect]:
    effects: list[Effect] = []
    for call in calls:
        agent.handle(CallArrived(call, False, arrived.get("is_strict", False)), at)
        if arrived.get("is_checked"):
            agent.handle(CheckWanted(call), at)
        event = prepared(call, "scanned", keys=(call,), can_race=can_race)
        effects += agent.handle(event, at)
        agent.validate()
    return effects


def home(call: int, there_s: float) -> list[Effect]:
    counted = CountOutcome(call, "local", "sooner-here", f"there in {there_s:.1f} s")
    return [CancelJob(call), counted, RunHere(call)]


def knowing(agent: AgentMachine, **costs: float) -> None:
    """Both machines are equally fast, and the farm's trip is 100 ms."""
    for name, cost_s in costs.items():
        for _ in range(ENOUGH_TRIPS):
            agent.forecast.ran_there(int(name[1:]), cost_s, cost_s, 0.1)


def test_a_job_that_would_wait_longer_than_it_takes_here_is_taken_back() -> None:
    agent = machine()
    assert submit(agent, 1) == [SubmitJob(1)]
    assert agent.handle(JobWaits(1, 3.0), 0.1) == home(1, 4.0)
    agent.validate()
    assert agent.handle(JobBegan(1), 0.2) == []  # the word crossed with the Cancel
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1)]


def test_a_job_that_begins_at_once_stays_there_though_slots_are_idle() -> None:
    agent = machine(4)
    assert submit(agent, 1, 2) == [SubmitJob(1), SubmitJob(2)]
    for call in (1, 2):
        assert agent.handle(JobBegan(call), 0.03) == []
    assert agent.handle(Looked(), 0.9) == []


def test_of_those_who_wait_the_one_at_the_back_comes_home() -> None:
    agent = machine(2)
    agent.handle(CallArrived(9, False, False), 0.0)
    agent.handle(CallIsLocal(9, Reason.NOT_A_COMPILE, "", slots=2), 0.0)
    submit(agent, 1, 2, 3, 4)
    for call, expected_s in ((1, 0.5), (2, 1.5), (3, 2.5), (4, 3.5)):
        assert agent.handle(JobWaits(call, expected_s), 0.1) == []  # no slot is idle
    effects = agent.handle(CallClosed(9), 0.2)
    assert effects == [ForgetCall(9), *home(4, 4.4), *home(3, 3.4)]
    agent.validate()


def test_who_comes_to_a_farm_that_is_full_is_not_even_submitted() -> None:
    agent = machine()
    submit(agent, 1, 2, is_strict=False)
    assert agent.handle(JobWaits(1, 5.0), 0.05)[-1] == RunHere(1)
    agent.handle(JobWaits(2, 5.0), 0.05)
    agent.slots.limit = 2
    counted = CountOutcome(3, "local", "sooner-here", "there in 6.0 s")
    assert submit(agent, 3, at=0.06) == [counted, RunHere(3)]


def test_a_farm_that_says_nothing_is_waited_for_no_longer_than_it_is_worth() -> None:
    agent = machine()
    submit(agent, 1)
    assert agent.look_again_s is not None
    times = [at / 50 for at in range(1, 100)]
    taken = next(at for at in times if RunHere(1) in agent.handle(Looked(), at))
    assert 0.05 < taken < 0.3  # of a compile of a second
    assert agent.look_again_s is None


def test_the_longest_gain_counts_where_this_machine_is_faster() -> None:
    agent = machine()
    knowing(agent, _1=0.5, _2=8.0, _3=1.0)
    for _ in range(20):
        agent.forecast.ran_here((3,), 0.25)
    agent.handle(CallArrived(9, False, False), 0.0)
    agent.handle(CallIsLocal(9, Reason.NOT_A_COMPILE, ""), 0.0)
    submit(agent, 2, 1)
    agent.handle(JobWaits(1, 1.0), 0.05)
    assert RunHere(2) in agent.handle(CallClosed(9), 0.1)


def test_a_heavy_link_that_waits_for_slots_is_not_overtaken() -> None:
    agent = machine(2)
    agent.handle(CallArrived(1, False, False), 0.0)
    agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, ""), 0.0)
    agent.handle(CallArrived(2, False, False), 0.0)
    agent.handle(CallIsLocal(2, Reason.NOT_A_COMPILE, "", slots=2), 0.0)
    submit(agent, 3)
    assert (
        agent.handle(JobWaits(3, 30.0), 0.1) == []
    )  # one of two slots is free, and meant for the link
    assert agent.handle(CallClosed(1), 0.2) == [ForgetCall(1), RunHere(2)]


@pytest.mark.parametrize("kind", ["is_strict", "is_checked"])
def test_who_wants_the_farm_keeps_it(kind: str) -> None:
    agent = machine()
    submit(agent, 1, **{kind: True})
    assert agent.handle(JobWaits(1, 50.0), 0.1) == []
    agent.handle(JobBegan(1), 50.0)
    assert agent.handle(Looked(), 99.0) == []


def test_a_user_who_forbids_it_has_nothing_taken_back() -> None:
    agent = machine()
    agent.handle(CallArrived(1, False, False, is_forbidden=True), 0.0)
    agent.handle(prepared(1, "scanned", keys=(1,), can_race=True), 0.0)
    assert agent.handle(JobWaits(1, 50.0), 0.1) == []


def test_without_sharing_only_what_the_farm_does_not_do_runs_here() -> None:
    agent = machine(4, is_sharing=False)
    submit(agent, 1)
    assert agent.handle(JobWaits(1, 50.0), 0.1) == []
    assert agent.handle(Looked(), 60.0) == []
    assert agent.look_again_s is None


def test_a_job_that_has_lost_its_node_can_be_taken_back() -> None:
    agent = machine()
    submit(agent, 1)
    agent.handle(JobBegan(1), 0.1)
    assert RunHere(1) in agent.handle(JobWaits(1, 5.0), 0.5)


def test_who_waits_for_a_compiler_to_be_packed_may_have_an_idle_slot() -> None:
    agent = machine()
    agent.handle(CallArrived(1, False, False), 0.0)
    agent.handle(CallArrived(2, False, is_strict=True), 0.0)
    agent.handle(CallArrived(3, False, False), 0.0)
    assert [agent.may_begin_here(call) for call in (1, 2, 3)] == [True, False, True]
    agent.handle(CallIsLocal(1, Reason.SOONER_HERE, ""), 0.0)
    assert not agent.may_begin_here(3)
    agent.handle(CallClosed(1), 0.0)
    assert agent.may_begin_here(3)
    agent.handle(FarmClosed(Reason.BROKER_SILENT), 1.0)
    assert not agent.may_begin_here(3)


# ---- small ones --------------------------------------------------------------------------------


def test_a_compile_that_is_over_before_the_farm_could_answer_stays_here() -> None:
    agent = machine()
    knowing(agent, _1=0.05, _2=0.3)
    small = CountOutcome(1, "local", Reason.SMALL)
    assert submit(agent, 1) == [small, RunHere(1)]
    assert submit(agent, 2) == [SubmitJob(2)]  # no slot is idle, and it is not small


def test_a_small_compile_goes_where_a_slot_is_idle() -> None:
    agent = machine()
    knowing(agent, _1=0.05, _2=0.05)
    assert submit(agent, 1)[-1] == RunHere(1)
    assert submit(agent, 2) == [SubmitJob(2)]


def test_nobody_knows_whether_what_was_never_compiled_is_small() -> None:
    agent = machine()
    knowing(agent, _1=0.01, _3=1.0, _4=1.0)
    assert submit(agent, 2) == [SubmitJob(2)]


# ---- races -------------------------------------------------------------------------------------


def late_one(*, can_race: bool = True, slots: int = 1) -> AgentMachine:
    """Call 1 of a second's compile has begun on the farm a tenth of a second after its Submit."""
    agent = machine(slots)
    knowing(agent, _1=1.0)
    submit(agent, 1, can_race=can_race)
    agent.handle(JobBegan(1), 0.1)
    return agent


def test_what_is_overdue_is_done_here_too_and_the_first_wins() -> None:
    agent = late_one()
    assert agent.handle(Looked(), 1.8) == []
    assert agent.handle(Looked(), 2.0) == [RaceHere(1)]
    agent.validate()
    assert agent.handle(Looked(), 3.0) == []
    won = [CancelJob(1), PlaceResult(1), CountOutcome(1, "local", reason=Reason.RACED)]
    assert agent.handle(RaceWon(1), 3.1) == won
    assert prove(agent, 1, 3.1) == []
    assert agent.handle(CallClosed(1), 3.2) == [ForgetCall(1)]
    agent.validate()


def test_a_result_of_the_farm_ends_the_race() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    counted = CountOutcome(1, "remote", way="scanned")
    assert prove(agent, 1, 2.5) == [StopRace(1), PlaceResult(1), counted]
    assert agent.handle(RaceWon(1), 2.5) == []
    assert agent.handle(CallClosed(1), 2.6) == [ForgetCall(1)]
    agent.validate()


def test_in_the_tail_the_one_that_will_end_last_is_raced() -> None:
    agent = machine(1)
    knowing(agent, _1=2.0, _2=3.0, _3=1.0)
    for _ in range(20):
        agent.forecast.ran_here((3,), 0.3)  # three times as fast as a node
    agent.handle(CallArrived(9, False, False), 0.0)
    agent.handle(CallIsLocal(9, Reason.NOT_A_COMPILE, ""), 0.0)
    submit(agent, 1, 2, 3)
    for call in (1, 2, 3):
        agent.handle(JobBegan(call), 0.01)
    prove(agent, 3, 0.8)
    agent.handle(CallClosed(3), 0.8)
    agent.handle(CallClosed(9), 0.9)
    assert agent.handle(Looked(), 0.95) == []
    assert agent.handle(Looked(), 1.05) == [RaceHere(2)]


def test_nothing_is_raced_while_something_waits() -> None:
    homeward = Homeward(Forecast())
    homeward.sent(1, (1,), True, 0.0)
    homeward.begun(1, 0.1)
    assert homeward.to_race(9.0, is_tail=True) == 1
    homeward.sent(2, (2,), True, 9.0)
    assert homeward.to_race(9.0, is_tail=True) is None
    homeward.begun(2, 9.1)
    assert homeward.to_race(9.1, is_tail=True) == 1


def test_a_race_that_fails_takes_nothing_from_the_farm() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    assert agent.handle(RaceLost(1), 3.0) == []
    agent.validate()
    counted = CountOutcome(1, "remote", way="scanned")
    assert prove(agent, 1, 3.1) == [PlaceResult(1), counted]
    agent.validate()


def test_a_race_that_came_to_nothing_is_not_run_again() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    assert agent.handle(RaceLost(1), 2.1) == []
    agent.validate()
    assert agent.handle(Looked(), 2.5) == []
    # As it cannot be raced it is taken back, when it is late beyond hope.
    assert RunHere(1) in agent.handle(Looked(), 6.0)


def test_what_cannot_be_raced_comes_home_only_when_it_is_late_beyond_hope() -> None:
    agent = late_one(can_race=False)
    assert agent.handle(Looked(), 4.0) == []
    assert agent.handle(Looked(), 5.2) == home(1, 5.1)


def test_a_race_outlives_the_farm() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    counted = CountOutcome(1, "local", reason="broker-silent")
    assert agent.handle(FarmClosed(Reason.BROKER_SILENT), 2.5) == [counted]
    agent.validate()
    assert agent.pending() == [1]
    assert agent.handle(FarmOpened(), 2.6) == []
    assert agent.handle(RaceWon(1), 3.0) == [PlaceResult(1)]


def test_a_race_that_is_lost_without_the_farm_is_a_compile_here() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    agent.handle(JobRefused(1, "no-nodes", ""), 2.5)
    assert agent.handle(RaceLost(1), 3.0) == [RunHere(1)]
    agent.validate()


def test_a_launcher_that_goes_away_stops_both() -> None:
    agent = late_one()
    agent.handle(Looked(), 2.0)
    assert agent.handle(CallClosed(1), 2.1) == [CancelJob(1), StopRace(1), ForgetCall(1)]
    agent.validate()


# ---- whatever happens --------------------------------------------------------------------------


# What ends a call, or has it begin again: it comes seldom, or none would live to be late.
_SELDOM = (
    CallIsLocal, FarmOpened, FarmClosed, JobRefused, PartTaken, PartUnproven, PartFailed, JobWaits,
    CallClosed,
)  # fmt: skip


@dataclass
class World:
    """Launchers, a farm and compilers that do what they may in any order, and what must hold of it."""

    rng: random.Random
    agent: AgentMachine
    now: float = 0.0
    open_calls: set[int] = field(default_factory=set)
    submitted: set[int] = field(default_factory=set)
    racing: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)

    def happen(self, event: Event) -> None:
        if isinstance(event, CallClosed):
            self.open_calls.discard(event.call)
        if isinstance(event, RaceWon | RaceLost):
            self.racing.discard(event.call)
        for effect in self.agent.handle(event, self.now):
            if isinstance(effect, ConfirmResult):
                self.happen(ResultConfirmed(effect.ticket))
            else:
                self.take(effect)
        self.agent.validate()
        assert self.agent.slots.used <= self.agent.slots.limit
        assert len(self.racing) <= self.agent.slots.limit

    def take(self, effect: Effect) -> None:
        match effect:
            case SubmitJob(call):
                assert call not in self.answered
                self.submitted.add(call)
            case CancelJob(call):
                self.submitted.discard(call)
            case RaceHere(call):
                assert call not in self.racing | self.answered
                assert call in self.submitted
                self.racing.add(call)
            case StopRace(call):
                self.racing.discard(call)
            case RunHere(call) | PlaceResult(call) | FailCall(call):
                assert call not in self.answered, "two answers"
                assert call not in self.racing, "two compilers write"
                self.answered.add(call)
            case CountOutcome(call):
                assert call not in self.counted
                self.counted.add(call)
            case ForgetCall(call):
                self.submitted.discard(call)

    def step(self, number: int) -> None:
        self.now += self.rng.choice((0.0, 0.001, 0.02, 0.4, 2.0))
        calls = sorted(self.open_calls)
        local = [call for call in calls if self.agent.calls[call].stage is CallStage.LOCAL]
        if local and self.rng.random() < 0.3:
            self.happen(CallClosed(self.rng.choice(local)))
            return
        if not calls or (len(calls) < 4 and self.rng.random() < 0.2):
            self.open_calls.add(number)
            self.happen(CallArrived(number, False, self.rng.random() < 0.1))
            return
        call = self.rng.choice(calls)
        choices: list[Event] = [
            prepared(call, "scanned", keys=(call % 7,), can_race=self.rng.random() < 0.7),
            CallIsLocal(call, Reason.NOT_A_COMPILE, ""),
            FarmOpened(),
            FarmClosed(Reason.BROKER_SILENT),
            JobRefused(call, "no-nodes", ""),
            PartUnproven(call, Reason.DAMAGED_RESULT, ""),
            PartTaken(call),
            PartUnproven(call, Reason.PROOF, ""),
            PartFailed(call, 1),
            JobWaits(call, self.rng.choice((0.1, 1.0, 20.0))),
            JobBegan(call),
            CallClosed(call),
            Looked(),
            Looked(),
            TimePassed(),
        ]
        raced = sorted(self.racing)
        if raced and self.rng.random() < 0.4:
            call = self.rng.choice(raced)
            choices = [RaceWon(call), RaceLost(call)]
        weights = [1 if isinstance(each, _SELDOM) else 15 for each in choices]
        self.happen(self.rng.choices(choices, weights)[0])


def test_whatever_happens_each_call_has_one_answer_and_no_race_is_forgotten() -> None:
    raced = 0
    for seed in range(300):
        rng = random.Random(seed)
        world = World(rng, machine(rng.randint(1, 3)))
        for number in range(200):
            world.step(number)
            raced += len(world.racing)
        for call in sorted(world.open_calls):
            world.happen(CallClosed(call))
        assert not world.racing
        assert not world.agent.homeward
        assert world.agent.slots.used == world.agent.slots.waiting == 0
    assert raced > 200  # else this has shown nothing


# ---- the forecast ------------------------------------------------------------------------------


def test_a_forecast_follows_what_was_measured() -> None:
    forecast = Forecast()
    assert forecast.cost_s(("a",)) == 0.0
    for _ in range(30):
        forecast.ran_there("a", cpu_s=2.0, wall_s=3.0, trip_s=0.2)
        forecast.ran_here(("a",), 4.0)
    assert forecast.cost_s(("a",)) == 2.0
    assert forecast.there_s(("a",)) == pytest.approx(3.0, rel=0.05)
    assert forecast.here_s(("a",)) == pytest.approx(4.0, rel=0.05)
    assert forecast.here_s(("unknown",)) == pytest.approx(4.0, rel=0.05)
    assert forecast.trip_s == 0.2


def test_a_compile_that_ran_here_alone_is_known_as_well() -> None:
    forecast = Forecast()
    forecast.ran_here(("a",), 5.0)
    assert forecast.cost_s(("a",)) == pytest.approx(5.0)
    assert forecast.cost_s(("a", "b")) == 0.0


def test_one_long_way_of_a_toolchain_does_not_count_as_the_farms_trip() -> None:
    forecast = Forecast()
    for trip_s in (30.0, 0.1, 0.1, 0.1, 0.1, 0.1):
        forecast.ran_there("a", 1.0, 1.0, trip_s)
    assert forecast.trip_s == 0.1
