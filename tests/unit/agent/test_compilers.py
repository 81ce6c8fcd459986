"""What the agent knows of a compiler between two full looks at it."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
from pathlib import Path

import pytest

from cache.digest import Digest
from tests.conftest import needs
from zcc.agent.analysis.compilers import Compilers
from zcc.compiler.toolchain.index import Toolchain
from zcc.errors import NoRoomError


@pytest.fixture
def clang(tmp_path: Path) -> Path:
    """A clang that has directories of its own, so that it can be configured."""
    driver = Path(os.path.realpath(needs("clang")))
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    shutil.copy(driver, tmp_path / "bin" / "own-clang")
    (tmp_path / "lib" / "clang").symlink_to(driver.parent.parent / "lib" / "clang")
    return tmp_path / "bin" / "own-clang"


@pytest.mark.parametrize("is_in_a_hurry", [True, False])
def test_a_newer_gcc_beside_clang_is_found_for_the_next_compile(
    clang: Path, tmp_path: Path, is_in_a_hurry: bool
) -> None:
    """clang lists the directory for the newest. Its time is set back, as `rsync -a`, tar and images do."""
    listed = tmp_path / "lib" / "gcc" / "x86_64-linux-gnu"
    for at in (listed / "12", tmp_path / "stage"):
        at.mkdir(parents=True)
        (at / "crtbegin.o").touch()
    compilers = Compilers(str(tmp_path / "toolchains"))
    name = os.fsencode(clang)

    async def digests() -> list[Digest]:
        found = []
        for target in (listed / "12", listed / "13", tmp_path / "stage"):
            if not target.exists():
                os.rename(tmp_path / "stage" if target.name == "13" else listed / "13", target)
            os.utime(listed, (1_600_000_000, 1_600_000_000))
            toolchain = await compilers.toolchain(name, name, os.environb[b"PATH"])
            found.append(toolchain.digest)
            await asyncio.sleep(0 if is_in_a_hurry else 2.2)
        return found

    first, second, third = asyncio.run(digests())
    assert first == third != second


def test_a_disk_without_room_is_a_reason_of_its_own_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "toolchains")
    name = os.fsencode(needs("gcc"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def pack(compilers: Compilers) -> Toolchain:
        return await compilers.toolchain(name, name, os.environb[b"PATH"])

    tried, tried_again = Compilers(place), Compilers(place)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(NoRoomError, match=f"^{re.escape(place)} takes no toolchain: File too"):
            asyncio.run(pack(tried))
        monkeypatch.setattr("zcc.agent.analysis.compilers.AGAIN_S", 0.0)
        with pytest.raises(NoRoomError):
            asyncio.run(pack(tried_again))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(NoRoomError):  # not for each compile
        asyncio.run(pack(tried))
    assert asyncio.run(pack(tried_again)).size_bytes


def test_a_configuration_is_looked_at_for_every_compile(clang: Path, tmp_path: Path) -> None:
    compilers = Compilers(str(tmp_path / "toolchains"))
    name = os.fsencode(clang)

    async def digests() -> list[Digest]:
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
