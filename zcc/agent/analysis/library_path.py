"""Whether LD_LIBRARY_PATH would give the compiler other libraries than those in its toolchain.

Environments for scientific software set it for everything that runs in them. The loader looks there before its
own directories, so a compile may only leave this machine where nothing there has the name of a library that a
program of the toolchain loads. Any such name counts, whether the loader would come to it or not.
"""

from __future__ import annotations

import os
import re

from cache.digest import Digest
from zcc.compiler.commandline.environment import are_harmless
from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.toolchain.elf import HARDWARE_CAPABILITIES
from zcc.compiler.toolchain.index import Toolchain
from zcc.regular import opener

LD_SO_PRELOAD = b"/etc/ld.so.preload"
_CAPABILITIES = frozenset((*HARDWARE_CAPABILITIES, b"x86_64", b"aarch64"))
_SEPARATOR = re.compile(rb"[:;]")
_IS_LIBRARY = re.compile(rb"\.so(\.|$)")
MAX_DIRECTORIES = 256


def is_preloaded() -> bool:
    """Whether glibc's loader puts code into this machine's programs that may change what a compiler does."""
    try:
        with open(LD_SO_PRELOAD, "rb", opener=opener) as file:
            return not are_harmless(b" ".join(line.partition(b"#")[0] for line in file))
    except FileNotFoundError:
        return False
    except OSError:
        return True


class LibraryPath:
    """Remembers the listings of directories, each as long as the directory is what it was."""

    def __init__(self) -> None:
        self._listings: Memo[bytes, frozenset[bytes]] = Memo(MAX_DIRECTORIES)
        self._libraries: dict[Digest, frozenset[bytes]] = {}

    def first_shadow(self, value: bytes, cwd: bytes, toolchain: Toolchain) -> bytes | None:
        """What in these directories the compiler might load; None where there is nothing."""
        wanted = self._names(toolchain) | _CAPABILITIES
        for directory in dict.fromkeys(_SEPARATOR.split(value)):
            place = os.path.join(cwd, directory)
            if b"$" in directory:
                return place  # $LIB, $ORIGIN and $PLATFORM are the loader's to expand
            try:
                found = wanted.intersection(self._listing(place))
            except OSError:
                # Not there, or not to be listed: it might still be searched.
                found = frozenset((b"",) if os.path.lexists(place) else ())
            if found:
                return os.path.join(place, min(found))
        return None

    def _names(self, toolchain: Toolchain) -> frozenset[bytes]:
        names = self._libraries.get(toolchain.digest)
        if names is None:
            bases = (os.path.basename(member.path) for member in toolchain.members)
            names = frozenset(base for base in bases if _IS_LIBRARY.search(base))
            self._libraries[toolchain.digest] = names
        return names

    def _listing(self, directory: bytes) -> frozenset[bytes]:
        def listed(seen: Sightings) -> frozenset[bytes]:
            seen.see(directory)
            return frozenset(os.listdir(directory))

        return self._listings.answer(directory, listed)
