"""Where no sandbox can be made, everything that needs one says why in one line, and runs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zcc.cli.up import LocalFarm
from zcc.errors import ConfigError

BIN = Path(sys.executable).parent
NO_NAMESPACES = (
    "unshare", "--user", "--map-root-user", "--mount",
    "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh",
)  # fmt: skip


def run(*command: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **extra}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_zcc_up_says_why_it_has_no_node_and_does_not_run_the_command(tmp_path: Path) -> None:
    if run(*NO_NAMESPACES, "true").returncode:
        pytest.skip("no user namespace can be made here, in which to forbid further ones")
    touch = ("touch", str(tmp_path / "ran"))
    done = run(*NO_NAMESPACES, "zcc", "up", "--", *touch, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("zcc: the farm has no node, and nothing was run: ")
    assert "sysctl user.max_user_namespaces=10000" in done.stderr
    assert os.listdir(tmp_path) == []  # neither the command's file nor the farm's directory


def test_a_chroot_is_told_from_other_reasons(tmp_path: Path) -> None:
    if os.getuid() or not shutil.which("unshare"):
        pytest.skip("a chroot needs root and util-linux")
    enter = f"""
    set -e
    cd {tmp_path}; mkdir root; cd root
    for at in /*; do
        if [ -L $at ]; then cp -P $at .$at
        elif [ -d $at ]; then mkdir .$at; mount --rbind $at .$at
        fi
    done
    exec chroot . {BIN}/zcc-node check --state /tmp --user any
    """
    done = run("unshare", "--mount", "sh", "-c", enter)
    assert done.returncode == 1
    assert "this is a chroot" in done.stderr


def test_a_broker_that_cannot_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    farm = LocalFarm(str(tmp_path))
    (tmp_path / "broker").write_text("no directory")
    with pytest.raises(ConfigError, match=r"the broker did not start: .*broker"):
        farm.start(nodes=0, slots=1)
    farm.stop()
