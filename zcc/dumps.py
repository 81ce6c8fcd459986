"""Dumps of gcc's passes: which files are some. Pure.

`-fdump-tree-X` and its like name their file after the object, with the number of the pass, which only the
compiler knows (gcc/dumpfile.cc): BASE, a dot, three digits, `t` for a pass over trees, `r` RTL, `i` the whole
unit, `l` the language, a dot, the pass's name; graphs end in `.dot`. So a job declares bases.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Of one job; gcc 12 has some 400 passes, each with at most one graph.
MAX_DUMPS = 1024

_DUMP = re.compile(rb"(.+)\.[0-9]{3}[tril]\.[A-Za-z0-9_+-]{1,80}", re.DOTALL)
_GRAPH = b".dot"


def is_dump(path: bytes, bases: Collection[bytes]) -> bool:
    """Whether this is the path of a dump with one of these bases. However many they are, it costs one look-up
    where they are a set."""
    return any(base in bases for base in dump_bases(path))


def dump_bases(path: bytes) -> list[bytes]:
    """With which bases this may be the path of a dump: none, one, or two (a pass called `dot`, or a graph)."""
    names = (path, path[: -len(_GRAPH)]) if path.endswith(_GRAPH) else (path,)
    return [found[1] for name in names if (found := _DUMP.fullmatch(name)) is not None]
