"""No job outlives its node, whatever the node died of and when."""

from __future__ import annotations

import json
import os
import tempfile

import pytest

from node.sandbox.wiping import wipe
from tests.attacks import enclosure
from tests.conftest import needs


def abandoned(how: str) -> dict[str, list[str]]:
    needs("gcc")
    if reason := enclosure.why_not():
        pytest.skip(reason)
    if not enclosure.is_for_all_users():
        pytest.skip("no interpreter of this version that another user can start")
    directory = tempfile.mkdtemp(prefix="zcc-attack-")
    try:
        os.chmod(directory, 0o755)
        done = enclosure.run_module("tests.attacks.abandoned", directory, how)
    finally:
        wipe(os.fsencode(directory))
    assert done.returncode == 0, done.stderr
    told: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_keeper_ends_the_jobs_of_a_node_that_was_killed() -> None:
    assert abandoned("kept")["left"] == []


def test_a_node_that_starts_ends_what_one_before_has_left() -> None:
    told = abandoned("not kept")
    assert "attack" in told["begun"]  # for ever, without what is tested
    assert told["left"] == []
