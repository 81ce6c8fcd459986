"""What appears outside of the project is not shown to a node, and is no less looked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm

ASKS = "#if {}\nint yes;\n#else\nint no;\n#endif\n"
SOURCES = {
    "beside the checkout": ASKS.format('__has_include("../late.h")'),
    "far away": ASKS.format('__has_include("../../out/late.h")'),
    "next": ASKS.format("__has_include_next(<../../out/late.h>)"),
    "absolute": ASKS.format('__has_include("{top}/out/late.h")'),
    "behind a macro": "#define HAS(x) __has_include(x)\n" + ASKS.format('HAS("{top}/out/late.h")'),
    "quoted in a message": '#line 9 "{top}/out/never.h"\n'
    'int f(void)\n{\n#line 3 "{top}/out/late.h"\nint unused;\nreturn 0;\n}\n',
}


def compile_(farm: Farm, command: list[str], cwd: Path) -> tuple[bytes, bytes]:
    done = farm.run("zcc", *command, cwd=cwd, strict=False)
    assert done.returncode == 0, done.stderr
    return (cwd / "l.o").read_bytes(), done.stderr


def plain(command: list[str], cwd: Path) -> tuple[bytes, bytes]:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return (cwd / "l.o").read_bytes(), done.stderr


@pytest.mark.parametrize(
    ("source", "is_link"),
    [*((source, False) for source in SOURCES.values()), (SOURCES["far away"], True)],
    ids=[*SOURCES, "a link"],
)
def test_what_appears_outside_of_the_project_is_seen(
    remembering: Farm, tmp_path: Path, family: str, source: str, is_link: bool
) -> None:
    top = Path(os.path.realpath(tmp_path))
    library = top / "app" / "lib"
    for directory in (library / ".git", top / "out", top / "other"):
        directory.mkdir(parents=True)
    (library / "l.c").write_text(source.replace("{top}", str(top)))
    command = [family, "-Wall", "-I.", "-c", "l.c", "-o", "l.o"]
    places = (top / "out" / "late.h", top / "app" / "late.h")
    for _ in range(2):
        absent = compile_(remembering, command, library)
        assert absent == plain(command, library)
    for place in places:
        if is_link:
            (top / "other" / "late.h").write_text("\n\nint unused; /* late */\n")
            place.symlink_to(top / "other" / "late.h")
        else:
            place.write_text("\n\nint unused; /* late */\n")
    for _ in range(2):
        present = compile_(remembering, command, library)
        assert present == plain(command, library)
    if family == "gcc" or "#line" not in source:  # clang quotes no line of such a file
        assert present != absent
