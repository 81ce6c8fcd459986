"""A compile that failed on the farm and succeeded here is a bug; one whose output another wrote is none."""

from __future__ import annotations

from tests.support.agent_world import prepared
from zcc.agent.core.discrepancy import RECENT_S, LocalRun, has_succeeded
from zcc.agent.core.effects import (
    CompareResult,
    CountDiscrepancy,
    Effect,
    ForgetCall,
    RunHere,
)
from zcc.agent.core.events import (
    CallArrived,
    CallClosed,
    CallStopped,
    CheckWanted,
    FarmOpened,
    PartFailed,
    ResultRecalled,
)
from zcc.agent.core.machine import AgentMachine
from zcc.agent.core.slots import Slots

BEGUN_NS = 1_600_000_000_000_000_000
RECENT_NS = int(RECENT_S * 1e9)
GOOD = LocalRun(BEGUN_NS + 2, BEGUN_NS, BEGUN_NS + 3)


def test_an_output_written_right_before_the_end_is_this_compile_s() -> None:
    ended_ns = BEGUN_NS + 60 * 1_000_000_000
    assert has_succeeded(LocalRun(ended_ns - RECENT_NS // 2, BEGUN_NS, ended_ns))
    assert not has_succeeded(LocalRun(ended_ns - RECENT_NS // 2, BEGUN_NS, ended_ns, True))


def test_an_output_of_before_is_none() -> None:
    assert not has_succeeded(LocalRun(BEGUN_NS - RECENT_NS, BEGUN_NS, BEGUN_NS + 1))
    assert not has_succeeded(LocalRun(None, BEGUN_NS, BEGUN_NS + 1))


def test_an_agent_that_hears_of_the_end_late_says_nothing() -> None:
    """Meanwhile the next compile has written the same output."""
    written_ns = BEGUN_NS + 1_000_000_000
    assert not has_succeeded(LocalRun(written_ns, BEGUN_NS, written_ns + 2 * RECENT_NS))


# ---- which compiles are compared ---------------------------------------------------------------


def agent_with(*, is_checked: bool = False) -> AgentMachine:
    agent = AgentMachine(Slots(1), remote_timeout_s=100.0)
    agent.handle(FarmOpened(), 0.0)
    agent.handle(CallArrived(1, False, False), 0.0)
    if is_checked:
        agent.handle(CheckWanted(1), 0.0)
    return agent


def failed_there(agent: AgentMachine) -> list[Effect]:
    agent.handle(prepared(1), 0.0)
    return agent.handle(PartFailed(1, 4), 1.0)


def test_what_failed_there_and_succeeded_here_is_counted() -> None:
    agent = agent_with()
    assert failed_there(agent)[-1] == RunHere(1, is_compared=True)
    assert agent.awaited(1) == 1
    closed = agent.handle(CallClosed(1, GOOD), 2.0)
    assert closed == [CountDiscrepancy(1, 4), ForgetCall(1)]


def test_what_failed_on_both_is_none_nor_is_what_left_nothing_to_see() -> None:
    for run in (None, LocalRun(None, BEGUN_NS, BEGUN_NS + 3)):
        agent = agent_with()
        failed_there(agent)
        assert agent.handle(CallClosed(1, run), 2.0) == [ForgetCall(1)]


def test_a_compiler_that_never_began_confirms_nothing() -> None:
    agent = agent_with()
    agent.handle(CallArrived(2, False, False), 0.0)
    agent.slots.take(2)
    assert RunHere(1, is_compared=True) not in failed_there(agent)
    assert agent.handle(CallClosed(1, GOOD), 2.0) == [ForgetCall(1)]


def test_a_check_is_compared_when_its_compiler_has_ended_and_was_stopped_or_not() -> None:
    for is_stopped in (False, True):
        agent = agent_with(is_checked=True)
        begun = agent.handle(ResultRecalled(1, "scanned"), 0.0)
        assert begun[-1] == RunHere(1, is_compared=True)
        if is_stopped:
            agent.handle(CallStopped(1), 1.0)
        assert agent.handle(CallClosed(1), 2.0) == [CompareResult(1), ForgetCall(1)]


def test_a_check_of_what_failed_there_is_a_question_of_verdicts() -> None:
    agent = agent_with(is_checked=True)
    failed_there(agent)
    closed = agent.handle(CallClosed(1, GOOD), 2.0)
    assert closed == [CountDiscrepancy(1, 4), ForgetCall(1)]
