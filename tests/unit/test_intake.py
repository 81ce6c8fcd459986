"""What waits to be read: in turns by bytes, bounded for each key, in each key's order."""

from __future__ import annotations

import pytest

from broker.events import Origin
from broker.intake import Intake, Unread
from broker.limits import AT_ONCE_BURST_BYTES, AT_ONCE_BYTES_PER_S, UNREAD_TURN_BYTES
from zcc.messages import Cancel, Role


def item(user: str, number: int, cost: int = 1, size: int = 1) -> Unread:
    return Unread(Origin(user.encode(), user, Role.CLIENT), Cancel(number), size, cost)


def order(intake: Intake) -> list[tuple[str, int]]:
    taken = []
    while (each := intake.take()) is not None:
        assert isinstance(each.message, Cancel)
        taken.append((each.origin.user, each.message.ticket))
    return taken


def test_each_keys_messages_keep_their_order() -> None:
    intake = Intake()
    for number in range(5):
        intake.put(item("a", number))
    assert order(intake) == [("a", number) for number in range(5)]
    assert len(intake) == 0


def test_keys_take_turns_by_bytes_not_by_messages() -> None:
    intake = Intake()
    for number in range(4):
        intake.put(item("large", number, cost=4 * UNREAD_TURN_BYTES))
    for number in range(8):
        intake.put(item("small", number, cost=UNREAD_TURN_BYTES))
    taken = order(intake)
    assert taken.index(("small", 7)) < taken.index(("large", 2))
    assert taken.index(("large", 0)) < taken.index(("small", 5))


def test_the_turns_that_a_costly_item_waits_for_are_not_counted_one_by_one() -> None:
    """As many as this one would take for ever."""
    intake = Intake()
    intake.put(item("costly", 0, cost=UNREAD_TURN_BYTES << 60))
    intake.put(item("costly too", 1, cost=UNREAD_TURN_BYTES << 59))
    assert order(intake) == [("costly too", 1), ("costly", 0)]


@pytest.mark.parametrize("waiting", [0, 1])
def test_what_was_read_beyond_the_known_cost_is_paid_in_turns(waiting: int) -> None:
    intake = Intake()
    for number in range(1 + waiting):
        intake.put(item("reads much", number))
    intake.take()
    intake.charge("reads much", 4 * UNREAD_TURN_BYTES)
    intake.finished()
    if not waiting:
        intake.put(item("reads much", 1))
    for number in range(3):
        intake.put(item("other", number, cost=UNREAD_TURN_BYTES))
    assert order(intake) == [*(("other", number) for number in range(3)), ("reads much", 1)]


def test_a_key_waits_until_its_last_message_was_read() -> None:
    intake = Intake()
    intake.put(item("a", 1))
    intake.take()
    assert intake.is_waiting("a")
    assert not intake.is_waiting("b")
    intake.finished()
    assert not intake.is_waiting("a")


def test_a_key_is_bounded_and_so_are_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.intake.MAX_UNREAD_BYTES_PER_KEY", 10)
    monkeypatch.setattr("broker.intake.MAX_UNREAD_BYTES", 15)
    intake = Intake()
    intake.put(item("a", 1, size=8))
    assert not intake.has_room("a", 3)
    assert intake.has_room("b", 3)
    assert not intake.has_room("b", 8)
    intake.take()
    assert intake.has_room("a", 10)


def test_what_is_void_gives_its_room_back() -> None:
    intake = Intake()
    for number in range(3):
        intake.put(item("a", number))
    assert intake.drop("a", lambda each: each.message == Cancel(1))
    assert not intake.drop("a", lambda each: each.message == Cancel(1))
    assert order(intake) == [("a", 0), ("a", 2)]


def test_what_a_key_may_have_read_at_once_fills_up_again() -> None:
    intake = Intake()
    assert intake.may_read_at_once("a", AT_ONCE_BURST_BYTES, 0.0)
    assert not intake.may_read_at_once("a", 1000, 0.0)
    assert intake.may_read_at_once("b", 1000, 0.0)
    assert intake.may_read_at_once("a", 1000, 2000 / AT_ONCE_BYTES_PER_S)
