"""What one source file can make a compiler read: its directives, found by pattern. Pure.

Owns the reading of bytes into `FileFacts`. Must not know where a name leads: that is the scanner's.

It over-approximates: `#if` is ignored, and text in comments and strings may yield directives that no
compiler obeys. It must never miss one. So nothing is removed on the ground of being a comment; a
directive is anything that looks like one at the start of a line or after the end of a comment, in the
text with its line splices undone. Where the text can be read in two ways (trigraphs are on or off,
`%:` is a hash or part of a string), the facts are the union of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Hazard(Enum):
    """What a file holds that a closure of names alone cannot answer for."""

    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    PASTED_TIME = "pasted-time"  # whichever of the three it is
    INCBIN = "incbin"
    PRAGMA_DEPENDENCY = "pragma-dependency"
    PRAGMA_PCH = "pragma-pch"
    HIDDEN_HAS_INCLUDE = "hidden-has-include"
    MODULES = "modules"
    OMP_TARGET = "omp-target"
    PASTED_PROBE = "pasted-probe"
    ENCODING = "encoding"


class Include(NamedTuple):
    """One header name: `is_quoted` for "name", else <name>; `is_next` for the `_next` forms."""

    name: bytes
    is_quoted: bool
    is_next: bool


class Computed(NamedTuple):
    """An include whose operand starts with a macro's name: that name, and what follows it in the line."""

    macro: bytes
    rest: bytes
    is_next: bool = False


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file names. Each tuple is in order of first appearance, nothing twice.

    `probes` are the operands of `__has_include`, `embeds` those of `#embed` and `__has_embed`,
    `assembled` the literal operands of `.incbin` and `.include`, `line_files` the names in `#line`
    directives and line markers.
    """

    includes: tuple[Include, ...] = ()
    probes: tuple[Include, ...] = ()
    embeds: tuple[Include, ...] = ()
    computed: tuple[Computed, ...] = ()
    assembled: tuple[bytes, ...] = ()
    line_files: tuple[bytes, ...] = ()
    hazards: frozenset[Hazard] = frozenset()


_NO_HAZARDS: frozenset[Hazard] = frozenset()
_UTF8_BOM = b"\xef\xbb\xbf"
# A comment inside a directive is bounded, or a file full of `#/*` would take quadratic time.
_BLANK = rb"(?>[ \t\f\v\r]|/\*.{0,2000}?\*/)*+"
_HEADER = rb'(?:"([^"\n]*)"|<([^>\n]*)>'
_WORD = rb"[A-Za-z_$\x80-\xff][\w$\x80-\xff]*+"

# The pattern starts with a literal, which the engine looks for at memory speed.
_DIRECTIVE = re.compile(
    rb"#%(blank)s(?:(include_next|include|import|embed)(?![\w$])%(blank)s%(header)s|(%(word)s)([^\n]*))"
    rb'|(?:line(?![\w$])%(blank)s)?[0-9]++%(blank)s"((?:[^"\n\\]|\\[^\n])*)")'
    % {b"blank": _BLANK, b"header": _HEADER, b"word": _WORD},
    re.DOTALL,
)
_DEFINITION = re.compile(
    rb"#%(blank)sdefine(?![\w$])%(blank)s(%(word)s)([^\n]*)" % {b"blank": _BLANK, b"word": _WORD},
    re.DOTALL,
)
_SPLICE = re.compile(rb"\\[ \t\f\v]*(?:\r\n|\n|\r)")
_PROBE = re.compile(
    rb"__has_(include|embed)(_next)?\w*+(?:%(blank)s\(%(blank)s%(header)s))?"
    % {b"blank": _BLANK, b"header": _HEADER},
    re.DOTALL,
)
# Before a mere mention of the name: a test for its existence.
_MENTION = re.compile(rb"\bdefined[ \t]*\(?[ \t]*\Z")
# What the preprocessor evaluates, or may when it expands a macro. A comment in it can hold line ends.
_EVALUATED = re.compile(
    rb"#%(blank)s((?:el)?if|define)(?![\w$])((?:[^\n/]++|/\*.{0,2000}?\*/|/)*+)"
    % {b"blank": _BLANK},
    re.DOTALL,
)
_REST_IS_BLANK = re.compile(_BLANK + rb"(?://[^\n]*|/\*[^\n]*)?\Z", re.DOTALL)
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
# Comments that begin a line; a `/*` further right could be inside a string. Bounded as above: what is
# not taken off is a hazard too many.
_LEADING_COMMENT = re.compile(rb"^[ \t]*(?:/\*.{0,9000}?\*/|//[^\n]*)", re.DOTALL | re.MULTILINE)
_ASSEMBLED = re.compile(
    rb"\.(incbin|include)(?!\w)[ \t]*(?:\\?\"([^\"\\\n]+)\\?\")?", re.IGNORECASE
)
_PRAGMA = re.compile(rb"\b(dependency|pch_preprocess)\b")
# What makes one of those a pragma's, or may: a macro can hand it to _Pragma.
_OF_PRAGMA = re.compile(
    rb"(?:#(?:\s|/\*.{0,200}?\*/)*(?:pragma|define)|\b_Pragma|\b__pragma)\b", re.DOTALL
)
# `declare target` moves nothing out of a function.
_OMP_TARGET = re.compile(rb"\bomp\b(?![^\n]*\bdeclare\b)[^\n]*\btarget\b")
_MODULE = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?import[ \t]*(?:<[^>\n]+>|\"[^\"\n]+\"|:?[A-Za-z_][\w.:]*)[ \t]*;",
    re.MULTILINE,
)
_TRIGRAPHS = re.compile(rb"\?\?([=/'()!<>-])")
_TRIGRAPH_OF = dict(
    zip(b"=/'()!<>-", (b"#", b"\\", b"^", b"[", b"]", b"|", b"{", b"}", b"~"), strict=True)
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def read_facts(content: bytes) -> FileFacts:
    """The facts of a file with this content."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        # UTF-16, or nobody knows what: what its directives are depends on conversion.
        return FileFacts(hazards=frozenset((Hazard.ENCODING,)))
    readings = list(_readings(content))
    if len(readings) == 1:
        return _facts_of(readings[0])
    return _union([_facts_of(reading) for reading in readings])


def read_definitions(content: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """Every definition of each macro: what follows the name, comments included.

    A function-like macro's definition starts with `(`, an object-like one's with a blank (or is empty).
    """
    found: dict[bytes, tuple[bytes, ...]] = {}
    for text in _readings(content):
        for name, value in _DEFINITION.findall(text):
            known = found.get(name)
            if known is None:
                found[name] = (value,)
            elif value not in known:
                found[name] = (*known, value)
    return found


def read_conditions(content: bytes) -> tuple[bytes, ...]:
    """What stands behind each `#if` and `#elif`, comments included."""
    found: dict[bytes, None] = {}
    for text in _readings(content):
        for kind, condition in _EVALUATED.findall(text):
            if kind != b"define":
                found[condition.strip()] = None
    return tuple(found)


def _readings(content: bytes) -> Iterator[bytes]:
    """The content with splices undone, in each way in which it may be meant."""
    if content.startswith(_UTF8_BOM):
        content = content[len(_UTF8_BOM) :]
    yield _unspliced(content)
    has_trigraphs = b"??" in content and (b"??=" in content or b"??/" in content)
    if has_trigraphs or b"%:" in content:
        if has_trigraphs:
            content = _TRIGRAPHS.sub(lambda found: _TRIGRAPH_OF[found[1][0]], content)
        yield _unspliced(content).replace(b"%:", b"#")


def _unspliced(text: bytes) -> bytes:
    return _SPLICE.sub(b"", text) if b"\\" in text else text


def _facts_of(text: bytes) -> FileFacts:
    includes: dict[Include, None] = {}
    embeds: dict[Include, None] = {}
    computed: dict[Computed, None] = {}
    line_files: dict[bytes, None] = {}
    for match in _DIRECTIVE.finditer(text):
        if not _starts_line(text, match.start()):
            continue
        kind, quoted, angled, word, rest, line_file = match.groups()
        if line_file is not None:
            line_files[_ESCAPE.sub(rb"\1", line_file)] = None
        elif word is not None:
            if _REST_IS_BLANK.match(rest):
                rest = b""
            computed[Computed(word, rest.strip(), kind == b"include_next")] = None
        elif name := quoted or angled:
            into = embeds if kind == b"embed" else includes
            into[Include(name, quoted is not None, kind == b"include_next")] = None
    hazards: set[Hazard] = set()
    probes: dict[Include, None] = {}
    if b"__has_" in text:
        _find_probes(text, probes, embeds, hazards)
    _find_hazards(text, hazards)
    return FileFacts(
        includes=tuple(includes),
        probes=tuple(probes),
        embeds=tuple(embeds),
        computed=tuple(computed),
        assembled=_find_assembled(text, hazards),
        line_files=tuple(line_files),
        hazards=frozenset(hazards) if hazards else _NO_HAZARDS,
    )


def _starts_line(text: bytes, at: int) -> bool:
    """Whether only blanks, or the end of some comment, stand before `at` in its line.

    A lone carriage return ends a line for clang and not for gcc: it does here.
    """
    if at == 0 or text[at - 1] == 0x0A:
        return True
    start = max(text.rfind(b"\n", 0, at), text.rfind(b"\r", 0, at)) + 1
    before = text[start:at].strip(b" \t\f\v")
    return not before or before.endswith(b"*/")


def _start_of_directive(text: bytes, at: int) -> int:
    """Where the line begins that this is in; the end of a comment belongs to the line that it began in."""
    start = text.rfind(b"\n", 0, at) + 1
    closed = text.rfind(b"*/", start, at)
    if closed < 0:
        return start
    return text.rfind(b"\n", 0, max(text.rfind(b"/*", 0, closed), 0)) + 1


def _find_probes(
    text: bytes, probes: dict[Include, None], embeds: dict[Include, None], hazards: set[Hazard]
) -> None:
    is_named = False
    for match in _PROBE.finditer(text):
        is_named = True
        kind, is_next, quoted, angled = match.groups()
        if name := quoted or angled:
            into = embeds if kind == b"embed" else probes
            into[Include(name, quoted is not None, is_next is not None)] = None
    if is_named and any(_hides_probe(*match.groups()) for match in _EVALUATED.finditer(text)):
        hazards.add(Hazard.HIDDEN_HAS_INCLUDE)


def _hides_probe(kind: bytes, text: bytes) -> bool:
    """Whether only the expansion of macros tells what this condition or definition asks for, or from where.

    A quoted name in a definition is looked for beside the file that uses the macro.
    """
    is_definition = kind == b"define"
    for match in _PROBE.finditer(text) if b"__has_" in text else ():
        _, _, quoted, angled = match.groups()
        if quoted and is_definition:
            return True
        before = text[: match.start()]
        is_mention = (is_definition and not before.strip()) or _MENTION.search(before)
        if not quoted and not angled and not is_mention:
            return True
    return False


def _find_hazards(text: bytes, hazards: set[Hazard]) -> None:
    if (b"__DA" in text or b"__TI" in text) and b"#" in text:
        words = set(_NAME.findall(_LEADING_COMMENT.sub(b"", text)))
        if any(start in words and end in words for start, end in _TIME_PIECES):
            hazards.add(Hazard.PASTED_TIME)
    if b"##" in text and b"__h" in text:
        words = set(_NAME.findall(text))
        if any(start in words and end in words for start, end in _EMBED_PIECES):
            hazards.add(Hazard.PASTED_PROBE)
    if b"__TIME" in text or b"__DATE__" in text:
        for found in _TIME.findall(_LEADING_COMMENT.sub(b"", text)):
            hazards.add(Hazard[found.decode()])
    if b"dependency" in text or b"pch_preprocess" in text:
        for found in _PRAGMA.finditer(text):
            if _OF_PRAGMA.search(text, _start_of_directive(text, found.start()), found.start()):
                is_pch = found[1] == b"pch_preprocess"
                hazards.add(Hazard.PRAGMA_PCH if is_pch else Hazard.PRAGMA_DEPENDENCY)
    if b"omp" in text and b"target" in text and _OMP_TARGET.search(text):
        hazards.add(Hazard.OMP_TARGET)
    if (
        b"import" in text
        and _MODULE.search(text)
        and _MODULE.search(_LEADING_COMMENT.sub(b"", text))
    ):
        hazards.add(Hazard.MODULES)


def _find_assembled(text: bytes, hazards: set[Hazard]) -> tuple[bytes, ...]:
    """Literal operands; directives that are built from macros show only in the proof."""
    names: dict[bytes, None] = {}
    for directive, name in _ASSEMBLED.findall(text):
        if name:
            names[name] = None
        elif directive.lower() == b"incbin":
            hazards.add(Hazard.INCBIN)
    return tuple(names)


def _union(parts: list[FileFacts]) -> FileFacts:
    def joined(tuples: Iterable[tuple[object, ...]]) -> tuple[object, ...]:
        return tuple(dict.fromkeys(item for items in tuples for item in items))

    return FileFacts(
        includes=joined(part.includes for part in parts),  # type: ignore[arg-type]
        probes=joined(part.probes for part in parts),  # type: ignore[arg-type]
        embeds=joined(part.embeds for part in parts),  # type: ignore[arg-type]
        computed=joined(part.computed for part in parts),  # type: ignore[arg-type]
        assembled=joined(part.assembled for part in parts),  # type: ignore[arg-type]
        line_files=joined(part.line_files for part in parts),  # type: ignore[arg-type]
        hazards=frozenset().union(*(part.hazards for part in parts)),
    )
