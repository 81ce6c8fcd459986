"""The map that is bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from cache.digest import digest_of
from zcc.agent.farm.arrivals import MAX_TAKEN_BYTES, OutputFrames
from zcc.bounded import Bounded


def of_lengths(limit_bytes: int) -> Bounded[str, bytes]:
    return Bounded(limit_bytes, lambda _, value: len(value))


def test_what_was_used_least_recently_goes_first() -> None:
    held = of_lengths(10)
    for key in "abc":
        held.put(key, bytes(3))
    assert held.get("a") == bytes(3)
    held.put("d", bytes(3))
    assert [key for key in "abcd" if held.peek(key) is not None] == ["a", "c", "d"]


def test_a_peek_is_no_use() -> None:
    held = of_lengths(2)
    held.put("a", bytes(1))
    held.put("b", bytes(1))
    held.peek("a")
    held.put("c", bytes(1))
    assert held.peek("a") is None


def test_one_that_is_larger_than_the_bound_stays_alone() -> None:
    held = of_lengths(10)
    held.put("a", bytes(3))
    held.put("b", bytes(30))
    assert (len(held), held.size_bytes, held.peek("b")) == (1, 30, bytes(30))


def test_another_value_takes_the_place_of_the_first() -> None:
    held = of_lengths(10)
    held.put("a", bytes(8))
    held.put("a", bytes(9))
    assert (len(held), held.size_bytes) == (1, 9)
    assert held.pop("a") == bytes(9)
    assert (len(held), held.size_bytes, held.pop("a")) == (0, 0, None)


def test_an_output_that_was_taken_stays_for_the_next_job_that_names_it() -> None:
    arrivals = OutputFrames()
    digest = digest_of(b"object")
    assert arrivals.take(digest) is None
    arrivals.put(digest, b"frame")
    assert arrivals.take(digest) == arrivals.take(digest) == b"frame"
    assert arrivals.held == (1, 5)


def test_outputs_that_were_taken_do_not_pile_up() -> None:
    arrivals = OutputFrames()
    for at in range(40):
        digest = digest_of(bytes([at]))
        arrivals.put(digest, bytes(1 << 20))
        assert arrivals.take(digest) is not None
    assert arrivals.held[1] <= MAX_TAKEN_BYTES


@given(st.lists(st.tuples(st.sampled_from("gpd"), st.integers(0, 5), st.integers(0, 9))))
def test_it_is_the_plain_model(steps: list[tuple[str, int, int]]) -> None:
    held: Bounded[int, int] = Bounded(12, lambda _, value: value)
    model: OrderedDict[int, int] = OrderedDict()
    for kind, key, value in steps:
        if kind == "p":
            held.put(key, value)
            model.pop(key, None)
            model[key] = value
            while sum(model.values()) > 12 and len(model) > 1:
                model.popitem(last=False)
        elif kind == "d":
            assert held.pop(key) == model.pop(key, None)
        else:
            assert held.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        assert (len(held), held.size_bytes) == (len(model), sum(model.values()))
