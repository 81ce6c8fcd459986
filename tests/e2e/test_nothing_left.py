"""Whoever has used zcc and purges it finds his home as it was, and what he has put there himself."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from zcc.cli.up import LocalFarm

BIN = Path(sys.executable).parent
_BEFORE = (".config", ".cache", ".local/state", "run", "work")
PATIENCE_S = 100


@dataclass
class Home:
    """A user's, with all that zcc keeps below it."""

    root: Path

    def run(self, *words: str, is_strict: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]], env=self.environment, cwd=self.root / "work",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        if is_strict:
            assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZCC_")}
        return {
            **kept,
            "HOME": str(self.root),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(self.root / ".config"),
            "XDG_CACHE_HOME": str(self.root / ".cache"),
            "XDG_STATE_HOME": str(self.root / ".local" / "state"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "ZCC_SERVICE_MANAGER": "off",
            "ZCC_SYSTEM_CONFIG_DIR": str(self.root / "etc"),
        }

    def everything(self) -> set[str]:
        """Each path below it."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="zcc-left-farm-") as directory:
        farm = LocalFarm(directory)
        try:
            farm.start(nodes=1, slots=1)
            yield farm
        finally:
            farm.stop()


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="zcc-left-") as directory:
        os.chmod(directory, 0o711)
        found = Home(Path(directory))
        for name in _BEFORE:
            (found.root / name).mkdir(parents=True)
        yield found
        found.run("zcc", "agent", "stop", is_strict=False)


@pytest.mark.needs("bwrap", "cc")
def test_a_user_who_purges_has_his_home_as_it_was(local: LocalFarm, home: Home) -> None:
    (home.root / "work" / "x.c").write_text("int x = 1;\n")
    before = home.everything()
    home.run("zcc", "join", local.token("client"))
    home.run("zcc", "config", "set", "slots", "2")
    home.run("zcc", "cc", "-c", "x.c")
    home.run("zcc", "stats")
    used = home.everything() - before
    for part in (".config/zcc/farm.key", ".cache/zcc/results.sqlite", "run/zcc/agent.sock"):
        assert part in used
    listed = home.run("zcc", "leave", "--purge", is_strict=False)
    assert listed.returncode == 1
    assert "nothing was removed: say --yes" in listed.stderr
    assert home.everything() >= before | {".config/zcc/farm.key"}
    said = home.run("zcc", "leave", "--purge", "--yes").stdout
    assert f"leaves the farm at {local.endpoint}" in said
    assert f"removes {home.root}/.config/zcc/farm.key" in said
    assert home.everything() - before == {"work/x.o"}


@pytest.mark.needs("bwrap", "cc")
def test_what_somebody_keeps_beside_it_stays(local: LocalFarm, home: Home) -> None:
    home.run("zcc", "join", local.token("client"))
    own = home.root / ".config" / "zcc" / "notes.txt"
    own.write_text("the farm's token is in the safe\n")
    said = home.run("zcc", "leave", "--purge", "--yes").stdout
    assert f"leaves {own}, which is not zcc's" in said
    assert own.exists()
    assert [each.name for each in own.parent.iterdir()] == ["notes.txt"]


def test_who_has_joined_no_farm_can_purge_too(home: Home) -> None:
    before = home.everything()
    home.run("zcc", "config", "set", "slots", "2")
    (home.root / ".config" / "zcc" / "config.toml").write_text("slots = nonsense\n")
    home.run("zcc", "leave", "--purge", "--yes")
    assert home.everything() == before


@pytest.mark.needs("bwrap")
def test_a_node_that_purges_leaves_nothing(local: LocalFarm, home: Home) -> None:
    before = home.everything()
    state = str(home.root / ".local" / "state" / "zcc-node")
    home.run("zcc-node", "join", local.token("node"), "--state", state)
    home.run("zcc-node", "config", "set", "--system", "grace", "5s")
    node = subprocess.Popen(
        [str(BIN / "zcc-node"), "serve", "--state", state, "--user", "any"],
        env=home.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert node.stderr is not None
        assert any("welcomed by" in line for line in node.stderr)
        refused = home.run(
            "zcc-node", "leave", "--purge", "--yes", "--state", state, is_strict=False
        )
        assert "zcc-node drain --wait" in refused.stderr
        home.run("zcc-node", "drain", "--wait", "--state", state)
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.wait()
        if node.stderr is not None:
            node.stderr.close()
    said = home.run("zcc-node", "leave", "--purge", "--yes", "--state", state).stdout
    assert f"leaves the farm at {local.endpoint}" in said
    assert home.everything() - before - {"etc"} == set()


def test_a_broker_that_purges_leaves_nothing(home: Home) -> None:
    before = home.everything()
    home.run("zcc-broker", "install-service", "--user")
    state = home.root / ".local" / "state" / "zcc-broker"
    broker = subprocess.Popen(
        [str(BIN / "zcc-broker"), "serve", "--listen", "tcp://127.0.0.1:0", "--state", str(state)],
        env=home.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert broker.stderr is not None
        assert any("listens on" in line for line in broker.stderr)
        home.run("zcc-broker", "token", "--role", "client", "--state", str(state))
    finally:
        broker.terminate()
        broker.communicate()
    said = home.run("zcc-broker", "uninstall-service", "--user", "--purge", "--yes").stdout
    assert f"removes {state}/broker.key" in said
    left = home.everything() - before
    assert left <= {".config/systemd", ".config/systemd/user"}  # systemd's own, and empty
