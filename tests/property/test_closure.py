"""Whatever a compiler reads is in the closure, or the scanner says that it cannot tell.

Invariant: for any tree of headers and any history of changes to it, with one scanner remembering all the
while, the closure's files contain all that `gcc -M` and `clang -M` list when they exit with 0, and equal
what a scanner without memory finds.

ZCC_PROPERTY_EXAMPLES sets the number of examples for long runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zcc.compiler.commandline.make_rule import LISTING_TARGET, parse_listing
from zcc.compiler.disk.disk import Disk
from zcc.compiler.scan.closure import Closure, ScanRequest
from zcc.compiler.scan.scanner import Answer, Scanner
from zcc.compiler.scan.search_list import parse_search_list, query_arguments

EXAMPLES = int(os.environ.get("ZCC_PROPERTY_EXAMPLES", "40"))
# The directories in which headers are made; `i` and `j` are searched, `l` may be a symlink to one.
PLACES = ("", "i", "j", "i/sub", "j/sub", "q")
NAMES = ("a.h", "b.h", "c.h", "d.h")
COMPILERS = tuple(filter(shutil.which, ("gcc", "clang")))
FLAGS = (b"-Ii", b"-Ij", b"-Il", b"-Inone", b"-iquote", b"q")


@dataclass(frozen=True)
class Step:
    """What is done to the tree before a scan: a file written, removed, or linked to another."""

    path: str
    text: str | None
    target: str | None = None


def headers() -> st.SearchStrategy[str]:
    spelled = st.sampled_from(
        [*NAMES, *(f"sub/{n}" for n in NAMES), "../i/a.h", "sub/../b.h", "l/c.h", "i/../j/d.h"]
    )
    return st.tuples(spelled, st.booleans()).map(lambda x: f'"{x[0]}"' if x[1] else f"<{x[0]}>")


def lines() -> st.SearchStrategy[str]:
    forms = [
        "#include {h}",
        "#include {h}",
        "%:include {h}",
        "/* x\n*/ # /**/ include {h}",
        "#inc\\\nlude {h}",
        "#include_next {h}",
        "#import {h}",
        "#if __has_include({h})\n#include {h}\n#endif",
        "#define HAS(x) __has_include(x)\n#if HAS({h})\n#include {h}\n#endif",
        "#define NAME {h}\n#include NAME",
        "#undef NAME\n#define OTHER {h}\n#define NAME OTHER\n#include NAME",
        "#ifdef NAME\n#include NAME\n#endif",
        "#ifdef M\n#define M(x) {h}\n#include M(1)\n#endif",
        "#if 0\n#include {h}\n#endif",
        "#ifndef SEEN\n#define SEEN\n#include {h}\n#endif",
        '#line 3 "i/a.h"',
        "/* {h} */ int x;",
    ]
    return st.tuples(st.sampled_from(forms), headers(), st.integers(0, 7)).map(_line)


def _line(parts: tuple[str, str, int]) -> str:
    form, header, chance = parts
    line = form.format(h=header)
    # Mostly guarded: a header that is not there ends the compile, and nothing is compared.
    return line if chance == 0 else f"#if __has_include({header})\n{line}\n#endif"


def texts() -> st.SearchStrategy[str]:
    guards = st.sampled_from(["#pragma once\n", "#if __INCLUDE_LEVEL__ < 6\n", ""])
    body = st.lists(lines(), max_size=3)
    return st.tuples(guards, body).map(_guarded)


def _guarded(parts: tuple[str, list[str]]) -> str:
    guard, body = parts
    # A bound on depth, or a cycle of includes without guards ends in an error and tests nothing.
    opening = "#if __INCLUDE_LEVEL__ < 6\n"
    rest = guard.removeprefix(opening)
    return rest + opening + "\n".join(body) + "\n#endif\n"


def paths() -> st.SearchStrategy[str]:
    parts = st.tuples(st.sampled_from(PLACES), st.sampled_from(NAMES))
    return parts.map("/".join).map(lambda x: x.lstrip("/"))


def steps() -> st.SearchStrategy[Step]:
    return st.one_of(
        st.builds(Step, paths(), texts()),
        st.builds(Step, paths(), texts()),
        st.builds(Step, paths(), st.none()),
        st.builds(Step, paths(), st.none(), paths()),
        st.builds(Step, st.just("l"), st.none(), st.sampled_from(["i", "j/sub", "none"])),
        st.builds(Step, st.just("l"), st.none()),
    )


def sources() -> st.SearchStrategy[str]:
    return st.lists(lines(), min_size=1, max_size=4).map(lambda x: "\n".join(x) + "\n")


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    source=sources(),
    tree=st.dictionaries(paths(), texts(), min_size=3, max_size=12),
    history=st.lists(st.lists(steps(), max_size=2), min_size=1, max_size=3),
)
def test_what_a_compiler_lists_is_in_the_closure(
    source: str, tree: dict[str, str], history: list[list[Step]]
) -> None:
    with _directory() as top:
        for place in PLACES:
            (top / place).mkdir(parents=True, exist_ok=True)
        for path, text in tree.items():
            (top / path).write_text(text)
        (top / "x.c").write_text(source)
        scanner = Scanner(Disk(), b"/nobody")
        for changes in [[], *history]:
            for step in changes:
                _apply(top, step)
            for compiler in COMPILERS:
                _check(top, scanner, compiler)


@pytest.mark.needs("gcc", "clang")
def test_closures_are_held_against_both_compilers() -> None:
    assert COMPILERS == ("gcc", "clang")


def _check(top: Path, scanner: Scanner, compiler: str) -> None:
    request = _request(top, compiler)
    answer = scanner.scan(request, time.monotonic())
    fresh = Scanner(Disk(), b"/nobody").scan(request, 0.0)
    assert _sum(answer) == _sum(fresh)
    if not isinstance(answer, Closure):
        return
    listed = _listed(top, compiler)
    have = {file.path for file in answer.manifest.files}
    for path in listed:
        physical = os.path.realpath(os.path.join(os.fsencode(top), path))
        assert physical in have, (compiler, path)


def _sum(answer: Answer) -> object:
    return (answer.manifest, answer.misses) if isinstance(answer, Closure) else answer


def _listed(top: Path, compiler: str) -> tuple[bytes, ...]:
    command = [compiler.encode(), b"-M", b"-MT", LISTING_TARGET, *FLAGS, b"x.c"]
    ran = subprocess.run(command, cwd=top, capture_output=True, check=False)
    return parse_listing(ran.stdout) if ran.returncode == 0 else ()


def _request(top: Path, compiler: str) -> ScanRequest:
    target = os.path.relpath(os.path.realpath(top / "l"), top) if (top / "l").is_dir() else ""
    answer = _answer(compiler, target)
    return ScanRequest(
        cwd=os.fsencode(top),
        source=b"x.c",
        language="c",
        search=parse_search_list(answer, FLAGS),
        roots=(os.fsencode(top),),
        is_clang=compiler == "clang",
    )


@cache
def _answer(compiler: str, link: str) -> bytes:
    """The compiler's own list for a tree in which `l` leads there: the same for every example."""
    with _directory() as top:
        for place in PLACES:
            (top / place).mkdir(parents=True, exist_ok=True)
        if link:
            (top / "l").symlink_to(link)
        command = [compiler.encode(), *query_arguments(FLAGS, "c")]
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(
            command, cwd=top, env=environment, capture_output=True, check=True
        ).stderr


def _apply(top: Path, step: Step) -> None:
    place = top / step.path
    if step.text is not None and not place.is_symlink():
        place.write_text(step.text)
        return
    place.unlink(missing_ok=True)
    if step.target is not None:
        place.symlink_to(os.path.relpath(top / step.target, place.parent))


@contextmanager
def _directory() -> Iterator[Path]:
    """A temporary directory, named so that no symlink is on the way."""
    path = Path(os.path.realpath(tempfile.mkdtemp()))
    try:
        yield path
    finally:
        shutil.rmtree(path)
