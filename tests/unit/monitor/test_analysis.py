"""What is said of a build: the story's own facts have to come out."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import watched_farm
from tests.support.page_modules import lay_out, run_node
from zcc.monitor import analysis
from zcc.monitor.files import page_files
from zcc.monitor.report import MODULES, joined, report
from zcc.watching.state import FarmState
from zcc.watching.views import BuildView


@functools.cache
def farm() -> FarmState:
    state = FarmState()
    for event in watched_farm.five_minutes():
        state.apply(event)
    return state


def build(name: str) -> BuildView:
    found = farm().build_called(name)
    assert found is not None
    return found


def document(name: str) -> dict[str, Any]:
    return analysis.document(farm(), build(name))


def test_the_tail_names_the_file_and_the_node_that_held_up_the_end() -> None:
    tail = document("engine 14:06:15")["tail"]
    assert tail["last"]["file"] == watched_farm.TAIL
    assert tail["last"]["node"] == "yew"
    first, *others = tail["holders"]
    assert (first["file"], first["node"], first["why"]) == (watched_farm.TAIL, "yew", "slow-node")
    assert all(each["late_ms"] < first["late_ms"] / 5 for each in others)
    assert "What would have helped: the fastest node (" in tail["told"][-1]
    assert tail["alone_ms"] > 20_000
    # On oak, which is 1.3 times as fast as the average and not 0.35.
    assert tail["on_fastest_ms"] == pytest.approx(tail["last"]["wall_ms"] * 0.35 / 1.3, rel=0.01)


def test_a_build_is_compared_with_the_one_before() -> None:
    before = document("engine 14:06:15")["before"]
    assert before["name"] == "engine 14:05:09"
    assert document("engine 14:05:09")["before"] is None
    assert document("nightly-4712")["before"] is None  # it was given its name: no other has it


def test_a_late_browser_is_told_of_old_builds_what_the_server_knows(tmp_path: Path) -> None:
    lay_out(tmp_path)
    line = analysis.summary(farm(), build("engine 14:06:15"))
    script = Path(__file__).with_name("old_builds.js").read_text()
    now, why = json.loads(run_node(tmp_path, script, stdin=json.dumps([line])))
    share = f"{line['hit_rate'] * 100:.0f}%"
    assert re.search(rf"engine 14:06:15 .* {share} ended 20:00 min ago", now)
    assert " 0 ms " not in now.partition("engine 14:06:15")[2]
    assert re.search(r"\b7 \S  time-macro", why)
    assert "last in  engine 14:06:15" in why


def test_a_line_adds_up() -> None:
    for each in farm().known_builds.values():
        line = analysis.summary(farm(), each)
        parts = ("hits_here", "hits_farm", "twins", "local", "compiled")
        assert line["compiles"] == sum(line[part] for part in parts)
        assert 0 <= line["hit_rate"] <= 1
        assert line["took_ms"] > 0


def test_why_local_has_reasons_and_files() -> None:
    told = document("engine 14:06:15")
    assert dict(told["local_reasons"]) == {"time-macro": 7, "not-a-compile": 4, "sooner-here": 3}
    assert {row["file"] for row in told["local_files"]} >= {"engine/core/version.cpp"}


def test_a_job_is_told_by_the_run_that_gave_its_result() -> None:
    """Of a job's two copies either may win; while both run, it is where it was first."""
    for finished, node, reason, leased_ms in (
        (105, "oak", "soonest", 10),
        (107, "ash", "copy", 30),
    ):
        state = FarmState()
        for event in watched_farm.two_copies():
            state.apply(event)
        (live,) = analysis.became_of(state, "slow.c")
        assert (live["what"], live["node"], live["reason"]) == ("running", "oak", "soonest")
        for event in watched_farm.two_copies_end(finished):
            state.apply(event)
        known = state.build_called("copied")
        assert known is not None
        told = analysis.document(state, known)
        (bar,) = told["runs"]
        began_ms = round(watched_farm.BEGAN_S * 1000)
        assert (bar["node"], bar["reason"]) == (node, reason)
        assert bar["leased_ms"] == began_ms + leased_ms
        assert bar["started_ms"] == began_ms + leased_ms + 10
        assert bar["expected_ms"] == leased_ms
        assert [row["node"] for row in told["nodes"]] == [node]
        (why,) = analysis.became_of(state, "slow.c")
        assert (why["what"], why["node"], why["reason"]) == ("ok", node, reason)


def test_a_failed_compile_and_lost_runs_are_listed() -> None:
    assert [row["file"] for row in document("tools 14:07:05")["failures"]] == [
        "tools/cli/broken_main.cpp"
    ]
    losses = [loss for row in document("nightly-4711")["lost"] for loss in row["losses"]]
    assert losses
    assert all(loss.startswith("ash: sandbox (cannot mount /proc") for loss in losses)


def test_who_held_a_job_before_a_copy_ended_it_is_told() -> None:
    """And the copy that comes second is not: it cost nobody time."""
    told = {}
    for winner in (105, 107):
        state = FarmState()
        for event in (*watched_farm.two_copies(), *watched_farm.two_copies_end(winner)):
            state.apply(event)
        (copied,) = state.known_builds.values()
        (row,) = analysis.document(state, copied)["runs"]
        told[row["node"]] = row["losses"]
    assert told == {"oak": [], "ash": ["oak: beaten by a second copy elsewhere after 0 s"]}


FINDINGS = """
import { readFileSync } from "node:fs";
import { findings } from "./build-page.js";
console.log(JSON.stringify(findings(JSON.parse(readFileSync(0, "utf8"))).map((each) => each.text)));
"""


def test_the_page_says_who_held_the_last_file_and_which_node_was_slow(tmp_path: Path) -> None:
    lay_out(tmp_path)
    doc = document("engine 14:06:15")
    doc["tail"]["last"] = {**doc["tail"]["last"], "losses": ["snail: beaten after 43 s"]}
    node = {"jobs": 4, "cpu_ms": 1}
    doc["nodes"] = [
        {**node, "node": "oak", "per_cost": 12.0},
        {**node, "node": "elm", "per_cost": 13.0},
    ]
    said = json.loads(run_node(tmp_path, FINDINGS, stdin=json.dumps(doc)))
    assert said[0].endswith(" Before that: snail: beaten after 43 s.")
    assert not [text for text in said if text.startswith("Slow for this build")]
    doc["nodes"].append({**node, "node": "yew", "per_cost": 30.0})
    said = json.loads(run_node(tmp_path, FINDINGS, stdin=json.dumps(doc)))
    assert "Slow for this build: yew took 2.5 times as long as oak." in said


def test_slowest_and_largest_are_in_order() -> None:
    told = document("game 14:09:00")
    walls = [row["wall_ms"] for row in told["slowest"]]
    peaks = [row["peak_bytes"] for row in told["largest"]]
    assert walls == sorted(walls, reverse=True)
    assert peaks == sorted(peaks, reverse=True)
    assert len(walls) == analysis.MOST_SLOWEST


def test_cores_are_what_ran_at_a_time() -> None:
    rows = [
        {"started_ms": 0, "ended_ms": 2000},
        {"started_ms": 500, "ended_ms": 1000},
        {"started_ms": 1500, "ended_ms": 0},
    ]
    assert analysis.cores(rows, 0, 3000) == {"step_ms": 1000, "means": [1.5, 1.5, 1.0]}
    assert analysis.cores([], 5, 5)["means"] == [0.0]


def test_a_build_without_a_tail_has_none() -> None:
    row = {"queued_ms": 0, "started_ms": 10, "node": "n", "rate": 1.0, "fastest": 1.0, "wall_ms": 5}
    row |= {"file": "a.cc", "phases": (0, 0, 0, 0, 5, 0)}
    assert analysis.tail([]) is None
    assert analysis.tail([{**row, "ended_ms": 5000}] * 8) is None


def test_a_build_that_runs_has_no_tail_and_its_jobs_no_end() -> None:
    told = document("game 14:09:00")
    assert not told["is_over"]
    assert told["tail"] is None
    assert {row["outcome"] for row in told["runs"] if not row["ended_ms"]} <= {
        "queued",
        "sending",
        "leased",
        "running",
    }


def test_what_became_of_a_file_is_found_by_a_part_of_its_name() -> None:
    found = analysis.became_of(farm(), "SHADER_lib")
    assert [row["file"] for row in found] == [watched_farm.TAIL]
    assert found[0]["what"] == "ok"
    local = analysis.became_of(farm(), "core/version.cpp")
    assert [(row["what"], row["reason"]) for row in local] == [("local", "time-macro")]
    assert len(analysis.became_of(farm(), ".cpp")) == 60
    assert analysis.became_of(farm(), "no such file") == []


def test_a_report_is_one_file_that_fetches_nothing() -> None:
    text = report(farm(), build("engine 14:06:15"), page_files())
    assert watched_farm.TAIL in text
    assert "import " not in text.split('<script type="module">')[1].replace("important", "")
    for word in ("src=", 'href="http', "@import", "url("):
        assert word not in text


def test_no_name_ends_the_data_of_a_report() -> None:
    state = FarmState()
    for event in watched_farm.hostile():
        state.apply(event)
    (hostile,) = state.known_builds.values()
    text = report(state, hostile, page_files())
    data = text.split('id="data">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["build"]["name"] == f"build{watched_farm.HOSTILE}"
    assert text.count("onerror") == data.count("onerror")


def test_the_modules_of_a_report_need_no_other() -> None:
    files = {name: page_files()[name].decode() for name in MODULES}
    text = joined(files)
    assert "\nexport " not in text
    assert "\nimport " not in text
    named = {
        line.split('"./')[1].split('"')[0]
        for each in files.values()
        for line in each.split("\n")
        if ' from "./' in line
    }
    assert named <= set(MODULES) | {"state.js"}
