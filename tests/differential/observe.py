"""Runs a case's command and records all that can be seen of the run."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.differential.case import HERE, PATH, UNSET, Case, Stdin, Streams

TIMEOUT_S = 30
# What the drivers name their temporary files: gcc's `ccXXXXXX.s`, clang's `main-1a2b3c.o`. The assembler and
# the linker name them in messages and listings.
_TEMPORARY = rb"[^\n:`']*?(?:cc[0-9A-Za-z]{6}|-[0-9a-f]{6})(?=[.:])"
# What clang leaves beside a temporary file, where TMPDIR lies in the project.
_LEFT_BEHIND = re.compile(r"-[0-9a-f]{6}(\.(?:json|stats))$")
# What a command that compiles its standard input finds there.
SOURCE = b"int from_stdin = 3;\n"
# What closes a descriptor, as a shell has it.
CLOSED_BY: Mapping[Streams | Stdin, str] = {
    each: each.value for each in (Streams.NO_OUTPUT, Streams.NO_ERRORS, Stdin.CLOSED)
}
HUNG = -1000  # in place of an exit status: the command was killed after TIMEOUT_S
# How long ago a change must be for the agent to trust its memory of a file; see zcc/compiler/disk/disk.py.
RACY_S = 2.1

STATUS, STDOUT, STDERR, SPILL = "exit status", "stdout", "stderr", "temporary files left"


@dataclass(frozen=True)
class Seen:
    """What a run showed and left. `files`: path -> (what it is, content or target)."""

    status: int
    stdout: bytes
    stderr: bytes
    files: Mapping[str, tuple[str, bytes]]
    spill: tuple[str, ...] = ()

    def artefacts(self) -> Iterator[tuple[str, object]]:
        """Each thing that can differ, under its name."""
        yield STATUS, self.status
        yield STDOUT, self.stdout
        yield STDERR, self.stderr
        yield SPILL, self.spill
        yield from self.files.items()


@dataclass(frozen=True)
class Difference:
    name: str
    expected: object
    found: object


def differences(expected: Seen, found: Seen) -> list[Difference]:
    left, right = dict(expected.artefacts()), dict(found.artefacts())
    return [
        Difference(name, left.get(name), right.get(name))
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]


def run(case: Case, root: str, environment: Mapping[str, str], launcher: tuple[str, ...]) -> Seen:
    """Run the command in `root`, which holds the project."""
    temporary = root + ".tmp"
    os.makedirs(temporary, exist_ok=True)
    cwd = os.path.normpath(os.path.join(root, case.cwd))
    words = [word.replace(HERE, root) for word in (*launcher, case.compiler, *case.words)]
    variables = {**environment, "PWD": cwd, "TMPDIR": temporary}
    for name, value in case.environment.items():
        if value == UNSET:
            variables.pop(name, None)
        else:
            variables[name] = value.replace(HERE, root).replace(PATH, environment["PATH"])
    process = _Process(words, cwd, variables, case)
    status, stdout, stderr = process.run(root)
    spill = tuple(sorted(os.listdir(temporary)))
    for name in spill:
        path = os.path.join(temporary, name)
        if not os.path.isdir(path):
            os.unlink(path)
    # Where TMPDIR is none or cannot be used, compilers take the last.
    places = [os.fsencode(place) for place in (temporary, variables.get("TMPDIR"), "/tmp") if place]
    stdout, stderr = (_without_chance(text, places) for text in (stdout, stderr))
    files = {
        _LEFT_BEHIND.sub(r"-TEMPORARY\1", path): (
            what,
            content if b"\0" in content else _without_chance(content, places),
        )
        for path, (what, content) in _walk(root)
    }
    return Seen(status, stdout, stderr, files, tuple(_kind_of_spill(n) for n in spill))


def _without_chance(text: bytes, places: list[bytes]) -> bytes:
    """The temporary names made one, with the directory left as it is: whether one lies in the caller's own
    counts."""
    for place in places:
        text = re.sub(re.escape(place) + b"/" + _TEMPORARY, place + b"/TEMPORARY", text)
    return text


def wait_until_settled(since_s: float) -> None:
    while (left_s := since_s + RACY_S - time.time()) > 0:
        time.sleep(left_s)


@dataclass(frozen=True)
class _Process:
    words: list[str]
    cwd: str
    environment: Mapping[str, str]
    case: Case

    def run(self, root: str) -> tuple[int, bytes, bytes]:
        """Exit status, standard output, standard error; what both went to counts as output."""
        match self.case.streams:
            case Streams.TERMINAL:
                return self._run_on_terminal()
            case Streams.ONE_FILE:
                path = root + ".out"
                with open(path, "wb") as file:
                    status, _, _ = self._run(file.fileno(), subprocess.STDOUT)
                with open(path, "rb") as file:
                    return status, file.read(), b""
            case Streams.ONE_PIPE:
                return self._run(subprocess.PIPE, subprocess.STDOUT)
            case _:
                return self._run(subprocess.PIPE, subprocess.PIPE)

    def _run(self, stdout: int, stderr: int) -> tuple[int, bytes, bytes]:
        has_source = self.case.stdin is Stdin.SOURCE
        process = self._started(
            stdout, stderr, subprocess.PIPE if has_source else subprocess.DEVNULL
        )
        with process:
            try:
                said = process.communicate(SOURCE if has_source else None, timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return HUNG, b"", b""
        return process.returncode, said[0] or b"", said[1] or b""

    def _run_on_terminal(self) -> tuple[int, bytes, bytes]:
        ours, theirs = pty.openpty()
        with self._started(subprocess.PIPE, theirs, subprocess.DEVNULL) as process:
            os.close(theirs)
            assert process.stdout is not None
            drained = _drain(process.stdout.fileno(), ours)
            if drained is None:
                os.killpg(process.pid, signal.SIGKILL)
        os.close(ours)
        if drained is None:
            return HUNG, b"", b""
        stdout, stderr = drained
        return process.returncode, stdout, stderr

    def _started(self, stdout: int, stderr: int, stdin: int) -> subprocess.Popen[bytes]:
        """In a group of its own: a driver that is killed leaves its compiler running."""
        closed = [
            CLOSED_BY[each] for each in (self.case.streams, self.case.stdin) if each in CLOSED_BY
        ]
        words = self.words
        if closed:
            # A shell closes them between us and the command, as a user's would.
            words = ["/bin/sh", "-c", f'exec "$@" {" ".join(closed)}', "sh", *words]
        return subprocess.Popen(
            words, cwd=self.cwd, env=dict(self.environment), umask=self.case.umask,
            process_group=0, stdin=stdin, stdout=stdout, stderr=stderr,
        )  # fmt: skip


def _drain(*handles: int) -> list[bytes] | None:
    """What comes until all are closed; None where that takes longer than TIMEOUT_S."""
    deadline_s = time.monotonic() + TIMEOUT_S
    pieces: dict[int, list[bytes]] = {handle: [] for handle in handles}
    still_open = list(handles)
    while still_open:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return None
        for handle in select.select(still_open, [], [], left_s)[0]:
            try:
                piece = os.read(handle, 1 << 16)
            except OSError:  # a terminal whose other side is closed
                piece = b""
            pieces[handle].append(piece)
            if not piece:
                still_open.remove(handle)
    return [b"".join(pieces[handle]) for handle in handles]


def _walk(root: str) -> Iterator[tuple[str, tuple[str, bytes]]]:
    for at, directories, files in os.walk(root):
        directories.sort()
        for name in sorted((*files, *directories)):
            path = os.path.join(at, name)
            status = os.lstat(path)
            mode = f"{stat.filemode(status.st_mode)}"
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                mode += f" {status.st_nlink}"
                with open(path, "rb") as file:
                    content = file.read()
            yield os.path.relpath(path, root), (mode, content)


def _kind_of_spill(name: str) -> str:
    """Temporary names are random; their suffixes are not."""
    return os.path.splitext(name)[1]
