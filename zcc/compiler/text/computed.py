"""Includes whose operand has to be expanded: what it can mean over all definitions in a closure. Pure.

Owns the judgement which headers `#include MACRO(...)` can name. No condition is evaluated: every definition of
a macro that the closure holds counts. It works in two ways, both of which take too much rather than too
little; what they miss all the same is absent on the node, and the proof tells.

* A header name that stands in a definition which the operand leads to is one that it can mean. A name leads to
  its definitions, they to the names in them, and a name that is there to be pasted (`ITERATE_`, `ITER_ ## n`)
  to every macro that begins or ends so.
* What is composed of pieces (`STRINGIZE(a/DIR/NAME.hpp)`, `<JOIN(x, y).hpp>`) is expanded, with a set of texts
  in place of each macro. Beyond MAX_TEXTS of them it is not bounded.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Set
from functools import lru_cache

from zcc.compiler.text.directives import Computed, Include
from zcc.compiler.text.macros import Macros, TooManyError, arguments_at, body_of, clean, expand

Told = Generator[None, None, set[Include] | None]

# They stand for a file that is being read, and so is in the closure.
FILE_MACROS = frozenset((b"__FILE__", b"__BASE_FILE__", b"__FILE_NAME__"))

_NAME = re.compile(rb"[A-Za-z_$\x80-\xff][\w$\x80-\xff]*+")
_HEADER = re.compile(rb"\"([^\"\n]+)\"|<([^<>\n]+)>")
_OPEN = re.compile(rb"<[ \t]*\w[^>]*\Z")
_CAN_NAME = re.compile(rb"[\"(<]").search
_IN_PARENTHESES = re.compile(rb"\(.*\)|[ \t]*##[ \t]*")
_PARAMETERS = re.compile(rb"\(([^)]*)\)")
_BLANKS = re.compile(rb"\s+")
_MAX_BLANKS = 6
# An argument that is all of a header's name, and no template's: that stands behind the template's name.
_IN_ANGLES = re.compile(rb"(?:\A|\()[ \t]*<[ \t]*([A-Za-z_$][\w$]*+)[ \t]*>")
# What only the compiler defines, as `__GNUC__`; alone, or pasted to what stands before it.
_COMPILERS_OWN = re.compile(rb"__[A-Z][A-Z0-9_]*__")
_IS_DEFINED = re.compile(rb"\bdefined[ \t]*\(?[ \t]*\Z")


def named_headers(computed: Computed, macros: Macros) -> Told:
    """The headers that this directive can mean; None where they cannot be told. In steps, like all `Told`.

    Without any definition it is an error for the compiler, so no branch that is taken holds it.
    """
    if computed.macro not in macros:
        return set()
    if computed.rest and not computed.rest.startswith(b"("):
        return None  # the name comes in pieces: PRE tail.h>
    return (yield from _settled(computed, macros))


def asked_headers(condition: bytes, askers: Set[bytes], macros: Macros) -> Told:
    """The headers that a condition can ask for by these macros; None where they cannot be told.

    `askers` are `__has_include`, its kin, and all whose expansion leads to them. As what they ask of is
    found in every way, `is_quoted` and `is_next` mean nothing here.
    """
    found: set[Include] = set()
    for match in _NAME.finditer(condition):
        if match[0] not in askers or _IS_DEFINED.search(condition, 0, match.start()):
            continue
        called = arguments_at(condition, match.end())
        # Without a call it may be handed on: `#if CALL(__has_include, "x.h")`.
        operand = condition[match.start() : called[1]] if called is not None else condition
        headers = yield from _settled(Computed(operand, b""), macros)
        if headers is None:
            return None
        found |= headers
    return found


def _settled(computed: Computed, macros: Macros) -> Told:
    settled = macros.settled.get(computed)
    if settled is not None and macros.is_settled(settled[0], settled[1]):
        return settled[2]
    try:
        reached, found = yield from _follow(computed, macros)
    except (TooManyError, RecursionError):
        return None
    if found is not None:
        macros.settled[computed] = (macros.changes, reached, found)
    return found


def _follow(
    computed: Computed, macros: Macros
) -> Generator[None, None, tuple[set[bytes], set[Include] | None]]:
    """What the operand leads to, and the headers that are named there.

    Raises:
        TooManyError.
    """
    macros.steps = 0
    operand = clean(computed.macro + computed.rest)
    reached = macros.leads_to(operand)
    yield
    texts = dict.fromkeys([operand])
    for name in reached:
        texts |= dict.fromkeys(map(body_of, macros.values(name)))
    if any(map(_OPEN.match, texts)):
        return reached, None  # and what closes it is elsewhere
    yield
    composed: set[bytes] = set()
    if any(
        value.startswith(b"(") and _composes(value)
        for name in macros.leads_to(operand, with_pasted=False)
        for value in macros.values(name)
    ):
        composed = expand(operand, macros)
        texts |= dict.fromkeys(composed)
    yield
    stringizers = macros.stringizers(reached)
    found: set[Include] = set()
    # `#x` with its argument in place.
    strings = [text[1:].strip() for text in composed if text.startswith(b"#")]
    told = [name for name in strings if name and not _COMPILERS_OWN.search(name)]
    if strings and not told:
        return reached, None
    for name in told:
        found |= _unquoted(name, computed.is_next)
    for text in texts:
        if _CAN_NAME(text):
            yield
            found |= _headers_of(text, macros, stringizers, computed.is_next)
    return reached, found


def _headers_of(
    text: bytes, macros: Macros, stringizers: set[bytes], is_next: bool
) -> frozenset[Include]:
    """What `text`, one that an operand leads to, names or composes.

    Remembered by the text alone: `stringizers` come from all that an operand leads to, and what this text calls
    is among that, whichever operand led here.

    Raises:
        TooManyError.
    """
    key = (text, is_next)
    known = macros.headers.get(key)
    if known is None:
        known = macros.headers[key] = frozenset(_headers_in(text, macros, stringizers, is_next))
    return known


def _headers_in(
    text: bytes, macros: Macros, stringizers: set[bytes], is_next: bool
) -> set[Include]:
    quoted, angled, calls = _parts(text)
    found = {Include(name, is_quoted=True, is_next=is_next) for name in quoted}
    for inner in angled:
        before, after = inner[:1].strip() == b"", inner[-1:].strip() == b""
        for made in _expand_header(inner, macros):
            for name in _spellings(b" " * before + made + b" " * after):
                found.add(Include(name, is_quoted=False, is_next=is_next))
    for called, arguments in calls:
        if called in stringizers:
            for argument in arguments:
                for made in expand(argument, macros):
                    found |= _unquoted(made, is_next)
    return found


@lru_cache(maxsize=1 << 15)
def _parts(
    text: bytes,
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[tuple[bytes, tuple[bytes, ...]], ...]]:
    """What stands in quotes, what between `<` and `>`, and the calls with their arguments."""
    pairs = _HEADER.findall(text)
    quoted = tuple(quoted for quoted, _ in pairs if quoted)
    calls = tuple((name, tuple(arguments)) for name, arguments in _calls(text))
    return quoted, tuple(angled for _, angled in pairs if angled), calls


def _unquoted(made: bytes, is_next: bool) -> set[Include]:
    """The header that a string of these words names, if it does: `a/b.h`, or `<a/b.h>` in a string's place."""
    if b'"' in made:
        return set()
    if made.startswith(b"<") and made.endswith(b">"):
        return {Include(name, is_quoted=False, is_next=is_next) for name in _spellings(made[1:-1])}
    return {Include(name, is_quoted=True, is_next=is_next) for name in _spellings(made)}


def _spellings(made: bytes) -> set[bytes]:
    """The names that a text with blanks can be. Each of them may be kept as one, or get lost.

    gcc keeps the blank before a token, and not before what a macro became; clang keeps the one before `>`.
    """
    found = {b""}
    pieces = _BLANKS.split(made)
    if len(pieces) > _MAX_BLANKS:
        return {b" ".join(pieces), b"".join(pieces)}
    for piece in pieces[:-1]:
        found = {start + piece + blank for start in found for blank in (b"", b" ")}
    return {start + pieces[-1] for start in found} - {b""}


def _expand_header(angled: bytes, macros: Macros) -> set[bytes]:
    """What can stand between `<` and `>`; nothing where that is the arguments of a template.

    Raises:
        TooManyError.
    """
    if (
        b"." not in angled
        and b"/" not in angled
        and b" " in _IN_PARENTHESES.sub(b"", angled.strip())
    ):
        return set()
    try:
        return expand(angled, macros)
    except TooManyError:
        if b"/" in angled or b"." in angled:
            raise
        return set()


@lru_cache(maxsize=1 << 14)
def _composes(value: bytes) -> bool:
    """Whether a function-like definition makes a header's name of its arguments and of more."""
    match = _PARAMETERS.match(value)
    parameters = {name.strip() for name in match[1].split(b",")} if match else set()
    body = body_of(value)
    if not parameters.isdisjoint(_IN_ANGLES.findall(body)):
        return True
    texts = [part for pair in _HEADER.findall(body) for part in pair]
    for _, arguments in _calls(body):
        texts += (each for each in arguments if b"/" in each or b"." in each)
    return any(
        text not in parameters and not parameters.isdisjoint(_NAME.findall(text)) for text in texts
    )


def _calls(text: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    for match in _NAME.finditer(text):
        called = arguments_at(text, match.end())
        if called is not None:
            yield match[0], called[0]
