"""Which connection goes when there are too many, and that it does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from broker.core.limits import MAX_SILENT_OF_ADDRESS, SILENT_S
from broker.transport import watch
from broker.transport.connections import Connections
from broker.transport.watch import SILENT, TOO_MANY, TOO_MANY_SILENT, ConnectionWatch, Peer
from zcc import tcp

MOST = 1000


@dataclass
class World:
    """A watch over connections that are made up; `tried` and `told` have their descriptors."""

    connections: Connections[tcp.Address] = field(default_factory=Connections[tcp.Address])
    tried: list[int] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = ConnectionWatch(self.connections, self._tell)

    def _tell(self, peer: Peer, reason: str) -> None:
        self.told.append((peer.descriptor, reason))

    def arrives(self, descriptor: int, host: str = "", now: float = 0.0) -> None:
        address = (host or f"2001:db8::{descriptor:x}", 1)
        self.watch.arrived(self.connections.accepted(descriptor, address, now))

    def speaks(self, descriptor: int) -> None:
        name = f"{descriptor}"
        assert self.connections.heard(descriptor, name.encode(), name) is not None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(watch, "most_connections", lambda: MOST)
    monkeypatch.setattr(tcp, "shut", lambda descriptor, _: made.tried.append(descriptor))
    monkeypatch.setattr(tcp, "counts_of", lambda *_: tcp.Counts(0, 0))
    made.watch = ConnectionWatch(made.connections, made._tell)
    return made


def test_beyond_the_bound_the_one_of_all_that_is_silent_for_longest_goes(world: World) -> None:
    """Strangers may have an address each: whoever comes from a new one is no worse than they."""
    for number in range(MOST):
        world.arrives(number)
    world.speaks(0)
    world.connections.disconnected(1)
    assert world.told == []
    world.arrives(MOST)
    world.arrives(MOST + 1)
    world.arrives(MOST + 2)
    assert world.told == [(2, TOO_MANY), (3, TOO_MANY)]
    world.watch.look(1.0)
    world.arrives(MOST + 3)
    assert world.told[2:] == [(4, TOO_MANY)]


def test_where_all_others_have_spoken_the_newest_goes(world: World) -> None:
    for number in range(MOST):
        world.arrives(number)
        world.speaks(number)
    for newest in (MOST, MOST + 1):
        world.arrives(newest)
        assert world.told[-1] == (newest, TOO_MANY)


def test_beyond_half_of_it_the_oldest_of_an_address_with_many_silent_ones_goes(
    world: World,
) -> None:
    for number in range(MOST // 2):
        world.arrives(number)
    for number in range(MAX_SILENT_OF_ADDRESS + 1):
        world.arrives(MOST + number, "2001:db8:1::7")
    assert world.told == [(MOST, TOO_MANY_SILENT)]


def test_a_connection_that_was_shut_and_is_still_there_is_shut_again(world: World) -> None:
    world.arrives(5)
    world.arrives(6)
    world.speaks(6)
    world.watch.look(SILENT_S + 1)
    assert (world.tried, world.told) == ([5], [(5, SILENT)])
    (spoken,) = world.connections.of_user("6")
    world.watch.shut(spoken)
    world.watch.look(SILENT_S + 2)
    world.connections.disconnected(5)
    world.watch.look(SILENT_S + 3)
    assert world.tried == [5, 6, 5, 6, 6]
    assert world.told == [(5, SILENT)]  # it is told once
