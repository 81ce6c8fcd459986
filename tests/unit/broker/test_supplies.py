"""What a node's line gives, by what is seen of it; and when a toolchain will be there."""

from __future__ import annotations

import pytest

from broker.core.limits import LINE_BYTES_PER_S, LINE_HALF_S, NEAR_S, TOOLCHAIN_BYTES, UNPACKING_S
from broker.scheduling.distance import MeasuredLine
from broker.scheduling.supplies import Supplies
from cache.digest import digest_of

NOW = 1000.0
GCC, CLANG = digest_of(b"gcc"), digest_of(b"clang")
SIZE = 60_000_000
PIECE = 1 << 20
SLOW = 1.25e6  # 10 Mbit/s


class Node:
    """Fetches GCC, for a lease that has a slot."""

    def __init__(self, line: MeasuredLine, now: float = NOW, size_bytes: int = SIZE) -> None:
        self.line, self.now, self.size_bytes = line, now, size_bytes
        self.supplies = Supplies(line)
        self.supplies.ordered(GCC, size_bytes, now, now)
        self.supplies.asked(GCC, 0, now)
        self.left_bytes = size_bytes

    def takes(self, size_bytes: int, seconds: float) -> None:
        """Credits for so many bytes, in this time."""
        for _ in range(size_bytes // PIECE):
            self.now += seconds * PIECE / size_bytes
            self.left_bytes -= PIECE
            self.supplies.taken(PIECE, ((GCC, self.left_bytes),), self.now)

    def begins(self, after_s: float = 0.0) -> bool:
        self.now += after_s
        return self.supplies.begun(GCC, None, self.now)

    @property
    def arrival_s(self) -> float:
        return self.supplies.arrival_s(GCC, self.size_bytes, self.now)


def rate(line: MeasuredLine, now: float = NOW) -> float:
    return line.bytes_per_s(now)


def test_a_line_of_which_nothing_is_known_is_taken_for_a_usual_one() -> None:
    assert rate(MeasuredLine()) == LINE_BYTES_PER_S
    away_s = Supplies(MeasuredLine()).arrival_s(GCC, TOOLCHAIN_BYTES, NOW)
    assert away_s == pytest.approx(2.0)


@pytest.mark.parametrize("bytes_per_s", [SLOW, 10 * SLOW, 100 * SLOW])
def test_a_line_is_known_while_the_first_toolchain_comes_over_it(bytes_per_s: float) -> None:
    node = Node(MeasuredLine())
    node.takes(16 * PIECE, 16 * PIECE / bytes_per_s)
    assert rate(node.line, node.now) == pytest.approx(bytes_per_s, rel=0.15)
    assert node.arrival_s == pytest.approx(node.left_bytes / bytes_per_s, rel=0.15)


def test_what_is_on_its_way_counts_for_its_rest_and_no_word_is_needed_for_it() -> None:
    node = Node(MeasuredLine())
    node.takes(30 * PIECE, 30 * PIECE / SLOW)
    before_s = node.arrival_s
    node.now += 0.5
    assert node.arrival_s == pytest.approx(before_s - 0.5)


def test_another_toolchain_has_to_share_the_line_with_what_is_on_its_way() -> None:
    node = Node(MeasuredLine())
    alone_s = Supplies(node.line).arrival_s(CLANG, SIZE, NOW)
    assert node.supplies.arrival_s(CLANG, SIZE, NOW) == pytest.approx(2 * alone_s)
    # A small one is through when the large one has gone on as far.
    assert node.supplies.arrival_s(CLANG, PIECE, NOW) == pytest.approx(2 * PIECE / LINE_BYTES_PER_S)


def test_unpacking_counts_as_a_part_of_the_way() -> None:
    node = Node(MeasuredLine())
    node.takes(57 * PIECE, 0.5)
    assert node.begins(after_s=1.5)
    assert rate(node.line, node.now) == pytest.approx(SIZE / 2.0, rel=0.1)


def test_who_takes_bytes_in_name_only_looks_nearer_for_one_transfer() -> None:
    node = Node(MeasuredLine())
    node.takes(57 * PIECE, 0.01)
    assert rate(node.line, node.now) > LINE_BYTES_PER_S
    assert node.begins(after_s=SIZE / SLOW)
    assert rate(node.line, node.now) == pytest.approx(SLOW, rel=0.1)


def test_who_begins_in_name_only_looks_nearer_for_one_transfer() -> None:
    node = Node(MeasuredLine())
    node.takes(57 * PIECE, 0.01)
    assert node.begins()
    node.line.late(SIZE / SLOW)
    assert rate(node.line, node.now) == pytest.approx(SLOW, rel=0.1)


def test_who_takes_a_toolchain_again_and_again_and_runs_nothing_looks_no_nearer() -> None:
    line, now = MeasuredLine(), NOW
    for _ in range(5):
        node = Node(line, now)
        node.takes(57 * PIECE, 0.01)
        node.supplies.end(node.now)
        now = node.now + 1.0
    assert rate(line, now) <= LINE_BYTES_PER_S
    for _ in range(2):
        node = Node(line, now)
        node.takes(57 * PIECE, 0.01)
        node.now += UNPACKING_S + 1.0
        node.supplies.given_up(GCC, node.now)
        now = node.now
    assert rate(line, now) < 0.01 * LINE_BYTES_PER_S


def test_a_line_is_found_fast_again_by_the_next_toolchain() -> None:
    line = MeasuredLine()
    slow = Node(line)
    slow.takes(57 * PIECE, SIZE / SLOW)
    assert slow.begins()
    fast = Node(line, slow.now + 60.0)
    fast.takes(57 * PIECE, 0.5)
    assert fast.begins()
    assert rate(line, fast.now) > 20 * SLOW


def test_what_was_seen_long_ago_counts_for_little() -> None:
    node = Node(MeasuredLine())
    node.takes(57 * PIECE, SIZE / SLOW)
    assert node.begins()
    assert rate(node.line, node.now) < 2 * SLOW
    assert rate(node.line, node.now + 20 * LINE_HALF_S) > 0.9 * LINE_BYTES_PER_S


def test_a_small_toolchain_says_nothing_of_a_line() -> None:
    node = Node(MeasuredLine(), size_bytes=PIECE)
    node.takes(PIECE, 5.0)
    assert not node.begins()
    assert rate(node.line, node.now) == LINE_BYTES_PER_S


def test_a_toolchain_that_does_not_move_is_as_far_as_it_has_been_silent() -> None:
    node = Node(MeasuredLine())
    node.takes(57 * PIECE, 0.5)
    node.now += UNPACKING_S - 0.5
    assert node.arrival_s < NEAR_S
    node.now += 10.0
    assert node.arrival_s == pytest.approx(UNPACKING_S + 9.5)
    assert node.supplies.afar(node.now) == (GCC,)


def test_what_was_asked_for_comes_when_its_job_is_taken_back() -> None:
    node = Node(MeasuredLine())
    node.takes(10 * PIECE, 1.0)
    node.supplies.given_up(GCC, node.now)
    assert GCC in node.supplies
    assert node.supplies.afar(node.now) == (GCC,)
    node.now += 60.0  # and nobody is silent whom nobody waits for
    assert node.arrival_s == 0.0


def test_what_was_not_asked_for_does_not_come_when_its_job_is_taken_back() -> None:
    supplies = Supplies(MeasuredLine())
    supplies.ordered(GCC, SIZE, NOW, NOW)
    supplies.given_up(GCC, NOW + 0.1)
    assert GCC not in supplies
