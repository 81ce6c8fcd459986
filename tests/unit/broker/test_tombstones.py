"""What was taken back does not come back from a tier, and what was made since may."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from broker.results import tombstones as module
from broker.results.tombstones import FILE_NAME, Tombstones, note_tombstone
from cache.digest import digest_of
from cache.record import Record, Source
from cache.remote.seal import Sealed
from cache.selection import ALL, Selection

KEY, GCC = digest_of(b"job"), digest_of(b"gcc")
RECORD = Record(KEY, b"", (), 0, Source(GCC, "oak", "oak's key", "ann's key"), 1.0)


def begun(state: Path) -> Tombstones:
    tombstones = Tombstones(str(state))
    tombstones.begin_use()
    return tombstones


def sealed(tombstones: Tombstones, record: Record = RECORD) -> Sealed:
    stamp = tombstones.stamp()
    assert stamp is not None
    return Sealed(record, stamp)


def test_a_verdict_voids_what_was_sealed_before_it_and_nothing_else(tmp_path: Path) -> None:
    tombstones = begun(tmp_path)
    before = sealed(tombstones)
    others = sealed(tombstones, replace(RECORD, key=digest_of(b"other")))
    assert not tombstones.is_void(before)
    tombstones.add(KEY)
    assert tombstones.is_void(before)
    assert not tombstones.is_void(others)
    assert not tombstones.is_void(sealed(tombstones))  # made again
    again = begun(tmp_path)
    assert again.is_void(before)
    assert not again.is_void(others)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(node="oak"),
        Selection(node_key="oak's key"),
        Selection(user="ann's key"),
        Selection(toolchain_prefix=GCC[:3]),
        Selection(key_prefix=KEY[:2]),
        Selection(node="oak", made_before_s=1.0),
        ALL,
    ],
)
def test_a_purge_beside_the_broker_voids_what_it_names(
    tmp_path: Path, selection: Selection
) -> None:
    tombstones = begun(tmp_path)
    before = sealed(tombstones)
    source = Source(digest_of(b"clang"), "elm", "elm's key", "bob's key")
    other = sealed(tombstones, replace(RECORD, key=digest_of(b"other"), source=source))
    note_tombstone(str(tmp_path), selection)
    tombstones.look()
    assert tombstones.is_void(before)
    assert tombstones.is_void(other) == (selection == ALL)
    assert not tombstones.is_void(sealed(tombstones))


def test_a_purge_by_age_makes_room_and_voids_nothing(tmp_path: Path) -> None:
    tombstones = begun(tmp_path)
    before = sealed(tombstones)
    note_tombstone(str(tmp_path), Selection(used_before_s=1.0, made_before_s=2.0))
    tombstones.look()
    assert not tombstones.is_void(before)


def test_another_list_knows_nothing_of_what_was_sealed(tmp_path: Path) -> None:
    before = sealed(begun(tmp_path))
    os.unlink(tmp_path / FILE_NAME)
    assert begun(tmp_path).is_void(before)


def test_a_list_that_is_cut_off_knows_nothing_of_what_was_sealed_later(tmp_path: Path) -> None:
    tombstones = begun(tmp_path)
    beginning = (tmp_path / FILE_NAME).read_bytes()
    tombstones.add(KEY)
    later = sealed(tombstones)
    (tmp_path / FILE_NAME).write_bytes(beginning)
    assert begun(tmp_path).is_void(later)


def test_a_list_grown_too_long_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOMBSTONES", 3)
    tombstones = begun(tmp_path)
    before = sealed(tombstones)
    for at in range(4):
        tombstones.add(digest_of(b"%d" % at))
    assert tombstones.is_void(before)
    assert not tombstones.is_void(sealed(tombstones))


def test_what_no_disk_takes_counts_all_the_same_and_nothing_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstones = begun(tmp_path)
    before = sealed(tombstones)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("broker.results.marked_list.add_lines", refuse)
        tombstones.add(KEY)
        assert tombstones.is_void(before)
        assert tombstones.stamp() is None
    tombstones.tick()
    assert tombstones.stamp() is not None
    assert begun(tmp_path).is_void(before)


def test_a_disk_that_is_full_to_the_end_costs_all_that_tiers_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstones = begun(tmp_path)
    other = sealed(tombstones, replace(RECORD, key=digest_of(b"other")))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("broker.results.marked_list.add_lines", refuse)
        tombstones.add(KEY)
        tombstones.close()
    assert begun(tmp_path).is_void(other)


def test_without_tiers_there_is_no_list_and_one_that_there_was_goes_on(tmp_path: Path) -> None:
    Tombstones(str(tmp_path)).add(KEY)
    note_tombstone(str(tmp_path), ALL)
    assert not (tmp_path / FILE_NAME).exists()
    before = sealed(begun(tmp_path))
    Tombstones(str(tmp_path)).add(KEY)  # a broker that has none any more
    assert begun(tmp_path).is_void(before)
