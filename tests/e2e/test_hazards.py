"""What a scanner of includes can get wrong in silence: each against the plain compiler, in the same place."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.callers import need
from tests.e2e.conftest import Farm
from tests.e2e.test_farm import CXX, ZCC, both_ways

OTHER = b"#define V 2\n"
FOUND = '#if {probe}\n#include "x.h"\n#else\n#define V 1\n#endif\nint v = V;\n'


def put(directory: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def check(farm: Farm, directory: Path, *command: str, ends: str = "") -> None:
    """Compile both ways, twice: what is remembered must not be taken for what is."""
    before = farm.stats()["discrepancies"]
    for _ in range(2):
        both_ways(farm, directory, *command, ends=ends)
        for left in directory.glob("*.o"):
            left.unlink()
    assert farm.stats()["discrepancies"] == before


# ---- __has_include, in every form ----------------------------------------------------------------

PROBES = {
    "quoted": '__has_include("x.h")',
    "angled": "__has_include(<x.h>)",
    "with blanks": '__has_include ( "x.h" )',
    "with a comment": '__has_include /* here */ ("x.h")',
    "over two lines": '__has_include \\\n ("x.h")',
    "of what is not there": '!__has_include("no.h") && __has_include("x.h")',
    "of a directory": '!__has_include("dir") && __has_include("x.h")',
    "next": "__has_include_next(<x.h>) || 1",
}
HIDDEN = {
    "a macro for the name": ('#define H "x.h"\n', "__has_include(H)"),
    "a macro for all": ("#define HAS(x) __has_include(x)\n", 'HAS("x.h")'),
    "an alias": ("#define HAS __has_include\n", 'HAS("x.h")'),
    "from the command line": ("", "__has_include(CONFIG)"),
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
@pytest.mark.parametrize("is_there", [True, False])
def test_has_include(farm: Farm, tmp_path: Path, family: str, probe: str, is_there: bool) -> None:
    put(tmp_path, {"a.c": FOUND.format(probe=probe), "dir/keep": ""})
    if is_there:
        put(tmp_path, {"x.h": OTHER})
    elif "1" in probe:
        pytest.skip("it includes the header whatever the probe says")
    check(farm, tmp_path, family, "-I.", "-c", "a.c")


@pytest.mark.parametrize(("before", "probe"), HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("is_there", [True, False])
def test_has_include_behind_a_macro(
    farm: Farm, tmp_path: Path, family: str, before: str, probe: str, is_there: bool
) -> None:
    """`x.h` is named nowhere else; the scanner follows the macros."""
    text = f"{before}#if {probe}\nint yes;\n#else\nint no;\n#endif\n"
    put(tmp_path, {"a.c": text} | ({"x.h": OTHER} if is_there else {}))
    check(farm, tmp_path, family, '-DCONFIG="x.h"', "-I.", "-c", "a.c")


@pytest.mark.parametrize("device", ["random", "zero", "null", "urandom", "full"])
def test_a_device_is_found_there_as_here(
    farm: Farm, tmp_path: Path, family: str, device: str
) -> None:
    """Or the compile is done here: the scanner does not see the probe, and a sandbox has two devices only."""
    probe = f'CAT(__has_,include)("/dev/{device}")'
    text = f"#define CAT2(a,b) a##b\n#define CAT(a,b) CAT2(a,b)\n#if {probe}\nint yes;\n#endif\n"
    put(tmp_path, {"a.c": text})
    ends = "" if device in ("null", "urandom") else "proof"
    check(farm, tmp_path, family, "-c", "a.c", ends=ends)


def test_a_header_that_comes_and_goes_is_probed_again(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    put(tmp_path, {"a.c": FOUND.format(probe='__has_include("x.h")')})
    for step in range(4):
        if step % 2:
            put(tmp_path, {"x.h": OTHER})
        else:
            (tmp_path / "x.h").unlink(missing_ok=True)
        check(farm, tmp_path, family, "-c", "a.c")


# ---- directives in disguise ----------------------------------------------------------------------

DISGUISES: dict[str, bytes] = {
    "a mark of the byte order": b'\xef\xbb\xbf#include "x.h"\n',
    "a comment before": b'/* a */ /* b */ # /* c */ include /* d */ "x.h"\n',
    "a spliced word": b'#inc\\\nlude "x.h"\n',
    "a spliced name": b'#include "x\\\n.h"\n',
    "blanks behind the splice": b'#include \\ \n"x.h"\n',
    "a digraph": b'%:include "x.h"\n',
    "a form feed": b'\f#\finclude\f"x.h"\n',
    "a vertical tab": b'\v#\vinclude\v"x.h"\n',
    "lines that end as in Windows": b'#include "x.h"\r\n',
    "no end of line": b'int w = 1;\n#include "x.h"',
    "a comment that begins in a string": b'char *s = "/*";\n#include "x.h"\n/* */\n',
    "import": b'#import "x.h"\n',
}


@pytest.mark.parametrize("text", DISGUISES.values(), ids=DISGUISES)
def test_an_include_in_disguise(farm: Farm, tmp_path: Path, family: str, text: bytes) -> None:
    put(tmp_path, {"a.c": text + (b"" if text.endswith(b'"') else b"int v = V;\n"), "x.h": OTHER})
    check(farm, tmp_path, family, "-c", "a.c")


@pytest.mark.parametrize("standard", ["-std=c99", "-std=gnu99", "-trigraphs"])
def test_an_include_in_trigraphs(farm: Farm, tmp_path: Path, family: str, standard: str) -> None:
    put(tmp_path, {"a.c": '??=include "x.h"\nint v = V;\n', "x.h": OTHER})
    plain = subprocess.run(
        [family, standard, "-c", "a.c"], cwd=tmp_path, capture_output=True, check=False
    )
    (tmp_path / "a.o").unlink(missing_ok=True)
    ends = "remote" if plain.returncode == 0 else "compile-error"
    check(farm, tmp_path, family, standard, "-c", "a.c", ends=ends)


# ---- which file is which -------------------------------------------------------------------------


@pytest.mark.parametrize("same_time", [True, False])
@pytest.mark.parametrize("copy", ["copy", "hard link", "symlink"])
def test_pragma_once_in_equal_files(
    farm: Farm, tmp_path: Path, family: str, copy: str, same_time: bool
) -> None:
    """gcc compares time, size and text, clang the inode."""
    text = "#pragma once\nCOUNT\n"
    put(tmp_path, {"one/h.h": text, "two/keep": ""})
    second = tmp_path / "two" / "h.h"
    if copy == "copy":
        second.write_text(text)
    elif copy == "hard link":
        second.hardlink_to(tmp_path / "one" / "h.h")
    else:
        second.symlink_to("../one/h.h")
    os.utime(tmp_path / "one" / "h.h", (1_600_000_000, 1_600_000_000))
    if copy == "copy":
        os.utime(second, (1_600_000_000 + (0 if same_time else 5),) * 2)
    first = '#define COUNT int f(void);\n#include "one/h.h"\n#undef COUNT\n'
    put(tmp_path, {"a.c": first + '#define COUNT int twice;\n#include "two/h.h"\n'})
    check(farm, tmp_path, family, "-g", "-c", "a.c")


def test_include_next_in_every_place(farm: Farm, tmp_path: Path, family: str) -> None:
    next_one = "#define {0} 1\n#include_next <h.h>\n"
    put(
        tmp_path,
        {
            "h.h": next_one.format("BESIDE"),
            "one/h.h": next_one.format("ONE"),
            "two/h.h": "#define TWO 1\n",
            "a.c": '#include "h.h"\nint v = BESIDE + ONE + TWO;\n',
        },
    )
    check(farm, tmp_path, family, "-Ione", "-Itwo", "-c", "a.c")


def test_names_that_differ_in_case_alone(farm: Farm, tmp_path: Path, family: str) -> None:
    put(tmp_path, {"Foo.h": "int upper;\n", "foo.h": "int lower;\n"})
    for name in ("Foo.h", "foo.h"):
        put(tmp_path, {"a.c": f'#include "{name}"\n'})
        check(farm, tmp_path, family, "-g", "-MD", "-c", "a.c")


def test_a_tree_of_symlinks(farm: Farm, tmp_path: Path, family: str) -> None:
    """As Bazel and Nix make them; `..` behind a link goes where the kernel goes."""
    put(
        tmp_path,
        {
            "store/abc/lib/inner.h": '#include "../up.h"\n#include <side.h>\n',
            "store/abc/up.h": "int of_the_store;\n",
            "tree/up.h": "int of_the_tree;\n",
            "store/def/side.h": "int side;\n",
        },
    )
    (tmp_path / "tree" / "lib").symlink_to("../store/abc/lib")
    (tmp_path / "include").symlink_to(tmp_path / "store" / "def")
    (tmp_path / "dangling.h").symlink_to("nowhere")
    put(tmp_path, {"tree/a.c": '#include "lib/inner.h"\n#if 0\n#include "../dangling.h"\n#endif\n'})
    check(farm, tmp_path / "tree", family, "-g", "-MD", "-I../include/../def", "-c", "a.c")
    (tmp_path / "tree" / "lib").unlink()
    (tmp_path / "tree" / "lib").mkdir()
    put(tmp_path, {"tree/lib/inner.h": "int another;\n"})
    check(farm, tmp_path / "tree", family, "-g", "-MD", "-I../include/../def", "-c", "a.c")


def test_a_system_header_that_is_a_link_out_of_its_directory(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """As Debian 13's <asm/types.h>; gcc calls such a header by the shorter one of its two names."""
    need("clang")
    resources = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, check=True)
    installed = Path(os.path.realpath(os.fsdecode(resources.stdout).strip()))
    names = {"installed.h": installed / "include" / "stdbool.h", "own.h": tmp_path / "o" / "h.h"}
    system = tmp_path / "p" / "a" / "directory" / "of" / "a" / "longer" / "name"
    put(tmp_path, {"o/h.h": "int of_the_link;\n", "p/.git/HEAD": ""})
    system.mkdir(parents=True)
    for name, target in names.items():
        (system / name).symlink_to(target)
    search = ("-isystem", os.fspath(system))
    asked = [] if family == "clang" else ["-fcanonical-system-headers"]
    for name, ways, words in (
        ("installed.h", "scanned", []), ("own.h", "listed", []), ("own.h", "listed", asked)
    ):  # fmt: skip
        put(tmp_path, {"p/a.c": f"#include <{name}>\nint a;\n"})
        before = farm.stats()["ways"].get(ways, 0)
        check(farm, tmp_path / "p", family, *search, *words, "-g", "-MD", "-c", "a.c")
        assert farm.stats()["ways"][ways] == before + 2


def test_a_search_directory_that_is_named_twice_by_different_ways(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """clang tells of the second by the name of the first; its way has to be there too."""
    put(tmp_path, {"inc/h.h": OTHER, "src/lib/keep": "", "a.c": "#include <h.h>\nint v = V;\n"})
    before = farm.stats()["proof_failures"]
    check(farm, tmp_path, family, "-Iinc", "-Isrc/lib/../../inc", "-c", "a.c")
    assert farm.stats()["proof_failures"] == before


def test_a_directory_that_hides_a_header(farm: Farm, tmp_path: Path, family: str) -> None:
    put(tmp_path, {"one/h.h/keep": "", "two/h.h": OTHER, "a.c": "#include <h.h>\nint v = V;\n"})
    check(farm, tmp_path, family, "-Ione", "-Itwo", "-c", "a.c")


# ---- what is read without an include -------------------------------------------------------------

ASSEMBLED = {
    "a literal": '__asm__(".incbin \\"data.bin\\"");\n',
    "in capitals": '__asm__(".INCBIN \\"data.bin\\"");\n',
    "of a macro": '#define NAME "data.bin"\n__asm__(".incbin \\"" NAME "\\"");\n',
    "an include": '__asm__(".include \\"data.s\\"");\n',
}


@pytest.mark.parametrize("text", ASSEMBLED.values(), ids=ASSEMBLED)
def test_what_the_assembler_reads(farm: Farm, tmp_path: Path, family: str, text: str) -> None:
    for data in (b"one", b"two"):
        put(tmp_path, {"a.c": text, "data.bin": data, "data.s": f'.ascii "{data.decode()}"\n'})
        check(
            farm,
            tmp_path,
            family,
            "-c",
            "a.c",
            ends="assembler-input" if "NAME" in text else "remote",
        )


def test_a_directive_in_pieces_is_assembled_here_in_the_end(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """The node's assembler misses the file, and says so: no object, and none that is wrong."""
    put(tmp_path, {"a.c": '#define I ".inc"\n__asm__(I "bin \\"data.bin\\"");\n', "data.bin": "1"})
    both_ways(farm, tmp_path, family, "-c", "a.c", ends="proof")


@pytest.mark.parametrize("path", ["/dev/full", "/proc/version", "/sys/class"])
def test_a_hidden_question_about_the_system_is_answered_here(
    farm: Farm, tmp_path: Path, family: str, path: str
) -> None:
    text = f'#define C(a, b) a ## b\n#if C(__has_, include)("{path}")\nint v;\n#endif\nint w;\n'
    put(tmp_path, {"a.c": text})
    check(farm, tmp_path, family, "-c", "a.c", ends="proof")
    assert b"proof" in farm.run(ZCC, family, "-c", "a.c", cwd=tmp_path).stderr


def test_a_file_that_is_embedded(farm: Farm, tmp_path: Path, family: str) -> None:
    """By a compiler that can; by one that cannot its words are the same."""
    text = 'const unsigned char d[] = {\n#embed "data.bin"\n};\n'
    for data in (b"one", b"two"):
        put(tmp_path, {"a.c": text, "data.bin": data})
        asked = [family, "-fsyntax-only", "a.c"]
        can = subprocess.run(asked, cwd=tmp_path, capture_output=True, check=False).returncode == 0
        check(farm, tmp_path, family, "-c", "a.c", ends="remote" if can else "compile-error")


def test_line_directives_name_files_for_messages(farm: Farm, tmp_path: Path, family: str) -> None:
    text = '#line 2 "gram.y"\nint f(void) { int unused; return 0; }\n'
    put(tmp_path, {"a.c": text, "gram.y": "%%\nrule: that made it { unused }\n"})
    check(farm, tmp_path, family, "-Wall", "-g", "-c", "a.c")


# ---- the clock -----------------------------------------------------------------------------------

CLOCKS = {
    "date": "char *t = __DATE__;\n",
    "time in a header": '#include "t.h"\n',
    "timestamp": "char *t = __TIMESTAMP__;\n",
    "from the command line": "char *t = NOW;\n",
    "pasted": "#define CAT(a, b) a ## b\nchar *t = CAT(__DA, TE__);\n",
    "pasted at one remove": "#define NOW2(x) __TI ## x\nchar *t = NOW2(ME__);\n",
    "in a condition": "#ifdef __DATE__\nchar *t = __TIME__;\n#endif\n",
}


@pytest.mark.parametrize("text", CLOCKS.values(), ids=CLOCKS)
def test_the_clocks_values_are_never_taken_from_a_node(
    farm: Farm, tmp_path: Path, family: str, text: str
) -> None:
    put(tmp_path, {"a.c": text, "t.h": "char *t = __TIME__;\n"})
    before = farm.stats()
    done = farm.run(ZCC, family, "-DNOW=__TIME__", "-c", "a.c", cwd=tmp_path, strict=False)
    assert done.returncode == 0, done.stderr
    after = farm.stats()
    assert after["local_reasons"]["time-macro"] == before["local_reasons"].get("time-macro", 0) + 1
    assert after["outcomes"]["remote"] == before["outcomes"]["remote"]


def test_what_clang_names_after_an_inode_is_compiled_here(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    # The scanner sees the first; the second, put together from pieces, shows in the object.
    pieces = "#define DO(x) _Pragma(#x)\n#define WORD target\n#define OMP(x) DO(omp x)\n"
    for pragma in ("\n#pragma omp target\n", " OMP(WORD) "):
        put(tmp_path, {"a.c": pieces + "void f(int *p) {" + pragma + "{ p[0] = 1; } }\n"})
        check(farm, tmp_path, "clang", "-fopenmp", "-c", "a.c", ends="inode-name")
        done = farm.run(ZCC, "clang", "-fopenmp", "-c", "a.c", cwd=tmp_path)
        assert b"inode-name" in done.stderr
    check(farm, tmp_path, "clang", "-c", "a.c")


@pytest.mark.parametrize("command", ["gcc", "clang", "clang -fno-integrated-as"])
def test_a_directory_for_temporary_files_that_is_not_there(
    farm: Farm, tmp_path: Path, command: str
) -> None:
    """gcc takes another one; clang fails where it needs one, and would not on a node."""
    family, *words = command.split()
    need(family)
    put(tmp_path, {"a.c": "int a;\n"})
    missing = str(tmp_path / "none")
    ends = "remote" if family == "gcc" else "environment"
    both_ways(farm, tmp_path, family, *words, "-c", "a.c", ends=ends, TMPDIR=missing)


def test_a_clang_that_is_called_as_another_driver_runs_here(farm: Farm, tmp_path: Path) -> None:
    """clang-cl writes the time into its objects, and obeys CL and _CL_."""
    need("clang")
    put(tmp_path, {"a.c": "int a = X;\n"})
    found = shutil.which("clang")
    assert found is not None
    (tmp_path / "clang-cl").symlink_to(found)
    for value in "12":
        words = (str(tmp_path / "clang-cl"), "--target=x86_64-linux-gnu", "-c", "a.c", "-o", "a.o")
        given = {"CL": f"-DX={value}"}
        done = farm.run(ZCC, *words, cwd=tmp_path, strict=False, **given)
        assert done.returncode == 0, done.stderr
        placed = (tmp_path / "a.o").read_bytes()
        subprocess.run(words, cwd=tmp_path, check=True, env={**os.environ, **given})
        assert placed == (tmp_path / "a.o").read_bytes()
    assert b"config-file" in farm.run(ZCC, *words, cwd=tmp_path, strict=True, **given).stderr


def test_a_given_date_is_the_clock_of_compilers_that_obey_it(farm: Farm, tmp_path: Path) -> None:
    put(tmp_path, {"a.c": "char *t = __DATE__ __TIME__;\n"})
    objects = set()
    for date in ("1000000000", "1500000000"):
        base = {**farm.local.environment, "SOURCE_DATE_EPOCH": date}
        subprocess.run(["gcc", "-c", "a.c"], cwd=tmp_path, env=base, check=True)
        plain = (tmp_path / "a.o").read_bytes()
        done = farm.run(ZCC, "gcc", "-c", "a.c", cwd=tmp_path, SOURCE_DATE_EPOCH=date)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "a.o").read_bytes() == plain
        objects.add(plain)
    assert len(objects) == 2


def test_a_given_date_is_nothing_to_older_clangs(farm: Farm, tmp_path: Path) -> None:
    need("clang")
    put(tmp_path, {"a.c": "char *t = __DATE__;\n"})
    said = subprocess.run(["clang", "-dumpversion"], check=True, capture_output=True).stdout
    obeys = int(said.split(b".")[0]) >= 16
    before = farm.stats()["outcomes"]["remote"]
    given = {"SOURCE_DATE_EPOCH": "1000000000"}
    done = farm.run(ZCC, "clang", "-c", "a.c", cwd=tmp_path, strict=False, **given)
    assert done.returncode == 0
    assert (b"2001" in (tmp_path / "a.o").read_bytes()) == obeys
    assert farm.stats()["outcomes"]["remote"] - before == obeys


# ---- while it is built ---------------------------------------------------------------------------


def test_a_header_of_equal_size_and_time_is_noticed(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """Rewritten within the clock's grain, and its time set back."""
    header = tmp_path / "h.h"
    put(tmp_path, {"a.c": '#include "h.h"\nint v = V;\n'})
    for value in range(9):
        header.write_text(f"#define V {value}\n")
        os.utime(header, (1_600_000_000, 1_600_000_000))
        both_ways(farm, tmp_path, family, "-c", "a.c")
        (tmp_path / "a.o").unlink()


def test_a_header_that_is_generated_during_the_build(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """It is missed, asked for, and there in the end; an older one lies further back in the path."""
    put(tmp_path, {"a.c": "#include <gen.h>\nint v = V;\n", "old/gen.h": "#define V 1\n"})
    (tmp_path / "new").mkdir()
    arguments = ("-Inew", "-Iold", "-MD", "-c", "a.c")
    both_ways(farm, tmp_path, family, *arguments)
    put(tmp_path, {"new/gen.h": "#define V 2\n"})
    both_ways(farm, tmp_path, family, *arguments)
    put(tmp_path, {"new/gen.h": "#define V 3\n#include <more.h>\n"})
    both_ways(
        farm, tmp_path, family, *arguments, ends="compile-error"
    )  # fails, as more.h is not there yet
    put(tmp_path, {"new/more.h": "int more;\n"})
    both_ways(farm, tmp_path, family, *arguments)


def while_it_changes(
    change: Callable[[int], None], work: Callable[[], int]
) -> list[tuple[int, int, int]]:
    """Do the work some times while a thread changes something: (changes before, outcome, changes after)."""
    count, is_over = [0], threading.Event()

    def keep_changing() -> None:
        while not is_over.is_set():
            change(count[0] + 1)
            count[0] += 1

    change(0)
    thread = threading.Thread(target=keep_changing)
    thread.start()
    seen = []
    try:
        for _ in range(12):
            before = count[0]
            outcome = work()
            seen.append((before, outcome, count[0] + 1))
    finally:
        is_over.set()
        thread.join()
    return seen


def test_a_header_that_changes_all_the_time_is_compiled_as_it_was_meanwhile(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    """Between scan, upload and compile too: never one from before the command began."""
    put(tmp_path, {"a.c": '#include "h.h"\nint v = V;\n'})
    fresh = tmp_path / "fresh"

    def change(value: int) -> None:
        fresh.write_text(f"#define V {value}\n")
        fresh.rename(tmp_path / "h.h")
        threading.Event().wait(0.002)

    def compile_it() -> int:
        done = farm.run(ZCC, family, "-S", "a.c", cwd=tmp_path, strict=False)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in (tmp_path / "a.s").read_text().splitlines() if ".long" in line]
        return int(line.split()[1])

    for before, value, after in while_it_changes(change, compile_it):
        assert before <= value <= after


def test_cxx_with_generated_and_missing_directories(
    farm: Farm, tmp_path: Path, family: str
) -> None:
    put(tmp_path, {"a.cc": "#include <string>\nstd::string s;\n"})
    arguments = ("-Wmissing-include-dirs", "-Ilater", "-isystem", "gone", "-MD", "-c", "a.cc")
    both_ways(farm, tmp_path, CXX[family], *arguments)
    put(tmp_path, {"later/string": "#include_next <string>\nint later;\n"})
    both_ways(farm, tmp_path, CXX[family], *arguments)


# ---- words that mean something in code alone -----------------------------------------------------

HARMLESS = {
    "a dependency": '#define HAVE_X 1 /* a dependency of y */\n#define WHY "no dependency"\n',
    "the time": "/* not __DATE__ */ int t; /* __TIME__ */ // __TIMESTAMP__\n"
    'const char *s = "__TIME__";\n',
    "assembly": 'const char *s = "\\t.incbin what\\n.include \\"bsd.mk\\"";  /* .incbin */\n',
    "a computed include": "/*\n#include FILES\n*/\n",
    "modules": "/*\nimport this;\nexport module that;\n*/\n",
}
REAL = {
    "a dependency": '#define DO(x) _Pragma(#x)\nDO(GCC dependency "x.h")\n',
    "a dependency in a string": '_Pragma("GCC dependency \\"x.h\\"")\n',
}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_words_in_comments_and_strings_do_not_keep_a_compile_here(
    farm: Farm, tmp_path: Path, family: str, text: str
) -> None:
    put(tmp_path, {"a.c": '#include "config.h"\n', "config.h": text})
    before = farm.stats()
    check(farm, tmp_path, family, "-Wall", "-c", "a.c")
    after = farm.stats()
    assert after["local_reasons"] == before["local_reasons"]
    assert after["ways"]["scanned"] > before["ways"].get("scanned", 0)


@pytest.mark.parametrize("text", REAL.values(), ids=REAL)
def test_a_pragma_that_compares_times_is_obeyed_here(
    farm: Farm, tmp_path: Path, family: str, text: str
) -> None:
    put(tmp_path, {"a.c": text, "x.h": ""})
    os.utime(tmp_path / "a.c", (1_600_000_000, 1_600_000_000))
    check(farm, tmp_path, family, "-c", "a.c", ends="pragma-dependency")


# ---- what the assembler reads --------------------------------------------------------------------

MACROS = '.macro answer\n.include "more.s"\n.endm\n'


@pytest.mark.parametrize("words", [("-Wa,m.s",), ("-Xassembler", "m.s"), ("-Wa,-I,inc,m.s", "-g")])
def test_a_file_of_macros_for_the_assembler_goes_along(
    farm: Farm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    put(tmp_path, {"a.c": 'asm("answer");\nint v;\n', "m.s": MACROS, "inc/more.s": ".long 42\n"})
    command = ("gcc", "-Wa,-Iinc", *words, "-c", "a.c")
    before = farm.stats()["outcomes"].get("remote", 0)
    both_ways(farm, tmp_path, *command)
    put(tmp_path, {"inc/more.s": ".long 43\n"})
    both_ways(farm, tmp_path, *command)
    put(tmp_path, {"m.s": ".macro answer\n.endm\n"})
    both_ways(farm, tmp_path, *command)
    assert farm.stats()["outcomes"]["remote"] == before + 3


# ---- an output that is dropped -------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [(), ("-Wall", "-O2"), ("-MMD", "-MF", "a.d"), ("-MD", "-MT", "t", "-MF", "d")]
)
def test_an_object_for_dev_null_is_made_and_dropped(
    farm: Farm, tmp_path: Path, family: str, words: tuple[str, ...]
) -> None:
    put(tmp_path, {"a.c": '#include "x.h"\nint f(void) { int unused; return 1; }\n', "x.h": ""})
    before = farm.stats()["outcomes"].get("remote", 0)
    both_ways(farm, tmp_path, family, *words, "-o", "/dev/null", "-c", "a.c")
    assert farm.stats()["outcomes"]["remote"] == before + 1
    assert Path("/dev/null").is_char_device()


def test_what_was_dropped_is_remembered_for_who_keeps_it(farm: Farm, tmp_path: Path) -> None:
    put(tmp_path, {"a.c": "int kept_after_all;\n"})
    before = farm.stats()["outcomes"]
    for output in ("/dev/null", "a.o", "/dev/null"):
        both_ways(farm, tmp_path, "gcc", "-o", output, "-c", "a.c", ZCC_CACHE="on")
    after = farm.stats()["outcomes"]
    assert after["remote"] == before.get("remote", 0) + 1


def test_what_is_named_after_dev_null_stays_here(farm: Farm, tmp_path: Path, family: str) -> None:
    put(tmp_path, {"a.c": "int f(void) { return 1; }\n"})
    before = farm.stats()["local_reasons"].get("output-to-device", 0)
    farm.run(ZCC, family, "-fstack-usage", "-o", "/dev/null", "-c", "a.c", cwd=tmp_path)
    farm.run(ZCC, family, "-ftime-report", "-o", "/dev/zero", "-fsyntax-only", "a.c", cwd=tmp_path)
    assert farm.stats()["local_reasons"]["output-to-device"] > before
