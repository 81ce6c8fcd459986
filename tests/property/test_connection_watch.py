"""A watched verdict against one that is made anew, while the disk changes between two looks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from zcc.compiler.disk.disk import Disk
from zcc.compiler.proof.misses import Misses, MissWatch, check_misses

DIRECTORIES = ("a", "a/b", "c", "link", "link/b")
NAMES = ("x.h", "y.h", "b", "link")
PLACES = st.sampled_from(
    [f"{at}/{name}" for at in ("a", "a/b", "c") for name in NAMES] + ["a", "c", "link"]
)


def make_file(path: Path) -> None:
    if path.parent.is_dir() and not path.exists():
        path.write_text("")


def make_directory(path: Path) -> None:
    if path.parent.is_dir() and not os.path.lexists(path):
        path.mkdir()


def make_link(path: Path) -> None:
    if path.parent.is_dir() and not os.path.lexists(path):
        path.symlink_to("a")


def make_dangling(path: Path) -> None:
    if path.parent.is_dir() and not os.path.lexists(path):
        path.symlink_to("nowhere")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


CHANGES: list[Callable[[Path], None]] = [
    make_file,
    make_directory,
    make_link,
    make_dangling,
    remove,
]
change = st.tuples(st.sampled_from(CHANGES), PLACES)
misses = st.lists(
    st.tuples(st.sampled_from(DIRECTORIES), st.sets(st.sampled_from(NAMES), min_size=1)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(change, max_size=6),
    misses,
    st.lists(st.lists(change, max_size=2), min_size=1, max_size=6),
)
def test_a_second_look_says_what_a_first_one_would(
    before: list[tuple[Callable[[Path], None], str]],
    wanted: list[tuple[str, set[str]]],
    steps: list[list[tuple[Callable[[Path], None], str]]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory).resolve()
        (root / "a" / "b").mkdir(parents=True)
        (root / "c").mkdir()
        (root / "link").symlink_to("a")
        for edit, place in before:
            edit(root / place)
        missed: Misses = tuple(
            (os.fsencode(root / at), tuple(sorted(map(os.fsencode, names)))) for at, names in wanted
        )
        watch, disk = MissWatch(missed), Disk()
        for now, step in enumerate([[], *steps], start=1):
            for edit, place in step:
                edit(root / place)
            disk.begin(float(now))
            fresh = Disk()
            fresh.begin(1.0)
            assert watch.check(disk) == check_misses(missed, fresh)
