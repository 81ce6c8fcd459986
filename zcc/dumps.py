"""Dumps of gcc's passes: which files are some. Pure.

`-fdump-tree-X` and its like name their file after the object, with the number of the pass, which only the
compiler knows (gcc/dumpfile.cc): BASE, a dot, three digits, `t` for a pass over trees, `r` RTL, `i` the whole
unit, `l` the language, a dot, the pass's name; graphs end in `.dot`. So a job declares bases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Of one job; gcc 12 has some 400 passes, each with at most one graph.
MAX_DUMPS = 1024

_REST = re.compile(rb"\.[0-9]{3}[tril]\.[A-Za-z0-9_+-]{1,80}(?:\.dot)?")


def is_dump(path: bytes, bases: Iterable[bytes]) -> bool:
    """Whether this is the path of a dump with one of these bases."""
    return any(
        path.startswith(base) and _REST.fullmatch(path, len(base)) is not None for base in bases
    )
