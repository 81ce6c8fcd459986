"""Where gcc and clang look for the profile that a compile uses. Pure.

Their rules differ by version, so these are all the places that any takes; which of them exist is the disk's
affair, and what else a compiler looks for shows in the proof. gcc since 10 (coverage_init in gcc/coverage.cc)
takes `PREFIX/#mangled#absolute#name.gcda`, older ones `PREFIX/name.gcda` as spelled.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from zcc.compiler.commandline.tables import Family

_CLANG_DEFAULT = b"default.profdata"


def profile_places(
    family: Family, prefixes: Iterable[bytes], gcda: bytes, cwds: Iterable[bytes]
) -> tuple[bytes, ...]:
    """The files that may be read (or, by gcc that writes new notes, removed), as spelled.

    `prefixes` are the operands of `-fprofile-use=` and its like, empty ones included. `gcda` is what gcc
    derives from the output's name; `cwds` are the names of the working directory, PWD among them.
    """
    places: dict[bytes, None] = {}
    if family is Family.CLANG:
        for prefix in prefixes:
            places |= dict.fromkeys((prefix, posixpath.join(prefix, _CLANG_DEFAULT)))
        places.pop(b"", None)
        return tuple(places)
    names = [posixpath.join(cwd, gcda) for cwd in cwds]
    places |= dict.fromkeys((gcda, *names))
    for prefix in filter(None, prefixes):
        mangled = [name for path in names for name in _mangled(path)]
        below = (gcda, posixpath.basename(gcda), *names, *mangled)
        places |= dict.fromkeys((prefix, *(prefix + b"/" + name for name in below)))
    return tuple(places)


def _mangled(path: bytes) -> tuple[bytes, bytes]:
    """One name for a whole path, as mangle_path in gcc's coverage.cc makes it, and as libgcov does."""
    parts = [b"^" if part == b".." else part for part in path.split(b"/")]
    return b"#".join(parts), b"#".join(part for part in parts if part != b".")
