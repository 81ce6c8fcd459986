"""`zcc help TOPIC`: the pages of the guide and the reference, in a terminal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.network_farm import BIN
from zcc.cli.topics import laid_out, titles, topics

pytestmark = pytest.mark.outside
DOCS = Path(__file__).parents[3] / "docs"


def zcc(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [BIN / "zcc", *words], capture_output=True, text=True, check=False, env=environment
    )


def test_each_page_of_both_shelves_is_a_topic_and_has_a_title() -> None:
    pages = {f"{at.parent.name}/{at.stem}" for at in DOCS.glob("*/*.md")}
    pages = {name for name in pages if not name.startswith("design/")}
    assert {name for name, _ in titles()} == pages
    assert all(title for _, title in titles())
    assert topics()["settings"] == topics()["reference/settings"]


def test_a_page_is_shown_by_its_short_and_its_whole_name() -> None:
    assert zcc("help", "settings").stdout == zcc("help", "reference/settings").stdout
    done = zcc("help", "guide/nodes")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "# Nodes")


def test_a_subcommands_name_is_the_subcommand() -> None:
    assert zcc("help", "top").stdout.startswith("Usage: zcc top")


def test_the_topics_are_listed_and_a_slip_is_answered() -> None:
    assert "zcc help reference/settings" in zcc("help", "topics").stdout
    done = zcc("help", "setings")
    assert done.returncode == 2
    assert "did you mean: zcc help settings" in done.stderr


def test_prose_is_folded_and_code_and_tables_stay_whole() -> None:
    row = f"| {'x' * 100} | y |"
    code = f"    {'z ' * 60}".rstrip()
    text = laid_out(f"{'word ' * 30}of [settings](../a.md).\n{row}\n{code}\n", 80)
    lines = text.splitlines()
    assert row in lines
    assert code in lines
    assert all(len(line) <= 80 for line in lines if line not in (row, code))
    assert "word of settings. |" in text.replace("\n", " ")
    assert "a.md" not in text
