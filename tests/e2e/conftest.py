"""A farm of real processes on loopback, shared by the tests of this folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from zcc.agent import door
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent


@dataclass
class Farm:
    """A running farm and how to build with it."""

    local: LocalFarm

    def run(
        self, *command: str, cwd: Path, strict: bool = True, **extra: str
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**self.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}", **extra}
        if strict:
            environment["ZCC_FALLBACK"] = "never"
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, check=False, timeout=100
        )

    def stats(self) -> dict[str, Any]:
        """Asked of the agent itself, which is 20 times as fast; while none runs, of `zcc stats`."""
        answer = door.ask(self.local.environment["ZCC_SOCKET"], {"op": "stats"})
        if answer is not None:
            return answer
        done = self.run(str(BIN / "zcc"), "stats", "--json", cwd=Path("/"))
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    if not (BIN / "zcc").exists():
        pytest.fail("zcc is not installed beside this Python: run the tests by `make test`")
    with tempfile.TemporaryDirectory(prefix="zcc-e2e-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=2, slots=2)
            # These tests are about compiling: what is remembered must not answer for it.
            local.environment["ZCC_CACHE"] = "off"
            yield Farm(local)
        finally:
            local.stop()


@pytest.fixture(scope="module")
def remembering() -> Iterator[Farm]:
    """A farm of one node for a file's own use, whose results are remembered."""
    with tempfile.TemporaryDirectory(prefix="zcc-memory-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=1, slots=2)
            yield Farm(local)
        finally:
            local.stop()


@pytest.fixture(scope="module")
def one_node() -> Iterator[Farm]:
    """A farm of one node for a file's own use, which a test may have stand still."""
    with tempfile.TemporaryDirectory(prefix="zcc-one-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=1, slots=2)
            local.environment["ZCC_CACHE"] = "off"
            yield Farm(local)
        finally:
            for node in local.nodes:
                node.send_signal(signal.SIGCONT)
            local.stop()


@pytest.fixture(params=["gcc", "clang"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    needs(name)
    return name
