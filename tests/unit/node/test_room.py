"""A node says whether its disk has room for jobs."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from node import room
from node.room import Room

MIB = 1 << 20


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What statvfs says: 1000 MiB free, files without end."""
    said = SimpleNamespace(f_bavail=1000, f_frsize=MIB, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    return said


def test_there_is_room_where_enough_is_free(tmp_path: object) -> None:
    assert Room(str(tmp_path), 0).why_none(0.0) == ""


def test_a_short_disk_is_named_with_the_cure(disk: SimpleNamespace) -> None:
    here = Room("/state", 1001 * MIB)
    assert here.why_none(0.0) == (
        "the disk of /state has 1000 MiB free where 1001 MiB have to be:"
        " make room there, or serve with another --state"
    )


def test_once_short_there_must_be_a_little_more(disk: SimpleNamespace) -> None:
    here = Room("/state", 1001 * MIB)
    assert here.why_none(0.0)
    disk.f_bavail = 1050
    assert here.why_none(1.0)
    disk.f_bavail = 1200
    assert here.why_none(2.0) == ""


def test_a_file_system_without_files_left_has_no_room(disk: SimpleNamespace) -> None:
    disk.f_files, disk.f_favail = 1_000_000, 7
    assert "7 more files" in Room("/state", 0).why_none(0.0)


def test_a_disk_that_refused_is_asked_again_after_a_while(tmp_path: object) -> None:
    here = Room(str(tmp_path), 0)
    here.refused("Disk quota exceeded", 0.0)
    assert "Disk quota exceeded" in here.why_none(1.0)
    assert here.why_none(room._ASK_AGAIN_S) == ""
    assert os.listdir(str(tmp_path)) == []


def test_a_disk_that_refuses_again_has_no_room_still(tmp_path: object) -> None:
    place = f"{tmp_path}/gone"
    here = Room(place, 0)
    assert "cannot be looked at" in here.why_none(0.0)
    here.refused("read-only", 0.0)
    assert here.why_none(room._ASK_AGAIN_S) != ""
    os.mkdir(place)
    assert "No such file" in here.why_none(room._ASK_AGAIN_S + 1)
    assert here.why_none(2 * room._ASK_AGAIN_S) == ""
