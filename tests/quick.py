"""`pytest --quick`: the tests that start no process, open no connection and run no compiler.

Which files these are is read from what they import, themselves or through other modules of this folder: a
new test file is among them by itself. A test that gets at a process in some other way (the code under test
starts one) fails under `--quick`, which says so: `@pytest.mark.outside` keeps it out. `@pytest.mark.long` keeps
out what computes for a second.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

_ROOT = Path(__file__).parents[1]
MARKS = ("outside", "long", "nightly")  # of tests that are left out
_FOLDERS = (_ROOT / "tests" / "unit",)
# What starts processes or connects to some, and what tests do so with.
_OUTSIDE = {
    *("http.client", "multiprocessing", "pty", "socket", "subprocess", "urllib.request", "zmq"),
    *("tests.conftest", "zcc.cli.up"),
}
# Whose modules are imported by their names in them.
_PACKAGES = ("tests", "tests.support")
# The interpreter's own names of these events (sys.addaudithook).
_EVENTS = {
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"),
    *("socket.bind", "socket.connect", "subprocess.Popen"),
}

# Of a property that asks for no number of its own: a quarter of what hypothesis tries else.
_EXAMPLES = 25


@cache
def is_inside(path: Path) -> bool:
    """Whether a test file, and what it imports of this folder, has no means to leave the process."""
    text = path.read_text()
    # Read by pattern: to parse all files takes longer than a third of the tests.
    modules = {
        f"{module}.{name}" if module in _PACKAGES else module
        for module, name in re.findall(
            r"^\s*(?:from|import) ([\w.]+)(?: import (\w+))?", text, flags=re.MULTILINE
        )
    }
    if modules & _OUTSIDE or "mark.needs(" in text:
        return False
    own = (_ROOT / f"{name.replace('.', '/')}.py" for name in modules if name.startswith("tests."))
    return all(is_inside(module) for module in own if module.exists())


class Quick:
    """The plugin that `--quick` registers."""

    def __init__(self) -> None:
        self._running = ""
        self._left = ""
        sys.addaudithook(self._watch)
        settings.register_profile("quick", max_examples=_EXAMPLES)
        settings.load_profile("quick")

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and self._running:
            self._left = event
            raise RuntimeError(f"{event} under --quick")

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if collection_path.suffix != ".py":
            return None
        inside = any(folder in collection_path.parents for folder in _FOLDERS)
        return None if inside and is_inside(collection_path) else True

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            is_out = any(item.get_closest_marker(name) for name in MARKS)
            (dropped if is_out else kept).append(item)
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        self._running, self._left = item.nodeid, ""
        try:
            outcome = yield
        finally:
            self._running = ""
            if self._left:  # raised here too, as code under test survives most errors
                pytest.fail(f"{self._left}: mark this test with pytest.mark.outside", pytrace=False)
        return outcome
