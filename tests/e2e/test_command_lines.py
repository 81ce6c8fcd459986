"""Command lines and their side outputs through a farm, each held against the plain compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.conftest import BIN, Farm
from tests.e2e.test_farm import ZCC, both_ways, project


def test_a_header_that_is_gone_no_longer_hides_another(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """The node still has it, in the tree that it keeps for this client."""
    top = project(tmp_path / "p")
    for name, value in (("first", 1), ("second", 2)):
        (top / name).mkdir()
        (top / name / "which.h").write_text(f"int which = {value};\n")
    (top / "w.c").write_text("#include <which.h>\n")
    command = (family, "-Ifirst", "-Isecond", "-c", "w.c")
    both_ways(farm, top, *command)
    (top / "first" / "which.h").unlink()
    (top / "w.o").unlink()
    refused = farm.stats()["proof_failures"]
    both_ways(farm, top, *command)
    assert farm.stats()["proof_failures"] == refused


@pytest.mark.parametrize("length", [250, 255])
def test_a_name_is_as_long_as_names_can_be(length: int, farm: Farm, tmp_path: Path) -> None:
    """What the compiler looks for beside it has a name that is none."""
    long = "x" * (length - 2) + ".h"
    (tmp_path / long).write_text("int q;\n")
    source = "y" * 248 + ".c"
    (tmp_path / source).write_text(f'#include "{long}"\n')
    done = farm.run("zcc", "gcc", "-c", source, "-o", "x.o", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_that_is_too_long_for_a_sandbox_is_compiled_here(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """A node that was given it would be blamed, and after a few rest from everybody's jobs."""
    (tmp_path / "a.c").write_text("int a = X9000;\n")
    words = [f"-DX{number}=1" for number in range(9001)]
    faults = farm.stats()["local_reasons"].get("no-nodes", 0)
    both_ways(farm, tmp_path, family, *words, "-c", "a.c", ends="long-command")
    reasons = farm.stats()["local_reasons"]
    assert reasons["long-command"] >= 1
    assert reasons.get("no-nodes", 0) == faults


SIDE_OUTPUTS = {
    "gcc": (
        "-fcallgraph-info", "-fcallgraph-info=su,da", "-fstack-usage", "-save-temps",
        "-save-temps=obj", "-save-temps=cwd", "-fdump-go-spec=spec.go", "-aux-info proto.X",
        "-fdump-final-insns=out/final.gkd",
        "-pipe -Wa,-ahls=listing.lst", "-pipe -Wa,-ahls=out/listing.lst,-I,inc",
        "-gsplit-dwarf -g", "--coverage -frandom-seed=1", "-fprofile-note=x.gcno --coverage -frandom-seed=1",
        "-MD -MF out/deps.d -MT a -MQ $(b)", "-Wp,-MMD,deps.d", "-Xpreprocessor -MD -Xpreprocessor deps.d",
    ),
    "clang": (
        "--serialize-diagnostics out/d.dia", "-MJ fragment.json", "-save-temps", "-save-temps=obj",
        "-save-temps=cwd", "-foptimization-record-file=record.yaml", "-fsave-optimization-record",
        "-gsplit-dwarf -g", "--coverage", "-MD -MF out/deps.d -MT a -MQ $(b)", "-Wa,-I,inc",
        "-Xpreprocessor -Iinc",
        "-Wp,-include,inc/own.h",
    ),
}  # fmt: skip


@pytest.mark.parametrize("output", [(), ("-o", "out/a.o"), ("-oa.x.o",)])
@pytest.mark.parametrize(
    ("compiler", "words"), [(name, words) for name, all in SIDE_OUTPUTS.items() for words in all]
)
def test_side_outputs_come_back_from_a_node(
    farm: Farm, tmp_path: Path, compiler: str, words: str, output: tuple[str, ...]
) -> None:
    needs(compiler)
    top = project(tmp_path / "p")
    (top / "out").mkdir()
    both_ways(farm, top, compiler, "-O2", "-Wall", *words.split(), "-c", "a.c", *output)


SECOND = (
    "#include <string.h>\nstatic int idle(void) { return 1; }\nint third(int x) { return 3 * x; }\n"
)


def sources(directory: Path) -> Path:
    top = project(directory)
    (top / "sub").mkdir()
    (top / "sub" / "c.c").write_text(SECOND)
    (top / "e.c").write_text("int e(void) { return undeclared; }\n")
    (top / "s.s").write_text(".globl f\nf: ret\n")
    return top


@pytest.mark.parametrize(
    "words",
    [
        "-c a.c sub/c.c",
        "-O2 -g -Wall -c sub/c.c -Wextra a.c",
        "-c -Wall -MD -g -gsplit-dwarf a.c sub/c.c",
        "-S -Wall a.c sub/c.c",
        "-Wall -c -x c a.c sub/c.c -O1 -save-temps",
        "-c -Wall -- a.c sub/c.c",
    ],
)
def test_several_sources_are_compiled_as_one_command(
    farm: Farm, tmp_path: Path, family: str, words: str
) -> None:
    if "--" in words.split() and family == "gcc":
        pytest.skip("gcc has no --")
    top = sources(tmp_path / "p")
    before = farm.stats()
    both_ways(farm, top, family, *words.split())
    after = farm.stats()
    assert after["calls"] == before["calls"] + 1
    assert after["outcomes"]["remote"] == before["outcomes"]["remote"] + 1


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ("-c a.c e.c", "compile-error"),
        ("-c a.c a.c", "several-sources"),  # one output for both
        ("-c a.c sub/c.c -MD -MF deps.d", "several-sources"),
        ("-c a.c sub/c.c -o x.o", "several-sources"),  # a mistake
        ("-c a.c sub/c.c none.c", "missing-source"),
        ("-c -Wall a.c s.s", "remote"),  # of which clang says what it does not use
        ("-c a.c sub/c.c l.a", "linker-input"),
        ("-c a.c sub/c.c -fuse-ld=bfd -Llib -lfoo", "linker"),
        ("-c a.c sub/c.c -frecord-gcc-switches", "several-sources"),
        ("a.c sub/c.c -shared -fPIC -o x.so", "not-a-compile"),
    ],
)
def test_several_sources_that_hang_together_are_compiled_here_or_the_same(
    farm: Farm, tmp_path: Path, family: str, words: str, ends: str
) -> None:
    if ends == "linker":  # of its words clang's driver says something of its own
        ends = "remote" if family == "gcc" else "several-sources"
    both_ways(farm, sources(tmp_path / "p"), family, *words.split(), ends=ends)


@pytest.mark.parametrize("probe", ["a.o", "a.d"])
def test_what_one_source_leaves_may_be_what_the_next_asks_for(
    remembering: Farm, tmp_path: Path, family: str, probe: str
) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "a.c").write_text("int a;\n")
    (top / "b.c").write_text(f'#if __has_include("{probe}")\nint yes;\n#else\nint no;\n#endif\n')
    for at in range(3):
        if at == 1:
            both_ways(remembering, top, family, "-MD", "-c", "b.c", ends="remote")
        for left in (*top.glob("*.o"), *top.glob("*.d")):
            left.unlink()
        both_ways(remembering, top, family, "-MD", "-c", "a.c", "b.c", ends="several-sources")


def test_what_is_remembered_of_several_sources_is_not_compiled_again(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    top = sources(tmp_path / "p")
    both_ways(farm, top, family, "-Wall", "-c", "a.c", "sub/c.c", ZCC_CACHE="on")
    for name in ("a.o", "c.o"):
        (top / name).unlink()
    (top / "sub" / "c.c").write_text(SECOND.replace("3 *", "4 *"))
    both_ways(farm, top, family, "-Wall", "-c", "a.c", "sub/c.c", ZCC_CACHE="on")
    for name in ("a.o", "c.o"):
        (top / name).unlink()
    before = farm.stats()["outcomes"]["local_hit"]
    both_ways(farm, top, family, "-Wall", "-c", "a.c", "sub/c.c", ZCC_CACHE="on")
    assert farm.stats()["outcomes"]["local_hit"] == before + 1


@pytest.mark.parametrize(
    "words",
    ["-g -P -c t.S", "-g -c t.S", "-g -Wall -c a.c", "-c a.c -Wa,-g", "-c a.c -Wa,-ahlg=l.lst"],
)
def test_no_object_names_a_directory_of_the_node(
    farm: Farm, tmp_path: Path, family: str, words: str
) -> None:
    """What the assembler calls a source without line markers is the driver's temporary file."""
    top = project(tmp_path / "p")
    (top / "t.S").write_text(".long 1\n")
    command = [family, *words.split()]
    subprocess.run(command, cwd=top, check=False)
    written = sorted(path.name for path in top.glob("*.[ol]*"))
    assert farm.run(ZCC, *command, cwd=top, strict=False).returncode in (0, 1)
    assert sorted(path.name for path in top.glob("*.[ol]*")) == written
    assert not [name for name in written if b"/.zcc" in (top / name).read_bytes()]


def test_options_that_the_table_does_not_know_are_counted_by_name(
    farm: Farm, tmp_path: Path
) -> None:
    top = project(tmp_path / "p")
    before = farm.stats()["unknown_options"]
    both_ways(farm, top, "gcc", "-c", "a.c", "-qnew", ends="compiler-not-understood")
    both_ways(farm, top, "gcc", "-c", "a.c", "-fnew-file=x", ends="unknown-option")
    counted = farm.stats()["unknown_options"]
    for name in ("-qnew", "-fnew-file"):
        assert counted[name] == before.get(name, 0) + 1
    shown = farm.run(str(BIN / "zcc"), "stats", cwd=Path("/")).stdout.decode()
    assert "-qnew" in shown


def test_a_failure_without_a_file_that_is_here_is_no_verdict(farm: Farm, tmp_path: Path) -> None:
    """gcc opens y.h, sees that it is x.h over again and forgets it: no list of what it read names y.h."""
    for name in ("x.h", "y.h"):
        (tmp_path / name).write_text("#pragma once\nint x;\n")
        os.utime(tmp_path / name, (1_600_000_000, 1_600_000_000))
    computed = "#define CAT(a, b) a ## b\n#define H(n) <n.h>\n#include H(CAT(y, ))\n"
    (tmp_path / "a.c").write_text('#include "x.h"\n' + computed)
    before = farm.stats()
    both_ways(farm, tmp_path, "gcc", "-I.", "-c", "a.c", ends="remote")
    after = farm.stats()
    assert after["discrepancies"] == before["discrepancies"]
    assert after["local_reasons"].get("compile-error", 0) == before["local_reasons"].get(
        "compile-error", 0
    )


def test_headers_that_are_one_file_are_one_file_on_the_node(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """clang's `#pragma once` tells files apart by inode."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a.h").write_text("#pragma once\nint a;\n")
    os.link(tmp_path / "one" / "a.h", tmp_path / "two" / "b.h")
    (tmp_path / "h.c").write_text("#include <a.h>\n#include <b.h>\n")
    both_ways(farm, tmp_path, family, "-Ione", "-Itwo", "-MD", "-c", "h.c")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="native is remote on x86-64 only")
@pytest.mark.parametrize("words", ["-march=native", "-mtune=native", "-march=native -flto"])
def test_native_is_what_it_is_here_on_a_node_with_the_same_processor(
    farm: Farm, tmp_path: Path, family: str, words: str
) -> None:
    top = project(tmp_path / "p")
    # gcc names sections for -flto by a random number, or by the seed.
    both_ways(farm, top, family, *words.split(), "-O3", "-g", "-c", "a.c", "-frandom-seed=1")


@pytest.mark.parametrize("option", ["-ffast-math", "-Ofast"])
def test_fast_mathematics_are_the_same_on_a_node(
    farm: Farm, tmp_path: Path, family: str, option: str
) -> None:
    """clang's code depends on a file of the toolchain's that no compile reads."""
    (tmp_path / "a.c").write_text("double half(double x) { return x / 2; }\n")
    failures = farm.stats()["proof_failures"]
    both_ways(farm, tmp_path, family, option, "-c", "a.c")
    assert farm.stats()["proof_failures"] == failures


@pytest.mark.needs("clang")
@pytest.mark.parametrize("output", [(), ("-o", "out/a.o")])
@pytest.mark.parametrize("option", ["-ftime-trace", "-ftime-trace=trace.json", "-ftime-trace=out/"])
def test_a_time_trace_lies_where_the_compiler_puts_it(
    farm: Farm, tmp_path: Path, option: str, output: tuple[str, ...]
) -> None:
    """Its content are times; that it is a trace of this compile is all that can be compared."""
    top = project(tmp_path / "p")
    (top / "out").mkdir()
    command = ("clang", option, "-c", "a.c", *output)
    plain = subprocess.run(command, cwd=top, check=False, capture_output=True)
    expected = sorted(top.rglob("*"))
    for path in [*top.rglob("*.o"), *top.rglob("*.json")]:
        path.unlink()
    found = farm.run(ZCC, *command, cwd=top)
    assert (found.returncode, found.stderr) == (plain.returncode, plain.stderr)
    assert sorted(top.rglob("*")) == expected
    assert all("traceEvents" in json.loads(path.read_bytes()) for path in top.rglob("*.json"))


CLANGS = [name for n in range(14, 30) if shutil.which(name := f"clang-{n}")]


@pytest.mark.skipif(not CLANGS, reason="no clang with a version in its name is installed")
@pytest.mark.parametrize("compiler", CLANGS)
def test_every_release_of_clang_compiles_both_languages_on_a_node(
    farm: Farm, tmp_path: Path, compiler: str
) -> None:
    top = project(tmp_path / "p")
    before = farm.stats()["outcomes"]["remote"]
    both_ways(farm, top, compiler, "-g", "-c", "a.c", "-MD")
    both_ways(farm, top, compiler, "-g", "-c", "b.cc", "-MD")
    assert farm.stats()["outcomes"]["remote"] == before + 2


def with_library_path(top: Path, value: str, *command: str) -> tuple[int, bytes, dict[str, bytes]]:
    done = subprocess.run(
        command,
        cwd=top,
        env={**os.environ, "LIBRARY_PATH": value},
        capture_output=True,
        check=False,
    )
    objects = {path.name: path.read_bytes() for path in top.glob("*.o")}
    for name in objects:
        (top / name).unlink()
    return done.returncode, done.stderr, objects


@pytest.mark.parametrize("value", ["lib", "lib:/usr/lib:none:/usr/local/lib", ":lib", "sub/lib/"])
def test_a_library_path_keeps_no_compile_here(
    farm: Farm, tmp_path: Path, family: str, value: str
) -> None:
    """Module systems of clusters set it for every build; a compile only looks there for `specs`."""
    top = project(tmp_path / "p")
    for name in ("lib", "lib64", "sub/lib", "sub/lib/x86_64-linux-gnu/12"):
        (top / name).mkdir(parents=True, exist_ok=True)
    expected = with_library_path(top, value, family, "-g", "-c", "a.c")
    found = farm.run(ZCC, family, "-g", "-c", "a.c", cwd=top, LIBRARY_PATH=value)
    assert (found.returncode, found.stderr) == expected[:2]
    assert (top / "a.o").read_bytes() == expected[2]["a.o"]


def test_specs_in_a_library_path_count(farm: Farm, tmp_path: Path) -> None:
    top = project(tmp_path / "p")
    (top / "lib").mkdir()
    (top / "lib" / "specs").write_text("*cc1:\n+ -DVALUE=5 -w\n\n")
    (top / "v.c").write_text("int value = VALUE;\n")
    expected = with_library_path(top, "lib", "gcc", "-c", "v.c")
    assert expected[0] == 0
    found = farm.run(ZCC, "gcc", "-c", "v.c", cwd=top, strict=False, LIBRARY_PATH="lib")
    assert (found.returncode, found.stderr) == expected[:2]
    assert (top / "v.o").read_bytes() == expected[2]["v.o"]


def test_a_loader_path_without_the_compilers_libraries_keeps_no_compile_here(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    top = project(tmp_path / "p")
    (top / "lib").mkdir()
    (top / "lib" / "libown.so").write_text("not the compiler's")
    both_ways(farm, top, family, "-g", "-c", "a.c", LD_LIBRARY_PATH=f"{top}/lib:{top}/none:")


@pytest.mark.parametrize("shadow", ["libz.so.1", "glibc-hwcaps/x86-64-v3/libz.so.1"])
def test_a_loader_path_with_one_of_them_does(
    farm: Farm, tmp_path: Path, family: str, shadow: str
) -> None:
    top = project(tmp_path / "p")
    both_ways(farm, top, family, "-c", "a.c", LD_LIBRARY_PATH=f"{top}/lib")
    library = top / "lib" / shadow
    library.parent.mkdir(parents=True)
    real = subprocess.run(
        ["gcc", "-print-file-name=libz.so.1"], capture_output=True, text=True, check=True
    )
    library.write_bytes(Path(real.stdout.strip()).read_bytes())
    (top / "a.o").unlink()
    refused = farm.run(ZCC, family, "-c", "a.c", cwd=top, LD_LIBRARY_PATH=f"{top}/lib")
    assert refused.returncode == 1
    assert b"LD_LIBRARY_PATH" in refused.stderr
    path = f"{top}/lib"
    with farm.ending("environment"):
        done = farm.run(ZCC, family, "-c", "a.c", cwd=top, strict=False, LD_LIBRARY_PATH=path)
    assert done.returncode == 0
