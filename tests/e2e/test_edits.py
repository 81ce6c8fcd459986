"""The random edits of `tests/edits.py`, as many as an ordinary test run can bear; `make edits` goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import edits
from tests.support.prepared_farm import PreparedFarm
from zcc.cli.up import LocalFarm

STEPS = 120
SEED = 1
# Less would prove nothing: a fifth of the steps leave code that does not compile.
LEAST_HITS = 0.2
LEAST_REMOTE = 0.2


@pytest.fixture
def remembering() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-edits-") as directory:
        farm = PreparedFarm(directory)
        try:
            farm.start(nodes=1, slots=2)
            yield farm
        finally:
            farm.stop()


@pytest.mark.timeout(300)
def test_after_any_edit_the_object_is_what_the_compiler_makes(
    remembering: LocalFarm, tmp_path: Path
) -> None:
    outcomes = edits.run(remembering, tmp_path, STEPS, SEED)
    assert outcomes["local_hit"] + outcomes["shared_hit"] >= LEAST_HITS * STEPS, outcomes
    assert outcomes["remote"] >= LEAST_REMOTE * STEPS, outcomes
