"""A compile that failed on the farm and succeeded here is a bug; one whose output another wrote is none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zcc.agent.results.results import Results
from zcc.agent.results.verdict import RECENT_S

BEGUN_NS = 1_600_000_000_000_000_000
RECENT_NS = int(RECENT_S * 1e9)


def discrepancies(output: Path, written_ns: int, ended_ns: int, other_input: str = "") -> int:
    """How many are counted of one compile here, of which the agent hears at `ended_ns` that it is over."""
    output.write_bytes(b"object")
    os.utime(output, ns=(written_ns, written_ns))
    prepared = SimpleNamespace(
        source=b"a.c", job_in_place=SimpleNamespace(outputs=(os.fsencode(output),))
    )
    call: Any = SimpleNamespace(
        failed=SimpleNamespace(prepared=prepared), failed_with=1, ran_here_ns=BEGUN_NS, build=None
    )
    counted: list[str] = []
    stats = SimpleNamespace(add=lambda name, _: counted.append(name), note=lambda _: None)
    kept: list[object] = []
    analyser: Any = SimpleNamespace(keep_in_place=kept.append)

    async def compare() -> None:
        account: Any = SimpleNamespace(stats=stats)
        results = Results(analyser, None, account, None, None)  # type: ignore[arg-type]
        results.compare_verdicts(call, other_input, ended_ns)

    asyncio.run(compare())
    assert len(kept) == len(counted)
    return len(counted)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "a.o"


def test_an_output_written_right_before_the_end_is_this_compile_s(output: Path) -> None:
    ended_ns = BEGUN_NS + 60 * 1_000_000_000
    assert discrepancies(output, ended_ns - RECENT_NS // 2, ended_ns) == 1
    assert discrepancies(output, ended_ns - RECENT_NS // 2, ended_ns, "x.h") == 0


def test_an_output_of_before_is_none(output: Path) -> None:
    assert discrepancies(output, BEGUN_NS - RECENT_NS, BEGUN_NS + 1) == 0


def test_an_agent_that_hears_of_the_end_late_says_nothing(output: Path) -> None:
    """Meanwhile the next compile has written the same output."""
    written_ns = BEGUN_NS + 1_000_000_000
    assert discrepancies(output, written_ns, written_ns + 2 * RECENT_NS) == 0
