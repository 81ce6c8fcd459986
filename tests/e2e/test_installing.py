"""What is installed, moved or removed between two compiles, whatever the times of its directory say."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Farm

LONG_AGO_S = 1_600_000_000
# A directory that changed so long ago is believed to be what it is.
AT_REST_S = 2.2


@pytest.fixture
def clang(tmp_path: Path) -> Path:
    """A clang that looks for gcc beside itself first."""
    driver = Path(os.path.realpath(needs("clang")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    shutil.copy(driver, tmp_path / "bin" / "own-clang")
    (tmp_path / "lib" / "clang").symlink_to(driver.parent.parent / "lib" / "clang")
    for release in ("12", "13"):
        headers = tmp_path / "include" / "c++" / release
        headers.mkdir(parents=True)
        (headers / "mark").write_text(f"int mark_of_{release};\n")
    for installation in ("lib/gcc/x86_64-linux-gnu/12", "stage"):
        (tmp_path / installation).mkdir(parents=True)
        (tmp_path / installation / "crtbegin.o").touch()
    (tmp_path / "a.cc").write_text("#include <mark>\n")
    return tmp_path / "bin" / "own-clang"


@pytest.mark.parametrize("rest_s", [0, AT_REST_S])
def test_clang_takes_the_newest_gcc_that_is_there(
    remembering: Farm, clang: Path, tmp_path: Path, rest_s: float
) -> None:
    listed = tmp_path / "lib" / "gcc" / "x86_64-linux-gnu"
    stage, newer = tmp_path / "stage", listed / "13"
    for before, after in ((stage, stage), (stage, newer), (newer, stage)):
        before.rename(after)
        os.utime(listed, (LONG_AGO_S, LONG_AGO_S))
        release = "13" if newer.exists() else "12"
        for _ in range(2):
            done = remembering.run("zcc", clang, "-c", "a.cc", cwd=tmp_path)
            assert (done.returncode, done.stderr) == (0, b"")
            assert f"mark_of_{release}".encode() in (tmp_path / "a.o").read_bytes()
        time.sleep(rest_s)
    assert remembering.stats()["outcomes"].get("local_hit", 0)
    assert not remembering.stats()["discrepancies"]


def test_a_library_that_comes_into_ld_library_path_is_loaded(
    remembering: Farm, tmp_path: Path
) -> None:
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (tmp_path / "a.c").write_text("double d = 1.5;\n")
    for text in (None, "x"):
        if text is not None:
            (libraries / "libmpfr.so.6").write_text(text)
        os.utime(libraries, (LONG_AGO_S, LONG_AGO_S))
        told = []
        for launcher in ((), ("zcc",)):
            done = remembering.run(
                *launcher, "gcc", "-c", "a.c", cwd=tmp_path, strict=False,
                LD_LIBRARY_PATH=str(libraries),
            )  # fmt: skip
            told.append((done.returncode, done.stderr))
        assert told[0] == told[1]
        time.sleep(AT_REST_S)
