"""The agent's core: every call ends with outputs or with the local compiler."""

from __future__ import annotations

import random

from zcc.agent.core.effects import (
    CancelJob,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    PlaceResult,
    RunHere,
    SubmitJob,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CallStopped,
    CheckWanted,
    CompileFailed,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobRefused,
    JobWaits,
    RecallRefused,
    ResultProven,
    ResultRecalled,
    ResultUnproven,
    TimePassed,
)
from zcc.agent.core.machine import AgentMachine
from zcc.agent.core.slots import Slots
from zcc.reasons import Reason


def machine(slots: int = 1, is_open: bool = True) -> AgentMachine:
    made = AgentMachine(Slots(slots), remote_timeout_s=100.0)
    if is_open:
        made.handle(FarmOpened(), 0.0)
    return made


def arrive(
    agent: AgentMachine, *calls: int, is_nested: bool = False, is_strict: bool = False
) -> None:
    for call in calls:
        agent.handle(CallArrived(call, is_nested, is_strict), 0.0)


def forbid(agent: AgentMachine, call: int = 1) -> None:
    agent.handle(CallArrived(call, is_nested=False, is_strict=False, is_forbidden=True), 0.0)


def refused(reason: str, detail: str = "") -> list[Effect]:
    why = f"{reason} ({detail})" if detail else reason
    return [
        FailCall(1, f"ZCC_FALLBACK=forbid: this would have run here: {why}"),
        CountOutcome(1, "failed", reason=reason, detail=detail),
    ]


def local(reason: str, detail: str = "", call: int = 1) -> CountOutcome:
    return CountOutcome(call, "local", reason=reason, detail=detail)


def test_a_broker_does_not_choose_for_a_user_who_wants_no_fallback() -> None:
    """Its word may be spelt as a choice of the agent's own."""
    agent = machine()
    agent.handle(CallArrived(1, is_nested=False, is_strict=True), 0.0)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    effects = agent.handle(JobRefused(1, Reason.SMALL.value, ""), 0.0)
    assert isinstance(effects[0], FailCall)


def test_who_forbids_it_has_nothing_run_here_neither_a_link_nor_a_compile_that_failed() -> None:
    agent = machine()
    forbid(agent)
    assert agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, "link"), 0.0) == refused(
        "not-a-compile", "link"
    )
    agent = machine()
    forbid(agent)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    assert agent.handle(CompileFailed(1, 1), 1.0) == refused("compile-error", "exit status 1")


def test_who_forbids_it_has_nothing_compared_here_either() -> None:
    agent = machine()
    forbid(agent)
    agent.handle(CheckWanted(1), 0.0)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    assert agent.handle(ResultProven(1), 1.0)[0] == PlaceResult(1)


def test_a_proven_result_is_placed_and_counted_by_its_way() -> None:
    agent = machine()
    arrive(agent, 1)
    assert agent.handle(CallPrepared(1, "scanned"), 0.0) == [SubmitJob(1)]
    placed = [PlaceResult(1), CountOutcome(1, "remote", way="scanned")]
    assert agent.handle(ResultProven(1), 1.0) == placed
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1)]


def test_without_a_farm_a_compile_runs_here_under_a_slot() -> None:
    agent = machine(is_open=False)
    arrive(agent, 1, 2)
    assert agent.handle(CallPrepared(1, "scanned"), 0.0) == [local("no-farm"), RunHere(1)]
    assert agent.handle(CallPrepared(2, "scanned"), 0.0) == [local("no-farm", call=2)]
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1), RunHere(2)]


def test_a_compile_before_the_first_answer_of_the_broker_waits_for_it() -> None:
    agent = machine(is_open=False)
    agent.is_farm_expected = True
    arrive(agent, 1)
    assert agent.handle(CallPrepared(1, "scanned"), 0.0) == []
    assert agent.handle(FarmOpened(), 0.1) == [SubmitJob(1)]


def test_a_broker_that_never_answers_sends_the_first_compiles_home() -> None:
    agent = machine(is_open=False)
    agent.is_farm_expected = True
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    assert agent.handle(FarmClosed(Reason.BROKER_SILENT), 3.0) == [
        local("broker-silent"),
        RunHere(1),
    ]


def test_local_calls_have_their_slots_in_the_order_of_their_arrival() -> None:
    agent = machine()
    arrive(agent, 1, 2, 3)
    for call in (1, 2, 3):
        agent.handle(CallIsLocal(call, Reason.NOT_A_COMPILE, ""), 0.0)
    assert agent.handle(CallClosed(2), 0.0) == [ForgetCall(2)]
    assert agent.handle(CallClosed(1), 0.0) == [ForgetCall(1), RunHere(3)]


def test_a_compiler_that_is_stopped_makes_way_once() -> None:
    agent = machine()
    arrive(agent, 1, 2, 3)
    for call in (1, 2, 3):
        agent.handle(CallIsLocal(call, Reason.NOT_A_COMPILE, ""), 0.0)
    assert agent.running_here() == [1]
    assert agent.handle(CallStopped(1), 1.0) == [RunHere(2)]
    assert agent.handle(CallStopped(1), 2.0) == []
    assert agent.handle(CallStopped(3), 2.0) == []  # it waits
    agent.validate()
    assert agent.running_here() == [2]
    assert agent.handle(CallClosed(1), 3.0) == [ForgetCall(1)]  # it went on, over the number
    assert agent.handle(CallClosed(2), 4.0) == [ForgetCall(2), RunHere(3)]


def test_two_heavy_links_do_not_overlap_and_others_wait_behind() -> None:
    agent = machine(slots=4)
    arrive(agent, 1, 2, 3, 4)
    assert agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, "", slots=4), 0.0)[-1] == RunHere(1)
    for call, slots in ((2, 99), (3, 1), (4, 1)):
        assert len(agent.handle(CallIsLocal(call, Reason.NOT_A_COMPILE, "", slots), 0.0)) == 1
        agent.validate()
    assert agent.handle(CallClosed(1), 0.0) == [ForgetCall(1), RunHere(2)]
    agent.validate()
    assert agent.handle(CallClosed(2), 0.0) == [ForgetCall(2), RunHere(3), RunHere(4)]


def test_a_heavy_link_waits_until_as_many_slots_are_free_as_it_takes() -> None:
    agent = machine(slots=4)
    arrive(agent, 1, 2, 3, 4)
    for call in (1, 2):
        agent.handle(CallIsLocal(call, Reason.NOT_A_COMPILE, ""), 0.0)
    agent.handle(CallIsLocal(3, Reason.NOT_A_COMPILE, "", slots=3), 0.0)
    agent.handle(CallIsLocal(4, Reason.NOT_A_COMPILE, ""), 0.0)
    assert agent.handle(CallClosed(2), 0.0) == [ForgetCall(2), RunHere(3)]
    assert agent.handle(CallClosed(1), 0.0) == [ForgetCall(1), RunHere(4)]
    assert agent.slots.used == 4


def test_a_heavy_link_that_gives_up_waiting_holds_nobody_back() -> None:
    agent = machine(slots=2)
    arrive(agent, 1, 2, 3)
    agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, ""), 0.0)
    agent.handle(CallIsLocal(2, Reason.NOT_A_COMPILE, "", slots=2), 0.0)
    agent.handle(CallIsLocal(3, Reason.NOT_A_COMPILE, ""), 0.0)
    assert agent.handle(CallClosed(2), 0.0) == [ForgetCall(2), RunHere(3)]


def test_a_call_from_inside_another_never_waits() -> None:
    agent = machine()
    arrive(agent, 1)
    arrive(agent, 2, is_nested=True)
    agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, ""), 0.0)
    inner = agent.handle(CallIsLocal(2, Reason.NOT_A_COMPILE, ""), 0.0)
    assert inner[-1] == RunHere(2)


def test_an_error_is_repeated_here_even_in_strict_mode() -> None:
    agent = machine()
    arrive(agent, 1, is_strict=True)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    counted = local("compile-error", "exit status 1")
    assert agent.handle(CompileFailed(1, 1), 0.0) == [counted, RunHere(1)]


def test_a_failed_proof_is_compiled_here() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    effects = agent.handle(ResultUnproven(1, Reason.PROOF, "/p/x.h"), 0.0)
    assert effects == [local("proof", "/p/x.h"), RunHere(1)]


def test_strict_mode_names_the_reason_instead_of_falling_back() -> None:
    agent = machine(is_open=False)
    arrive(agent, 1, is_strict=True)
    message = "ZCC_FALLBACK=never: this compile would have run locally: no-farm"
    failed = [FailCall(1, message), CountOutcome(1, "failed", reason="no-farm")]
    assert agent.handle(CallPrepared(1, "scanned"), 0.0) == failed


def test_strict_mode_lets_a_link_pass() -> None:
    agent = machine()
    arrive(agent, 1, is_strict=True)
    assert agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, ""), 0.0)[-1] == RunHere(1)


def test_a_lost_farm_sends_every_remote_call_home() -> None:
    agent = machine(slots=2)
    arrive(agent, 1, 2, 3)
    for call in (1, 2, 3):
        agent.handle(CallPrepared(call, "scanned"), 0.0)
    effects = agent.handle(FarmClosed(Reason.BROKER_SILENT), 5.0)
    assert [effect for effect in effects if isinstance(effect, RunHere)] == [RunHere(1), RunHere(2)]
    assert agent.handle(ResultProven(3), 6.0) == []  # too late: it waits for its slot


def test_a_launcher_that_goes_away_cancels_its_job() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "listed"), 0.0)
    assert agent.handle(CallClosed(1), 1.0) == [CancelJob(1), ForgetCall(1)]
    assert agent.handle(ResultProven(1), 2.0) == []


def test_a_job_that_takes_too_long_is_cancelled_and_done_here() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    assert agent.handle(TimePassed(), 99.0) == []
    assert agent.handle(TimePassed(), 101.0) == [CancelJob(1), local("remote-timeout"), RunHere(1)]


def test_what_a_job_waits_for_its_start_takes_nothing_from_its_time() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    agent.handle(JobWaits(1, 250.0), 1.0)
    assert agent.handle(TimePassed(), 300.0) == []
    agent.handle(JobBegan(1), 300.0)
    assert agent.handle(TimePassed(), 399.0) == []
    assert agent.handle(TimePassed(), 401.0) == [CancelJob(1), local("remote-timeout"), RunHere(1)]


def test_whatever_happens_slots_are_kept_and_no_call_is_lost() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        agent = machine(slots=rng.randint(1, 3), is_open=rng.random() < 0.5)
        alive: set[int] = set()
        for step in range(120):
            agent.handle(_random_event(rng, step, alive), float(step))
            agent.validate()
        for call in sorted(alive):
            agent.handle(CallClosed(call), 200.0)
            agent.validate()
        assert not agent.calls
        assert agent.slots.used == agent.slots.waiting == 0


def _random_event(rng: random.Random, step: int, alive: set[int]) -> Event:
    if not alive or rng.random() < 0.3:
        alive.add(step)
        return CallArrived(step, rng.random() < 0.1, rng.random() < 0.1)
    call = rng.choice(sorted(alive))
    kind = rng.randrange(10)
    if kind == 0:
        alive.discard(call)
        return CallClosed(call)
    return (
        CallPrepared(call, "scanned"),
        CallIsLocal(call, Reason.NOT_A_COMPILE, ""),
        FarmOpened(),
        FarmClosed(Reason.BROKER_SILENT),
        JobRefused(call, "no-nodes", ""),
        ResultProven(call),
        CompileFailed(call, 1),
        CallStopped(call),
        TimePassed(),
    )[kind - 1]


def test_a_recalled_result_is_placed_without_a_farm() -> None:
    agent = machine(is_open=False)
    arrive(agent, 1)
    placed = [PlaceResult(1), CountOutcome(1, "local_hit", way="scanned")]
    assert agent.handle(ResultRecalled(1, "scanned"), 0.0) == placed
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1)]


def test_what_the_farm_remembered_is_counted_as_a_shared_hit() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    placed = [PlaceResult(1), CountOutcome(1, "shared_hit", way="scanned")]
    assert agent.handle(ResultProven(1, is_recalled=True), 1.0) == placed


def test_a_memory_of_the_farm_that_does_not_hold_here_is_compiled_anew_once() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    refused = RecallRefused(1, Reason.PROOF, "/a.h")
    assert agent.handle(refused, 1.0) == [SubmitJob(1, is_fresh=True)]
    assert agent.handle(FarmOpened(), 2.0) == [SubmitJob(1, is_fresh=True)]
    assert agent.handle(refused, 3.0) == [local("proof", "/a.h"), RunHere(1)]


def test_who_wants_no_memory_submits_afresh() -> None:
    agent = machine()
    arrive(agent, 1)
    assert agent.handle(CallPrepared(1, "scanned", is_fresh=True), 0.0) == [
        SubmitJob(1, is_fresh=True)
    ]


def test_a_call_that_is_to_be_checked_runs_here_whatever_came() -> None:
    agent = machine(slots=2)
    arrive(agent, 1, 2, is_strict=True)
    agent.handle(CheckWanted(1), 0.0)
    agent.handle(CheckWanted(2), 0.0)
    agent.handle(CallPrepared(1, "scanned"), 0.0)
    assert agent.handle(ResultProven(1), 1.0) == [local(Reason.VERIFY), RunHere(1)]
    assert agent.handle(ResultRecalled(2, "scanned"), 1.0) == [
        local(Reason.VERIFY, call=2),
        RunHere(2),
    ]
    agent.validate()
