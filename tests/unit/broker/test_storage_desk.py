"""The storage's desk for members: values in pieces, and what no correct peer sends."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from broker.storage.member_values import (
    MAX_PUTS_PER_ROUTE,
    PUT_STALL_S,
    MembersDesk,
    StorageMessage,
)
from broker.storage.tokens import StorageAccess
from cache.digest import digest_of
from cache.values import ValueStore, purge_written
from zcc.errors import ProtocolError
from zcc.messages import (
    CHUNK_BYTES,
    Message,
    StorageEnd,
    StorageGet,
    StorageMore,
    StoragePut,
    StorageRemove,
    StorageValue,
)

KEY = bytes(range(20))
LIMIT_BYTES = 1 << 26


@dataclass
class Farm:
    """A desk, and what it has answered to each route."""

    path: Path
    access: StorageAccess | None = StorageAccess.WRITE
    now: float = 100.0
    answers: list[tuple[bytes, Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values = ValueStore(str(self.path), LIMIT_BYTES)
        # Answers that are to be made when their peer has room; None: it always has.
        self.later: list[tuple[bytes, Callable[[], Message]]] | None = None
        self.has_too_many = False
        self.desk = MembersDesk(self.values, self.access, self._send, self._offer, self.counts)

    def _offer(self, route: bytes, make: Callable[[], Message]) -> bool:
        if self.has_too_many:
            return False
        if self.later is not None:
            self.later.append((route, make))
        else:
            self._send(route, make())
        return True

    def _send(self, route: bytes, message: Message) -> None:
        self.answers.append((route, message))

    def say(self, *messages: StorageMessage, route: bytes = b"a", user: str = "") -> list[Message]:
        """What this route is answered."""
        before = len(self.answers)
        for message in messages:
            self.desk.take(route, message, self.now, user)
        assert {each[0] for each in self.answers[before:]} <= {route}
        return [each[1] for each in self.answers[before:]]

    def get(self, key: bytes = KEY) -> bytes | None:
        data = bytearray()
        while True:
            (answer,) = self.say(StorageGet(7, key, len(data)))
            if not isinstance(answer, StorageValue):
                return None
            assert answer.offset == len(data)
            data += answer.body
            if len(data) == answer.total:
                assert digest_of(data) == answer.digest
                return bytes(data)


def files(farm: Farm) -> list[Path]:
    return [each for each in farm.path.rglob("*") if each.is_file()]


def pieces(data: bytes, ticket: int = 1, *, is_overwriting: bool = True) -> list[StoragePut]:
    return [
        StoragePut(
            ticket, KEY, is_overwriting, digest_of(data), at, len(data), data[at : at + CHUNK_BYTES]
        )
        for at in range(0, len(data), CHUNK_BYTES)
    ]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path)
    yield farm
    farm.desk.close()
    assert farm.values.arriving_bytes == 0


def test_a_value_goes_in_and_comes_out_in_pieces(farm: Farm) -> None:
    data = os.urandom(2 * CHUNK_BYTES + 1)
    assert farm.say(StorageGet(1, KEY, 0)) == [StorageEnd(1, False, "absent")]
    assert farm.say(*pieces(data)) == [StorageMore(1), StorageMore(1), StorageEnd(1, True, "")]
    assert farm.get() == data
    assert farm.say(StorageRemove(2, KEY)) == [StorageEnd(2, True, "")]
    assert farm.say(StorageRemove(3, KEY)) == [StorageEnd(3, False, "absent")]
    assert farm.get() is None


def test_a_value_that_is_there_stays_unless_it_is_to_be_overwritten(farm: Farm) -> None:
    farm.say(*pieces(b"first"))
    assert farm.say(*pieces(b"second", is_overwriting=False)) == [StorageEnd(1, False, "present")]
    assert farm.get() == b"first"
    farm.say(*pieces(b"second"))
    assert farm.get() == b"second"


def test_what_was_on_its_way_when_a_put_ended_is_passed_over(farm: Farm) -> None:
    farm.say(*pieces(b"first"))
    data = os.urandom(3 * CHUNK_BYTES)
    assert farm.say(*pieces(data, is_overwriting=False)) == [StorageEnd(1, False, "present")]


def test_members_may_be_kept_from_writing_and_from_everything(tmp_path: Path) -> None:
    writing = Farm(tmp_path)
    writing.say(*pieces(b"a value"))
    reading = Farm(tmp_path, StorageAccess.READ)
    assert reading.say(*pieces(b"poison")) == [StorageEnd(1, False, "read-only")]
    assert reading.say(StorageRemove(2, KEY)) == [StorageEnd(2, False, "read-only")]
    assert reading.get() == b"a value"
    (answer,) = Farm(tmp_path, None).say(StorageGet(3, KEY, 0))
    assert isinstance(answer, StorageEnd)
    assert not answer.is_done


def test_two_peers_storing_one_key_do_not_mix(farm: Farm) -> None:
    one, two = (os.urandom(2 * CHUNK_BYTES) for _ in range(2))
    for first, second in zip(pieces(one), pieces(two), strict=True):
        farm.say(first, route=b"a")
        farm.say(second, route=b"b")
    assert farm.get() == two


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1},
        {"total": CHUNK_BYTES + 2},
        {"key": bytes(20)},
        {"body": b""},
        {"body": bytes(CHUNK_BYTES + 1)},
        {"offset": 0},
        {"body": b"y"},
        {"digest": digest_of(b"other")},
        {"key": b"short"},
        {"key": bytes(65)},
    ],
)
def test_a_second_piece_that_does_not_follow_gets_the_peer_dropped(
    farm: Farm, changes: dict[str, object]
) -> None:
    first, second = pieces(b"x" * (CHUNK_BYTES + 1))
    farm.say(first)
    with pytest.raises(ProtocolError):
        farm.say(replace(second, **changes))  # type: ignore[arg-type]
    farm.desk.forget(b"a")
    assert farm.get() is None
    assert farm.values.arriving_bytes == 0


def test_what_a_lost_peer_began_is_dropped(farm: Farm) -> None:
    first, second = pieces(os.urandom(2 * CHUNK_BYTES))
    farm.say(first, route=b"a")
    farm.say(first, route=b"b")
    farm.desk.forget(b"a")
    assert farm.values.arriving_bytes == CHUNK_BYTES
    assert farm.say(second, route=b"a") == []
    assert farm.say(second, route=b"b") == [StorageEnd(1, True, "")]


def test_a_put_that_stands_still_ends(farm: Farm) -> None:
    farm.say(pieces(os.urandom(2 * CHUNK_BYTES))[0])
    farm.desk.tick(farm.now + PUT_STALL_S)
    assert farm.values.arriving_bytes
    farm.desk.tick(farm.now + PUT_STALL_S + 1)
    assert farm.answers[-1] == (b"a", StorageEnd(1, False, "stalled"))
    assert not farm.values.arriving_bytes


def test_one_peer_has_so_many_puts_under_way_and_no_more(farm: Farm) -> None:
    data = os.urandom(CHUNK_BYTES + 1)
    for ticket in range(MAX_PUTS_PER_ROUTE):
        assert farm.say(pieces(data, ticket)[0]) == [StorageMore(ticket)]
    assert farm.say(pieces(data, 999)[0]) == [StorageEnd(999, False, "too-many")]
    farm.say(*pieces(data, 999), route=b"b")
    assert farm.get() is not None


def test_one_key_has_so_many_puts_under_way_from_all_its_peers_and_no_more(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.storage.member_values.MAX_PUTS_PER_KEY", 3)
    data = os.urandom(CHUNK_BYTES + 1)
    first, last = pieces(data)
    for route in (b"a", b"b", b"c"):
        assert farm.say(first, route=route, user="one") == [StorageMore(1)]
    assert farm.say(first, route=b"d", user="one") == [StorageEnd(1, False, "too-many")]
    assert farm.say(*pieces(b"short"), route=b"d", user="one") == [StorageEnd(1, True, "")]
    assert farm.say(first, route=b"e", user="another") == [StorageMore(1)]
    for route in (b"a", b"b"):  # whatever ends one makes room for the next
        farm.say(last, route=route, user="one")
    farm.desk.forget(b"c")
    for route in (b"f", b"g", b"h"):
        assert farm.say(first, route=route, user="one") == [StorageMore(1)]
    farm.desk.tick(farm.now + PUT_STALL_S + 1)
    assert farm.say(first, route=b"i", user="one") == [StorageMore(1)]


def test_what_one_key_stores_is_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.storage.member_values.STORED_BURST_BYTES", 4 * CHUNK_BYTES)
    monkeypatch.setattr("broker.storage.member_values.STORED_BYTES_PER_S", 2 * CHUNK_BYTES)
    farm = Farm(tmp_path)
    parts = pieces(os.urandom(7 * CHUNK_BYTES))
    assert farm.say(*parts[:3], user="one") == [StorageMore(1)] * 3
    assert farm.say(*parts[3:5], user="one") == [], "what comes next is asked for later"
    assert farm.say(*pieces(b"short", 2), user="one") == [StorageEnd(2, False, "too-many")]
    assert farm.say(*pieces(b"short", 3), user="another") == [StorageEnd(3, True, "")]
    farm.now += 2.0
    farm.answers.clear()
    farm.desk.tick(farm.now)
    assert farm.answers == [(b"a", StorageMore(1))] * 2
    assert farm.say(*parts[5:], user="one")[-1] == StorageEnd(1, True, "")
    # Who does not wait for the answers has his value dropped.
    more = pieces(os.urandom(20 * CHUNK_BYTES), 4)
    farm.now += 60.0
    answers = farm.say(*more, user="one")
    assert answers == [StorageMore(4)] * 3 + [StorageEnd(4, False, "too-many")]
    assert farm.values.arriving_bytes == 0
    farm.desk.close()


def test_what_is_announced_and_does_not_come_takes_no_room(farm: Farm) -> None:
    first = pieces(os.urandom(CHUNK_BYTES))[0]
    for ticket in range(MAX_PUTS_PER_ROUTE):
        begun = replace(first, ticket=ticket, total=LIMIT_BYTES // 4)
        assert farm.say(begun, user="one") == [StorageMore(ticket)]
    assert farm.values.arriving_bytes == MAX_PUTS_PER_ROUTE * CHUNK_BYTES
    assert farm.say(*pieces(b"short"), route=b"b", user="another") == [StorageEnd(1, True, "")]


def test_a_put_in_crumbs_gets_the_peer_dropped(farm: Farm) -> None:
    crumb = replace(pieces(os.urandom(2 * CHUNK_BYTES))[0], body=b"x")
    with pytest.raises(ProtocolError):
        farm.say(crumb)
    assert files(farm) == []


def test_more_than_the_store_may_hold_is_not_taken(farm: Farm) -> None:
    first = replace(pieces(bytes(CHUNK_BYTES))[0], total=LIMIT_BYTES + 1)
    (answer,) = farm.say(first)
    assert isinstance(answer, StorageEnd)
    assert answer.reason.startswith("disk: ")


def test_a_piece_beyond_a_values_end_is_absent(farm: Farm) -> None:
    """A shorter value has taken the place of the one that was being read."""
    farm.say(*pieces(b"short"))
    assert farm.say(StorageGet(1, KEY, 1 << 60)) == [StorageEnd(1, False, "absent")]


def test_a_value_keeps_the_name_of_the_key_that_wrote_it(farm: Farm) -> None:
    (put,) = pieces(b"a value")
    farm.desk.take(b"a", put, farm.now, "first-writer" + "k" * 28)
    assert purge_written(str(farm.path), "another-writer") == 0
    assert purge_written(str(farm.path), "first-writer") == 0
    farm.desk.take(b"a", put, farm.now, "second-writer" + "k" * 27)  # who overwrites is the writer
    assert purge_written(str(farm.path), "first-writer" + "k" * 28) == 0
    assert purge_written(str(farm.path), "second-writer" + "k" * 27) == 1
    assert farm.get() is None


def test_a_piece_is_read_when_its_peer_has_room_for_it(farm: Farm) -> None:
    farm.say(*pieces(b"value"))
    farm.later = []
    assert farm.say(StorageGet(2, KEY, 0), StorageGet(3, KEY, 0)) == []
    farm.say(*pieces(b"another"))
    made = [make() for _, make in farm.later]
    assert [each.body for each in made if isinstance(each, StorageValue)] == [b"another"] * 2


def test_of_what_waits_for_room_a_peer_has_so_much_and_no_more(farm: Farm) -> None:
    farm.has_too_many = True
    assert farm.say(StorageGet(2, KEY, 0)) == [StorageEnd(2, False, "too-many")]
