"""What surrounds the command: its directory's name, PATH, variables, namespaces, where its messages go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.callers import need
from tests.e2e.conftest import BIN, Farm


def both_ways(farm: Farm, project: Path, *command: str, ends: str = "", **extra: str) -> bool:
    """Run plain and through zcc, and see that all is equal; whether the farm compiled it. `ends`: how it does,
    in the words of `Farm.ending`, if not as ZCC_FALLBACK=never lets it."""
    seen = []
    before = farm.stats()["outcomes"].get("remote", 0)
    for launcher in ((), ("zcc",)):
        with farm.ending(*ends.split()) if launcher and ends else nullcontext():
            done = farm.run(*launcher, *command, cwd=project, strict=not ends, **extra)
        output = project / "x.o"
        assert output.exists(), done.stderr
        seen.append((done.returncode, done.stdout, done.stderr, output.read_bytes()))
        output.unlink()
    assert seen[0] == seen[1]
    return bool(farm.stats()["outcomes"].get("remote", 0) > before)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "x.c").write_text("int x;\n")
    return tmp_path


def test_a_process_may_call_its_directory_its_own(farm: Farm, project: Path, family: str) -> None:
    """Bazel does."""
    own = "/proc/self/cwd"
    assert both_ways(farm, project, family, "-g", "-c", "x.c", PWD=own)
    assert farm.run("zcc", family, "-g", "-c", "x.c", cwd=project, PWD=own).returncode == 0
    assert own.encode() in (project / "x.o").read_bytes()
    both_ways(farm, project, family, "-g", "-c", "x.c", ends="proof", PWD="/proc/thread-self/cwd")


@pytest.mark.parametrize("entry", ["tools", "", "."])
def test_an_assembler_in_a_relative_directory_of_path_is_the_users(
    farm: Farm, project: Path, entry: str
) -> None:
    place = project / entry
    place.mkdir(exist_ok=True)
    path = f"{entry}:{os.environ['PATH']}"
    assert both_ways(farm, project, "gcc", "-c", "x.c", PATH=path)
    (place / "as").write_text(f'#!/bin/sh\nexec {shutil.which("as")} --defsym MARK=7 "$@"\n')
    (place / "as").chmod(0o755)
    assert not both_ways(farm, project, "gcc", "-c", "x.c", ends="environment", PATH=path)


def test_an_assembler_that_has_just_appeared_on_path_is_seen(farm: Farm, project: Path) -> None:
    place = project / "tools"
    place.mkdir()
    path = f"{place}:{os.environ['PATH']}"
    assert both_ways(farm, project, "gcc", "-c", "x.c", PATH=path)
    (place / "as").write_text(f'#!/bin/sh\nexec {shutil.which("as")} --defsym MARK=7 "$@"\n')
    (place / "as").chmod(0o755)
    both_ways(
        farm, project, "gcc", "-c", "x.c", ends="compiler-not-understood|environment", PATH=path
    )


@pytest.mark.parametrize("target", ["", "i686-linux-gnu"])
def test_an_assembler_that_clang_prefers_by_its_targets_name_is_the_users(
    remembering: Farm, project: Path, target: str
) -> None:
    need("clang")
    words = ["-no-integrated-as", "-c", "x.c", *([f"--target={target}"] if target else [])]
    place = project / "tools"
    place.mkdir()
    path = f"{place}:{os.environ['PATH']}"
    assert both_ways(remembering, project, "clang", *words, ends="remote", PATH=path)
    script = place / f"{target or 'x86_64-pc-linux-gnu'}-as"
    script.write_text('#!/bin/sh\nexec as "$@" --defsym MARK=7\n')
    script.chmod(0o755)
    both_ways(remembering, project, "clang", *words, ends="environment", PATH=path)


@pytest.mark.parametrize("text", ["/proc/self/cwd/there.h", "/sys/devices/system/cpu/online"])
def test_no_name_of_the_system_is_passed_over(
    farm: Farm, project: Path, family: str, text: str
) -> None:
    """The question is pasted, so that no scan sees it: the proof has to."""
    (project / "there.h").write_text("")
    (project / "y.c").write_text(
        f"#define P(a, b) a##b\n#if P(__has_, include)(<{text}>)\nint yes;\n#else\nint no;\n#endif\n"
    )
    both_ways(farm, project, family, "-c", "y.c", "-o", "x.o", ends="proof")


def test_data_by_way_of_the_process_itself_are_what_they_are_here(
    remembering: Farm, project: Path, family: str
) -> None:
    """Another compile brings the data to the node; the directive in pieces names them unseen."""
    whole = r'__asm__(".data\n.incbin \"data.bin\"\n");'
    pieces = r'__asm__(".data\n.inc" "bin \"/proc/self/cwd/data.bin\"\n");'
    (project / "whole.c").write_text(whole)
    (project / "pieces.c").write_text(pieces)
    for data in ("ONE", "ANOTHER"):
        (project / "data.bin").write_text(data)
        # An assembler that does not find the data says so; one that does is caught by the proof.
        for name, ends in (("whole.c", "remote"), ("pieces.c", "compile-error|proof")):
            both_ways(remembering, project, family, "-c", name, "-o", "x.o", ends=ends)


@pytest.mark.parametrize(
    ("variable", "target"),
    [
        ("INCLUDE", "x86_64-pc-windows-msvc"),
        ("EXTERNAL_INCLUDE", "x86_64-pc-windows-msvc"),
        ("XCC_C_INCLUDE_PATH", "xcore"),
    ],
)
def test_variables_of_other_systems_move_clangs_search(
    farm: Farm, project: Path, variable: str, target: str
) -> None:
    needs("clang")
    (project / "inc").mkdir()
    (project / "inc" / "v.h").write_text("#define V 7\n")
    (project / "x.c").write_text("#if __has_include(<v.h>)\n#include <v.h>\nint v = V;\n#endif\n")
    command = ("clang", "-target", target, "-S", "x.c", "-o", "x.o")
    assert both_ways(farm, project, *command)
    both_ways(farm, project, *command, **{variable: str(project / "inc")})


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["x.c", "x.cc"])
@pytest.mark.parametrize(
    "variable",
    ["C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH"],
)
def test_directories_of_another_language(
    farm: Farm, project: Path, compiler: str, name: str, variable: str
) -> None:
    """clang looks at them all, and searches those of its own language."""
    needs(compiler)
    (project / "inc").mkdir()
    (project / "inc" / "v.h").touch()
    (project / name).write_text("#if __has_include(<v.h>)\n#include <v.h>\nint v;\n#endif\n")
    for value in ("inc", "none:inc", ":inc"):
        assert both_ways(farm, project, compiler, "-c", name, "-o", "x.o", **{variable: value})


def test_gccs_prefix_may_be_another(farm: Farm, project: Path) -> None:
    compiler = subprocess.run(
        ["gcc", "-print-file-name=include"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (project / "x.c").write_text("#include <stddef.h>\n#if __has_include(<v.h>)\nint v;\n#endif\n")
    copy = project / "root" / Path(compiler).relative_to("/usr")
    shutil.copytree(compiler, copy)
    (copy / "v.h").touch()
    assert both_ways(farm, project, "gcc", "-c", "x.c")
    both_ways(farm, project, "gcc", "-c", "x.c", GCC_ROOT=str(project / "root"))


@pytest.mark.parametrize("urls", ["no", "st", "bel"])
def test_links_that_are_asked_for_look_as_the_variable_says(
    farm: Farm, project: Path, urls: str
) -> None:
    (project / "x.c").write_text("static int x;\n")
    command = ("gcc", "-Wall", "-fdiagnostics-urls=always", "-c", "x.c")
    assert both_ways(farm, project, *command, GCC_URLS=urls)


def test_what_a_mount_namespace_of_its_own_shows_a_compiler_is_what_counts(
    farm: Farm, project: Path
) -> None:
    if os.geteuid():
        pytest.skip("mount(8) is for root")
    for name, value in (("inc", 1), ("other", 2)):
        (project / name).mkdir()
        (project / name / "h.h").write_text(f"int h = {value};\n")
    (project / "x.c").write_text('#include "h.h"\n')
    command = ("gcc", "-Iinc", "-c", "x.c")
    assert both_ways(farm, project, *command)
    objects = []
    for launcher in ("", "zcc "):
        line = f"mount --bind other inc && {launcher}{' '.join(command)}"
        done = farm.run("unshare", "--mount", "sh", "-c", line, cwd=project, strict=False)
        assert done.returncode == 0
        objects.append((project / "x.o").read_bytes())
    assert objects[0] == objects[1]
    assert farm.stats()["local_reasons"]["other-namespace"] == 1


def test_a_directory_that_something_is_mounted_over_is_left_to_the_compiler(
    farm: Farm, tmp_path: Path
) -> None:
    """A shell that stood there before goes on with what is below."""
    if os.geteuid():
        pytest.skip("mount(8) is for root")
    for name in ("below", "above"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.c").write_text(f"int {name};\n")
    line = "mount --bind ../above $PWD; zcc gcc -c x.c; s=$?; umount $PWD; exit $s"
    with farm.ending("working-directory"):
        done = farm.run("sh", "-c", line, cwd=tmp_path / "below", strict=False)
    assert done.returncode == 0, done.stderr
    assert b"below" in (tmp_path / "below" / "x.o").read_bytes()
    assert not (tmp_path / "above" / "x.o").exists()


@pytest.mark.parametrize(
    ("specs", "output"),
    [("*self_spec:\n+ -MMD\n", "x.d"), ("*cc1:\n+ -aux-info aux.X\n\n", "aux.X")],
)
def test_what_configures_a_compiler_writes_nothing_while_it_is_asked(
    farm: Farm, project: Path, specs: str, output: str
) -> None:
    (project / "my.specs").write_text(specs)
    both_ways(farm, project, "gcc", "-specs=./my.specs", "-c", "x.c", ends="config-file")
    assert {path.name for path in project.iterdir()} == {"my.specs", "x.c", output}


def test_messages_of_a_given_length_are_wrapped_for_the_place_here(
    farm: Farm, project: Path, family: str
) -> None:
    (project / ".git").mkdir()
    (project / "x.c").write_text(
        "void f(int unused) { int other; }\nvoid g(void) { int unused; }\n"
    )
    words = ("-Wall", "-Wextra", "-fmessage-length=60", "-c", f"{project}/x.c", "-o", "x.o")
    both_ways(farm, project, family, *words, ends="names-neutral-place", ZCC_BASE_DIR=str(project))


def test_lambdas_of_headers_that_a_variable_names_are_called_by_their_place(
    farm: Farm, project: Path
) -> None:
    need("clang++")
    (project / ".git").mkdir()
    (project / "inc").mkdir()
    (project / "inc" / "h.h").write_text("inline auto l = [] { return 1; };\n")
    (project / "y.cc").write_text(
        "#include <h.h>\ntemplate <class T> constexpr unsigned long n() {\n"
        "  return sizeof(__PRETTY_FUNCTION__);\n}\nunsigned long w = n<decltype(l)>();\n"
    )
    words = ("clang++", "-std=c++17", "-c", "y.cc", "-o", "x.o")
    top = str(project)
    assert both_ways(farm, project, *words, CPATH=f"{top}/inc", ZCC_BASE_DIR=top)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_a_closed_stream_is_what_gcc_makes_of_it(farm: Farm, project: Path, closed: str) -> None:
    """Its pipe gets that descriptor: cc1's output then goes nowhere."""
    seen = []
    for launcher in ("", "zcc "):
        line = f"{launcher}gcc -pipe -c x.c {closed}"
        with farm.ending(*(("closed-stream",) if launcher else ())):
            done = farm.run("timeout", "20", "sh", "-c", line, cwd=project, strict=False)
        seen.append((done.returncode, done.stdout, done.stderr, (project / "x.o").exists()))
        (project / "x.o").unlink(missing_ok=True)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("stream", ["2>&-", "2</dev/null", "2>/dev/full"])
@pytest.mark.parametrize("words", ["-Wall", "-Wall -no-integrated-cpp", "-Wall -save-temps"])
def test_a_warning_that_cannot_be_written_leaves_what_the_compiler_leaves(
    farm: Farm, project: Path, words: str, stream: str
) -> None:
    """A step that comes first may end in an error then, and there is no object."""
    (project / "w.c").write_text('#import "x.h"\nstatic int unused;\n')
    (project / "x.h").write_text("")
    seen = []
    for launcher in ("", "zcc "):
        for old in project.glob("w.[ois]*"):
            old.unlink()
        line = f"{launcher}gcc {words} -c w.c {stream}"
        with farm.ending(*(("remote",) if launcher else ())):
            done = farm.run("timeout", "20", "sh", "-c", line, cwd=project, strict=False)
        left = {path.name: path.read_bytes() for path in project.glob("w.[ois]*")}
        seen.append((done.returncode, done.stdout, done.stderr, left))
    assert seen[0] == seen[1]


def test_two_streams_in_one_file_keep_their_order(farm: Farm, project: Path) -> None:
    """A listing on standard output, warnings on standard error."""
    (project / "x.c").write_text("static int x;\n")
    command = "gcc -Wall -Wa,-aln -c x.c"
    said = []
    for launcher in ("", "zcc "):
        with farm.ending(*(("mixed-streams",) if launcher else ())):
            done = farm.run("sh", "-c", f"{launcher}{command} 2>&1", cwd=project, strict=False)
        assert done.returncode == 0
        said.append(done.stdout)
    assert said[0] == said[1]
    assert b"-Wunused-variable" in said[0]
    assert both_ways(farm, project, *command.split())  # apart they have no order


def test_words_that_come_through_a_fifo_are_left_to_the_compiler(
    farm: Farm, project: Path, family: str
) -> None:
    os.mkfifo(project / "words")
    (project / "x.c").write_text("int v = V;\n")
    seen = []
    for launcher in ("", "zcc "):
        line = f"(echo -DV=3 >words) & {launcher}{family} @words -c x.c; s=$?; wait; exit $s"
        with farm.ending(*(("response-missing",) if launcher else ())):
            done = farm.run("timeout", "20", "sh", "-c", line, cwd=project, strict=False)
        made = (project / "x.o").read_bytes() if (project / "x.o").exists() else b""
        seen.append((done.returncode, done.stdout, done.stderr, made))
        (project / "x.o").unlink(missing_ok=True)
    assert seen[0] == seen[1]


def test_a_header_that_is_mounted_twice_is_one_file(farm: Farm, project: Path, family: str) -> None:
    """clang tells files by device and inode: under `#pragma once` it reads this one once."""
    if os.geteuid():
        pytest.skip("mount(8) is for root")
    for name in ("a", "b"):
        (project / name).mkdir()
    header = "#pragma once\n#ifdef SEEN\nint twice;\n#endif\n#define SEEN\n"
    (project / "a" / "h.h").write_text(header)
    (project / "x.c").write_text('#include "a/h.h"\n#include "b/h.h"\nint y;\n')
    subprocess.run(["mount", "--bind", "a", "b"], cwd=project, check=True)
    try:
        assert both_ways(farm, project, family, "-c", "x.c")
    finally:
        subprocess.run(["umount", "b"], cwd=project, check=True)


def test_a_directory_that_pwd_names_by_another_mount_is_left_to_the_compiler(
    farm: Farm, project: Path, family: str
) -> None:
    if os.geteuid():
        pytest.skip("mount(8) is for root")
    (project / "again").mkdir()
    subprocess.run(["mount", "--bind", ".", "again"], cwd=project, check=True)
    try:
        pwd = str(project / "again")
        assert not both_ways(
            farm, project, family, "-g", "-c", "x.c", ends="working-directory", PWD=pwd
        )
    finally:
        subprocess.run(["umount", "again"], cwd=project, check=True)


PASTED = {
    "three pieces": ("#define CAT(a, b, c) a##b##c\nconst char *s = CAT(__, TIME, __);\n", ()),
    "inside out": (
        "#define G(x) G_(x)\n#define G_(x) _##x##_\n#define H _TIME_\nconst char *s = G(H);\n", (),
    ),
    "on the command line": ("const char *s = Q;\n", ("-DC(a,b)=a##b", "-DQ=C(__TI,ME__)")),
}  # fmt: skip


@pytest.mark.parametrize("form", PASTED)
def test_the_time_that_no_scan_can_see_is_this_machines(
    farm: Farm, project: Path, family: str, form: str
) -> None:
    text, options = PASTED[form]
    (project / "x.c").write_text(text)
    with farm.ending("proof"):
        done = farm.run("zcc", family, *options, "-c", "x.c", cwd=project, strict=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_time_in_a_precompiled_header_is_this_machines(farm: Farm, project: Path) -> None:
    (project / "x.h").write_text("#define NOW __TIME__\n")
    (project / "x.c").write_text('#include "y.h"\nconst char *s = NOW;\n')
    made = ["gcc", "-x", "c-header", "x.h", "-o", "y.h.gch"]
    subprocess.run(made, cwd=project, check=True)
    with farm.ending("proof"):
        done = farm.run("zcc", "gcc", "-c", "x.c", cwd=project, strict=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which compilers have names of their own. One for all spellings: a compiler at another place
    is another one, and its toolchain is packed anew."""
    project = tmp_path_factory.mktemp("named")
    (project / "x.c").write_text("int x;\n")
    for name in ("bin", "s", "t/far", "t/bin"):
        (project / name).mkdir(parents=True)
    (project / "s" / "far").symlink_to("../t/far")
    for name in ("bin", "t/bin"):
        for family in ("gcc", "clang"):
            (project / name / f"my{family}").symlink_to(str(shutil.which(family)))
    return project


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("bin/../bin/{}", None), ("./bin/{}", None), ("@/s/../bin/{}", None), ("@//bin/./{}", None),
        ("@/s/far/../bin/{}", None), ("{}", "bin"), ("{}", "./bin"), ("{}", "s/../bin"),
        ("{}", "@/s/../bin"), ("{}", "@//bin/"),
    ],
)  # fmt: skip
def test_a_compiler_is_the_same_however_the_way_to_it_is_spelled(
    farm: Farm, named: Path, family: str, command: str, path: str | None
) -> None:
    words = [command.format(f"my{family}").replace("@", str(named)), "-g", "-c", "x.c"]
    extra = {}
    if path is not None:
        extra["PATH"] = f"{path.replace('@', str(named))}:{os.environ['PATH']}:{BIN}"
    assert both_ways(farm, named, *words, **extra)


@pytest.mark.parametrize("path", ["", "/none"])
def test_a_path_without_an_assembler_fails_as_it_does_without_zcc(
    farm: Farm, project: Path, path: str
) -> None:
    zcc, gcc = str(BIN / "zcc"), shutil.which("gcc")
    assert gcc is not None
    plain = farm.run(gcc, "-c", "x.c", cwd=project, PATH=path)
    with farm.ending("environment"):
        through = farm.run(zcc, gcc, "-c", "x.c", cwd=project, strict=False, PATH=path)
    assert (through.returncode, through.stderr) == (plain.returncode, plain.stderr)
    assert plain.returncode != 0
    assert not (project / "x.o").exists()


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("GNUTARGET", "elf32-i386", ("-g", "-gsplit-dwarf")),
        ("OUTPUT_CHARSET", "ISO-8859-1", ("-Wall",)),
    ],
)
def test_what_binutils_and_gettext_obey_is_obeyed(
    farm: Farm, project: Path, name: str, value: str, arguments: tuple[str, ...]
) -> None:
    command = ("gcc", *arguments, "-c", "x.c")
    assert not both_ways(farm, project, *command, ends="environment", **{name: value})


def test_what_was_to_be_written_and_is_asked_for_is_what_lies_here(
    farm: Farm, project: Path, family: str
) -> None:
    """A probe that no scan sees, for the command's own output, from the build before."""
    hidden = (
        '#define C(a, b) a##b\n#if C(__has_incl, ude)("x.o")\nint old;\n#else\nint new;\n#endif\n'
    )
    (project / "x.c").write_text(hidden)
    objects = []
    for launcher in ((), ("zcc",)):
        (project / "x.o").unlink(missing_ok=True)
        for ends in ("remote", "proof"):  # the node has no object of the build before
            with farm.ending(*((ends,) if launcher else ())):
                run = farm.run(*launcher, family, "-c", "x.c", cwd=project, strict=False)
            assert run.returncode == 0, run.stderr
            objects.append((project / "x.o").read_bytes())
    assert objects[:2] == objects[2:]
    assert objects[0] != objects[1]


def test_a_way_past_a_directory_that_is_gone_leads_nowhere(
    farm: Farm, project: Path, family: str
) -> None:
    for name in ("gone", "alt"):
        (project / name).mkdir()
    (project / "alt" / "a.h").write_text("#define A __FILE__\n")
    (project / "gone" / "b.h").write_text("int b;\n")
    (project / "x.c").write_text('#include "a.h"\nconst char *a = A;\n')
    command = (family, "-Igone/../alt", "-Ialt", "-c", "x.c")
    # Whatever a node keeps of this tree, it keeps `gone`.
    (project / "y.c").write_text('#include "gone/b.h"\n')
    assert farm.run("zcc", family, "-c", "y.c", cwd=project).returncode == 0
    assert both_ways(farm, project, *command)
    shutil.rmtree(project / "gone")
    assert both_ways(farm, project, *command)


def test_an_agent_lives_on_when_the_limits_of_its_first_caller_were_small(
    tmp_path: Path, project: Path
) -> None:
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        **{f"ZCC_{name}_DIR": str(tmp_path / name) for name in ("STATE", "CACHE", "CONFIG")},
    }

    def compiled(limit: str) -> None:
        environment["ZCC_SOCKET"] = str(tmp_path / limit.replace(" ", ""))
        line = f"{limit}; exec zcc gcc -c x.c"
        run = subprocess.run(["sh", "-c", line], cwd=project, env=environment, check=False)
        assert run.returncode == 0

    def limits() -> str | None:
        command = ["zcc", "agent", "status", "--json"]
        status = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if status.returncode:
            return None
        pid = json.loads(status.stdout)["pid"]
        text = Path(f"/proc/{pid}/limits").read_text()
        return next(line for line in text.splitlines() if line.startswith("Max open files"))

    try:
        compiled("ulimit -n 40")
        assert limits() is None  # too few: none was started
        compiled("ulimit -S -n 40")
        found = limits()
        assert found is not None
        soft, hard = found.split()[3:5]
        assert soft == hard
    finally:
        subprocess.run(["zcc", "agent", "stop"], env=environment, capture_output=True, check=False)


def test_an_output_that_is_probed_for_openly_is_no_fault_of_the_farms(
    farm: Farm, project: Path, family: str
) -> None:
    (project / "x.c").write_text('#if __has_include("x.o")\nint old;\n#else\nint new;\n#endif\n')
    before, objects = farm.stats()["discrepancies"], []
    for launcher in ((), ("zcc",)):
        (project / "x.o").write_text("from the build before")
        run = farm.run(*launcher, family, "-c", "x.c", cwd=project, strict=False)
        assert run.returncode == 0, run.stderr
        objects.append((project / "x.o").read_bytes())
    assert objects[0] == objects[1]
    assert farm.stats()["discrepancies"] == before
