"""A farm of real processes on loopback, shared by the tests of this folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from tests.support.prepared_farm import PreparedFarm
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
BOTH = ("gcc", "clang")


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

    @contextmanager
    def ending(self, *ends: str) -> Iterator[None]:
        """Holds that the compiles inside end in just these ways, each at least once: `remote`, `local_hit`,
        `shared_hit`, `failed`, or the code of the reason why here; "a|b" is one of two or both. Equal outputs
        alone show nothing: a compile that fell back is equal to the plain one by itself."""
        before = self.ran()
        yield
        seen = self.ran() - before
        named = {next((end for end in ends if way in end.split("|")), way) for way in seen}
        assert named == set(ends), f"ended as {dict(seen)}, and were to end as {ends}"

    def ran(self) -> Counter[str]:
        """How all compiles so far have ended, in the words of `ending`."""
        document = self.stats()
        outcomes = {end: count for end, count in document["outcomes"].items() if end != "local"}
        return Counter(outcomes) + Counter(document["local_reasons"])

    def stats(self) -> dict[str, Any]:
        """Asked of the agent itself, which is 20 times as fast; while none runs, of `zcc stats`."""
        answer = control.ask(self.local.environment["ZCC_SOCKET"], {"op": "stats"})
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
        local = PreparedFarm(directory, compilers=BOTH)
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
        local = PreparedFarm(directory, compilers=BOTH)
        try:
            local.start(nodes=1, slots=2)
            yield Farm(local)
        finally:
            local.stop()


@pytest.fixture(scope="module")
def one_node() -> Iterator[Farm]:
    """A farm of one node for a file's own use, which a test may have stand still."""
    with tempfile.TemporaryDirectory(prefix="zcc-one-") as directory:
        local = PreparedFarm(directory, compilers=BOTH)
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
