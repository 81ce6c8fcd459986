"""Commands that came to nothing on the farm again and again stay here, for a while."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from zcc.agent.analysis.outcome import Here
from zcc.agent.launchers.wire import Request
from zcc.agent.results.refusals import MAX_COMMANDS, TRY_AGAIN_S, Refusals
from zcc.reasons import Reason


def command(name: bytes, cwd: bytes = b"/src") -> Request:
    return cast(Request, SimpleNamespace(argv=(b"gcc", b"-c", name), cwd=cwd))


def test_the_second_refusal_for_one_cause_keeps_a_command_here() -> None:
    refusals = Refusals()
    refusals.refused(command(b"a.c"), Reason.PROOF, "/src/q.h", 0.0)
    assert refusals.why_here(command(b"a.c"), 1.0) is None
    refusals.refused(command(b"a.c"), Reason.PROOF, "/src/q.h", 1.0)
    assert refusals.why_here(command(b"a.c"), 2.0) == Here(Reason.PROOF, "/src/q.h")
    assert refusals.why_here(command(b"b.c"), 2.0) is None
    assert refusals.why_here(command(b"a.c", b"/elsewhere"), 2.0) is None


def test_two_causes_are_no_habit() -> None:
    refusals = Refusals()
    refusals.refused(command(b"a.c"), Reason.PROOF, "/src/q.h", 0.0)
    refusals.refused(command(b"a.c"), Reason.PROOF, "/src/r.h", 1.0)
    assert refusals.why_here(command(b"a.c"), 2.0) is None


def test_it_is_tried_again_after_a_while_and_a_good_result_clears_it() -> None:
    refusals = Refusals()
    for now in (0.0, 1.0):
        refusals.refused(command(b"a.c"), Reason.PROOF, "/src/q.h", now)
    assert refusals.why_here(command(b"a.c"), TRY_AGAIN_S) is not None
    assert refusals.why_here(command(b"a.c"), 1.0 + TRY_AGAIN_S) is None
    refusals.taken(command(b"a.c"))
    refusals.refused(command(b"a.c"), Reason.PROOF, "/src/q.h", 2 * TRY_AGAIN_S)
    assert refusals.why_here(command(b"a.c"), 2 * TRY_AGAIN_S) is None


def test_the_oldest_are_forgotten() -> None:
    refusals = Refusals()
    for _ in range(2):
        refusals.refused(command(b"first.c"), Reason.PROOF, "x", 0.0)
    for number in range(MAX_COMMANDS):
        refusals.refused(command(b"%d.c" % number), Reason.PROOF, "x", 0.0)
    assert refusals.why_here(command(b"first.c"), 0.0) is None


def test_a_job_that_the_farm_calls_wrong_is_sent_once() -> None:
    refusals = Refusals()
    refusals.refused(command(b"a.c"), Reason.JOB_REFUSED, "no such program", 0.0, is_clear=True)
    assert refusals.why_here(command(b"a.c"), 1.0) == Here(Reason.JOB_REFUSED, "no such program")
    assert refusals.why_here(command(b"a.c"), TRY_AGAIN_S) is None
