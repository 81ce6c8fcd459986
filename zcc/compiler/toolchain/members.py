"""Which files make up a toolchain: all that a driver and its programs touch, but no header.

Owns the knowledge of what gcc and clang probe, found by tracing them (`strace -e trace=file`). Headers,
locales and gconv modules are inputs of each job and not here. The same members come out whichever of
the toolchain's drivers one starts from.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

from zcc.compiler.commandline.tables import Family
from zcc.compiler.disk.paths import PathWalker
from zcc.compiler.disk.signatures import Signature, signature_at
from zcc.compiler.toolchain.driver import Driver, resolve
from zcc.compiler.toolchain.elf import LD_SO_CACHE, LibrarySearch
from zcc.compiler.toolchain.index import Gathered, Identity, Member, MemberKind, own_signature
from zcc.compiler.toolchain.sysroots import LIBRARY_NAMES, around_installation, startup_files
from zcc.errors import CompilerError

MAX_MEMBERS = 20_000
_DRIVER_NAME = re.compile(rb"(?:(.*)-)?(gcc|g\+\+|cc|c\+\+|clang|clang\+\+)(-[0-9][0-9.]*)?")
_SIBLINGS = {
    b"gcc": b"g++", b"g++": b"gcc", b"cc": b"c++", b"c++": b"cc",
    b"clang": b"clang++", b"clang++": b"clang",
}  # fmt: skip
# What execvp searches where PATH is not set.
_DEFAULT_PATH = b"/bin:/usr/bin"
_GCC_PROGRAMS = (b"cc1", b"cc1plus", b"cc1obj", b"cc1objplus")
_HELPERS = (b"as", b"objcopy")
# Symlinks on most systems, and directories that every driver probes.
_SKELETON = tuple(
    prefix + b"/" + name for prefix in (b"", b"/usr") for name in (b"bin", *LIBRARY_NAMES)
)
_MULTIARCH = re.compile(rb".+-linux-(gnu|musl|uclibc).*")
# What clang's Distro.cpp reads; some are absent everywhere, which is part of the answer.
_DISTRIBUTION_FILES = (
    b"/etc/os-release", b"/usr/lib/os-release", b"/etc/lsb-release", b"/etc/redhat-release",
    b"/etc/debian_version", b"/etc/SuSE-release", b"/etc/gentoo-release", b"/etc/alpine-release",
    b"/etc/arch-release", b"/etc/slackware-version", b"/etc/exherbo-release",
)  # fmt: skip
_CUDA_PARTS = (
    b"include/cuda.h", b"bin", b"lib", b"lib64", b"nvvm/libdevice", b"version.txt", b"version.json",
)  # fmt: skip
_ROCM_PARTS = (
    b"bin/.hipVersion", b"share/hip/version", b"amdgcn/bitcode", b"lib", b"include", b"llvm/bin",
)  # fmt: skip
_GCC_INSTALLATION = re.compile(
    rb"^(?:Found candidate|Selected) GCC installation: (/.*?)\s*$", re.MULTILINE
)
_CONFIGURATION = re.compile(
    rb"^(Configuration file|(?:System|User) configuration file directory): (/.*?)\s*$",
    re.MULTILINE,
)


def gather(compiler: bytes, search_path: bytes) -> Gathered:
    """All that belongs to the toolchain of the compiler at this absolute path.

    Raises:
        CompilerError: it cannot be sent elsewhere; the message says why.
    """
    return _Gathering(compiler, search_path).run()


class _Gathering:
    """One toolchain being put together."""

    def __init__(self, compiler: bytes, search_path: bytes) -> None:
        self._compiler = compiler
        self._search_path = search_path or _DEFAULT_PATH
        self._walker = PathWalker()
        self._libraries = LibrarySearch(self._walker)
        self._members: dict[bytes, Member] = {}
        self._absent: set[bytes] = set()
        self._listed: dict[bytes, Signature] = {}
        self._programs: dict[str, bytes] = {}
        self._names: list[bytes] = []  # every spelling of the drivers

    def run(self) -> Gathered:
        identity = self._add_drivers()
        for path in _SKELETON:
            self._add(path)
        if identity.family is Family.CLANG:
            self._add_clang(identity)
        else:
            self._add_gcc()
        self._add_libraries()
        self._absent = {path for path in self._absent if not os.path.lexists(path)}
        if len(self._members) > MAX_MEMBERS:
            raise CompilerError(f"a toolchain of {len(self._members)} files: more than is sent")
        return Gathered(
            identity=identity,
            members=tuple(self._members[path] for path in sorted(self._members)),
            absent=tuple(sorted(self._absent)),
            listed=tuple(sorted(self._listed.items())),
            programs=dict(sorted(self._programs.items())),
        )

    # Drivers

    def _add_drivers(self) -> Identity:
        """The compiler, its sibling for the other language, and every name that leads to either."""
        physical = resolve(self._compiler, self._walker)
        self._libraries.add_program(physical)  # a script is refused before it is run
        if os.stat(physical).st_mode & (stat.S_ISUID | stat.S_ISGID):
            raise CompilerError(f"{os.fsdecode(physical)} is setuid: its look-ups cannot be logged")
        drivers = [physical]
        sibling = _sibling_of(physical)
        if sibling is not None and self._is_program(sibling):
            drivers.append(self._walker.walk(sibling).physical or sibling)
        elif sibling is not None:
            self._absent.add(sibling)
        self._names = self._names_of(drivers)
        if not self._names:
            self._names = [self._compiler]
        for name in (*drivers, *self._names, self._compiler):
            self._add(name)
        self._programs["c"] = self._choose_name(is_cxx=False) or self._compiler
        cxx = self._choose_name(is_cxx=True)
        if cxx is not None:
            self._programs["c++"] = cxx
        for driver in drivers:
            self._libraries.add_program(driver)
        return Driver(self._programs["c"], self._search_path).identify()

    def _names_of(self, drivers: Iterable[bytes]) -> list[bytes]:
        """Names beside the drivers and on PATH that are one of the drivers, hard links included."""
        same = {_identity_of(driver) for driver in drivers}
        places = [os.path.dirname(path) for path in (*drivers, self._compiler)]
        found = []
        for directory in dict.fromkeys((*sorted(places), *self._path_directories())):
            for name in _entries(directory):
                path = directory + b"/" + name
                if _DRIVER_NAME.fullmatch(name) and _identity_of(path) in same:
                    found.append(path)
        return sorted(set(found))

    def _choose_name(self, is_cxx: bool) -> bytes | None:
        """One name for a language, the same whichever name and PATH the search began with.

        It lies in a physical directory; a name that is no symlink is preferred.
        """
        fitting = []
        for name in self._names:
            directory, _, last = name.rpartition(b"/")
            above = self._walker.walk(directory or b"/").physical
            if above is not None and _is_cxx(name) == is_cxx:
                fitting.append(above.rstrip(b"/") + b"/" + last)
        physical = [name for name in fitting if self._walker.walk(name).physical == name]
        return min(physical or fitting, default=None)

    # gcc

    def _add_gcc(self) -> None:
        driver = Driver(self._programs["c"], self._search_path)
        driver.refuse_wrapper()
        own, directories = driver.search_directories()
        for directory in directories:
            self._add(directory)
            self._add(directory.rstrip(b"/") + b"/specs")
        for name in _matching(own, rb".*\.spec"):
            self._add(own.rstrip(b"/") + b"/" + name)
        devices = own.rstrip(b"/") + b"/device-specs"  # AVR's: -mmcu= chooses one
        for name in self._list(devices):
            self._add(devices + b"/" + name)
        for name in _GCC_PROGRAMS:
            self._add_program(driver, name, own)
        for name in _HELPERS:
            self._add_program(driver, name)

    def _add_program(self, driver: Driver, name: bytes, own: bytes = b"") -> None:
        """A program that the driver runs. `own`: where it would have to lie if it came later."""
        answer = driver.program(name)
        path = answer if b"/" in answer else self._on_path(name)
        if path is None or not self._is_program(path):
            if own:
                self._add(own.rstrip(b"/") + b"/" + name)
            return
        self._programs[name.decode()] = path
        physical = self._add(path)
        assert physical is not None
        self._libraries.add_program(physical)

    # clang

    def _add_clang(self, identity: Identity) -> None:
        homes = list(dict.fromkeys(os.path.dirname(name) for name in self._names))
        drivers = [Driver(self._name_in(home), self._search_path) for home in homes]
        installations: set[bytes] = set()
        for home, driver in zip(homes, drivers, strict=True):
            said = driver.ask(b"-v")[1]
            installations.update(_GCC_INSTALLATION.findall(said))
            self._add_configurations(home, said, identity)
            for name in _HELPERS:
                self._add_program(driver, name)
            self._add(home + b"/../lib/libc++.so")
            for headers in (b"/../include/", b"/../include/" + identity.target.encode() + b"/"):
                self._add_versions(home + headers + b"c++")
            self._add(home + b"/../lib/" + identity.target.encode())
            self._add(home + b"/.hipVersion")
        resources = [drivers[0].ask_line(b"-print-resource-dir")]
        # As Chromium and Android call it: its own name's directory counts, and no link is followed.
        resources += (
            driver.ask_line(b"-no-canonical-prefixes", b"-print-resource-dir") for driver in drivers
        )
        for directory in dict.fromkeys(resources):
            self._add_resources(directory)
        for prefix in (*(home + b"/.." for home in homes), b"/usr"):
            installations.update(self._gcc_installations(prefix))
        for installation in sorted(installations):
            self._add_gcc_installation(installation)
        for prefix in (b"/usr", b"/usr/local"):
            self._add_versions(prefix + b"/include/c++")
        self._add_surroundings()

    def _add_versions(self, directory: bytes) -> None:
        """A directory that clang goes through for the newest libc++."""
        for name in self._list(directory):
            self._add_directory(directory + b"/" + name)

    def _name_in(self, home: bytes) -> bytes:
        names = [name for name in self._names if os.path.dirname(name) == home]
        return min(names, key=lambda name: (_is_cxx(name), name))

    def _add_configurations(self, home: bytes, said: bytes, identity: Identity) -> None:
        """`*.cfg` where clang (16 and later) reads them by default."""
        places = {home, b"/etc/clang"}
        for kind, path in _CONFIGURATION.findall(said):
            places.add(os.path.dirname(path) if kind == b"Configuration file" else path)
        target = identity.target.encode() + b"-"
        for place in sorted(places):
            wanted = [prefix + b"clang" + plus for prefix in (b"", target) for plus in (b"", b"++")]
            names = [name + b".cfg" for name in wanted] + [target[:-1] + b".cfg"]
            for name in (*_matching(place, rb".*\.cfg"), *names):
                self._add(place + b"/" + name)

    def _add_resources(self, resources: bytes) -> None:
        """Sanitizer lists, and the directories in which runtimes are looked for; no headers."""
        if not resources.startswith(b"/"):
            return
        self._add(resources)
        self._add_directory(resources + b"/include")
        self._list(resources + b"/share")
        for name in _matching(resources + b"/share", rb".*\.txt"):
            self._add(resources + b"/share/" + name)
        self._add(resources + b"/bin/.hipVersion")
        for name in self._list(resources + b"/lib"):
            self._add_directory(resources + b"/lib/" + name)

    def _gcc_installations(self, prefix: bytes) -> Iterator[bytes]:
        """Directories TRIPLE/VERSION below `prefix`, from which clang picks the newest."""
        for library in LIBRARY_NAMES:
            self._add(prefix + b"/" + library)
            for kind in (b"gcc", b"gcc-cross"):
                base = prefix + b"/" + library + b"/" + kind
                for triple in self._list(base):
                    for version in self._list(base + b"/" + triple):
                        yield base + b"/" + triple + b"/" + version

    def _add_gcc_installation(self, path: bytes) -> None:
        if self._add_directory(path) is None:
            return
        for place in (*startup_files(path), *around_installation(path)):
            self._add(place)

    def _add_surroundings(self) -> None:
        """What clang looks at on every start: the distribution, and whether there are GPU kits."""
        for path in _DISTRIBUTION_FILES:
            self._add(path)
        for name in self._list(b"/etc/env.d/gcc"):
            self._add(b"/etc/env.d/gcc/" + name)
        for directory in (b"/lib", b"/usr/lib"):
            for name in _matching(directory, _MULTIARCH.pattern):
                self._add_directory(directory + b"/" + name)
        versions = _matching(b"/usr/local", rb"cuda-[0-9.]+")
        for home in (b"/usr/lib/cuda", *(b"/usr/local/" + name for name in (b"cuda", *versions))):
            self._add_kit(home, _CUDA_PARTS)
            for name in _matching(home + b"/nvvm/libdevice", rb".*\.bc"):
                self._add(home + b"/nvvm/libdevice/" + name, is_stub=True)
        for directory in {os.path.dirname(path) for path in self._programs.values()}:
            self._add(directory + b"/ptxas", is_stub=True)
        # It is listed, but for GPU kits alone, and others put what they like there: it is not watched.
        self._add_directory(b"/opt")
        for home in (b"/opt/rocm", *(b"/opt/" + name for name in _matching(b"/opt", rb"rocm-.*"))):
            self._add_kit(home, _ROCM_PARTS)

    def _add_kit(self, home: bytes, parts: Iterable[bytes]) -> None:
        if self._add(home) is not None:
            for part in parts:
                self._add(home + b"/" + part)

    # Libraries

    def _add_libraries(self) -> None:
        main = self._programs.get("cc1") or self._programs["c"]
        physical = self._walker.walk(main).physical or main
        # glibc loads it by name when a thread is cancelled or a backtrace is made.
        self._libraries.add_optional_library(b"libgcc_s.so.1", physical)
        needs = self._libraries.needs
        for path in sorted(needs.paths):
            self._add(path)
        if needs.needs_cache:
            self._add(LD_SO_CACHE)
        self._absent.update(needs.absent)
        self._listed.update(needs.watched)

    # Paths

    def _path_directories(self) -> list[bytes]:
        """Relative entries of PATH are left out: a hit there fails the proof and stays local."""
        return [path for path in self._search_path.split(b":") if path.startswith(b"/")]

    def _on_path(self, name: bytes) -> bytes | None:
        for directory in self._path_directories():
            path = directory.rstrip(b"/") + b"/" + name
            if self._is_program(path):
                return path
            self._absent.add(path)
        return None

    def _is_program(self, path: bytes) -> bool:
        return os.path.isfile(path) and os.access(path, os.X_OK)

    def _list(self, directory: bytes) -> list[bytes]:
        """The names in a directory, which becomes a member, watched for what is added to it."""
        physical = self._add_directory(directory)
        if physical is None:
            return []
        self._listed.setdefault(physical, signature_at(physical))
        return _entries(physical)

    def _add_directory(self, path: bytes) -> bytes | None:
        return self._add(path) if os.path.isdir(path) else None

    def _add(self, path: bytes, is_stub: bool = False) -> bytes | None:
        """Make what lies at `path` a member, with all that is on the way; where it lies physically.

        What is not there is noted as absent.
        """
        walked = self._walker.walk(path)
        for link, target in walked.symlinks:
            if link not in self._members:
                self._add_parents(link)
                signature = own_signature(link, is_stub=False)
                self._members[link] = Member(link, MemberKind.SYMLINK, signature, target=target)
        if walked.physical is None:
            self._absent.add(walked.missing or path)
            return None
        try:
            self._add_physical(walked.physical, is_stub)
        except FileNotFoundError:
            self._absent.add(walked.physical)
            return None
        return walked.physical

    def _add_physical(self, path: bytes, is_stub: bool) -> None:
        if path in self._members or path == b"/":
            return
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            self._members[path] = Member(path, MemberKind.DIRECTORY)
        elif stat.S_ISREG(status.st_mode):
            executable = bool(status.st_mode & 0o111)
            signature = own_signature(path, is_stub=is_stub)
            if not signature:
                raise CompilerError(f"cannot read {os.fsdecode(path)}")
            self._members[path] = Member(
                path, MemberKind.FILE, signature, executable, is_stub=is_stub
            )
        else:
            raise CompilerError(f"{os.fsdecode(path)} is neither file nor directory")
        self._add_parents(path)

    def _add_parents(self, path: bytes) -> None:
        parent = os.path.dirname(path)
        while parent != b"/" and parent not in self._members:
            self._members[parent] = Member(parent, MemberKind.DIRECTORY)
            parent = os.path.dirname(parent)


def _identity_of(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sibling_of(path: bytes) -> bytes | None:
    """The driver for the other language that would lie beside this one."""
    directory, _, name = path.rpartition(b"/")
    match = _DRIVER_NAME.fullmatch(name)
    if match is None:
        return None
    before = match[1] + b"-" if match[1] is not None else b""
    return directory + b"/" + before + _SIBLINGS[match[2]] + (match[3] or b"")


def _is_cxx(path: bytes) -> bool:
    return b"++" in os.path.basename(path)


def _entries(directory: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _matching(directory: bytes, pattern: bytes) -> list[bytes]:
    return [name for name in _entries(directory) if re.fullmatch(pattern, name)]
