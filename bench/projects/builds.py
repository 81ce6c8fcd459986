"""One build of one project, plain or through the farm, and what it left behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from catalogue import JOBS, Project
from sources import unpack

from zcc.cli.up import LocalFarm
from zcc.reasons import Reason

BIN = Path(sys.executable).parent
RECORDER = Path(__file__).resolve().parent / "recorder"
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Command:
    """One call of a compiler: its directory and words, and what came of it."""

    words: tuple[bytes, ...]
    stdout: bytes
    stderr: bytes
    status: bytes

    @property
    def is_compile(self) -> bool:
        return b"-c" in self.words or b"-S" in self.words


@dataclass(frozen=True)
class Counts:
    """What the agent counted during the build proper."""

    compiles: int = 0
    remote: int = 0
    listed: int = 0
    passed: int = 0
    local: dict[str, int] = field(default_factory=dict)
    discrepancies: int = 0
    proof_failures: int = 0
    notes: list[str] = field(default_factory=list)


class Workplace:
    """Where a project is built: both builds happen at the same path."""

    def __init__(self, directory: Path, archive: Path) -> None:
        self.sources = directory / "work"
        self.records = directory / "records"
        self.programs = directory / "bin"
        self._archive = archive
        self.programs.mkdir(parents=True)
        shutil.copy(RECORDER, self.programs / "zcc")

    def renew(self) -> None:
        """Sources as unpacked, their times the archive's."""
        shutil.rmtree(self.sources, ignore_errors=True)
        shutil.rmtree(self.records, ignore_errors=True)
        self.records.mkdir()
        unpack(self._archive, self.sources)


class Build:
    """`run`, then look at what is there."""

    def __init__(
        self, project: Project, words: dict[str, str], place: Workplace, farm: LocalFarm | None
    ) -> None:
        self._project = project
        self._words = words | {"jobs": str(JOBS)}
        self._place = place
        self._farm = farm
        self.build_s = 0.0
        self.written: dict[str, tuple[int, str]] = {}
        self.commands: list[Command] = []
        self.counts = Counts()

    def run(self) -> Build:
        """Unpack, configure, build.

        Raises:
            subprocess.CalledProcessError: the build failed; its output is shown.
        """
        self._place.renew()
        self._sh(self._project.configure)
        before, recorded = self._stats(), len(self._records())
        begun = time.monotonic()
        self._sh(self._project.build)
        self.build_s = time.monotonic() - begun
        self.counts = count(before, self._stats())
        self.commands = [read_command(path) for path in self._records()]
        built = len(self.commands) - recorded
        if self._farm is not None and self.counts.compiles + self.counts.passed != built:
            raise AssertionError(f"{built} commands, but the agent counted {self.counts}")
        self.written = look_at(self._place.sources)
        return self

    def test(self) -> int:
        """The exit status of the project's own tests, on what was built."""
        done = self._start(self._project.test)
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-4000:])
        return done.returncode

    def _sh(self, line: str) -> None:
        done = self._start(line)
        if done.returncode != 0:
            sys.stderr.write(done.stdout[-8000:])
            raise subprocess.CalledProcessError(done.returncode, line)

    def _start(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line.format(**self._words)],
            cwd=self._place.sources,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
        )

    def _environment(self) -> dict[str, str]:
        environment = dict(self._farm.environment if self._farm else os.environ)
        programs = str(self._place.programs)
        return environment | {
            "PATH": f"{programs}:{environment['PATH']}",
            "RECORDER_PATH": programs,
            "RECORDER_DIR": str(self._place.records),
            "RECORDER_ZCC": str(BIN / "zcc") if self._farm else "",
        }

    def _records(self) -> list[Path]:
        return sorted(self._place.records.iterdir())

    def _stats(self) -> dict[str, object]:
        if self._farm is None:
            return {}
        command = [str(BIN / "zcc"), "stats", "--json"]
        done = subprocess.run(command, env=self._farm.environment, check=True, capture_output=True)
        document: dict[str, object] = json.loads(done.stdout)
        return document


def read_command(record: Path) -> Command:
    words = tuple((record / "command").read_bytes().split(b"\0"))
    parts = [(record / name).read_bytes() for name in ("stdout", "stderr", "status")]
    return Command(words, *parts)


# What no farm could take; a compile that failed there, or was checked here, was one that it could.
_PASSED = {each for each in Reason if each.is_choice} - {Reason.COMPILE_ERROR, Reason.VERIFY}


def count(before: dict[str, object], after: dict[str, object]) -> Counts:
    """What was added to the agent's counters."""
    if not after:
        return Counts()
    outcomes, ways, reasons = (
        Counter(after[name]) - Counter(before[name])  # type: ignore[call-overload]
        for name in ("outcomes", "ways", "local_reasons")
    )
    passed = sum(number for name, number in reasons.items() if name in _PASSED)
    local = {name: number for name, number in reasons.items() if name not in _PASSED}
    notes = list(after["notes"])  # type: ignore[call-overload]
    return Counts(
        compiles=sum(outcomes.values()) - passed,
        remote=sum(outcomes.values()) - outcomes["local"] - outcomes["failed"],
        listed=ways["listed"],
        passed=passed,
        local=local,
        discrepancies=after["discrepancies"] - before["discrepancies"],  # type: ignore[operator]
        proof_failures=after["proof_failures"] - before["proof_failures"],  # type: ignore[operator]
        notes=notes[len(before["notes"]) :],  # type: ignore[arg-type]
    )


def look_at(top: Path) -> dict[str, tuple[int, str]]:
    """Mode and digest (of a symlink: its target) of everything below."""
    seen = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            seen[name] = (0, os.readlink(path))
        elif path.is_file():
            seen[name] = (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return seen
