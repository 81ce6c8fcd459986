"""The recipes of packages: that each is of this version, and that what they call is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from zcc import __version__

PACKAGES = Path(__file__).parents[3] / "examples" / "packages"


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("rpm/zcc.spec", r"^Version: +(\S+)"),
        ("aur/PKGBUILD", r"^pkgver=(\S+)"),
        ("nix/flake.nix", r'version = "([^"]+)"'),
    ],
)
def test_each_recipe_is_of_this_version(recipe: str, says: str) -> None:
    found = re.search(says, (PACKAGES / recipe).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


@pytest.mark.outside
@pytest.mark.parametrize(
    "script",
    [
        "build-deb",
        "build-wheel",
        "try-deb",
        "used-as-a-newcomer",
        "debian/zcc-client.postinst",
        "debian/zcc-client.prerm",
        "aur/PKGBUILD",
    ],
)
def test_each_script_can_be_read_by_its_shell(script: str) -> None:
    subprocess.run(["bash", "-n", PACKAGES / script], check=True)
    assert os.access(PACKAGES / script, os.X_OK) == ("/" not in script)
