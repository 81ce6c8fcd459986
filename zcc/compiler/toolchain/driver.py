"""What a compiler says of itself. Owns the questions and the reading of their answers.

The questions are asked in a bare environment (PATH and the C locale): what else could move the answers
(GCC_EXEC_PREFIX, COMPILER_PATH, CCC_OVERRIDE_OPTIONS...) makes a compile local anyway.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.toolchain.index import Identity
from zcc.errors import CompilerError

# A driver answers in 2 to 50 ms; one that does not in this time waits for something it will not get.
QUERY_TIMEOUT_S = 15.0
# Programs that pass a compile on to another compiler: the real one lies behind them on PATH.
WRAPPERS = frozenset(
    (b"ccache", b"sccache", b"distcc", b"icecc", b"buildcache", b"fastbuild")
    + (b"zcc", b"zcc++", b"zcc-masquerade")
)
_GCC_VERSION = re.compile(rb"^(gcc version .*?)\s*$", re.MULTILINE)
_CLANG_VERSION = re.compile(rb"^(.*\bclang version .*?)\s*$", re.MULTILINE)
_COLLECT_GCC = re.compile(rb"^COLLECT_GCC=(/.*)$", re.MULTILINE)
_TARGET = re.compile(rb"^Target: (\S+)\s*$", re.MULTILINE)
# Bare-metal toolchains have dozens of multilibs, each with a directory that the driver looks for.
_MAX_MULTILIBS = 256


@dataclass(frozen=True, slots=True)
class Driver:
    """A compiler as it is called: `path` is executed, its answers depend on PATH."""

    path: bytes
    search_path: bytes

    def ask(self, *arguments: bytes) -> tuple[bytes, bytes]:
        """Standard output and standard error of one question.

        Raises:
            CompilerError: it does not run, or does not answer.
        """
        environment = {b"PATH": self.search_path, b"LC_ALL": b"C"}
        try:
            done = subprocess.run(
                [self.path, *arguments],
                env=environment, cwd=b"/", stdin=subprocess.DEVNULL, capture_output=True,
                check=False, timeout=QUERY_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompilerError(f"{os.fsdecode(self.path)} does not answer: {error}") from error
        return done.stdout, done.stderr

    def ask_line(self, *arguments: bytes) -> bytes:
        """The first line of the answer to one question; empty when it does not know."""
        return self.ask(*arguments)[0].split(b"\n", 1)[0]

    def identify(self) -> Identity:
        """Which compiler this is.

        Raises:
            CompilerError: neither gcc nor clang.
        """
        said = self.ask(b"-v")[1]
        target = _TARGET.search(said)
        for family, pattern in ((Family.CLANG, _CLANG_VERSION), (Family.GCC, _GCC_VERSION)):
            version = pattern.search(said)
            if version and target:
                return Identity(family, _text(version[1]), _text(target[1]))
        name = os.fsdecode(self.path)
        raise CompilerError(f"{name} is neither gcc nor clang: -v says {said[:80]!r}")

    def refuse_wrapper(self) -> None:
        """A program that calls gcc with words of its own (Buildroot's) may take them from anywhere.

        Raises:
            CompilerError: it is one.
        """
        called = _COLLECT_GCC.search(self.ask(b"-v")[1])
        if called and os.path.realpath(called[1]) != os.path.realpath(self.path):
            raise CompilerError(
                f"{os.fsdecode(self.path)} is a program in front of {os.fsdecode(called[1])}: "
                "the compiler behind it is what can be sent"
            )

    def program(self, name: bytes) -> bytes:
        """Where it would find this program: a path, or the bare name when PATH decides."""
        return self.ask_line(b"-print-prog-name=" + name)

    def search_directories(self) -> tuple[bytes, dict[bytes, None]]:
        """gcc's own directory, and those in which it looks for programs and libraries, as spelled.

        Those of every multilib count (`-m32`): they are probed with each compile.
        """
        own = b""
        found: dict[bytes, None] = {}
        for flags in self._multilibs():
            for line in self.ask(*flags, b"-print-search-dirs")[0].splitlines():
                kind, _, value = line.partition(b": ")
                if kind == b"install":
                    own = own or value
                elif kind in (b"programs", b"libraries"):
                    spelled = value.removeprefix(b"=").split(b":")
                    found.update(dict.fromkeys(path for path in spelled if path.startswith(b"/")))
        return own, found

    def _multilibs(self) -> list[list[bytes]]:
        lines = self.ask(b"-print-multi-lib")[0].splitlines()[:_MAX_MULTILIBS]
        flags = [line.partition(b";")[2].split(b"@")[1:] for line in lines]
        return [[], *([b"-" + flag for flag in each] for each in flags if each)]


def resolve(path: bytes, walker: PathWalker) -> bytes:
    """The physical path of a compiler, which must not be one that only passes compiles on.

    Raises:
        CompilerError: not there, or a wrapper.
    """
    physical = walker.walk(path).physical
    if physical is None:
        raise CompilerError(f"{os.fsdecode(path)} is not there")
    if os.path.basename(physical) in WRAPPERS:
        raise CompilerError(
            f"{os.fsdecode(path)} is {os.fsdecode(physical)}, which only passes compiles on: "
            "the compiler behind it is what can be sent"
        )
    return physical


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
