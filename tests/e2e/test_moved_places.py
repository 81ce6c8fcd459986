"""A compile that is away while what it began with changes here: its files go where the compiler's own would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Farm
from zcc.agent.core.discrepancy import RECENT_S
from zcc.agent.launchers import control

PATIENCE_S = 100


@pytest.fixture
def project(one_node: Farm, tmp_path: Path) -> Path:
    """Sources, and a build directory; the node has the compiler."""
    (tmp_path / "build").mkdir()
    (tmp_path / "x.h").write_text("#define MORE 1\n")
    (tmp_path / "x.c").write_text('#include "x.h"\nint value(void) { return V + MORE; }\n')
    command = [str(BIN / "zcc"), "gcc", "-c", "-DV=0", "x.c", "-o", "warm.o"]
    assert one_node.run(*command, cwd=tmp_path).returncode == 0
    return tmp_path


class Away:
    """A compile that its node has and, standing still, does not begin; `came_home` lets it."""

    def __init__(self, farm: Farm, cwd: Path, *arguments: str, **variables: str) -> None:
        self._farm = farm
        self._signal(signal.SIGSTOP)
        command = [str(BIN / "zcc"), "gcc", "-DV=1", *arguments]
        environment = {**farm.local.environment, "PATH": f"{os.environ['PATH']}:{BIN}"} | variables
        self.launcher = subprocess.Popen(
            command, cwd=cwd, env=environment, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._is_there():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def came_home(self) -> int:
        self._signal(signal.SIGCONT)
        return self.launcher.wait(PATIENCE_S)

    def _signal(self, number: int) -> None:
        self._farm.local.nodes[0].send_signal(number)

    def _is_there(self) -> bool:
        answer = control.ask(self._farm.local.environment["ZCC_SOCKET"], {"op": "nodes"}) or {}
        return any(row["running"] for row in answer.get("nodes", ()))


def plain(project: Path, value: int) -> bytes:
    """What the compiler makes of the source as it is now."""
    output = project / f"plain{value}.o"
    command = ["gcc", f"-DV={value}", "-c", "../x.c", "-o", str(output)]
    subprocess.run(command, cwd=project / "build", check=True)
    return output.read_bytes()


def reasons(farm: Farm, name: str) -> int:
    return int(farm.stats()["local_reasons"].get(name, 0))


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_new_build_directory_is_not_written_by_a_compile_of_the_old_one(
    how: str, one_node: Farm, project: Path
) -> None:
    build, old = project / "build", project / "old"
    first, second = plain(project, 1), plain(project, 2)
    away = Away(one_node, build, "-c", "../x.c", "-o", "x.o", "-MD")
    if how == "removed":
        shutil.rmtree(build)
    else:
        build.rename(old)
    build.mkdir()
    shutil.copy(project / "plain2.o", build / "x.o")
    status = away.came_home()
    assert (build / "x.o").read_bytes() == second
    assert [path.name for path in build.iterdir()] == ["x.o"]
    if how == "removed":
        assert status == 1  # as gcc's, which cannot create its output
    else:
        assert (status, (old / "x.o").read_bytes()) == (0, first)
        assert sorted(path.name for path in old.iterdir()) == ["x.d", "x.o"]


def test_an_output_goes_where_its_path_leads_when_it_is_written(
    one_node: Farm, project: Path
) -> None:
    build = project / "build"
    for name in ("b1", "b2"):
        (build / name).mkdir()
    (build / "cur").symlink_to("b1")
    away = Away(one_node, build, "-c", "../x.c", "-o", "cur/x.o")
    (build / "cur").unlink()
    (build / "cur").symlink_to("b2")
    assert away.came_home() == 0
    assert list((build / "b1").iterdir()) == []
    assert (build / "b2" / "x.o").read_bytes() == plain(project, 1)


def test_an_output_that_has_become_another_kind_of_file_is_the_compilers(
    one_node: Farm, project: Path
) -> None:
    build = project / "build"
    away = Away(one_node, build, "-S", "../x.c", "-o", "x.s")
    (build / "other").write_text("old")
    os.link(build / "other", build / "x.s")
    assert away.came_home() == 0
    assert (build / "x.s").samefile(build / "other")
    assert b"value" in (build / "other").read_bytes()


def test_an_input_that_was_edited_meanwhile_is_compiled_as_it_is(
    one_node: Farm, project: Path
) -> None:
    before = reasons(one_node, "inputs-changed")
    away = Away(one_node, project / "build", "-c", "../x.c", "-o", "x.o")
    (project / "x.h").write_text("#define MORE 2\n")
    time.sleep(2 * RECENT_S)  # else it might have been looked at just now
    assert away.came_home() == 0
    assert (project / "build" / "x.o").read_bytes() == plain(project, 1)
    assert reasons(one_node, "inputs-changed") == before + 1


@pytest.mark.parametrize("how", ["edited", "put before", "output"])
def test_a_source_that_was_done_first_is_judged_with_the_last(
    how: str, one_node: Farm, project: Path
) -> None:
    """It is remembered here, and waits for the other one."""
    build = project / "build"
    words = ("-c", "-I.", "-I..", "../x.c", "y.c")
    (project / "x.c").write_text("#include <x.h>\nint value(void) { return V + MORE; }\n")
    (build / "y.c").write_text("int y;\n")
    command = [str(BIN / "zcc"), "gcc", "-DV=1", *words]
    assert one_node.run(*command, cwd=build, ZCC_CACHE="on").returncode == 0
    (build / "x.o").unlink()
    (build / "y.c").write_text("int z;\n")
    name = "output-moved" if how == "output" else "inputs-changed"
    before = reasons(one_node, name)
    away = Away(one_node, build, *words, ZCC_CACHE="on")
    if how == "output":
        (build / "x.o").mkdir()
    else:
        path = project / "x.h" if how == "edited" else build / "x.h"
        path.write_text("#define MORE 2\n")
    time.sleep(2 * RECENT_S)
    status = away.came_home()
    assert reasons(one_node, name) == before + 1
    if how == "output":
        assert status == 1
        assert (build / "x.o").is_dir()
    else:
        assert status == 0
        subprocess.run(["gcc", "-DV=1", *words[:-1], "-o", "plain.o"], cwd=build, check=True)
        assert (build / "x.o").read_bytes() == (build / "plain.o").read_bytes()


def test_an_input_that_was_written_anew_as_it_was_has_not_changed(
    one_node: Farm, project: Path
) -> None:
    before = one_node.stats()["outcomes"]["remote"]
    away = Away(one_node, project / "build", "-c", "../x.c", "-o", "x.o")
    (project / "x.h").write_text("#define MORE 1\n")
    assert away.came_home() == 0
    assert one_node.stats()["outcomes"]["remote"] == before + 1
