"""The page's state and the watchers' state are made of the same events: they have to be the same."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_farm, watched_farm
from tests.support.page_modules import lay_out, run_node
from zcc.events import (
    AgentCounted,
    BuildShown,
    FarmEvent,
    FarmShown,
    HitServed,
    JobAbandoned,
    JobFinished,
    JobJoined,
    JobLeased,
    JobQueued,
    LeaseLost,
    MemberShown,
    NodeLeft,
    RequestLeft,
    RequestRefused,
    ToolchainShown,
    row_of,
)
from zcc.monitor.broadcast import FIELDS
from zcc.watching import state as watching
from zcc.watching.names import node_names
from zcc.watching.state import MAX_NUMBERED, FarmState
from zcc.watching.views import NodeView
from zcc.watching.words import sentences

SCRIPT = Path(__file__).with_name("reduced.js").read_text()


def ms(moment_s: float | None) -> int:
    return round(moment_s * 1000) if moment_s is not None else 0


def of_node(node: NodeView) -> dict[str, Any]:
    return {
        "state": node.shown.state,
        "slots": [run.job.number if run is not None else None for run in node.slots],
        "runs": sorted(node.runs),
    }


def digest(state: FarmState) -> dict[str, Any]:
    """The same as SCRIPT says, of the watchers' state."""
    assert state.farm is not None
    names = node_names(state)
    return {
        "now": ms(state.now_s),
        "farm": state.farm.farm,
        "members": len(state.members),
        "toolchains": len(state.toolchains),
        "nodes": {names[number]: of_node(node) for number, node in state.nodes.items()},
        "builds": {
            build.id: {
                "name": build.name,
                "began": ms(build.began_s),
                "last": ms(build.last_s),
                "counts": present(build.counts),
                "local": present(build.local),
                "missed": present(build.missed),
                "live": sorted(build.live),
                "past": len(build.past),
                "cpu": ms(build.cpu_s),
                "saved": ms(build.saved_s),
                "isOver": state.is_over(build),
            }
            for build in state.known_builds.values()
        },
        "jobs": {
            str(job.number): [job.phase, job.file, job.sending, job.missing, len(job.requests)]
            for job in state.jobs.values()
        },
        "shipping": [[each.node, each.toolchain, each.done_bytes] for each in state.shipping.values()],
        "queue": len(state.queue.rows) if state.queue is not None else None,
        "pulse": state.pulse.running if state.pulse is not None else None,
        "totals": present(state.totals),
        "lines": len(state.lines),
        "seconds": [
            [each.at_s, each.waiting, each.running, each.slots, present(each.counts)]
            for each in state.seconds
        ],
        "runs": [
            [
                run.leased.lease, run.slot, run.ending, run.is_fault,
                ms(run.leased_s), ms(run.started_s), ms(run.ended_s),
            ]
            for run in list(state.runs)[-500:]
        ],
    }  # fmt: skip


def present(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def both(directory: Path, events: Sequence[FarmEvent]) -> tuple[dict[str, Any], dict[str, Any]]:
    state = FarmState()
    for event in events:
        state.apply(event)
    lay_out(directory)
    told = json.dumps({"fields": FIELDS, "rows": [row_of(event) for event in events]})
    return json.loads(run_node(directory, SCRIPT, stdin=told)), digest(state)


def test_a_farm_s_five_minutes_are_the_same_to_both(tmp_path: Path) -> None:
    page, watcher = both(tmp_path, watched_farm.five_minutes())
    assert len(watcher["runs"]) == 500
    assert len(watcher["builds"]) == 8
    assert page == watcher


def test_what_is_rare_is_the_same_to_both(tmp_path: Path) -> None:
    """Endings of every kind, twins that leave, a node that goes with its jobs, jobs that are not known."""
    events = watched_farm.five_minutes(40)
    at = events[-1].at_ms
    live = [event.job for event in events if isinstance(event, JobQueued)][-6:]
    leases = {event.job: event.lease for event in events if isinstance(event, JobLeased)}
    rare: list[FarmEvent] = [
        JobJoined(at + 1, live[0], 2, 2, "a.c"),
        JobJoined(at + 2, live[0], 3, 0, "a.c"),
        RequestLeft(at + 3, live[0], 2, 2),
        LeaseLost(at + 4, live[1], leases.get(live[1], 0), "node-lost", "silent", False),
        RequestRefused(at + 5, live[2], 1, 1, "b.c", "too-many", "why"),
        RequestRefused(at + 6, 0, 1, 1, "c.c", "too-many", ""),
        JobAbandoned(at + 7, live[3], "cancelled"),
        JobAbandoned(at + 8, live[4], "merged"),
        HitServed(at + 9, live[5], "k", 1, 1, "d.c", "c", 1, "oak", 5, 1),
        HitServed(at + 10, 0, "k", 1, 1, "d.c", "c", 1, "oak", 5, 1),
        NodeLeft(at + 11, 1, "silent"),
        NodeLeft(at + 12, 99, "silent"),
        JobAbandoned(at + 13, 99_999, "cancelled"),
        LeaseLost(at + 14, 99_999, 1, "beaten", "", False),
    ]
    page, watcher = both(tmp_path, [*events, *rare])
    assert page == watcher


def test_nodes_of_one_name_are_called_the_same_by_both(tmp_path: Path) -> None:
    events = [
        *small_farm.present(),
        MemberShown(1, 11, "k-00000011", "one", "node"),
        MemberShown(1, 12, "k-00000012", "two", "node"),
        small_farm.node(2, 2, "elm", 2, member=99),
        small_farm.node(2, 3, "elm", 2, member=11),
        small_farm.node(2, 4, "fir", 2, member=11),
        small_farm.node(2, 5, "fir", 2, member=12),
        small_farm.node(2, 6, "yew", 2, member=12),
        small_farm.node(2, 7, "yew", 2, member=12),
        small_farm.node(2, 8, "gone", 2, member=11),
        small_farm.node(2, 9, "gone", 2, member=12),
    ]
    page, watcher = both(tmp_path, [*events, NodeLeft(3, 9, "bye")])
    assert list(watcher["nodes"]) == [
        "oak",
        "elm (#2)",
        "elm (k-00000011)",
        "fir (k-00000011)",
        "fir (k-00000012)",
        "yew (k-00000012 #6)",
        "yew (k-00000012 #7)",
        "gone",
    ]
    assert page == watcher


@pytest.mark.parametrize("winner", [105, 107])
def test_two_copies_of_a_job_are_the_same_to_both(tmp_path: Path, winner: int) -> None:
    events = [*watched_farm.two_copies(), *watched_farm.two_copies_end(winner)]
    page, watcher = both(tmp_path, events)
    endings = {lease: ending for lease, _, ending, *_ in watcher["runs"]}
    assert endings == {winner: "ok", 212 - winner: "beaten"}
    assert page == watcher


def test_runs_that_copies_have_ended_are_one_line(tmp_path: Path) -> None:
    """Those that are cancelled after their job has ended have their file's name still."""
    lay_out(tmp_path)
    begun = watched_farm.two_copies()
    several = [*begun, *watched_farm.two_copies_end(107)]
    *_, queued, first, _, copy, _ = begun
    assert isinstance(queued, JobQueued)
    assert isinstance(first, JobLeased)
    assert isinstance(copy, JobLeased)
    for job in (16, 17):
        several += [replace(queued, job=job), replace(first, job=job, lease=job * 10)]
        several += [replace(copy, job=job, lease=job * 10 + 1)]
        several += [LeaseLost(95, job, job * 10, "beaten", "", False)]
        several += [JobFinished(95, job, job * 10 + 1, "ok", 0, 50, 60, 1, 1, 1, 1, 1, 1, 1)]
    several += [replace(queued, job=18), replace(first, job=18, lease=180)]
    several += [JobAbandoned(96, 18, "cancelled"), LeaseLost(97, 18, 180, "cancelled", "", False)]
    story = {"fields": FIELDS, "rows": [row_of(event) for event in several], "words": sentences()}
    script = Path(__file__).with_name("said_of_copies.js").read_text()
    happened = json.loads(run_node(tmp_path, script, stdin=json.dumps(story)))
    assert happened == [
        "3 runs of copied gave no result, the last slow.c on oak: another node had done it sooner.",
        "slow.c on oak gave no result: nobody waited for it any more.",
    ]


def test_what_has_a_number_is_forgotten_alike(tmp_path: Path) -> None:
    """Members, toolchains and builds beyond their bounds: the oldest go, but for a build with a live job."""
    events = watched_farm.five_minutes(20)
    at = events[-1].at_ms
    many: list[FarmEvent] = []
    many += [
        MemberShown(at, 10_000 + number, f"k-{number}", "m", "client") for number in range(5_000)
    ]
    many += [ToolchainShown(at, 10_000 + number, "d", "gcc") for number in range(5_000)]
    many += [BuildShown(at, 20_000, 10_001, "live", "host", "live")]
    many += [JobQueued(at, 90_000, "k", 1, 20_000, "a.c", "c", 1, 1, True, 1, 1, 1, 1, 0, "")]
    many += [BuildShown(at, 20_001 + number, 0, "one", "host", "one") for number in range(5_000)]
    many += [AgentCounted(at, 0, number, 1, 0, (), (), ()) for number in (20_000, 20_001, 25_000)]
    page, watcher = both(tmp_path, [*events, *many])
    assert watcher["members"] == watcher["toolchains"] == MAX_NUMBERED
    (one,) = [build for build in watcher["builds"].values() if build["name"] == "one"]
    assert one["counts"] == {"local-hit": 1}
    (live,) = [build for build in watcher["builds"].values() if build["name"] == "live"]
    assert live["counts"] == {"local-hit": 1}
    assert page == watcher


def test_builds_that_a_member_makes_up_push_out_its_own_to_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MAX_BUILDS", 500)  # as many as a page knows
    events: list[FarmEvent] = [FarmShown(0, "f", "0", 1.0)]
    events += [MemberShown(1, number, f"k-{number}", "m", "client") for number in (1, 2)]
    owners = [1, 1, 1, *[2] * 600]
    events += [BuildShown(1, at, who, "b", "h", f"b{at}") for at, who in enumerate(owners)]
    page, watcher = both(tmp_path, events)
    assert [name for name in watcher["builds"] if name.startswith("k-1/")] == [
        "k-1/b0", "k-1/b1", "k-1/b2"
    ]  # fmt: skip
    assert page == watcher


def test_a_second_snapshot_is_the_same_to_both(tmp_path: Path) -> None:
    events = watched_farm.five_minutes(60)
    again = watched_farm.five_minutes(20, seed=2)
    assert isinstance(again[0], FarmShown)
    page, watcher = both(tmp_path, [*events, *watched_farm.later(again, 60_000)])
    assert page == watcher


@pytest.mark.parametrize("seed", [3, 4])
def test_events_that_are_lost_or_come_twice_break_neither(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    events = watched_farm.five_minutes(45, seed=seed)
    torn = [events[0]]
    for event in events[1:]:
        torn += [event] * rng.choice((0, 1, 1, 1, 1, 1, 1, 2))
    page, watcher = both(tmp_path, torn)
    assert page == watcher
