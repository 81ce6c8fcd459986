"""What an ELF program needs to start: its loader and its libraries, found as ld.so finds them.

Owns ELF headers, dynamic sections and the loader's search rules (man 8 ld.so). `ldd` is not used: it
may run the program, it hides the spelled paths, and it answers for this machine's processor only.
LD_LIBRARY_PATH does not count: a compile stays local where it would lead elsewhere.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import InterpSegment

from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.disk.signatures import Signature, signature_at
from zcc.errors import CompilerError
from zcc.regular import opener

LD_SO_CACHE = b"/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = struct.Struct("=20sIIB3xI12x")
_CACHE_ENTRY = struct.Struct("=iIIIQ")
_MAX_CACHE_BYTES = 64 << 20
# What a loader that does not tell is taken to search: those that every distribution has.
_COMMON_DIRECTORIES = (b"/lib64", b"/usr/lib64", b"/lib", b"/usr/lib")
_MUSL_DIRECTORIES = (b"/lib", b"/usr/local/lib", b"/usr/lib")
_LOADER_TIMEOUT_S = 10.0
# Below a directory of libraries, where glibc looks first: releases before 2.37 in all but the first, and in one
# that is called like the platform.
HARDWARE_CAPABILITIES = (b"glibc-hwcaps", b"tls", b"haswell", b"xeon_phi", b"avx512_1", b"atomics")


@dataclass(frozen=True, slots=True)
class ElfMachine:
    """What decides whether two programs can share a process: word size, byte order, processor."""

    bits: int
    little_endian: bool
    processor: str


@dataclass(frozen=True, slots=True)
class Elf:
    """The part of an ELF file that its loader reads. `interpreter` is None for a library."""

    machine: ElfMachine
    interpreter: bytes | None
    needed: tuple[bytes, ...]
    soname: bytes | None
    rpath: tuple[bytes, ...]
    runpath: tuple[bytes, ...]


def read_elf(path: bytes) -> Elf | None:
    """The ELF file at `path`; None when it is not one.

    Raises:
        CompilerError: unreadable, or damaged.
    """
    try:
        with open(path, "rb", opener=opener) as file:
            if file.read(4) != b"\x7fELF":
                return None
            return _parse(ELFFile(file))
    except (OSError, ELFError, ValueError, struct.error) as error:
        raise CompilerError(f"cannot read {os.fsdecode(path)}: {error}") from error


@cache
def host_machine() -> ElfMachine:
    """The machine that the programs of this host run on: that of the interpreter itself.

    Not `uname`: a 64-bit kernel under a 32-bit userland says the wrong thing.

    Raises:
        CompilerError: the interpreter's own file cannot be read.
    """
    elf = read_elf(b"/proc/self/exe") or read_elf(os.fsencode(sys.executable))
    if elf is None:
        raise CompilerError("cannot tell this host's machine: the interpreter is no ELF file")
    return elf.machine


def read_imports(path: bytes) -> frozenset[bytes]:
    """The symbols that the ELF file at `path` takes from others.

    Raises:
        CompilerError: unreadable, or damaged.
    """
    try:
        with open(path, "rb", opener=opener) as file:
            symbols = ELFFile(file).get_section_by_name(".dynsym")
            if not isinstance(symbols, SymbolTableSection):
                raise CompilerError(f"{os.fsdecode(path)} has no table of dynamic symbols")
            return frozenset(
                _encoded(symbol.name)
                for symbol in symbols.iter_symbols()
                if symbol.entry["st_shndx"] == "SHN_UNDEF"
            )
    except (OSError, ELFError, ValueError, struct.error) as error:
        raise CompilerError(f"cannot read {os.fsdecode(path)}: {error}") from error


def _parse(elf: ELFFile) -> Elf:
    machine = ElfMachine(elf.elfclass, elf.little_endian, str(elf.header["e_machine"]))
    interpreter: bytes | None = None
    texts: dict[str, list[bytes]] = {}
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = _encoded(segment.get_interp_name())
        elif isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                for name in ("needed", "soname", "rpath", "runpath"):
                    if tag.entry.d_tag == "DT_" + name.upper():
                        texts.setdefault(name, []).append(_encoded(getattr(tag, name)))
    return Elf(
        machine=machine,
        interpreter=interpreter,
        needed=tuple(texts.get("needed", ())),
        soname=next(iter(texts.get("soname", ())), None),
        rpath=_split(texts.get("rpath", ())),
        runpath=_split(texts.get("runpath", ())),
    )


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _split(lists: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(part for text in lists for part in text.split(b":") if part)


@dataclass(frozen=True, slots=True)
class Loader:
    """What a dynamic loader says of itself: where it searches by default, what $LIB stands for."""

    directories: tuple[bytes, ...]
    lib: bytes
    platform: bytes
    reads_cache: bool


@dataclass
class Needs:
    """What programs need: the spelled paths of loader and libraries, and the loader's cache file.

    `absent` are places that were searched before a library was found: one that appears there would
    be taken instead. `watched` are files and directories that were read on the way, with their signatures: when
    one changes, so may the answer.
    """

    paths: set[bytes] = field(default_factory=set)
    absent: set[bytes] = field(default_factory=set)
    watched: dict[bytes, Signature] = field(default_factory=dict)
    needs_cache: bool = False


class LibrarySearch:
    """Finds what programs of this host load. Remembers files and loaders between programs."""

    def __init__(self, walker: PathWalker) -> None:
        self.needs = Needs()
        self._walker = walker
        self._elves: dict[bytes, Elf | None] = {}
        self._loaders: dict[bytes, Loader] = {}
        self._cached: dict[bytes, list[bytes]] | None = None

    def add_program(self, path: bytes) -> None:
        """Add what the program at this physical path loads.

        Raises:
            CompilerError: a script, static, of another machine, or a library is not to be found.
        """
        elf = self.elf_at(path)
        name = os.fsdecode(path)
        if elf is None:
            raise CompilerError(f"{name} is a script or no program at all, not an ELF file")
        if elf.machine != host_machine():
            raise CompilerError(
                f"{name} is for {elf.machine.processor} ({elf.machine.bits} bits), "
                f"this host is {host_machine().processor} ({host_machine().bits} bits)"
            )
        if elf.interpreter is None:
            raise CompilerError(f"{name} is static: its look-ups cannot be logged")
        self.needs.paths.add(elf.interpreter)
        self._add_libraries(path, elf, self.loader_at(elf.interpreter))

    def add_optional_library(self, name: bytes, program: bytes) -> None:
        """Add a library that may be loaded later by name, if it is there."""
        elf = self.elf_at(program)
        if elf is None or elf.interpreter is None:
            return
        loader = self.loader_at(elf.interpreter)
        path = self._search(name, [], loader, elf.machine)
        if path is not None:
            self.needs.paths.update((path, *self._variants(path, elf.machine, loader)))

    def add_library(self, path: bytes, program: bytes) -> Elf:
        """Add what the library at this absolute path brings when the program at that one loads it by dlopen.

        Raises:
            CompilerError: not a library for that program, or one that it needs is not to be found.
        """
        elf, main = self._library_at(path), self._library_at(program)
        name = os.fsdecode(path)
        if main is None or main.interpreter is None:
            raise CompilerError(f"{os.fsdecode(program)} loads no libraries")
        if main.rpath:
            # It would hold for what the library needs as well.
            raise CompilerError(f"{os.fsdecode(program)} has an RPATH")
        if elf is None or elf.machine != main.machine:
            raise CompilerError(f"{name} is no library for {os.fsdecode(program)}")
        self._add_libraries(path, elf, self.loader_at(main.interpreter))
        return elf

    def elf_at(self, path: bytes) -> Elf | None:
        if path not in self._elves:
            self._elves[path] = read_elf(path)
        return self._elves[path]

    def loader_at(self, path: bytes) -> Loader:
        if path not in self._loaders:
            self._loaders[path] = _ask_loader(path)
        return self._loaders[path]

    def _add_libraries(self, program: bytes, elf: Elf, loader: Loader) -> None:
        """Breadth first, as ld.so loads; a name (or soname) that is loaded is not searched again."""
        loaded: set[bytes] = set()
        # Each object with its origin and the RPATHs that it inherits from those that loaded it.
        queue: list[tuple[Elf, bytes, list[bytes]]] = [(elf, os.path.dirname(program), [])]
        while queue:
            this, origin, inherited = queue.pop(0)
            rpaths = [] if this.runpath else _expand(this.rpath, origin, loader)
            own = _expand(this.runpath, origin, loader) if this.runpath else rpaths + inherited
            for needed in this.needed:
                if needed in loaded:
                    continue
                loaded.add(needed)
                path = self._find(needed, origin, own, loader, elf.machine)
                if path is None:
                    raise CompilerError(
                        f"{os.fsdecode(program)} needs {os.fsdecode(needed)}, which is not found"
                    )
                found = self._library_at(path)
                assert found is not None
                if found.soname:
                    loaded.add(found.soname)
                self.needs.paths.update((path, *self._variants(path, elf.machine, loader)))
                queue.append((found, os.path.dirname(path), rpaths + inherited))

    def _find(
        self, needed: bytes, origin: bytes, own: list[bytes], loader: Loader, machine: ElfMachine
    ) -> bytes | None:
        if b"/" not in needed:
            return self._search(needed, own, loader, machine)
        (path,) = _expand((needed,), origin, loader)
        return path if self._suits(path, machine) else None

    def _search(
        self, name: bytes, own: list[bytes], loader: Loader, machine: ElfMachine
    ) -> bytes | None:
        for directory in own:
            path = directory + b"/" + name
            if self._suits(path, machine):
                return path
            self.needs.absent.add(path)
            self.needs.paths.update(self._variants(path, machine, loader))
        by_default = self._in_defaults(name, loader, machine)
        if not loader.reads_cache:
            return by_default
        for path in self._cache().get(name, []):
            if not self._suits(path, machine):
                continue
            if by_default is not None and self._is_same(path, by_default):
                break  # the cache names the same file: it is not needed to find it
            self.needs.needs_cache = True
            return path
        return by_default

    def _in_defaults(self, name: bytes, loader: Loader, machine: ElfMachine) -> bytes | None:
        passed: list[bytes] = []
        for directory in loader.directories:
            path = directory + b"/" + name
            if self._suits(path, machine):
                self.needs.absent.update(passed)
                return path
            passed.append(path)
        return None

    def _library_at(self, path: bytes) -> Elf | None:
        physical = self._walker.walk(path).physical
        if physical is None:
            return None
        try:
            return self.elf_at(physical)
        except CompilerError:
            return None  # ld.so passes over what it cannot read, too

    def _suits(self, path: bytes, machine: ElfMachine) -> bool:
        elf = self._library_at(path)
        return elf is not None and elf.machine == machine

    def _is_same(self, path: bytes, other: bytes) -> bool:
        return self._walker.walk(path).physical == self._walker.walk(other).physical

    def _variants(self, path: bytes, machine: ElfMachine, loader: Loader) -> Iterator[bytes]:
        """The builds of this library for better processors: the node's processor decides."""
        directory, _, name = path.rpartition(b"/")
        kinds = (*HARDWARE_CAPABILITIES, loader.platform) if loader.reads_cache else ()
        for kind in filter(None, kinds):
            top = directory + b"/" + kind
            if not os.path.isdir(top):
                self.needs.absent.add(top)
            for at, _, names in os.walk(top):
                self._watch(at)
                if name in names and self._suits(at + b"/" + name, machine):
                    yield at + b"/" + name

    def _watch(self, path: bytes) -> None:
        self.needs.watched.setdefault(path, signature_at(path))

    def _cache(self) -> dict[bytes, list[bytes]]:
        if self._cached is None:
            self._watch(LD_SO_CACHE)
            try:
                with open(LD_SO_CACHE, "rb") as file:
                    self._cached = parse_cache(file.read(_MAX_CACHE_BYTES))
            except OSError:
                self._cached = {}
        return self._cached


def parse_cache(data: bytes) -> dict[bytes, list[bytes]]:
    """Name -> paths of an `ld.so.cache`, in its order; those for special processors left out.

    Format: glibc's sysdeps/generic/dl-cache.h, `struct cache_file_new`. Damage gives an empty answer.
    """
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) < start + _CACHE_HEADER.size:
        return {}
    _, count, _, _, _ = _CACHE_HEADER.unpack_from(data, start)
    paths: dict[bytes, list[bytes]] = {}
    at = start + _CACHE_HEADER.size
    if at + count * _CACHE_ENTRY.size > len(data):
        return {}
    for number in range(count):
        _, key, value, _, hwcap = _CACHE_ENTRY.unpack_from(data, at + number * _CACHE_ENTRY.size)
        if hwcap == 0:
            name, path = _text_at(data, start + key), _text_at(data, start + value)
            paths.setdefault(name, []).append(path)
    return paths


def _text_at(data: bytes, at: int) -> bytes:
    return data[at : data.find(b"\0", at)]


def _expand(directories: Iterable[bytes], origin: bytes, loader: Loader) -> list[bytes]:
    """The directories with $ORIGIN, $LIB and $PLATFORM replaced (man 8 ld.so)."""
    values = {b"ORIGIN": origin, b"LIB": loader.lib, b"PLATFORM": loader.platform}

    def value_of(match: re.Match[bytes]) -> bytes:
        return values[match[1] or match[2]]

    return [_TOKEN.sub(value_of, directory) for directory in directories]


_TOKEN = re.compile(rb"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)\b)")


def _ask_loader(path: bytes) -> Loader:
    """What the loader at `path` says of itself (`--list-diagnostics`, glibc 2.33 and later)."""
    if os.path.basename(path).startswith(b"ld-musl"):
        return Loader(_musl_directories(path), b"lib", b"", reads_cache=False)
    try:
        answer = subprocess.run(
            [path, b"--list-diagnostics"],
            env={}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=_LOADER_TIMEOUT_S,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"the loader {os.fsdecode(path)} does not run: {error}") from error
    found = re.findall(rb'^path\.system_dirs\[\w+\]="(.*)"$', answer, re.MULTILINE)
    directories = tuple(directory.rstrip(b"/") for directory in found) or _COMMON_DIRECTORIES
    return Loader(
        directories=directories,
        lib=_quoted(answer, b"dl_dst_lib") or b"lib64",
        platform=_quoted(answer, b"dl_platform") or os.fsencode(os.uname().machine),
        reads_cache=True,
    )


def _quoted(answer: bytes, name: bytes) -> bytes:
    match = re.search(rb"^" + name + rb'="(.*)"$', answer, re.MULTILINE)
    return match[1] if match else b""


def _musl_directories(loader: bytes) -> tuple[bytes, ...]:
    """musl's search path: /etc/ld-musl-ARCH.path, one directory a line or colon-separated."""
    name = os.path.basename(loader).removesuffix(b".1").removesuffix(b".so")
    try:
        with open(b"/etc/" + name + b".path", "rb") as file:
            return tuple(part for part in re.split(rb"[:\n]", file.read(1 << 16)) if part)
    except OSError:
        return _MUSL_DIRECTORIES
