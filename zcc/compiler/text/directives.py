"""What one source file can make a compiler read: its directives, found by pattern. Pure.

Owns the reading of bytes into `FileFacts`. Must not know where a name leads: that is the scanner's.

It over-approximates: `#if` is ignored, and text in comments and strings may yield directives that no
compiler obeys. It must never miss one. So nothing is removed on the ground of being a comment; a
directive is anything that looks like one at the start of a line or after the end of a comment, in the
text with its line splices undone. Where the text can be read in two ways (trigraphs are on or off,
`%:` is a hash or part of a string), the facts are the union of both.

A name too many costs nothing; a hazard too many costs a remote compile, and so does a computed include, or what
an assembler would read. So where there is one, comments are stripped and strings told apart (lexing.py) to see
whether it stands; `CodeSuspicion` keeps what the words alone say, for those who may not rely on that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from zcc.compiler.text.hazards import BLANK, Hazard, find_assembled, find_hazards
from zcc.compiler.text.lexing import Lexed, Lexis, lex, uncut

T = TypeVar("T")


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
class CodeSuspicion:
    """What costs a remote compile: `assembled` are the literal operands of `.incbin` and `.include`."""

    computed: tuple[Computed, ...] = ()
    assembled: tuple[bytes, ...] = ()
    hazards: frozenset[Hazard] = frozenset()


NOTHING = CodeSuspicion()


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file names. Each tuple is in order of first appearance, nothing twice.

    `probes` are the operands of `__has_include`, `embeds` those of `#embed` and `__has_embed`, `line_files`
    the names in `#line` directives and line markers. `told` is what the tokens say, `told_in_cxx` what those
    of C++14 do, `suspected` what the words do, comments and strings among them.
    """

    includes: tuple[Include, ...] = ()
    probes: tuple[Include, ...] = ()
    embeds: tuple[Include, ...] = ()
    line_files: tuple[bytes, ...] = ()
    told: CodeSuspicion = NOTHING
    told_in_cxx: CodeSuspicion = NOTHING
    suspected: CodeSuspicion = NOTHING

    def stands(self, lexis: Lexis) -> CodeSuspicion:
        """What of the suspicion is left in this language."""
        match lexis:
            case Lexis.OLD:
                return self.suspected
            case Lexis.C:
                return self.told
            case Lexis.CXX:
                return self.told_in_cxx


_UTF8_BOM = b"\xef\xbb\xbf"
_HEADER = rb'(?:"([^"\n]*)"|<([^>\n]*)>'
_WORD = rb"[A-Za-z_$\x80-\xff][\w$\x80-\xff]*+"

# The pattern starts with a literal, which the engine looks for at memory speed.
_DIRECTIVE = re.compile(
    rb"#%(blank)s(?:(include_next|include|import|embed)(?![\w$])%(blank)s%(header)s|(%(word)s)([^\n]*))"
    rb'|(?:line(?![\w$])%(blank)s)?[0-9]++%(blank)s"((?:[^"\n\\]|\\[^\n])*)")'
    % {b"blank": BLANK, b"header": _HEADER, b"word": _WORD},
    re.DOTALL,
)
_DEFINITION = re.compile(
    rb"#%(blank)sdefine(?![\w$])%(blank)s(%(word)s)([^\n]*)" % {b"blank": BLANK, b"word": _WORD},
    re.DOTALL,
)
_SPLICE = re.compile(rb"\\[ \t\f\v]*(?:\r\n|\n|\r)")
_PROBE = re.compile(
    rb"__has_(include|embed)(_next)?\w*+(?:%(blank)s\(%(blank)s%(header)s))?"
    % {b"blank": BLANK, b"header": _HEADER},
    re.DOTALL,
)
# Before a mere mention of the name: a test for its existence.
_MENTION = re.compile(rb"\bdefined[ \t]*\(?[ \t]*\Z")
# What the preprocessor evaluates, or may when it expands a macro. A comment in it can hold line ends.
_EVALUATED = re.compile(
    rb"#%(blank)s((?:el)?if|define)(?![\w$])((?:[^\n/]++|/\*.{0,2000}?\*/|/)*+)"
    % {b"blank": BLANK},
    re.DOTALL,
)
_REST_IS_BLANK = re.compile(BLANK + rb"(?://[^\n]*|/\*[^\n]*)?\Z", re.DOTALL)

_TRIGRAPHS = re.compile(rb"\?\?([=/'()!<>-])")
_TRIGRAPH_OF = dict(
    zip(b"=/'()!<>-", (b"#", b"\\", b"^", b"[", b"]", b"|", b"{", b"}", b"~"), strict=True)
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def read_facts(content: bytes) -> FileFacts:
    """The facts of a file with this content."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        # UTF-16, or nobody knows what: what its directives are depends on conversion.
        unread = CodeSuspicion(hazards=frozenset((Hazard.ENCODING,)))
        return FileFacts(told=unread, told_in_cxx=unread, suspected=unread)
    readings = list(_readings(content))
    if len(readings) == 1:
        return _facts_of(*readings[0])
    return _union([_facts_of(*reading) for reading in readings])


def read_definitions(content: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """Every definition of each macro: what follows the name, comments included.

    A function-like macro's definition starts with `(`, an object-like one's with a blank (or is empty).
    """
    found: dict[bytes, tuple[bytes, ...]] = {}
    for text, _ in _readings(content):
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
    for text, _ in _readings(content):
        for kind, condition in _EVALUATED.findall(text):
            if kind != b"define":
                found[condition.strip()] = None
    return tuple(found)


def _readings(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The content with splices undone and as it was, in each way in which it may be meant."""
    if content.startswith(_UTF8_BOM):
        content = content[len(_UTF8_BOM) :]
    yield _unspliced(content), content
    has_trigraphs = b"??" in content and (b"??=" in content or b"??/" in content)
    if has_trigraphs or b"%:" in content:
        if has_trigraphs:
            content = _TRIGRAPHS.sub(lambda found: _TRIGRAPH_OF[found[1][0]], content)
        content = content.replace(b"%:", b"#")
        yield _unspliced(content), content


def _unspliced(text: bytes) -> bytes:
    return _SPLICE.sub(b"", text) if b"\\" in text else text


def _facts_of(text: bytes, raw: bytes) -> FileFacts:
    includes: dict[Include, None] = {}
    embeds: dict[Include, None] = {}
    line_files: dict[bytes, None] = {}
    has_computed = False
    for match in _DIRECTIVE.finditer(text):
        if not _starts_line(text, match.start()):
            continue
        kind, quoted, angled, word, _, line_file = match.groups()
        if line_file is not None:
            line_files[_ESCAPE.sub(rb"\1", line_file)] = None
        elif word is not None:
            has_computed = True
        elif name := quoted or angled:
            into = embeds if kind == b"embed" else includes
            into[Include(name, quoted is not None, kind == b"include_next")] = None
    probes: dict[Include, None] = {}
    if b"__has_" in text:
        _find_probes(text, probes, embeds)
    suspected = _suspect(uncut(text), has_computed)
    told, told_in_cxx = _tell(text, raw, suspected)
    return FileFacts(
        includes=tuple(includes),
        probes=tuple(probes),
        embeds=tuple(embeds),
        line_files=tuple(line_files),
        told=told,
        told_in_cxx=told_in_cxx,
        suspected=suspected,
    )


def _suspect(text: Lexed, has_computed: bool) -> CodeSuspicion:
    """What stands in a text that may have been cut into tokens, or in which every word counts."""
    hazards: set[Hazard] = set()
    computed = _find_computed(text) if has_computed else ()
    assembled = find_assembled(text, hazards)
    if b"__has_" in text.code and _hides_probes(text):
        hazards.add(Hazard.HIDDEN_HAS_INCLUDE)
    find_hazards(text, hazards)
    if not hazards and not computed and not assembled:
        return NOTHING
    return CodeSuspicion(computed, assembled, frozenset(hazards))


def _tell(text: bytes, raw: bytes, suspected: CodeSuspicion) -> tuple[CodeSuspicion, CodeSuspicion]:
    """What remains of this in tokens, cut in any way, and in those of C++14; all, where there is no telling."""
    ways = [] if suspected is NOTHING else lex(text, raw)
    told = [_suspect(way, bool(suspected.computed)) for way in ways]
    return (_joined(told), told[-1]) if told else (suspected, suspected)


def _find_computed(text: Lexed) -> tuple[Computed, ...]:
    computed: dict[Computed, None] = {}
    for match in _DIRECTIVE.finditer(text.code):
        kind, _, _, word, rest, _ = match.groups()
        if word is None or not text.is_code(match.start()):
            continue
        if _starts_line(text.code, match.start()):
            rest = b"" if _REST_IS_BLANK.match(rest) else rest.strip()
            computed[Computed(word, rest, kind == b"include_next")] = None
    return tuple(computed)


def _starts_line(text: bytes, at: int) -> bool:
    """Whether only blanks, or the end of some comment, stand before `at` in its line.

    A lone carriage return ends a line for clang and not for gcc: it does here.
    """
    if at == 0 or text[at - 1] == 0x0A:
        return True
    start = max(text.rfind(b"\n", 0, at), text.rfind(b"\r", 0, at)) + 1
    before = text[start:at].strip(b" \t\f\v")
    return not before or before.endswith(b"*/")


def _find_probes(text: bytes, probes: dict[Include, None], embeds: dict[Include, None]) -> None:
    for match in _PROBE.finditer(text):
        kind, is_next, quoted, angled = match.groups()
        if name := quoted or angled:
            into = embeds if kind == b"embed" else probes
            into[Include(name, quoted is not None, is_next is not None)] = None


def _hides_probes(text: Lexed) -> bool:
    return any(
        text.is_code(match.start()) and _hides_probe(*match.groups())
        for match in _EVALUATED.finditer(text.code)
    )


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


def _union(parts: list[FileFacts]) -> FileFacts:
    return FileFacts(
        includes=_all(part.includes for part in parts),
        probes=_all(part.probes for part in parts),
        embeds=_all(part.embeds for part in parts),
        line_files=_all(part.line_files for part in parts),
        told=_joined([part.told for part in parts]),
        told_in_cxx=_joined([part.told_in_cxx for part in parts]),
        suspected=_joined([part.suspected for part in parts]),
    )


def _joined(parts: list[CodeSuspicion]) -> CodeSuspicion:
    return CodeSuspicion(
        computed=_all(part.computed for part in parts),
        assembled=_all(part.assembled for part in parts),
        hazards=frozenset().union(*(part.hazards for part in parts)),
    )


def _all(tuples: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(item for items in tuples for item in items))
