"""A compiler that is replaced while a build goes on: each object comes from the one that was there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

PATIENCE_S = 60
AT_ONCE = 4
VERSIONS = (b"first", b"second")


@dataclass
class Compiler:
    """A gcc of our own, with a cc1 that says of which version it is in each object (.comment)."""

    root: Path
    changed_s: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        gcc = os.path.realpath(needs("gcc"))
        told = subprocess.run([gcc, "--version"], capture_output=True, check=True).stdout
        found = re.search(rb"\((.+?)\) \d", told)
        assert found is not None
        self._told = found[1]
        asked = [self._ask(gcc, word) for word in ("-dumpmachine", "-dumpversion")]
        self._cc1 = Path(self._ask(gcc, "-print-prog-name=cc1"))
        self._place = self.root / "lib" / "gcc" / Path(*asked)
        self._place.mkdir(parents=True)
        (self.root / "bin").mkdir()
        shutil.copy(gcc, self.path)
        self.install(VERSIONS[0])
        if Path(self._ask(str(self.path), "-print-prog-name=cc1")).resolve() != self._place / "cc1":
            pytest.skip("this gcc finds its parts by absolute paths only")

    @property
    def path(self) -> Path:
        return self.root / "bin" / "gcc"

    def install(self, version: bytes) -> None:
        """As a package manager does: beside the old one, then renamed over it."""
        data = self._cc1.read_bytes()
        assert self._told in data
        fresh = self._place / "cc1.new"
        fresh.write_bytes(data.replace(self._told, version.ljust(len(self._told))))
        fresh.chmod(0o755)
        fresh.rename(self._place / "cc1")
        self.changed_s[version] = time.monotonic()

    def _ask(self, compiler: str, word: str) -> str:
        done = subprocess.run([compiler, word], capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture(scope="module")
def farm() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-upgrade-") as directory:
        local = LocalFarm(directory)
        try:
            local.start(nodes=1, slots=2)
            yield local
        finally:
            local.stop()


@dataclass
class Made:
    begun_s: float
    ended_s: float
    version: bytes


def compile_one(farm: LocalFarm, compiler: Compiler, project: Path, number: int) -> Made:
    source, output = project / f"a{number}.c", project / f"a{number}.o"
    source.write_text(f"int f{number}(void) {{ return {number}; }}\n")
    begun_s = time.monotonic()
    done = subprocess.run(
        ["zcc", compiler.path, "-c", source.name, "-o", output.name],
        cwd=project,
        env=farm.environment,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = [version for version in VERSIONS if b"(" + version in output.read_bytes()]
    assert len(found) == 1
    return Made(begun_s, time.monotonic(), found[0])


def outcomes(farm: LocalFarm) -> dict[str, int]:
    answer = control.ask(farm.environment["ZCC_SOCKET"], {"op": "stats"})
    assert answer is not None
    found: dict[str, int] = answer["outcomes"]
    return found


def test_a_compiler_that_is_replaced_in_the_middle_of_a_build(
    farm: LocalFarm, tmp_path: Path
) -> None:
    compiler, project = Compiler(tmp_path / "prefix"), tmp_path / "project"
    project.mkdir()
    made: list[Made] = []
    numbers = iter(range(1000))
    is_over = threading.Event()

    def build() -> None:
        while not is_over.is_set():
            made.append(compile_one(farm, compiler, project, next(numbers)))

    def wait_for(version: bytes, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while sum(each.version == version for each in made) < count:
            assert time.monotonic() < deadline, made
            time.sleep(0.01)

    builders = [threading.Thread(target=build) for _ in range(AT_ONCE)]
    for builder in builders:
        builder.start()
    try:
        wait_for(VERSIONS[0], 12)
        compiler.install(VERSIONS[1])
        wait_for(VERSIONS[1], 12)
    finally:
        is_over.set()
        for builder in builders:
            builder.join(PATIENCE_S)
    changed_s = compiler.changed_s[VERSIONS[1]]
    for each in made:
        if each.begun_s > changed_s:
            assert each.version == VERSIONS[1]
    assert outcomes(farm).get("remote", 0) > 12


def test_what_the_old_compiler_made_is_no_hit_for_the_new_one(
    farm: LocalFarm, tmp_path: Path
) -> None:
    """And is one again when the old one is put back."""
    compiler, project = Compiler(tmp_path / "prefix"), tmp_path / "project"
    project.mkdir()
    for version in (VERSIONS[0], VERSIONS[1], VERSIONS[0]):
        compiler.install(version)
        for _ in range(2):
            assert compile_one(farm, compiler, project, 1).version == version
    assert outcomes(farm).get("local_hit", 0) >= 3
