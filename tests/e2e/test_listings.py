"""Listings of the assembler without -pipe: they name the driver's temporary file, random in every compile."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm
from tests.e2e.test_farm import ZCC, project, written

_DRAWN = re.compile(rb"(?:cc[0-9A-Za-z]{6}|(?<=\ba)-[0-9a-f]{6})(?=\.s)")


def _without_chance(files: dict[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    return {name: (_DRAWN.sub(b"NAME", data), mode) for name, (data, mode) in files.items()}


def _own(compiler: str) -> list[str]:
    return [compiler, "-fno-integrated-as"] if compiler == "clang" else [compiler]


@pytest.mark.parametrize(
    "words",
    [
        "-Wa,-al", "-Wa,-al=l.lst", "-Wa,-adhln=l.lst", "-g -Wa,-adhlns=l.lst", "-Wa,-as=out/l.lst -o out/b.o",
        "-g -O2 -Wa,-adhls -MD", "-Xassembler -ahlms=l.lst", "-Wa,-a,-L", "-save-temps -Wa,-as=l.lst",
        "-Wa,-als=l.lst,-I,inc -S",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["", "t", "a directory/of/a/longer/name/"])
def test_a_listing_from_a_node_is_a_local_one(
    farm: Farm, tmp_path: Path, family: str, words: str, place: str
) -> None:
    top = project(tmp_path / "p")
    for directory in ("out", "t", "a directory/of/a/longer/name"):
        (top / directory).mkdir(parents=True)
    command = [*_own(family), *words.split(), "-Wall", "-c", "a.c"]
    temporary = {"TMPDIR": str(top / place) if len(place) > 1 else place}
    plain = subprocess.run(
        command, cwd=top, capture_output=True, check=False, env={**os.environ, **temporary}
    )
    expected = written(top)
    for name in expected.keys() - {"a.c", "b.cc", "inc/own.h"}:
        (top / name).unlink()
    remote = farm.stats()["outcomes"]["remote"]
    found = farm.run(ZCC, *command, cwd=top, strict=True, **temporary)
    assert (found.returncode, found.stderr) == (plain.returncode, plain.stderr)
    assert _DRAWN.sub(b"NAME", found.stdout) == _DRAWN.sub(b"NAME", plain.stdout)
    assert _without_chance(written(top)) == _without_chance(expected)
    assert farm.stats()["outcomes"]["remote"] == remote + 1


def test_a_remembered_listing_names_the_directory_of_who_asks(
    remembering: Farm, tmp_path: Path
) -> None:
    top = project(tmp_path / "p")
    (top / "t").mkdir()
    command = (ZCC, "gcc", "-Wa,-als=l.lst", "-Wa,-al", "-c", "a.c")
    first = remembering.run(*command, cwd=top, TMPDIR="")
    hits = remembering.stats()["outcomes"]["local_hit"]
    again = remembering.run(*command, cwd=top, TMPDIR="t")
    assert remembering.stats()["outcomes"]["local_hit"] == hits + 1
    assert (first.returncode, again.returncode) == (0, 0)
    listing = (top / "l.lst").read_bytes()
    assert re.search(rb"^GAS LISTING t/cc\w{6}\.s \t\t\tpage 1$", listing, re.MULTILINE)
    assert re.search(rb"^ {8}t/cc\w{6}\.s:\d+ ", listing, re.MULTILINE)
    assert b"/.zcc" not in listing


def test_a_listing_that_says_when_it_was_made_is_made_here(farm: Farm, tmp_path: Path) -> None:
    top = project(tmp_path / "p")
    refused = farm.run(ZCC, "gcc", "-pipe", "-Wa,-ag", "-c", "a.c", cwd=top)
    assert (refused.returncode, b"listing-time" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "text", ["GAS LISTING /.zcc/tmp/ccAAAAAA.s \\t\\t\\tpage 1", "/.zcc/tmp/x.s:1"]
)
def test_what_only_looks_like_such_a_name_is_not_touched(
    farm: Farm, tmp_path: Path, text: str
) -> None:
    """An object with such a text in it is the compiler's own, whatever is made of the listing."""
    (tmp_path / "t.c").write_text(f'const char *t = "{text}";\n')
    command = ("gcc", "-c", "t.c", "-Wa,-al=l.lst")
    subprocess.run(command, cwd=tmp_path, check=True)
    expected = _without_chance(written(tmp_path))
    assert farm.run(ZCC, *command, cwd=tmp_path, strict=False).returncode == 0
    assert _without_chance(written(tmp_path)) == expected
