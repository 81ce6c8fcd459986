"""Dumps of gcc's passes: as many files as the compiler has passes, under names that only it knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import ZCC, both_ways, project, written
from tests.e2e.test_profiles import reasons, remote

# gcc prints addresses of its own data: `f/0 (f) @0x7f5c7f5e1000`.
_ADDRESS = re.compile(rb"0x[0-9a-f]{6,}")


def _without_addresses(files: dict[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    return {name: (_ADDRESS.sub(b"0x", data), mode) for name, (data, mode) in files.items()}


def dumped(farm: Farm, top: Path, *command: str) -> list[str]:
    """The names that the command adds, plain and through zcc alike."""
    before = written(top)
    plain = subprocess.run(command, cwd=top, capture_output=True, check=True)
    expected = written(top)
    for name, content in expected.items():
        if before.get(name) != content:
            (top / name).unlink()
    count = remote(farm)
    found = farm.run(ZCC, *command, cwd=top)
    assert (found.returncode, found.stdout, found.stderr) == (0, plain.stdout, plain.stderr)
    assert _without_addresses(written(top)) == _without_addresses(expected)
    assert remote(farm) == count + 1
    return sorted(expected.keys() - before.keys())


@pytest.mark.parametrize(
    "output", ["", "-o out/x.y.o", "-o noext", "-S -o out/z.s", "-save-temps=cwd -o out/x.o"]
)
@pytest.mark.parametrize(
    "words",
    [
        "-fdump-tree-optimized", "-fdump-tree-original-lineno -fdump-rtl-final", "-fdump-ipa-inline -MD -g",
        "-fdump-tree-cfg-graph -fdump-noaddr", "-da -fdump-unnumbered -dP", "-fdump-statistics",
    ],
)  # fmt: skip
def test_dumps_lie_where_gcc_puts_them(farm: Farm, tmp_path: Path, words: str, output: str) -> None:
    need("gcc")
    top = project(tmp_path / "p")
    (top / "out").mkdir()
    names = dumped(farm, top, "gcc", "-O2", *words.split(), "-c", "a.c", *output.split())
    assert len(names) > 1


def test_all_passes_of_all_kinds_are_dumped(farm: Farm, tmp_path: Path) -> None:
    need("g++")
    top = project(tmp_path / "p")
    words = ("-fdump-tree-all", "-fdump-rtl-all", "-fdump-ipa-all", "-fdump-lang-all")
    names = dumped(farm, top, "g++", "-O2", *words, "-c", "b.cc")
    assert len(names) > 200


def test_an_old_dump_is_written_over_and_a_strange_one_keeps_the_compile_here(
    farm: Farm, tmp_path: Path
) -> None:
    top = project(tmp_path / "p")
    command = ("gcc", "-O2", "-fdump-tree-optimized", "-c", "a.c")
    (name,) = (each for each in dumped(farm, top, *command) if each.endswith("t.optimized"))
    (top / name).write_text("old\n")
    both_ways(farm, top, *command)
    (top / "elsewhere").write_text("old\n")
    (top / name).unlink()
    (top / name).symlink_to("elsewhere")
    before = reasons(farm, "output-not-plain")
    assert farm.run(ZCC, *command, cwd=top, strict=False).returncode == 0
    assert (top / name).is_symlink()
    assert b"twice" in (top / "elsewhere").read_bytes()
    assert reasons(farm, "output-not-plain") == before + 1


@pytest.mark.parametrize("was_directory", [False, True])
def test_what_was_an_input_once_may_be_an_output(
    farm: Farm, tmp_path: Path, was_directory: bool
) -> None:
    """A node keeps what it was sent, where it was sent it."""
    top = project(tmp_path / "p")
    command = ("gcc", "-O2", "-save-temps", "-fdump-tree-optimized", "-c", "a.c")
    names = dumped(farm, top, *command)
    assert len(names) == 4
    for name in names:
        (top / name).unlink()
        if was_directory:
            (top / name).mkdir()
    headers = [f"{name}/x.h" if was_directory else name for name in names]
    for header in headers:
        (top / header).write_text("/* once a header */\n")
    (top / "user.c").write_text("".join(f'#include "{header}"\n' for header in headers))
    both_ways(farm, top, "gcc", "-c", "user.c")
    for name in names:
        shutil.rmtree(top / name) if was_directory else (top / name).unlink()
    assert dumped(farm, top, *command) == names


def test_dumps_are_remembered_with_the_object(remembering: Farm, tmp_path: Path) -> None:
    top = project(tmp_path / "p")
    command = ("gcc", "-O1", "-fdump-tree-optimized", "-fdump-rtl-final", "-c", "a.c")
    both_ways(remembering, top, *command)
    for path in [*top.glob("a.c.*"), top / "a.o"]:
        path.unlink()
    before = remembering.stats()["outcomes"]["local_hit"]
    both_ways(remembering, top, *command)
    assert remembering.stats()["outcomes"]["local_hit"] == before + 1


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ("-fdump-ada-spec", "dump-output"),
        ("-fdump-final-insns", "dump-output"),
        ("-dx", "dump-output"),
        ("-fdump-tree-x=../d.txt", "appended-output"),
    ],
)
def test_other_dumps_stay_here_or_are_the_same(
    farm: Farm, tmp_path: Path, words: str, ends: str
) -> None:
    top = project(tmp_path / "p")
    both_ways(farm, top, "gcc", words, "-c", "a.c", ends=ends)


@pytest.mark.parametrize(
    "option",
    [
        "-fopt-info-vec-all=", "-fopt-info-all=", "-fdump-tree-all=", "-fdump-rtl-expand-details=",
        "-fdump-tree-original-lineno=",
    ],
)  # fmt: skip
def test_a_report_that_names_its_file_stands_behind_those_of_other_compiles(
    farm: Farm, tmp_path: Path, option: str
) -> None:
    need("gcc")
    left = []
    for wrapper in ((), (ZCC,)):
        top = project(tmp_path / "p")
        (top / "b.c").write_text("int b(int *x) { int s = 1; while (*x) s *= *x++; return s; }\n")
        (top / "all.txt").write_text("from before\n")
        for source in ("a.c", "b.c"):
            command = ("gcc", "-O3", f"{option}all.txt", "-c", source)
            with farm.ending(*(["appended-output"] if wrapper else [])):
                found = farm.run(*wrapper, *command, cwd=top, strict=False)
            assert found.returncode == 0, found.stderr
        left.append(_without_addresses(written(top)))
        shutil.rmtree(top)
    assert left[0] == left[1]
