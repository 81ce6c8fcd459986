"""The rules that hold between files: who may import whom, what is pure, which links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# `make check` runs this file.
pytestmark = pytest.mark.long

# A folder may import from these and from itself.
LAYERS = {
    "cache": set[str](),
    "zcc": {"cache"},
    "broker": {"cache", "zcc"},
    "node": {"cache", "zcc"},
}

# Folders of which every module is pure. So is each of PURE, and one whose docstring begins with "... Pure".
PURE_FOLDERS = """
    broker.core broker.scheduling broker.watching node.core zcc.agent.core
    zcc.compiler.commandline zcc.compiler.text zcc.compiler.neutral
""".split()  # noqa: SIM905 (two lines, not nine)
PURE = """
    cache.digest cache.record cache.eviction
    zcc.job zcc.membership zcc.messages zcc.codec zcc.transfer zcc.agent.launchers.wire node.sandbox.proof
""".split()  # noqa: SIM905 (two lines, not twelve)

# Clock, socket, disk, logger, environment, global random, and what is made of them.
IMPURE = """
    asyncio datetime fcntl getpass glob io locale logging mmap multiprocessing os pathlib pickle
    platform random resource secrets select selectors shutil signal socket sqlite3 subprocess sys
    syslog tempfile threading time urllib uuid zmq
""".split()  # noqa: SIM905 (eight lines, not forty)
# A type for annotations (the thing itself is passed in), and conversions of paths to be shown.
HARMLESS = {("random", "Random"), ("os", "fsencode"), ("os", "fsdecode")}


@cache
def modules() -> dict[str, ast.Module]:
    found = {}
    for folder in LAYERS:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            found[name] = ast.parse(path.read_bytes(), str(path))
    return found


def is_for_types(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def statements(tree: ast.AST) -> list[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    found = [tree]
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.stmt) and is_for_types(child)):
            found += statements(child)
    return found


def uses(tree: ast.Module, module: str) -> set[str]:
    """The names X of each `module.X` in a file; one empty name if there is none."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    } or {""}


@cache
def imports(name: str) -> set[tuple[str, str]]:
    """(module, name) for each name that a file takes from a module."""
    found = set()
    for node in statements(modules()[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                members = uses(modules()[name], alias.asname or alias.name)
                found |= {(alias.name, member) for member in members}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import in line {node.lineno}"
            found |= {(node.module or "", alias.name) for alias in node.names}
    return found


def imported_modules(name: str) -> set[str]:
    """The project's own modules that a module imports."""
    found = set()
    for module, member in imports(name):
        found |= {full for full in (module, f"{module}.{member}") if full in modules()}
    return found - {name}


def is_pure(name: str) -> bool:
    docstring = ast.get_docstring(modules()[name]) or ""
    first_paragraph = docstring.split("\n\n")[0]
    is_listed = name in PURE or name.rpartition(".")[0] in PURE_FOLDERS
    return is_listed or re.search(r"\bPure\b", first_paragraph) is not None


def test_what_is_called_pure_is_there() -> None:
    assert set(PURE) <= set(modules())
    assert {name.rpartition(".")[0] for name in modules()} >= set(PURE_FOLDERS)


def test_each_public_class_name_stands_once() -> None:
    """A name that is searched for leads to one place."""
    found: dict[str, list[str]] = {}
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_only_go_down(name: str) -> None:
    folder = name.partition(".")[0]
    above = set(LAYERS) - LAYERS[folder] - {folder}
    assert {module for module, _ in imports(name) if module.partition(".")[0] in above} == set()


def test_no_module_imports_itself_in_a_circle() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for imported in sorted(imported_modules(name)):
                visit(imported, (*above, name))
            done.add(name)

    for name in sorted(modules()):
        visit(name, ())


def reachable(name: str, seen: set[str]) -> set[str]:
    if name not in seen:
        seen.add(name)
        for imported in imported_modules(name):
            reachable(imported, seen)
    return seen


@pytest.mark.parametrize("name", sorted(filter(is_pure, modules())))
def test_a_pure_module_reaches_nothing_outside(name: str) -> None:
    found = {
        (user, module)
        for user in reachable(name, set())
        for module, member in imports(user)
        if module.partition(".")[0] in IMPURE and (module, member) not in HARMLESS
    }
    assert found == set()


@pytest.mark.parametrize("name", sorted(filter(is_pure, modules())))
def test_a_pure_module_opens_and_prints_nothing(name: str) -> None:
    called = {
        node.func.id
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"open", "print", "input", "exec", "eval"} == set()


# ---- documents ----


def documents() -> list[Path]:
    hidden = {".git", ".venv", "build", "dist", ".demo", ".pytest_cache", "node_modules"}
    found = ROOT.rglob("*.md")
    return [path for path in found if not hidden & set(path.relative_to(ROOT).parts)]


def anchors(document: Path) -> set[str]:
    """The fragments that a document's headings make, spelt as on GitHub."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(<?([^)\s>]+)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


# Files of lines are added to by `broker/membership/lines.py`, which knows what a torn end is. `zcc up` gives a
# file to programs as their standard error.
ADDING = {"broker.membership.lines", "zcc.cli.up"}
# SQLite's errors become words in `broker/membership/table.py`, or cost what may be lost in the cost book.
SQLITE_OF_BROKER = {"broker.membership.table", "broker.costbook"}


def test_lines_are_added_to_files_in_one_place() -> None:
    for name, tree in modules().items():
        appends = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and node.value in ("a", "ab", "at", "a+", "a+b")
            and any(
                isinstance(call, ast.Call)
                and node in [*call.args, *(k.value for k in call.keywords)]
                and isinstance(call.func, ast.Name)
                and call.func.id == "open"
                for call in ast.walk(tree)
            )
        }
        if appends or "O_APPEND" in uses(tree, "os"):
            assert name in ADDING, (
                f"{name} adds to a file by itself: broker/membership/lines.py does so"
            )


def test_sqlites_errors_become_words_in_one_place() -> None:
    for name, tree in modules().items():
        if name.startswith("broker") and uses(tree, "sqlite3") != {""}:
            assert name in SQLITE_OF_BROKER, (
                f"{name} uses SQLite by itself: broker/membership/table.py tells its errors"
            )


def test_documents_are_read_in_one_place() -> None:
    """A file that holds no text raises what who reads TOML or JSON does not expect."""
    for name, tree in modules().items():
        if name == "zcc.documents":
            continue
        assert uses(tree, "tomllib") == {""}, f"{name} reads TOML by itself: zcc/documents.py"
        assert "load" not in uses(tree, "json"), f"{name} reads JSON by itself: zcc/documents.py"


def test_a_file_of_tests_has_a_name_of_its_own() -> None:
    """In folders that are no packages two of one name are one module to pytest, which then collects neither."""
    names = Counter(
        path.name
        for path in (ROOT / "tests").rglob("test_*.py")
        if not (path.parent / "__init__.py").exists()
    )
    assert [name for name, count in names.items() if count > 1] == []
