"""Coverage, profiles and other files that options name: remote, with what the compiler would read here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_farm import both_ways

ZCC = str(BIN / "zcc")
SOURCE = """
#include <stdio.h>
#include <stdlib.h>
static int rare(int x) { int sum = 0; for (int i = 0; i < x; i++) sum += i % 3; return sum; }
int main(int count, char **words) {
    int x = count > 1 ? atoi(words[1]) : 5;
    if (x > 100) x = rare(x);
    for (int i = 0; i < 50; i++) x += i & 1 ? x : -i;
    return printf("%d\\n", x) < 0;
}
"""


def run(directory: Path, *command: str) -> bytes:
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return done.stdout


def reasons(farm: Farm, name: str) -> int:
    return int(farm.stats()["local_reasons"].get(name, 0))


def remote(farm: Farm) -> int:
    return int(farm.stats()["outcomes"]["remote"])


def trained(directory: Path, use: str, *trainer: str) -> None:
    """Write the source, and the profile of one run of it, made for the object `out/p.o`."""
    (directory / "out").mkdir(exist_ok=True)
    (directory / "p.c").write_text(SOURCE)
    run(directory, "gcc", "-O2", *trainer, "-c", "p.c", "-o", "out/p.o")
    run(directory, "gcc", *trainer, "out/p.o", "-o", "out/p")
    run(directory, "out/p", "7")
    (directory / "out" / "p.o").unlink()
    assert any(directory.rglob("*.gcda")), use


# ---- making profiles -----------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--coverage", "-fprofile-generate", "-fprofile-arcs"])
def test_an_instrumented_program_behaves_as_one_that_was_compiled_here(
    farm: Farm, tmp_path: Path, flag: str
) -> None:
    """gcc puts random numbers into it, so what it does is compared, and what gcov makes of it."""
    (tmp_path / "p.c").write_text(SOURCE)
    told = []
    for compiler in (("gcc",), (ZCC, "gcc")):
        before = remote(farm)
        compiled = farm.run(*compiler, "-O1", flag, "-c", "p.c", "-o", "p.o", cwd=tmp_path)
        assert (compiled.returncode, compiled.stderr) == (0, b"")
        assert remote(farm) - before == len(compiler) - 1
        run(tmp_path, "gcc", flag, "p.o", "-o", "p")
        said = run(tmp_path, "./p", "200")
        counts = (tmp_path / "p.gcda").stat().st_size
        report = b""
        if (tmp_path / "p.gcno").exists():
            report = run(tmp_path, "gcov", "-t", "p.c", "-o", ".")
        told.append((said, counts, report))
        for name in ("p.gcda", "p.gcno", "p.o"):
            (tmp_path / name).unlink(missing_ok=True)
    assert told[0] == told[1]


@pytest.mark.parametrize("flag", ["--coverage", "-fprofile-generate", "-fprofile-generate=d"])
def test_instrumented_objects_are_equal_where_gcc_is_told_its_random_seed(
    farm: Farm, tmp_path: Path, flag: str
) -> None:
    (tmp_path / "p.c").write_text(SOURCE)
    (tmp_path / "out").mkdir()
    before = remote(farm)
    both_ways(farm, tmp_path, "gcc", flag, "-frandom-seed=1", "-c", "p.c", "-o", "out/p.o")
    assert remote(farm) == before + 1


def test_clangs_instrumented_objects_are_equal(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    (tmp_path / "p.c").write_text(SOURCE)
    for flag in ("--coverage", "-fprofile-generate", "-fprofile-instr-generate=x.profraw"):
        both_ways(farm, tmp_path, "clang", flag, "-c", "p.c")
        (tmp_path / "p.o").unlink()
        (tmp_path / "p.gcno").unlink(missing_ok=True)


def test_a_profile_that_gcc_would_remove_keeps_the_compile_here(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(SOURCE)
    for place in ("p.gcda", f"d/{str(tmp_path).replace('/', '#')}#p.gcda"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"old")
        before = reasons(farm, "stale-profile")
        where = ("-fprofile-dir=d",) if "/" in place else ()
        command = (ZCC, "gcc", "--coverage", *where, "-c", "p.c")
        assert farm.run(*command, cwd=tmp_path, strict=False).returncode == 0
        assert reasons(farm, "stale-profile") == before + 1
        (tmp_path / place).unlink(missing_ok=True)


# ---- using them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "trainer"),
    [
        (("-fprofile-use",), ("-fprofile-generate",)),
        (("-fprofile-use=d",), ("-fprofile-generate=d",)),
        (("-fprofile-use={top}/d",), ("-fprofile-generate={top}/d",)),
        (("-fbranch-probabilities", "-fprofile-dir=d"), ("-fprofile-generate=d",)),
        (("-fprofile-use=nowhere",), ("-fprofile-generate",)),
    ],
    ids=" ".join,
)
def test_gcc_optimizes_by_the_profile_of_the_client(
    farm: Farm, tmp_path: Path, use: tuple[str, ...], trainer: tuple[str, ...]
) -> None:
    use, trainer = (tuple(word.format(top=tmp_path) for word in words) for words in (use, trainer))
    trained(tmp_path, use[0], *trainer)
    command = ("gcc", "-O2", "-g", "-Wmissing-profile", "-c", "p.c", "-o", "out/p.o")
    before = remote(farm)
    both_ways(farm, tmp_path, *command, *use)
    with_profile = (tmp_path / "out" / "p.o").read_bytes()
    assert remote(farm) == before + 1
    for profile in list(tmp_path.rglob("*.gcda")):
        profile.unlink()
    both_ways(farm, tmp_path, *command, *use)
    without = (tmp_path / "out" / "p.o").read_bytes()
    assert (with_profile == without) == ("nowhere" in use[0])


def test_gcc_finds_a_profile_by_the_name_that_the_user_has_for_the_directory(
    farm: Farm, tmp_path: Path
) -> None:
    """PWD, with its symlinks, is what gcc mangles."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to("real")
    (link / "p.c").write_text(SOURCE)
    line = "gcc -O2 -fprofile-generate=d p.c -c && gcc -fprofile-generate p.o -o p && ./p 7"
    subprocess.run(f"cd {link} && {line} >/dev/null && rm p.o", shell=True, check=True)
    (profile,) = (real / "d").iterdir()
    assert "#link#" in profile.name
    arguments = ("-O2", "-Wmissing-profile", "-fprofile-use=d", "-c", "p.c")
    objects = []
    for command in (("gcc",), (ZCC, "gcc")):
        done = farm.run(*command, *arguments, cwd=real, PWD=str(link))
        assert (done.returncode, done.stderr) == (0, b"")
        objects.append((real / "p.o").read_bytes())
        (real / "p.o").unlink()
    assert objects[0] == objects[1]


PROFILE = "main\n# Func Hash:\n{hash}\n# Num Counters:\n1\n# Counter Values:\n900\n"
SAMPLES = "main:9000:10\n 3: 5\n 4: 10\n 5: 4000\n"


@pytest.mark.parametrize(
    ("use", "place"),
    [
        ("-fprofile-use", "default.profdata"),
        ("-fprofile-use=d", "d/default.profdata"),
        ("-fprofile-use=d/x.profdata", "d/x.profdata"),
        ("-fprofile-instr-use", "default.profdata"),
        ("-fprofile-instr-use=x.profdata", "x.profdata"),
    ],
)
def test_clang_optimizes_by_the_profile_of_the_client(
    farm: Farm, tmp_path: Path, use: str, place: str
) -> None:
    need("clang", "llvm-profdata")
    (tmp_path / "d").mkdir()
    (tmp_path / "p.c").write_text(SOURCE)
    (tmp_path / "p.txt").write_text(PROFILE.format(hash=7))
    run(tmp_path, "llvm-profdata", "merge", "p.txt", "-o", place)
    before = remote(farm)
    plain, _ = both_ways(farm, tmp_path, "clang", "-O2", "-Wall", use, "-c", "p.c")
    assert b"profile data" in plain.stderr  # it was read, and is of another function
    assert remote(farm) == before + 1


def test_clang_optimizes_by_samples(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    (tmp_path / "p.c").write_text(SOURCE)
    arguments = ("-O2", "-g", "-fprofile-sample-use=s.txt", "-c", "p.c")
    objects = set()
    for text in (SAMPLES, "other:1:1\n"):
        (tmp_path / "s.txt").write_text(text)
        both_ways(farm, tmp_path, "clang", *arguments)
        objects.add((tmp_path / "p.o").read_bytes())
        (tmp_path / "p.o").unlink()
    assert len(objects) == 2


# ---- lists and specs -----------------------------------------------------------------------------


def test_a_sanitizers_list_goes_along(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    (tmp_path / "p.c").write_text("int load(int *p) { return *p; }\n")
    arguments = ("-fsanitize=address", "-fsanitize-ignorelist=list", "-c", "p.c")
    objects = set()
    for text in ("", "fun:load\n"):
        (tmp_path / "list").write_text(text)
        before = remote(farm)
        both_ways(farm, tmp_path, "clang", *arguments)
        assert remote(farm) == before + 1
        objects.add((tmp_path / "p.o").read_bytes())
        (tmp_path / "p.o").unlink()
    assert len(objects) == 2


@pytest.mark.parametrize("spelled", ["./own.specs", "own.specs"])
def test_a_specs_file_goes_along(farm: Farm, tmp_path: Path, spelled: str) -> None:
    """Without a slash it is looked for in gcc's own directories first."""
    (tmp_path / "p.c").write_text("int value = VALUE;\n")
    arguments = (f"-specs={spelled}", "-c", "p.c")
    objects = set()
    for value in ("1", "2"):
        (tmp_path / "own.specs").write_text(f"*cpp:\n+ -DVALUE={value}\n\n")
        before = remote(farm)
        both_ways(farm, tmp_path, "gcc", *arguments)
        assert remote(farm) == before + 1
        objects.add((tmp_path / "p.o").read_bytes())
        (tmp_path / "p.o").unlink()
    assert len(objects) == 2


@pytest.mark.parametrize(
    ("compiler", "arguments", "reason"),
    [
        ("gcc", ("-specs=nowhere.specs",), "compiler-not-understood"),
        ("gcc", ("-specs=./nowhere.specs",), "compiler-not-understood"),
        ("clang", ("-fsanitize=address", "-fsanitize-ignorelist=nowhere"), "missing-input"),
        ("clang", ("-fmodules", "-fmodule-map-file=map"), "modules"),
        ("gcc", ("-fauto-profile",), "missing-input"),
    ],
    ids=str,
)
def test_what_cannot_go_along_is_compiled_here_for_a_reason(
    farm: Farm, tmp_path: Path, compiler: str, arguments: tuple[str, ...], reason: str
) -> None:
    need(compiler)
    (tmp_path / "p.c").write_text("int value;\n")
    (tmp_path / "map").write_text("")
    before = reasons(farm, reason)
    both_ways(farm, tmp_path, compiler, *arguments, "-c", "p.c", ends=reason)
    assert reasons(farm, reason) == before + 1
