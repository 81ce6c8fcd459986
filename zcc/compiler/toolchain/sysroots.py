"""What a driver looks at below a sysroot, or another gcc's installation, whether the compile needs it or not.

Directories of libraries, by their mere existence; and clang goes through the gcc installations for the newest.
What is missing here costs a compile, as the proof tells: it is no rule that has to be complete.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from zcc.compiler.commandline.compilation import Compilation
from zcc.compiler.disk.signatures import Memo, Sightings
from zcc.compiler.scan.provision import NOTHING, Provision

MAX_REMEMBERED = 256
LIBRARY_NAMES = (b"lib", b"lib64", b"lib32", b"libx32")
# `x86_64-linux-gnu`, `arm-none-eabi`: what a directory of libraries for one target is called.
_TRIPLE = re.compile(rb"[a-z0-9_]+-[a-z0-9_.-]+")
_VERSION = re.compile(rb"\d[0-9.]*")
_MULTILIBS = (b"", b"/64", b"/32", b"/x32", b"/n32")


def startup_files(installation: bytes) -> Iterator[bytes]:
    """By these clang knows a gcc's installation (TRIPLE/VERSION), and which multilibs it has."""
    return (installation + multilib + b"/crtbegin.o" for multilib in _MULTILIBS)


def around_installation(installation: bytes) -> Iterator[bytes]:
    """The directories that clang looks for from there, as it spells them."""
    target, version = installation.split(b"/")[-2:]
    prefix = installation + b"/../../../../"
    # Where clang 22 looks for libstdc++, compiling C as well.
    for headers in (b"include/", target + b"/include/", b"include/" + target + b"/"):
        yield prefix + headers + b"c++/" + version
    yield from (prefix + name for name in LIBRARY_NAMES)
    yield from (prefix + target + b"/" + name for name in (b"bin", *LIBRARY_NAMES))


def is_for_android(parsed: Compilation) -> bool:
    """Whether the target is Android."""
    return any(b"-android" in word for word in parsed.search_arguments)


def sysroots_of(
    parsed: Compilation, executable: bytes, cwd: bytes, *, is_clang: bool
) -> tuple[bytes, ...]:
    """Those of the command line; for Android clang has one beside itself. Absolute."""
    given = [os.path.join(cwd, path) for path in parsed.sysroots]
    if is_clang and is_for_android(parsed):
        drivers = dict.fromkeys((executable, os.path.realpath(executable)))
        given += (os.path.dirname(driver) + b"/../sysroot" for driver in drivers)
    return tuple(given)


class Sysroots:
    """Remembers what it found as long as every directory that it has listed is what it was."""

    def __init__(self) -> None:
        self._known: Memo[tuple[tuple[bytes, ...], bool, bool], Provision] = Memo(MAX_REMEMBERED)

    def places(
        self, sysroots: tuple[bytes, ...], *, is_clang: bool, is_android: bool = False
    ) -> Provision:
        """What counts below these absolute paths. `is_android`: the target is."""
        if not sysroots:
            return NOTHING
        key = (sysroots, is_clang, is_android)
        return self._known.answer(key, lambda seen: _look(sysroots, is_clang, is_android, seen))


def _look(
    sysroots: Iterable[bytes], is_clang: bool, is_android: bool, seen: Sightings
) -> Provision:
    directories: list[bytes] = []
    listed: list[bytes] = []
    installations: list[bytes] = []
    for top in (sysroot.rstrip(b"/") for sysroot in sysroots):
        if is_clang and _VERSION.fullmatch(os.path.basename(top)):
            installations.append(top)  # --gcc-install-dir
        for prefix in (top, top + b"/usr"):
            directories += (prefix, prefix + b"/bin", prefix + b"/include")
            if is_clang:
                listed.append(prefix + b"/include/c++")  # for the newest libc++
            if is_android:
                listed.append(prefix + b"/include")  # for the newest API
            for library in (prefix + b"/" + name for name in LIBRARY_NAMES):
                directories += (library, *_targets(library, seen))
                for triple in _gcc_targets(library, seen) if is_clang else ():
                    listed.append(triple)
                    for version in _names(triple, _VERSION, seen):
                        installations.append(triple + b"/" + version)
    for installation in installations:
        directories += (installation, *around_installation(installation))
    return Provision(
        directories=tuple(dict.fromkeys(directories)),
        listed=tuple(dict.fromkeys(listed)),
        optional=tuple(at for each in dict.fromkeys(installations) for at in startup_files(each)),
    )


def _targets(library: bytes, seen: Sightings) -> Iterator[bytes]:
    for name in _names(library, _TRIPLE, seen):
        yield library + b"/" + name
        for version in _names(library + b"/" + name, _VERSION, seen):
            yield library + b"/" + name + b"/" + version


def _gcc_targets(library: bytes, seen: Sightings) -> Iterator[bytes]:
    for kind in (b"/gcc", b"/gcc-cross"):
        yield from (library + kind + b"/" + name for name in _names(library + kind, _TRIPLE, seen))


def _names(directory: bytes, fitting: re.Pattern[bytes], seen: Sightings) -> list[bytes]:
    seen.see(directory)
    try:
        return sorted(filter(fitting.fullmatch, os.listdir(directory)))
    except OSError:
        return []
