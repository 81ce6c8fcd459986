"""The rule for programs that tests need: one function skips, and in CI it fails instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REQUIRED, installed_in_ci, lacks, needs

TESTS = Path(__file__).parents[2]
ROOT = TESTS.parent


def test_what_is_there_is_found() -> None:
    assert needs("sh", "cat").endswith("/sh")


@pytest.fixture
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(REQUIRED, raising=False)


@pytest.mark.usefixtures("nothing_is_installed")
def test_a_missing_program_skips_and_says_what_installs_it() -> None:
    with pytest.raises(
        pytest.skip.Exception, match=r"clang is not installed: .ci/install-test-tools"
    ):
        needs("clang")
    with pytest.raises(pytest.skip.Exception, match=r"clang-99 is not installed$"):
        needs("clang-99")


@pytest.mark.usefixtures("nothing_is_installed")
def test_in_ci_a_missing_program_that_ci_installs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="clang is not installed"):
        needs("clang")
    with pytest.raises(pytest.skip.Exception):
        needs("clang-99")
    with pytest.raises(pytest.fail.Exception, match=r"de_DE.UTF-8"):
        lacks("de_DE.UTF-8")


def test_ci_sets_the_switch_and_its_table_is_read() -> None:
    assert f"{REQUIRED}=1" in (ROOT / ".ci" / "run").read_text()
    assert {"clang", "ccache", "meson", "musl-gcc", "ip", "avr-gcc"} <= installed_in_ci()


def test_no_test_skips_for_a_program_by_itself() -> None:
    """It would stay skipped in CI without a word."""
    by_itself = re.compile(
        r"skipif\([^)]*which\(|skip\([^)]*(?:is not installed|install-test-tools)"
    )
    own = {TESTS / "conftest.py", Path(__file__)}
    found = [
        str(path.relative_to(ROOT))
        for path in sorted(TESTS.rglob("*.py"))
        if path not in own and by_itself.search(path.read_text())
    ]
    assert found == []
