"""A dependency file with another target is what the compiler writes for that target."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.compiler.commandline.tables import Family
from zcc.compiler.neutral.dependency_file import retargeted
from zcc.compiler.neutral.renaming import NEUTRAL_OBJECT


def same(name: bytes) -> bytes:
    return name


def rule_of(compiler: str, place: Path, target: str, *options: str) -> bytes:
    words = ["-MD", "-MF", "x.d", "-MT", target, *options, "-fsyntax-only", "x.c"]
    subprocess.run([compiler, *words], cwd=place, check=True)
    return (place / "x.d").read_bytes()


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("options", [(), ("-MP",)], ids=["plain", "phony"])
def test_lines_break_where_the_compiler_breaks_them(
    family: Family, options: tuple[str, ...], tmp_path: Path
) -> None:
    compiler = family.value
    needs(compiler)
    names = [
        f"{'h' * length}.h" for length in (1, 3, 8, 13, 30, 55, 64, 65, 66, 67, 68, 69, 70, 90)
    ]
    for name in names:
        (tmp_path / name).write_text("")
    (tmp_path / "x.c").write_text("".join(f'#include "{name}"\n' for name in names))
    neutral = rule_of(compiler, tmp_path, NEUTRAL_OBJECT.decode(), *options)
    for length in range(1, 100):
        target = "t" * length
        expected = rule_of(compiler, tmp_path, target, *options)
        assert retargeted(neutral, family, NEUTRAL_OBJECT, target.encode(), same) == expected


@pytest.mark.parametrize(
    "rule",
    [
        b"other: x.c\n",
        b"old: x.c",
        b"old: a\\ b.h\n",
        b"old: a$$b.h\n",
        b"old:  x.c\n",
        b"old: x.c \\\n y.h\n",
        b"",
    ],
)
def test_a_rule_that_is_not_understood_is_left_alone(rule: bytes) -> None:
    for family in Family:
        assert retargeted(rule, family, b"old", b"new", same) is None


def test_names_are_translated_in_the_rule_and_behind_it() -> None:
    rule = b"old: /n/x.c /n/x.h\n/n/x.h:\n"
    moved = retargeted(rule, Family.GCC, b"old", b"new", lambda name: name.replace(b"/n", b"/base"))
    assert moved == b"new: /base/x.c /base/x.h\n/base/x.h:\n"
