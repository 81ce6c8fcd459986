"""Command lines: what they compile, read and write; held against the real gcc and clang."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import needs
from zcc.compiler.commandline.arguments import (
    Compilation,
    Local,
    StopsAt,
    dependency_arguments,
    parse,
)
from zcc.compiler.commandline.make_rule import parse_listing
from zcc.compiler.commandline.response import split
from zcc.compiler.commandline.tables import Family, Role
from zcc.compiler.text.lexing import Lexis

GCC, CLANG = Family.GCC, Family.CLANG
_PROGRAMS = {"gcc": GCC, "g++": GCC, "clang": CLANG, "clang++": CLANG}


def words_of(line: str) -> list[bytes]:
    return [os.fsencode(word) for word in shlex.split(line)]


def parsed(
    argv: str | list[bytes],
    family: Family = GCC,
    is_cxx: bool = False,
    files: Mapping[bytes, bytes] | None = None,
) -> Compilation | Local:
    argv = words_of(argv) if isinstance(argv, str) else argv
    return parse(argv, family, is_cxx, b"/p", (files or {}).get)


def compilation(
    argv: str | list[bytes],
    family: Family = GCC,
    is_cxx: bool = False,
    files: Mapping[bytes, bytes] | None = None,
) -> Compilation:
    answer = parsed(argv, family, is_cxx, files)
    assert isinstance(answer, Compilation), answer
    return answer


def reason(
    argv: str | list[bytes], family: Family = GCC, files: Mapping[bytes, bytes] | None = None
) -> str:
    answer = parsed(argv, family, files=files)
    assert isinstance(answer, Local), answer
    return answer.reason


def test_an_operand_behind_wa_is_read_by_the_assembler() -> None:
    found = compilation("-c a.c -Wa,m.s,-I,inc -Xassembler n.s -Wa,--defsym,x.s=1")
    assert found.assembler_sources == (b"m.s", b"n.s")
    assert found.source == b"a.c"


def test_modules_that_are_only_switched_on_are_no_hindrance() -> None:
    """As CMake gives it to gcc 14 for each source of C++20."""
    found = compilation(
        "-std=gnu++20 -MT o/a.cc.o -MF o/a.cc.o.d -fmodules-ts -fmodule-mapper=o/a.cc.o.modmap "
        "-MD -fdeps-format=p1689r5 -x c++ -o o/a.cc.o -c a.cc"
    )
    assert found.has_modules
    assert found.module_mapper == b"o/a.cc.o.modmap"
    assert found.outputs == (b"o/a.cc.o", b"o/a.cc.o.d", b"o/a.cc.ddi")


def test_an_object_that_is_dropped_is_made_all_the_same() -> None:
    found = compilation("-c a.c -MMD -MF a.d -o /dev/null")
    assert found.outputs == (b"/dev/null", b"a.d")
    assert found.neutral is not None


@pytest.mark.parametrize(
    ("line", "is_cxx", "lexis"),
    [
        ("-c a.c", False, Lexis.C),
        ("-c a.c -std=gnu17", False, Lexis.C),
        ("-c a.c -std=c90", False, Lexis.OLD),
        ("-c a.c -Wp,-ansi", False, Lexis.OLD),
        ("-c a.c --std c89", False, Lexis.OLD),
        ("-c a.c -traditional-cpp", False, Lexis.OLD),
        ("-c a.cc", True, Lexis.CXX),
        ("-c a.cc -std=c++11", True, Lexis.C),
        ("-c a.S", False, Lexis.C),
    ],
)
def test_the_language_tells_which_comments_there_are(line: str, is_cxx: bool, lexis: Lexis) -> None:
    assert compilation(line, is_cxx=is_cxx).lexis is lexis


def test_directories_behind_wa_and_wp_are_searched() -> None:
    found = compilation("-c a.c -Wa,-I,one,-Itwo -Wp,-I,three -Xpreprocessor -iquotefour")
    assert found.assembler_directories == (b"one", b"two")
    preprocessed = (b"-Xpreprocessor", b"-I", b"-Xpreprocessor", b"three")
    assert found.search_arguments == (*preprocessed, b"-Xpreprocessor", b"-iquotefour")


def test_a_header_behind_wp_is_a_forced_include() -> None:
    found = compilation("-c a.c -Wp,-include,x.h")
    assert found.forced_includes == (("include", b"x.h"),)


def test_a_dump_that_names_its_file_is_an_output() -> None:
    assert compilation("-c a.c -fdump-final-insns=x.txt").outputs == (b"a.o", b"x.txt")


# -- which word is the source ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *("-D x.c -c a.c", "-include x.c -c a.c", "-o x.c -c a.c", "-U x.c -c a.c"),
        *("-I x.c -c a.c", "-isystem x.c -c a.c", "-MT x.c -MD -c a.c", "-MD -MF x.c -c a.c"),
        *("-Xpreprocessor -DX -c a.c", "-Xassembler --noexecstack -c a.c", "-Xlinker x.c -c a.c"),
        *("--param x.c -c a.c", "-L x.c -c a.c", "-z x.c -c a.c", "-Wl,x.c -c a.c"),
        *("--sysroot x.c -c a.c", "-idirafter x.c -c a.c", "--include x.c -c a.c"),
    ],
)
@pytest.mark.parametrize("family", Family)
def test_an_operand_is_not_the_source(line: str, family: Family) -> None:
    assert compilation(line, family).source == b"a.c"


@pytest.mark.parametrize(
    "line",
    ["-Xclang -target-feature -Xclang +avx -c a.c", "-mllvm x.c -c a.c", "-target x.c -c a.c"],
)
def test_an_operand_of_clang_is_not_the_source(line: str) -> None:
    answer = parsed(line, CLANG)
    assert isinstance(answer, Compilation) or answer.reason == "nested-option"


def test_names_are_bytes_all_the_way() -> None:
    odd = b" ,'\"\\\n\xff-@.c"
    answer = compilation([b"-c", odd, b"-I", odd, b"-o", odd + b".o"])
    assert (answer.source, answer.output) == (odd, odd + b".o")


def test_two_dashes_end_the_options_of_clang_and_are_none_for_gcc() -> None:
    assert compilation("-c -- -a.c", CLANG).source == b"-a.c"
    assert reason("-c -- a.c") == "end-of-options"


# -- languages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "family", "is_cxx", "language"),
    [
        ("-c a.c", GCC, False, "c"),
        ("-c a.c", GCC, True, "c++"),
        ("-c a.c", CLANG, True, "c++"),
        ("-c a.cc", GCC, False, "c++"),
        ("-c a.C", GCC, False, "c++"),
        ("-c a.m", GCC, False, "objective-c"),
        ("-c a.mm", CLANG, False, "objective-c++"),
        ("-c a.i", GCC, False, "cpp-output"),
        ("-c a.i", GCC, True, "c++-cpp-output"),
        ("-c a.ii", GCC, False, "c++-cpp-output"),
        ("-c a.S", GCC, False, "assembler-with-cpp"),
        ("-c a.sx", GCC, False, "assembler-with-cpp"),
        ("-c a.s", GCC, False, "assembler"),
        ("-x c++ -c a.c", GCC, False, "c++"),
        ("-xc++ -c a.c", GCC, False, "c++"),
        ("-x c++ -x none -c a.c", GCC, False, "c"),
        ("-x c -c a.cc", GCC, True, "c"),
        ("--language=c++ -c a", GCC, False, "c++"),
        ("-c a.c -x c++", GCC, False, "c"),
        ("-c a.CXX", CLANG, False, "c++"),
    ],
)
def test_the_language_is_the_drivers(
    line: str, family: Family, is_cxx: bool, language: str
) -> None:
    assert compilation(line, family, is_cxx).language == language


# -- what stays here -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a.c", "not-a-compile"),
        ("a.o b.o -o prog", "not-a-compile"),
        ("a.c -B/x -o prog", "not-a-compile"),
        ("-E a.c", "preprocess-only"),
        ("-c -E a.c", "preprocess-only"),
        ("-M -c a.c", "preprocess-only"),
        ("-MM a.c", "preprocess-only"),
        ("-fsyntax-only -c a.c", "syntax-only"),
        ("--version", "information"),
        ("-print-search-dirs", "information"),
        ("-c", "no-source"),
        ("-c a.c b.c", "several-sources"),
        ("-c a.c a.c", "several-sources"),
        ("-c -xc -", "stdin-source"),
        ("-c a.c -o -", "output-to-stdout"),
        ("-c a.c -MD -o /dev/null", "output-to-device"),
        ("-c a.c -fstack-usage -o /dev/null", "output-to-device"),
        ("-c a.c -o /dev/stdout", "output-to-device"),
        ("-c a.c -o dir/", "odd-output"),
        ("-c a.c -MD -MF a.o", "odd-output"),
        ("-S a.c -MD -MF x.o -o x.o", "odd-output"),
        ("-c a.c -o a.c", "output-is-source"),
        ("-c a.c -o ./x/../a.c", "output-is-source"),
        ("-c a.c -MD -MF a.c", "output-is-source"),
        ("-c a.h", "makes-pch"),
        ("a.hpp", "makes-pch"),
        ("-x c++-header a.c -o a.gch", "makes-pch"),
        ("-c a.c l.a", "linker-input"),
        ("-c a.cppm", "modules"),
        ("-c a.cc -fmodules", "modules"),
        ("-c a.cc -fmodule-header", "modules"),
        ("-c a.cc -fmodules-ts -fmodule-mapper=|x", "modules"),
        ("-c a.cc -fmodules-ts -fmodule-mapper=a:7", "modules"),
        ("-c a.cc -fmodules-ts -fmodule-mapper=@x", "modules"),
        ("-c a.cc -fmodules-ts -fmodule-mapper=", "modules"),
        ("-c a.c -B /x", "program-prefix"),
        ("-c a.c -B/x", "program-prefix"),
        ("-c a.c -wrapper gdb", "wrapper"),
        ("-c a.c -v", "verbose"),
        ("-c a.c -###", "verbose"),
        ("-c a.c -time", "time-report"),
        ("-c a.c -ftime-report", "time-report"),
        ("-c a.c -fdump-ada-spec", "dump-output"),
        ("-c a.c -dx", "dump-output"),
        ("-c a.c -fdump-tree-optimized-lineno=x.txt", "appended-output"),
        ("-c a.c -fdump-rtl-all=x.txt", "appended-output"),
        ("-c a.c -fopt-info-vec-all=x.txt", "appended-output"),
        ("-c a.c -fverbose-asm", "verbose-asm"),
        ("-c a.c -fcompare-debug", "compare-debug"),
        ("-c a.c -dumpbase b.c", "dump-names"),
        ("-c a.c -fplugin=./p.so -iplugindir=x", "plugin"),
        ("-c a.c -fnew-thing=out/x.txt", "unknown-option"),
        ("-c a.c -new-thing=x.txt", "unknown-option"),
        ("-c a.c --report-file x", "unknown-option"),
        ("-c a.c -Wa,@x", "nested-option"),
        ("-c a.c -Wa,", "nested-option"),
        ("-c a.c -Wa,-o,x.o", "nested-option"),
        ("-c a.c -Wp,-x,c", "nested-option"),
        ("-c a.c -Xpreprocessor -o -Xpreprocessor x", "nested-option"),
        ("-c a.f90", "language"),
        ("-c -x fortran a", "language"),
        ("-c a.cu", "offload"),
        ("-c conftest.c", "conftest"),
        ("-c sub/conftest.cpp", "conftest"),
        ("-c a.c -o", "missing-operand"),
    ],
)
def test_what_cannot_be_declared_stays_here(line: str, why: str) -> None:
    assert reason(line) == why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-c a.c -fmodules", "modules"),
        ("-c a.c -fmodules -fmodule-map-file=x", "modules"),
        ("-c a.c -fmodule-file=x", "modules"),
        ("-c a.c -Xclang -fmodules-local-submodule-visibility", "modules"),
        ("-c a.c -arch x86_64 -arch arm64", "multiple-arch"),
        ("-c a.c -ivfsoverlay x", "vfs-overlay"),
        ("-c a.c --config x.cfg", "config-file"),
        ("-c a.c -working-directory=x", "working-directory"),
        ("-c a.c -resource-dir x", "resource-directory"),
        ("--analyze a.c", "other-action"),
        ("-emit-ast a.c", "other-action"),
        ("-c a.c -Xclang -emit-pch", "makes-pch"),
        ("-c a.c -Xclang -ast-dump", "dump-output"),
        ("-c a.c -Xclang -dependency-file -Xclang x", "nested-option"),
        ("-c a.c -Xclang -fnew=out/x", "unknown-option"),
        ("-c a.c -mllvm -new-output=x.txt", "nested-option"),
        ("-c a.c -fopenmp-targets=nvptx64", "offload"),
        ("-c a.c --target=x86_64-pc-windows-msvc", "default-output"),
        ("-c a.c -fplugin=name", "plugin"),
        ("-c a.c -Xclang -load -Xclang name.so", "plugin"),
        ("-c a.c -Xclang -plugin -Xclang name", "plugin"),
        ("-c a.cl", "language"),
        ("-c a.c -ftime-trace -fembed-bitcode", "trace-in-temporary"),
        ("-c a.c -ftime-trace -fno-integrated-as", "trace-in-temporary"),
        ("-c a.c -no-integrated-cpp -save-stats=obj", "trace-in-temporary"),
        ("-c a.S -save-stats=obj", "trace-in-temporary"),
        ("-c a.S -ftime-trace", "trace-in-temporary"),
    ],
)
def test_what_cannot_be_declared_of_clang_stays_here(line: str, why: str) -> None:
    assert reason(line, CLANG) == why


@pytest.mark.parametrize(
    "line",
    [
        "-c a.c -ftime-trace",
        "-c a.c -ftime-trace -fembed-bitcode-marker",
        "-c a.c -ftime-trace -fno-integrated-as -save-temps",
        "-c a.c -ftime-trace=x.json -fembed-bitcode",
        "-c a.c -save-stats",
        "-c a.S",
    ],
)
def test_a_trace_beside_what_is_kept_is_declared(line: str) -> None:
    assert isinstance(parsed(line, CLANG), Compilation)


@pytest.mark.parametrize("place", ["/tmp/x", "/run/x", "/dev/shm/x", "/usr/src/x"])
def test_a_project_may_lie_anywhere(place: str) -> None:
    answer = compilation(f"-c {place}/a.c -o {place}/a.o -MD")
    assert answer.outputs == (f"{place}/a.o".encode(), f"{place}/a.d".encode())


# -- what is carried, and what is seen in it -------------------------------------------------------


@pytest.mark.parametrize("family", Family)
def test_everyday_flags_are_carried(family: Family) -> None:
    line = (
        "-O2 -g3 -Wall -Wextra -Werror=format -std=gnu11 -fPIC -fvisibility=hidden -pthread -pipe "
        "-march=x86-64 -mavx2 -fno-strict-aliasing -fdebug-prefix-map=/a=/b -ffile-prefix-map=a/b=. "
        "-frecord-gcc-switches -fdiagnostics-color=always -fsanitize=address,undefined "
        "-Wp,-D_FORTIFY_SOURCE=2 -Wp,-U_X -Wa,--noexecstack -Wl,-z,now -flto -fmessage-length=0 "
        "-fstack-protector-strong -fcf-protection --param=ssp-buffer-size=4 -fmax-errors=1 -pg "
        "-fno-omit-frame-pointer -ffunction-sections -pedantic -w -fnew-switch -frandom-seed=a/b.c "
        "-c a.c -o a.o"
    )
    answer = compilation(line, family)
    assert answer.outputs == (b"a.o",)
    assert answer.defines == (b"_FORTIFY_SOURCE=2",)
    assert answer.extra_inputs == ()


def test_search_arguments_are_what_can_move_the_list() -> None:
    line = (
        "-Ia -I b -isystem c -iquote d -DX -U Y -O2 -g -Wall -std=c99 -m32 -nostdinc -pthread "
        "--sysroot=/s -include x.h -MD -MF y -Wp,-MD,z -x c -frandom-seed=1 -c a.c -o a.o"
    )
    assert compilation(line).search_arguments == tuple(
        words_of("-Ia -I b -isystem c -iquote d -std=c99 -m32 -nostdinc -pthread --sysroot=/s")
    )


def test_forced_includes_keep_their_order() -> None:
    answer = compilation("-include a.h -imacros b.h -includec.h --include=d.h -c a.c")
    assert answer.forced_includes == (
        *(("include", b"a.h"), ("imacros", b"b.h")),
        *(("include", b"c.h"), ("include", b"d.h")),
    )


def test_defines_are_as_given() -> None:
    answer = compilation("-c a.c '-DH=<x.h>' -D Y")
    assert answer.defines == (b"H=<x.h>", b"Y")


def test_a_time_macro_in_a_define_is_reported() -> None:
    assert compilation("-c a.c -DX=__TIME__ -DY=__DATE__").time_macros == (b"__DATE__", b"__TIME__")
    assert compilation("-c a.c -DX=MY__TIME__").time_macros == ()
    assert compilation('-c a.c -D__DATE__="redacted" -D__TIME__=').time_macros == ()
    assert compilation("-c a.c -DX=__DATE__ -D__DATE__=1").time_macros == ()
    assert compilation("-c a.c -D__DATE__=__TIME__").time_macros == (b"__TIME__",)


@pytest.mark.parametrize("flag", ["-march=native", "-mcpu=native", "-mtune=native"])
def test_native_is_reported_and_carried(flag: str) -> None:
    answer = compilation(f"-c a.c {flag}")
    assert answer.machine_dependent == (flag.encode(),)
    assert flag.encode() in answer.search_arguments


def test_files_that_are_read_are_inputs() -> None:
    answer = compilation(
        "-c a.c -fsanitize-ignorelist=i.txt -fprofile-list=l -fprofile-sample-use=p.prof "
        "-include-pch x.pch -fthinlto-index=/dev/null",
        CLANG,
    )
    assert answer.extra_inputs == (b"i.txt", b"l", b"p.prof")
    assert answer.include_pch == b"x.pch"


def test_cmakes_precompiled_header_of_clang_is_seen() -> None:
    answer = compilation(
        "-Winvalid-pch -Xclang -include-pch -Xclang d/x.pch -Xclang -include -Xclang d/x.h -c a.cc",
        CLANG,
    )
    assert answer.include_pch == b"d/x.pch"
    assert answer.forced_includes == (("include", b"d/x.h"),)


def test_a_plugin_in_a_file_is_an_input_and_a_plugin() -> None:
    answer = compilation("-c a.c -fplugin=./p.so")
    assert (answer.extra_inputs, answer.plugins) == ((b"./p.so",), (b"./p.so",))


def test_specs_by_path_are_an_input_and_by_name_the_toolchains() -> None:
    answer = compilation("-c a.c -specs=/usr/lib/rpm/hardened --specs=nano.specs")
    assert answer.extra_inputs == (b"/usr/lib/rpm/hardened",)
    assert answer.toolchain_files == (b"nano.specs",)
    assert b"--specs=nano.specs" in answer.search_arguments


@pytest.mark.parametrize("option", ["-ffast-math", "-funsafe-math-optimizations", "-Ofast"])
def test_clang_probes_for_the_start_up_code_of_fast_mathematics(option: str) -> None:
    assert compilation(f"-c a.c {option}", CLANG).probed_files == (b"crtfastmath.o",)
    assert compilation(f"-c a.c {option}", GCC).probed_files == ()
    assert compilation("-c a.c -O2", CLANG).probed_files == ()


def test_every_word_has_a_role() -> None:
    argv = words_of("-O2 -Ix -DX -c a.c -o a.o -MD")
    roles = [(word, role) for word, role, _ in compilation(argv).role_of]
    assert roles == list(
        zip(
            argv,
            [Role.CARRIED, Role.SEARCH, Role.DEFINE, Role.MODE, Role.SOURCE]
            + [Role.OUTPUT, Role.OUTPUT, Role.DEPFILE],
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("line", "base"),
    [
        ("-c d/a.c -fdump-tree-all", b"a.c"),
        ("-c d/a.cc -o s/b.x.o -da", b"s/b.x.cc"),
        ("-c a.c -o s/b -fdump-ipa-inline -save-temps=cwd", b"b.c"),
        ("-S a.c -o s/b.s -fdump-statistics", b"s/b.c"),
    ],
)
def test_dumps_are_named_after_the_output_and_the_sources_suffix(line: str, base: bytes) -> None:
    assert compilation(line).dumps == (base,)
    assert compilation("-c a.c -fdump-noaddr -dP").dumps == ()


@pytest.mark.parametrize("word", ["-H", "-Winvalid-pch", "-Wp,-H", "-Werror=invalid-pch"])
def test_messages_that_name_precompiled_headers_are_known(word: str) -> None:
    assert compilation(f"-c a.c {word}").tells_precompiled
    assert not compilation("-c a.c -Wall -DH -IH").tells_precompiled


def test_plugins_and_what_they_are_told_are_known() -> None:
    answer = compilation("-c a.c -fplugin=./p.so -fplugin=name -fplugin-arg-p-key=x.txt")
    assert (answer.plugins, answer.plugin_names) == ((b"./p.so",), (b"name",))
    assert b"x.txt" in answer.plugin_arguments
    assert answer.extra_inputs == (b"./p.so",)
    line = "-c a.c -Xclang -load -Xclang ./p.so -Xclang -add-plugin -Xclang p "
    answer = compilation(line + "-Xclang -plugin-arg-p -Xclang x.txt -fpass-plugin=/q.so", CLANG)
    assert answer.plugins == (b"/q.so", b"./p.so")
    assert answer.plugin_arguments == (b"x.txt",)


def test_a_file_of_diagnostics_may_lie_in_any_of_gccs_places() -> None:
    answer = compilation("-c d/a.c -o s/b.o -fdiagnostics-format=sarif-file")
    assert answer.outputs == (b"s/b.o", b"s/b.c.sarif", b"b.c.sarif", b"a.c.sarif")
    bare = compilation("-c d/a.c -fdiagnostics-format=json-file")
    assert bare.outputs == (b"a.o", b"a.c.gcc.json")
    assert compilation("-c a.c -fdiagnostics-format=json").outputs == (b"a.o",)


def test_coverage_needs_the_old_profile_to_be_absent() -> None:
    by_gcc = compilation("-c a.c -o s/b.o --coverage -fprofile-dir=d")
    assert (by_gcc.removes_profile, by_gcc.gcda, by_gcc.profiles) == (True, b"s/b.gcda", (b"d",))
    assert not compilation("-c a.c -o s/b.o --coverage", CLANG).removes_profile


def test_profiles_are_read_where_the_options_say() -> None:
    bare = compilation("-c a.c -fprofile-use")
    assert (bare.reads_profile, bare.profiles, bare.gcda) == (True, (b"",), b"a.gcda")
    assert compilation("-c a.c -fbranch-probabilities -fprofile-dir=d").profiles == (b"", b"d")
    assert compilation("-c a.c -fprofile-use=d", CLANG).profiles == (b"d",)
    assert compilation("-c a.c -fprofile-instr-use", CLANG).profiles == (b"",)
    assert compilation("-c a.c -fauto-profile").extra_inputs == (b"fbdata.afdo",)
    assert not compilation("-c a.c -fprofile-generate").reads_profile


def test_assembly_wins_over_object() -> None:
    assert compilation("-S -c a.c").stops_at is StopsAt.ASSEMBLY
    assert compilation("-c -S a.c").output == b"a.s"


# -- response files --------------------------------------------------------------------------------


def test_a_response_file_is_expanded_and_an_input() -> None:
    files = {b"r": b"-DX @s\n-c", b"s": b"'-D Y'\ta.c"}
    answer = compilation([b"@r", b"-o", b"b.o"], files=files)
    assert (answer.source, answer.defines) == (b"a.c", (b"X", b" Y"))
    assert answer.extra_inputs == (b"r", b"s")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "response-missing"),
        ({b"r": b"@r"}, "response-size"),
        ({b"r": b"-c a\0.c"}, "response-encoding"),
        ({b"r": b"'-DX=\\n'"}, "response-quoting"),
        ({b"r": b'"-DX=\\n"'}, "response-quoting"),
        ({b"r": b"-DX=\\\n"}, "response-quoting"),
    ],
)
def test_a_response_file_in_doubt_stays_here(files: dict[bytes, bytes], why: str) -> None:
    assert reason([b"@r"], files=files) == why


def _split_by_compiler(content: bytes, program: str, directory: Path) -> list[bytes]:
    """The words as the compiler sees them: each becomes an input file that does not exist."""
    (directory / "r").write_bytes(content)
    command = [program, "-c", "@r"]
    told = subprocess.run(
        command, cwd=directory, capture_output=True, env=_environment(), check=False
    )
    form = rb"error: (.*): linker input" if program == "gcc" else rb"directory: '(.*)'"
    return re.findall(form, told.stderr)


@pytest.mark.parametrize("program", ["gcc", "clang"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"a b\tc\rd\ne", b"'a b' \"c d\" e' 'f", b"a\\ b \\'c \\\"d", b'"a\\"b" "c\\\\d"'),
        *(b"a'b\"c'd", b"a\\\\b", b"  a  ", b"a'' ''b", b"'unclosed x"),
    ],
)
def test_quotes_are_read_as_the_compiler_reads_them(
    program: str, content: bytes, tmp_path: Path
) -> None:
    needs(program)
    assert split(content, _PROGRAMS[program]) == _split_by_compiler(content, program, tmp_path)


@given(st.binary(max_size=40))
def test_splitting_never_fails(content: bytes) -> None:
    for family in Family:
        words = split(content, family)
        assert words is None or all(isinstance(word, bytes) for word in words)


@given(
    st.lists(
        st.sampled_from(
            words_of("-c a.c -o x -MD -MF -Wp,-MD -Xclang -I -x c++ -S - -- @r -fnew=a/b")
        )
    ),
    st.sampled_from(Family),
)
@settings(max_examples=300)
def test_any_line_gives_an_answer(argv: list[bytes], family: Family) -> None:
    answer = parse(argv, family, False, b"/p", {b"r": b"-Wa, -Xassembler"}.get)
    if isinstance(answer, Compilation):
        assert answer.output == answer.outputs[0]
        assert len(set(answer.outputs)) == len(answer.outputs)


# -- against the real compilers --------------------------------------------------------------------

_SOURCES = {
    "d/foo.c": '#include "foo.h"\nint g(int *);\nint f(void) { int a[3]; return g(a); }\n',
    "d/foo.h": "#define FOO 1\n",
    "foo.x.c": "int x;\n",
    "foo": "int x;\n",
    ".foo.c": "int x;\n",
    "pp.i": "int x;\n",
    "up.S": "#define A .text\nA\n",
    "low.s": ".text\n",
    "cc.cpp": "int x;\n",
    "words": "-Id",
}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def _lay_out(directory: Path) -> None:
    for name in ("d", "sub"):
        (directory / name).mkdir()
    for name, text in _SOURCES.items():
        (directory / name).write_text(text)


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def _compile(line: str, directory: Path) -> tuple[Compilation, set[str]]:
    """What zcc makes of a command line, and the names of the files that the command really writes."""
    program, *rest = shlex.split(line)
    needs(program)
    _lay_out(directory)
    before = _files(directory)
    done = subprocess.run(
        [program, *rest], cwd=directory, capture_output=True, env=_environment(), check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    argv = [os.fsencode(word) for word in rest]

    def read(name: bytes) -> bytes:
        return (directory / os.fsdecode(name)).read_bytes()

    answer = parse(argv, _PROGRAMS[program], "++" in program, os.fsencode(directory), read)
    assert isinstance(answer, Compilation), answer
    return answer, _files(directory) - before


_SIDE = "-MD -g -gsplit-dwarf -fstack-usage --coverage"
_OUTPUTS = ("", *(f"-o {name}" for name in ("b", "sub/foo.bar.o", "sub/b.c.o", "sub/b.", "sub/.b")))
_MADE_OF = ("d/foo.c", "foo.x.c", "-x c foo", ".foo.c")
_EXACT = [
    *(f"gcc -c {s} {o} {_SIDE} -fcallgraph-info" for s in _MADE_OF for o in _OUTPUTS),
    *(f"clang -c {s} {o} {_SIDE} -ftime-trace" for s in _MADE_OF for o in _OUTPUTS),
    *(f"gcc -S d/foo.c {o} {_SIDE}" for o in _OUTPUTS),
    *(f"clang -S d/foo.c {o} {_SIDE} -ftime-trace" for o in _OUTPUTS),
    *(f"{program} -c cc.cpp -MD -o sub/b.o" for program in _PROGRAMS),
    *(f"{program} -c d/foo.c {_SIDE} -o sub/../sub//b.o" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c --output=sub/b.o -MMD" for program in ("gcc", "clang")),
    *(
        f"{program} -c d/foo.c --output sub/b.o --write-dependencies"
        for program in ("gcc", "clang")
    ),
    *(f"{program} -c d/foo.c -osub/b.o -MFsub/t.d -MD -MTq" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -o sub/b.o -Wp,-MD,sub/x.d" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -o sub/b.o -Wp,-MMD,sub/x.d -MT q" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -MD -MF -" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -MD -MF /dev/null" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -o sub/b.o -o sub/c.o" for program in ("gcc", "clang")),
    *(f"{program} -c d/foo.c -fprofile-arcs -g -gsplit-dwarf" for program in ("gcc", "clang")),
    *(f"{program} -c up.S -MD -g -gsplit-dwarf -o sub/b.o" for program in ("gcc", "clang")),
    *(f"{program} -c low.s -g" for program in ("gcc", "clang")),
    *(f"{program} -c pp.i -g -gsplit-dwarf --coverage" for program in ("gcc", "clang")),
    "gcc -c d/foo.c -o sub/b.o -MD -Wp,-MF,sub/x.d",
    "gcc -c d/foo.c -o sub/b.o -Xpreprocessor -MD -Xpreprocessor sub/x.d",
    "gcc -c d/foo.c -o sub/b.o -gsplit-dwarf -g0",
    "gcc -c d/foo.c -o sub/b.o -save-temps=obj",
    "gcc -c d/foo.c -save-temps=obj",
    "gcc -c d/foo.c -save-temps",
    "gcc -c up.S -save-temps",
    "gcc -S d/foo.c -save-temps=obj -o sub/b.s",
    "gcc -c pp.i -save-temps=obj -o sub/b.o",
    "gcc -c d/foo.c -aux-info sub/aux",
    "gcc -c d/foo.c -O2 -fopt-info-vec",
    "gcc -c d/foo.c -O2 -fsave-optimization-record -o sub/b.o",
    "gcc -c d/foo.c -O2 -fsave-optimization-record",
    "gcc -c d/foo.c -Wa,-al=sub/x.lst -o sub/b.o",
    "gcc -c d/foo.c -Wa,-MD,sub/x.dd -o sub/b.o",
    "gcc -c d/foo.c -Wa,--MD,sub/x.dd -o sub/b.o",
    "gcc -c d/foo.c -Wa,-ahl -o sub/b.o",
    "clang -c d/foo.c -o sub/b.o -gsplit-dwarf=single -g",
    "gcc -c d/foo.c @words -save-temps",
    "gcc -c d/foo.c @words -save-temps=obj -o b",
    "gcc -c d/foo.c @words -save-temps=obj -o sub/b.o",
    "clang -c d/foo.c -g -gsplit-dwarf -ffile-compilation-dir=sub/ -o b.o",
    "clang -c d/foo.c -o sub/b.o -MD -MJ sub/x.json",
    "clang -c d/foo.c --serialize-diagnostics sub/x.dia",
    "clang -c d/foo.c -serialize-diagnostics sub/x.dia -o sub/b.o",
    "clang -c d/foo.c -O2 -fsave-optimization-record -o sub/b.o",
    "clang -c d/foo.c -O2 -fsave-optimization-record",
    "clang -c d/foo.c -O2 -foptimization-record-file=sub/x.yaml",
    "clang -c d/foo.c -save-stats=obj -o sub/b.o",
    "clang -c d/foo.c -save-stats -o sub/b.o",
    "clang -c d/foo.c -emit-llvm",
    "clang -S d/foo.c -emit-llvm",
    "clang -c up.S -emit-llvm",
    "clang -c low.s -emit-llvm",
    "clang -S d/foo.c -emit-llvm -o sub/b.x -MD",
    "clang -c d/foo.c -flto -MD",
    "clang -c d/foo.c -fno-integrated-as -g -gsplit-dwarf -o sub/b.o -Wa,-al=sub/x",
    "clang -c d/foo.c -save-temps -MD",
    "clang -c cc.cpp -save-temps=obj -o sub/b.o",
]
# Here zcc declares more than this release writes: what depends on the release, or on the source.
_LOOSE = [
    "clang -c d/foo.c -g -gsplit-dwarf -fdebug-compilation-dir=sub/",
    "clang -c d/foo.c -g -gsplit-dwarf -ffile-compilation-dir=sub -fdebug-compilation-dir sub/x",
    "clang -S d/foo.c -g -gsplit-dwarf -ffile-compilation-dir=sub/ -o b.s",
    "gcc -c d/foo.c -o sub/b.o -save-temps",
    "gcc -c d/foo.c -o sub/b.o -save-temps=cwd -MD -fstack-usage --coverage -g -gsplit-dwarf",
    "gcc -c d/foo.c -o sub/q.x.o -save-temps=cwd -fsave-optimization-record -O2",
    "gcc -c up.S --coverage -fstack-usage -save-temps -o sub/b.o",
    "gcc -c low.s -MD -save-temps",
    "gcc -c d/foo.c -MD -MP -MF sub/y.d -o sub/b.o -Wp,-MD,sub/x.d",
    "gcc -c d/foo.c -flto -fstack-usage -o sub/b.o",
    "gcc -c foo.x.c -ftest-coverage -fprofile-note=sub/n.gcno",
    "clang -c d/foo.c -MD -MP -MF sub/y.d -o sub/b.o -Wp,-MD,sub/x.d",
    "clang -c d/foo.c -o sub/b.o -gsplit-dwarf",
    "clang -c d/foo.c -o sub/b.o -g0 -gsplit-dwarf -coverage",
    "clang -c d/foo.c -flto -save-temps -g -gsplit-dwarf -o sub/b.o",
    "clang -c d/foo.c -emit-llvm -save-temps",
    "clang -c d/foo.c -ftime-trace -save-temps -o b.o",
    "clang -c d/foo.c -save-stats=obj -save-temps -o sub/b.x.o",
    "clang -S d/foo.c -save-stats=obj -save-temps -o sub/b.s",
    "clang -c d/foo.c -save-stats=cwd -save-temps=obj -o sub/b.o",
    "clang -c d/foo.c -ftime-trace -save-temps=obj -o sub/b.o",
    "clang -S d/foo.c -save-temps -o sub/b.s",
    "clang -c up.S -save-temps=obj -o sub/b.o --coverage -MD",
    "clang -c low.s -MD -g -gsplit-dwarf -save-temps",
    "clang -c pp.i -MD -save-temps=obj -o sub/b.o",
]


def _declared(answer: Compilation, directory: Path) -> set[str]:
    return {os.path.relpath(directory / os.fsdecode(name), directory) for name in answer.outputs}


@pytest.mark.parametrize("line", _EXACT)
def test_the_outputs_are_exactly_what_the_compiler_writes(line: str, tmp_path: Path) -> None:
    answer, written = _compile(line, tmp_path)
    assert _declared(answer, tmp_path) == written
    assert (tmp_path / os.fsdecode(answer.output)).is_file()


@pytest.mark.parametrize("line", _LOOSE)
def test_the_outputs_are_at_least_what_the_compiler_writes(line: str, tmp_path: Path) -> None:
    answer, written = _compile(line, tmp_path)
    assert written < _declared(answer, tmp_path)
    assert (tmp_path / os.fsdecode(answer.output)).is_file()


_ASKED = [
    *("-c d/foo.c", "-S d/foo.c -o sub/b.s", "-c -o sub/b.o d/foo.c", "-c d/foo.c -DX -Id"),
    *("-c d/foo.c -MD -MP -MF sub/x -MT y -MQ z", "-c d/foo.c -MMD -MG", "-c d/foo.c -o b.o -MMD"),
    *("-c d/foo.c -Wp,-MD,sub/x.d", "-c d/foo.c -Wp,-MMD,sub/x.d -MT q -Wp,-DX=1,-U_Y"),
    *("-c d/foo.c -g -gsplit-dwarf --coverage -fstack-usage -save-temps", "-c -x c d/foo.c"),
    *("-c d/foo.c -Werror -Wall -Wa,--noexecstack -Xassembler --noexecstack", "-c d/foo.c -O2"),
    *("-c d/foo.c -Werror -L. -lm -Wl,-x -fopenmp -pipe", "-c -include d/foo.h foo.x.c -H"),
]


@pytest.mark.parametrize("program", ["gcc", "clang"])
@pytest.mark.parametrize("line", _ASKED)
def test_asking_for_dependencies_lists_them_and_writes_nothing(
    program: str, line: str, tmp_path: Path
) -> None:
    needs(program)
    family = _PROGRAMS[program]
    asked = dependency_arguments(compilation(line, family), family)
    _lay_out(tmp_path)
    before = _files(tmp_path)
    told = subprocess.run(
        [os.fsencode(program), *asked],
        cwd=tmp_path,
        capture_output=True,
        env=_environment(),
        check=False,
    )
    assert told.returncode == 0, told.stderr.decode()
    assert b"d/foo.h" in parse_listing(told.stdout)
    assert _files(tmp_path) == before


def test_asking_keeps_defines_inside_preprocessor_words(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#ifdef X\n#include X\n#endif\n")
    (tmp_path / "h.h").write_text("")
    for program in ("gcc", "clang"):
        needs(program)
        family = _PROGRAMS[program]
        argv = [b"-c", b"a.c", b'-Wp,-DX="h.h",-MD,a.d']
        asked = dependency_arguments(compilation(argv, family), family)
        told = subprocess.run(
            [os.fsencode(program), *asked], cwd=tmp_path, capture_output=True, check=True
        )
        assert b"h.h" in parse_listing(told.stdout)
