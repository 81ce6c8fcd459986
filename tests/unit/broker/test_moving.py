"""Bytes on their way, as watchers are told them: over lines, and of toolchains that come from agents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.core.events import Origin, RerunAsked
from broker.core.limits import STARTUP_GRACE_S
from broker.watching import moving
from cache.digest import Digest
from tests.support.broker_world import Desk, job
from tests.support.watched import Feed, Seer
from zcc.events import LinkRow, LinksShown, ToolchainUploaded
from zcc.messages import Run, Started


class Counted:
    """A transport that has counted this."""

    def __init__(self) -> None:
        self.by_route: dict[bytes, tuple[int, int]] = {}
        self.coming: list[tuple[str, Digest, int, int]] = []
        self.stored: set[Digest] = set()

    def bytes_on(self, route: bytes) -> tuple[int, int] | None:
        return self.by_route.get(route)

    def uploads(self) -> Iterator[tuple[str, Digest, int, int]]:
        return iter(self.coming)

    def is_stored(self, digest: Digest) -> bool:
        return digest in self.stored

    def move(self, origin: Origin, received: int, sent: int) -> None:
        before = self.by_route.get(origin.route, (0, 0))
        self.by_route[origin.route] = before[0] + received, before[1] + sent


class World:
    def __init__(self) -> None:
        self.desk = Desk()
        self.desk.pass_time(STARTUP_GRACE_S + 0.5)
        self.wires = Counted()
        self.feed = Feed(self.desk.machine.farm, self.wires)
        self.seer: Seer = self.feed.begin("seer")

    def wait_a_second(self) -> None:
        sessions = self.desk.machine.farm.sessions
        heard = frozenset(Origin(each.route, each.user, each.role) for each in sessions)
        self.desk.pass_time(1.0, heard)

    def links(self) -> list[LinkRow]:
        """What a second more has told."""
        self.wait_a_second()
        self.feed.tick()
        told = [each for each in self.seer.read() if isinstance(each, LinksShown)]
        assert len(told) <= 1
        return list(told[0].links) if told else []

    def uploads(self) -> list[tuple[int, int]]:
        self.wait_a_second()
        self.feed.tick()
        told = [each for each in self.seer.read() if isinstance(each, ToolchainUploaded)]
        return [(each.done_bytes, each.total_bytes) for each in told]

    def number_of(self, name: str) -> int:
        (found,) = [each for each in self.seer.state.nodes.values() if each.shown.name == name]
        return found.number


@pytest.fixture
def world() -> World:
    return World()


def test_what_moved_in_a_second_is_told_of_each_node_and_of_each_submitter(world: World) -> None:
    node, one = world.desk.node("n"), world.desk.client("a")
    other = world.desk.client("b", user=one.user)
    for each in (node, one, other):
        world.wires.move(each, 1_000_000, 1_000_000)
    assert world.links() == [], "what moved before anybody watched is told to nobody"
    world.wires.move(node, 5_000, 40_000)
    world.wires.move(one, 30_000, 1_000)
    world.wires.move(other, 10_000, 0)
    by_node, by_agents = world.links()
    assert (by_node.node, by_node.received_bytes, by_node.sent_bytes) == (
        world.number_of("n"), 5_000, 40_000,
    )  # fmt: skip
    assert (by_agents.node, by_agents.received_bytes, by_agents.sent_bytes) == (0, 40_000, 1_000)
    assert by_agents.for_ms == 1_000
    assert world.seer.state.links is not None
    assert world.seer.state.seconds[-1].counts["received_bytes"] == 45_000
    assert world.links() == []


def test_a_new_connection_counts_from_nothing_and_little_is_not_told(world: World) -> None:
    node = world.desk.node("n")
    world.wires.move(node, 1 << 20, 1 << 20)
    world.links()
    world.wires.by_route[node.route] = (3_000, 2_000)
    (row,) = world.links()
    assert (row.received_bytes, row.sent_bytes) == (3_000, 2_000)
    world.wires.move(node, 500, 500)
    assert world.links() == [], "beats are no traffic"


def test_of_many_lines_the_busiest_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "MAX_LINKS", 2)
    nodes = [world.desk.node(f"n{at}") for at in range(4)]
    for node in nodes:
        world.wires.move(node, 1, 0)
    world.links()
    for at, node in enumerate(nodes):
        world.wires.move(node, 10_000 * (at + 1), 0)
    assert [row.received_bytes for row in world.links()] == [40_000, 30_000]
    assert world.seer.state.links is not None
    assert world.seer.state.links.others_bytes == 30_000


def test_of_more_peers_than_a_second_allows_each_has_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [world.desk.node(f"n{at}") for at in range(4)]
    for node in nodes:
        world.wires.move(node, 1, 0)
    monkeypatch.setattr(moving, "MAX_LINES_READ", 2)
    for _ in range(4):
        world.links()
    for node in nodes:
        world.wires.move(node, 10_000, 0)
    told = [row for _ in range(4) for row in world.links()]
    assert sorted(row.node for row in told) == sorted(world.number_of(f"n{at}") for at in range(4))


def test_what_moves_for_a_job_that_nobody_is_told_of_shows_nowhere(world: World) -> None:
    node, maker = world.desk.node("n"), world.desk.node("maker")
    world.wires.move(node, 1, 1)
    world.links()
    facts = job("x", inputs=())
    world.desk.happen(
        RerunAsked(facts.key, facts.toolchain, (), b"", 1, "user-a", frozenset((maker.user,)), b"w")
    )
    world.desk.pass_time(0.1)
    runs: list[Run] = world.desk.runs(node)
    assert runs, "the rerun went to no node"
    world.wires.move(node, 0, 50_000)
    assert world.links() == []
    world.desk.say(node, Started(runs[0].lease))
    world.wires.move(node, 20_000, 0)
    world.desk.done(node, runs[0].lease)
    assert world.links() == [], "not when it is over, either"
    world.wires.move(node, 20_000, 0)
    assert len(world.links()) == 1


def test_a_toolchain_that_comes_from_an_agent_is_told_until_it_is_here(world: World) -> None:
    agent = world.desk.client("a")
    facts = job("x", inputs=())
    world.wires.coming = [(agent.user, facts.toolchain, 1_000, 9_000)]
    assert world.uploads() == [], "no job has named it as its toolchain"
    world.desk.node("n")
    world.desk.submit(agent, 1, facts)
    assert world.uploads() == [(1_000, 9_000)]
    (shown,) = world.seer.state.uploading.values()
    assert world.seer.state.members[shown.member].id == f"k-{agent.user}"
    world.wires.coming, world.wires.stored = [], {facts.toolchain}
    assert world.uploads() == [(9_000, 9_000)]
    assert not world.seer.state.uploading
    assert world.uploads() == []


def test_a_toolchain_that_comes_no_more_is_no_longer_on_its_way(world: World) -> None:
    agent, facts = world.desk.client("a"), job("x", inputs=())
    world.desk.node("n")
    world.desk.submit(agent, 1, facts)
    world.wires.coming = [(agent.user, facts.toolchain, 1_000, 9_000)]
    assert world.uploads() == [(1_000, 9_000)]
    world.wires.coming = []
    assert world.uploads() == [(0, 0)]
    assert not world.seer.state.uploading
