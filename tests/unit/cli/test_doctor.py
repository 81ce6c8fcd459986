"""What the doctor says of a farm's nodes."""

from __future__ import annotations

from typing import Any

from zcc.cli.doctor import CheckState, judge_nodes


def row(name: str, state: str = "ready", reason: str = "", slots: int = 4) -> dict[str, Any]:
    return {"name": name, "state": state, "reason": reason, "slots": slots}


def test_nodes_that_take_jobs_are_well() -> None:
    found = judge_nodes([row("a"), row("b", slots=2)])
    assert (found.verdict, found.what, found.advice) == (CheckState.OK, "nodes: 2 with 6 slots", "")


def test_a_farm_without_nodes_is_told_how_to_get_one() -> None:
    found = judge_nodes([])
    assert found.verdict is CheckState.FAIL
    assert found.advice == "start one: zcc-node serve"


def test_nodes_that_take_no_jobs_do_not_count_and_say_why() -> None:
    found = judge_nodes([row("a", "paused", "its disk is full"), row("b", "quarantined")])
    assert found.verdict is CheckState.FAIL
    assert found.what == "nodes: none of 2 takes jobs"
    assert found.advice == "a is paused: its disk is full; b is quarantined"


def test_a_limited_node_is_noted_with_its_reason() -> None:
    found = judge_nodes([row("a"), row("b", "limited", "no room for a toolchain of 82 MB")])
    assert (found.verdict, found.what) == (CheckState.NOTE, "nodes: 2 with 8 slots")
    assert "no room" in found.advice
