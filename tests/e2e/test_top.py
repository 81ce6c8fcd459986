"""`zcc top` over a real farm: on a terminal of 80 by 24, and `--once` for scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from tests.support.prepared_farm import PreparedFarm
from tests.support.tmux import TmuxPane, pane
from zcc import farm as membership
from zcc.cli.up import LocalFarm


@pytest.fixture(scope="module")
def watched() -> Iterator[Farm]:
    with tempfile.TemporaryDirectory(prefix="zcc-top-") as directory:
        local = PreparedFarm(directory)
        try:
            local.start(nodes=2, slots=2)
            local.environment["ZCC_CACHE"] = "off"
            membership.join(local.token("monitor"), key_of(local), "wall@here", ("monitor",))
            yield Farm(local)
        finally:
            local.stop()


def key_of(local: LocalFarm) -> str:
    return os.path.join(local.directory, "monitor")


def top(farm: Farm, at: Path, *options: str, key: str = "") -> tuple[int, str, str]:
    done = farm.run("zcc", "top", *options, "--key", key or key_of(farm.local), cwd=at)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def screen(watched: Farm, tmp_path: Path) -> Iterator[TmuxPane]:
    needs("tmux")
    command = [str(BIN / "zcc"), "top", "--key", key_of(watched.local)]
    with pane(tmp_path, command, watched.local.environment) as found:
        yield found


def build(farm: Farm, at: Path, name: str) -> None:
    for stem in ("x", "y"):
        (at / f"{stem}.c").write_text(f"int {stem}(int a) {{ return a * 7; }}\n")
        done = farm.run("zcc", "gcc", "-O1", "-c", f"{stem}.c", cwd=at, ZCC_BUILD=name)
        assert done.returncode == 0, done.stderr


def test_once_tells_the_present_and_ends(watched: Farm, tmp_path: Path) -> None:
    status, out, err = top(watched, tmp_path, "--once", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert (document["format"], document["slots"], document["all_slots"]) == (1, 4, 4)
    assert sorted(node["name"] for node in document["nodes"]) == ["node1", "node2"]
    assert {node["state"] for node in document["nodes"]} == {"ready"}
    assert document["at_ms"] > 1_700_000_000_000
    status, out, _ = top(watched, tmp_path, "--once")
    assert status == 0
    assert re.search(r"^node1 +ready +0/2 +\.\. ", out, re.MULTILINE)


def test_who_may_not_watch_or_reaches_nobody_is_told_what_to_do(
    watched: Farm, tmp_path: Path
) -> None:
    client = watched.local.environment["ZCC_CONFIG_DIR"]
    status, out, err = top(watched, tmp_path, "--once", key=client)
    assert (status, out) == (1, "")
    assert "this key is a client's: to watch, ask for a token of zcc-broker token" in err
    status, _, err = top(watched, tmp_path, "--once", key=str(tmp_path / "none"))
    assert status == 1
    assert "ask for a token of zcc-broker token --role monitor" in err
    gone = tmp_path / "gone"
    shutil.copytree(key_of(watched.local), gone)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = (gone / "farm.toml").read_text()
    (gone / "farm.toml").write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text))
    status, out, err = top(watched, tmp_path, "--once", "--json", key=str(gone))
    assert (status, out) == (1, "")
    assert f"nothing listens on port {port}" in " ".join(err.split())


def test_a_build_is_seen_on_a_terminal_of_80_by_24(
    watched: Farm, screen: TmuxPane, tmp_path: Path
) -> None:
    screen.wait_for("zcc top", "live", "node1", "node2", "nobody compiles", "q quit")
    build(watched, tmp_path, "hill climb")
    screen.wait_for("build hill climb of ", " began")
    screen.press("2")
    screen.wait_for("hill climb", without="node1 ")
    screen.press("Enter")
    screen.wait_for("build hill climb", "slowest:", "x.c on node")
    screen.press("Escape")
    screen.wait_for("zcc top")  # a key that comes at once behind Escape is Alt and that key
    screen.press("0")
    screen.wait_for("node1 ", "hill climb")
    rows = screen.rows()
    assert len(rows) == 24
    assert max(map(len, rows)) <= 80
    screen.press("/")
    screen.press("node2")
    screen.wait_for("filter: node2", without="node1 ")
    screen.press("Escape")
    screen.wait_for("node1 ", without="filter: node2")
    screen.press("q")
    screen.wait_for_end()


def test_a_broker_that_stands_still_is_said_and_comes_back(watched: Farm, screen: TmuxPane) -> None:
    broker = watched.local.broker
    assert broker is not None
    screen.wait_for("live", "node1")
    broker.send_signal(signal.SIGSTOP)
    try:
        screen.wait_for("NO ANSWER", "! the broker does not answer", "node1")
    finally:
        broker.send_signal(signal.SIGCONT)
    screen.wait_for("live", without="NO ANSWER")
    screen.press("C-c")
    screen.wait_for_end()


def test_without_colour_none_is_sent(watched: Farm, tmp_path: Path) -> None:
    needs("tmux")
    command = [str(BIN / "zcc"), "top", "--key", key_of(watched.local)]
    environment = {**watched.local.environment, "NO_COLOR": "1"}
    with pane(tmp_path, command, environment) as found:
        found.wait_for("live", "node1", "q quit")
        sent = found.coloured()
        codes = {code for each in re.findall(r"\x1b\[([\d;]*)m", sent) for code in each.split(";")}
        assert codes <= {"", "0", "1", "2", "4", "7", "39", "49"}, codes
        assert "7" in codes, "the cursor is seen"
