"""What a watcher keeps of a farm: each table has a bound, and no row costs more for the jobs that are live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zcc.events import (
    BuildShown,
    FarmShown,
    HitServed,
    JobAbandoned,
    JobQueued,
    MemberShown,
    ToolchainShown,
)
from zcc.watching import state as watching
from zcc.watching.state import FarmState
from zcc.watching.views import JobView


class Unwalked(dict[int, JobView]):
    """Jobs that nobody may go over."""

    def values(self) -> Iterator[JobView]:  # type: ignore[override]
        raise AssertionError("a row goes over all live jobs")


def queued(number: int, toolchain: int, build: int = 0) -> JobQueued:
    return JobQueued(
        1, number, "k", 1, build, "a.c", "c", toolchain, 1, True, 1, 1, 1, 1, 0, ""
    )  # fmt: skip


def begun() -> FarmState:
    state = FarmState()
    state.apply(FarmShown(0, "f", "0", 1.0))
    return state


def test_a_toolchain_is_told_to_its_jobs_alone() -> None:
    state = begun()
    for number in (1, 2, 3):
        state.apply(queued(number, 1 + number % 2))
    jobs, state.jobs = state.jobs, Unwalked(state.jobs)
    state.apply(ToolchainShown(2, 2, "d", "gcc"))
    named = {number: job.toolchain.name for number, job in jobs.items() if job.toolchain}
    assert named == {1: "gcc", 3: "gcc"}


def test_tables_are_bounded_and_what_is_live_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_NUMBERED", 10, raising=False)
    monkeypatch.setattr(watching, "MAX_BUILDS", 12)
    state = begun()
    state.apply(BuildShown(1, 1, 0, "live", "h", "live"))
    state.apply(queued(1, 1, 1))
    for number in range(2, 40):
        state.apply(MemberShown(1, number, f"k-{number}", "m", "client"))
        state.apply(ToolchainShown(1, number, "d", "gcc"))
        state.apply(BuildShown(1, number, number, "b", "h", f"b{number}"))
    assert [len(each) for each in (state.members, state.toolchains, state.builds)] == [10, 10, 10]
    assert len(state.known_builds) == 12
    assert {1, 39} <= set(state.builds)
    assert state.builds[1].live
    assert 39 in state.members
    assert 2 not in state.members


def hit(number: int, build: int) -> HitServed:
    return HitServed(number, 0, "k", build, build, f"{number}.c", "c", 0, "n", 1, 1)


def test_what_is_kept_of_builds_is_bounded_over_all_of_them_and_no_member_takes_it_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key answers itself from memory as fast as it asks, in as many builds as it makes up."""
    monkeypatch.setattr(watching, "MAX_PAST_JOBS", 100)
    state = begun()
    for member in (1, 2):
        state.apply(MemberShown(1, member, f"k-{member}", "m", "client"))
    state.apply(BuildShown(1, 1, 1, "mine", "h", "mine"))
    for number in range(20):
        state.apply(hit(number, 1))
    for number in range(2, 102):
        state.apply(BuildShown(1, number, 2, "b", "h", f"b{number}"))
        for at in range(10):
            state.apply(hit(at, number))
            state.apply(queued(at, 1, number))
            state.apply(JobAbandoned(1, at, "cancelled"))
    mine, *others = state.known_builds.values()
    assert [at for at, _ in mine.hits] == [1.0 + number / 1000 for number in range(20)]
    assert sum(len(each.hits) + len(each.past) for each in others) <= 80
    assert len(others[-1].hits) == len(others[-1].past) == 10
    assert [each.counts["hit"] for each in others] == [10] * 100


def test_builds_that_a_member_makes_up_push_out_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "MAX_BUILDS", 10)
    state = begun()
    for member in (1, 2):
        state.apply(MemberShown(1, member, f"k-{member}", "m", "client"))
    for number in range(1, 4):
        state.apply(BuildShown(1, number, 1, "b", "h", f"mine{number}"))
    for number in range(4, 50):
        state.apply(BuildShown(1, number, 2, "b", "h", f"b{number}"))
    owners = [each.owner for each in state.known_builds.values()]
    assert owners == ["k-1"] * 3 + ["k-2"] * 7
    assert "k-2/b49" in state.known_builds
