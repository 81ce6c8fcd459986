"""Variables that a compiler asks for and that no table of zcc's knows: a vendor's, or a newer compiler's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Farm
from tests.e2e.test_surroundings import both_ways

KNOWN, OWN = b"GCC_COLORS", b"ACC_COLORS"
WARNED = ("-Wall", "-fdiagnostics-color=always", "-c", "x.c")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "x.c").write_text("int f(void) { int unused; return 0; }\n")
    return tmp_path


@pytest.fixture
def vendors_gcc(project: Path) -> str:
    """A gcc that asks for a variable of its own, in place of one that all ask for."""
    needs("gcc")

    def printed(option: str) -> str:
        done = subprocess.run(["gcc", option], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    cc1 = Path(printed("-print-prog-name=cc1"))
    own = Path(printed("-print-libgcc-file-name")).parent
    place = (
        project / "vendor" / own.parent.parent.parent.name / "gcc" / own.relative_to(own.parents[1])
    )
    (project / "vendor" / "bin").mkdir(parents=True)
    place.mkdir(parents=True)
    shutil.copy(os.path.realpath(shutil.which("gcc") or ""), project / "vendor" / "bin" / "gcc")
    changed = cc1.read_bytes().replace(KNOWN + b"\0", OWN + b"\0")
    assert changed != cc1.read_bytes()
    (place / "cc1").write_bytes(changed)
    (place / "cc1").chmod(0o755)
    return str(project / "vendor" / "bin" / "gcc")


def test_a_variable_that_this_compiler_alone_knows_is_its_users(
    remembering: Farm, project: Path, vendors_gcc: str
) -> None:
    before = remembering.stats()["proof_failures"]
    command = (vendors_gcc, *WARNED)
    assert both_ways(remembering, project, *command)
    # Remembered by now, here and by the farm; with another name, by nobody.
    for more in ((), ("-O1",)):
        both_ways(
            remembering, project, *command, *more, ends="proof", **{OWN.decode(): "warning=01;36"}
        )
    after = remembering.stats()
    assert after["proof_failures"] > before
    assert any(OWN.decode() in note for note in after["notes"])
    assert remembering.run("zcc", *command, cwd=project).returncode == 0  # as remembered


def test_what_the_driver_tells_the_assembler_of_lto_is_in_the_object(
    farm: Farm, project: Path
) -> None:
    command = ("gcc", "-flto", "-frandom-seed=1", "-c", "x.c")
    assert both_ways(farm, project, *command)
    assert not both_ways(
        farm, project, *command, ends="environment", COLLECT_AS_OPTIONS="'-Wa,--noexecstack'"
    )
