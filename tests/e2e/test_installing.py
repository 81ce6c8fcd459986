"""What is installed, moved or removed between two compiles, whatever the times of its directory say."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm

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
            done = remembering.run("zcc", str(clang), "-c", "a.cc", cwd=tmp_path)
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
            end = "remote" if text is None else "environment"
            with remembering.ending(*((end,) if launcher else ())):
                done = remembering.run(
                    *launcher, "gcc", "-c", "a.c", cwd=tmp_path, strict=False,
                    LD_LIBRARY_PATH=str(libraries),
                )  # fmt: skip
            told.append((done.returncode, done.stderr))
        assert told[0] == told[1]
        time.sleep(AT_REST_S)


def catalogue(original: str, translated: str) -> bytes:
    """A catalogue of one message: the GNU gettext manual, "The Format of GNU MO Files"."""
    pairs = [(b"", b"Content-Type: text/plain; charset=UTF-8\n")]
    pairs.append((original.encode(), translated.encode()))
    at, tables, texts = 28 + 16 * len(pairs), b"", b""
    for column in (0, 1):
        for pair in pairs:
            tables += struct.pack("<II", len(pair[column]), at + len(texts))
            texts += pair[column] + b"\0"
    head = (0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return struct.pack("<7I", *head) + tables + texts


COMPILES = """
export LC_ALL=C.UTF-8 LANGUAGE=xx
place=/usr/share/locale/xx/LC_MESSAGES
mkdir -p ${place%/*}
zcc gcc -Wall -c c.c 2>/dev/null
sleep 2.2
for way in "" zcc; do
    for step in 'mv catalogues $place' 'mv $place catalogues' 'mv catalogues $place' 'mv $place catalogues'; do
        $way gcc -Wall -c c.c
        eval "$step"
    done 2>told$way
    zcc stats --json >stats.json
done
"""


def test_messages_are_translated_as_soon_as_there_is_a_catalogue(tmp_path: Path) -> None:
    needs("gcc")
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("mount(8) is for root")
    release = subprocess.run(["gcc", "-dumpversion"], capture_output=True, check=True, text=True)
    (tmp_path / "catalogues").mkdir()
    for name in ("gcc", f"gcc-{release.stdout.partition('.')[0].strip()}"):
        text = catalogue("control reaches end of non-void function", "ENDE")
        (tmp_path / "catalogues" / f"{name}.mo").write_bytes(text)
    (tmp_path / "c.c").write_text("int f(void) {}\n")
    (tmp_path / "compiles").write_text(COMPILES)
    line = "mount -t tmpfs tmpfs /usr/share/locale && exec zcc up -- sh compiles"
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:{BIN}"}
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", line]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = (tmp_path / "told").read_text()
    if "ENDE" not in plain:
        pytest.skip("this gcc is not translated")
    assert plain.count("ENDE") == plain.count("control reaches") == 2
    assert (tmp_path / "toldzcc").read_text() == plain
    outcomes = json.loads((tmp_path / "stats.json").read_text())["outcomes"]
    assert outcomes.get("remote", 0) + outcomes.get("local_hit", 0) == 5
