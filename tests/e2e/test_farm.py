"""The product's main job: compiles on the farm that nobody can tell from local ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from zcc.agent.launchers import control

ZCC = str(BIN / "zcc")
CXX = {"gcc": "g++", "clang": "clang++"}

C_SOURCE = """
#include <stdio.h>
#include <string.h>
#include "inc/own.h"
int twice(int x) { unsigned unused; return VALUE * x + (int)strlen("x"); }
"""
CXX_SOURCE = """
#include <algorithm>
#include <map>
#include <string>
#include <vector>
int count(const std::vector<std::string> &words) {
    std::map<std::string, int> seen;
    for (const auto &word : words) seen[word]++;
    return std::max_element(seen.begin(), seen.end())->second;
}
"""


def project(directory: Path) -> Path:
    (directory / "inc").mkdir(parents=True)
    (directory / "inc" / "own.h").write_text("#define VALUE 21\n")
    (directory / "a.c").write_text(C_SOURCE)
    (directory / "b.cc").write_text(CXX_SOURCE)
    return directory


def written(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and mode."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mode)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def both_ways(
    farm: Farm,
    directory: Path,
    compiler: str,
    *arguments: str,
    ends: str = "",
    **extra: str,
) -> tuple[subprocess.CompletedProcess[bytes], subprocess.CompletedProcess[bytes]]:
    """The same command plain and through zcc, in the same place; asserts that nothing differs. `ends`: how it
    does through zcc, in the words of `Farm.ending`, if not as ZCC_FALLBACK=never lets it."""
    before = written(directory)
    plain = subprocess.run(
        [compiler, *arguments],
        cwd=directory,
        env={**os.environ, **extra},
        capture_output=True,
        check=False,
    )
    expected = written(directory)
    for name, content in expected.items():
        if before.get(name) != content:
            (directory / name).unlink()
    with farm.ending(*ends.split()) if ends else nullcontext():
        distributed = farm.run(ZCC, compiler, *arguments, cwd=directory, strict=not ends, **extra)
    assert distributed.returncode == plain.returncode, distributed.stderr
    assert distributed.stderr == plain.stderr
    assert distributed.stdout == plain.stdout
    assert written(directory) == expected
    return plain, distributed


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hold_slots(farm: Farm, environment: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """Preprocessors that read from a pipe for ever, one for each local slot."""
    status = control.ask(environment["ZCC_SOCKET"], {"op": "status"})
    assert status is not None
    command = [ZCC, "gcc", "-E", "-"]
    limit = status["slots"]["limit"]
    holders = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(limit)
    ]

    def all_held() -> bool:
        now = control.ask(environment["ZCC_SOCKET"], {"op": "status"})
        return now is not None and now["slots"]["used"] == limit

    wait_until(all_held)
    return holders


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "a.c"),
        ("-g", "-O2", "-Wall", "-c", "a.c", "-o", "a.o", "-MD"),
        ("-g", "-S", "a.c"),
        ("-c", "a.c", "-o", "x.o", "-MMD", "-MF", "x.dep", "-MT", "target"),
        ("-g", "-gsplit-dwarf", "-c", "a.c"),
        ("-fstack-usage", "-c", "a.c", "-I", "missing"),
    ],
    ids=" ".join,
)
def test_a_remote_compile_is_the_local_one(
    farm: Farm, tmp_path: Path, family: str, arguments: tuple[str, ...]
) -> None:
    before = farm.stats()["outcomes"]["remote"]
    both_ways(farm, project(tmp_path), family, *arguments)
    assert farm.stats()["outcomes"]["remote"] == before + 1


def test_cxx_with_debug_info_is_equal_to_the_byte(farm: Farm, tmp_path: Path, family: str) -> None:
    both_ways(farm, project(tmp_path), CXX[family], "-g", "-O2", "-std=c++17", "-c", "b.cc", "-MD")


def test_preprocessed_text_and_assembly_are_compiled_remotely(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """Sources that no compiler tells a search list for."""
    directory = project(tmp_path)
    subprocess.run([family, "-E", "a.c", "-o", "pre.i"], cwd=directory, check=True)
    (directory / "inc" / "more.s").write_text(".globl more\nmore: nop\n")
    (directory / "f.s").write_text('.include "more.s"\n.globl f\nf: nop\n')
    before = farm.stats()["outcomes"]["remote"]
    for source in ("pre.i", "f.s"):
        both_ways(farm, directory, family, "-g", "-Iinc", "-c", source, "-o", "x.o")
    assert farm.stats()["outcomes"]["remote"] == before + 2


def test_an_error_is_the_compilers_own(farm: Farm, tmp_path: Path, family: str) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return undeclared; }\n")
    plain, _ = both_ways(farm, tmp_path, family, "-c", "bad.c")
    assert plain.returncode == 1


def test_a_source_that_is_mended_between_two_runs_is_no_fault_of_the_farms(
    farm: Farm, tmp_path: Path
) -> None:
    """It fails there and succeeds here, but the two have not read the same."""
    source = tmp_path / "a.c"
    source.write_text("#include <stdlib.h>\nint f(void) { return undeclared; }\n")
    before = farm.stats()
    environment = {**farm.local.environment, "PATH": os.environ["PATH"]}
    # The farm gives its verdict while the only local slots are held.
    holders = hold_slots(farm, environment)
    launcher = subprocess.Popen([ZCC, "gcc", "-c", "a.c"], cwd=tmp_path, env=environment)
    errors = before["local_reasons"].get("compile-error", 0)
    wait_until(lambda: farm.stats()["local_reasons"].get("compile-error", 0) > errors)
    source.write_text("int f(void) { return 0; }\n")
    for holder in holders:
        holder.communicate()  # the end of its input ends it
    assert launcher.wait(60) == 0
    both_ways(farm, project(tmp_path / "next"), "gcc", "-c", "a.c")  # the end has been heard of
    assert farm.stats()["discrepancies"] == before["discrepancies"]


@pytest.mark.parametrize("name", ["with space", "quote'\"", "dollar$x", "comma,hash#"])
def test_odd_names_travel(farm: Farm, tmp_path: Path, family: str, name: str) -> None:
    directory = project(tmp_path / name)
    both_ways(farm, directory, family, "-g", "-c", "a.c", "-MD")


def test_a_name_that_is_not_utf8_travels(farm: Farm, tmp_path: Path, family: str) -> None:
    directory = project(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    both_ways(farm, directory, family, "-g", "-c", "a.c")


@pytest.mark.parametrize("place", ["/run", "/dev/shm", "/usr/src", "/usr/local", "/var/tmp"])
def test_a_project_where_the_sandbox_has_its_own_mounts_is_seen(
    farm: Farm, family: str, place: str
) -> None:
    if not os.access(place, os.W_OK):
        pytest.skip(f"{place} is not ours to write to")
    with tempfile.TemporaryDirectory(dir=place, prefix="zcc-e2e-") as directory:
        both_ways(farm, project(Path(directory)), family, "-g", "-c", "a.c", "-MD")


def test_a_header_that_changes_is_noticed(farm: Farm, tmp_path: Path, family: str) -> None:
    directory = project(tmp_path)
    for value in ("1", "2", "3"):
        (directory / "inc" / "own.h").write_text(f"#define VALUE {value}\n")
        both_ways(farm, directory, family, "-c", "a.c")
        (directory / "a.o").unlink()


def test_a_header_that_appears_earlier_in_the_path_is_noticed(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "h.h").write_text("#define H 2\n")
    (tmp_path / "a.c").write_text("#include <h.h>\nint h = H;\n")
    for _ in range(2):
        both_ways(farm, tmp_path, family, "-Ione", "-Itwo", "-c", "a.c")
        (tmp_path / "a.o").unlink()
        (tmp_path / "one" / "h.h").write_text("#define H 1\n")


def test_a_header_that_goes_is_not_found_there(farm: Farm, tmp_path: Path, family: str) -> None:
    """Though the node's input tree held it for the compile before."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "h.h").write_text(f"int {name};\n")
    (tmp_path / "a.c").write_text("#include <h.h>\n")
    failures = farm.stats()["proof_failures"]
    both_ways(farm, tmp_path, family, "-Ione", "-Itwo", "-c", "a.c")
    (tmp_path / "a.o").unlink()
    (tmp_path / "one" / "h.h").unlink()
    both_ways(farm, tmp_path, family, "-Ione", "-Itwo", "-c", "a.c")
    assert farm.stats()["proof_failures"] == failures


def test_a_missing_search_directory_is_missing_there_too(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """And the directories on the way to it, which are here, are there."""
    directory = project(tmp_path)
    (directory / "out" / "include").mkdir(parents=True)
    both_ways(farm, directory, family, f"-I{directory}/out/include/gone/too", "-c", "a.c")


def test_a_hidden_has_include_is_caught_by_the_proof(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """The scanner cannot see that x.h is asked for; the sandbox has none; the object would differ."""
    (tmp_path / "x.h").write_text("")
    source = (
        "#define CAT(a, b) a##b\n#if CAT(__has_, include)(<x.h>)\nint a;\n#else\nint b;\n#endif\n"
    )
    (tmp_path / "a.c").write_text(source)
    failures = farm.stats()["proof_failures"]
    both_ways(farm, tmp_path, family, "-I.", "-c", "a.c", ends="proof")
    assert farm.stats()["proof_failures"] == failures + 1


def test_computed_includes_are_found_by_the_scanner(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """An iteration as Boost.Preprocessor does it, over a file that includes itself."""
    (tmp_path / "x.h").write_text(
        "#ifndef ITERATE\n#define ITERATE\n#define CAT(a, b) CAT_(a, b)\n#define CAT_(a, b) a ## b\n"
        '#define FILE_1 "x.h"\n#define DEPTH 1\n#include CAT(FILE_, DEPTH)\n#else\nint x;\n#endif\n'
    )
    source = "#define STR(x) STR_(x)\n#define STR_(x) #x\n#define NAME x\n#include STR(NAME.h)\n"
    (tmp_path / "a.c").write_text(source)
    before = farm.stats()["ways"]["listed"]
    both_ways(farm, tmp_path, family, "-I.", "-c", "a.c")
    assert farm.stats()["ways"]["listed"] == before


def test_a_computed_include_is_listed(farm: Farm, tmp_path: Path, family: str) -> None:
    (tmp_path / "x.h").write_text("int x;\n")
    # The name comes in pieces.
    (tmp_path / "a.c").write_text("#define OPEN <x\n#include OPEN.h>\n")
    before = farm.stats()
    both_ways(farm, tmp_path, family, "-I.", "-c", "a.c")
    after = farm.stats()
    assert after["ways"]["listed"] == before["ways"]["listed"] + 1
    causes = before["listed_reasons"], after["listed_reasons"]
    assert causes[1]["computed-include"] == causes[0].get("computed-include", 0) + 1
    told = farm.run(str(BIN / "zcc"), "explain", family, "-I.", "-c", "a.c", cwd=tmp_path)
    assert b"listed, for computed-include (OPEN): a farm can run it" in told.stdout


def test_a_command_of_several_sources_is_explained_as_what_it_becomes(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text(f"int {name[0]};\n")
    command = (str(BIN / "zcc"), "explain", "--json", family, "-c")
    told = json.loads(farm.run(*command, "a.c", "b.c", cwd=tmp_path).stdout)
    assert told["way"] == "several"
    assert [job["outputs"] for job in told["jobs"]] == [
        [str(tmp_path / "a.o")],
        [str(tmp_path / "b.o")],
    ]
    assert json.loads(farm.run(*command, "a.c", cwd=tmp_path).stdout)["way"] == "scanned"


@pytest.mark.parametrize(
    ("words", "compiler"),
    [
        (("zcc", "gcc", "-c", "a.c"), "gcc"),
        (("zcc++", str(BIN / "zcc"), "gcc", "-c", "a.c"), "gcc"),
        (("a.c", "-c"), "cc"),
        (("zcc", "-c", "a.c"), "cc"),
        (("zcc++", "-c", "a.c"), "c++"),
    ],
    ids=str,
)
def test_the_words_of_explain_mean_what_they_mean_behind_zcc(
    farm: Farm, tmp_path: Path, words: tuple[str, ...], compiler: str
) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    told = json.loads(farm.run(str(BIN / "zcc"), "explain", "--json", *words, cwd=tmp_path).stdout)
    assert told["way"] == "scanned"
    assert told["compiler"] == shutil.which(compiler)


def test_links_and_preprocessing_pass_through(farm: Farm, tmp_path: Path, family: str) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    both_ways(farm, tmp_path, family, "a.c", "-o", "a.out")
    (tmp_path / "a.out").unlink()
    both_ways(farm, tmp_path, family, "-E", "a.c")


def test_time_macros_stay_here(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("const char *t = __DATE__;\n")
    before = farm.stats()["local_reasons"].get("time-macro", 0)
    both_ways(farm, tmp_path, "gcc", "-c", "a.c", ends="time-macro")
    assert farm.stats()["local_reasons"]["time-macro"] == before + 1


def test_redacted_times_compile_remotely(farm: Farm, tmp_path: Path, family: str) -> None:
    """As Bazel and Chromium have it on each command line."""
    (tmp_path / "a.c").write_text(
        "#define NOW __DATE__ __TIME__\nconst char *t = NOW __TIMESTAMP__;\n"
    )
    redacted = [f'-D__{name}__="redacted"' for name in ("DATE", "TIMESTAMP", "TIME")]
    both_ways(farm, tmp_path, family, "-Wno-builtin-macro-redefined", *redacted, "-c", "a.c")
    empty = ["-D__DATE__=", "-D__TIME__=", "-D__TIMESTAMP__=", '-DNAME="a" __DATE__']
    (tmp_path / "b.c").write_text('const char *t = NAME __TIME__ "b" __TIMESTAMP__;\n')
    both_ways(farm, tmp_path, family, *empty, "-c", "b.c")


def test_a_driver_that_follows_no_links_compiles_remotely(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """Debian's clang is a link into another directory; Chromium and Android call theirs so."""
    (tmp_path / "a.c").write_text("#include <stddef.h>\nsize_t a;\n")
    (tmp_path / "b.c").write_text("int b;\n")
    for name in ("a.c", "b.c"):
        both_ways(farm, tmp_path, family, "-no-canonical-prefixes", "-c", name)


@pytest.mark.parametrize(
    "spelled", ["--sysroot=root", "--sysroot={top}/root", "--gcc-toolchain={top}/root/usr"]
)
def test_a_sysroot_compiles_remotely(farm: Farm, tmp_path: Path, family: str, spelled: str) -> None:
    """The drivers look for libraries and gcc installations in it, also where they do not link."""
    if family == "gcc" and "toolchain" in spelled:
        pytest.skip("an option of clang's")
    gcc = tmp_path / "root" / "usr" / "lib" / "gcc" / "x86_64-linux-gnu"
    for version in ("11", "12"):
        (gcc / version / "include").mkdir(parents=True)
        (gcc / version / "crtbegin.o").touch()
    (tmp_path / "root" / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    (tmp_path / "root" / "usr" / "include").mkdir()
    (tmp_path / "root" / "usr" / "include" / "own.h").write_text("int own;\n")
    (tmp_path / "a.c").write_text("#include <own.h>\n")
    words = [spelled.format(top=tmp_path), "-c", "a.c"]
    both_ways(
        farm, tmp_path, family, *words, *(["-Iroot/usr/include"] if "toolchain" in spelled else [])
    )


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        ("include/c++/v1", ["-stdlib=libc++"]),
        ("sysroot/usr/include/c++/v1", ["--target=aarch64-linux-android21"]),
        (
            "sysroot/usr/include/c++/v1",
            ["--target=aarch64-none-linux-android21", "-no-canonical-prefixes"],
        ),
    ],
)
def test_a_clang_that_has_its_own_installation(
    farm: Farm, tmp_path: Path, headers: str, options: list[str]
) -> None:
    """As LLVM's releases and Android's kit lie: libc++ or a sysroot beside the compiler, which lists both."""
    driver = Path(os.path.realpath(needs("clang")))
    tools = tmp_path / "tools"
    for name in ("bin", "lib", headers, "sysroot/usr/lib/aarch64-linux-android/21"):
        (tools / name).mkdir(parents=True)
    shutil.copy(driver, tools / "bin" / "clang-own")
    (tools / "bin" / "clang++").symlink_to("clang-own")
    (tools / "lib" / "clang").symlink_to(driver.parent.parent / "lib" / "clang")
    (tools / headers / "vector").write_text("#define VECTOR 1\n")
    (tools / headers).parent.parent.joinpath("api.h").write_text("int api;\n")
    (tmp_path / "a.cc").write_text("#include <vector>\nint a = VECTOR;\n")
    both_ways(farm, tmp_path, str(tools / "bin" / "clang++"), *options, "-c", "a.cc")


CROSS = """
arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb --specs=nano.specs -fstack-usage -c a.c
avr-gcc -mmcu=atmega328p -Os -c a.c
x86_64-w64-mingw32-gcc -O2 -c a.c
"""


@pytest.mark.parametrize("command", CROSS.strip().splitlines())
def test_a_cross_compiler_has_its_own_ways(farm: Farm, tmp_path: Path, command: str) -> None:
    """Dozens of multilibs, specs by the processor, an assembler of a fixed name."""
    words = command.split()
    needs(words[0])
    (tmp_path / "a.c").write_text(
        "#include <string.h>\nint f(const char *a) { return strlen(a); }\n"
    )
    both_ways(farm, tmp_path, *words)


def test_strict_mode_names_the_reason(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("const char *t = __DATE__;\n")
    done = farm.run(ZCC, "gcc", "-c", "a.c", cwd=tmp_path)
    assert done.returncode == 1
    assert b"time-macro" in done.stderr


def test_zcc_disable_runs_the_compiler(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;\n")
    before = farm.stats()["calls"]
    done = farm.run(ZCC, "gcc", "-c", "a.c", cwd=tmp_path, ZCC_DISABLE="1")
    assert done.returncode == 0
    assert farm.stats()["calls"] == before


def test_one_job_at_a_time_for_one_key(farm: Farm, tmp_path: Path) -> None:
    """Twelve launchers of one command at once: all get the object, and it is one."""
    directory = project(tmp_path)
    environment = {**farm.local.environment, "ZCC_FALLBACK": "never"}
    command = [ZCC, "g++", "-O2", "-c", "b.cc"]
    launchers = [subprocess.Popen(command, cwd=directory, env=environment) for _ in range(12)]
    assert [launcher.wait(100) for launcher in launchers] == [0] * 12


def test_interrupting_a_launcher_leaves_nothing(farm: Farm, tmp_path: Path) -> None:
    directory = project(tmp_path)
    environment = {**farm.local.environment}
    command = [ZCC, "g++", "-O3", "-c", "b.cc"]
    launcher = subprocess.Popen(command, cwd=directory, env=environment)
    time.sleep(0.05)  # wherever it is now, the outcome must be the same
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(20) in (-signal.SIGINT, 0)
    left = [path.name for path in directory.iterdir() if path.name not in ("a.c", "b.cc", "inc")]
    assert left in ([], ["b.o"])
