"""A farm that is full, slow or frozen beside a machine with idle slots: the machine takes part."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_farm import hold_slots
from tests.support.prepared_farm import PreparedFarm

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
        local = PreparedFarm(directory)
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


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def make_known(farm: Farm) -> None:
    """Have the node take the compiler, with one compile: else a fast machine is through before it has it."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "first.cc").touch()
        done = farm.run(str(BIN / "zcc"), "g++", "-c", "first.cc", cwd=Path(directory))
        assert done.returncode == 0, done.stderr


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
    make_known(one_node)
    assert build(one_node, tmp_path, "farm").wait(300) == 0
    assert_equal(tmp_path, "farm")
    stats = one_node.stats()
    here = Counter(stats["local_reasons"])
    shares = {"farm": stats["outcomes"]["remote"] - 1, "here": here["sooner-here"] + here["raced"]}
    assert sum(shares.values()) + here["small"] == FILES
    assert min(shares.values()) >= FILES // 5, shares


def test_a_node_that_stands_still_holds_up_nobody(one_node: Farm, tmp_path: Path) -> None:
    write_project(tmp_path)
    one_node.run(str(BIN / "zcc"), "agent", "start", cwd=Path("/"))
    # Else this machine may have made them all by then.
    holders = hold_slots(one_node, one_node.local.environment)
    make = build(one_node, tmp_path, "farm")
    (node,) = one_node.local.nodes
    wait_until(lambda: one_node.stats()["outcomes"]["remote"] >= 2)
    node.send_signal(signal.SIGSTOP)
    for holder in holders:
        holder.kill()
        holder.communicate()
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


def compilers_of(name: str) -> list[Path]:
    """Processes of gcc's own that read this source."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"cc1plus") and any(each.endswith(name.encode()) for each in words):
            found.append(process)
    return found


def raced(farm: Farm) -> list[Path]:
    """Where compiles beside the farm's write now."""
    return list(Path(farm.local.environment["ZCC_STATE_DIR"]).glob("beside.*/*"))


def wait_for_race(farm: Farm, launcher: subprocess.Popen[bytes]) -> bool:
    """Until it is done here too, or over; whether it is the first."""
    wait_until(lambda: bool(raced(farm)) or launcher.poll() is not None)
    return launcher.poll() is None


def wait_for_end(name: str) -> None:
    wait_until(lambda: not compilers_of(name))


def compile_and_freeze(
    farm: Farm, directory: Path, name: str, *, compiler: tuple[str, ...] = (str(BIN / "zcc"), "g++")
) -> subprocess.Popen[bytes]:
    """A compile whose node stands still once the compiler runs there; no slot was idle here until then."""
    path = f"{os.environ['PATH']}:{BIN}"
    if len(compiler) == 1:
        path = f"{Path(compiler[0]).parent}:{path}"
    environment = {**farm.local.environment, "PATH": path}
    holders = hold_slots(farm, environment)
    command = [*compiler, "-g", "-O1", "-MD", "-c", name, "-o", f"{name}.o"]
    launcher = subprocess.Popen(command, cwd=directory, env=environment)
    wait_until(lambda: bool(compilers_of(name)) or launcher.poll() is not None)
    farm.local.nodes[0].send_signal(signal.SIGSTOP)
    for holder in holders:
        holder.kill()
        holder.communicate()
    return launcher


def test_a_compile_on_a_node_that_stands_still_ends_whole_or_not_at_all(
    one_node: Farm, tmp_path: Path
) -> None:
    """The run here wins, the launcher is killed at some moment of it, or the node comes back meanwhile."""
    (node,) = one_node.local.nodes
    one_node.run(str(BIN / "zcc"), "agent", "start", cwd=Path("/"))
    names = [f"raced{number}.cc" for number in range(4)]
    plain = {}
    for number, name in enumerate(names):
        (tmp_path / name).write_text(SOURCE.format(n=number))
        command = ["g++", "-g", "-O1", "-MD", "-c", name, "-o", f"{name}.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        for path in (tmp_path / f"{name}.o", tmp_path / f"{name}.d"):
            plain[path.name] = path.read_bytes()
            path.unlink()
    races = 0
    for number, name in enumerate(names):
        launcher = compile_and_freeze(one_node, tmp_path, name)
        races += wait_for_race(one_node, launcher)
        if number == 1:
            launcher.kill()
        elif number == 2:
            node.send_signal(signal.SIGCONT)
        status = launcher.wait(100)
        node.send_signal(signal.SIGCONT)
        assert status == 0 or number == 1
        for path in (tmp_path / f"{name}.o", tmp_path / f"{name}.d"):
            if status == 0 or path.exists():
                assert path.read_bytes() == plain[path.name]
        wait_for_end(name)
    wait_until(lambda: not raced(one_node))
    assert {path.name for path in tmp_path.iterdir()} <= {*names, *plain}
    assert races  # else this has shown nothing


def test_a_compile_through_a_masquerade_is_raced_like_any_other(
    one_node: Farm, tmp_path: Path
) -> None:
    """Found as the first g++ on PATH, which the compiler looks itself up on too."""
    (node,) = one_node.local.nodes
    one_node.run(str(BIN / "zcc"), "agent", "start", cwd=Path("/"))
    links, project = tmp_path / "links", tmp_path / "project"
    links.mkdir()
    project.mkdir()
    (links / "g++").symlink_to(BIN / "zcc")
    (project / "a.cc").write_text(SOURCE.format(n=1))
    launcher = compile_and_freeze(one_node, project, "a.cc", compiler=(str(links / "g++"),))
    assert wait_for_race(one_node, launcher)
    assert launcher.wait(100) == 0
    node.send_signal(signal.SIGCONT)
    reasons = one_node.stats()["local_reasons"]
    assert (reasons.get("raced"), reasons.get("compile-error")) == (1, None)
    placed = (project / "a.cc.o").read_bytes()
    subprocess.run(["g++", "-g", "-O1", "-c", "a.cc", "-o", "a.cc.o"], cwd=project, check=True)
    assert placed == (project / "a.cc.o").read_bytes()
