"""What `zcc top` makes of a farm's events: its lines, bars, letters, troubles, and what it says of a line."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_farm, watched_farm
from zcc import events as said
from zcc.events import FarmEvent
from zcc.top import overview as overviews
from zcc.top.columns import Spans, fit, rows_of
from zcc.top.details import details
from zcc.top.log import EventLine, WatchedFarm
from zcc.top.overview import Letters, NodeLine, Overview, document, overview_of
from zcc.top.plain import plain
from zcc.top.tables import BUILDS, EVENTS, NODES, QUEUE, TABLES, bar
from zcc.watching.builds import BuildLine

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "top.md"


def told(batches: list[list[FarmEvent]]) -> WatchedFarm:
    farm = WatchedFarm()
    for batch in batches:
        farm.take(batch)
    return farm


@pytest.fixture
def farm() -> WatchedFarm:
    return told(small_farm.batches())


@pytest.fixture
def seen(farm: WatchedFarm) -> Overview:
    return overview_of(farm, Letters())


def text(spans: Spans) -> str:
    return "".join(each for each, _ in spans)


def node_called(seen: Overview, name: str) -> NodeLine:
    (found,) = [each for each in seen.nodes if each.name == name]
    return found


def test_the_farm_is_summed_up(seen: Overview) -> None:
    assert (seen.farm, seen.version, seen.at_ms) == ("hill", "0.2.0", 1_790_000_003_000)
    assert (seen.running, seen.fetching, seen.waiting) == (2, 1, 1)
    assert (seen.slots, seen.all_slots, seen.agents) == (5, 6, 3)
    # Three local hits, a local compile and one that failed, in three seconds.
    assert (seen.per_s, seen.hit_rate) == (1.7, 0.6)
    assert [(each.name, each.running, each.waiting) for each in seen.users] == [
        ("ann@hydra", 2, 0),
        ("bob@lynx", 1, 1),
    ]


def test_a_bar_says_whose_compilers_run_without_colour(seen: Overview) -> None:
    assert seen.letters == {"ann@hydra": "a", "bob@lynx": "b"}
    assert text(bar(node_called(seen, "oak"), 16, seen)) == "a:.."
    assert text(bar(node_called(seen, "elm"), 16, seen)) == "b-"


def test_a_bar_of_many_slots_is_to_scale_and_leaves_nobody_out() -> None:
    farm = told([small_farm.present(), [small_farm.node(10, 1, "oak", 1000)]])
    jobs = range(1, 999)
    farm.take([small_farm.queued(20, job, 1 if job > 2 else job + 1, 0, "x") for job in jobs])
    farm.take([small_farm.leased(30, job, 1) for job in jobs])
    farm.take([said.RunStarted(40, job, job) for job in jobs])
    seen = overview_of(farm, Letters())
    assert text(bar(node_called(seen, "oak"), 20, seen)) == "aaaaaaaaaaaaaaaaabc."


def test_a_node_that_is_given_nothing_has_no_idle_slot() -> None:
    farm = told([small_farm.present(), [small_farm.node(10, 1, "oak", 4, state="quarantined")]])
    seen = overview_of(farm, Letters())
    assert text(bar(node_called(seen, "oak"), 16, seen)) == "----"
    assert seen.slots == 2


def test_a_user_keeps_a_letter_and_letters_differ() -> None:
    letters = Letters()
    assert letters.give(["ann@x", "anna@y"]) == {"ann@x": "a", "anna@y": "n"}
    assert letters.give(["anna@y", "bob"]) == {"anna@y": "n", "bob": "b"}
    many = [f"user{number}" for number in range(62)]
    given = letters.give(many)
    assert len(set(given.values())) == 62
    assert letters.give([*many, "one more"])["one more"] == overviews.NO_LETTER


def test_a_build_has_its_counts(seen: Overview) -> None:
    (nightly,) = [each for each in seen.builds if each.name == "nightly"]
    assert (nightly.user, nightly.host, nightly.id) == (
        "ci@runner",
        "runner",
        "k-00000003/runner-1",
    )
    assert (nightly.compiles, nightly.compiled, nightly.failed, nightly.local) == (5, 1, 1, 1)
    assert (nightly.hits_here, nightly.hit_rate, nightly.took_ms) == (3, 0.6, 900)
    (engine,) = [each for each in seen.builds if each.name == "engine"]
    assert (engine.running, engine.waiting, engine.hit_rate) == (2, 0, None)


def test_a_snapshot_is_no_news_and_what_follows_is(seen: Overview) -> None:
    assert [each.text for each in seen.events] == [
        "node elm is limited: its owner works",
        "ci/late.cpp on oak failed: exit status 1",
        "build nightly of ci@runner began",
        "build tools of bob@lynx began",
        "build engine of ann@hydra began",
    ]


def test_a_second_snapshot_is_a_gap(farm: WatchedFarm) -> None:
    farm.take(small_farm.present())
    assert farm.lines[-1].text == "the farm was told anew: a gap before this"


def test_what_is_lost_is_told_with_the_names_of_that_moment(farm: WatchedFarm) -> None:
    farm.take([
        said.LeaseLost(4000, 2, 2, "sandbox", "no /proc", True),
        said.LeaseLost(4000, 3, 3, "taken-back", "", False),
        said.NodeSuspended(4001, "oak", 600_000, 2),
        said.NodeLeft(4002, 1, "silent"),
        said.RequestRefused(4003, 5, 2, 2, "tools/d.cpp", "too-large", ""),
        said.MemberJoined(4004, "k-9", "dora@wolf", "client"),
    ])  # fmt: skip
    assert [(each.level, each.text) for each in farm.lines][-5:] == [
        ("warning", "engine/a.cpp on oak ended without a result: sandbox (no /proc)"),
        ("bad", "node oak is in quarantine for 10 min, for jobs of bob@lynx alone"),
        ("warning", "node oak left: silent"),
        ("note", "tools/d.cpp was not taken: too-large"),
        ("note", "dora@wolf joined as client"),
    ]


def test_a_line_of_a_job_with_two_copies_names_the_node_of_the_copy_that_it_is_of() -> None:
    events = watched_farm.two_copies()
    for lease, node in ((105, "oak"), (107, "ash")):
        lost = told([events, [said.LeaseLost(50, 15, lease, "sandbox", "", True)]])
        assert lost.lines[-1].text == f"slow.c on {node} ended without a result: sandbox"
        failed = said.JobFinished(90, 15, lease, "failed", 1, 50, 60, 1, 1, 1, 1, 1, 1, 1)
        ended = told([events, [failed]])
        assert ended.lines[-1].text == f"slow.c on {node} failed: exit status 1"


def test_what_is_wrong_is_said_the_worst_first(farm: WatchedFarm) -> None:
    farm.take([
        small_farm.node(4000, 2, "elm", 2, speed=0.3, pressure=40.0),
        small_farm.node(4000, 1, "oak", 4, state="quarantined", reason="5 faults"),
        said.QueueShown(4000, (
            said.QueueRow(2, 2, 0, 0, 0, 1, 70_000, "all-busy"),
            said.QueueRow(1, 1, 0, 0, 0, 1, 70_000, "no-node-fits"),
        ), 0),
    ])  # fmt: skip
    assert overview_of(farm, Letters()).troubles == (
        "oak is in quarantine: 5 faults. Its 4 slots are missing.",
        "No node may run 1 job of ann.",
        "elm is short of memory: its processes waited for some 40% of the time.",
        "elm is slow: 0.30 times the speed of the farm's average slot. A long job there holds up"
        " a build's end.",
        "A job of bob has waited for 70 s.",
    )


def test_a_farm_without_nodes_is_in_trouble_and_one_that_nobody_told_is_not() -> None:
    empty = told([[said.FarmShown(0, "hill", "0.2.0", 1.0)]])
    assert overview_of(empty, Letters()).troubles == (
        "No node is connected: every compile runs on the machine that asks for it.",
    )
    assert overview_of(WatchedFarm(), Letters()).troubles == ()


def test_tables_are_sorted_and_filtered(seen: Overview) -> None:
    speed = next(column for column in NODES.columns if column.title == "SPEED")
    names = [each.name for each in NODES.lines(seen, None, False, "")]
    assert names == ["elm", "oak"]
    assert [each.name for each in NODES.lines(seen, speed, False, "")] == ["elm", "oak"]
    assert [each.name for each in NODES.lines(seen, speed, True, "")] == ["oak", "elm"]
    assert [each.name for each in NODES.lines(seen, None, False, "owner LIMITED")] == ["elm"]
    assert [each.name for each in NODES.lines(seen, None, False, "ann")] == ["oak"]
    assert [each.name for each in BUILDS.lines(seen, None, False, "bob")] == ["tools"]
    assert [each.jobs for each in QUEUE.lines(seen, None, False, "")] == [1]


@pytest.mark.parametrize("width", [20, 40, 80, 132, 200])
def test_columns_fit_the_width(width: int) -> None:
    for spec in TABLES:
        columns = fit(spec.columns, width)
        assert columns
        if width >= 80:
            assert sum(wide for _, wide in columns) + len(columns) - 1 <= width
            assert {column.title for column in spec.columns if not column.rank} <= {
                column.title for column, _ in columns
            }


def test_rows_are_shared_out() -> None:
    assert rows_of([7, 4, 4, 30], 45) == [7, 4, 4, 30]
    assert rows_of([3, 4, 4, 4], 20) == [3, 4, 4, 9]
    assert rows_of([99, 99, 4, 4], 20) == [6, 6, 4, 4]
    assert rows_of([4, 4], -3) == [0, 0]


def test_details_say_more_of_each_line(farm: WatchedFarm, seen: Overview) -> None:
    oak = "\n".join(details(node_called(seen, "oak"), farm.state))
    assert "slot 0   engine/a.cpp of ann@hydra  for 1.94 s, expected 4 s; longest" in oak
    assert "fetches  engine/b.cpp" in oak
    assert "gcc 12.2.0" in oak
    builds = {each.name: each for each in seen.builds}
    nightly = "\n".join(details(builds["nightly"], farm.state))
    assert "ci/late.cpp on oak, 200.0 MiB, failed" in nightly
    assert "time-macro 1" in nightly
    assert "running  engine/a.cpp" in "\n".join(details(builds["engine"], farm.state))
    waits = "\n".join(details(seen.queue[0], farm.state))
    assert "all slots that may run it are busy (all-busy)" in waits
    assert "tools/d.cpp of bob@lynx  waits for a slot, for 1.96 s" in waits
    assert "node elm is limited" in details(seen.events[0], farm.state)[-1]


def test_the_details_of_what_has_gone_say_so(farm: WatchedFarm, seen: Overview) -> None:
    oak = node_called(seen, "oak")
    farm.take([said.NodeLeft(4000, 1, "bye")])
    assert details(oak, farm.state)[-1] == "It has gone."


def test_plain_text_has_all_and_fits_a_terminal(seen: Overview) -> None:
    lines = plain(seen, 0)
    assert re.fullmatch(r"oak +ready +1/4 +a:\.\. +1\.00 .*", lines[lines.index("") + 3])
    assert any(
        line.startswith("users, with jobs running+waiting: a ann@hydra 2+0") for line in lines
    )
    assert max(len(line) for line in plain(seen, 80)) <= 80
    assert "queue: nobody waits" in plain(overview_of(told([small_farm.present()]), Letters()), 80)


def test_nothing_of_a_hostile_farm_gets_out_that_cannot_be_seen() -> None:
    farm = told(small_farm.hostile())
    seen = overview_of(farm, Letters())
    shown = [*plain(seen, 0), *plain(seen, 80)]
    for spec in TABLES:
        for line in spec.rows(seen):
            shown += details(line, farm.state)
            shown += [text(each.cell(line, 40, seen)) for each in spec.columns]
            shown.append(spec.empty)
    assert len(shown) > 60
    assert [each for each in shown if not each.isprintable()] == []
    assert "x[/]" in "\n".join(shown), "it is shown as it is"
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', json.dumps(document(seen)))
    assert [each for each in strings if "\\u" in each or "\\n" in each] == []


def rows_on_the_page(heading: str) -> set[str]:
    section = PAGE.read_text().partition(f"### {heading}\n")[2].partition("\n##")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_the_page_has_each_field_of_the_document(seen: Overview) -> None:
    kinds: dict[str, type[Any]] = {
        "The object": Overview,
        "users": overviews.UserLine,
        "nodes": NodeLine,
        "builds": BuildLine,
        "queue": overviews.QueueLine,
        "events": EventLine,
    }
    for heading, kind in kinds.items():
        assert is_dataclass(kind)
        assert rows_on_the_page(heading) == {field.name for field in fields(kind)}, heading
    assert set(json.loads(json.dumps(document(seen)))) == rows_on_the_page("The object")
    assert EVENTS.rows(seen) == seen.events
