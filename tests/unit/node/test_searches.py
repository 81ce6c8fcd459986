"""How often a node goes through what its jobs have written: no job's files decide that for the others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from node.sandbox.disk import JobDisk
from node.sandbox.watch import SEARCH_EVERY_S, SEARCHES_SHARE, SandboxWatch, Searches
from tests.support.sandbox_toolchain import GENTLE
from zcc.messages import Fault

LIMITS = replace(GENTLE, files=2000)
MANY = (Fault.RESOURCES, "more than 2000 files and directories")


class Bench:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.free_bytes = 1 << 40
        self.disk = JobDisk(lambda _: self.free_bytes)
        self.searches = Searches()

    def watch(self, name: str, files: int = 0) -> SandboxWatch:
        (self.top / name / "upper").mkdir(parents=True)
        (self.top / name / "log").write_bytes(b"")
        self.write(name, files)
        return SandboxWatch(LIMITS, os.fsencode(self.top / name), self.disk, self.searches)

    def write(self, name: str, files: int) -> None:
        upper = self.top / name / "upper"
        have = len(list(upper.iterdir()))
        for number in range(have, have + files):
            (upper / str(number)).touch()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_job_of_many_files_is_searched_when_what_that_takes_has_passed_some_times(
    bench: Bench,
) -> None:
    watch = bench.watch("job", 1500)
    assert watch.excess(0, 0.3) is None
    bench.searches.note(watch, 0.1)
    every_s = bench.searches.every_s
    assert every_s > SEARCH_EVERY_S
    bench.write("job", 1000)
    assert watch.excess(0, 0.3 + 0.9 * every_s) is None
    assert watch.excess(0, 0.3 + 1.1 * every_s) == MANY


def test_a_job_is_not_searched_before_it_has_had_time_to_write_much(bench: Bench) -> None:
    watch = bench.watch("job", 3000)
    assert watch.excess(0, 0.9 * SEARCH_EVERY_S) is None
    assert watch.looked_at == 0
    assert watch.excess(0, 1.1 * SEARCH_EVERY_S) == MANY


def test_a_search_that_costs_nothing_is_not_done_at_each_look(bench: Bench) -> None:
    watch = bench.watch("job", 10)
    bench.searches.note(watch, 1e-9)
    assert watch.excess(0, 1.1 * SEARCH_EVERY_S) is None
    bench.write("job", 3000)
    bench.searches.note(watch, 1e-9)
    assert watch.excess(0, 2.0 * SEARCH_EVERY_S) is None
    assert watch.excess(0, 2.2 * SEARCH_EVERY_S) == MANY


def test_what_costs_little_is_looked_at_each_time(bench: Bench) -> None:
    watch = bench.watch("job", 1500)
    watch.excess(0, 0.1)
    bench.searches.note(watch, 1000.0)
    assert watch.excess(0, 31.0) == (Fault.DEADLINE, "not done after 30 s")


def test_all_searches_together_have_one_share(bench: Bench) -> None:
    watches = [bench.watch(str(number)) for number in range(4)]
    for watch in watches:
        bench.searches.note(watch, 0.1)
    assert bench.searches.every_s == pytest.approx(4 * 0.1 / SEARCHES_SHARE)
    for watch in watches:
        watch.close()
    assert bench.searches.every_s == SEARCH_EVERY_S


def test_a_disk_that_is_short_has_each_job_searched_once_more(bench: Bench) -> None:
    watch = bench.watch("job", 100)
    watch.excess(0, 0.1)
    bench.searches.note(watch, 1000.0)
    bench.write("job", 3000)
    assert watch.excess(0, 0.2) is None
    bench.free_bytes = 0
    with bench.disk.written_by(watch):
        assert watch.excess(0, 0.3) is None
        assert watch.excess(0, 0.4) == MANY
