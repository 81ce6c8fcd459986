"""A build that something happens to: it must end well, with the objects of the plain build."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# Two nodes of one slot are in the middle of so many when the first object is there.
FILES = 8
SOURCE = """
#include <map>
#include <string>
#include <vector>
std::map<std::string, std::vector<int>> table_{n};
int use_{n}() {{ table_{n}["{n}"].push_back({n}); return (int)table_{n}.size(); }}
"""
BUILD_TIMEOUT_S = 110
WAIT_S = 60


def write_project(directory: Path) -> Path:
    """Sources and a Makefile, with the objects of a plain build in `plain/`."""
    names = [f"f{number}" for number in range(FILES)]
    for number, name in enumerate(names):
        (directory / f"{name}.cc").write_text(SOURCE.format(n=number))
    objects = " ".join(f"$(OUT)/{name}.o" for name in names)
    rule = "$(OUT)/%.o: %.cc\n\t@mkdir -p $(@D)\n\t@$(CXX) -g -O1 -c -o $@ $<\n"
    (directory / "Makefile").write_text(f"all: {objects}\n{rule}")
    subprocess.run(["make", "-s", "-j2", "CXX=g++", "OUT=plain"], cwd=directory, check=True)
    return directory


def build_while(
    project: Path,
    environment: Mapping[str, str],
    disturb: Callable[[], object],
    inside: tuple[str, ...] = (),
    is_time: Callable[[], bool] | None = None,
) -> None:
    """Build through the farm; disturb it once the first object is there; compare everything.

    `inside` is put in front of the build's command; `is_time` says when to disturb instead.
    """
    out = project / "farm"
    if out.exists():
        for path in out.iterdir():
            path.unlink()
    ready = is_time or (lambda: bool(list(out.glob("*.o"))))
    command = [*inside, "make", "-s", "-j4", "CXX=zcc g++", "OUT=farm"]
    make = subprocess.Popen(command, cwd=project, env=dict(environment))
    try:
        deadline = time.monotonic() + WAIT_S
        while not ready():
            assert make.poll() is None, "the build was over before it was disturbed"
            assert time.monotonic() < deadline, "the build did not come so far"
            time.sleep(0.02)
        assert len(list(out.glob("*.o"))) < FILES, "the build was over before it was disturbed"
        disturb()
        assert make.wait(BUILD_TIMEOUT_S) == 0
    finally:
        if make.poll() is None:
            make.kill()
            make.wait()
    check_objects(project, out)


def check_objects(project: Path, out: Path) -> None:
    for plain in (project / "plain").iterdir():
        assert (out / plain.name).read_bytes() == plain.read_bytes(), plain.name
