"""Random edits between builds: after each, the object is what the plain compiler makes at that moment.

A project of two sources and a dozen headers in several directories is changed step by step: contents edited,
swapped and reverted; headers added earlier in the path, removed, touched; files written twice within one tick
with equal sizes; times set back; directories renamed, symlinks turned; options and environment changed; the
compiler exchanged for another that looks alike. After each step one source is compiled plain and through zcc,
and exit status, messages, object and dependency file are compared.

    python -m tests.edits --steps 5000 --seed 7       (by `make edits STEPS=... SEED=...`)
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
DIRECTORIES = ("a", "b", "c", "src")
NAMES = ("one.h", "two.h", "three.h", "four.h")
SOURCES = ("src/x.c", "src/y.c")
LEVELS = (
    "-O0",
    "-O1",
    "-O2 -g",
    "-DVALUE=3",
    "-DVALUE=4 -g3",
    "-Ib -Ia",
    "-iquote c",
    "-include a/one.h",
)
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"CPATH": "b"},
    {"C_INCLUDE_PATH": "c"},
    {"LC_ALL": "C"},
    {"SOURCE_DATE_EPOCH": "1"},
    {"SOURCE_DATE_EPOCH": "86400"},
)
TIMEOUT_S = 60


@dataclass
class Difference(Exception):
    """What was not the same; `story` are the last steps."""

    step: int
    story: list[str]
    what: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.what}\n  " + "\n  ".join(self.story)


@dataclass
class Project:
    """The files, and what has been done to them. `rng` decides everything."""

    top: Path
    rng: random.Random
    options: str = "-O1"
    environment: dict[str, str] = field(default_factory=dict)
    compiler: str = "gcc"
    story: list[str] = field(default_factory=list)
    _kept: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for directory in DIRECTORIES:
            (self.top / directory).mkdir()
        for source in SOURCES:
            self._write(source)
        for directory in DIRECTORIES[:3]:
            for name in NAMES:
                if self.rng.random() < 0.6:
                    self._write(f"{directory}/{name}")

    def edit(self) -> None:
        """One random change, told in `story`."""
        edits: tuple[Callable[[], str], ...] = (
            self._rewrite, self._rewrite, self._rewrite, self._remove, self._swap, self._revert,
            self._touch, self._twice, self._turn_back, self._link, self._rename, self._again,
            self._change_options, self._change_environment, self._change_compiler,
            self._hide, self._directory,
        )  # fmt: skip
        self.story.append(self.rng.choice(edits)())
        del self.story[:-12]

    # --- the edits ----------------------------------------------------------------------------

    def _write(self, name: str) -> None:
        path = self.top / name
        if path.is_dir():
            return
        path.parent.mkdir(exist_ok=True)
        if path.is_symlink() and not path.exists():
            path.unlink()
        path.write_text(self._source() if name in SOURCES else self._header())

    def _header(self) -> str:
        lines = []
        references = [self._reference() for _ in range(self.rng.randrange(3))]
        if references and self.rng.random() < 0.3:
            guard = f"GUARD_{self.rng.randrange(1000)}"
            lines += [f"#ifndef {guard}", f"#define {guard}", *references, "#endif"]
        elif references or self.rng.random() < 0.3:
            # Without a guard, headers that include each other take the compiler for ever.
            lines += ["#pragma once", *references]
        # Equal sizes are frequent: what only looks at sizes and times must not be fooled.
        lines.append(f"static int v{self.rng.randrange(100, 130)}_;")
        return "\n".join(lines) + "\n"

    def _source(self) -> str:
        lines = [self._reference() for _ in range(self.rng.randrange(1, 4))]
        value = self.rng.randrange(10, 99)
        lines.append("#ifndef VALUE\n#define VALUE 1\n#endif")
        lines.append(f"int answer(void) {{ return VALUE + {value}; }}")
        return "\n".join(lines) + "\n"

    def _reference(self) -> str:
        name = self.rng.choice(NAMES)
        if self.rng.random() < 0.03:
            # The scanner cannot see one of them: the proof, and with a hit the residue, have to.
            ask = self.rng.choice(("HAS", "HAS", "PASTE(__has_, include)"))
            macros = "#define HAS __has_include\n#define PASTE(a, b) a##b"
            return f'{macros}\n#if {ask}("{name}")\nstatic int has_{name[:-2]}_;\n#endif'
        forms = (
            f'#if __has_include("{name}")\n#include "{name}"\n#endif',
            f"#if __has_include(<{name}>)\n#include <{name}>\n#endif",
            f"#if __has_include_next(<{name}>)\n#include_next <{name}>\n#endif",
            f'#if __has_include("../a/{name}")\n#define WHAT "../a/{name}"\n#include WHAT\n#undef WHAT\n#endif',
            f'#if 0\n#include "{name}"\n#endif',
        )
        return self.rng.choice(forms)

    def _any(self) -> str:
        if self.rng.random() < 0.25:
            return self.rng.choice(SOURCES)
        return f"{self.rng.choice(DIRECTORIES)}/{self.rng.choice(NAMES)}"

    def _rewrite(self) -> str:
        name = self._any()
        path = self.top / name
        if path.is_file():
            self._kept[name] = path.read_text()
        self._write(name)
        return f"write {name}"

    def _remove(self) -> str:
        name = self._any()
        path = self.top / name
        if name not in SOURCES and (path.is_file() or path.is_symlink()):
            self._kept[name] = path.read_text() if path.is_file() else ""
            path.unlink()
        return f"remove {name}"

    def _swap(self) -> str:
        one, two = self.top / self._any(), self.top / self._any()
        if one.is_file() and two.is_file() and one.suffix == two.suffix:
            first, second = one.read_text(), two.read_text()
            one.write_text(second)
            two.write_text(first)
        return f"swap {one.name} {two.name}"

    def _revert(self) -> str:
        if not self._kept:
            return "revert nothing"
        name = self.rng.choice(sorted(self._kept))
        path = self.top / name
        if not path.is_dir():
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(self._kept[name])
        return f"revert {name}"

    def _touch(self) -> str:
        name = self._any()
        if (self.top / name).is_file():
            os.utime(self.top / name)
        return f"touch {name}"

    def _twice(self) -> str:
        """Two writes within one tick of the clock, with a compile between them."""
        name = self._any()
        self._write(name)
        self.compare()
        path = self.top / name
        if path.is_file():
            before = path.stat()
            text = path.read_text()
            path.write_text(text.replace("1", "2") if "1" in text else text.replace("2", "1"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return f"write {name} twice in one tick"

    def _turn_back(self) -> str:
        name = self._any()
        if (self.top / name).is_file():
            self._write(name)
            os.utime(self.top / name, (1_000_000_000, 1_000_000_000))
        return f"write {name}, dated 2001"

    def _link(self) -> str:
        name, target = self._any(), self._any()
        path = self.top / name
        # A source has no guard: as a header it would be included for ever.
        if name not in SOURCES and target not in SOURCES and not path.is_dir():
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.top / target)
        return f"link {name} -> {target}"

    def _rename(self) -> str:
        """A file moved over another: the inode changes, the times come along."""
        one, two = f"{self.rng.choice('abc')}/{self.rng.choice(NAMES)}", self._any()
        if two not in SOURCES and (self.top / one).is_file() and not (self.top / two).is_dir():
            (self.top / two).parent.mkdir(exist_ok=True)
            os.replace(self.top / one, self.top / two)
        return f"move {one} to {two}"

    def _again(self) -> str:
        return "nothing"

    def _hide(self) -> str:
        """A directory on the path goes away, or comes back."""
        name = self.rng.choice("abc")
        here, hidden = self.top / name, self.top / f"{name}.hidden"
        if here.exists() and not hidden.exists():
            here.rename(hidden)
        elif hidden.exists():
            shutil.rmtree(here, ignore_errors=True)
            hidden.rename(here)
        return f"hide or show {name}"

    def _directory(self) -> str:
        """A directory where a header was looked for, or none again."""
        path = self.top / self.rng.choice("abc") / self.rng.choice(NAMES)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif path.parent.is_dir() and not path.exists() and not path.is_symlink():
            path.mkdir()
        return f"directory {path.parent.name}/{path.name}"

    def _change_options(self) -> str:
        self.options = self.rng.choice(LEVELS)
        return f"options {self.options}"

    def _change_environment(self) -> str:
        self.environment = self.rng.choice(ENVIRONMENTS)
        return f"environment {self.environment}"

    def _change_compiler(self) -> str:
        """By name, or behind a name that stays while what it stands for is upgraded."""
        name = self.rng.choice([name for name in ("gcc", "clang") if shutil.which(name)])
        self.compiler = name
        if self.rng.random() < 0.5:
            tool = self.top / "cc"
            tool.unlink(missing_ok=True)
            tool.symlink_to(os.path.realpath(shutil.which(name) or name))
            self.compiler = str(tool)
        return f"compiler {self.compiler}: {name}"

    # --- comparing ----------------------------------------------------------------------------

    compare: Callable[[], None] = field(default=lambda: None)

    def command(self) -> list[str]:
        options = ["-Ia", "-Ib", "-isystem", "c", *self.options.split()]
        return [self.compiler, *options, "-MD", "-c", self.rng.choice(SOURCES), "-o", "out.o"]


def observe(
    project: Project, command: list[str], environment: dict[str, str]
) -> tuple[object, ...]:
    """Exit status, messages, object and dependency file of one compile."""
    outputs = [project.top / "out.o", project.top / "out.d"]
    for path in outputs:
        path.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command,
            cwd=project.top,
            env=environment | project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return ("timed out",)  # so should the other: headers can include each other for ever
    files = [path.read_bytes() if path.exists() else None for path in outputs]
    return done.returncode, done.stdout, done.stderr, *files


def run(farm: LocalFarm, top: Path, steps: int, seed: int) -> Counter[str]:
    """So many edits and comparisons; what the compiles came from.

    Raises:
        Difference: zcc gave something else than the compiler.
    """
    project = Project(top, random.Random(seed))
    environment = farm.environment | {"PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    step = 0

    def compare() -> None:
        command = project.command()
        through = observe(project, ["zcc", *command], environment)
        plain = observe(project, command, environment)
        if through != plain:
            names = ("exit status", "stdout", "stderr", "object", "dependencies")
            differ = [name for name, a, b in zip(names, plain, through, strict=False) if a != b]
            raise Difference(
                step, project.story, f"{' '.join(command)}: {', '.join(differ)} differ"
            )

    project.compare = compare
    before = outcomes(farm)
    for step in range(1, steps + 1):  # noqa: B007 - compare tells it
        project.edit()
        compare()
    return outcomes(farm) - before


def outcomes(farm: LocalFarm) -> Counter[str]:
    stats = control.ask(farm.environment["ZCC_SOCKET"], {"op": "stats"})
    assert stats is not None
    return Counter(stats["outcomes"]) + Counter(stats["local_reasons"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zcc-edits-") as directory:
        farm = LocalFarm(directory)
        project = Path(directory) / "project"
        project.mkdir()
        try:
            farm.start(nodes=1, slots=2)
            begun = time.monotonic()
            found = run(farm, project, given.steps, given.seed)
        except Difference as difference:
            sys.exit(f"seed {given.seed}, {difference}")
        finally:
            farm.stop()
    took_s = time.monotonic() - begun
    print(f"seed {given.seed}: {given.steps} steps in {took_s:.0f} s, 0 differences; {dict(found)}")


if __name__ == "__main__":
    main()
