"""The modules by which glibc converts character sets (`-finput-charset=`, `-fexec-charset=`).

glibc reads them where no preloaded library can see it, so they are shipped by rule: the configuration (its text
of lines `alias FROM// TO//` and `module FROM// TO// FILE COST`, and the cache made of it), the modules that
convert a set from or to anything, and the libraries beside them that these need.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from functools import partial

from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.toolchain.elf import read_elf
from zcc.errors import CompilerError

# Where distributions have it; those of other architectures do no harm.
_PLACES = (b"/usr/lib/gconv", b"/usr/lib64/gconv", b"/usr/lib/*/gconv")
_CACHE = b"gconv-modules.cache"
MAX_REMEMBERED = 64
# Which modules a directory has, as its texts have it, for these sets.
_known: Memo[tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]], tuple[bytes, ...]] = Memo(
    MAX_REMEMBERED
)


def charset_files(names: Iterable[bytes]) -> tuple[bytes, ...]:
    """The files that conversions from and to these sets are made of, sorted."""
    wanted = tuple(sorted({name.partition(b"//")[0].upper() for name in names}))
    if not wanted:
        return ()
    found: set[bytes] = set()
    for directory in (path for place in _PLACES for path in glob.glob(place)):
        texts = tuple(
            path
            for path in (
                directory + b"/gconv-modules",
                *sorted(glob.glob(directory + b"/gconv-modules.d/*.conf")),
            )
            if os.path.isfile(path)
        )
        find = partial(_modules, directory, texts, wanted)
        found.update(texts, _known.answer((directory, texts, wanted), find))
        if os.path.isfile(directory + b"/" + _CACHE):
            found.add(directory + b"/" + _CACHE)
    return tuple(sorted(found))


def _modules(
    directory: bytes, texts: tuple[bytes, ...], wanted: tuple[bytes, ...], seen: Sightings
) -> tuple[bytes, ...]:
    for path in (directory, *texts):
        seen.see(path)
    lines = [line.split() for path in texts for line in _lines_of(path)]
    aliases = {line[1]: line[2] for line in lines if line[:1] == [b"alias"] and len(line) > 2}
    sets = {name + b"//" for name in wanted}
    sets |= {aliases[name] for name in sets if name in aliases}
    files: set[bytes] = set()
    for line in lines:
        if line[:1] == [b"module"] and len(line) > 3 and not sets.isdisjoint(line[1:3]):
            _add(os.path.join(directory, line[3] + b".so"), directory, files)
    return tuple(files)


def _add(path: bytes, directory: bytes, files: set[bytes]) -> None:
    """A module with the libraries that it needs of those beside it."""
    if path in files or not os.path.isfile(path):
        return
    files.add(path)
    try:
        elf = read_elf(path)
    except CompilerError:
        return
    for needed in elf.needed if elf is not None else ():
        _add(directory + b"/" + needed, directory, files)


def _lines_of(path: bytes) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return [line.partition(b"#")[0] for line in file]
    except OSError:
        return []
