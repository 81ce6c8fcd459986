"""The compiler's own list of what it read: the make rule that `-M` prints. Pure.

GCC writes (libcpp/mkdeps.cc, munge): a space or tab is escaped by a backslash, and backslashes right
before one are doubled; `$` is doubled; `#` is escaped; any other backslash stands for itself. Clang does the
same. A rule goes on over lines that end in a backslash.
"""

from __future__ import annotations

import re

from zcc.errors import CompilerError

# The target that the caller gives by `-MT`, so that its end needs no guessing.
LISTING_TARGET = b"zcc-inputs"

_WORD = re.compile(rb"(?:\\\\)*\\[ \t]|\\#|\$\$|\\\r?\n|[^ \t\n]")


def parse_listing(rule: bytes) -> tuple[bytes, ...]:
    """The prerequisites, as the compiler spelled them, in its order.

    Raises:
        CompilerError: not the rule of LISTING_TARGET.
    """
    start = LISTING_TARGET + b":"
    if not rule.startswith(start):
        raise CompilerError(f"expected a make rule for {start!r}, found {rule[:80]!r}")
    words: list[bytes] = []
    word = bytearray()
    at = len(start)
    while at < len(rule):
        match = _WORD.match(rule, at)
        text = match[0] if match else rule[at : at + 1]
        at += len(text)
        if match and not text.endswith(b"\n"):
            word += _unescaped(text)
            continue
        if word:
            words.append(bytes(word))
            word.clear()
        if text == b"\n":
            break  # the rule's end: phony targets of -MP may follow
    if word:
        words.append(bytes(word))
    return tuple(words)


def _unescaped(text: bytes) -> bytes:
    if text == b"$$":
        return b"$"
    if len(text) > 1:
        return text[:-1][: (len(text) - 1) // 2] + text[-1:]
    return text
