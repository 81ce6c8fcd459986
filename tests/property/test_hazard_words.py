"""A word that means something in code alone counts there, and nowhere else.

Invariants, for any text made of what opens, closes and splices comments and strings:
* what gcc or clang takes for code is taken for code (the compilers are asked, by a macro of the word's name);
* a word that stands in well-formed comments and strings only is not, nor does it change the way of the compile.

ZCC_PROPERTY_EXAMPLES sets the number of examples for long runs.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import needs
from zcc.compiler.text.directives import read_facts
from zcc.compiler.text.hazards import Hazard
from zcc.compiler.text.lexing import Lexis

EXAMPLES = int(os.environ.get("ZCC_PROPERTY_EXAMPLES", "40"))
PIECES = (
    "__DATE__", "__DATE__", "__DATE__", " ", "\n", "\n", "/*", "*/", "//", '"', '"', "'", "\\", "\\\n",
    "\\ \n", "\r\n", "x", "1'0", "1", 'R"(', ')"', 'R"a(', ')a"', 'u8R"(', "#if 0\n", "#endif\n",
    "#define A ", "??/", "??'", "*", "/", "<", "include", "#include <", ">", "\xe9", "(", ")", "\\\\",
    '\\"', "\f",
)  # fmt: skip
# What is asked, and as which language the answer is read.
ASKED = (
    (("gcc", "-xc", "-std=gnu17"), Lexis.C),
    (("gcc", "-xc", "-std=c99", "-trigraphs"), Lexis.C),
    (("gcc", "-xc++", "-std=gnu++17"), Lexis.CXX),
    (("gcc", "-xc++", "-std=c++11"), Lexis.C),
    (("gcc", "-xassembler-with-cpp"), Lexis.C),
    (("gcc", "-xc", "-std=c90"), Lexis.OLD),
    (("clang", "-xc", "-std=gnu17"), Lexis.C),
    (("clang", "-xc++", "-std=c++20"), Lexis.CXX),
    (("clang", "-xc", "-std=gnu89"), Lexis.OLD),
)


def is_expanded(command: tuple[str, ...], text: bytes) -> bool:
    """Whether this compiler, without complaint, takes the word for code somewhere."""
    own = ("-E", "-P", "-w", "-U__DATE__", "-D__DATE__=zcc_found", "-D__ASSEMBLER__", "-")
    done = subprocess.run((*command, *own), input=text, capture_output=True, check=False)
    return done.returncode == 0 and b"zcc_found" in done.stdout


@pytest.mark.parametrize(("command", "lexis"), ASKED, ids=lambda each: getattr(each, "name", None))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=24))
@example(["x", "/*", '"', "*/", "__DATE__", "/*", '"', "*/"])
def test_what_a_compiler_takes_for_code_is_taken_for_code(
    command: tuple[str, ...], lexis: Lexis, pieces: list[str]
) -> None:
    needs(command[0])
    text = "".join(pieces).encode("latin-1")
    if is_expanded(command, text):
        assert Hazard.DATE in read_facts(text).stands(lexis).hazards


# Each makes another way of a compile where it is code.
WORDS = (
    "__DATE__", "__TIME__", "__TIMESTAMP__", "GCC dependency", "pch_preprocess", ".incbin f",
    '.include "f"', "#pragma GCC dependency", "import a;", "export module b;", "module;", "#include FILES",
    "#if __has_include(HEADER)", "omp target", "_Pragma(x)", "__has_embed", "#define D dependency",
    "#embed FILE",
)  # fmt: skip
NOISE = st.sampled_from(("don't", "1'0", 'say "', "/", "*", "it", "\t", " ", "#", "é.", "%"))


def _commented(parts: tuple[list[str], bool, bool]) -> str:
    words, is_line, has_lines = parts
    if is_line:
        return "// " + " ".join(words) + ("\\\n still\n" if has_lines else "\n")
    return "/*" + ("\n" if has_lines else " ").join(words) + "*/"


def _raw(words: list[str]) -> str:
    return 'const char *r = R"zcc(see ' + "\n".join(words) + ')zcc";\n'


inside = st.lists(st.one_of(st.sampled_from(WORDS), NOISE), min_size=1, max_size=6)
comments = st.tuples(inside, st.booleans(), st.booleans()).map(_commented)
# A string that begins with the name of a pragma might be one's.
strings = inside.map(
    lambda words: (
        'const char *s = "see '
        + " ".join(words).replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
        + '";\n'
    )
)
code = st.sampled_from(
    (
        "int a;",
        "\n#define B 1 ",
        "\n#define C \\\n 2 ",
        "char q = '\\'';",
        "#pragma once\n",
        "f(1, '\"');",
    )
)
harmless = st.lists(st.one_of(comments, strings, code), min_size=1, max_size=8).map("\n".join)


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(harmless)
def test_words_in_comments_and_strings_change_nothing(text: str) -> None:
    found = read_facts(text.encode()).told_in_cxx
    assert found.hazards <= {Hazard.QUOTED_TIME}
    assert (found.computed, found.assembled) == ((), ())


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(st.lists(st.one_of(comments, code), max_size=4).map("\n".join), inside.map(_raw))
def test_words_in_raw_strings_change_nothing_in_cxx(before: str, raw: str) -> None:
    if "\\" in before:
        return  # a splice before a raw string: there is no telling
    found = read_facts(f"{before}\n{raw}".encode()).told_in_cxx
    assert found.hazards <= {Hazard.QUOTED_TIME}
    assert (found.computed, found.assembled) == ((), ())


REAL = {
    "\nchar d[] = __DATE__;\n": Hazard.DATE,
    "\nchar d[] = __TIME__ /* */;\n": Hazard.TIME,
    "\n#define NOW __TIMESTAMP__\n": Hazard.TIMESTAMP,
    '\n#pragma GCC dependency "f"\n': Hazard.PRAGMA_DEPENDENCY,
    '\n_Pragma("GCC dependency \\"f\\"")\n': Hazard.PRAGMA_DEPENDENCY,
    "\n#define D dependency\n": Hazard.PRAGMA_DEPENDENCY,
    '\nasm(".incbin" NAME);\n': Hazard.INCBIN,
    "\nimport a;\n": Hazard.MODULES,
    "\nexport module a;\n": Hazard.MODULE_UNIT,
    "\n#if __has_include(HEADER)\n#endif\n": Hazard.HIDDEN_HAS_INCLUDE,
    "\n#pragma omp target\n": Hazard.OMP_TARGET,
}


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(harmless, st.sampled_from(sorted(REAL)), harmless, st.sampled_from(Lexis))
def test_words_in_code_always_count(before: str, real: str, after: str, lexis: Lexis) -> None:
    facts = read_facts(f"{before}\n{real}\n{after}".encode())
    assert REAL[real] in facts.stands(lexis).hazards
