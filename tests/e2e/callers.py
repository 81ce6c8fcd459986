"""A small project of C and C++, and what it takes to build it in one place twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm

# As most tests of this folder know it.
need = needs

# Journals with times or process ids: two plain builds differ in them.
JOURNALS = (
    "*.ninja_log",
    "*.ninja_deps",
    "*config.log",
    "*CMakeFiles/CMake*.log",
    "*CMakeFiles/CMakeConfigureLog.yaml",
    "*CMakeFiles/*.bin",  # linked from files with random names
    "*meson-logs/*",
    "*meson-private/*.dat",
    "*meson-info/*",
)

SOURCES = {
    "words.h": '#ifdef __cplusplus\nextern "C"\n#endif\nint words(const char *text);\n',
    "words.c": (
        '#include "words.h"\n#include <ctype.h>\nint words(const char *text) {\n'
        "  unsigned unused; int n = 0, in = 0;\n"
        "  for (; *text; text++) { int b = isspace((unsigned char)*text); n += !b && !in; in = !b; }\n"
        "  return n;\n}\n"
    ),
    "main.cc": (
        '#include "words.h"\n#include <iostream>\n#include <string>\n'
        "int main() { std::string line; int n = 0; while (std::getline(std::cin, line))"
        " n += words(line.c_str()); std::cout << n << std::endl; }\n"
    ),
}
COMPILES = 2


def write_sources(directory: Path, extra: dict[str, str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (SOURCES | extra).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        if text.startswith("#!"):
            path.chmod(0o755)
    return directory


@dataclass
class Outcome:
    """What a build said, and every file that it left."""

    said: bytes
    files: dict[str, tuple[int, bytes]]
    remote: int = 0
    hits: int = 0


@dataclass
class Site:
    """One place where `line` is run by sh, plain and through the farm."""

    farm: Farm
    directory: Path
    extra: dict[str, str]
    ignored: tuple[str, ...] = ()

    def plain(self, line: str, **variables: str) -> Outcome:
        """As if zcc did not exist: a `zcc` that runs what follows it is all there is on PATH."""
        programs = self.directory.parent / "plain-bin"
        programs.mkdir(exist_ok=True)
        for name, default in (("zcc", "cc"), ("zcc++", "c++")):
            program = programs / name
            program.write_text(
                f'#!/bin/sh\ncase "$1" in -*|*.c|*.cc) exec {default} "$@";; *) exec "$@";; esac\n'
            )
            program.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        return self._build(line, {**os.environ, "PATH": path, **variables})

    def distributed(self, line: str, strict: bool = True, **variables: str) -> Outcome:
        environment = {**self.farm.local.environment, "PATH": f"{BIN}:{os.environ['PATH']}"}
        environment |= {"ZCC_FALLBACK": "never"} if strict else {}
        before = self.farm.stats()["outcomes"]
        outcome = self._build(line, environment | variables)
        after = self.farm.stats()["outcomes"]
        outcome.remote = after["remote"] - before["remote"]
        outcome.hits = sum(after[name] - before[name] for name in ("local_hit", "shared_hit"))
        return outcome

    def both(self, line: str, compiles: int = COMPILES, **variables: str) -> Outcome:
        """Builds both ways and asserts that nothing differs and that all was compiled remotely."""
        plain = self.plain(line, **variables)
        distributed = self.distributed(line, strict=True, **variables)
        assert_equal(plain, distributed)
        assert distributed.remote + distributed.hits == compiles
        return distributed

    def _build(self, line: str, environment: dict[str, str]) -> Outcome:
        shutil.rmtree(self.directory, ignore_errors=True)
        write_sources(self.directory, self.extra)
        done = subprocess.run(
            ["sh", "-ec", line],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")
        return Outcome(done.stdout, look_at(self.directory, (*JOURNALS, *self.ignored)))


def look_at(top: Path, ignored: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file below."""
    return {
        name: (path.stat().st_mode, path.read_bytes())
        for path in sorted(top.rglob("*"))
        if path.is_file()
        and not any(fnmatch(name := str(path.relative_to(top)), each) for each in ignored)
    }


def assert_equal(plain: Outcome, distributed: Outcome) -> None:
    names = sorted(plain.files.keys() | distributed.files.keys())
    different = [name for name in names if plain.files.get(name) != distributed.files.get(name)]
    assert not different, different
    assert sorted(plain.said.splitlines()) == sorted(distributed.said.splitlines())


def files_of(process: Path) -> Iterator[str]:
    """What the descriptors of a process (/proc/PID) lead to; it opens and closes some meanwhile."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield os.readlink(descriptor)
