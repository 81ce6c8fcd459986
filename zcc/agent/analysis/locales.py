"""The files by which a compiler's messages are translated and quoted.

glibc reads them where no preloaded library can see it, so they are shipped by rule: for every locale but C
and POSIX the compiled locale (its directory, or the archive) and the catalogues of gcc, cpplib, libc and gas.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache

from cache.digest import Digest
from zcc.compiler.disk.signatures import Sightings
from zcc.regular import opener

_COMPILED = b"/usr/lib/locale"
_ARCHIVE = _COMPILED + b"/locale-archive"
_CATALOGUES = (b"/usr/share/locale", b"/usr/share/locale-langpack")  # the second is Ubuntu's
# What gettext was told when a program was built (LOCALEDIR): PREFIX/share/locale, and on Gentoo
# /usr/share/gcc-data/TARGET/13/locale.
_DIRECTORY = re.compile(rb"(/[^\0\s]{0,400}/locale)\0")
_DOMAINS = re.compile(rb"(?:gcc|cpplib|libc|gas|bfd|opcodes)[-.0-9]*\.mo\Z")
_MAX_PROGRAM_BYTES = 16 << 20
_BUILT_IN = frozenset((b"", b"C", b"POSIX"))
_NAME = re.compile(rb"[A-Za-z0-9_@.+-]+\Z")


@lru_cache(64)
def catalogues_of(toolchain: Digest, programs: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Where these programs of a toolchain look for translations, by what stands in them."""
    found: dict[bytes, None] = {}
    for program in programs:
        try:
            with open(program, "rb", opener=opener) as file:
                found |= dict.fromkeys(_DIRECTORY.findall(file.read(_MAX_PROGRAM_BYTES)))
        except OSError:
            continue
    return tuple(found)


def locale_files(
    names: Iterable[bytes], catalogues: Iterable[bytes], seen: Sightings
) -> tuple[bytes, ...]:
    """The existing files that these locales (`de_DE.UTF-8`, `C.UTF-8`, ...) are made of, sorted.

    `catalogues`: directories of translations besides the system's. `seen` is told of the directories that
    decide about the answer.
    """
    places = dict.fromkeys((*_CATALOGUES, *catalogues))
    found: set[bytes] = set()
    for name in names:
        if name in _BUILT_IN or not _NAME.match(name):
            continue
        found.update(_below(_COMPILED, _spellings(name), seen))
        for place in places:
            found.update(filter(_DOMAINS.search, _below(place, _spellings(name), seen)))
        if os.path.exists(_ARCHIVE):
            found.add(_ARCHIVE)
    return tuple(sorted(found))


def _spellings(name: bytes) -> set[bytes]:
    """The directory names that glibc tries: with and without codeset, modifier and territory."""
    base, _, modifier = name.partition(b"@")
    language_territory, _, codeset = base.partition(b".")
    language = language_territory.partition(b"_")[0]
    normal = re.sub(rb"[^a-z0-9]", b"", codeset.lower())
    spelled = {language_territory, language}
    for codes in {codeset, normal} - {b""}:
        spelled |= {language_territory + b"." + codes, language + b"." + codes}
    if modifier:
        spelled |= {spelling + b"@" + modifier for spelling in spelled}
    return spelled


def _below(root: bytes, names: Iterable[bytes], seen: Sightings) -> list[bytes]:
    """The files below those of these names that `root` has; where one appears, `root` is changed."""
    seen.see(root)
    found = []
    for top in (os.path.join(root, name) for name in names):
        if os.path.lexists(top):
            seen.see(top)
        for directory, below, files in os.walk(top):
            for each in below:
                seen.see(os.path.join(directory, each))
            found += [os.path.join(directory, file) for file in files]
    return found
