"""A command that reads what it writes: gcc and its assembler open an output before they read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm

ASKS = "int b;\n#if {}\nint yes;\n#else\nint no;\n#endif\n"
# The source, and the words of the command besides the compiler.
COMMANDS = {
    "assembly, asked for": (ASKS.format('__has_include("a.s")'), "-S a.c -o a.s"),
    "assembly, asked for behind a macro": (
        "#define HAS(x) __has_include(x)\n" + ASKS.format('HAS("a.s")'),
        "-S a.c -o a.s",
    ),
    "assembly, asked for by a link": (ASKS.format('__has_include("l.h")'), "-S a.c -o a.s"),
    "assembly, asked for elsewhere": (
        ASKS.format('__has_include("../out/a.s")'),
        "-S a.c -o ../out/a.s",
    ),
    "assembly, included": (
        '#if __has_include("a.s")\n#include "a.s"\n#endif\nint a;\n',
        "-S a.c -o a.s",
    ),
    "assembly, included by a link": (
        '#if __has_include("x.h")\n#include "x.h"\n#endif\nint a;\n',
        "-S a.c -o a.s",
    ),
    "assembly, quoted": ('#line 1 "a.s"\nstatic int unused;\nint a;\n', "-S -Wall a.c -o a.s"),
    "object, asked for": (ASKS.format('__has_include("a.o")'), "-c a.c -o a.o"),
    "object, taken in": ('__asm__(".incbin \\"a.o\\"\\n");\nint a;\n', "-c a.c -o a.o"),
    "rules, asked for": (ASKS.format('__has_include("a.d")'), "-c a.c -o a.o -MD -MF a.d"),
    "rules, included": (
        '#if __has_include("a.d")\n#include "a.d"\n#endif\nint a;\n',
        "-c a.c -o a.o -MD -MF a.d",
    ),
}
OLD = "int old;\n"


def prepare(top: Path, name: str, source: str, is_old: bool) -> Path:
    project = top / name / "p"
    (project / ".git").mkdir(parents=True)
    (top / name / "out").mkdir()
    (project / "a.c").write_text(source)
    (project / "l.h").symlink_to("a.s")
    if is_old:
        for path in ("a.s", "a.o", "a.d", "../out/a.s"):
            (project / path).write_text(OLD)
        os.link(project / "a.s", project / "x.h")
    return project


def left(project: Path) -> dict[str, bytes]:
    places = [*project.glob("*"), *(project.parent / "out").glob("*")]
    return {
        str(path.relative_to(project.parent)): path.read_bytes()
        for path in places
        if path.is_file()
    }


@pytest.mark.parametrize(("source", "words"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("state", ["absent", "there", "known by another name"])
def test_what_a_command_reads_of_its_own_output(
    remembering: Farm, tmp_path: Path, family: str, source: str, words: str, state: str
) -> None:
    top, is_old = Path(os.path.realpath(tmp_path)), state == "there"
    source += f"/* {tmp_path} {family} */\n"
    project = prepare(top, "here", source, is_old)
    if state.startswith("known"):  # the same job, as far as the key goes
        other = (
            words.replace("-o a.", "-o b.").replace("-MF a.", "-MF b.").replace("out/a.", "out/b.")
        )
        remembering.run("zcc", family, *other.split(), cwd=project, strict=False)
        for path in (*project.glob("b.*"), *(top / "here" / "out").glob("b.*")):
            path.unlink()
    done = remembering.run("zcc", family, *words.split(), cwd=project, strict=False)
    got = done.returncode, done.stdout, done.stderr, left(project)
    (top / "here").rename(top / "before")
    project = prepare(top, "here", source, is_old)
    plain = subprocess.run([family, *words.split()], cwd=project, check=False, capture_output=True)
    assert got == (plain.returncode, plain.stdout, plain.stderr, left(project))
