"""What the cost of a compile depends on, beside the compiler: what the broker knows a job by. Pure.

A hint and no more: nothing of a result depends on it. The agent makes it, since it knows where the project
begins and how large the inputs are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cache.digest import digest_of
from zcc.bounds import Length, Range, Size

NAME_BYTES = 16
MAX_LEVEL = 3
# As many as count apart; a sanitizer more changes the cost by little.
MAX_SANITIZERS = 4

_OPTIMIZES = {b"": 1, b"0": 0, b"1": 1, b"g": 1, b"2": 2, b"s": 2, b"z": 2, b"3": 3, b"fast": 3}
# -g, -g1, -ggdb3, -gdwarf-5 and the like; not -gsplit-dwarf or -gz, which say nothing of how much.
_DEBUGS = re.compile(rb"-g(?:gdb|stabs|vms|xcoff|dwarf(?:-\d)?)?([0-3]?)")
_CXX_SUFFIXES = frozenset((b"cc", b"cp", b"cxx", b"cpp", b"c++", b"ii", b"mm", b"mii"))

Name = Annotated[bytes, Length(NAME_BYTES, NAME_BYTES)]
Level = Annotated[int, Range(0, MAX_LEVEL)]
Sanitizers = Annotated[int, Range(0, MAX_SANITIZERS)]


@dataclass(frozen=True, slots=True)
class Traits:
    """`name` is the same for one source under one class of options, in every checkout of its project.

    `optimizes` and `debugs` are levels: -O0 to -O3, -g0 to -g3. `closure_bytes` is what all inputs have.
    """

    name: Name
    closure_bytes: Size
    is_cxx: bool
    optimizes: Level
    debugs: Level
    sanitizers: Sanitizers


def traits_of(argv: Sequence[bytes], source: bytes, root: bytes, closure_bytes: int) -> Traits:
    """The traits of a command; `source` is absolute, `root` where its project begins."""
    optimizes = debugs = 0
    sanitizers: set[bytes] = set()
    for word in argv[1:]:
        if not word.startswith((b"-O", b"-g", b"-fsanitize=")):
            continue
        if word.startswith(b"-O"):
            optimizes = _OPTIMIZES.get(word[2:], MAX_LEVEL)
        elif word.startswith(b"-f"):
            sanitizers.update(word.partition(b"=")[2].split(b","))
        elif (found := _DEBUGS.fullmatch(word)) is not None:
            debugs = int(found[1] or 2)
    suffix = source.rpartition(b".")[2]
    is_cxx = (
        suffix.lower() in _CXX_SUFFIXES or suffix == b"C" or b"++" in argv[0].rpartition(b"/")[2]
    )
    options = b"%d %d %d %s" % (optimizes, debugs, is_cxx, b",".join(sorted(sanitizers)))
    name = digest_of(options + b"\0" + _below(source, root))[:NAME_BYTES]
    return Traits(
        name, closure_bytes, is_cxx, optimizes, debugs, min(len(sanitizers), MAX_SANITIZERS)
    )


def _below(path: bytes, root: bytes) -> bytes:
    """The path from the root on, `..` taken by its words; a path beyond the root as a whole."""
    steps: list[bytes] = []
    for step in path.split(b"/"):
        if step == b".." and steps:
            steps.pop()
        elif step not in (b"", b".", b".."):
            steps.append(step)
    plain = b"/" + b"/".join(steps)
    top = root.rstrip(b"/") + b"/"
    return plain.removeprefix(top)
