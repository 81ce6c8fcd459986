"""A farm that is full, slow or frozen beside a machine with idle slots: the machine takes part."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from zcc.cli.up import LocalFarm

FILES = 12
SOURCE = """
#include <functional>
#include <map>
#include <string>
template <int N> int use(const std::string &text) {{
    std::map<std::string, std::function<int(int)>> table;
    table[text] = [](int x) {{ return x + N; }};
    return table[text](N);
}}
int use_{n}(const std::string &text) {{ return use<{n}>(text) + use<{n} + 100>(text); }}
"""


@pytest.fixture
def one_node() -> Iterator[Farm]:
    """A farm of one node with two slots, and an agent with two, which share as an agent elsewhere does."""
    with tempfile.TemporaryDirectory(prefix="zcc-sooner-") as directory:
        local = LocalFarm(directory)
        own = Path(directory) / "client"
        own.mkdir()
        (own / "config.toml").write_text("slots = 2\n")
        before = os.environ.get("ZCC_LOCAL")
        try:
            local.start(nodes=1, slots=2)
            environment = local.environment
            # The agent that runs was started to keep to the farm.
            farm = Farm(local)
            farm.run(str(BIN / "zcc"), "agent", "stop", cwd=Path("/"))
            environment["ZCC_LOCAL"] = "sooner"
            environment["ZCC_CACHE"] = "off"
            yield farm
        finally:
            for node in local.nodes:
                node.send_signal(signal.SIGCONT)
            local.stop()
            assert os.environ.get("ZCC_LOCAL") == before


def write_project(directory: Path) -> None:
    for number in range(FILES):
        (directory / f"f{number}.cc").write_text(SOURCE.format(n=number))
    objects = " ".join(f"$(OUT)/f{number}.o" for number in range(FILES))
    rule = "$(OUT)/%.o: %.cc\n\t@mkdir -p $(@D)\n\t@$(CXX) -g -O1 -MD -c -o $@ $<\n"
    (directory / "Makefile").write_text(f"all: {objects}\n{rule}")


def build(farm: Farm, directory: Path, out: str) -> subprocess.Popen[bytes]:
    environment = {**farm.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}"}
    command = ["make", "-s", "-j8", "CXX=zcc g++", f"OUT={out}"]
    return subprocess.Popen(command, cwd=directory, env=environment)


def assert_equal(directory: Path, out: str) -> None:
    """To the byte, and the dependency files but for the directory that their target is in."""
    plain = directory / "plain"
    if not plain.exists():
        subprocess.run(["make", "-s", "-j2", "CXX=g++", "OUT=plain"], cwd=directory, check=True)
    for path in sorted(plain.iterdir()):
        expected = path.read_bytes()
        if path.suffix == ".d":
            expected = expected.replace(b"plain/", out.encode() + b"/")
            assert (directory / out / path.name).read_bytes().split() == expected.split()
        else:
            assert (directory / out / path.name).read_bytes() == expected, path.name
    assert len(list((directory / out).iterdir())) == len(list(plain.iterdir()))


def test_a_full_farm_and_idle_slots_share_the_build(one_node: Farm, tmp_path: Path) -> None:
    write_project(tmp_path)
    assert build(one_node, tmp_path, "farm").wait(300) == 0
    assert_equal(tmp_path, "farm")
    stats = one_node.stats()
    here = Counter(stats["local_reasons"])
    shares = {"farm": stats["outcomes"]["remote"], "here": here["sooner-here"] + here["raced"]}
    assert sum(shares.values()) + here["small"] == FILES
    assert min(shares.values()) >= FILES // 5, shares


def test_a_node_that_stands_still_holds_up_nobody(one_node: Farm, tmp_path: Path) -> None:
    write_project(tmp_path)
    make = build(one_node, tmp_path, "farm")
    (node,) = one_node.local.nodes
    deadline = time.monotonic() + 100
    while one_node.stats()["outcomes"]["remote"] < 2:
        assert time.monotonic() < deadline
        assert make.poll() is None, "the build was over before the node stood still"
        time.sleep(0.02)
    node.send_signal(signal.SIGSTOP)
    assert make.wait(300) == 0
    node.send_signal(signal.SIGCONT)
    assert_equal(tmp_path, "farm")
    reasons = one_node.stats()["local_reasons"]
    # Nothing waited for the farm's own patience (remote_timeout_s is an hour).
    assert "remote-timeout" not in reasons
    assert reasons.get("sooner-here", 0) >= 2


def test_strict_compiles_stay_on_a_full_farm(one_node: Farm, tmp_path: Path) -> None:
    write_project(tmp_path)
    one_node.local.environment["ZCC_FALLBACK"] = "never"
    try:
        assert build(one_node, tmp_path, "farm").wait(300) == 0
    finally:
        del one_node.local.environment["ZCC_FALLBACK"]
    assert one_node.stats()["outcomes"]["remote"] == FILES
