"""A command's help as a manual page, in the `man` macros that every Unix formats (man(7)). Pure.

Debian's packages install what `python -m tests.manual_pages` makes of the three programs with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from zcc.cli.help import Help

_SECTION = "1"
# `zcc up` in a text is the name of a command; what stands so is set in bold.
_MARKED = re.compile(r"`([^`]+)`")


def page_name(command: str) -> str:
    """Of the page of a command: `zcc cache trim` is in zcc-cache-trim."""
    return command.replace(" ", "-")


def manual_page(command: str, parts: Help, version: str, related: Sequence[str]) -> str:
    """The page of this command, with `related` commands at its end."""
    return "".join(f"{line}\n" for line in _lines(command, parts, version, related))


def _lines(command: str, parts: Help, version: str, related: Sequence[str]) -> Iterator[str]:
    name = page_name(command)
    # No date: the same sources make the same page.
    yield f'.TH "{_literal(name.upper())}" "{_SECTION}" "" "zcc {version}" "zcc"'
    # No word is broken, and no blanks are added to fill a line: options and paths are copied.
    yield from (".nh", ".ad l", ".SH NAME")
    yield f"{_literal(name)} \\- {_text(_summary(parts))}"
    yield ".SH SYNOPSIS"
    yield f".B {_literal(' '.join(parts.usage.removeprefix('Usage: ').split()))}"
    yield ".SH DESCRIPTION"
    for paragraph in parts.paragraphs:
        yield from (".PP", _text(paragraph))
    for title, rows in parts.sections:
        yield f".SH {title.upper()}"
        for label, text in rows:
            yield from (".TP", f".B {_literal(label)}", _text(text) or "\\&")
    if related:
        yield ".SH SEE ALSO"
        yield from _joined(f"\\fB{_literal(page_name(each))}\\fR({_SECTION})" for each in related)


def _summary(parts: Help) -> str:
    """The first sentence, without its end: manual pages are listed by it."""
    first = parts.paragraphs[0] if parts.paragraphs else ""
    return re.split(r"(?<=[a-z)`])[.:;](?: |$)", first, maxsplit=1)[0]


def _joined(names: Iterable[str]) -> Iterator[str]:
    return iter([",\n".join(names)])


def _text(text: str) -> str:
    """Prose: what stands in backquotes is bold, and nothing is taken for a macro."""
    pieces = _MARKED.split(text)
    marked = (f"\\fB{_literal(each)}\\fR" for each in pieces[1::2])
    plain = (_escaped(each) for each in pieces[0::2])
    return _guarded("".join(f"{each}{next(marked, '')}" for each in plain))


def _literal(text: str) -> str:
    """What is typed as it stands: its hyphens are hyphens of ASCII."""
    return _guarded(_escaped(text).replace("-", r"\-"))


def _escaped(text: str) -> str:
    """roff's own characters as text; the quotes and tildes of ASCII stay those."""
    text = text.replace("\\", r"\(rs").replace('"', r"\(dq").replace("'", r"\(aq")
    return text.replace("`", r"\(ga").replace("~", r"\(ti").replace("^", r"\(ha")


def _guarded(text: str) -> str:
    """A line that begins with a dot is a request."""
    return rf"\&{text}" if text.startswith(".") else text
