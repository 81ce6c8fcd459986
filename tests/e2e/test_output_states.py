"""Outputs that exist and are no plain files: what is left of them is what the plain compiler leaves."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Farm

OTHER_GROUP = 1
SOURCE = "int f(int x) { return x + 1; }\n"
COMMANDS = {
    "object": ("out.o", "-c a.c -o out.o"),
    "object of assembly": ("out.o", "-c a.S -o out.o"),
    "object, all saved": ("out.o", "-c a.c -save-temps -o out.o"),
    "assembly": ("out.s", "-S a.c -o out.s"),
    "dependencies": ("out.d", "-c a.c -MD -MF out.d -o x.o"),
    "stack usage": ("out.su", "-c a.c -fstack-usage -o out.o"),
    "split debug": ("out.dwo", "-c a.c -g -gsplit-dwarf -o out.o"),
    "saved": ("out.i", "-c a.c -save-temps=obj -o out.o"),
    "notes": ("out.gcno", "-c a.c -ftest-coverage -frandom-seed=1 -o out.o"),
}


def default_acl(directory: Path) -> None:
    """u::rwx g::rwx u:1:rwx m::rwx o::---, as `setfacl -d` would set it (acl(5), version 2)."""
    everyone, nobody = 0xFFFFFFFF, 0
    entries = (
        (1, 7, everyone),
        (2, 7, 1),
        (4, 7, everyone),
        (16, 7, everyone),
        (32, nobody, everyone),
    )
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(directory, "system.posix_acl_default", packed)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error}")


def hard_link(output: Path) -> None:
    output.write_text("old")
    os.link(output, output.with_name("other"))


def empty_hard_link(output: Path) -> None:
    output.touch()
    os.link(output, output.with_name("other"))


def private(output: Path) -> None:
    output.write_text("old")
    output.chmod(0o600)


def with_acl(output: Path) -> None:
    """The mode is a new file's, and an ACL lets one more user read."""
    output.write_text("old")
    set_acl(output)


def empty_with_acl(output: Path) -> None:
    output.touch()
    set_acl(output)


def set_acl(output: Path) -> None:
    everyone = 0xFFFFFFFF
    entries = ((1, 6, everyone), (2, 4, 1), (4, 4, everyone), (16, 4, everyone), (32, 4, everyone))
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    output.chmod(0o644)
    try:
        os.setxattr(output, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error}")


def set_user_id(output: Path) -> None:
    output.write_text("old")
    output.chmod(0o6755)


def of_other_group(output: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to any group")
    output.write_text("old")
    os.chown(output, -1, OTHER_GROUP)


def symlink(output: Path) -> None:
    output.with_name("other").write_text("old")
    output.symlink_to("other")


def dangling(output: Path) -> None:
    output.symlink_to("other")


def in_acl_directory(output: Path) -> None:
    default_acl(output.parent)


def of_acl_directory(output: Path) -> None:
    default_acl(output.parent)
    output.write_text("old")


STATES = [
    hard_link,
    empty_hard_link,
    private,
    set_user_id,
    of_other_group,
    symlink,
    dangling,
    in_acl_directory,
    of_acl_directory,
    with_acl,
    empty_with_acl,
]


def state(directory: Path, inodes: dict[int, str]) -> dict[str, Any]:
    """Everything but times: inodes by the name that had them before."""
    found = {}
    for path in sorted(directory.iterdir()):
        status = path.lstat()
        told: list[Any] = [status.st_mode, status.st_nlink, status.st_gid, status.st_uid]
        told.append(inodes.get(status.st_ino, "new"))
        if stat.S_ISLNK(status.st_mode):
            told.append(path.readlink())
        else:
            told.append(path.read_bytes())
            told += [(name, os.getxattr(path, name)) for name in os.listxattr(path)]
        found[path.name] = told
    return found


def compiled(
    directory: Path, output: str, prepare: Callable[[Path], None], run: Callable[[Path], int]
) -> tuple[int, dict[str, Any]]:
    """Exit status and what is left, in a directory of the same path each time."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "a.c").write_text(SOURCE)
    (directory / "a.S").write_text("f: ret\n")
    prepare(directory / output)
    # Held by another name, so that no new file gets the inode of one that is gone.
    inodes = {path.lstat().st_ino: path.name for path in directory.iterdir()}
    held = [os.open(path, os.O_PATH | os.O_NOFOLLOW) for path in directory.iterdir()]
    try:
        return run(directory), state(directory, inodes)
    finally:
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("prepare", STATES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("what", COMMANDS)
def test_what_is_left_is_what_the_compiler_leaves(
    farm: Farm, family: str, tmp_path: Path, what: str, prepare: Callable[[Path], None]
) -> None:
    if (family, what) == ("clang", "notes"):
        pytest.skip("clang's notes hold a random number")
    output, options = COMMANDS[what]
    place = tmp_path / "project"
    command = [family, *options.split()]

    def plain(directory: Path) -> int:
        return farm.run(*command, cwd=directory, strict=False).returncode

    def through_zcc(directory: Path) -> int:
        return farm.run("zcc", *command, cwd=directory, strict=False).returncode

    expected = compiled(place, output, prepare, plain)
    before = farm.stats()["outcomes"]
    assert compiled(place, output, prepare, through_zcc) == expected
    after = farm.stats()["outcomes"]
    went = {name for name in after if after[name] > before.get(name, 0)}
    assert went == {"remote"} or not is_taken(family, what, prepare.__name__), went


def is_taken(family: str, what: str, name: str) -> bool:
    """Whether zcc does it as the compiler would; of others the compiler itself is asked."""
    if name == "in_acl_directory":
        return True
    if what == "dependencies":
        return name not in ("symlink", "dangling")
    if family == "clang" and what in ("object of assembly", "object, all saved"):
        return name not in ("symlink", "dangling")
    if what.startswith("object") or (family == "clang" and what == "assembly"):
        return name not in ("dangling", "empty_hard_link", "empty_with_acl")
    if family == "clang":
        return False
    if what == "split debug":
        return name not in ("dangling", "empty_hard_link", "empty_with_acl")
    return name not in ("symlink", "dangling")


TO_THE_SOURCE = {
    "a directory of two names": ("mkdir r; ln -s r l; mv a.c r/d.c", "l/d.c", "r/d.c"),
    "a source of two names": ("ln -s a.c e.c", "e.c", "a.c"),
    "an output that is a link": ("ln -s a.c a.o", "a.c", "a.o"),
    "a hard link": ("ln a.c a.o", "a.c", "a.o"),
}
# Of dependencies the state of the file is looked at before its name.
NOT_PLAIN = ("an output that is a link", "a hard link")


@pytest.mark.parametrize("how", TO_THE_SOURCE)
@pytest.mark.parametrize("kind", ["object", "dependencies"])
def test_an_output_that_is_the_source_by_a_link(
    farm: Farm, family: str, tmp_path: Path, how: str, kind: str
) -> None:
    """gcc refuses what clang does; nothing is overwritten that the compiler would leave."""
    prepare, source, output = TO_THE_SOURCE[how]
    outputs = {"object": ["-o", output], "dependencies": ["-MD", "-MF", output, "-o", "x.o"]}
    command = [family, "-c", source, *outputs[kind]]
    is_odd = kind == "dependencies" and how in NOT_PLAIN
    end = "output-not-plain" if is_odd else "output-is-source"
    seen = []
    for launcher in ((), ("zcc",)):
        place = tmp_path / "project"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "a.c").write_text(SOURCE)
        subprocess.run(["sh", "-c", prepare], cwd=place, check=True)
        with farm.ending(end) if launcher else nullcontext():
            done = farm.run(*launcher, *command, cwd=place, strict=False)
        files = {
            str(path.relative_to(place)): path.read_bytes()
            for path in place.rglob("*")
            if path.is_file()
        }
        links = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_symlink()}
        seen.append((done.returncode, done.stderr, files, links))
    assert seen[0] == seen[1]


ONE_FILE = {
    "hard links": ("echo old > x.o; ln x.o x.d", "x.o", "x.d"),
    "a link to the object": ("echo old > x.o; ln -s x.o x.d", "x.o", "x.d"),
    "a link to the dependencies": ("echo old > x.d; ln -s x.d x.o", "x.o", "x.d"),
    "a file": ("echo old > x.o", "x.o", "x.o"),
    "a link": ("echo old > y; ln -s y x.o", "x.o", "x.o"),
    "a hard link": ("echo old > y; ln y x.o", "x.o", "x.o"),
    "nothing": (":", "x.o", "x.o"),
}
# The outputs have two names.
TWO_NAMES = ("hard links", "a link to the object", "a link to the dependencies")


@pytest.mark.parametrize("how", ONE_FILE)
@pytest.mark.parametrize("kind", ["-c", "-S"])
def test_two_outputs_that_are_one_file(
    farm: Farm, family: str, tmp_path: Path, how: str, kind: str
) -> None:
    """What is left depends on which the compiler opens first, and on how."""
    prepare, main, dependencies = ONE_FILE[how]
    command = [family, kind, "a.c", "-o", main, "-MMD", "-MF", dependencies]
    end = "output-not-plain" if how in TWO_NAMES else "odd-output"
    seen = []
    for launcher in ((), ("zcc",)):

        def run(directory: Path, words: tuple[str, ...] = launcher) -> int:
            with farm.ending(end) if words else nullcontext():
                return farm.run(*words, *command, cwd=directory, strict=False).returncode

        def lay_out(output: Path) -> None:
            subprocess.run(["sh", "-c", prepare], cwd=output.parent, check=True)

        seen.append(compiled(tmp_path / "project", main, lay_out, run))
    assert seen[0] == seen[1]
