"""Programs that tests need: where one is missing they are skipped, and in CI, which installs it, they fail.

`@pytest.mark.needs("clang")` on a test, or `needs("clang")` in it or in a fixture: there is no other way.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.quick import Quick

# Set by .ci/run: a skip for want of what .ci/install-test-tools installs is an error.
REQUIRED = "ZCC_TESTS_REQUIRE_TOOLS"
# The directory that a run's workers share: what is made there is made once, and gone with the run.
SHARED = "TESTS_SHARED_DIRECTORY"
_PR_SET_CHILD_SUBREAPER = 36
_INSTALLER = Path(__file__).parents[1] / ".ci" / "install-test-tools"

# The compilers that the run's tests speak of, by which tests/support/prepared_farm.py has toolchains.
families = {"gcc"}
_shared = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def needs(*programs: str) -> str:
    """The path of the first of these; the test is over where one is missing."""
    for program in programs:
        if shutil.which(program) is None:
            lacks(program)
    return shutil.which(programs[0]) or ""


def lacks(program: str) -> NoReturn:
    """This is missing: skip the test, or fail where it has to be there."""
    if os.path.basename(program) not in installed_in_ci():
        pytest.skip(f"{program} is not installed")
    reason = f"{program} is not installed: .ci/install-test-tools installs it"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set", pytrace=False)
    pytest.skip(reason)


@functools.cache
def installed_in_ci() -> frozenset[str]:
    """The programs, and what else goes by a name, that .ci/install-test-tools sees to."""
    script = _INSTALLER.read_text()
    table = re.search(r'^tools="\n(.*?)^"', script, re.DOTALL | re.MULTILINE)
    locale = re.search(r"^locale=(\S+)", script, re.MULTILINE)
    assert table is not None
    assert locale is not None
    return frozenset((*(line.split()[0] for line in table[1].splitlines()), locale[1]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="what starts no process (tests/quick.py)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        config.pluginmanager.register(Quick())
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers are this process's children
        config.stash[_shared] = tempfile.TemporaryDirectory(prefix="zcc-tests-")
        os.environ[SHARED] = config.stash[_shared].name
    # A run in the background, or under nohup, is deaf to some of these, and so would be what it starts.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # Settings of this machine are no test's.
    os.environ["ZCC_SYSTEM_CONFIG_DIR"] = "/nonexistent"
    # Lines are as long as they like where there is no terminal; pytest-xdist says that there are 80 columns.
    os.environ.pop("COLUMNS", None)
    config.addinivalue_line(
        "markers", "needs(program, ...): programs without which a test is skipped"
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    if _shared in config.stash:
        config.stash[_shared].cleanup()


def pytest_collection_finish(session: pytest.Session) -> None:
    if any("clang" in item.nodeid for item in session.items):
        families.add("clang")


@pytest.hookimpl(tryfirst=True)  # before other reasons to skip, which may come of the lack
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        needs(*mark.args)


@pytest.fixture(autouse=True, scope="module")
def _adopts_nobody() -> Iterator[None]:
    """A node's runner makes its process a subreaper (prctl(2)), here the tests' own. Agents that later tests
    start would become its children and never be gone, as nobody waits for them."""
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
