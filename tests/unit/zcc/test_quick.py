"""`pytest --quick`: which files are among its tests, and what becomes of a test that does not belong there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import quick
from tests.quick import is_inside

TESTS = Path(quick.__file__).parent
OPTIONS = (
    "-q",
    "--quick",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)


def file_of(name: str) -> Path:
    (found,) = (TESTS / "unit").rglob(f"{name}.py")
    return found


@pytest.mark.parametrize("name", ["test_lookups", "test_broker_machine"])
def test_a_file_without_means_to_leave_the_process_is_inside(name: str) -> None:
    assert is_inside(file_of(name))


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess",
        "from os import path\ndef test():\n    import socket",
        "from tests.conftest import needs",
        "from tests.support import machines",
        "import pytest\npytestmark = pytest.mark.needs('clang')",
    ],
)
def test_a_file_that_names_a_way_out_is_not(text: str, tmp_path: Path) -> None:
    path = tmp_path / "test_new.py"
    path.write_text(text)
    assert not is_inside(path)


def test_a_test_that_starts_a_process_by_a_way_unseen_fails_and_says_what_to_do() -> None:
    """A test of this tree, marked for it, is run without its mark."""
    run = (
        "from tests import quick; quick.MARKS = (); import pytest; raise SystemExit(pytest.main())"
    )
    file = file_of("test_machine_class")
    chosen = "test_processors_that_answer_otherwise_are_of_another_class"
    done = subprocess.run(
        [sys.executable, "-c", run, *OPTIONS, str(file), "-k", chosen],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "mark this test with pytest.mark.outside" in done.stdout
