"""When an answer still holds: as long as all that it was made of is what it was."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zcc.compiler.disk.signatures import (
    RACY_WINDOW_NS,
    Memo,
    Sightings,
    is_racy,
    signature_at,
)

LONG_AGO_S = 1_600_000_000


def later_ns() -> int:
    """A clock by which nothing here has changed just now."""
    return time.time_ns() + 10 * RACY_WINDOW_NS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "12").mkdir()
    (tmp_path / "stage").mkdir()
    (tmp_path / "file").write_text("one")
    for name in ("listed", "file"):
        os.utime(tmp_path / name, (LONG_AGO_S, LONG_AGO_S))
    return tmp_path


def appear(place: Path) -> None:
    (place / "stage").rename(place / "listed" / "13")


def vanish(place: Path) -> None:
    (place / "listed" / "12").rmdir()


def replace(place: Path) -> None:
    """By another directory with the same names, as a mount or a link does."""
    (place / "listed").rename(place / "old")
    (place / "listed").mkdir()


def rewrite(place: Path) -> None:
    (place / "file").write_text("two")


def come(place: Path) -> None:
    (place / "absent").touch()


def go(place: Path) -> None:
    (place / "file").unlink()


@pytest.mark.parametrize("change", [appear, vanish, replace, rewrite, come, go])
def test_a_change_shows_though_its_time_is_set_back(
    place: Path, change: Callable[[Path], None]
) -> None:
    seen = Sightings(later_ns)
    for name in ("listed", "file", "absent"):
        seen.see(os.fsencode(place / name))
    assert seen.hold()
    change(place)
    for name in ("listed", "file"):
        if (place / name).exists():
            os.utime(place / name, (LONG_AGO_S, LONG_AGO_S))
    assert not seen.hold()


def test_what_changed_a_moment_ago_is_no_ground_to_stand_on(place: Path) -> None:
    path = os.fsencode(place / "file")
    changed_ns = os.stat(path).st_ctime_ns
    for after_ns, holds in ((RACY_WINDOW_NS - 1, False), (RACY_WINDOW_NS, True)):
        seen = Sightings(lambda after_ns=after_ns: changed_ns + after_ns)  # type: ignore[misc]
        seen.see(path)
        assert seen.hold() is holds
        assert is_racy(signature_at(path), changed_ns + after_ns) is not holds


def test_what_changes_between_the_reading_and_the_look_is_no_ground_either(place: Path) -> None:
    seen = Sightings(time.time_ns)
    path = os.fsencode(place / "listed")
    os.listdir(path)
    appear(place)
    seen.see(path)
    assert not seen.hold()


def test_an_answer_is_found_once_as_long_as_it_holds(place: Path) -> None:
    asked: list[int] = []

    def find(seen: Sightings) -> list[str]:
        asked.append(1)
        seen.see(os.fsencode(place / "listed"))
        return os.listdir(place / "listed")

    memo: Memo[str, list[str]] = Memo(2, later_ns)
    assert memo.answer("a", find) == memo.answer("a", find) == ["12"]
    assert len(asked) == 1
    appear(place)
    assert sorted(memo.answer("a", find)) == ["12", "13"]
    assert len(asked) == 2


def test_the_answers_unused_for_longest_go(place: Path) -> None:
    memo: Memo[str, str] = Memo(2, later_ns)
    for key in "ab":
        memo.put(key, key, memo.begin())
    assert memo.get("a") == "a"
    memo.put("c", "c", memo.begin())
    assert [memo.get(key) for key in "abc"] == ["a", None, "c"]
