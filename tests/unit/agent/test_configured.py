"""What files that configure a compiler keep here."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import needs
from zcc.agent.analysis.compiler_config import Configurations, is_native, what_stays


class Asked:
    """A command of one specs file, and a toolchain of one more file."""

    def __init__(self, directory: Path, given: str, own: str = "") -> None:
        (directory / "given.specs").write_text(given)
        (directory / "own.cfg").write_text(own)
        self.cwd = os.fsencode(directory)
        self.specs = (b"./given.specs",)
        self.configurations = (self.cwd + b"/own.cfg", self.cwd + b"/none.cfg")
        self.digest = b""

    def texts(self) -> tuple[bytes, ...]:
        async def nothing(*_: object) -> bytes:
            return b""

        me = cast(Any, self)
        return asyncio.run(Configurations(nothing).texts(me, me, me))


@pytest.mark.parametrize(
    ("text", "stays", "native"),
    [
        ("*cc1:\n+ -DX=1 -fPIE\n", "", False),
        ("*self_spec:\n+ -MMD\n", "-MMD", False),
        ("-MD -MF foo.d\n", "-MD", False),
        ("# -MD is for others\n-O2\n", "", False),
        ("*cc1:\n+ %{MD:-MD %{!o:%b.d}} %{!E:-DX}\n", "", False),
        ("*cc1:\n+ %{!E:%{!M:-MMD}}\n", "-MMD", False),
        ("*cc1:\n+ %{O2:-O3;:-MMD}\n", "-MMD", False),
        ("*cc1:\n+ -DQ=%:getenv(PATH /x)\n", "%:getenv(", False),
        ("--serialize-diagnostics f\n", "--serialize-diagnostics", False),
        ("-O2 -o zz.o\n", "-o ", False),
        ("--write-dependencies\n", "--write-dependencies", False),
        ('-"MMD"\n', "-MMD", False),
        ("-Xclang -header-include-file -Xclang hdrs.txt -H\n", "-header-include-file", False),
        ("*cpp_options:\n+ %{E:-o hh.out}\n", "-o ", False),
        ("*invoke_as:\n-o %|.s | as -o %m.o\n", "", False),
        ("*cc1:\n+ -aux-info aux.X\n", "-aux-info", False),
        ("*cc1:\n+ -fdump-tree-all=d.txt\n", "-fdump-", False),
        ("*cc1:\n+ -da\n", "-da", False),
        ("*self_spec:\n+ --coverage\n", "--coverage", False),
        ("*self_spec:\n+ -fstack-usage -save-temps\n", "-fstack-usage", False),
        ("*cc1:\n+ -fdata-sections -fsave-loop -fdiagnostics-color\n", "", False),
        ("-march=native -O2\n", "", True),
        ("*cc1:\n+ %{march=native:%>march=native %:local_cpu_detect(arch)}\n", "", False),
        ("*cc1:\n+ %{!mtune=*:-mtune=native}\n", "", True),
    ],
)
def test_what_writes_files_or_depends_on_the_machine_is_seen(
    tmp_path: Path, text: str, stays: str, native: bool
) -> None:
    for given, own in ((text, ""), ("", text)):
        texts = Asked(tmp_path, given, own).texts()
        assert (what_stays(texts), is_native(texts)) == (stays, native)


def test_all_that_gcc_would_do_anyway_is_no_reason(tmp_path: Path) -> None:
    needs("gcc")
    done = subprocess.run(["gcc", "-dumpspecs"], capture_output=True, text=True, check=True)
    texts = Asked(tmp_path, done.stdout).texts()
    assert (what_stays(texts), is_native(texts)) == ("", False)
