"""Which key is given a connection."""

from __future__ import annotations

from broker.core.limits import ADMISSIONS_BURST, ADMISSIONS_PER_S, BAN_S, MAX_BAN_S, SILENT_S
from broker.core.manners import Manners
from broker.transport.gate import Gate
from zcc.messages import AskNodes, Beat, Chunk, Hello, Leave, Rejoin, StorageGet, StoragePut

MOST = 4


def test_a_key_has_so_many_connections_whether_they_have_spoken_or_not() -> None:
    gate = Gate(MOST)
    assert not any(gate.refusal("user", 0, 0.0) for _ in range(MOST))
    assert "as many connections" in gate.refusal("user", 0, 0.0)
    gate.spoke("user")
    assert "as many connections" in gate.refusal("user", 1, 0.0)
    assert not gate.refusal("another", 0, 0.0)
    assert not gate.refusal("user", 1, SILENT_S + 0.1)  # the three others were shut


def test_a_network_that_comes_and_goes_is_no_flood() -> None:
    gate, now = Gate(MOST), 0.0
    for _ in range(1000):
        assert not gate.refusal("user", 0, now)
        gate.spoke("user")
        now += 0.5


def test_who_connects_all_the_time_waits() -> None:
    gate = Gate(MOST)
    for _ in range(int(ADMISSIONS_BURST)):
        assert not gate.refusal("user", 0, 0.0)
        gate.spoke("user")
    assert "times a second" in gate.refusal("user", 0, 0.0)
    assert not gate.refusal("user", 0, 1.5 / ADMISSIONS_PER_S)


def test_a_ban_lasts_twice_as_long_each_time_up_to_a_bound() -> None:
    gate, now, length_s = Gate(MOST), 0.0, BAN_S
    for _ in range(12):
        gate.ban("user", now)
        assert gate.is_banned("user", now + length_s - 0.1)
        assert "admitted again" in gate.refusal("user", 0, now + length_s - 0.1)
        assert not gate.is_banned("user", now + length_s)
        now, length_s = now + length_s, min(2 * length_s, MAX_BAN_S)
    now += MAX_BAN_S + 1
    gate.ban("user", now)
    assert not gate.is_banned("user", now + BAN_S)  # long ago is forgotten
    assert not gate.is_banned("another", now)


def test_what_a_key_may_say_does_not_grow_with_its_connections() -> None:
    manners, said = Manners(64), 0
    while manners.allows("user", Beat, 0.0):
        said += 1
    assert 64 * 10 <= said <= 64 * 100
    assert manners.allows("user", Hello, 0.0)
    assert manners.allows("another", Beat, 0.0)
    assert manners.allows("user", Beat, 1.0)


def test_as_many_agents_as_a_key_may_have_beat_as_they_should() -> None:
    manners = Manners(64)
    assert all(
        manners.allows("user", kind, float(second))
        for second in range(600)
        for kind in (Beat, Hello)
        for _ in range(64)
    )


def test_kinds_that_cost_the_same_are_counted_together() -> None:
    manners, said = Manners(64), 0
    while manners.allows("user", StorageGet, 0.0):
        said += 1
    assert said > 1000  # a value of 128 MiB is 512 pieces
    assert not manners.allows("user", StoragePut, 0.0)
    while manners.allows("user", Rejoin, 0.0):
        pass
    assert not manners.allows("user", Leave, 0.0)


def test_nodes_are_asked_for_by_people_and_chunks_come_under_credit() -> None:
    manners = Manners(64)
    assert not all(manners.allows("user", AskNodes, 0.0) for _ in range(1000))
    assert all(manners.allows("user", Chunk, 0.0) for _ in range(100_000))
