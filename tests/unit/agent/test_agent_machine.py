"""The agent's core: every call ends with outputs or with the local compiler."""

from __future__ import annotations

import random

from tests.support.agent_world import prepared, prove
from zcc.agent.core.effects import (
    CancelJob,
    CompileInPlace,
    ConfirmResult,
    CountOutcome,
    Effect,
    FailCall,
    ForgetCall,
    ForgetRefusals,
    NoteRefusal,
    PlaceResult,
    RunHere,
    SubmitJob,
    VoidResult,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallIsLocal,
    CallPrepared,
    CallStopped,
    CheckWanted,
    Event,
    FarmClosed,
    FarmOpened,
    JobBegan,
    JobRefused,
    JobWaits,
    PartFailed,
    PartPrepared,
    PartTaken,
    PartUnproven,
    ResultConfirmed,
    ResultRecalled,
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
    agent.handle(prepared(1, "scanned"), 0.0)
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
    agent.handle(prepared(1, "scanned"), 0.0)
    assert agent.handle(PartFailed(1, 1), 1.0) == refused("compile-error", "exit status 1")


def test_who_forbids_it_has_nothing_compared_here_either() -> None:
    agent = machine()
    forbid(agent)
    agent.handle(CheckWanted(1), 0.0)
    agent.handle(prepared(1, "scanned"), 0.0)
    assert prove(agent, 1, 1.0)[0] == PlaceResult(1)


def test_a_proven_result_is_placed_and_counted_by_its_way() -> None:
    agent = machine()
    arrive(agent, 1)
    assert agent.handle(prepared(1, "scanned"), 0.0) == [SubmitJob(1)]
    placed = [PlaceResult(1), CountOutcome(1, "remote", way="scanned")]
    assert prove(agent, 1, 1.0) == placed
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1)]


def test_without_a_farm_a_compile_runs_here_under_a_slot() -> None:
    agent = machine(is_open=False)
    arrive(agent, 1, 2)
    assert agent.handle(prepared(1, "scanned"), 0.0) == [local("no-farm"), RunHere(1)]
    assert agent.handle(prepared(2, "scanned"), 0.0) == [local("no-farm", call=2)]
    assert agent.handle(CallClosed(1), 1.0) == [ForgetCall(1), RunHere(2)]


def test_a_compile_before_the_first_answer_of_the_broker_waits_for_it() -> None:
    agent = machine(is_open=False)
    agent.is_farm_expected = True
    arrive(agent, 1)
    assert agent.handle(prepared(1, "scanned"), 0.0) == []
    assert agent.handle(FarmOpened(), 0.1) == [SubmitJob(1)]


def test_a_broker_that_never_answers_sends_the_first_compiles_home() -> None:
    agent = machine(is_open=False)
    agent.is_farm_expected = True
    arrive(agent, 1)
    agent.handle(prepared(1, "scanned"), 0.0)
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
    agent.handle(prepared(1, "scanned"), 0.0)
    counted = local("compile-error", "exit status 1")
    assert agent.handle(PartFailed(1, 1), 0.0) == [counted, RunHere(1, is_compared=True)]


def test_a_failed_proof_is_compiled_here() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1, "scanned"), 0.0)
    effects = agent.handle(PartUnproven(1, Reason.PROOF, "/p/x.h"), 0.0)
    assert effects == [
        VoidResult(1, unproven="/p/x.h"),
        NoteRefusal(1, Reason.PROOF, "/p/x.h"),
        local("proof", "/p/x.h"),
        RunHere(1),
    ]


def test_strict_mode_names_the_reason_instead_of_falling_back() -> None:
    agent = machine(is_open=False)
    arrive(agent, 1, is_strict=True)
    message = "ZCC_FALLBACK=never: this compile would have run locally: no-farm"
    failed = [FailCall(1, message), CountOutcome(1, "failed", reason="no-farm")]
    assert agent.handle(prepared(1, "scanned"), 0.0) == failed


def test_strict_mode_lets_a_link_pass() -> None:
    agent = machine()
    arrive(agent, 1, is_strict=True)
    assert agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, ""), 0.0)[-1] == RunHere(1)


def test_a_lost_farm_sends_every_remote_call_home() -> None:
    agent = machine(slots=2)
    arrive(agent, 1, 2, 3)
    for call in (1, 2, 3):
        agent.handle(prepared(call, "scanned"), 0.0)
    effects = agent.handle(FarmClosed(Reason.BROKER_SILENT), 5.0)
    assert [effect for effect in effects if isinstance(effect, RunHere)] == [RunHere(1), RunHere(2)]
    assert prove(agent, 3, 6.0) == []  # too late: it waits for its slot


def test_a_launcher_that_goes_away_cancels_its_job() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1, "listed"), 0.0)
    assert agent.handle(CallClosed(1), 1.0) == [CancelJob(1), ForgetCall(1)]
    assert prove(agent, 1, 2.0) == []


def test_a_job_that_takes_too_long_is_cancelled_and_done_here() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1, "scanned"), 0.0)
    assert agent.handle(TimePassed(), 99.0) == []
    assert agent.handle(TimePassed(), 101.0) == [CancelJob(1), local("remote-timeout"), RunHere(1)]


def test_what_a_job_waits_for_its_start_takes_nothing_from_its_time() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1, "scanned"), 0.0)
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
        prepared(call, "scanned"),
        CallIsLocal(call, Reason.NOT_A_COMPILE, ""),
        FarmOpened(),
        FarmClosed(Reason.BROKER_SILENT),
        JobRefused(call, "no-nodes", ""),
        PartTaken(call),
        PartFailed(call, 1),
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
    agent.handle(prepared(1, "scanned"), 0.0)
    placed = [PlaceResult(1), CountOutcome(1, "shared_hit", way="scanned")]
    assert prove(agent, 1, 1.0, is_recalled=True) == placed


def test_a_memory_of_the_farm_that_does_not_hold_here_is_compiled_anew_once() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1, "scanned"), 0.0)
    refused, void = PartUnproven(1, Reason.PROOF, "/a.h", is_recalled=True), VoidResult(1, True)
    assert agent.handle(refused, 1.0) == [void, SubmitJob(1, is_fresh=True)]
    assert agent.handle(FarmOpened(), 2.0) == [SubmitJob(1, is_fresh=True)]
    assert agent.handle(refused, 3.0) == [void, local("proof", "/a.h"), RunHere(1)]


def test_who_wants_no_memory_submits_afresh() -> None:
    agent = machine()
    arrive(agent, 1)
    assert agent.handle(prepared(1, "scanned", is_fresh=True), 0.0) == [SubmitJob(1, is_fresh=True)]


def test_a_call_that_is_to_be_checked_runs_here_whatever_came() -> None:
    agent = machine(slots=2)
    arrive(agent, 1, 2, is_strict=True)
    agent.handle(CheckWanted(1), 0.0)
    agent.handle(CheckWanted(2), 0.0)
    agent.handle(prepared(1, "scanned"), 0.0)
    assert prove(agent, 1, 1.0) == [local(Reason.VERIFY), RunHere(1, is_compared=True)]
    assert agent.handle(ResultRecalled(2, "scanned"), 1.0) == [
        local(Reason.VERIFY, call=2),
        RunHere(2, is_compared=True),
    ]
    agent.validate()


# ---- parts of a command, and second chances ----------------------------------------------------

FIRST, SECOND = 1, 1 << 61


def two_parts(*, is_moved: bool = False, is_known: bool = False) -> AgentMachine:
    """A command of two sources, under way; `is_known`: this machine remembers the second's result."""
    agent = machine()
    arrive(agent, 1)
    parts = (PartPrepared(FIRST, is_moved=is_moved), PartPrepared(SECOND, is_known))
    open_tickets = [FIRST] if is_known else [FIRST, SECOND]
    submitted = agent.handle(CallPrepared(1, "scanned", parts), 0.0)
    assert submitted == [SubmitJob(ticket) for ticket in open_tickets]
    return agent


def home(reason: Reason, detail: str = "") -> list[Effect]:
    return [local(reason, detail), RunHere(1)]


def test_a_command_of_several_sources_is_placed_when_all_have_come_and_hold() -> None:
    agent = two_parts()
    assert agent.handle(PartTaken(SECOND), 1.0) == []
    assert agent.handle(PartTaken(FIRST, is_recalled=True), 2.0) == [ConfirmResult(FIRST)]
    placed = [PlaceResult(1), CountOutcome(1, "remote", way="scanned")]
    assert agent.handle(ResultConfirmed(FIRST), 2.0) == [ForgetRefusals(1), *placed]


def test_it_is_a_hit_of_the_farms_where_all_were_remembered_here_or_there() -> None:
    agent = two_parts(is_known=True)
    assert agent.handle(PartTaken(FIRST, is_recalled=True), 1.0) == [ConfirmResult(FIRST)]
    counted = agent.handle(ResultConfirmed(FIRST), 1.0)[-1]
    assert counted == CountOutcome(1, "shared_hit", way="scanned")


def test_what_does_not_hold_any_more_when_the_last_has_come_is_compiled_here() -> None:
    agent = two_parts()
    agent.handle(PartTaken(FIRST), 1.0)
    agent.handle(PartTaken(SECOND), 9.0)
    gone = PartUnproven(SECOND, Reason.INPUTS_CHANGED, "/p/x.h")
    assert agent.handle(gone, 9.0) == home(Reason.INPUTS_CHANGED, "/p/x.h")


def test_the_others_are_called_off_where_one_comes_to_nothing() -> None:
    assert two_parts().handle(PartFailed(FIRST, 1), 1.0)[0] == CancelJob(SECOND)
    assert two_parts().handle(JobRefused(SECOND, "no-nodes", ""), 1.0) == [
        CancelJob(FIRST),
        *[local("no-nodes"), RunHere(1)],
    ]
    proof = PartUnproven(FIRST, Reason.PROOF, "/p/x.h")
    assert two_parts().handle(proof, 1.0)[0] == CancelJob(SECOND)
    assert two_parts().handle(CallClosed(1), 1.0) == [
        CancelJob(FIRST),
        CancelJob(SECOND),
        ForgetCall(1),
    ]


def test_one_that_has_come_is_not_called_off() -> None:
    agent = two_parts()
    agent.handle(PartTaken(SECOND), 0.5)
    assert not [
        each for each in agent.handle(PartFailed(FIRST, 1), 1.0) if isinstance(each, CancelJob)
    ]


def test_a_command_whose_job_is_wrong_is_known_to_be_so_at_once() -> None:
    agent = two_parts()
    wrong = agent.handle(JobRefused(FIRST, Reason.JOB_REFUSED.value, "no such place"), 1.0)
    assert NoteRefusal(1, Reason.JOB_REFUSED, "no such place", is_clear=True) in wrong


def test_what_was_moved_is_compiled_in_its_own_place_once() -> None:
    agent = two_parts(is_moved=True)
    named = PartUnproven(FIRST, Reason.TEMPORARY_NAME, "/p/a.s")
    assert agent.handle(named, 1.0) == [
        CancelJob(SECOND),
        VoidResult(FIRST),
        CompileInPlace(FIRST),
        SubmitJob(FIRST, is_fresh=True),
        SubmitJob(SECOND, is_fresh=True),
    ]
    assert agent.handle(named, 2.0) == [
        CancelJob(SECOND),
        VoidResult(FIRST),
        NoteRefusal(1, Reason.TEMPORARY_NAME, "/p/a.s"),
        *home(Reason.TEMPORARY_NAME, "/p/a.s"),
    ]


def test_a_proof_that_fails_under_neutral_names_is_no_bug_of_the_scanners() -> None:
    agent = two_parts(is_moved=True)
    assert VoidResult(FIRST) in agent.handle(PartUnproven(FIRST, Reason.PROOF, "/x.h"), 1.0)


def test_what_came_damaged_is_asked_for_anew_and_says_nothing_of_the_command() -> None:
    agent = machine()
    arrive(agent, 1)
    agent.handle(prepared(1), 0.0)
    damaged = PartUnproven(1, Reason.DAMAGED_RESULT, "short")
    assert agent.handle(damaged, 1.0) == [VoidResult(1), SubmitJob(1, is_fresh=True)]
    assert agent.handle(damaged, 2.0) == [VoidResult(1), *home(Reason.DAMAGED_RESULT, "short")]


def test_what_a_plugin_does_is_tried_no_second_time() -> None:
    agent = two_parts(is_moved=True)
    assert agent.handle(PartUnproven(FIRST, Reason.PLUGIN, "/x"), 1.0) == [
        CancelJob(SECOND),
        NoteRefusal(1, Reason.PLUGIN, "/x"),
        *home(Reason.PLUGIN, "/x"),
    ]


def test_a_result_that_comes_when_the_call_is_over_moves_nothing() -> None:
    agent = two_parts()
    agent.handle(CallClosed(1), 1.0)
    assert agent.handle(PartTaken(FIRST), 2.0) == []
    assert agent.handle(JobBegan(SECOND), 2.0) == []
    agent.validate()


def test_an_idle_slot_takes_no_result_away_that_is_about_to_be_confirmed() -> None:
    agent = AgentMachine(Slots(2), remote_timeout_s=100.0, is_sharing=True)
    agent.handle(FarmOpened(), 0.0)
    arrive(agent, 1)
    agent.handle(CallIsLocal(1, Reason.NOT_A_COMPILE, "", slots=2), 0.0)
    arrive(agent, 2)
    for _ in range(20):
        agent.forecast.ran_there("key", 0.1, 0.1, 0.1)
    agent.handle(prepared(2, keys=("key",)), 0.0)
    agent.slots.release(1)  # as if it had just ended
    assert agent.handle(PartTaken(2), 60.0) == [ConfirmResult(2)]
    assert agent.handle(ResultConfirmed(2), 60.0)[1] == PlaceResult(2)
