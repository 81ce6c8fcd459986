"""Counting: percentiles, builds told apart, what is kept across agents, and what other programs read."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from zcc.agent.core.effects import CountOutcome
from zcc.agent.history.builds import BUILD_GAP_S, Builds
from zcc.agent.history.database import FILE_NAME, Notebook
from zcc.agent.history.histogram import BOUNDS_S, Histogram, histogram_from
from zcc.agent.history.minutes import past_builds, since
from zcc.agent.history.stats import Stats
from zcc.agent.history.tally import Tally, tally_from
from zcc.agent.history.timing import Trip
from zcc.cli.exposition import CCACHE_NAMES, ccache, prometheus
from zcc.cli.figures import health, table
from zcc.cli.stats import parse_since
from zcc.errors import ConfigError

# ---- times ------------------------------------------------------------------------------------


def test_a_percentile_is_never_too_low_and_at_most_two_thirds_too_high() -> None:
    times = [0.0003 * 1.1**at for at in range(90)]
    histogram = Histogram()
    for took in times:
        histogram.add(took)
    for share in (0.5, 0.9, 0.99):
        exact = times[int(share * len(times) + 0.999) - 1]
        assert exact <= histogram.percentile(share) <= exact * 5 / 3 + 1e-9


def test_a_percentile_beyond_the_last_bucket_is_the_longest_time() -> None:
    histogram = Histogram()
    histogram.add(0.004)
    histogram.add(42.0)
    assert histogram.percentile(0.5) == 0.005
    assert histogram.percentile(0.99) == 42.0
    assert Histogram().percentile(0.5) == 0


def test_each_bound_is_at_most_two_thirds_above_the_one_before() -> None:
    assert all(a < b <= a * 5 / 3 + 1e-9 for a, b in pairwise(BOUNDS_S))


def test_histograms_add_up_and_survive_json() -> None:
    one, other = Histogram(), Histogram()
    for took in (0.0001, 0.5, 100.0):
        one.add(took)
    other.add(0.5)
    one.merge(histogram_from(json.loads(json.dumps(other.as_dict()))))
    assert one.count == 4
    assert one.as_dict() == histogram_from(json.loads(json.dumps(one.as_dict()))).as_dict()


def test_the_split_of_a_remote_compile_adds_up_to_its_whole() -> None:
    trip = Trip(submitted_s=10.0, sending_s=1.0)
    split = trip.split(now_s=15.0, queued_s=1.0, compile_s=2.0, sending_s=1.5, first_s=14.9)
    assert (split.queued_s, split.compile_s, split.sending_s) == (1.0, 2.0, 0.5)
    assert split.returning_s == pytest.approx(0.1)
    assert split.other_s == pytest.approx(5.0 - 1.0 - 2.0 - 0.5 - 0.1)


def test_what_others_upload_meanwhile_is_bounded_by_what_is_left() -> None:
    split = Trip(0.0, 0.0).split(1.0, 0.2, 0.5, sending_s=9.0, first_s=0.9)
    assert split.sending_s == pytest.approx(0.2)
    assert split.other_s == 0
    late = Trip(0.0, 0.0).split(1.0, 0.9, 0.9, sending_s=9.0, first_s=0.9)
    assert (late.sending_s, late.returning_s, late.other_s) == (0, 0, 0)


# ---- builds -----------------------------------------------------------------------------------


def outside(_: bytes) -> bytes | None:
    return None


def checkout(directory: bytes) -> bytes | None:
    return b"/src/p" if directory.startswith(b"/src/p") else None


def test_calls_of_one_checkout_without_a_pause_are_one_build() -> None:
    builds = Builds(checkout)
    first = builds.enter(b"/src/p", 100.0)
    builds.leave(first, 101.0)
    second = builds.enter(b"/src/p/lib", 101.0 + BUILD_GAP_S)
    assert second is first
    builds.leave(second, 112.0)
    assert builds.enter(b"/src/p", 112.1 + BUILD_GAP_S) is not first


def test_a_call_that_still_runs_is_no_pause() -> None:
    builds = Builds(checkout)
    link = builds.enter(b"/src/p", 100.0)
    assert builds.enter(b"/src/p", 100.0 + 9 * BUILD_GAP_S) is link


def test_two_projects_at_once_are_two_builds() -> None:
    builds = Builds(outside)
    one, other = builds.enter(b"/a", 1.0), builds.enter(b"/b", 1.0)
    assert one is not other
    assert one.number != other.number
    assert builds.latest is other


def test_outside_of_checkouts_a_directory_belongs_to_the_build_above_it() -> None:
    builds = Builds(outside)
    top = builds.enter(b"/build/xz", 1.0)
    assert builds.enter(b"/build/xz/src/liblzma", 2.0) is top
    assert builds.enter(b"/build/xzz", 2.0) is not top


# ---- the counters and their files -------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Place:
    """A state directory in which one agent after the other counts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.path = str(directory / FILE_NAME)
        self.start()

    def start(self) -> None:
        self.notebook = Notebook(self.path)
        self.stats = Stats(str(self.directory), self.notebook, outside, self.clock)

    def restart(self) -> None:
        self.stats.save()
        self.notebook.close()
        self.clock.now_s += 1
        self.start()

    def settle(self) -> None:
        self.stats.save()
        self.notebook.wait_written()

    def call(self, cwd: bytes, outcome: str, reason: str = "", took_s: float = 0.001) -> None:
        build = self.stats.enter(cwd)
        self.stats.count(build, CountOutcome(1, outcome, reason=reason), took_s, 0.25)
        self.stats.leave(build)


@pytest.fixture
def place(tmp_path: Path) -> Any:
    made = Place(tmp_path)
    yield made
    made.notebook.close()


def test_totals_builds_and_minutes_count_the_same_calls(place: Place) -> None:
    place.call(b"/a", "remote")
    place.call(b"/a", "local_hit")
    place.clock.now_s += 600
    place.call(b"/a", "local_hit")
    place.call(b"/b", "local", "not-a-compile")
    place.settle()
    assert place.stats.as_dict()["calls"] == 4
    found = {
        (each.project, sum(each.tally.outcomes.values())) for each in past_builds(place.path, 10)
    }
    assert found == {(b"/a", 2), (b"/a", 1), (b"/b", 1)}
    late = since(place.path, place.clock.now_s)
    assert late.outcomes == {"local_hit": 1, "local": 1}
    assert late.local_reasons == {"not-a-compile": 1}
    assert since(place.path, place.clock.now_s + 60).outcomes == {}


def test_a_build_goes_on_under_the_next_agent(place: Place) -> None:
    place.call(b"/a", "remote")
    place.restart()
    place.clock.now_s += BUILD_GAP_S - 2
    place.call(b"/a", "local_hit")
    place.settle()
    (build,) = past_builds(place.path, 10)
    assert build.tally.outcomes == {"remote": 1, "local_hit": 1}
    assert build.tally.answer_times["local_hit"].count == 1
    assert place.stats.as_dict()["outcomes"]["remote"] == 1


def test_zero_forgets_totals_and_builds(place: Place) -> None:
    place.call(b"/a", "remote")
    place.settle()
    place.stats.clear()
    place.settle()
    assert past_builds(place.path, 10) == []
    assert place.stats.as_dict()["outcomes"]["remote"] == 0
    assert place.stats.as_dict()["zeroed_at"] == place.clock.now_s


def test_gauges_are_counted_by_what_they_grow(place: Place) -> None:
    place.call(b"/a", "remote")
    place.stats.follow({"bytes_sent": 100})
    place.stats.follow({"bytes_sent": 150})
    place.settle()
    assert place.stats.as_dict()["bytes_sent"] == 150
    (build,) = past_builds(place.path, 10)
    assert build.tally.numbers["bytes_sent"] == 150


def test_a_damaged_notebook_is_put_aside_and_costs_its_builds_only(place: Place) -> None:
    place.call(b"/a", "remote")
    place.settle()
    place.notebook.close()
    Path(place.path).write_bytes(b"scribble" * 4096)
    place.start()
    place.call(b"/b", "remote")
    place.settle()
    place.call(b"/b", "remote")  # the first piece of writing found out
    place.settle()
    assert [each.project for each in past_builds(place.path, 10)] == [b"/b"]
    assert Path(place.path + ".damaged").exists()
    assert place.stats.as_dict()["outcomes"]["remote"] == 3


def test_a_sparse_tally_says_the_same() -> None:
    tally = Tally()
    tally.add("calls", 2)
    tally.add("queued_s", 0.5)
    tally.nodes["n"] += 1
    tally.answer_times["remote"].add(0.2)
    again = tally_from(json.loads(json.dumps(tally.as_sparse())))
    assert again.as_dict() == tally.as_dict()


# ---- forms ------------------------------------------------------------------------------------


def document() -> dict[str, Any]:
    tally = Tally()
    tally.add("calls", 10)
    tally.outcomes.update(local_hit=3, shared_hit=1, remote=2, local=4)
    tally.local_reasons.update({"not-a-compile": 2, "compile-error": 1, "no-farm": 1})
    tally.nodes['a "node"'] += 2
    for took in (0.001, 0.002, 0.2):
        tally.answer_times["local_hit"].add(took)
    return tally.as_dict() | {"notes": [], "zeroed_at": 7.0, "updated_at": 9.5}


@pytest.mark.parametrize("program", ["ccache", "/usr/bin/ccache"])
def test_ccache_s_names_are_those_of_the_real_one(program: str, tmp_path: Path) -> None:
    needs(program)
    done = subprocess.run(
        [program, "--print-stats"],
        env={"CCACHE_DIR": str(tmp_path), "PATH": "/usr/bin"},
        executable=shutil.which(program),
        capture_output=True,
        check=True,
    )
    theirs = done.stdout.decode().splitlines()
    ours = ccache(document()).splitlines()
    assert {line.split("\t")[0] for line in theirs} <= set(CCACHE_NAMES)
    assert [line.split("\t")[0] for line in ours] == CCACHE_NAMES
    assert sorted(CCACHE_NAMES) == CCACHE_NAMES


def test_for_ccache_each_call_is_one_hit_miss_or_reason() -> None:
    counts = dict(line.split("\t") for line in ccache(document()).splitlines())
    assert counts["direct_cache_hit"] == "4"
    assert counts["called_for_link"] == "2"
    assert counts["compile_failed"] == "1"
    assert counts["cache_miss"] == "3"  # two remote, one without a farm
    assert counts["remote_storage_hit"] == "1"
    assert counts["stats_zeroed_timestamp"] == "7"


def test_prometheus_text_is_well_formed() -> None:
    """By the rules of the format: HELP and TYPE before a metric's samples, each metric in one block, counters
    that end in _total, buckets that rise and end with +Inf as the count."""
    typed: dict[str, str] = {}
    block = ""
    buckets: dict[str, list[int]] = {}
    for line in prometheus(document()).splitlines():
        if line.startswith("# TYPE "):
            _, _, block, kind = line.split(" ")
            assert block not in typed
            typed[block] = kind
            continue
        if line.startswith("# HELP "):
            continue
        name = line.partition("{")[0].partition(" ")[0]
        assert name.startswith(block)
        if typed[block] == "counter":
            assert name == block
            assert name.endswith("_total")
        if name.endswith("_bucket"):
            label = line.partition('outcome="')[2].partition('"')[0]
            buckets.setdefault(label, []).append(int(line.rpartition(" ")[2]))
        float(line.rpartition(" ")[2])
    assert typed["zcc_answer_seconds"] == "histogram"
    assert all(counts == sorted(counts) for counts in buckets.values())
    assert buckets["local_hit"][-1] == 3
    text = prometheus(document())
    assert 'zcc_answer_seconds_bucket{outcome="local_hit",le="+Inf"} 3\n' in text
    assert 'zcc_answer_seconds_count{outcome="local_hit"} 3\n' in text
    assert 'zcc_node_jobs_total{node="a \\"node\\""} 2\n' in text
    assert "zcc_saved_cpu_seconds_total 0\n" in text


def test_the_table_has_colour_only_where_it_is_wanted() -> None:
    assert "\x1b" not in "".join(table(document(), "all compiles", has_colour=False))
    assert "\x1b" in "".join(table(document(), "all compiles", has_colour=True))
    lines = table(document(), "all compiles", has_colour=False)
    assert "  local hit            3   30.0%   p50 2 ms  p90 200 ms  p99 200 ms" in lines


def test_health_says_what_is_wrong_and_what_to_do() -> None:
    agent = {"broker": "tcp://b:1", "connected": False, "refusal": "unknown key"}
    found = health(document() | {"discrepancies": 1, "cache_faults": 2, "agent": agent})
    assert [each.what.partition(" ")[0] for each in found] == ["not", "1", "2"]
    assert "unknown key" in found[0].what
    assert all(each.advice for each in found)
    assert health(document()) == []


def test_health_tells_what_keeps_compiles_here_though_the_broker_is_there() -> None:
    agent = {"broker": "tcp://b:1", "connected": True, "refusal": "", "without_nodes": True}
    (found,) = health(document() | {"agent": agent})
    assert (found.what, found.advice) == (
        "no node takes jobs, so compiles run here",
        "zcc nodes says why",
    )
    (found,) = health(
        document() | {"agent": agent | {"without_nodes": False, "no_room": "/s is full"}}
    )
    assert found.what == "no room: /s is full"


def test_an_agent_that_still_dials_is_no_complaint() -> None:
    agent = {"broker": "tcp://b:1", "connected": False, "refusal": "", "dialling": True}
    assert health(document() | {"agent": agent}) == []
    lines = table(document() | {"agent": agent}, "all compiles", has_colour=False)
    assert "health         good, dialling" in lines
    (found,) = health(document() | {"agent": agent | {"refusal": "revoked"}})
    assert "revoked" in found.what


def test_long_names_leave_the_column_straight() -> None:
    reasons = {"a" * 30: 1, "b": 22}
    lines = table(document() | {"local_reasons": reasons}, "all compiles", has_colour=False)
    at = lines.index("local, by reason")
    assert [len(line) for line in lines[at + 1 : at + 3]] == [2 + 30 + 1 + 6] * 2


def test_since_takes_an_age_or_a_moment() -> None:
    assert parse_since("90s", 1000.0) == 910.0
    assert parse_since("2h", 10_000.0) == 2800.0
    assert parse_since("1970-01-02T00:00+00:00", 0.0) == 86_400.0
    with pytest.raises(ConfigError, match="is no time"):
        parse_since("yesterday", 0.0)
