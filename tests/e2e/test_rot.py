"""Bits that flip on a node's disk, and what goes missing there: right objects, remote ones, without a hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm

HEADER = "#define A 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "a.h").write_text(f"/* {tmp_path} */\n{HEADER}")
    (tmp_path / "b.h").write_text(
        f"/* {tmp_path} */\n{HEADER}"
    )  # equal contents: a copy in the tree
    return tmp_path


def compile_(farm: Farm, project: Path, number: int) -> None:
    """A new source, which has to be compiled remotely, with the plain compiler's object."""
    name = f"x{number}.c"
    (project / name).write_text(
        f'#include <stdio.h>\n#include "a.h"\n#include "b.h"\nint f{number}(void) {{ return A; }}\n'
    )
    before = farm.stats()["outcomes"]["remote"]
    done = farm.run("zcc", "gcc", "-g", "-c", name, "-o", "x.o", cwd=project, ZCC_CACHE="off")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    subprocess.run(["gcc", "-g", "-c", name, "-o", "x.o"], cwd=project, check=True)
    plain = (project / "x.o").read_bytes()
    farm.run("zcc", "gcc", "-g", "-c", name, "-o", "y.o", cwd=project, ZCC_CACHE="off")
    assert (project / "y.o").read_bytes() == plain
    assert farm.stats()["outcomes"]["remote"] == before + 2


def flip(path: Path, old: bytes, new: bytes) -> bool:
    """Put other bytes of the same length into a file, with its old times; whether it has them at all."""
    status = path.lstat()
    content = path.read_bytes()
    if old not in content:
        return False
    mode = status.st_mode & 0o777
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(content.index(old))
        file.write(new)
    path.chmod(mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def flip_all(directory: Path, old: bytes, new: bytes) -> None:
    """A flip that still compiles: the object would be another."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(flip(path, old, new) for path in files) > 0


def flip_inputs(state: Path) -> None:
    flip_all(state / "inputs", b"#define A 1", b"#define A 3")


def flip_trees(state: Path) -> None:
    flip_all(state / "trees", b"#define A 1", b"#define A 3")


def flip_toolchain(state: Path) -> None:
    # The producer's name, as cc1 writes it into each object's debug information.
    flip_all(state / "toolchains", b"GNU C", b"GNU D")


def flip_members(state: Path) -> None:
    for path in (state / "toolchains").glob("*/members"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def cut_inputs(state: Path) -> None:
    for path in (state / "inputs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")


def lose(*names: str) -> Callable[[Path], None]:
    def lose_them(state: Path) -> None:
        for name in names:
            shutil.rmtree(
                state / name, ignore_errors=True
            )  # frames may be gone from the test before
            assert not (state / name).exists()

    return lose_them


@pytest.mark.parametrize(
    "harm",
    [
        flip_inputs,
        flip_trees,
        flip_toolchain,
        flip_members,
        cut_inputs,
        lose("inputs"),
        lose("trees"),
        lose("toolchains"),
        lose("frames", "scratch"),
        lose("inputs", "trees", "toolchains", "frames", "scratch"),
    ],
    ids=[
        "flip-inputs", "flip-trees", "flip-toolchain", "flip-members", "cut-inputs",
        "lose-inputs", "lose-trees", "lose-toolchains", "lose-frames", "lose-all",
    ],
)  # fmt: skip
def test_what_rots_or_goes_missing_on_a_node_comes_anew(
    remembering: Farm, project: Path, harm: Callable[[Path], None]
) -> None:
    compile_(remembering, project, 1)
    harm(Path(remembering.local.directory) / "node1")
    compile_(remembering, project, 2)
    compile_(remembering, project, 3)
