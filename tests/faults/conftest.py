"""The project that the tests of this folder build."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.disturbed import write_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))
