"""The map and the glossary lead somewhere: each file is there, and has the name that stands behind it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ("map", "glossary")
# [a/b.py](../a/b.py) `Name.name`
PLACE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)(?: `([^`]+)`)?")


def rows(page: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return [line for line in text.splitlines() if line.startswith("| ")]


def answers(page: str) -> list[tuple[str, str, str]]:
    return [found for row in rows(page) for found in PLACE.findall(row)]


def names_in(path: Path) -> set[str]:
    """The names that a Python file defines at its top, and those in its classes as `Class.name`."""
    found = set()
    for node in ast.parse(path.read_bytes()).body:
        mine = _defined(node)
        found |= mine
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for each in node.body for name in _defined(each)}
    return found


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize(
    ("page", "shown", "path", "name"), [(page, *place) for page in PAGES for place in answers(page)]
)
def test_each_answer_is_there(page: str, shown: str, path: str, name: str) -> None:
    assert shown == path
    file = ROOT / path
    if not name:
        assert file.is_file()
    elif file.suffix == ".py":
        assert name in names_in(file)
    else:
        assert re.search(rf"\b{name}\b", file.read_text())


@pytest.mark.parametrize("page", PAGES)
def test_each_row_has_an_answer(page: str) -> None:
    lines = [row for row in rows(page) if not re.match(r"\| (---|question|word) \|", row)]
    assert len(lines) >= 25
    assert [row for row in lines if not PLACE.search(row)] == []


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    words = [row.split(" | ")[0].removeprefix("| ").lower() for row in rows("glossary")[2:]]
    assert words == sorted(set(words))
