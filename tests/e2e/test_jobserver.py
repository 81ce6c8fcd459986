"""What make lends its jobs reaches the compiler that runs here, in each form in which it lends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from zcc.agent.launchers import control

# As gcc's `-flto=jobserver` does in a link, it takes every token that there is; it gives all back at once.
COMPILER = r"""#!%(python)s -ISE
import os, re, select, sys
flags = os.environ.get("MAKEFLAGS", "")
found = re.search(r"--jobserver-(?:auth|fds)=(?:fifo:(\S+)|(\d+),(\d+))", flags)
with open(%(seen)r, "a") as file:
    if found is None:
        print("none", file=file)
        sys.exit(0)
    path, readable, writable = found.groups()
    if path:
        readable = writable = os.open(path, os.O_RDWR)
    readable, writable = int(readable), int(writable)
    tokens = b""
    while select.select([readable], [], [], 0.2)[0]:
        tokens += os.read(readable, 1)
    os.write(writable, tokens)
    print("fifo" if path else "pipe", len(tokens), file=file)
"""


def make_version() -> tuple[int, int]:
    said = subprocess.run(["make", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"GNU Make (\d+)\.(\d+)", said)
    assert found is not None
    return int(found[1]), int(found[2])


def write_project(directory: Path) -> Path:
    """A link under make, by a compiler that tells what it was lent."""
    seen = directory / "seen"
    compiler = directory / "bin" / "gcc"
    compiler.parent.mkdir()
    compiler.write_text(COMPILER % {"python": shutil.which("python3"), "seen": str(seen)})
    compiler.chmod(0o755)
    (directory / "a.o").touch()
    (directory / "Makefile").write_text("all: a.o\n\t+$(CC) -flto=jobserver a.o -o a\n")
    return seen


@pytest.mark.parametrize("form", ["pipe", "fifo"])
def test_makes_tokens_reach_a_link(form: str, farm: Farm, tmp_path: Path) -> None:
    needs("make")
    is_new = make_version() >= (4, 4)
    if form == "fifo" and not is_new:
        pytest.skip("this make lends by a pipe alone")
    seen = write_project(tmp_path)
    style = [f"--jobserver-style={form}"] if is_new else []
    command = ["make", *style, "-j4", f"CC={BIN / 'zcc'} {tmp_path / 'bin' / 'gcc'}"]
    done = farm.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert seen.read_text() == f"{form} 3\n"


def test_a_fifo_as_ninja_lends_it_reaches_a_link(farm: Farm, tmp_path: Path) -> None:
    """MAKEFLAGS as of make from 4.4 on and ninja from 1.13 on."""
    seen = write_project(tmp_path)
    fifo = tmp_path / "tokens"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR)
    try:
        os.write(keep, b"++")
        flags = f" -j3 --jobserver-auth=fifo:{fifo}"
        command = [str(BIN / "zcc"), str(tmp_path / "bin" / "gcc"), "-flto", "a.o", "-o", "a"]
        done = farm.run(*command, cwd=tmp_path, MAKEFLAGS=flags)
    finally:
        os.close(keep)
    assert done.returncode == 0, done.stderr
    assert seen.read_text() == "fifo 2\n"


def open_files(process: int) -> list[Path]:
    """Of a process that does nothing now."""
    return [path for path in Path(f"/proc/{process}/fd").iterdir() if os.path.islink(path)]


def test_an_agent_that_a_make_has_started_holds_none_of_its_pipe(
    farm: Farm, tmp_path: Path
) -> None:
    """Or the make that reads from it would wait for ever for the last writer to go."""
    needs("make")
    farm.run(str(BIN / "zcc"), "agent", "stop", cwd=tmp_path)
    (tmp_path / "a.c").write_text("int x;\n")
    (tmp_path / "Makefile").write_text(
        "all:\n\t+$(CC) -c a.c -o a.o\n\t@readlink /proc/$$PPID/fd/* | grep pipe: | sort -u > pipes\n"
    )
    style = ["--jobserver-style=pipe"] if make_version() >= (4, 4) else []
    done = farm.run("make", *style, "-j3", f"CC={BIN / 'zcc'} gcc", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lent = set((tmp_path / "pipes").read_text().split())
    assert lent
    status = control.ask(farm.local.environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    held = {os.readlink(handle) for handle in open_files(status["pid"])}
    assert not lent & held
