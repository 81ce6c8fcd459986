"""A result whose job was made of files that are no more is of no use, and says nothing of the command."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cache.digest import digest_of
from zcc.agent.analysis.outcome import Prepared
from zcc.agent.analysis.output_places import Outputs, Wanted
from zcc.agent.analysis.overwriting import Way
from zcc.agent.results.verdict import Unproven, judge
from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.disk import Disk
from zcc.compiler.disk.entries import Trail
from zcc.job import FileInput, Lookups, Manifest, Result, Usage
from zcc.reasons import Reason

HEADER = b"int x;\n"
# The farm's verdict is a failure, which is passed on where nothing has changed.
CAME = Result(1, b"", b"", (), Usage(0.0, 0.0, 0), Lookups(), "n")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """As it has scanned two files."""
    disk = Disk()
    disk.begin(1.0)
    for name in ("x.h", "y.h"):
        (tmp_path / name).write_bytes(HEADER)
        found = disk.walk(disk.root, os.fsencode(tmp_path / name), Trail())
        assert found is not None
        disk.input(cast(Any, found[1]))
    (tmp_path / "link").symlink_to("v1")
    return disk


def verdict(directory: Path, disk: Disk) -> object:
    at = os.fsencode(directory)
    files = tuple(FileInput(at + name, digest_of(HEADER)) for name in (b"/x.h", b"/y.h"))
    manifest = Manifest(files=files, symlinks=((at + b"/link", b"v1"),))
    prepared = SimpleNamespace(
        closure=SimpleNamespace(manifest=manifest),
        job=SimpleNamespace(manifest=manifest, outputs=()),
        outputs=None,
        base=b"",
        renaming=None,
    )
    disk.begin(2.0)
    request: Any = SimpleNamespace(environment={})
    return judge(CAME, {}, cast(Prepared, prepared), request, disk)


def write_anew(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").rename(path)


def test_inputs_that_are_what_they_were_are_no_matter(tmp_path: Path, disk: Disk) -> None:
    assert not isinstance(verdict(tmp_path, disk), Unproven)
    (tmp_path / "x.h").touch()
    write_anew(tmp_path / "y.h", HEADER)
    assert not isinstance(verdict(tmp_path, disk), Unproven)


def test_inputs_that_the_disk_has_forgotten_are_read_again(tmp_path: Path, disk: Disk) -> None:
    assert not isinstance(verdict(tmp_path, Disk()), Unproven)
    (tmp_path / "y.h").write_bytes(b"long x;\n")
    assert verdict(tmp_path, Disk()) == Unproven(Reason.INPUTS_CHANGED, str(tmp_path / "y.h"))


@pytest.mark.parametrize("how", ["edited", "replaced", "removed", "directory"])
def test_an_input_with_other_bytes_is_named(tmp_path: Path, disk: Disk, how: str) -> None:
    path = tmp_path / "x.h"
    if how == "edited":
        path.write_bytes(b"int y;\n")
    elif how == "replaced":
        write_anew(path, b"int y;\n")
    else:
        path.unlink()
    if how == "directory":
        path.mkdir()
    assert verdict(tmp_path, disk) == Unproven(Reason.INPUTS_CHANGED, str(path))


def test_a_link_on_the_way_that_was_turned_is_a_change(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("v2")
    assert verdict(tmp_path, disk) == Unproven(Reason.INPUTS_CHANGED, str(tmp_path / "link"))


def test_an_output_that_goes_elsewhere_is_a_change(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "out").mkdir()
    wanted = Wanted(os.fsencode(tmp_path), 0o022, Family.GCC, Way.REPLACES, (b"out/x.o",))
    outputs = wanted.find()
    assert isinstance(outputs, Outputs)
    prepared: Any = SimpleNamespace(
        closure=SimpleNamespace(manifest=Manifest()), outputs=outputs, base=b"", renaming=None
    )
    (tmp_path / "out").rename(tmp_path / "old")
    (tmp_path / "out").symlink_to("old")
    found = judge(CAME, {}, prepared, cast(Any, None), disk)
    assert found == Unproven(Reason.OUTPUT_MOVED, "out/x.o")
