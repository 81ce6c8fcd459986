"""Checkouts in different places share results under a base directory, and nothing that is wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm
from tests.support.network_farm import wait_until

SOURCE = """
#include "x.h"
#include <stdio.h>
#include "generated.h"
const char *where(void) { return __FILE__; }
int say(void) { printf("%d\\n", X + GENERATED); signed char odd = 1000; return odd; }
"""


def checkout(at: Path) -> Path:
    """A project as CMake would build it: all paths absolute, from a build directory of its own."""
    for name in ("src", "include", "build", ".git"):
        (at / name).mkdir(parents=True)
    (at / "src" / "x.c").write_text(SOURCE)
    (at / "include" / "x.h").write_text("#define X 1\n")
    (at / "build" / "generated.h").write_text("#define GENERATED 2\n")
    return at


def command(compiler: str, at: Path, *more: str) -> list[str]:
    source, object_ = at / "src" / "x.c", "x.o"
    paths = [f"-I{at}/include", "-isystem", f"{at}/build", "-MD", "-MT", object_, "-MF", "x.o.d"]
    return [compiler, "-g", "-O1", *more, *paths, "-o", object_, "-c", str(source)]


def outputs(build: Path) -> tuple[bytes, list[bytes]]:
    """The object, and the words of the rule: where its lines break depends on how long paths are."""
    rule = (build / "x.o.d").read_bytes().replace(b"\\\n", b" ")
    return (build / "x.o").read_bytes(), rule.split()


def compile_(
    farm: Farm, at: Path, *more: str, compiler: str = "gcc", base: str = "auto"
) -> Counter[str]:
    """Compile in the checkout's build directory; equal to the plain compiler with the prefix map."""
    before = farm.stats()["outcomes"]
    build = at / "build"
    done = farm.run("zcc", *command(compiler, at, *more), cwd=build, ZCC_BASE_DIR=base)
    assert done.returncode == 0, done.stderr
    got = outputs(build)
    prefix_map = (f"-ffile-prefix-map={at}=.",) if base else ()
    plain = subprocess.run(
        command(compiler, at, *prefix_map, *more), cwd=build, check=True, capture_output=True
    )
    assert got == outputs(build)
    assert done.stderr == plain.stderr
    after = farm.stats()["outcomes"]
    return Counter({name: count for name in after if (count := after[name] - before[name])})


def test_outside_of_a_repository_auto_changes_nothing_until_it_is_one(
    remembering: Farm, tmp_path: Path
) -> None:
    project = checkout(tmp_path / "tarball")
    (project / ".git").rmdir()
    build = project / "build"

    def compiled() -> bytes:
        done = remembering.run(
            "zcc", *command("gcc", project, "-DTARBALL"), cwd=build, ZCC_BASE_DIR="auto"
        )
        assert done.returncode == 0, done.stderr
        return (build / "x.o").read_bytes()

    subprocess.run(command("gcc", project, "-DTARBALL"), cwd=build, check=True, capture_output=True)
    plain = (build / "x.o").read_bytes()
    assert compiled() == plain
    (project / ".git").mkdir()
    wait_until(lambda: compiled() != plain, "the agent to see that there is a repository")
    assert compile_(remembering, project, "-DTARBALL") == {"local_hit": 1}


def test_a_second_checkout_hits_the_first_one_s_results(
    remembering: Farm, tmp_path: Path, family: str
) -> None:
    one = checkout(tmp_path / "home" / "a" / "p")
    two = checkout(tmp_path / "srv" / "builds" / "nightly" / "checkout-2")
    assert compile_(remembering, one, compiler=family) == {"remote": 1}
    assert compile_(remembering, two, compiler=family) == {"local_hit": 1}
    (two / "include" / "x.h").write_text("#define X 7\n")
    assert compile_(remembering, two, compiler=family) == {"remote": 1}
    shutil.copy(two / "include" / "x.h", one / "include" / "x.h")
    assert compile_(remembering, one, compiler=family) == {"local_hit": 1}
    depfile = (one / "build" / "x.o.d").read_text()
    assert f"{one}/include/x.h" in depfile


def test_without_a_base_directory_every_checkout_is_its_own(
    remembering: Farm, tmp_path: Path
) -> None:
    for name in "ab":
        at = checkout(tmp_path / name)
        assert compile_(remembering, at, "-DONE", base="") == {"remote": 1}


def test_a_path_in_a_definition_stays_what_it_is(remembering: Farm, tmp_path: Path) -> None:
    """It gets into the program, which has to find its files."""
    for name in "ab":
        at = checkout(tmp_path / name)
        definition = f'-DDATA="{at}/data"'
        (at / "src" / "x.c").write_text("const char *data(void) { return DATA; }\n")
        assert compile_(remembering, at, definition) == {"remote": 1}
        assert f"{at}/data".encode() in (at / "build" / "x.o").read_bytes()


@pytest.mark.parametrize(
    "definition", ['-Wp,-DDATA="{}"', '--define-macro=DATA="{}"', "-frandom-seed={}"]
)
def test_what_is_computed_of_a_path_is_computed_of_the_real_one(
    remembering: Farm, tmp_path: Path, definition: str
) -> None:
    at = checkout(tmp_path / "p")
    text = '#ifndef DATA\n#define DATA ""\n#endif\nint size = sizeof(DATA);\n'
    (at / "src" / "x.c").write_text(text)
    words = command("gcc", at, definition.format(f"{at}/data"))
    subprocess.run(words, cwd=at / "build", check=True)
    expected = (at / "build" / "x.o").read_bytes()
    done = remembering.run("zcc", *words, cwd=at / "build", ZCC_BASE_DIR="auto")
    assert done.returncode == 0, done.stderr
    assert (at / "build" / "x.o").read_bytes() == expected


def test_a_header_that_names_the_checkout_is_found_in_place(
    remembering: Farm, tmp_path: Path
) -> None:
    at = checkout(tmp_path / "p")
    (at / "include" / "far.h").write_text("#define FAR 1\n")
    text = f'#if __has_include("{at}/include/far.h")\n#include "{at}/include/far.h"\n#endif\nint far;\n'
    (at / "include" / "x.h").write_text("#define X 1\n" + text)
    build = at / "build"
    plain = subprocess.run(command("gcc", at), cwd=build, check=True, capture_output=True)
    expected = (build / "x.o").read_bytes()
    for _ in range(2):
        done = remembering.run("zcc", *command("gcc", at), cwd=build, ZCC_BASE_DIR="auto")
        assert (done.returncode, done.stderr) == (0, plain.stderr)
        assert (build / "x.o").read_bytes() == expected


def test_a_way_out_of_the_checkout_is_walked_in_place(remembering: Farm, tmp_path: Path) -> None:
    at = checkout(tmp_path / "p")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "x.h").write_text("#define X 5\n")
    build = at / "build"
    line = ["gcc", "-I../../beside", "-I.", "-c", "../src/x.c", "-o", "x.o"]
    plain = subprocess.run(line, cwd=build, check=True, capture_output=True)
    expected = (build / "x.o").read_bytes()
    done = remembering.run("zcc", *line, cwd=build, ZCC_BASE_DIR="auto")
    assert (done.returncode, done.stderr) == (0, plain.stderr)
    assert (build / "x.o").read_bytes() == expected


@pytest.mark.parametrize("option", ["-ffile-prefix-map", "-fdebug-prefix-map"])
@pytest.mark.parametrize("old", ["/z", "/zcc-base-5d1c8e7a"])
def test_a_prefix_map_does_not_take_the_neutral_place_for_its_own(
    remembering: Farm, tmp_path: Path, family: str, option: str, old: str
) -> None:
    at = checkout(tmp_path / "p")
    build = at / "build"
    line = command(family, at, f"{option}={old}=/src")
    subprocess.run(line, cwd=build, check=True, capture_output=True)
    expected = outputs(build)
    done = remembering.run("zcc", *line, cwd=build, ZCC_BASE_DIR="auto")
    assert done.returncode == 0, done.stderr
    assert outputs(build) == expected


@pytest.mark.parametrize("is_late", [False, True])
def test_what_a_way_out_of_the_checkout_is_asked_for(
    remembering: Farm, tmp_path: Path, family: str, is_late: bool
) -> None:
    """At the neutral place the way leads elsewhere."""
    at = checkout(tmp_path / "p")
    build = at / "build"
    (at / "src" / "x.c").write_text(
        '#if __has_include("../../x.h")\nint yes;\n#else\nint no;\n#endif\n'
    )
    line = [family, "-c", "../src/x.c", "-o", "x.o"]
    for is_there in [False, True] if is_late else [True]:
        if is_there:
            (tmp_path / "x.h").touch()
        done = remembering.run("zcc", *line, cwd=build, strict=False, ZCC_BASE_DIR="auto")
        got = (build / "x.o").read_bytes()
        subprocess.run(line, cwd=build, check=True)
        assert (done.returncode, got) == (0, (build / "x.o").read_bytes())
