"""The name of an output splits no key where it changes no byte, and every name gets its own files."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.conftest import Farm

SOURCE = """
#include <stdio.h>
#include "a.h"
#include "some/longer/name/of/a/header/that/breaks/a/line.h"
int say(void) { printf("%d %s\\n", A, __FILE__); return A; }
"""
NAMES = ("x.o", "build/y.o", "build/CMakeFiles/some_target.dir/a/longer/path/x.c.o", "./z.obj", "w")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    deep = tmp_path / "some/longer/name/of/a/header/that/breaks/a"
    for directory in (deep, *((tmp_path / name).parent for name in NAMES)):
        directory.mkdir(parents=True, exist_ok=True)
    (deep / "line.h").write_text("#define LINE 1\n")
    (tmp_path / "a.h").write_text(f"/* {tmp_path} */\n#define A 1\n")
    (tmp_path / "x.c").write_text(SOURCE)
    return tmp_path


def files(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and path.suffix not in (".c", ".h", ".s")
    }


def compile_(farm: Farm, project: Path, *command: str, **extra: str) -> Counter[str]:
    """Compile, equal to the plain compiler in all files and messages; which outcomes were counted."""
    before = farm.stats()["outcomes"]
    for name in files(project):
        (project / name).unlink()
    done = farm.run("zcc", *command, cwd=project, strict=True, **extra)
    got = files(project)
    for name in got:
        (project / name).unlink()
    plain = subprocess.run(command, cwd=project, check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)
    assert got == files(project)
    after = farm.stats()["outcomes"]
    return Counter({name: count for name in after if (count := after[name] - before[name])})


@pytest.mark.parametrize(
    "dependencies",
    [
        (),
        ("-MD",),
        ("-MMD", "-MP"),
        ("-MD", "-MT", "{}", "-MF", "{}.d"),
        ("-MD", "-MQ", "{}", "-MF", "deps-{}.d", "-MP"),
        ("-MMD", "-MTsome/other/target-{}"),
    ],
    ids=" ".join,
)
def test_other_names_hit_the_first_one_s_result(
    remembering: Farm, project: Path, family: str, dependencies: tuple[str, ...]
) -> None:
    outcomes = []
    for name in NAMES:
        words = [
            word.format(name.replace("/", "_") if word.startswith("deps-") else name)
            for word in dependencies
        ]
        command = (family, "-g", "-O2", "-Wall", *words, "-c", "x.c", "-o", name)
        outcomes.append(compile_(remembering, project, *command))
    assert outcomes == [{"remote": 1}] + [{"local_hit": 1}] * 4


@pytest.mark.parametrize("standing", ["x.c", "c++"])
def test_the_output_s_directory_is_no_input(
    remembering: Farm, project: Path, standing: str
) -> None:
    (project / "new").mkdir()
    command = ("gcc", "-O1", "-c", "x.c", f"-DSTANDING={standing}", "-o")
    assert compile_(remembering, project, *command, "x.o") == {"remote": 1}
    assert compile_(remembering, project, *command, "new/x.o") == {"local_hit": 1}


def test_assembly_is_shared_as_objects_are(remembering: Farm, project: Path, family: str) -> None:
    command = (family, "-O2", "-S", "x.c", "-o")
    assert compile_(remembering, project, *command, "one.asm") == {"remote": 1}
    assert compile_(remembering, project, *command, "build/two.asm") == {"local_hit": 1}


@pytest.mark.parametrize(
    "option",
    [
        "-gsplit-dwarf",
        "--coverage",
        "-fprofile-arcs",
        "-frecord-gcc-switches",
        "-fstack-usage",
        "-save-temps=obj",
        "-Wp,-MD,x.dep",
        "-flto",
        "-Wa,-ahls=x.lst",
    ],
)
def test_an_option_that_may_use_the_name_keeps_it_in_the_key(
    farm: Farm, project: Path, option: str
) -> None:
    """Two names are two jobs, which only the command as it stands answers."""
    assert len({key_of(farm, project, option, name) for name in ("x.o", "build/y.o")}) == 2
    assert len({key_of(farm, project, "-g", name) for name in ("x.o", "build/y.o")}) == 1


def key_of(farm: Farm, project: Path, option: str, name: str) -> str:
    words = ("gcc", option, "-c", "x.c", "-o", name)
    done = farm.run("zcc", "explain", "--json", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    key: str = json.loads(done.stdout)["key"]
    return key


def test_the_base_directory_and_a_name_are_both_taken_out(
    remembering: Farm, tmp_path: Path, family: str
) -> None:
    outcomes = []
    for place, name in (("here/p", "x.o"), ("somewhere/else/p", "build/x.c.o")):
        at = tmp_path / place
        for directory in ("build", "include", ".git"):
            (at / directory).mkdir(parents=True)
        (at / "x.c").write_text('#include "a.h"\nconst char *f(void) { return __FILE__; }\n')
        (at / "include" / "a.h").write_text("int a;\n")
        words = ("-MD", "-MT", name, "-MF", f"{at}/build/x.d", "-MP", f"-I{at}/include")
        command = (family, "-g", *words, "-c", f"{at}/x.c", "-o", name)
        before = remembering.stats()["outcomes"]
        done = remembering.run("zcc", *command, cwd=at, ZCC_BASE_DIR="auto")
        assert done.returncode == 0, done.stderr
        got = files(at)
        plain = (family, f"-ffile-prefix-map={at}=.", *command[1:])
        subprocess.run(plain, cwd=at, check=True)
        assert got == files(at)
        after = remembering.stats()["outcomes"]
        outcomes.append(
            {key: after[key] - before[key] for key in after if after[key] > before[key]}
        )
    assert outcomes == [{"remote": 1}, {"local_hit": 1}]


def test_a_source_that_looks_for_the_output_is_compiled_in_place(
    remembering: Farm, project: Path
) -> None:
    """What a compile asks of its own output's directory is asked of the real one."""
    (project / "x.c").write_text('#if __has_include("build/y.o")\nint there;\n#endif\nint x;\n')
    for name in ("x.o", "build/y.o"):
        command = ("gcc", "-c", "x.c", "-o", name)
        (project / name).unlink(missing_ok=True)
        plain = subprocess.run(command, cwd=project, check=True, capture_output=True)
        expected = (project / name).read_bytes()
        (project / name).unlink()
        done = remembering.run("zcc", *command, cwd=project)
        assert (done.returncode, done.stderr) == (0, plain.stderr)
        assert (project / name).read_bytes() == expected


def test_an_error_names_the_output_as_the_user_does(remembering: Farm, project: Path) -> None:
    command = ("gcc", "-c", "x.c", "-o", "nowhere/x.o")
    plain = subprocess.run(command, cwd=project, check=False, capture_output=True)
    with remembering.ending("output-directory"):
        done = remembering.run("zcc", *command, cwd=project, strict=False)
    assert (done.returncode, done.stderr) == (plain.returncode, plain.stderr)


def test_a_directory_with_a_blank_keeps_no_compile_here(farm: Farm, project: Path) -> None:
    """Its name is escaped in the dependency file, which has to keep its target."""
    (project / "a b").mkdir()
    (project / "a b" / "b.c").write_text('#include "c.h"\nint b = C;\n')
    (project / "a b" / "c.h").write_text("#define C 3\n")
    command = ("gcc", "-MD", "-c", f"{project}/a b/b.c", "-o", "b.o")
    assert compile_(farm, project, *command) == {"remote": 1}
