"""Which job goes when the disk is short: the one that is why, and it alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from node.sandbox.disk import JobDisk
from zcc.messages import Fault

MIB = 1 << 20
KEPT_BYTES = 1024 * MIB


@dataclass(eq=False)
class Writer:
    written_bytes: int
    looked_at: float = 0.0


class World:
    """A disk with so much free at a time `now`, at which each writer in turn is looked at."""

    def __init__(self) -> None:
        self.free_bytes = 2 * KEPT_BYTES
        self.now = 100.0
        self.disk = JobDisk(lambda _: self.free_bytes)
        self.writers: list[Writer] = []

    @contextlib.contextmanager
    def writers_of(self, *mib: int) -> Iterator[list[Writer]]:
        with contextlib.ExitStack() as stack:
            for each in mib:
                self.writers.append(Writer(each * MIB))
                stack.enter_context(self.disk.written_by(self.writers[-1]))
            yield self.writers

    def look(self, *writers: Writer) -> dict[int, Fault]:
        """A tenth of a second later, look at these, or at all; who of them goes, by number."""
        self.now += 0.1
        going = {}
        for each in writers or self.writers:
            said = self.disk.why_stop(each, b"/scratch", KEPT_BYTES, self.now)
            each.looked_at = self.now
            if said is not None:
                going[self.writers.index(each)] = said[0]
        return going


@pytest.fixture
def world() -> World:
    return World()


def test_nobody_goes_while_enough_is_free(world: World) -> None:
    with world.writers_of(900, 5):
        assert [world.look() for _ in range(30)] == [{}] * 30


def test_the_one_that_has_written_most_goes_and_no_other(world: World) -> None:
    with world.writers_of(5, 700, 900):
        world.look()
        world.free_bytes = 0
        said = [world.look() for _ in range(8)]
        assert sum(map(len, said)) == 1
        assert {2: Fault.RESOURCES} in said


def test_what_was_written_since_the_last_look_counts(world: World) -> None:
    """The disk is short before anybody knows who has filled it."""
    with world.writers_of(5, 0) as (_, filler):
        world.look()
        world.free_bytes = 0
        assert world.look(world.writers[0]) == {}
        assert world.look(world.writers[0]) == {}
        filler.written_bytes = 900 * MIB
        assert world.look(filler) == {}
        assert world.look() == {1: Fault.RESOURCES}


def test_the_next_goes_when_the_first_one_s_files_had_time_to(world: World) -> None:
    with world.writers_of(600):
        with world.writers_of(900):
            world.free_bytes = 0
            while not (going := world.look()):
                pass
            assert going == {1: Fault.RESOURCES}
            chosen_at = world.now
            assert [world.look(world.writers[0]) for _ in range(30)] == [{}] * 30, "it still dies"
        world.writers.pop()
        while not (going := world.look()):
            pass
        assert going == {0: Fault.RESOURCES}
        assert world.now - chosen_at >= 1.0


def test_one_that_is_not_looked_at_does_not_hold_the_others_up(world: World) -> None:
    with world.writers_of(900, 0) as (filler, _):
        world.free_bytes = 0
        said = [world.look(filler) for _ in range(15)]
        assert {0: Fault.RESOURCES} in said
        assert said[:5] == [{}] * 5


def test_nobody_is_to_blame_for_a_disk_that_others_fill(world: World) -> None:
    with world.writers_of(60, 5):
        world.free_bytes = 0
        said = [world.look() for _ in range(8)]
        assert {0: Fault.PAUSED} in said
        assert sum(map(len, said)) == 1


def test_a_disk_that_has_room_again_forgets(world: World) -> None:
    with world.writers_of(900, 5):
        world.free_bytes = 0
        world.look()
        world.free_bytes = 2 * KEPT_BYTES
        assert [world.look() for _ in range(30)] == [{}] * 30
