"""What waits to be read: in turns by bytes, bounded for each key, in each key's order."""

from __future__ import annotations

import pytest

from broker.core.events import Origin
from broker.core.limits import (
    AT_ONCE_BURST_BYTES,
    AT_ONCE_BYTES_PER_S,
    MAX_UNREAD_BYTES_PER_KEY,
    UNREAD_TURN_BYTES,
)
from broker.transport.intake import Intake, Unread
from cache.digest import digest_of
from zcc.messages import PeerRole, Submit

ORIGIN = Origin(b"a", "a", PeerRole.CLIENT)


def item(user: str, number: int, cost: int = 1, size: int = 1, route: bytes = b"") -> Unread:
    origin = Origin(route or user.encode(), user, PeerRole.CLIENT)
    message = Submit(number, digest_of(b"job"), 0.0, "b", False, b"", None, 0, b"")
    return Unread(user, origin, message, size, cost)


def order(intake: Intake) -> list[tuple[str, int]]:
    taken = []
    while (each := intake.take()) is not None:
        assert isinstance(each.message, Submit)
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
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES_PER_KEY", 10)
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES", 15)
    intake = Intake()
    intake.put(item("a", 1, size=8))
    assert intake.make_room("a", 3) == (False, [])
    assert intake.make_room("b", 3) == (True, [])
    intake.take()
    assert intake.make_room("a", 10) == (True, [])


def test_who_has_most_waiting_gives_way_to_who_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.transport.intake.MAX_UNREAD_BYTES", 20)
    intake = Intake()
    for number in range(4):
        intake.put(item("most", number, size=3))
    intake.put(item("some", 4, size=8))
    fits, lost = intake.make_room("least", 5)
    assert fits
    assert [(each.payer, each.ticket) for each in lost] == [("most", 3), ("most", 2)]
    intake.put(item("least", 5, size=5))
    assert intake.make_room("some", 3) == (False, [])  # it has the most itself
    assert order(intake) == [("most", 0), ("most", 1), ("some", 4), ("least", 5)]


def test_a_closed_routes_items_go_whoever_pays_for_them() -> None:
    """A node's results are paid for by those whose jobs they are."""
    intake = Intake()
    for number, payer in enumerate(("a", "b", "a")):
        intake.put(item(payer, number, route=b"node"))
    intake.put(item("a", 3, route=b"another node"))
    assert intake.holds(b"node", 1)
    intake.drop_route(b"node")
    assert not intake.holds(b"node")
    assert order(intake) == [("a", 3)]


def test_what_was_read_at_once_and_cost_more_than_it_said_is_paid_later() -> None:
    intake = Intake()
    intake.spend("a", AT_ONCE_BURST_BYTES + AT_ONCE_BYTES_PER_S, 0.0)
    assert not intake.may_read_at_once("a", 1, 0.5)
    assert intake.may_read_at_once("a", 1, 1.5)


def test_what_is_void_gives_its_room_back() -> None:
    intake = Intake()
    for number in range(3):
        intake.put(item("a", number))
    intake.put(item("a", 3, route=b"another"))
    assert intake.drop(ORIGIN, 1)
    assert not intake.drop(ORIGIN, 1)
    assert not intake.drop(ORIGIN, 3)
    assert intake.make_room("a", MAX_UNREAD_BYTES_PER_KEY - 3) == (True, [])
    assert order(intake) == [("a", 0), ("a", 2), ("a", 3)]


def test_a_closed_routes_items_go_and_no_others_of_its_key() -> None:
    intake = Intake()
    for number in range(4):
        intake.put(item("a", number, route=b"another" if number % 2 else b"a"))
    assert intake.drop(ORIGIN)
    assert not intake.drop(ORIGIN)
    assert order(intake) == [("a", 1), ("a", 3)]
    assert not intake._lines
    assert intake._size_bytes == 0


def test_to_drop_one_of_many_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = Intake()
    for number in range(1_000):
        intake.put(item("a", number))
        intake.put(item("a", number, route=b"another"))
    looked: list[int] = []

    def ticket_of(unread: Unread) -> int:
        assert isinstance(unread.message, Submit)
        looked.append(unread.message.ticket)
        return looked[-1]

    monkeypatch.setattr(Unread, "ticket", property(ticket_of))
    assert intake.drop(ORIGIN, 500)
    assert not intake.drop(ORIGIN, 5_000)
    assert set(looked) == {500}


def test_what_a_key_may_have_read_at_once_fills_up_again() -> None:
    intake = Intake()
    assert intake.may_read_at_once("a", AT_ONCE_BURST_BYTES, 0.0)
    assert not intake.may_read_at_once("a", 1000, 0.0)
    assert intake.may_read_at_once("b", 1000, 0.0)
    assert intake.may_read_at_once("a", 1000, 2000 / AT_ONCE_BYTES_PER_S)
