"""The first few of the same are said, the rest counted."""

from __future__ import annotations

from zcc.summing import MAX_KINDS, Summing


def test_each_kind_has_its_own_count_and_period() -> None:
    summing = Summing[str](most=2, period_s=10.0)
    assert [summing.admits("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert summing.admits("b", 5.0)
    assert summing.due(9.0) == []
    assert summing.due(10.0) == [("a", 2)]
    assert summing.due(15.0) == []
    assert summing.admits("a", 16.0)


def test_more_kinds_than_can_be_told_apart_are_counted_together() -> None:
    summing = Summing[int](most=1, period_s=10.0)
    admitted = sum(summing.admits(number, 0.0) for number in range(MAX_KINDS + 500))
    assert admitted == MAX_KINDS
    assert summing.due(10.0) == [(None, 500)]
    assert summing.admits(7, 11.0)


def test_at_the_end_all_is_due() -> None:
    summing = Summing[str](most=1, period_s=10.0)
    for _ in range(3):
        summing.admits("a", 0.0)
    assert summing.due(0.0, is_last=True) == [("a", 2)]
