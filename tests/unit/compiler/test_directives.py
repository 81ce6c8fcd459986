"""What is found in a file's text, in every disguise that gcc and clang see through."""

from __future__ import annotations

import pytest

from zcc.compiler.text.directives import (
    Computed,
    Include,
    read_conditions,
    read_definitions,
    read_facts,
)
from zcc.compiler.text.hazards import Hazard
from zcc.compiler.text.lexing import Lexis


def hazards(text: bytes, lexis: Lexis = Lexis.C) -> frozenset[Hazard]:
    return read_facts(text).stands(lexis).hazards


QUOTED = Include(b"x.h", is_quoted=True, is_next=False)
ANGLED = Include(b"x.h", is_quoted=False, is_next=False)


@pytest.mark.parametrize(
    "text",
    [
        b'#include "x.h"',
        b'#include"x.h"\n',
        b'  #  include  "x.h" // why',
        b'\f\v#\tinclude\f"x.h"',
        b'int a;\n#import "x.h"\n',
        b'\xef\xbb\xbf#include "x.h"',
        b'/* a */ # /* b */ include /* c */ "x.h"',
        b'/* a\n b */ #include "x.h"',
        b'/* a\n * b\n **/#include "x.h"',
        b'#/*\n*/include "x.h"',
        b'# include /* \n\n */ "x.h"',
        b'#inc\\\nlude "x.h"',
        b'#inc\\  \t\nlude "x.h"',
        b'\\\n#include \\\r\n "x.h"',
        b'#include "x\\\n.h"',
        b'%:include "x.h"',
        b'%: include "x.h"',
        b'??=include "x.h"',
        b'#inc??/\nlude "x.h"',
        b'int a;\r\n#include "x.h"\r\n',
        b'int a;\r#include "x.h"\rint b;',
        b'#if 0\n#include "x.h"\n#endif\n',
    ],
)
def test_an_include_is_found_in_every_disguise(text: bytes) -> None:
    assert QUOTED in read_facts(text).includes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"#include <x.h>", ANGLED),
        (b"#include<x.h>", ANGLED),
        (b"#include_next <x.h>", Include(b"x.h", False, True)),
        (b'# include_next "x.h"', Include(b"x.h", True, True)),
        (b'#include "a \\b\xff.h"', Include(b"a \\b\xff.h", True, False)),
        (b"#include <a//b.h>", Include(b"a//b.h", False, False)),
        (b"#include <a/*b.h>", Include(b"a/*b.h", False, False)),
    ],
)
def test_the_name_and_its_form_are_read(text: bytes, expected: Include) -> None:
    assert read_facts(text).includes == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        b'puts("#include <x.h>");',
        b" * #include <x.h>\n",
        b"// #include <x.h>\n",
        b'#define X #include "x.h"\n',
        b'#define X \\\n  #include "x.h"\n',
        b'// comment \\\n#include "x.h"\n',
        b'#includes "x.h"\n',
        b'#include ""\n',
        b"#include <>\n",
    ],
)
def test_what_no_compiler_takes_for_an_include_is_none(text: bytes) -> None:
    assert read_facts(text).includes == ()


def test_a_raw_string_hides_nothing_that_follows() -> None:
    text = b'auto s = R"(/* " )";\n#include "x.h"\nauto t = R"(\\\n)";\n#include <y.h>\n'
    assert [each.name for each in read_facts(text).includes] == [b"x.h", b"y.h"]


def test_an_unfinished_comment_hides_nothing() -> None:
    assert QUOTED in read_facts(b'/* no end\n#include "x.h"\n').includes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'#if __has_include("x.h")', QUOTED),
        (b"#if __has_include ( <x.h> )", ANGLED),
        (b"#if __has_include/**/(<x.h>)", ANGLED),
        (b"#if __has_include\\\n(<x.h>)", ANGLED),
        (b"#define HAVE __has_include(<x.h>)", ANGLED),
        (b"#if __has_include_next(<x.h>)", Include(b"x.h", False, True)),
        (b"#elif defined(X) && __has_include__(<x.h>)", ANGLED),
    ],
)
def test_a_probe_with_a_header_name_is_read(text: bytes, expected: Include) -> None:
    facts = read_facts(text)
    assert facts.probes == (expected,)
    assert not facts.told.hazards


@pytest.mark.parametrize(
    "text",
    [
        b"#ifdef __has_include\n#endif",
        b"#ifndef __has_include\n#define __has_include(x) 0\n#endif",
        b"#if defined(__has_include)\n#endif",
        b"#if defined __has_include\n#endif",
        b"#elifdef __has_include",
        b"#if 1\n#endif // __has_include",
        b"/* the\n   __has_include argument (see there).  */",
        b'const char *text = "__has_include";',
    ],
)
def test_a_mere_mention_of_has_include_is_harmless(text: bytes) -> None:
    assert hazards(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        b"#define HAS(x) __has_include(x)",
        b"#if __has_include(HEADER)",
        b"#define HAS __has_include",
        b"#define HAS __has_include_next\n",
        b"#define HAS /*\n*/ __has_include",
        b'#define HAVE __has_include("x.h")',
        b"#if 0\n#elif ON && __has_include(HEADER)",
        b"#define __has_include(x) __has_include_next(x)",
        b"/* #if 0 */ %:if __has_include(HEADER)",
    ],
)
def test_a_probe_behind_a_macro_is_a_hazard(text: bytes) -> None:
    assert hazards(text) == {Hazard.HIDDEN_HAS_INCLUDE}


def test_conditions_are_read_over_splices_and_comments() -> None:
    text = b"#if A \\\n && /* ]\n */ B\n# elif\tC // why\n#ifdef D\n#endif\n%:if E\n"
    assert read_conditions(text) == (b"A  && /* ]\n */ B", b"C // why", b"E")


def test_embedded_files_are_no_includes() -> None:
    facts = read_facts(b'#embed "a.bin" limit(3)\n#if __has_embed(<b.bin>)\n')
    assert facts.includes == facts.probes == ()
    assert [each.name for each in facts.embeds] == [b"a.bin", b"b.bin"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"#include NAME\n", Computed(b"NAME", b"")),
        (b"#include NAME /* why */ // and\n", Computed(b"NAME", b"")),
        (b"#include NAME(x)\n", Computed(b"NAME", b"(x)")),
        (b"#include_next NAME()\n", Computed(b"NAME", b"()", is_next=True)),
        (b'#include L"x.h"\n', Computed(b"L", b'"x.h"')),
        (b"#include PRE bar.h>\n", Computed(b"PRE", b"bar.h>")),
    ],
)
def test_a_computed_include_names_its_macro(text: bytes, expected: Computed) -> None:
    assert read_facts(text).told.computed == (expected,)


def test_files_named_by_line_directives_are_read() -> None:
    text = b'#line 3 "gram.y"\n# 7 "/usr/include/a.h" 1 3\n#line 9\n# 1 "o\\"dd"\n'
    assert read_facts(text).line_files == (b"gram.y", b"/usr/include/a.h", b'o"dd')


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        (b"char d[] = __DATE__;", Hazard.DATE),
        (b"char d[] = __TI\\\nME__;", Hazard.TIME),
        (b"char d[] = __TIMESTAMP__;", Hazard.TIMESTAMP),
        (b"#define CAT(a, b) a##b\nchar d[] = CAT(__DA, TE__);", Hazard.PASTED_TIME),
        (b"#define NOW(x) __TI ## x\nchar d[] = NOW(ME__);", Hazard.PASTED_TIME),
        (b'asm(".incbin \\"" FILE "\\"");', Hazard.INCBIN),
        (b"\t.INCBIN name\n", Hazard.INCBIN),
        (b'#pragma GCC dependency "parse.y"', Hazard.PRAGMA_DEPENDENCY),
        (b'_Pragma("GCC dependency \\"parse.y\\"")', Hazard.PRAGMA_DEPENDENCY),
        (b'#pragma GCC /**/ dependency "parse.y"', Hazard.PRAGMA_DEPENDENCY),
        (b'#pragma GCC /* two\nlines */ dependency "parse.y"', Hazard.PRAGMA_DEPENDENCY),
        (b'#pragma clang dependency "parse.y"', Hazard.PRAGMA_DEPENDENCY),
        (b'#define GO _Pragma("GCC dependency \\"parse.y\\"")', Hazard.PRAGMA_DEPENDENCY),
        (b'#define D dependency "parse.y"\nRUN(GCC D)', Hazard.PRAGMA_DEPENDENCY),
        (b'#pragma GCC pch_preprocess "x.gch"', Hazard.PRAGMA_PCH),
        (b"#pragma omp target map(to: a)\n", Hazard.OMP_TARGET),
        (b"  #  pragma omp \\\n  teams target\n", Hazard.OMP_TARGET),
        (b'_Pragma("omp target teams") for (;;);', Hazard.OMP_TARGET),
        (b"[[omp::directive(target)]] { }", Hazard.OMP_TARGET),
        (b'#define C(a, b) a##b\n#if C(__has_emb, ed)("x.o")\n', Hazard.PASTED_PROBE),
        (b'#define HAS(x) __has_##x\n#if HAS(embed)("x.o")\n', Hazard.PASTED_PROBE),
        (b"import <vector>;\n", Hazard.MODULES),
        (b"export import foo.bar;\n", Hazard.MODULES),
        (b"\xff\xfe#\0i\0", Hazard.ENCODING),
        (b"#\0i\0n\0", Hazard.ENCODING),
    ],
)
def test_a_hazard_is_seen(text: bytes, hazard: Hazard) -> None:
    # What imports is a unit of modules, where those are on.
    assert hazards(text) - {Hazard.MODULE_UNIT} == {hazard}


@pytest.mark.parametrize(
    "text",
    [
        b"/* uses\n * __DATE__ */\nint a;",
        b"  // __TIME__ is not used\n",
        b"int my__DATE__x;",
        b"// import the thing;\n",
        b"import = 3;\n",
        b"      import_location_map_;\n",
        b"// define it here, to avoid a dependency\nint a;",
        b"#define HAVE_X 1 /* a dependency of y */\n",
        b"#define HAVE_X 1 // dependency\n",
        b'#define WHY "no dependency found"\n',
        b"#pragma once /* no\ndependency */\n",
        b"int a; /* __DATE__ */ int b; // __TIME__\n",
        b"puts(\"__DATE__\"); f('\"', \"__TIME__\", '\\'');",
        b"/* it's */ int a; /* __DATE__ */",
        b"#if 0\ndon't\n#endif\nint a; // __DATE__\n",
        b"int a; // \\\n__DATE__\n",
        b'puts(".incbin what");\n',
        b"int a; /* as .incbin does */",
        b"int a; /*\n#if __has_include(HEADER)\n*/",
        b"int a; // #pragma omp target\n",
        b'puts("see omp target");',
        b"int a; /*\nimport b;\nmodule c;\n*/",
        b"#pragma omp declare target\n",
        b"#define HAS(x) __has_##x\n#if HAS(attribute)(used)\n#endif",
        b"#pragma omp parallel for\nint target;",
    ],
)
def test_a_word_in_a_comment_or_a_string_is_no_hazard(text: bytes) -> None:
    assert hazards(text) <= {Hazard.QUOTED_TIME}


@pytest.mark.parametrize(
    "text",
    [
        b"// a lone \r return __DATE__\n",
        b"#include <a//b.h> __DATE__\n",
        b'#include "a\\" // __DATE__\n',
        b"// \x95\\\n__DATE__\n",
        b'auto s = R"(\\\n)"; // __DATE__\n',
        b"int a; // __DATE__ \n /* no end",
    ],
)
def test_where_there_is_no_telling_every_word_counts(text: bytes) -> None:
    assert Hazard.DATE in hazards(text)


@pytest.mark.parametrize(
    "text",
    [
        b'auto a = R"(" /*)"; __DATE__ /* */',
        b"int a = 1'0 /* ' */ + __DATE__[0]; /* ' */",
        b"it's /* no comment\n __DATE__ /* one */",
        b"'\"' __DATE__ '\"'",
        b'"\\"" __DATE__ ""',
        b"movb $'a, %al; __DATE__ /* it */",
        b"int a; //* \n __DATE__ /* */",
        b"#define A //\n__DATE__",
        b'"??/" __DATE__ "',
    ],
)
def test_code_between_what_looks_like_strings_and_comments_is_seen(text: bytes) -> None:
    assert Hazard.DATE in hazards(text)


@pytest.mark.parametrize(
    "text",
    [
        b'auto s = R"x(\n__DATE__ " )" import a.b;\nimport c;\n)x";',
        b"int a = 1'000; // isn't __DATE__\n",
    ],
)
def test_raw_strings_and_digit_separators_are_those_of_cxx(text: bytes) -> None:
    assert hazards(text, Lexis.CXX) <= {Hazard.QUOTED_TIME}
    assert Hazard.DATE in hazards(text)


def test_in_old_c_every_word_counts() -> None:
    assert Hazard.DATE in hazards(b"/* __DATE__ */", Lexis.OLD)


def test_a_string_is_a_pragmas_where_it_could_be_one() -> None:
    assert hazards(b'f("__TIME__");') == {Hazard.QUOTED_TIME}
    assert hazards(b'_Pragma("message(__TIME__)")') >= {Hazard.PASTED_TIME}
    assert hazards(b"#define P(x) _Pragma(x)") == {Hazard.OPEN_PRAGMA}
    assert hazards(b"#define P _Pragma\n") == {Hazard.OPEN_PRAGMA}
    assert hazards(b"#define P(x) _Pra##x\nP(gma)(y)") == {Hazard.OPEN_PRAGMA}
    assert hazards(b'#define P(x) _Pragma ( #x) _Pragma("once")') == set()
    assert hazards(b'P("GCC dependency \\"a\\"")') == {Hazard.PRAGMA_DEPENDENCY}
    assert hazards(b'P(R"(GCC dependency "a")")') == {Hazard.PRAGMA_DEPENDENCY}


def test_a_computed_include_in_a_comment_or_string_is_none() -> None:
    text = b'/*\n#include FILES\n*/ auto s = R"(\n#include MORE\n)";\n#include NAME // why\n'
    assert read_facts(text).told_in_cxx.computed == (Computed(b"NAME", b""),)
    assert len(read_facts(text).suspected.computed) == 3


def test_a_text_about_assembly_names_no_files() -> None:
    assert read_facts(b'fputs(".include \\"bsd.mk\\"\\n", f);').told.assembled == ()
    assert read_facts(b'int a; // .include "x.s"\n').told.assembled == ()
    assert read_facts(b'#define I(f) ".include \\"x.s\\""\n').told.assembled == (b"x.s",)


def test_literal_assembler_inputs_are_read_in_any_case() -> None:
    text = (
        b'\t.incbin "a.bin",4\n.INCLUDE "b.inc"\nasm(".incbin \\"c.bin\\"\\n\\t.incbin \\"d\\"");'
    )
    assert read_facts(text).told.assembled == (b"a.bin", b"b.inc", b"c.bin", b"d")


def test_definitions_are_read_in_all_forms() -> None:
    text = b'#define A "a.h" // x\n#  define/**/A <b.h>\n%:define A(x) x\n#define AB 1\n#define B\\\n C\n'
    assert read_definitions(text) == {
        b"A": (b' "a.h" // x', b" <b.h>", b"(x) x"),
        b"AB": (b" 1",),
        b"B": (b" C",),
    }


def test_a_pathological_text_takes_no_time() -> None:
    read_facts(b"#" * 200_000)
    read_facts(b"#/*" * 10_000)
    read_facts(b"#include " + b"/* *" * 10_000)
    read_facts(b"\\ " * 100_000)
    read_facts(b"__TIME" + b"\n/*" * 4_000)
