"""The differential tester, for as long as an ordinary test run can bear: `make differ` goes on for an hour."""

from __future__ import annotations

import time

import pytest

from tests.differential.script import as_script
from tests.differential.tester import Differ, Report, with_farm
from tests.differential.ways import WAYS

SEED = 3
CASES = 70
# A machine that is slower than it should be does fewer.
BUDGET_S = 60
# The rest are mistakes, links and what zcc keeps here on purpose. With less, the test would prove nothing.
LEAST_REMOTE = 0.25


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
