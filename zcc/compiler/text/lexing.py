"""What of a C file's text is code, what a string, and what a comment. Pure.

Owns the telling apart, for those who look for words that mean something in code alone. Must not know which
words those are.

`#if` is ignored, as the compilers ignore it here: what is skipped is cut into tokens all the same. Raw
strings and digit separators are of some languages only; a text is cut both ways where the language may have
them or not. Where there is no telling there is no answer, and the caller has to take every word for code:

* a lone carriage return, which ends a line for clang and not for gcc;
* a comment without an end, or a trigraph that is a quote or none;
* a header's name that holds what would begin a comment or a string (`#include <a//b.h>`), or a backslash
  before its quote, which escapes nothing there;
* a raw string in a text whose line splices have been undone: within a raw string they stand for themselves;
* a backslash behind a byte of no ASCII character, which in Shift-JIS or Big5 may be the other half of one, and
  an escape character, which in ISO-2022 changes what all the following ones are.

That `//` begins a comment is taken for granted: whose command line says otherwise may not ask here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Lexis(Enum):
    """Of which language the tokens are, as far as a command line tells."""

    OLD = "ISO C90 or traditional C, which have other comments: nothing is told apart"
    C = "with raw strings and digit separators, or without"
    CXX = "C++14 or later: with both"


class Lexed(NamedTuple):
    """A text without its comments. `bare` is as long as `code`, with what is inside `strings` made blank.

    Where it has not been cut, both are the text, and so is the only string.
    """

    code: bytes
    bare: bytes
    strings: tuple[bytes, ...]
    is_cut: bool = True

    def is_code(self, at: int) -> bool:
        """Whether what stands here in `code`, and is no blank, is outside of strings."""
        return self.code[at] == self.bare[at]


def uncut(text: bytes) -> Lexed:
    """A text in which every word counts, as code and as a string."""
    return Lexed(text, text, (text,), is_cut=False)


_COMMENT = rb"(?P<comment>//[^\n]*|/\*(?:.*?\*/|(?P<endless>)))"
# Never over a line's end: what is not ended there is only a quote, and what follows stays code.
_STRING = rb'|(?P<string>"(?:[^"\\\n]|\\[^\n])*")'
# What it holds stays code: in assembly a tick needs no second one.
_CHARACTER = rb"|'(?:[^'\\\n]|\\[^\n])*'|[\"'][^\n]*"
_RAW = rb'|(?P<raw>(?<![\w$\x80-\xff])(?:u8|[uUL])?R"(?P<mark>[^()\\\s"]{0,16})\(.*?\)(?P=mark)")'
_NUMBER = rb"|(?<![\w$\x80-\xff])\.?[0-9](?:[eEpP][+-]|'(?=\w)|[\w.])*+"

_HAS_RAW = re.compile(rb'(?<![\w$\x80-\xff])(?:u8|[uUL])?R"')
_HAS_SEPARATOR = re.compile(rb"\w'\w")
_PATTERNS = {
    (has_raw, has_separators): re.compile(
        _COMMENT
        + (_RAW if has_raw else b"")
        + (_NUMBER if has_separators else b"")
        + _STRING
        + _CHARACTER,
        re.DOTALL,
    )
    for has_raw in (False, True)
    for has_separators in (False, True)
}
_DOUBT = re.compile(rb"\r(?!\n)|\x1b|[\x80-\xff]\\|\?\?'")
_ODD_HEADER = re.compile(
    rb"(?:include|import|embed|__has_)\w*+\s*+\(?\s*+"
    rb"(?:<[^>\n]*?(?:/[/*]|[\"'\\])[^>\n]*>|\"[^\"\n]*\\\")"
)


def lex(text: bytes, raw: bytes) -> Sequence[Lexed]:
    """The text in each way in which it can be cut, that of C++14 last; empty where there is no telling.

    `raw` is the text as it was before its line splices were undone.
    """
    if _DOUBT.search(raw) or _ODD_HEADER.search(text):
        return ()
    has_raw = _HAS_RAW.search(text) is not None
    if has_raw and text != raw:
        return ()
    has_separators = _HAS_SEPARATOR.search(text) is not None
    ways = [
        _cut(text, _PATTERNS[raw_strings, separators])
        for raw_strings in ((False, True) if has_raw else (False,))
        for separators in ((False, True) if has_separators else (False,))
    ]
    known = [way for way in ways if way is not None]
    return known if len(known) == len(ways) else ()


def _cut(text: bytes, pattern: re.Pattern[bytes]) -> Lexed | None:
    code: list[bytes] = []
    bare: list[bytes] = []
    strings: list[bytes] = []
    at = 0
    for match in pattern.finditer(text):
        if match["endless"] is not None:
            return None
        if match.lastgroup is None:
            continue
        start, end = match.span()
        between = text[at:start]
        if match.lastgroup == "comment":
            code += (between, b" ")
            bare += (between, b" ")
        else:
            strings.append(text[start:end])
            code += (between, strings[-1])
            bare += (between, _blank(strings[-1]))
        at = end
    code.append(text[at:])
    bare.append(text[at:])
    return Lexed(b"".join(code), b"".join(bare), tuple(strings))


def _blank(string: bytes) -> bytes:
    """The string with nothing in it, and as long."""
    start = string.index(b'"') + 1
    return string[:start] + b" " * (len(string) - start - 1) + b'"'
