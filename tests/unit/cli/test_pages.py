"""The pages of docs/reference say what the code has: no command, metric, setting or file is missing."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from cache import index
from node import naming, orders
from tests import commands_page, metrics_page
from zcc import config
from zcc.agent.history import database, stats
from zcc.cli.exposition import CCACHE_NAMES

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"


def text_of(page: str) -> str:
    return (REFERENCE / page).read_text()


def test_the_commands_are_as_their_help_is() -> None:
    assert text_of("commands.md") == commands_page.page(), "make docs"


def test_the_commands_page_names_no_place_of_this_machine() -> None:
    assert not re.search(r"/(?:home|root|Users)/", text_of("commands.md"))


def test_the_metrics_are_as_the_exposition_is() -> None:
    assert text_of("metrics.md") == metrics_page.page(), "make docs"


def test_each_name_that_the_exposition_gives_is_on_the_page() -> None:
    source = (ROOT / "zcc" / "cli" / "exposition.py").read_text()
    written = text_of("metrics.md")
    names = set(re.findall(r'"(zcc_[a-z_]+)"', source))
    assert len(names) > 8
    assert [name for name in (*names, *CCACHE_NAMES) if f"`{name}`" not in written] == []
    assert metrics_page.metrics()["zcc_answer_seconds"][2] == ("outcome", "le")


def test_each_setting_is_on_the_page() -> None:
    rows = [line for line in text_of("settings.md").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert named == {field.name for field in fields(config.Config)}


def broker_files() -> list[str]:
    """What the broker's modules call their files in its state directory."""
    found = set()
    for path in (ROOT / "broker").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'^(?:\w+_)?(?:FILE|FILE_NAME|DIRECTORY) = "([^"]+)"', text, re.M))
    assert len(found) >= 12
    return sorted(found)


@pytest.mark.parametrize(
    "name",
    [
        *broker_files(), index.FILE_NAME, database.FILE_NAME, stats.FILE_NAME, config.FILE_NAME,
        naming.FILE_NAME, orders.MODE_FILE, orders.DRAIN_FILE, orders.LOCK_FILE, "forgotten", "heard",
    ],
)  # fmt: skip
def test_each_file_on_disk_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{re.escape(name)}[`/.]", text_of("formats.md"))


def audited() -> set[str]:
    """The events that the broker writes to its audit log: the first argument of `audit(...)`, or of `write`."""
    found = set()
    for path in (ROOT / "broker").rglob("*.py"):
        module = ast.parse(path.read_bytes())
        named = {
            ast.unparse(node.targets[0]): node.value
            for node in module.body
            if isinstance(node, ast.Assign)
        }
        for call in (node for node in ast.walk(module) if isinstance(node, ast.Call) and node.args):
            if re.search(r"(?:\.audit|_audit\.write|_log\.write)$", ast.unparse(call.func)):
                what = named.get(ast.unparse(call.args[0]), call.args[0])
                if isinstance(what, ast.Constant) and isinstance(what.value, str):
                    found.add(what.value)
    return found


def test_each_event_of_the_audit_log_is_on_the_page() -> None:
    rows = text_of("formats.md").partition("## The audit log")[2].partition("\n## ")[0]
    told = {
        name
        for row in rows.splitlines()
        for name in re.findall(r"`([a-z-]+)`", row.split(" | ")[0])
    }
    assert len(audited()) >= 20
    assert audited() - told == set()
