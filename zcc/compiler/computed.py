"""Includes whose operand is a macro: what its definitions name. Pure.

Owns the judgement whether a definition is a header name, leads to another macro, or can be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from zcc.compiler.directives import Include

# Names that stand for the file at hand.
_FILE_MACROS = frozenset((b"__FILE__", b"__BASE_FILE__", b"__FILE_NAME__"))
_GAP = rb"(?:[ \t\f\v\r]|/\*.*?\*/)*"
_VALUE = re.compile(
    rb"%(gap)s(?:\"(?P<quoted>[^\"\n\\]+)\"|<(?P<angled>[^>\s]+)>|(?P<name>[A-Za-z_$][\w$]*))?%(gap)s(?://.*|/\*.*)?"
    % {b"gap": _GAP},
    re.DOTALL,
)
# Macros that GNU modes predefine and that are likely in a path: `<linux/x.h>` from a macro becomes `<1/x.h>`.
_PREDEFINED = re.compile(rb"\b(?:linux|unix|i386|sun|sparc|mips|vax|hpux)\b")


def named_headers(
    macro: bytes, is_plain: bool, values: Mapping[bytes, set[bytes]]
) -> set[Include] | None:
    """The headers that `#include MACRO` can mean; None where they cannot be told.

    `values` are all definitions (as `read_definitions` gives them) of the macro and of those that its
    definitions lead to. Without any, the directive is an error for the compiler, so no branch that is taken
    holds it, and there is nothing to find.
    """
    if macro in _FILE_MACROS or (not is_plain and values[macro]):
        return None
    headers: set[Include] = set()
    pending, seen = [macro], {macro}
    while pending:
        for value in values[pending.pop()]:
            match = _VALUE.fullmatch(value)
            if match is None or (match["angled"] and _PREDEFINED.search(match["angled"])):
                return None
            header, onward = match["quoted"] or match["angled"], match["name"]
            if header:
                headers.add(Include(header, match["quoted"] is not None, is_next=False))
            elif onward in _FILE_MACROS:
                return None
            elif onward and onward not in seen:
                seen.add(onward)
                pending.append(onward)
    return headers


def onward_names(values: Iterable[bytes]) -> set[bytes]:
    """The macros that these definitions lead to."""
    matches = (_VALUE.fullmatch(value) for value in values)
    return {match["name"] for match in matches if match and match["name"]}


def given_definitions(defines: Iterable[bytes], names: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """What the command line (the operands of `-D`) makes of each of these macros."""
    found: dict[bytes, set[bytes]] = {name: set() for name in names}
    for text in defines:
        name, equals, value = text.partition(b"=")
        plain, paren, _ = name.partition(b"(")
        if plain in found:
            found[plain].add(paren + value if paren or equals else b"1")
    return found
