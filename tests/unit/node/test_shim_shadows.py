"""Every function that the shim shadows leaves a record, or says that it leaves none.

Each is called on a path that exists and on one that does not, in one program that is built as programs are:
plainly, with the names that large files have, and with those that bounds checks have.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.libc_prototypes import exports_of
from tests.support.look_up_log import Log, make_log
from tests.support.shim_table import BESIDE, DIRECTORIES, PROGRAM, PROGRAMS, TABLES, UNTRIED
from tests.unit.node.test_shim_coverage import GLIBC

WAYS = {
    "plainly": ("-O1",),
    "with large files": ("-O1", "-D_FILE_OFFSET_BITS=64"),
    "with bounds checks": ("-O2", "-D_FORTIFY_SOURCE=2"),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return make_log(str(tmp_path_factory.mktemp("shim")))


def test_every_shadow_is_tried(log: Log) -> None:
    tried = {name for table in TABLES for name in table}
    untried = {name for names in UNTRIED.values() for name in names.split()}
    assert tried | untried == exports_of(log.library).exported
    assert not tried & untried


@pytest.mark.parametrize("way", WAYS)
def test_every_shadow_leaves_a_record_or_says_that_it_does_not(
    log: Log, tmp_path: Path, way: str
) -> None:
    if not GLIBC:
        pytest.skip("not a glibc")
    here = exports_of(*GLIBC).exported
    tried = {name: call for table in TABLES for name, call in table.items() if name in here}
    directory = tmp_path / "work"
    build_program(tmp_path, tried, WAYS[way])
    populate(directory, tried)
    log.run(str(tmp_path / "program"), str(directory), cwd=str(directory))
    records = log.records()
    for name in tried:
        if not records & {f"{kind}/{each}" for kind in "FT" for each in spellings(name)}:
            for state in ("there", "gone"):
                assert is_recorded(records, f"{directory}/{state}-{name}"), (
                    f"{name}: no record of what is {state}"
                )


def spellings(name: str) -> set[str]:
    bare = name.removesuffix("64")
    return {bare, f"{bare}64"}


def is_recorded(records: set[str], path: str) -> bool:
    return any(
        path in (record[1:], record[2:]) or record[1:].startswith(f"{path}.") for record in records
    )


def build_program(place: Path, calls: dict[str, str], flags: tuple[str, ...]) -> None:
    bodies = "\n".join(
        f"static void try_{name}(const char *P) {{ {call}; }}" for name, call in calls.items()
    )
    main = "\n".join(
        f'snprintf(path, sizeof path, "%s/{state}-{name}", words[1]); try_{name}(path);'
        for name in calls
        for state in ("there", "gone")
    )
    text = PROGRAM.replace("BODIES", bodies).replace("CALLS", f"char path[PATH_MAX];\n{main}")
    (place / "program.c").write_text(text)
    command = ["gcc", "-w", *flags, "program.c", "-o", "program", "-ldl", "-lrt", "-pthread"]
    subprocess.run(command, cwd=place, check=True)


def populate(directory: Path, calls: dict[str, str]) -> None:
    directory.mkdir()
    for name in calls:
        path = directory / f"there-{name}"
        if name in DIRECTORIES or name in BESIDE:
            path.mkdir()
        elif name in PROGRAMS:
            shutil.copy("/bin/true", path)
        else:
            path.write_text("x")
    assert os.listdir(directory)
