"""Which language a source is in, and what a compiler calls it. Pure.

The suffixes are those of gcc's and clang's own tables (gcc/gcc.cc, gcc/cp/lang-specs.h; clang's Types.cpp).
"""

from __future__ import annotations

from zcc.compiler.commandline.tables import Family
from zcc.reasons import Reason

C = "c"
CXX = "c++"
OBJC = "objective-c"
OBJCXX = "objective-c++"
C_OUTPUT = "cpp-output"
CXX_OUTPUT = "c++-cpp-output"
OBJC_OUTPUT = "objective-c-cpp-output"
OBJCXX_OUTPUT = "objective-c++-cpp-output"
ASSEMBLER = "assembler"
ASSEMBLER_WITH_CPP = "assembler-with-cpp"

# A language that is handled -> the suffix of its preprocessed text under -save-temps.
PREPROCESSED_SUFFIX = {
    C: b".i",
    CXX: b".ii",
    OBJC: b".mi",
    OBJCXX: b".mii",
    C_OUTPUT: b".i",
    CXX_OUTPUT: b".ii",
    OBJC_OUTPUT: b".mi",
    OBJCXX_OUTPUT: b".mii",
    ASSEMBLER: b".s",
    ASSEMBLER_WITH_CPP: b".s",
}
IS_ASSEMBLY = frozenset((ASSEMBLER, ASSEMBLER_WITH_CPP))
IS_PREPROCESSED = frozenset((C_OUTPUT, CXX_OUTPUT, OBJC_OUTPUT, OBJCXX_OUTPUT))
# No driver prints the search list of a language that has no preprocessor: as which one it is asked. The
# assembler is given the -I of it, and preprocessed text looks nothing up.
ASKED_AS = {
    C_OUTPUT: C,
    CXX_OUTPUT: CXX,
    OBJC_OUTPUT: OBJC,
    OBJCXX_OUTPUT: OBJCXX,
    ASSEMBLER: ASSEMBLER_WITH_CPP,
}

_SUFFIXES = {
    **dict.fromkeys((b"c",), C),
    **dict.fromkeys((b"cc", b"cp", b"cxx", b"cpp", b"CPP", b"c++", b"C"), CXX),
    b"m": OBJC,
    **dict.fromkeys((b"mm", b"M"), OBJCXX),
    b"i": C_OUTPUT,
    b"ii": CXX_OUTPUT,
    b"mi": OBJC_OUTPUT,
    b"mii": OBJCXX_OUTPUT,
    b"s": ASSEMBLER,
    b"S": ASSEMBLER_WITH_CPP,
}
_ONLY_GCC = {b"sx": ASSEMBLER_WITH_CPP}
_ONLY_CLANG = {b"CC": CXX, b"CXX": CXX, b"C++": CXX}
_SUFFIXES_OF = {Family.GCC: _SUFFIXES | _ONLY_GCC, Family.CLANG: _SUFFIXES | _ONLY_CLANG}

# What the drivers g++ and clang++ take a source of these languages for, when no -x names one.
_AS_CXX = {
    Family.GCC: {C: CXX, C_OUTPUT: CXX_OUTPUT},
    Family.CLANG: {C: CXX, C_OUTPUT: CXX_OUTPUT, OBJC: OBJCXX, OBJC_OUTPUT: OBJCXX_OUTPUT},
}

# Why a suffix, or an operand of -x, is not a compile that zcc takes.
_UNTAKEN_SUFFIXES = {
    **dict.fromkeys(b"h hh H hp hxx hpp HPP h++ tcc".split(), Reason.MAKES_PCH),
    **dict.fromkeys(b"cppm ixx ccm cxxm c++m mpp iim pcm".split(), Reason.MODULES),
    **dict.fromkeys(b"cu hip cui".split(), Reason.OFFLOAD),
    **dict.fromkeys(b"o a so lo la obj lib def ld lds x dylib tbd".split(), Reason.LINKER_INPUT),
}
_UNTAKEN_LANGUAGES = {
    "cuda": Reason.OFFLOAD,
    "cuda-cpp-output": Reason.OFFLOAD,
    "hip": Reason.OFFLOAD,
}


def language_of(source: bytes, family: Family, is_cxx: bool) -> str | None:
    """The language that the driver takes this file for; None: not one that zcc handles."""
    language = _SUFFIXES_OF[family].get(_suffix(source))
    if language is not None and is_cxx:
        return _AS_CXX[family].get(language, language)
    return language


def language_named(operand: bytes) -> str | None:
    """The language that `-x OPERAND` names; None: not one that zcc handles."""
    name = operand.decode("ascii", "replace").replace("objc-", "objective-c-", 1)
    name = name.replace("objective-c-++", "objective-c++", 1)
    return name if name in PREPROCESSED_SUFFIX else None


def reason_against_source(source: bytes) -> Reason:
    """Why a file of no language that zcc handles makes the compile local."""
    return _UNTAKEN_SUFFIXES.get(_suffix(source), Reason.LANGUAGE)


def reason_against_language(operand: bytes) -> Reason:
    name = operand.decode("ascii", "replace")
    if name.endswith(("-header", "-header-unit")):
        return (
            Reason.MODULES
            if name.endswith(("-system-header", "-user-header", "unit"))
            else Reason.MAKES_PCH
        )
    if name.endswith("-module"):
        return Reason.MODULES
    return _UNTAKEN_LANGUAGES.get(name, Reason.LANGUAGE)


def _suffix(path: bytes) -> bytes:
    return path.rpartition(b"/")[2].rpartition(b".")[2]
