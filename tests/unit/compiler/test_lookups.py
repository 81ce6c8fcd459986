"""The client's judgement on what a compiler looked up elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zcc.compiler.disk.disk import Disk
from zcc.compiler.proof.misses import (
    ACCEPTED,
    ProofVerdict,
    Refusal,
    check,
    check_misses,
    first_set,
    residue,
)
from zcc.job import VARIABLES, Lookups


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    (tmp_path / "i" / "sub").mkdir(parents=True)
    (tmp_path / "i" / "here.h").write_text("")
    return os.fsencode(tmp_path.resolve())


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.begin(1.0)
    return disk


def missed(at: bytes, *names: bytes) -> Lookups:
    return Lookups(misses=((at, names),))


def test_what_is_absent_here_too_is_accepted(top: bytes, disk: Disk) -> None:
    assert check(missed(top + b"/i", b"a.h", b"b.h"), disk) == ACCEPTED
    assert ACCEPTED.is_accepted


def test_a_variable_that_was_looked_for_in_vain_must_not_be_set_here(disk: Disk) -> None:
    asked = missed(VARIABLES, b"OWN", b"TERM")
    assert check(asked, disk, {b"OWN": b""}) == ProofVerdict(Refusal.PRESENT, b"$OWN")
    assert check(asked, disk, {b"OTHER": b"x"}) == ACCEPTED
    assert check(asked, disk, {b"TERM": b"xterm"}) == ACCEPTED  # the compilers' own, settled before
    assert first_set(asked.misses, {b"OWN"}) == b"OWN"
    assert residue(asked, {}, (), disk) == asked.misses


def test_what_is_here_is_refused_with_its_path(top: bytes, disk: Disk) -> None:
    verdict = check(missed(top + b"/i", b"a.h", b"here.h"), disk)
    assert verdict == ProofVerdict(Refusal.PRESENT, top + b"/i/here.h")
    assert not verdict.is_accepted


def test_a_directory_in_the_missing_names_place_is_refused(top: bytes, disk: Disk) -> None:
    assert check(missed(top + b"/i", b"sub"), disk).refusal is Refusal.PRESENT


def test_nothing_is_in_a_directory_that_is_not_here(top: bytes, disk: Disk) -> None:
    assert check(missed(top + b"/none/deep", b"a.h"), disk) == ACCEPTED
    assert check(missed(top + b"/i/here.h", b"a.h"), disk) == ACCEPTED


def test_directories_are_walked_as_spelled(top: bytes, disk: Disk) -> None:
    os.symlink(b"i/sub", top + b"/l")
    assert check(missed(top + b"/l/..", b"here.h"), disk).refusal is Refusal.PRESENT
    assert check(missed(top + b"/none/../i", b"here.h"), disk) == ACCEPTED


def test_a_link_to_nothing_is_absent(top: bytes, disk: Disk) -> None:
    os.symlink(b"nowhere", top + b"/i/gone.h")
    os.symlink(b"i/here.h", top + b"/there.h")
    assert check(missed(top + b"/i", b"gone.h"), disk) == ACCEPTED
    assert check(missed(top, b"there.h"), disk).refusal is Refusal.PRESENT


def test_an_undeclared_hit_is_refused(disk: Disk) -> None:
    verdict = check(Lookups(undeclared=(b"/etc/x", b"/etc/y")), disk)
    assert verdict == ProofVerdict(Refusal.UNDECLARED, b"/etc/x")


def test_an_incomplete_log_is_refused(disk: Disk) -> None:
    assert check(Lookups(flaw="log full"), disk) == ProofVerdict(Refusal.FLAW, b"log full")


@pytest.mark.parametrize("at", [b"relative/dir", b"/proc/self"])
def test_what_cannot_be_placed_is_refused(at: bytes, disk: Disk) -> None:
    assert check(missed(at, b"a.h"), disk).refusal is Refusal.DOUBT


def test_a_file_that_appeared_is_seen_by_the_next_request(top: bytes, disk: Disk) -> None:
    misses = ((top + b"/i", (b"a.h",)),)
    assert check_misses(misses, disk) == ACCEPTED
    (Path(os.fsdecode(top)) / "i" / "a.h").write_text("")
    disk.begin(3.0, arrived=0.5)
    assert check_misses(misses, disk) == ACCEPTED, "it was checked after that request had arrived"
    disk.begin(3.0)
    assert check_misses(misses, disk).refusal is Refusal.PRESENT


def test_the_residue_is_what_the_scan_did_not_look_up(top: bytes, disk: Disk) -> None:
    inside = top + b"/i"
    known = {inside: (b"a.h", b"later"), top: (b"none",)}
    lookups = Lookups(
        misses=(
            (inside, (b"a.h", b"a.h.gch", b"here.h.gch", b"other.h")),
            (inside + b"/sub/..", (b"a.h",)),
            (inside + b"/later", (b"x.h",)),
            (top + b"/none/deep", (b"x.h",)),
            (top + b"/unknown", (b"x.h",)),
        )
    )
    unknown = (top + b"/unknown", (b"x.h",))
    assert residue(lookups, known, (), disk) == ((inside, (b"other.h",)), unknown)
    # Mentioned, and read by who knows what: a precompiled header may appear for it.
    unread = {inside + b"/here.h"}
    left = residue(lookups, known, unread, disk)
    assert left == ((inside, (b"here.h.gch", b"other.h")), unknown)


def test_an_unlistable_directory_is_asked_name_by_name(
    top: bytes, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: bytes) -> list[bytes]:
        raise PermissionError(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert check(missed(top + b"/i", b"a.h"), disk) == ACCEPTED
    assert check(missed(top + b"/i", b"here.h"), disk).refusal is Refusal.PRESENT
