"""The AppArmor profile of bubblewrap: for one that is executed by its path, and for no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.apparmor import profile_of
from node.errors import SandboxError


def bubblewrap_at(path: Path, owner: int = 0, modes: int = 0o755) -> str:
    path.write_bytes(b"")
    path.chmod(modes)
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
    elif owner == 0:
        pytest.skip("only root makes a file of root's")
    return str(path)


def test_a_bubblewrap_of_roots_gets_a_profile_with_its_path(tmp_path: Path) -> None:
    path = bubblewrap_at(tmp_path / "bwrap")
    lines = profile_of(path).splitlines()
    assert f'profile zcc-bwrap "{path}" flags=(unconfined) {{' in lines
    assert "  userns," in lines


@pytest.mark.parametrize(("owner", "modes"), [(1000, 0o755), (0, 0o775), (0, 0o757)])
def test_one_that_somebody_may_change_gets_none(tmp_path: Path, owner: int, modes: int) -> None:
    path = bubblewrap_at(tmp_path / "bwrap", owner, modes)
    with pytest.raises(SandboxError, match="copies of it in memory"):
        profile_of(path)


def test_a_path_that_would_be_a_pattern_gets_none(tmp_path: Path) -> None:
    path = bubblewrap_at(tmp_path / "b*wrap")
    with pytest.raises(SandboxError, match="a pattern"):
        profile_of(path)
