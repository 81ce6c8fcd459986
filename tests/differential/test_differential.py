"""The differential tester, for as long as an ordinary test run can bear: `make differ` goes on for an hour."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.differential.case import Case
from tests.differential.script import as_script
from tests.differential.tester import Differ, Report, with_farm
from tests.differential.ways import WAYS, Farm, Outcome

SEED = 3
CASES = 45
# A machine that is slower than it should be does fewer.
BUDGET_S = 40
# The rest are mistakes, links and what zcc keeps here on purpose. With less, the test would prove nothing.
# An hour has 60% and 15%; so few cases scatter.
LEAST_REMOTE = 0.5
MOST_FAILING = 0.25


# Two words in an order that the number of its run decides; or, as `faulty`, another one through zcc alone.
TOSSING = """#!/bin/sh
echo >>"$COUNT"
case $(wc -l <"$COUNT")$MOOD in
    *faulty) echo "right$THROUGH" ;;
    *[05]) echo late early ;;
    *) echo early late ;;
esac
"""


@pytest.mark.parametrize(("mood", "differs"), [("", 0), ("faulty", 10)])
def test_what_the_plain_compiler_gives_in_some_run_is_right(
    tmp_path: Path, mood: str, differs: int
) -> None:
    compiler = tmp_path / "toss"
    compiler.write_text(TOSSING)
    compiler.chmod(0o755)
    (tmp_path / "count").touch()
    through = tmp_path / "through"
    through.write_text('#!/bin/sh\nTHROUGH=wrong exec "$@"\n')
    through.chmod(0o755)
    environment = {"COUNT": str(tmp_path / "count"), "MOOD": mood, "PATH": os.defpath}

    class Stub(Farm):
        def __init__(self) -> None:
            self.launcher = (str(through),)

        @property
        def environment(self) -> dict[str, str]:
            return environment

        def outcome(self) -> Outcome:
            return Outcome("local")

    case = Case({}, str(compiler), ())
    differ = Differ(Stub(), str(tmp_path), WAYS["farm"])
    failures = [differ.check(case) for _ in range(10)]
    assert sum(failure is not None for failure in failures) == differs


@pytest.mark.timeout(300)
def test_random_commands_do_through_zcc_what_they_do_without() -> None:
    deadline_s = time.monotonic() + BUDGET_S

    def work(differ: Differ) -> Report:
        return differ.session(
            SEED,
            lambda: differ.report.cases >= CASES or time.monotonic() > deadline_s,
            shrinks=False,
        )

    report = with_farm(WAYS["farm"], work)
    assert not report.failures, "\n".join(
        f"case {number} of seed {SEED}: {failure.text}\n{as_script(failure.case, 'see above')}"
        for number, failure in report.failures
    )
    runs = sum(report.shares.values())
    remote = sum(count for share, count in report.shares.items() if share.startswith("remote"))
    assert remote >= LEAST_REMOTE * runs, report.summary()
    failing = runs - report.verdicts["exit status 0"]
    assert failing <= MOST_FAILING * runs, report.summary()
