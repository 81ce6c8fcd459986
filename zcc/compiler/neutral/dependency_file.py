"""Dependency files as gcc and clang write them, byte by byte. Pure.

Where a rule's lines break depends on how long its target is. So a rule with another target is written
anew, by the compiler's own way of counting columns, and only where that way, applied to the rule as it came,
gives the rule as it came.

gcc since 9: make_write_name in libcpp/mkdeps.cc. clang: outputDependencyFile in DependencyFile.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from zcc.compiler.commandline.tables import Family

_GCC_COLUMNS = 72
_CLANG_COLUMNS = 75
# What is written in another way than it is called: escaped, and counted differently by either compiler.
_SPECIAL = re.compile(rb"[\\$#%\t]")

_Translation = Callable[[bytes], bytes]


def retargeted(
    rule: bytes, family: Family, old: bytes, new: bytes, translate: _Translation
) -> bytes | None:
    """The rule with the target `new` for `old`, and its other names translated; None where it cannot be
    said for certain how the compiler would have written that.

    `old` and `new` are without characters that make would not take as they are.
    """
    head, newline, phony = _cut(rule)
    text = head.replace(b"\\\n", b" ")
    words = text.split()
    if not newline or not words or words[0] != old + b":":
        return None
    names = words[1:]
    if _SPECIAL.search(text, len(old)) or _SPECIAL.search(new):
        return None
    write = _as_gcc if family is Family.GCC else _as_clang
    if write(old, names) != head:
        return None
    return write(new, list(map(translate, names))) + newline + _translated(phony, translate)


def _cut(rule: bytes) -> tuple[bytes, bytes, bytes]:
    """The first rule, its newline, and what `-MP` puts behind it."""
    at = rule.find(b"\n")
    while at > 0 and rule[at - 1 : at] == b"\\":
        at = rule.find(b"\n", at + 1)
    return (rule, b"", b"") if at < 0 else (rule[:at], rule[at : at + 1], rule[at + 1 :])


def _translated(phony: bytes, translate: _Translation) -> bytes:
    return b"\n".join(
        translate(line[:-1]) + b":" if line.endswith(b":") else line for line in phony.split(b"\n")
    )


def _as_gcc(target: bytes, names: Sequence[bytes]) -> bytes:
    lines = []
    column, begin = len(target) + 1, 0
    for at, size in enumerate(map(len, names)):
        if column + size > _GCC_COLUMNS:
            lines.append(b" ".join(names[begin:at]))
            column, begin = 0, at
        column += 1 + size
    lines.append(b" ".join(names[begin:]))
    return _joined(target, names, lines, b" \\\n ")


def _as_clang(target: bytes, names: Sequence[bytes]) -> bytes:
    lines = []
    column, begin = len(target) + 1, 0
    for at, size in enumerate(map(len, names)):
        if column + size + 3 > _CLANG_COLUMNS:
            lines.append(b" ".join(names[begin:at]))
            column, begin = 2, at
        column += 1 + size
    lines.append(b" ".join(names[begin:]))
    return _joined(target, names, lines, b" \\\n  ")


def _joined(target: bytes, names: Sequence[bytes], lines: list[bytes], turn: bytes) -> bytes:
    """The rule of these lines of names; the first is empty where the target fills it."""
    if not names:
        return target + b":"
    first, *others = lines
    return (
        target + b":" + (b" " + first if first else b"") + b"".join(turn + each for each in others)
    )
