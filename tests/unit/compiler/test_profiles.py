"""The places where gcc and clang look for a profile, against those that gcc itself looks in."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from zcc.compiler.commandline.tables import Family
from zcc.compiler.toolchain.profiles import profile_places


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("output", ["sub/a.o", "sub/../a.o", "/sub/a.o", "./sub/./a.o"])
@pytest.mark.parametrize("prefix", ["", "d", "/d", "d/../d", "no"])
def test_gccs_own_name_is_among_them(tmp_path: Path, output: str, prefix: str) -> None:
    """It names the file that it misses."""
    for name in ("sub", "d"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    output, prefix = (
        f"{tmp_path}{name}" if name.startswith("/") else name for name in (output, prefix)
    )
    use = f"-fprofile-use={prefix}" if prefix else "-fprofile-use"
    command = ["gcc", "-O2", "-Wmissing-profile", use, "-c", "a.c", "-o", output]
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("PWD", None)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    (missed,) = re.findall(r"'([^']*\.gcda)'", done.stderr)
    gcda = os.fsencode(output.removesuffix("o") + "gcda")
    places = profile_places(
        Family.GCC, (os.fsencode(prefix),), gcda, (os.fsencode(tmp_path.resolve()),)
    )
    assert os.fsencode(missed) in places


def test_clang_takes_a_file_or_the_default_name_in_a_directory() -> None:
    assert profile_places(Family.CLANG, (b"d", b""), b"a.gcda", (b"/",)) == (
        b"d",
        b"d/default.profdata",
        b"default.profdata",
    )
