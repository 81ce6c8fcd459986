"""The macros that hold the time of a compile, and the command lines that put something else in their place.

Bazel and Chromium define all three on each command line (`-D__DATE__="redacted"`). Nothing in a file brings
the compiler's own definition back: `#undef` leaves none, `pop_macro` what the command line gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAMES = rb"__(?:DATE|TIME|TIMESTAMP)__\b"
_MENTIONED = re.compile(rb"\b" + _NAMES)
_DEFINED = re.compile(rb"\s*(%s)" % _NAMES)

# SOURCE_DATE_EPOCH decides the first two, and never the third.
DATE_AND_TIME = frozenset({b"__DATE__", b"__TIME__"})
ALL = DATE_AND_TIME | {b"__TIMESTAMP__"}


def replaced(defines: Iterable[bytes]) -> frozenset[bytes]:
    """Which of them these operands of `-D` define anew."""
    return frozenset(found[1] for text in defines if (found := _DEFINED.match(text)))


def asked(defines: Iterable[bytes]) -> tuple[bytes, ...]:
    """Which of them these operands of `-D` bring into the text as the compiler defines them, by name."""
    defines = tuple(defines)
    words = {macro for text in defines for macro in _MENTIONED.findall(text)}
    return tuple(sorted(words - replaced(defines)))
