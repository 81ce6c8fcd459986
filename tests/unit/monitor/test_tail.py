"""What held up the end of a build: which compiles, why each, and what would have helped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zcc.watching.tail import Compile, Tail, find_tail, sentences

SLOTS = 4


def compiled(
    name: str, started_s: float, took_s: float, *, queued_s: float | None = None, **more: Any
) -> Compile:
    queued = round(1000 * (started_s if queued_s is None else queued_s))
    began, took = round(1000 * started_s), round(1000 * took_s)
    made = Compile(name, "n", queued, began, began + took, took, 0, 0, 0, 1.0, 1.0)
    return replace(made, **more)


def steady(seconds: int) -> list[Compile]:
    """All slots at work, with compiles of a second each."""
    return [compiled(f"{at}-{slot}", at, 1) for at in range(seconds) for slot in range(SLOTS)]


def the_tail(*more: Compile, seconds: int = 20) -> Tail:
    found = find_tail([*steady(seconds), *more])
    assert found is not None
    return found


def test_compiles_that_end_together_leave_no_tail() -> None:
    assert find_tail([]) is None
    assert find_tail(steady(20)) is None
    assert find_tail([*steady(20), compiled("short", 20, 0.9)]) is None


def test_the_end_is_held_up_by_all_that_ran_when_the_slots_fell_idle_and_by_no_others() -> None:
    """Two of four slots end late: spread over all four, what is left would have taken 5 s."""
    tail = the_tail(compiled("a.cc", 20, 10), compiled("b.cc", 20, 9), compiled("c.cc", 20, 1))
    assert [each.file for each in tail.holders] == ["a.cc", "b.cc"]
    assert (tail.slots, tail.at_most) == (4, 2)
    assert (tail.began_ms, tail.ended_ms) == (21_000, 30_000)
    assert tail.even_ms == 21_000 + (9_000 + 8_000) // 4
    assert tail.lost_ms == tail.holders[0].late_ms == 4_750


def test_a_moment_with_many_at_once_is_not_how_many_slots_a_build_has() -> None:
    many = [compiled(f"m{number}", 3, 0.1) for number in range(40)]
    assert the_tail(compiled("a.cc", 20, 10), *many).slots == SLOTS


def test_on_a_slow_node_it_is_the_node() -> None:
    tail = the_tail(compiled("a.cc", 18, 12, rate=6.0, fastest=1.0, node="yew"))
    (holder,) = tail.holders
    assert (holder.why, holder.node, holder.on_fastest_ms) == ("slow-node", "yew", 2_000)
    assert tail.helps == (("slow-node", tail.lost_ms),)
    told = sentences(tail)
    assert "a.cc on yew" in told[1]
    assert "that node took 12.0 s, the fastest would have taken 2.0 s" in told[1]
    assert told[-1] == f"What would have helped: the fastest node ({tail.lost_ms / 1000} s sooner)."


def test_what_waited_for_a_slot_says_so() -> None:
    tail = the_tail(compiled("a.cc", 20, 8, queued_s=10, queue_ms=10_000))
    (holder,) = tail.holders
    assert holder.why == "waited"
    assert "it waited" in sentences(tail)[1]


def test_inputs_and_fetches_are_told_apart() -> None:
    late = {"queued_s": 10, "started_s": 20, "took_s": 8}
    assert the_tail(compiled("a.cc", **late, send_ms=10_000)).holders[0].why == "inputs"
    assert the_tail(compiled("a.cc", **late, fetch_ms=10_000)).holders[0].why == "fetch"


def test_a_compile_that_came_late_could_have_been_begun_sooner() -> None:
    tail = the_tail(compiled("last.cc", 20, 8))
    (holder,) = tail.holders
    assert (holder.why, holder.came_after_ms) == ("came-late", 20_000)
    assert tail.helps == (("came-late", tail.lost_ms),)
    assert "the build came to it 20.0 s after its beginning" in sentences(tail)[1]


def test_a_compile_that_is_longer_than_all_the_rest_is_long_wherever_it_runs() -> None:
    tail = the_tail(compiled("all.cc", 0, 40), seconds=4)
    assert [each.why for each in tail.holders] == ["long"]
    assert "smaller sources" in sentences(tail)[-1]


def test_where_two_are_late_for_different_reasons_no_one_thing_helps_fully() -> None:
    tail = the_tail(
        compiled("slow.cc", 18, 12, rate=12.0, fastest=1.0), compiled("late.cc", 20, 10)
    )
    assert {each.file: each.why for each in tail.holders} == {
        "slow.cc": "slow-node",
        "late.cc": "came-late",
    }
    assert tail.helps == ()
    assert "different reasons" in sentences(tail)[-1]


def test_of_many_the_last_are_listed_and_the_others_counted() -> None:
    many = [compiled(f"a{number}", 20, 10 + number / 100) for number in range(2)]
    wide = [compiled(f"{at}={slot}", at, 1) for at in range(20) for slot in range(100)]
    wide += [compiled(f"w{number}", 20, 10 + number / 100) for number in range(30)]
    found = find_tail([*wide, *many])
    assert found is not None
    assert len(found.holders) + found.left_out == 32
    assert len(found.holders) == 20
    assert "So did 29 more." in sentences(found)
