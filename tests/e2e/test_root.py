"""A node that root starts is root no longer when it takes jobs, and compiles as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.user import OWN_NUMBER, name_of
from tests.attacks.enclosure import interpreter, is_for_all_users
from tests.support.network_farm import wait_until
from zcc import farm as farm_module
from zcc.agent.launchers import control
from zcc.cli.up import LocalFarm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a root to give up")


@pytest.fixture
def local() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-root-", ignore_cleanup_errors=True) as directory:
        made = LocalFarm(directory)
        try:
            made.start(nodes=0, slots=1)
            yield made
        finally:
            made.stop()


def serve(local: LocalFarm, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """A node from an installation that everybody can read."""
    state = os.path.join(local.directory, "node1")
    farm_module.join(local.token("node"), state, "node1", ("node",))
    command = [
        interpreter(),
        "-m",
        "node.main",
        "serve",
        "--state",
        state,
        "--slots",
        "1",
        *options,
    ]
    path = os.pathsep.join(entry for entry in (os.getcwd(), *sys.path) if entry)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    with open(log, "wb") as file:
        node = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    local.nodes.append(node)
    return node


def users_of(pid: int) -> set[str]:
    status = Path(f"/proc/{pid}/status").read_text()
    lines = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))]
    return set(lines[0] + lines[1])


def test_a_node_that_root_starts_gives_root_up_and_compiles(
    local: LocalFarm, tmp_path: Path
) -> None:
    if not is_for_all_users():
        pytest.skip("no interpreter of this version that another user can start")
    node = serve(local, tmp_path / "log")
    if name_of(OWN_NUMBER) != str(OWN_NUMBER) or shutil.which("zcc") is None:
        pytest.fail("zcc is not on PATH, or somebody has the node's own number")

    def is_listed() -> bool:
        if node.poll() is not None:
            pytest.fail((tmp_path / "log").read_text())
        rows = (control.ask(local.environment["ZCC_SOCKET"], {"op": "nodes"}) or {}).get(
            "nodes", ()
        )
        return len(rows) == 1

    subprocess.run(
        ["zcc", "agent", "start"], env=local.environment, check=True, capture_output=True
    )
    wait_until(is_listed, "the node to be ready")
    (tmp_path / "a.c").write_text("#include <stdio.h>\nint f(void) { return puts(__FILE__); }\n")
    for command in (("zcc", "gcc", "-o", "a.o"), ("gcc", "-o", "b.o")):
        done = subprocess.run(
            [*command, "-g", "-c", "a.c"], cwd=tmp_path, check=False, capture_output=True,
            env={**local.environment, "ZCC_FALLBACK": "never"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.o").read_bytes() == (tmp_path / "b.o").read_bytes()
    assert "0" not in users_of(node.pid)
    state = os.path.join(local.directory, "node1")
    owners = {os.lstat(os.path.join(state, name)).st_uid for name in os.listdir(state)}
    assert owners == {os.stat(state).st_uid} != {0}


def test_a_state_that_only_root_can_reach_is_refused(local: LocalFarm, tmp_path: Path) -> None:
    os.chmod(local.directory, 0o700)
    node = serve(local, tmp_path / "log")
    assert node.wait(60) == 1
    told = (tmp_path / "log").read_text()
    assert f"cannot enter {local.directory}: move the state" in told
    assert "Traceback" not in told


def check(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(entry for entry in (os.getcwd(), *sys.path) if entry)
    return subprocess.run(
        [interpreter(), "-m", "node.main", "check", "--state", os.fspath(state), *options],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_check_by_root_says_what_serve_would_say(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    done = check(closed / "state")
    assert done.returncode == 1
    assert f"cannot enter {tmp_path}".split("/pytest", maxsplit=1)[0] in done.stderr
    assert "as root a node becomes the user" in done.stderr
    assert not (closed / "state").exists()


def test_a_check_by_root_tries_it_as_the_user_that_serve_becomes_and_gives_nothing_away() -> None:
    if not is_for_all_users():
        pytest.skip("no interpreter of this version that another user can start")
    with tempfile.TemporaryDirectory(prefix="zcc-root-") as directory:
        os.chmod(directory, 0o711)
        state = Path(directory, "state")
        state.mkdir(0o700)
        done = check(state)
        assert done.returncode == 0, done.stderr
        assert f"as the user {name_of(OWN_NUMBER)}" in done.stdout
        assert os.stat(state).st_uid == 0
        assert os.listdir(state) == []
        assert "as the user" not in check(state, "--user", "root").stdout
