"""Words in a file that names alone cannot answer for: the clock, pragmas, modules, what assemblers read. Pure.

Owns which words these are and where they count: in code, never in a comment, and in a string only where
`_Pragma` or an assembler makes something of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from zcc.compiler.text.lexing import Lexed


class Hazard(Enum):
    """What a file holds that a closure of names alone cannot answer for."""

    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    PASTED_TIME = "pasted-time"  # whichever of the three it is
    QUOTED_TIME = "quoted-time"  # in a string: it takes an OPEN_PRAGMA to make anything of it
    OPEN_PRAGMA = "open-pragma"  # _Pragma of no literal: what a macro is given may be any string
    INCBIN = "incbin"
    PRAGMA_DEPENDENCY = "pragma-dependency"
    PRAGMA_PCH = "pragma-pch"
    HIDDEN_HAS_INCLUDE = "hidden-has-include"
    MODULES = "modules"
    MODULE_UNIT = "module-unit"  # provides or imports one, if modules are on
    OMP_TARGET = "omp-target"
    PASTED_PROBE = "pasted-probe"
    ENCODING = "encoding"


# A comment inside a directive is bounded, or a file full of `#/*` would take quadratic time.
BLANK = rb"(?>[ \t\f\v\r]|/\*.{0,2000}?\*/)*+"
_NAME = re.compile(rb"[A-Za-z_]\w*+")
_TIME = re.compile(rb"\b__(DATE|TIME|TIMESTAMP)__\b")
# `CAT(__DA, TE__)`: both pieces are words of one file; elsewhere they are not recognised.
_TIME_PIECES = tuple(
    (name[:at], name[at:])
    for name in (b"__DATE__", b"__TIME__", b"__TIMESTAMP__")
    for at in range(4, len(name) - 2)  # glibc's types.h has the words `__TIME` and `__`
)
# A pasted `__has_include` is left to the proof, which cannot tell clang's question for a file to embed from
# the one before it writes an output.
_EMBED_PIECES = tuple((b"__has_embed"[:at], b"__has_embed"[at:]) for at in range(3, 11))
_ASSEMBLED = re.compile(
    rb"\.(incbin|include)(?!\w)[ \t]*(?:\\?\"([^\"\\\n]+)\\?\")?", re.IGNORECASE
)
# What may come before the name of a pragma in its string.
_OPENING = rb"(?:(?:u8|[uUL])?R?\"(?:[^()\\\s\"]{0,16}\()?)?(?:\s|/\*.{0,200}?\*/)*+\b"
_PRAGMA = re.compile(
    rb"(?:#%(blank)s(?:pragma|define)|\b_Pragma|\b__pragma)\b"
    rb"(?:(?>/\*.{0,2000}?\*/|[^\n])*?|[^\n]*?)\b(dependency|pch_preprocess)\b" % {b"blank": BLANK},
    re.DOTALL,
)
_NAMED_PRAGMA = re.compile(rb"\b(?:GCC|clang)\s+(dependency|pch_preprocess)\b")
# What _Pragma could make of a string: the name of the pragma stands first, unexpanded.
_QUOTED_PRAGMA = re.compile(
    _OPENING + rb"(?:GCC|clang)\b.{0,200}?\b(dependency|pch_preprocess)\b", re.DOTALL
)
_PRAGMA_OPERATOR = re.compile(
    rb"\b_Pragma\b(?!%(blank)s\(%(blank)s(?:(?:L|u8|[uU])?\"|#))" % {b"blank": BLANK}, re.DOTALL
)
_PRAGMA_OF_TIME = re.compile(
    rb"\b_Pragma%(blank)s\(%(blank)s(?:L|u8|[uU])?\"(?:[^\"\\\n]|\\[^\n])*?\b__(?:DATE|TIME|TIMESTAMP)__"
    % {b"blank": BLANK},
    re.DOTALL,
)
_OPERATOR_PIECES = tuple((b"_Pragma"[:at], b"_Pragma"[at:]) for at in range(1, 7))
_PASTED = (
    (_TIME_PIECES, Hazard.PASTED_TIME),
    (_EMBED_PIECES, Hazard.PASTED_PROBE),
    (_OPERATOR_PIECES, Hazard.OPEN_PRAGMA),
)
_DEFINES_ASSEMBLY = re.compile(
    rb"#%(blank)sdefine\b[^\n]*\.(?:incbin|include)\b" % {b"blank": BLANK},
    re.DOTALL | re.IGNORECASE,
)
_SAYS_ASM = re.compile(rb"\b(?:asm|__asm|__asm__)\b")
# `declare target` moves nothing out of a function.
_TARGET = rb"omp\b(?![^\n]*\bdeclare\b)[^\n]*\btarget\b"
_OMP_TARGET = re.compile(rb"\b" + _TARGET)
_QUOTED_OMP_TARGET = re.compile(_OPENING + _TARGET, re.DOTALL)
_IMPORT = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?import\b[ \t]*(?:<[^>\n]+>|\"[^\"\n]+\"|:?[A-Za-z_][\w.:]*)[ \t]*;",
    re.MULTILINE,
)
# Where modules are on, these words mean nothing else at the start of a line.
_MODULE_UNIT = re.compile(
    rb"^\s*+(?:export\s++)?(?:import|module|__import|__module)\b(?=\s*[\w<\":;\[])", re.MULTILINE
)


def find_hazards(text: Lexed, hazards: set[Hazard]) -> None:
    """Adds those that the words of this text make."""
    code, bare = text.code, text.bare
    _find_pasted(bare, hazards)
    if b"__TIME" in code or b"__DATE__" in code:
        hazards.update(Hazard[found.decode()] for found in _TIME.findall(bare))
        if any(map(_TIME.search, text.strings)):
            hazards.add(Hazard.QUOTED_TIME)
            if _PRAGMA_OF_TIME.search(code):
                hazards.add(Hazard.PASTED_TIME)
    if b"_Pragma" in bare and _PRAGMA_OPERATOR.search(code):
        hazards.add(Hazard.OPEN_PRAGMA)
    if b"dependency" in code or b"pch_preprocess" in code:
        found = set(_PRAGMA.findall(bare)) | set(_NAMED_PRAGMA.findall(bare))
        found.update(match[1] for match in _beginnings(text, _QUOTED_PRAGMA))
        if b"dependency" in found:
            hazards.add(Hazard.PRAGMA_DEPENDENCY)
        if b"pch_preprocess" in found:
            hazards.add(Hazard.PRAGMA_PCH)
    if b"omp" in code and b"target" in code and _names_omp_target(text):
        hazards.add(Hazard.OMP_TARGET)
    if b"import" in bare or b"module" in bare:
        if _IMPORT.search(bare):
            hazards.add(Hazard.MODULES)
        if _MODULE_UNIT.search(bare):
            hazards.add(Hazard.MODULE_UNIT)


def _names_omp_target(text: Lexed) -> bool:
    return _OMP_TARGET.search(text.bare) is not None or any(_beginnings(text, _QUOTED_OMP_TARGET))


def _beginnings(text: Lexed, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """Where a string begins with this, or anything does in a text that has not been cut."""
    find = pattern.match if text.is_cut else pattern.search
    return filter(None, map(find, text.strings))


def _find_pasted(bare: bytes, hazards: set[Hazard]) -> None:
    """What `##` could make: both pieces are words of one file; elsewhere they are not recognised."""
    has_paste = b"##" in bare
    if b"__DA" in bare or b"__TI" in bare or (has_paste and (b"__h" in bare or b"_P" in bare)):
        words = set(_NAME.findall(bare))
        for pieces, hazard in _PASTED if has_paste else _PASTED[:1]:
            if any(start in words and end in words for start, end in pieces):
                hazards.add(hazard)


def find_assembled(text: Lexed, hazards: set[Hazard]) -> tuple[bytes, ...]:
    """Literal operands; directives that are built from macros show only in the proof.

    In C they stand in strings; in a file that has neither an `asm` nor a macro to hand one on, a string is
    a text about assembly.
    """
    names: dict[bytes, None] = {}
    if b"." not in text.code:
        return ()
    for match in _ASSEMBLED.finditer(text.code):
        if not text.is_code(match.start()) and not _reaches_assembler(text):
            continue
        if match[2]:
            names[match[2]] = None
        elif match[1].lower() == b"incbin":
            hazards.add(Hazard.INCBIN)
    return tuple(names)


def _reaches_assembler(text: Lexed) -> bool:
    if _SAYS_ASM.search(text.bare):
        return True
    return any(text.is_code(found.start()) for found in _DEFINES_ASSEMBLY.finditer(text.code))
