"""The recipes of packages: that each is of this version, and that what they call is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zcc import __version__

EXAMPLES = Path(__file__).parents[3] / "examples"
PACKAGES = EXAMPLES / "packages"


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
def test_packages_have_the_units_that_install_service_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PACKAGES / "units", tmp_path], check=True)
    for name in ("zcc-broker", "zcc-node"):
        lines = (tmp_path / f"{name}.service").read_text().splitlines()
        assert f"ExecStart=/usr/bin/{name} serve --state /var/lib/{name}" in lines
        assert f"User={name}" in lines
        assert not [line for line in lines if "install-service" in line]


@pytest.mark.outside
@pytest.mark.parametrize(
    "script",
    [
        "packages/build-deb",
        "packages/build-wheel",
        "packages/try-deb",
        "packages/used-as-a-newcomer",
        "containers/serve-as-node",
        "kubernetes/validate",
    ],
)
def test_each_script_runs_and_can_be_read_by_its_shell(script: str) -> None:
    subprocess.run(["bash", "-n", EXAMPLES / script], check=True)
    assert os.access(EXAMPLES / script, os.X_OK)


def test_no_call_that_bubblewrap_makes_is_filtered() -> None:
    (rule,) = json.loads((EXAMPLES / "containers" / "seccomp.json").read_text())["syscalls"]
    needed = {
        "clone",
        "clone3",
        "mount",
        "pivot_root",
        "sethostname",
        "setns",
        "umount2",
        "unshare",
    }
    assert not needed & set(rule["names"])
