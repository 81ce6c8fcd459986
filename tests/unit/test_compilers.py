"""What the agent knows of a compiler between two full looks at it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import needs
from zcc.agent.compilers import Compilers


@pytest.fixture
def clang(tmp_path: Path) -> Path:
    """A clang that has directories of its own, so that it can be configured."""
    driver = Path(os.path.realpath(needs("clang")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    shutil.copy(driver, tmp_path / "bin" / "own-clang")
    (tmp_path / "lib" / "clang").symlink_to(driver.parent.parent / "lib" / "clang")
    return tmp_path / "bin" / "own-clang"


def test_a_configuration_is_looked_at_for_every_compile(clang: Path, tmp_path: Path) -> None:
    compilers = Compilers(str(tmp_path / "toolchains"))
    name = os.fsencode(clang)

    async def digests() -> list[bytes]:
        found = []
        for text in ("-DX=1\n", None, "-DX=2\n", ""):
            configuration = clang.with_name("clang.cfg")
            if text is None:
                configuration.unlink()
            else:
                configuration.write_text(text)
            for _ in range(2):
                toolchain = await compilers.toolchain(name, name, os.environb[b"PATH"])
                found.append(toolchain.digest)
        return found

    found = asyncio.run(digests())
    assert found[::2] == found[1::2]
    assert len(set(found)) == 4
