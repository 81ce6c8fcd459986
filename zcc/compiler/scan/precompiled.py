"""What clang's precompiled headers were made of, as clang itself says, and for which language gcc's are. Runs
nothing: sans-io.

clang asks for each of these files again when it reads one, and refuses it where a time or size is another.
Among them are some that no source leads to, such as the empty main file that CMake makes one from.

gcc takes the first file in a directory `x.h.gch/` that fits, in the order of the file system, which a node does
not have. Each begins with "gpch", a letter for the language and a version (get_ident in gcc/c-family/c-pch.cc);
a file for another language never fits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zcc.compiler.disk.signatures import Memo
from zcc.regular import opener

# A project has a handful; the names in one are about 20 KB.
MAX_REMEMBERED = 64

_INPUT = re.compile(rb"^  Input file: (.+?)(?: \[[A-Za-z, ]+\])?$", re.MULTILINE)

_GCC_MARKS = {
    "c": b"gpchC",
    "cpp-output": b"gpchC",
    "c++": b"gpch+",
    "c++-cpp-output": b"gpch+",
}


def is_one_for(language: str, paths: Sequence[bytes]) -> bool:
    """Whether gcc would take the same of these files, or none, in whatever order it met them."""
    if len(paths) < 2:
        return True
    mark = _GCC_MARKS.get(language)
    return mark is not None and sum(_begins_with(path, mark) for path in paths) < 2


def _begins_with(path: bytes, mark: bytes) -> bool:
    """True in doubt."""
    try:
        with open(path, "rb", opener=opener) as file:
            return file.read(len(mark)) == mark
    except OSError:
        return True


def stand_ins(forced: Sequence[tuple[str, bytes]]) -> tuple[bytes, ...]:
    """What clang takes in place of the first header that a command line includes, where it is there."""
    names = [name for kind, name in forced if kind == "include"]
    return (names[0] + b".pch", names[0] + b".gch") if names else ()


def query_arguments(path: bytes) -> tuple[bytes, ...]:
    """What to append to clang's name, to be run in the compile's cwd. The answer is on standard output."""
    return (b"-module-file-info", path)


def parse_inputs(answer: bytes) -> tuple[bytes, ...]:
    """The files, as spelled; none where clang cannot read it, which it will say in the compile as well."""
    return tuple(dict.fromkeys(_INPUT.findall(answer)))


# What clang of this name has said of the precompiled header at an absolute path.
InputsMemo = Memo[tuple[bytes, bytes], tuple[bytes, ...]]
